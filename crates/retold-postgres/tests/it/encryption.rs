//! Encrypted connections: what each `sslmode` accepts and refuses, with servers whose certificates
//! are right, wrong, or missing, and with servers that ask the client for one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use retold_core::recording::{Append, EventId, LogId, NewEvent, RecordError, Store};
use retold_postgres::PostgresStore;
use tempfile::TempDir;
use uuid::Uuid;
use xtask::postgres_server::{PostgresServer, Setup};

use crate::certificates::{Authority, Certificate, self_signed};
use crate::database::block_on;

/// A server that encrypts, with the files for its clients in a folder.
struct Encrypting {
    server: PostgresServer,
    folder: TempDir,
}

impl Encrypting {
    fn start(certificate: &Certificate, clients: &Authority, hba: &str) -> Self {
        let server = Setup::new()
            .setting("ssl", "on")
            .setting("ssl_ca_file", "clients.crt")
            .file("server.crt", certificate.certificate.clone())
            .file("server.key", certificate.key.clone())
            .file("clients.crt", clients.pem())
            .file("pg_hba.conf", hba)
            .start();
        Self {
            server: server.unwrap_or_else(|error| panic!("{error}")),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        restrict(&path, 0o600);
        path.display().to_string()
    }

    fn url(&self, host: &str, parameters: &str) -> String {
        let port = self.server.port();
        format!("postgres://retold@{host}:{port}/postgres?{parameters}")
    }
}

fn restrict(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Opens the store at a URL, uses it, and returns the error, if any.
async fn try_out(url: &str) -> Result<(), RecordError> {
    let store = PostgresStore::open(url).await?;
    let log = store.open("dogs", LogId::new(Uuid::now_v7())).await?;
    let id = EventId::new(Uuid::now_v7());
    let event = NewEvent::new(id, "Dog.Registered", "{}");
    log.append(Append::of([event])).await.map(drop)
}

#[track_caller]
fn check_refused(tried: Result<(), RecordError>, hint: &str) {
    let error = tried.unwrap_err();
    assert!(
        error.to_string().contains(hint),
        "{hint:?} is not in {error}"
    );
}

#[test]
fn a_server_is_known_by_its_certificate() {
    block_on(async {
        let (authority, other) = (Authority::new("right"), Authority::new("wrong"));
        let hba = "hostssl all all all trust\n";
        let here = Encrypting::start(&authority.server("localhost"), &other, hba);
        let root = here.file("root.crt", &authority.pem());
        let wrong = here.file("wrong.crt", &other.pem());
        let tried = async |host: &str, parameters: &str| try_out(&here.url(host, parameters)).await;
        let with = |mode: &str, root: &str| format!("sslmode={mode}&sslrootcert={root}");

        for mode in ["verify-full", "verify-ca", "require"] {
            tried("localhost", &with(mode, &root)).await.unwrap();
            check_refused(
                tried("localhost", &with(mode, &wrong)).await,
                "UnknownIssuer",
            );
        }
        tried("localhost", "sslmode=require").await.unwrap();
        tried("localhost", "").await.unwrap();

        // Its address is not the host of the certificate.
        check_refused(
            tried("127.0.0.1", &with("verify-full", &root)).await,
            "not valid for",
        );
        tried("127.0.0.1", &with("verify-ca", &root)).await.unwrap();

        // It is not signed by any authority that the system trusts.
        let system = tried("localhost", "sslrootcert=system").await;
        assert!(system.is_err());
        // The server refuses connections without encryption.
        check_refused(tried("localhost", "sslmode=disable").await, "pg_hba.conf");
    });
}

#[test]
fn a_self_signed_certificate_is_its_own_root() {
    block_on(async {
        let certificate = self_signed("localhost");
        let clients = Authority::new("clients");
        let here = Encrypting::start(&certificate, &clients, "hostssl all all all trust\n");
        let root = here.file("root.crt", &certificate.certificate);
        let other = here.file("other.crt", &self_signed("localhost").certificate);
        let with = |host: &str, root: &str| {
            here.url(host, &format!("sslmode=verify-full&sslrootcert={root}"))
        };
        try_out(&with("localhost", &root)).await.unwrap();
        assert!(try_out(&with("localhost", &other)).await.is_err());
        check_refused(try_out(&with("127.0.0.1", &root)).await, "not valid for");
    });
}

#[test]
fn a_server_without_encryption_is_refused_where_it_is_required() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let url = |mode: &str| {
            format!(
                "postgres://retold@127.0.0.1:{}/postgres{mode}",
                server.port()
            )
        };
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root.crt");
        fs::write(&root, Authority::new("any").pem()).unwrap();
        let full = format!("?sslmode=verify-full&sslrootcert={}", root.display());
        for mode in ["?sslmode=require", &*full] {
            check_refused(try_out(&url(mode)).await, "does not support TLS");
        }
        for mode in ["", "?sslmode=prefer", "?sslmode=disable"] {
            try_out(&url(mode)).await.unwrap();
        }
    });
}

#[test]
fn a_client_shows_its_certificate() {
    block_on(async {
        let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
        let hba = "hostssl all all all cert\n";
        let here = Encrypting::start(&authority.server("localhost"), &clients, hba);
        let root = here.file("root.crt", &authority.pem());
        let identity = |name: &str, of: &Certificate| {
            let certificate = here.file(&format!("{name}.crt"), &of.certificate);
            let key = here.file(&format!("{name}.key"), &of.key);
            format!("sslcert={certificate}&sslkey={key}")
        };
        let full = format!("sslmode=verify-full&sslrootcert={root}");
        let tried = async |identity: &str| {
            try_out(&here.url("localhost", &format!("{full}&{identity}"))).await
        };
        let right = identity("right", &clients.client("retold"));
        tried(&right).await.unwrap();
        check_refused(tried("").await, "certificate");
        let other = identity("other", &clients.client("somebody"));
        check_refused(tried(&other).await, "authentication failed");
        let stranger = identity("stranger", &authority.client("retold"));
        assert!(tried(&stranger).await.is_err());

        restrict(&here.folder.path().join("right.key"), 0o644);
        check_refused(tried(&right).await, "chmod 600");
    });
}
