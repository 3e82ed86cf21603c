//! Backup, restore and moving: PostgreSQL's own tools copy the whole store to another database,
//! with its guards, and the copy is usable.

use std::fs;
use std::process::Command;

use retold_core::recording::{LogId, LogRead, Store, verify_log};
use retold_postgres::{PostgresStore, roles_sql, schema_sql};
use xtask::postgres_server::{PostgresServer, Setup};

use crate::database::{block_on, connect, until};
use crate::writers::{Writers, append_of, dogs};

#[track_caller]
fn run(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

#[test]
fn a_dump_is_restored_as_the_same_store() {
    block_on(async {
        let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        for number in 0..20 {
            log.append(append_of(1, number)).await.unwrap();
        }
        let admin = connect(&server.url("postgres")).await;
        admin
            .batch_execute(&roles_sql("retold").unwrap())
            .await
            .unwrap();
        let role = "CREATE ROLE service LOGIN IN ROLE retold_writer";
        admin.batch_execute(role).await.unwrap();
        admin.batch_execute("CREATE DATABASE copy").await.unwrap();

        let file = server.folder().join("dump");
        let mut dump = server.command_as_owner(&server.program("pg_dump"));
        dump.args(["--format=custom", "--file"]).arg(&file);
        dump.arg(server.url("postgres"));
        run(dump);
        let mut restore = server.command_as_owner(&server.program("pg_restore"));
        restore.args(["--exit-on-error", "--single-transaction", "--dbname"]);
        restore.arg(server.url("copy")).arg(&file);
        run(restore);
        fs::remove_file(&file).unwrap();

        let url = server.url("copy").replace("retold@", "service@");
        let copied = PostgresStore::open(&url).await.unwrap();
        let copy = dogs(&copied).await;
        assert_eq!(copy.log_id().await.unwrap(), log.log_id().await.unwrap());
        let all = LogRead::new();
        let there = log.read_log(all.clone()).await.unwrap();
        assert_eq!(copy.read_log(all).await.unwrap(), there);
        copy.append(append_of(1, 20)).await.unwrap();
        let more = LogId::new(uuid::Uuid::from_u128(5));
        copied.open("cats", more).await.unwrap();
        let verified = verify_log(&*copy, &mut |_| {}).await.unwrap();
        assert!(verified.is_sound(), "{verified:?}");
        let sql = connect(&server.url("copy")).await;
        let refused = sql.batch_execute("DELETE FROM retold.event").await;
        assert!(refused.is_err(), "the guards are restored too");
    });
}

/// Goal: a store moves to a new server by logical replication, guarded all the way. Method: writers
/// while another database subscribes; afterwards its contents are compared, and written to.
#[test]
fn a_store_moves_by_logical_replication() {
    block_on(async {
        let setup = Setup::new().setting("wal_level", "logical");
        let server = setup.start().unwrap_or_else(|error| panic!("{error}"));
        let store = PostgresStore::open(&server.url("postgres")).await.unwrap();
        let log = dogs(&store).await;
        let writers = Writers::start(std::slice::from_ref(&log));
        writers.progress(30).await;

        let old = connect(&server.url("postgres")).await;
        let tables =
            "log, retold.event, retold.event_tag, retold.stretch, retold.snapshot, retold.lease";
        let publish = format!("CREATE PUBLICATION moving FOR TABLE retold.{tables}");
        old.batch_execute(&publish).await.unwrap();
        let slot = "SELECT pg_create_logical_replication_slot('moving', 'pgoutput')";
        old.batch_execute(slot).await.unwrap();
        old.batch_execute("CREATE DATABASE moved").await.unwrap();
        let new = connect(&server.url("moved")).await;
        new.batch_execute(&schema_sql("retold").unwrap())
            .await
            .unwrap();
        let subscribe = format!(
            "CREATE SUBSCRIPTION moving
             CONNECTION 'host=127.0.0.1 port={} user=retold dbname=postgres'
             PUBLICATION moving WITH (create_slot = false)",
            server.port()
        );
        new.batch_execute(&subscribe).await.unwrap();
        writers.progress(100).await;
        writers.finish(&*log).await;

        let all = "SELECT append_count FROM retold.log UNION ALL SELECT count(*) FROM retold.event
            UNION ALL SELECT count(*) FROM retold.event_tag";
        let there = numbers(&old, all).await;
        until(async || numbers(&new, all).await == there).await;
        // Ending the subscription would wait for a table that is still being copied, whose copy
        // waits for all transactions of the server, also for this one.
        let copied = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'";
        until(async || numbers(&new, copied).await == [0]).await;
        for sql in [
            "ALTER SUBSCRIPTION moving DISABLE",
            "ALTER SUBSCRIPTION moving SET (slot_name = NONE)",
            "DROP SUBSCRIPTION moving",
            "SELECT setval(pg_get_serial_sequence('retold.log', 'key'), max(key)) FROM retold.log",
        ] {
            new.batch_execute(sql).await.unwrap();
        }
        let moved = PostgresStore::open(&server.url("moved")).await.unwrap();
        let copy = dogs(&moved).await;
        assert!(verify_log(&*copy, &mut |_| {}).await.unwrap().is_sound());
        copy.append(append_of(9, 1)).await.unwrap();
        let more = LogId::new(uuid::Uuid::from_u128(5));
        moved.open("cats", more).await.unwrap();
    });
}

async fn numbers(client: &tokio_postgres::Client, sql: &str) -> Vec<i64> {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
