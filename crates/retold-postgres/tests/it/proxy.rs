//! A network between a store and its server with the faults of real networks: it becomes silent, is
//! slow, and cuts connections in the middle of a message.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

/// Bytes that a slow network forwards at once, and the interval.
const SLOW_PIECE: usize = 64;
const SLOW_INTERVAL: Duration = Duration::from_millis(2);

/// A network on a port of its own.
pub(crate) struct Proxy {
    port: u16,
    ways: Arc<Ways>,
    task: JoinHandle<()>,
}

/// How bytes are handled.
struct Ways {
    /// Connections up to this number, counted from 1, never receive anything again.
    forgotten: AtomicU64,
    count: AtomicU64,
    is_silent: watch::Sender<bool>,
    is_slow: AtomicBool,
    cuts: Mutex<Option<Rng>>,
    /// Bytes of the server that are replaced by others of the same length.
    rewrite: Option<(Vec<u8>, Vec<u8>)>,
}

impl Proxy {
    pub(crate) async fn before(port: u16) -> Self {
        Self::with(port, None).await
    }

    /// Starts a network that also replaces bytes of the server by others of the same length.
    pub(crate) async fn rewriting(port: u16, from: &[u8], to: &[u8]) -> Self {
        assert_eq!(from.len(), to.len());
        Self::with(port, Some((from.to_vec(), to.to_vec()))).await
    }

    async fn with(server: u16, rewrite: Option<(Vec<u8>, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ways = Arc::new(Ways {
            forgotten: AtomicU64::new(0),
            count: AtomicU64::new(0),
            is_silent: watch::Sender::new(false),
            is_slow: AtomicBool::new(false),
            cuts: Mutex::new(None),
            rewrite,
        });
        let task = tokio::spawn({
            let ways = ways.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let ways = ways.clone();
                    tokio::spawn(async move {
                        // An error here is a cut, or an end of either side.
                        let _ = connect(client, server, ways).await;
                    });
                }
            }
        });
        Self { port, ways, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of a database through this network.
    pub(crate) fn url(&self, database: &str) -> String {
        let port = self.port;
        format!("postgres://retold@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// From now on nothing is forwarded, without any notification.
    pub(crate) fn silence(&self) {
        self.ways.is_silent.send_replace(true);
    }

    /// Forwards again, but never on connections that existed before.
    pub(crate) fn heal_and_forget(&self) {
        let count = self.ways.count.load(Ordering::SeqCst);
        self.ways.forgotten.store(count, Ordering::SeqCst);
        self.ways.is_silent.send_replace(false);
    }

    /// Forwards again, including the bytes that were held back.
    pub(crate) fn heal(&self) {
        self.ways.is_silent.send_replace(false);
    }

    pub(crate) fn slow_down(&self) {
        self.ways.is_slow.store(true, Ordering::SeqCst);
    }

    /// Cuts each new connection after a number of bytes, or stops doing so.
    pub(crate) fn cut(&self, random: Option<Rng>) {
        *self.ways.cuts.lock().unwrap() = random;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(client: TcpStream, server: u16, ways: Arc<Ways>) -> io::Result<()> {
    let number = ways.count.fetch_add(1, Ordering::SeqCst) + 1;
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    // Enough for the handshake, and then anywhere.
    let mut budgets = [usize::MAX; 2];
    if let Some(random) = &mut *ways.cuts.lock().unwrap() {
        budgets[random.usize(0..2)] = random.usize(1..60_000);
    }
    let up = forward(from_client, to_server, &ways, number, budgets[0], None);
    let rewrite = ways.rewrite.as_ref();
    let down = forward(from_server, to_client, &ways, number, budgets[1], rewrite);
    // When one ends, both do.
    tokio::select! {
        ended = up => ended,
        ended = down => ended,
    }
}

/// Moves bytes until the connection ends or its budget is spent.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    ways: &Ways,
    number: u64,
    mut budget: usize,
    rewrite: Option<&(Vec<u8>, Vec<u8>)>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut silence = ways.is_silent.subscribe();
    let mut pace = interval(SLOW_INTERVAL);
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        while *silence.borrow_and_update() || number <= ways.forgotten.load(Ordering::SeqCst) {
            // The forgotten number is set before the silence ends.
            let _ = silence.changed().await;
        }
        let mut bytes = buffer[..count.min(budget)].to_vec();
        if let Some((old, new)) = rewrite {
            replace(&mut bytes, old, new);
        }
        let piece = match ways.is_slow.load(Ordering::SeqCst) {
            true => SLOW_PIECE,
            false => bytes.len().max(1),
        };
        for piece in bytes.chunks(piece) {
            if piece.len() < bytes.len() {
                pace.tick().await;
            }
            to.write_all(piece).await?;
        }
        budget -= bytes.len();
        if budget == 0 {
            return Ok(());
        }
    }
}

fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let found = bytes.windows(old.len()).position(|it| it == old);
    if let Some(at) = found {
        bytes[at..at + old.len()].copy_from_slice(new);
    }
}
