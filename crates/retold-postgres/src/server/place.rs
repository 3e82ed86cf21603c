//! The place of a store: its servers, how to reach them, and the schema. Built from a URL, the
//! environment's passwords and options.

use std::str::FromStr;

use retold_core::recording::RecordError;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::encryption::Encryption;
use super::passwords::{Passwords, Sought};
use super::url::take_apart;
use crate::limits::{
    ANSWER_WAIT_MAX, CONNECT_WAIT_MAX, CONNECTIONS_MAX, KEEPALIVE_IDLE, LOCK_WAIT_MAX,
};
use crate::options::{PostgresOptions, SCHEMA_DEFAULT};
use crate::sql_text::{check_schema, quote};

/// The default port of servers.
pub(crate) const PORT_DEFAULT: u16 = 5432;

/// A setting that the server does not know and stores for us. It shows that our settings arrived: a
/// connection pool in between that drops them (as PgBouncer does) must be noticed.
pub(crate) const SETTINGS_CAME: &str = "retold.settings_came";

/// Servers, how to reach them, and the schema of a store.
#[derive(Clone, Debug)]
pub(crate) struct ServerPlace {
    /// In the order of attempts; at least one.
    pub(crate) servers: Vec<Config>,
    pub(crate) encryption: Encryption,
    pub(crate) schema: String,
    pub(crate) connections_max: usize,
    /// Whether its transactions are read-only by default.
    pub(crate) reads_by_default: bool,
}

impl ServerPlace {
    /// Returns the place that a URL and options name.
    ///
    /// # Errors
    ///
    /// `Invalid` for unknown or unsupported parameters.
    pub(crate) fn new(url: &str, options: &PostgresOptions) -> Result<Self, RecordError> {
        let parts = take_apart(url)?;
        let encryption = Encryption::new(&parts.encryption)?;
        let passwords = Passwords::gather(parts.passfile.as_deref())?;
        let schema = options.schema.clone().or(parts.schema);
        let schema = schema.unwrap_or_else(|| SCHEMA_DEFAULT.to_owned());
        check_schema(&schema)?;
        let servers = parts.servers.iter();
        let servers = servers.map(|url| server(url, &encryption, &passwords));
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            encryption,
            schema,
            connections_max: options
                .connections_max
                .or(parts.connections_max)
                .unwrap_or(CONNECTIONS_MAX),
            reads_by_default: false,
        })
    }

    /// Returns the quoted name of the schema.
    pub(crate) fn quoted_schema(&self) -> String {
        quote(&self.schema)
    }
}

/// Returns how to reach one server.
fn server(
    url: &str,
    encryption: &Encryption,
    passwords: &Passwords,
) -> Result<Config, RecordError> {
    let mut config = Config::from_str(url).map_err(|error| {
        // The URL itself may contain a password and is not shown.
        use std::error::Error as _;
        let reason = error.source().map_or(String::new(), |it| format!(": {it}"));
        RecordError::invalid(format!(
            "the URL of the PostgreSQL server is refused{reason}"
        ))
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(RecordError::invalid(
            "the URL of the PostgreSQL server is refused: it names no host",
        ));
    }
    // As in libpq, a connection that never leaves the machine is not encrypted.
    let is_local = !config.get_hosts().is_empty() && config.get_hosts().iter().all(is_socket);
    config.ssl_mode(if is_local {
        SslMode::Disable
    } else {
        encryption.ssl_mode
    });
    if config.get_password().is_none()
        && let Some(password) = find_password(&config, passwords)
    {
        config.password(password);
    }
    if config.get_application_name().is_none() {
        config.application_name("retold");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_WAIT_MAX);
    }
    config.keepalives_idle(KEEPALIVE_IDLE);
    config.tcp_user_timeout(ANSWER_WAIT_MAX);
    config.options(settings(config.get_options()));
    Ok(config)
}

#[cfg(unix)]
fn is_socket(host: &Host) -> bool {
    matches!(host, Host::Unix(_))
}

#[cfg(not(unix))]
fn is_socket(_: &Host) -> bool {
    false
}

fn find_password(config: &Config, passwords: &Passwords) -> Option<String> {
    let addressed = config.get_hostaddrs().first().map(ToString::to_string);
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host,
        #[cfg(unix)]
        Some(Host::Unix(_)) => "localhost",
        None => addressed.as_deref()?,
    };
    let user = config.get_user()?;
    passwords.find(Sought {
        host,
        port: config.get_ports().first().copied().unwrap_or(PORT_DEFAULT),
        database: config.get_dbname().unwrap_or(user),
        user,
    })
}

