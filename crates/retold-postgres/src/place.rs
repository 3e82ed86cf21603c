//! Where a store is: the server, how to reach it, and the schema. Made from a URL.

use std::str::FromStr;

use retold_core::recording::error::{Invalid, RecordError};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::options::{
    ANSWER_WAIT_MAX, KEEPALIVE_IDLE, LOCK_WAIT_MAX, PostgresOptions, SCHEMA_DEFAULT,
    SCHEMA_NAME_SIZE_MAX,
};

/// A server, how to reach it, and the schema of a store.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) config: Config,
    pub(crate) schema: String,
}

impl Place {
    /// The place that a URL and options name.
    pub(crate) fn new(url: &str, options: &PostgresOptions) -> Result<Self, RecordError> {
        let (url, schema) = take_schema(url)?;
        refuse_tls(&url)?;
        let mut config = Config::from_str(&url).map_err(|error| {
            // The URL itself may hold a password and is not shown.
            use std::error::Error as _;
            let reason = error.source().map_or(String::new(), |it| format!(": {it}"));
            RecordError::invalid(format!(
                "the URL of the PostgreSQL server is refused{reason}"
            ))
        })?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(no_tls("require").into());
        }
        let schema = options.schema.clone().or(schema);
        let schema = schema.unwrap_or_else(|| SCHEMA_DEFAULT.to_owned());
        check_schema(&schema)?;
        if config.get_application_name().is_none() {
            config.application_name("retold");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(ANSWER_WAIT_MAX);
        }
        config.keepalives_idle(KEEPALIVE_IDLE);
        config.tcp_user_timeout(ANSWER_WAIT_MAX);
        config.options(settings(config.get_options()));
        Ok(Self { config, schema })
    }

    /// The schema as SQL names it.
    pub(crate) fn quoted_schema(&self) -> String {
        quote(&self.schema)
    }
}

/// A name as SQL writes it whatever its letters.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Settings of our connections. Every statement of ours looks things up by index, and a plan that
/// scans and hashes is only ever chosen while a table is small or its statistics are old; so plans are
/// made once and stay right. Judging relies on `read committed`: each statement of the function sees
/// what was committed before the lock was had.
fn settings(given: Option<&str>) -> String {
    let lock_wait = LOCK_WAIT_MAX.as_millis();
    format!(
        "{} -c default_transaction_isolation=read\\ committed -c lock_timeout={lock_wait} \
         -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off \
         -c enable_bitmapscan=off -c plan_cache_mode=force_generic_plan -c jit=off \
         -c max_parallel_workers_per_gather=0 -c client_min_messages=warning",
        given.unwrap_or_default()
    )
}

fn check_schema(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || name.len() > SCHEMA_NAME_SIZE_MAX {
        return Err(Invalid::new(format!(
            "the schema {name:?} has {} bytes; 1 to {SCHEMA_NAME_SIZE_MAX} are allowed",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) || name.starts_with("pg_") {
        return Err(Invalid::new(format!(
            "the schema {name:?} has a name that PostgreSQL keeps for itself or cannot store"
        )));
    }
    Ok(())
}

/// Takes the parameter `schema`, which only we know, out of a URL.
fn take_schema(url: &str) -> Result<(String, Option<String>), Invalid> {
    let Some((base, parameters)) = url.split_once('?') else {
        return Ok((url.to_owned(), None));
    };
    let mut schema = None;
    let mut others = Vec::new();
    for parameter in parameters.split('&') {
        match parameter.strip_prefix("schema=") {
            None => others.push(parameter),
            Some(name) => {
                if schema.replace(name.to_owned()).is_some() {
                    return Err(Invalid::new(
                        "the URL gives the parameter schema twice".into(),
                    ));
                }
            }
        }
    }
    let url = if others.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", others.join("&"))
    };
    Ok((url, schema))
}

/// Refuses what asks for an encrypted connection, which the store cannot give: a promise that is asked
/// for is never weakened in silence.
fn refuse_tls(url: &str) -> Result<(), Invalid> {
    let modes = ["require", "verify-ca", "verify-full"];
    let parameters = url.split_once('?').map_or("", |(_, it)| it).split('&');
    let mut asked = parameters.filter_map(|it| it.strip_prefix("sslmode="));
    match asked.find(|mode| modes.contains(mode)) {
        Some(mode) => Err(no_tls(mode)),
        None => Ok(()),
    }
}

fn no_tls(mode: &str) -> Invalid {
    Invalid::new(format!(
        "sslmode={mode} asks for an encrypted connection, which this version of the store does not \
         make; use sslmode=disable on a network that is trusted, or a tunnel that encrypts"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(url: &str, hint: &str) {
        let error = Place::new(url, &PostgresOptions::new()).unwrap_err();
        assert!(error.to_string().contains(hint), "{url}: {error}");
    }

    #[test]
    fn the_schema_is_taken_from_url_or_options() {
        let schema =
            |url: &str, options: &PostgresOptions| Place::new(url, options).unwrap().schema;
        let none = PostgresOptions::new();
        assert_eq!(schema("postgres://a@h/d", &none), "retold");
        assert_eq!(schema("postgres://a@h/d?schema=x", &none), "x");
        assert_eq!(
            schema("postgres://a@h/d?sslmode=disable&schema=x", &none),
            "x"
        );
        let options = PostgresOptions::new().schema("y");
        assert_eq!(schema("postgres://a@h/d?schema=x", &options), "y");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        refused("postgres://h/d?sslmode=require", "sslmode=require");
        refused("postgres://h/d?sslmode=verify-full", "sslmode=verify-full");
        refused("postgres://h/d?schema=", "0 bytes");
        refused("postgres://h/d?schema=a&schema=b", "twice");
        refused("postgres://h/d?schema=pg_x", "pg_x");
        refused("postgres://h/d?colour=red", "refused");
    }
}
