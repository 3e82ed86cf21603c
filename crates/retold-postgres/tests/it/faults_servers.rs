//! Faults by the state of servers: no connection is free, a disk is full, the server is a standby,
//! a connection pool is in front of it, and a standby is promoted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use retold_core::recording::{
    Append, Appended, Checkpoint, EventId, LogId, LogRead, NewEvent, Position, RecordError,
    Recorder, Store, StreamRead, Version,
};
use retold_postgres::{PostgresInlineProjections, PostgresOptions, PostgresStore};
use tokio_postgres::Client;
use uuid::Uuid;
use xtask::pgbouncer::PgBouncer;
use xtask::postgres_server::{PostgresServer, Setup};

use crate::database::{Database, block_on, connect, until, wait_for_standbys};
use crate::tricks::{TrickAdded, tables, tricks};
use crate::writers::{Writers, append_of, dogs};

/// Sizes of the small disk, before and after it is enlarged, in MiB. A database takes eight.
const DISK: u32 = 24;
const DISK_AFTERWARDS: u32 = 96;

fn start(setup: &Setup) -> PostgresServer {
    setup.start().unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn check_unavailable<T: std::fmt::Debug>(done: Result<T, RecordError>, hint: &str) {
    match done {
        Err(RecordError::Unavailable(error)) => {
            let said = error.to_string();
            assert!(said.contains(hint), "{hint:?} is not in {said}");
        }
        other => panic!("{other:?}"),
    }
}

/// Goal: a server whose connections are used up is unavailable, with advice, until one is free.
#[test]
fn too_many_connections_are_reported_and_waited_out() {
    block_on(async {
        let server = start(&Setup::new().setting("max_connections", "10"));
        let url = server.url("postgres");
        let options = PostgresOptions::new().connections_max(2);
        let store = PostgresStore::open_with(&url, &options).await.unwrap();
        let log = dogs(&store).await;
        log.append(append_of(1, 1)).await.unwrap();

        let mut others = Vec::new();
        while let Ok((client, connection)) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await
        {
            tokio::spawn(connection);
            others.push(client);
        }
        let refused = PostgresStore::open(&url).await.map(drop);
        check_unavailable(refused, "max_connections");
        // Existing connections keep working.
        log.append(append_of(1, 2)).await.unwrap();
        // Calls that need another connection are refused, and certainly write nothing.
        let reads = (0..4).map(|_| log.read_log(LogRead::new()));
        let reads = futures_util::future::join_all(reads).await;
        for refused in reads.into_iter().filter(Result::is_err) {
            check_unavailable(refused, "max_connections");
        }
        drop(others);
        until(async || PostgresStore::open(&url).await.is_ok()).await;
        log.append(append_of(1, 3)).await.unwrap();
        assert_eq!(log.read_log(LogRead::new()).await.unwrap().events.len(), 6);
    });
}

/// A disk in memory for a server, unmounted when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one; `None` if this user has no permission to mount.
    fn mount(server: &PostgresServer) -> Option<Self> {
        let folder = server.folder().join("disk");
        fs::create_dir(&folder).unwrap();
        let options = format!("size={DISK}m");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&folder);
        let is_mounted = mount.output().is_ok_and(|it| it.status.success());
        if !is_mounted {
            return None;
        }
        let disk = Self(folder);
        server.give(&disk.0).unwrap();
        Some(disk)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn grow(&self) {
        let options = format!("remount,size={DISK_AFTERWARDS}m");
        let mut mount = Command::new("mount");
        mount.args(["-o", &options]).arg(&self.0);
        assert!(mount.status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because the server may still have open files there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn large_append(number: u128) -> Append {
    let id = |index: u128| EventId::new(Uuid::from_u128(number * 10 + index));
    // Incompressible, because the store does not compress payloads.
    let payload = "x".repeat(500_000);
    let event = |index| NewEvent::new(id(index), "Dog.Painted", payload.clone());
    Append::of([event(1).stream("dog/1"), event(2)])
}

/// Goal: a full disk refuses appends, certainly without writing them, and loses nothing; when there
/// is space again, the store resumes. Method: a database on a disk in memory that is small, and is
/// enlarged later.
#[test]
fn a_full_disk_refuses_appends_until_there_is_space() {
    block_on(async {
        let server = start(&Setup::new());
        let Some(disk) = SmallDisk::mount(&server) else {
            eprintln!("skipped: a full disk, because this user has no permission to mount one");
            return;
        };
        let admin = connect(&server.url("postgres")).await;
        let space = format!(
            "CREATE TABLESPACE small LOCATION '{}'",
            disk.path().display()
        );
        admin.batch_execute(&space).await.unwrap();
        let database = "CREATE DATABASE dogs TABLESPACE small";
        admin.batch_execute(database).await.unwrap();
        let store = PostgresStore::open(&server.url("dogs")).await.unwrap();
        let log = dogs(&store).await;
        let mut recorded = 0;
        let refused = loop {
            match log.append(large_append(recorded)).await {
                Ok(_) => recorded += 1,
                Err(error) => break error,
            }
            assert!(
                recorded < u128::from(DISK_AFTERWARDS),
                "the disk is never full"
            );
        };
        check_unavailable(Err::<(), _>(refused), "disk space");
        assert_eq!(count(&*log).await, recorded * 2);
        check_unavailable(log.append(large_append(recorded)).await, "disk space");
        disk.grow();
        for number in recorded..recorded + 3 {
            log.append(large_append(number)).await.unwrap();
        }
        assert_eq!(count(&*log).await, (recorded + 3) * 2);
        drop((store, log));
        server.crash().unwrap();
    });
}

async fn count(log: &dyn Recorder) -> u128 {
    u128::from(log.head().await.unwrap().checkpoint.unwrap().position.get())
}

/// Goal: a standby serves all reads, and waits for changes, and refuses appends with the reason.
#[test]
fn a_standby_is_read_and_not_written() {
    block_on(async {
        let server = start(&Setup::new());
        let primary = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&primary).await;
        log.append(append_of(1, 1)).await.unwrap();
        let standby = tokio::task::block_in_place(|| server.standby()).unwrap();
        let url = standby.url("postgres");

        let store = PostgresStore::open(&url).await.unwrap();
        let copy = dogs(&store).await;
        let news = copy.changed_since(1);
        let appended = log.append(append_of(1, 2));
        let (news, appended) = tokio::join!(news, appended);
        appended.unwrap();
        assert_eq!(news.unwrap(), 2);
        let there = log.read_log(LogRead::new()).await.unwrap();
        assert_eq!(copy.read_log(LogRead::new()).await.unwrap(), there);
        check_unavailable(copy.append(append_of(1, 3)).await, "read-write");
        let minute = std::time::Duration::from_secs(60);
        check_unavailable(store.acquire_lease("a", "b", minute).await, "read-write");
        let unborn = store.open("cats", LogId::new(Uuid::from_u128(9))).await;
        check_unavailable(unborn.map(drop), "read-write");

        // A URL with both servers reaches the wanted one.
        let both = |wanted: &str| {
            let (one, other) = (standby.port(), server.port());
            format!(
                "postgres://retold@127.0.0.1:{one},127.0.0.1:{other}/postgres?sslmode=disable\
                 &target_session_attrs={wanted}"
            )
        };
        let store = PostgresStore::open(&both("read-write")).await.unwrap();
        dogs(&store).await.append(append_of(1, 3)).await.unwrap();
        PostgresStore::open_read_only(&both("read-only"))
            .await
            .unwrap();
        let nowhere = format!(
            "{}&target_session_attrs=read-write",
            standby.url("postgres")
        );
        assert!(PostgresStore::open(&nowhere).await.is_err());
    });
}

/// Pauses or resumes replay on a standby.
async fn pause_replay(standby: &PostgresServer, is_paused: bool) {
    let call = match is_paused {
        true => "SELECT pg_wal_replay_pause()",
        false => "SELECT pg_wal_replay_resume()",
    };
    let client = connect(&standby.url("postgres")).await;
    client.batch_execute(call).await.unwrap();
    let state = "SELECT pg_get_wal_replay_pause_state() = $1";
    let wanted = if is_paused { "paused" } else { "not paused" };
    until(async || client.query_one(state, &[&wanted]).await.unwrap().get(0)).await;
}

fn diverged<T>(read: Result<T, RecordError>) -> bool {
    matches!(read, Err(RecordError::Diverged { .. }))
}

/// Goal: if one of several standbys has not replayed an event that a reader has read from another,
/// the reader waits for it and never reports divergence; another event at the place of a checkpoint
/// always is divergence. Method: two standbys behind one URL; the second replays nothing while the
/// first is used, and then the first crashes.
#[test]
fn a_standby_that_is_further_behind_than_another_is_waited_for() {
    block_on(async {
        let server = start(&Setup::new());
        let primary = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&primary).await;
        log.append(append_of(1, 1)).await.unwrap();
        let standbys = tokio::task::block_in_place(|| [server.standby(), server.standby()]);
        let [first, second] = standbys.map(|it| it.unwrap_or_else(|error| panic!("{error}")));
        let birth_of_cats = LogId::new(Uuid::from_u128(2));
        pause_replay(&second, true).await;
        for number in 2..5 {
            log.append(append_of(1, number)).await.unwrap();
        }
        let cats = primary.open("cats", birth_of_cats).await.unwrap();
        cats.append(append_of(7, 1)).await.unwrap();
        let head = log.head().await.unwrap().checkpoint.unwrap();
        let before =
            (log.read_log(LogRead::at(Position::FIRST)).await.unwrap()).events[0].checkpoint();

        let url = format!(
            "postgres://retold@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable\
             &target_session_attrs=read-only",
            first.port(),
            second.port()
        );
        let store = PostgresStore::open_read_only(&url).await.unwrap();
        let copy = store.open_read_only("dogs").await.unwrap();
        until(async || copy.head().await.unwrap().checkpoint == Some(head)).await;
        let copy_of_cats = store.open_read_only("cats").await.unwrap();
        until(async || copy_of_cats.log_id().await.unwrap() == Some(birth_of_cats)).await;
        let version = copy.read_stream(StreamRead::new("dog/1")).await.unwrap();
        let in_stream = version.events.last().unwrap();
        let in_stream = (in_stream.version(), Some(in_stream.checkpoint()));
        tokio::task::block_in_place(|| first.crash().unwrap());

        // From here on reads reach the second standby, which has only the first two events.
        let after_head = LogRead::new().after_checkpoint(head);
        let after_last = StreamRead::new("dog/1").after_checkpoint(in_stream.0, in_stream.1);
        until(async || copy.head().await.is_ok()).await;
        check_unavailable(copy.read_log(after_head.clone()).await, "standby");
        check_unavailable(
            copy.read_log(after_head.clone().backward()).await,
            "standby",
        );
        check_unavailable(copy.read_stream(after_last.clone()).await, "standby");
        check_unavailable(copy_of_cats.head().await, "standby");
        check_unavailable(copy_of_cats.read_log(LogRead::new()).await, "standby");
        let other = Checkpoint {
            event_id: head.event_id,
            ..before
        };
        assert!(diverged(
            copy.read_log(LogRead::new().after_checkpoint(other)).await
        ));
        let other = StreamRead::new("dog/1")
            .after_checkpoint(in_stream.0.map(|_| Version::FIRST), Some(other));
        assert!(diverged(copy.read_stream(other).await));
        // A primary has all events.
        let beyond = Checkpoint {
            position: head.position.next(),
            ..head
        };
        assert!(diverged(
            log.read_log(LogRead::new().after_checkpoint(beyond)).await
        ));

        // A waiting read returns when the standby has caught up.
        let waiting = [after_head.clone(), after_head.backward()].map(|read| {
            let copy = copy.clone();
            tokio::spawn(async move { copy.read_log(read).await })
        });
        pause_replay(&second, false).await;
        for read in waiting {
            if let Err(error) = read.await.unwrap() {
                // It may have taken longer than a read waits.
                check_unavailable(Err::<(), _>(error), "standby");
            }
        }
        until(async || copy.read_stream(after_last.clone()).await.is_ok()).await;
        until(async || {
            copy_of_cats
                .head()
                .await
                .is_ok_and(|head| head.checkpoint.is_some())
        })
        .await;
    });
}

/// Goal: with a synchronous standby, every acknowledged event survives the loss of the primary and
/// the promotion of the standby, and the open stores continue with it. Method: writers that know
/// both servers, and never stop.
#[test]
fn a_promoted_standby_has_every_acknowledged_event() {
    block_on(async {
        let server = start(&Setup::new());
        let standby = tokio::task::block_in_place(|| server.standby()).unwrap();
        let url = format!(
            "postgres://retold@127.0.0.1:{},127.0.0.1:{}/postgres?sslmode=disable\
             &target_session_attrs=read-write",
            server.port(),
            standby.port()
        );
        let admin = connect(&server.url("postgres")).await;
        wait_for_standbys(&admin, "*").await;
        let sync = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'";
        until(async || !admin.query(sync, &[]).await.unwrap().is_empty()).await;

        let mut logs = Vec::new();
        for _ in 0..2 {
            logs.push(dogs(&PostgresStore::open(&url).await.unwrap()).await);
        }
        let writers = Writers::start(&logs);
        writers.progress(100).await;
        tokio::task::block_in_place(|| {
            server.crash().unwrap();
            standby.promote().unwrap();
        });
        writers.progress(100).await;
        let store = PostgresStore::open(&standby.url("postgres")).await.unwrap();
        writers.finish(&*dogs(&store).await).await;
    });
}

/// Waits until `count` sessions of the store wait for a standby, and returns their process ids.
async fn waiting_for_standbys(admin: &Client, count: usize) -> Vec<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
               AND application_name = 'retold'";
    let mut found = Vec::new();
    until(async || {
        let rows = admin.query(sql, &[]).await.unwrap();
        found = rows.iter().map(|row| row.get(0)).collect();
        found.len() == count
    })
    .await;
    found
}

