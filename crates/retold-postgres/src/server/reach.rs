//! Connects to the first of several servers that accepts the login, is not behind a connection pool
//! and is new enough.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use retold_core::recording::RecordError;
use tokio_postgres::config::{Config, Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::encrypted::{Encrypted, ToServer};
use super::greeting::Greeted;
use super::place::ServerPlace;
use super::socket::{Address, Socket, addresses};
use crate::error::{Refusal, of_statement};
use crate::limits::CONNECT_WAIT_MAX;
use crate::opening::may_pass;

/// Moves the bytes of a connection, and receives the server's notices.
pub(crate) type Link = tokio_postgres::Connection<Greeted<Socket>, Encrypted<Greeted<Socket>>>;

/// The oldest supported server: older ones are not maintained, and are not tested with the store.
const SERVER_VERSION_MIN: u32 = 14;

const WHAT: &str = "connecting to the PostgreSQL server";

/// Connects to the first usable server of the place.
///
/// # Errors
///
/// `Unavailable`, or `Invalid` for a server that is too old or a connection pool in between that
/// drops our settings.
pub(crate) async fn reach(place: &ServerPlace) -> Result<(Client, Link), RecordError> {
    let mut failures = Vec::new();
    for config in &place.servers {
        match reach_one(config, place).await {
            Ok(reached) => return Ok(reached),
            Err(error) => failures.push((name(config), error)),
        }
    }
    match failures.as_slice() {
        [(_, error)] => Err(error.clone()),
        several => {
            let may_pass = several.iter().any(|(_, error)| may_pass(error));
            let several = several
                .iter()
                .map(|(name, error)| format!("{name}: {error}"));
            let failures = several.collect::<Vec<_>>().join("; ");
            Err(RecordError::unavailable(
                WHAT,
                Refusal::NoServer { failures, may_pass },
            ))
        }
    }
}

async fn reach_one(config: &Config, place: &ServerPlace) -> Result<(Client, Link), RecordError> {
    let connecting = async {
        let mut failure = None;
        for address in addresses(config) {
            match connect(&address, config, place).await {
                Ok(connected) => return Ok(connected),
                Err(error) => failure = Some(error),
            }
        }
        let nowhere = || unreachable(io::Error::new(io::ErrorKind::InvalidInput, "no host"));
        Err(failure.unwrap_or_else(nowhere))
    };
    let reached = tokio::time::timeout(wait_max(config), connecting).await;
    let Ok(reached) = reached else {
        return Err(RecordError::unavailable(WHAT, Refusal::Silent));
    };
    let (client, link) = reached?;
    check_version(link.parameter("server_version"))?;
    Ok((client, link))
}

/// Connects to an address, as the driver itself would, but with the limit on what the server can
/// send before it has accepted the login.
async fn connect(
    address: &Address,
    config: &Config,
    place: &ServerPlace,
) -> Result<(Client, Link), RecordError> {
    let socket = address.open(config).await.map_err(unreachable)?;
    let socket = match (config.get_ssl_mode(), config.get_ssl_negotiation()) {
        (SslMode::Disable, _) => Greeted::plain(socket),
        (_, SslNegotiation::Direct) => Greeted::encrypted(socket),
        _ => Greeted::asked_for_encryption(socket),
    };
    let encryption = ToServer::new(&place.encryption.config, &address.name);
    let encryption = encryption.map_err(|error| {
        RecordError::invalid(format!(
            "the host {:?} has no certificate: {error}",
            address.name
        ))
    })?;
    let connected = config.connect_raw(socket, encryption).await;
    let (client, mut link) = connected.map_err(refused)?;
    let wanted = config.get_target_session_attrs();
    if wanted != TargetSessionAttrs::Any {
        let only_reads = tokio::select! {
            only_reads = only_reads(&client, place) => only_reads.map_err(refused)?,
            // The link moves the bytes of the query; it ends first only if it fails.
            ended = &mut link => {
                ended.map_err(refused)?;
                return Err(RecordError::unavailable(WHAT, Refusal::Silent));
            }
        };
        let refusal = match (wanted, only_reads) {
            (TargetSessionAttrs::ReadWrite, true) => Some("the database does not allow writes"),
            (TargetSessionAttrs::ReadOnly, false) => Some("the database is not read only"),
            _ => None,
        };
        if let Some(refusal) = refusal {
            // Another server may become the wanted one later.
            let error = io::Error::new(io::ErrorKind::PermissionDenied, refusal);
            return Err(unreachable(error));
        }
    }
    Ok((client, link))
}

fn unreachable(error: io::Error) -> RecordError {
    RecordError::unavailable(WHAT, Refusal::Unreachable(Arc::new(error)))
}

/// Whether the server accepts no writes.
async fn only_reads(client: &Client, place: &ServerPlace) -> Result<bool, Error> {
    let sql = match place.reads_by_default {
        // If the connection itself asks for read-only transactions, its setting does not describe
        // the server.
        true => "SELECT CASE WHEN pg_is_in_recovery() THEN 'on' ELSE 'off' END",
        false => "SHOW transaction_read_only",
    };
    let answer = client.simple_query(sql).await?;
    let said = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(said == Some("on"))
}

/// Returns the longest wait for a server of this place.
pub(crate) fn wait_max(config: &Config) -> Duration {
    *config.get_connect_timeout().unwrap_or(&CONNECT_WAIT_MAX)
}

fn refused(error: Error) -> RecordError {
    // PgBouncer's message about the settings that our connections begin with.
    let drops_settings = error
        .as_db_error()
        .is_some_and(|found| found.message().contains("startup parameter"));
    if drops_settings {
        return pool_between();
    }
    of_statement(WHAT, error)
}

/// Returns the error about a connection pool in front of the server that does not give us a
/// connection of our own.
pub(crate) fn pool_between() -> RecordError {
    RecordError::invalid(
        "a connection pool in front of the server (perhaps PgBouncer) does not accept the \
         settings that each connection of the store begins with; such a pool would mix up its \
         clients' prepared statements, settings and LISTEN. Name the server itself: the store has \
         a pool of its own, whose size connections_max limits",
    )
}

fn check_version(reported: Option<&str>) -> Result<(), RecordError> {
    let reported = reported.unwrap_or_default();
    let end = reported.find(|it: char| !it.is_ascii_digit());
    let major = reported[..end.unwrap_or(reported.len())].parse::<u32>();
    match major {
        Ok(major) if major < SERVER_VERSION_MIN => Err(RecordError::invalid(format!(
            "the server is PostgreSQL {reported}; the store needs {SERVER_VERSION_MIN} at least"
        ))),
        _ => Ok(()),
    }
}

/// Returns the name of a server for messages.
fn name(config: &Config) -> String {
    let port = config.get_ports().first();
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config
            .get_hostaddrs()
            .first()
            .map_or(String::new(), ToString::to_string),
    };
    format!("{host}{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_14_are_refused() {
        let reported = |version: &str| check_version(Some(version)).map_err(|it| it.to_string());
        assert!(reported("13.22").unwrap_err().contains("PostgreSQL 13.22"));
        assert!(reported("9.6.24 (Debian 9.6.24-1)").is_err());
        for fine in [
            "14.0",
            "15.14 (Debian 15.14-0+deb12u1)",
            "18beta1",
            "devel",
            "",
        ] {
            assert_eq!(reported(fine), Ok(()), "{fine}");
        }
    }
}