/// Returns the settings of our connections. Every statement of the store is meant to use an index.
/// A plan with scans or hashes would be chosen only while a table is small or its statistics are
/// old; so these are switched off, and plans are made once and stay right. Checks of conditions
/// rely on `read committed`: each statement of the function sees everything that was committed
/// before the lock was acquired.
fn settings(given: Option<&str>) -> String {
    let lock_wait = LOCK_WAIT_MAX.as_millis();
    format!(
        "{} -c default_transaction_isolation=read\\ committed -c lock_timeout={lock_wait} \
         -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
         -c enable_bitmapscan=off -c plan_cache_mode=force_generic_plan -c jit=off \
         -c max_parallel_workers_per_gather=0 -c client_min_messages=warning \
         -c {SETTINGS_CAME}=yes",
        given.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(url: &str, hint: &str) {
        let error = ServerPlace::new(url, &PostgresOptions::new()).unwrap_err();
        assert!(error.to_string().contains(hint), "{url}: {error}");
    }

    #[test]
    fn the_schema_is_taken_from_url_or_options() {
        let schema =
            |url: &str, options: &PostgresOptions| ServerPlace::new(url, options).unwrap().schema;
        let none = PostgresOptions::new();
        assert_eq!(schema("postgres://a@h/d", &none), "retold");
        assert_eq!(schema("postgres://a@h/d?schema=x", &none), "x");
        assert_eq!(
            schema("postgres://a@h/d?sslmode=disable&schema=x", &none),
            "x"
        );
        let options = PostgresOptions::new().schema("y");
        assert_eq!(schema("postgres://a@h/d?schema=x", &options), "y");
    }

    #[test]
    fn unsupported_urls_are_refused() {
        refused("postgres://h/d?sslmode=verify", "sslmode=verify");
        refused("postgres:///d", "no host");
        refused("postgres://h:x/d", "refused");
        refused("postgres://h/d?schema=", "0 bytes");
        refused("postgres://h/d?schema=a&schema=b", "twice");
        refused("postgres://h/d?schema=pg_x", "pg_x");
        refused("postgres://h/d?passfile=/none/x", "/none/x");
    }

    /// Goal: neither a refusal nor the place itself shows a password. Method: valid URLs, and URLs
    /// with characters in the password, or elsewhere, that make the URL split in another place.
    #[test]
    fn no_password_is_shown() {
        let before = [
            "ann:", ":", "ann%3A", "ann:a@", "ann:a/", "ann:a?", "ann:a?b=", "ann:a&", "",
        ];
        let behind = [
            "", "@x", "/x", "?x", "?x=y", "&x", "#x", ":x", "%", "%zz", " ", "\n",
        ];
        let parameters = [
            "",
            "?password=S",
            "?PASSWORD=S",
            "?pass%77ord=S",
            "?passwd=S",
            "?S",
            "?schema=S=S&S",
            "?options=-c%20a.password%3DS",
            "?user=ann:S",
            "?sslmode=verify-ca&password=S",
        ];
        for (before, behind) in before.iter().flat_map(|it| behind.map(|other| (it, other))) {
            for parameters in parameters {
                for host in ["@db/dogs", "@db", "/dogs", "@db,db2:x/dogs"] {
                    let parameters = parameters.replace('S', "Hunter2");
                    let url = format!("postgres://{before}Hunter2{behind}{host}{parameters}");
                    let shown = match ServerPlace::new(&url, &PostgresOptions::new()) {
                        // The driver's own settings hide it; a host or a schema may have this name.
                        Ok(_) => continue,
                        Err(error) => format!("{error} {error:?}"),
                    };
                    assert!(!shown.contains("Hunter2"), "{url}: {shown}");
                }
            }
        }
        let url = "postgres://ann:Hunter2@db/dogs?password=Hunter2";
        let place = ServerPlace::new(url, &PostgresOptions::new()).unwrap();
        assert!(!format!("{place:?}").contains("Hunter2"));
    }

    #[test]
    fn connections_are_bounded_by_url_or_options() {
        let most = |options: &PostgresOptions| {
            let place = ServerPlace::new("postgres://h/d?connections_max=3", options);
            place.unwrap().connections_max
        };
        assert_eq!(most(&PostgresOptions::new()), 3);
        assert_eq!(most(&PostgresOptions::new().connections_max(5)), 5);
    }

    #[cfg(unix)]
    #[test]
    fn unix_sockets_are_not_encrypted() {
        let mode = |url: &str| {
            let place = ServerPlace::new(url, &PostgresOptions::new()).unwrap();
            place.servers[0].get_ssl_mode()
        };
        let socket = "postgres://%2Frun%2Fpostgresql/d?sslmode=require";
        assert_eq!(mode(socket), SslMode::Disable);
        assert_eq!(mode("postgres://h/d?sslmode=require"), SslMode::Require);
    }
}