/// Goal: an append whose wait for the standby was cancelled is not acknowledged; sent again, it
/// waits for the standby and is settled. Method: a standby that is stopped and restarted, with and
/// without inline projections.
#[test]
fn an_append_whose_wait_for_the_standby_is_cancelled_is_settled_by_sending_again() {
    block_on(async {
        let server = start(&Setup::new());
        let standby = tokio::task::block_in_place(|| server.standby()).unwrap();
        let admin = connect(&server.url("postgres")).await;
        let url = server.url("postgres");
        let inline = PostgresInlineProjections::new().with(tricks(1), tables());
        let options = PostgresOptions::new();
        let with_views = PostgresStore::open_with_projections(&url, &options, inline);
        let with_views = with_views.await.unwrap();
        let birth = LogId::new(Uuid::from_u128(1));
        let logs = [
            PostgresStore::open(&url)
                .await
                .unwrap()
                .open("plain", birth)
                .await
                .unwrap(),
            with_views.open("dogs", birth).await.unwrap(),
        ];
        wait_for_standbys(&admin, "*").await;
        for log in logs {
            log.append(TrickAdded::append(["sit"])).await.unwrap();
            tokio::task::block_in_place(|| standby.crash().unwrap());
            let append = TrickAdded::append(["roll over"]);
            let send = || {
                let (log, append) = (log.clone(), append.clone());
                tokio::spawn(async move { log.append(append).await })
            };
            // Repeated: the second one is a repeat.
            for _ in 0..2 {
                let sent = send();
                let waiting = waiting_for_standbys(&admin, 1).await;
                let cancel = "SELECT pg_cancel_backend($1)";
                admin.query(cancel, &[&waiting[0]]).await.unwrap();
                let answer = sent.await.unwrap();
                let Err(RecordError::OutcomeUnknown(error)) = answer else {
                    panic!("{answer:?}");
                };
                assert!(error.to_string().contains("standby"), "{error}");
            }
            let sent = send();
            waiting_for_standbys(&admin, 1).await;
            assert!(!sent.is_finished());
            tokio::task::block_in_place(|| standby.launch().unwrap());
            let settled = sent.await.unwrap();
            assert!(matches!(settled, Ok(Appended::Repeated(_))), "{settled:?}");
        }
        tokio::task::block_in_place(|| {
            server.crash().unwrap();
            standby.promote().unwrap();
        });
        let store = PostgresStore::open(&standby.url("postgres")).await.unwrap();
        for name in ["plain", "dogs"] {
            let log = store.open_read_only(name).await.unwrap();
            let events = log.read_log(LogRead::new()).await.unwrap().events;
            assert_eq!(events.len(), 2, "{name}");
        }
    });
}

