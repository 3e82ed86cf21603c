//! Reaching a server: of several, the first that lets us in, speaks for itself and is new enough.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use retold_core::recording::RecordError;
use tokio_postgres::config::{Config, Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::{Client, Error, SimpleQueryMessage};

use super::encrypted::{Encrypted, ToServer};
use super::greeting::Greeted;
use super::place::Place;
use super::socket::{Address, Socket, addresses};
use crate::error::{Refusal, of_statement};
use crate::opening::may_pass;
use crate::options::CONNECT_WAIT_MAX;

/// What moves the bytes of a connection, and hears what the server says unasked.
pub(crate) type Link = tokio_postgres::Connection<Greeted<Socket>, Encrypted<Greeted<Socket>>>;

/// The oldest server that is supported: older ones are not maintained, and nobody tries them.
const SERVER_VERSION_MIN: u32 = 14;

const WHAT: &str = "connecting to the PostgreSQL server";

/// A connection to the first server of the place that can be used.
///
/// # Errors
///
/// `Unavailable`, or `Invalid` for a server that is too old or a pool between that drops our settings.
pub(crate) async fn reach(place: &Place) -> Result<(Client, Link), RecordError> {
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

async fn reach_one(config: &Config, place: &Place) -> Result<(Client, Link), RecordError> {
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

/// Connects to an address, as the driver does by itself, but for the bound on what the server says before
/// it lets us in.
async fn connect(
    address: &Address,
    config: &Config,
    place: &Place,
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
            // It moves the bytes of the question; it ends first only if it fails.
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
            // Another server may become the one that is wanted.
            let error = io::Error::new(io::ErrorKind::PermissionDenied, refusal);
            return Err(unreachable(error));
        }
    }
    Ok((client, link))
}

fn unreachable(error: io::Error) -> RecordError {
    RecordError::unavailable(WHAT, Refusal::Unreachable(Arc::new(error)))
}

/// Whether the server takes no writes.
async fn only_reads(client: &Client, place: &Place) -> Result<bool, Error> {
    let sql = match place.reads_by_default {
        // What the connection itself asks for says nothing of the server.
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

/// Longest wait for a server of this place.
pub(crate) fn wait_max(config: &Config) -> Duration {
    *config.get_connect_timeout().unwrap_or(&CONNECT_WAIT_MAX)
}

fn refused(error: Error) -> RecordError {
    // What PgBouncer says of the settings that our connections begin with.
    let drops_settings = error
        .as_db_error()
        .is_some_and(|found| found.message().contains("startup parameter"));
    if drops_settings {
        return pool_between();
    }
    of_statement(WHAT, error)
}

/// Something stands between us and the server that does not give us a connection of our own.
pub(crate) fn pool_between() -> RecordError {
    RecordError::invalid(
        "a pool of connections stands before the server (PgBouncer, perhaps) and does not take the \
         settings that each connection of the store begins with; such a pool would mix up prepared \
         statements, settings and LISTEN of its clients. Name the server itself: the store has a pool of \
         its own, whose size connections_max bounds",
    )
}

fn check_version(told: Option<&str>) -> Result<(), RecordError> {
    let told = told.unwrap_or_default();
    let end = told.find(|it: char| !it.is_ascii_digit());
    let major = told[..end.unwrap_or(told.len())].parse::<u32>();
    match major {
        Ok(major) if major < SERVER_VERSION_MIN => Err(RecordError::invalid(format!(
            "the server is PostgreSQL {told}; the store needs {SERVER_VERSION_MIN} at least"
        ))),
        _ => Ok(()),
    }
}

/// A server as messages name it.
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
        let told = |version: &str| check_version(Some(version)).map_err(|it| it.to_string());
        assert!(told("13.22").unwrap_err().contains("PostgreSQL 13.22"));
        assert!(told("9.6.24 (Debian 9.6.24-1)").is_err());
        for fine in [
            "14.0",
            "15.14 (Debian 15.14-0+deb12u1)",
            "18beta1",
            "devel",
            "",
        ] {
            assert_eq!(told(fine), Ok(()), "{fine}");
        }
    }
}
