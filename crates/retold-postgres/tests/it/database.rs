//! A separate database for each test, on the server of the run.

use std::future::Future;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use retold_postgres::PostgresStore;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};
use xtask::postgres_server::PostgresServer;

/// Longest wait of a test for something that usually takes moments.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server of the run. It ends with the process.
static SERVER: LazyLock<PostgresServer> =
    LazyLock::new(|| PostgresServer::start().unwrap_or_else(|error| panic!("{error}")));

/// The runtime of all connections.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// Returns the port of the server of the run.
pub(crate) fn port() -> u16 {
    SERVER.port()
}

/// Returns the path of a program that came with the server.
pub(crate) fn program(name: &str) -> std::path::PathBuf {
    SERVER.program(name)
}

/// Runs a future to completion.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

/// An empty database.
pub(crate) struct Database {
    name: String,
}

impl Database {
    pub(crate) async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = connect(&SERVER.url("postgres")).await;
        let create = format!("CREATE DATABASE {name}");
        admin.batch_execute(&create).await.unwrap();
        Self { name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn url(&self) -> String {
        SERVER.url(&self.name)
    }

    pub(crate) async fn open(&self) -> PostgresStore {
        PostgresStore::open(&self.url()).await.unwrap()
    }

    /// Opens a connection for SQL, separate from the store's.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await
    }
}

/// Opens a connection for SQL.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until a condition holds.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(
            begun.elapsed() < PATIENCE,
            "the condition does not hold in time"
        );
        tokio::task::yield_now().await;
    }
}

/// Makes each commit of a server wait for standbys of this name from now on.
pub(crate) async fn wait_for_standbys(admin: &Client, standbys: &str) {
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standbys}'");
    admin.batch_execute(&set).await.unwrap();
    let reload = "SELECT pg_reload_conf()";
    admin.batch_execute(reload).await.unwrap();
    let is_set = format!("SELECT current_setting('synchronous_standby_names') = '{standbys}'");
    until(async || admin.query_one(&is_set, &[]).await.unwrap().get(0)).await;
    // The checkpointer notifies all other processes; it reads its settings before a checkpoint.
    for _ in 0..2 {
        admin.batch_execute("CHECKPOINT").await.unwrap();
    }
}
