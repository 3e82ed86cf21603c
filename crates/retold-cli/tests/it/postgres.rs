//! Stores on PostgreSQL: the SQL that creates one, all commands that read, and the sources of
//! passwords.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use retold::recording::Append;
use retold::uuid::Uuid;
use tokio::runtime::Runtime;
use xtask::postgres_server::{PostgresServer, Setup};

use crate::command::{Run, retold, run};
use crate::store::event;

fn record(url: &str) {
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let store = retold::open_store(url).await.unwrap();
        let log = store.open("dogs", Uuid::from_u128(7).into()).await.unwrap();
        let fed = event(1, "Dog.Fed", "{}")
            .stream("dog/1")
            .tag("breed:setter");
        log.append(Append::of([fed])).await.unwrap();
        let missing = store.open("cats", Uuid::from_u128(8).into()).await;
        assert!(missing.is_ok());
    });
}

/// Runs SQL with psql.
fn psql(server: &PostgresServer, sql: &str) {
    let mut psql = server.command_as_owner(&server.program("psql"));
    psql.args(["-q", "-v", "ON_ERROR_STOP=1", &server.url("postgres")]);
    let mut psql = psql.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = psql.stdin.take().unwrap();
    input.write_all(sql.as_bytes()).unwrap();
    drop(input);
    assert!(psql.wait().unwrap().success());
}

/// Goal: the printed SQL creates a store, and a program with a writer's privileges uses it. Method:
/// the SQL through psql, twice for the part that may be run again.
#[test]
fn the_printed_schema_is_a_store_for_its_roles() {
    let server = PostgresServer::start().unwrap_or_else(|error| panic!("{error}"));
    let url = format!("{}&schema=shop", server.url("postgres"));
    let sql = run(&["schema", "postgres", "--schema", "shop"]).fine();
    psql(&server, &sql);
    psql(
        &server,
        &run(&["schema", "postgres", "--schema", "shop", "--only", "roles"]).fine(),
    );
    psql(
        &server,
        "CREATE ROLE service LOGIN IN ROLE shop_writer;
         CREATE ROLE reports LOGIN IN ROLE shop_reader;
         CREATE ROLE stranger LOGIN;",
    );
    let of = |role: &str| url.replace("retold@", &format!("{role}@"));
    record(&of("service"));
    check_reading(&of("reports"));
    let refused = run(&["logs", &of("stranger")]);
    refused.check_refused(1, "GRANT \"shop_reader\" TO \"stranger\"");

    run(&["schema", "postgres", "--schema", "pg_x"]).check_refused(2, "pg_x");
    let tables = run(&["schema", "postgres", "--only", "tables"]).fine();
    assert!(!tables.contains("retold_writer") && tables.contains("CREATE TABLE"));
    let object = &run(&["schema", "postgres", "--json"]).objects()[0];
    assert!(object["sql"].as_str().unwrap().contains("retold_reader"));
}

/// Runs all commands that read.
#[track_caller]
fn check_reading(url: &str) {
    let cats = run(&["logs", url]).fine();
    assert!(cats.contains("cats") && cats.contains("dogs"), "{cats}");
    assert!(run(&["streams", url, "dogs"]).fine().contains("dog/1"));
    let events = run(&["events", url, "dogs", "--tag", "breed:setter"]).fine();
    assert!(events.contains("Dog.Fed"), "{events}");
    assert!(run(&["verify", url]).fine().contains("No problems"));
    run(&["follower", "list", url]).fine();
    let secret = url.replace('@', ":secret@");
    let unknown = run(&["events", &secret, "dgos"]);
    unknown.check_refused(1, "its logs are: cats, dogs");
    assert!(!unknown.err.contains("secret"), "{unknown:?}");
}

/// Goal: passwords come from the places that users of PostgreSQL know. Method: a server that
/// requires one, and the command with a right or wrong one in the environment or in a file.
#[test]
fn passwords_come_from_the_environment_and_from_files() {
    let hba = "local all all trust\nhost all ann all scram-sha-256\nhost all all all trust\n";
    let server = Setup::new().file("pg_hba.conf", hba).start();
    let server = server.unwrap_or_else(|error| panic!("{error}"));
    record(&server.url("postgres"));
    psql(
        &server,
        "CREATE ROLE ann LOGIN SUPERUSER PASSWORD 'geheim'; CREATE ROLE ben LOGIN;",
    );
    let url = server.url("postgres").replace("retold@", "ann@");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passwords");
    let line = format!("127.0.0.1:{}:postgres:ann:geheim\n", server.port());
    fs::write(&file, line).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let shown = file.display().to_string();

    let logs = |url: &str, environment: &[(&str, &str)]| {
        let mut command = retold(&["logs", url]);
        command.env("HOME", folder.path()).env_remove("PGPASSWORD");
        command.env_remove("PGPASSFILE");
        command.envs(environment.iter().copied());
        finish(command)
    };
    logs(&url, &[]).check_refused(1, "password");
    logs(&url, &[("PGPASSWORD", "geheim")]).fine();
    logs(&url, &[("PGPASSWORD", "falsch")]).check_refused(1, "PGPASSWORD");
    logs(&url, &[("PGPASSFILE", &shown)]).fine();
    logs(&format!("{url}&passfile={shown}"), &[]).fine();
    logs(
        &url.replace("ann@", "ann:geheim@"),
        &[("PGPASSWORD", "falsch")],
    )
    .fine();
    fs::rename(&file, folder.path().join(".pgpass")).unwrap();
    logs(&url, &[]).fine();
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.path().join(".pgpass"), readable).unwrap();
    logs(&url, &[]).check_refused(1, "password");
}

fn finish(mut command: Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
