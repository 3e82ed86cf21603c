//! Backup and restore: what PostgreSQL's own tools carry to another database is the store, whole, with
//! its guards and rights, and it goes on.

use std::fs;
use std::process::Command;

use retold_core::recording::recorder::LogRead;
use retold_core::recording::store::Store;
use retold_core::recording::verify::verify_log;
use retold_postgres::{PostgresStore, roles_sql};
use xtask::postgres_server::PostgresServer;

use crate::database::{block_on, connect};
use crate::writers::{append_of, dogs};

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
        admin.batch_execute(&roles_sql("retold")).await.unwrap();
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
        let more = retold_core::recording::identity::LogId::new(uuid::Uuid::from_u128(5));
        copied.open("cats", more).await.unwrap();
        let verified = verify_log(&*copy, &mut |_| {}).await.unwrap();
        assert!(verified.is_sound(), "{verified:?}");
        let sql = connect(&server.url("copy")).await;
        let refused = sql.batch_execute("DELETE FROM retold.event").await;
        assert!(refused.is_err(), "the guards are restored too");
    });
}