/// Goal: a connection pool that gives each transaction another connection would mix up the store's
/// prepared statements and settings; it is refused with a reason, in each of its modes, also if it
/// is configured to drop unknown settings.
#[test]
fn a_connection_pool_is_refused_with_a_reason() {
    block_on(async {
        let server = start(&Setup::new());
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        dogs(&store).await.append(append_of(1, 1)).await.unwrap();
        for mode in ["transaction", "session", "statement"] {
            for settings in ["", "ignore_startup_parameters = options"] {
                let pool = PgBouncer::before(&server, mode, settings);
                let Some(pool) = pool.unwrap_or_else(|error| panic!("{error}")) else {
                    eprintln!("skipped: PgBouncer is not installed");
                    return;
                };
                let url = pool.url("postgres");
                let writing = PostgresStore::open(&url).await.map(drop);
                let reading = PostgresStore::open_read_only(&url).await.map(drop);
                for refused in [writing, reading] {
                    let Err(RecordError::Invalid(refused)) = refused else {
                        panic!("{mode} {settings}: {refused:?}");
                    };
                    assert!(refused.to_string().contains("PgBouncer"), "{refused}");
                }
            }
        }
    });
}

/// Goal: a read-only database reports why it refuses an append, with advice.
#[test]
fn a_read_only_database_is_reported() {
    block_on(async {
        let database = Database::create().await;
        let log = dogs(&database.open().await).await;
        let name = database.name();
        let only_reads = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
        database
            .client()
            .await
            .batch_execute(&only_reads)
            .await
            .unwrap();
        drop(log);
        let store = database.open().await;
        let log = dogs(&store).await;
        check_unavailable(log.append(append_of(1, 1)).await, "read-write");
        assert!(
            log.read_log(LogRead::new())
                .await
                .unwrap()
                .events
                .is_empty()
        );
    });
}
