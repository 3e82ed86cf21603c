//! Reaching a server: of several, the first that lets us in, speaks for itself and is new enough.

use std::time::Duration;

use retold_core::recording::error::RecordError;
use tokio_postgres::config::{Config, Host};
use tokio_postgres::{Client, Error, Socket};

use super::encrypted::{Encrypted, Encrypter};
use super::error::{Refusal, of_statement};
use super::opening::may_pass;
use super::options::CONNECT_WAIT_MAX;
use super::place::Place;

/// What moves the bytes of a connection, and hears what the server says unasked.
pub(crate) type Link = tokio_postgres::Connection<Socket, Encrypted<Socket>>;

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
    let connecting = config.connect(Encrypter(place.encryption.config.clone()));
    let reached = tokio::time::timeout(wait_max(config), connecting).await;
    let Ok(reached) = reached else {
        return Err(RecordError::unavailable(WHAT, Refusal::Silent));
    };
    let (client, link) = reached.map_err(refused)?;
    check_version(link.parameter("server_version"))?;
    Ok((client, link))
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
