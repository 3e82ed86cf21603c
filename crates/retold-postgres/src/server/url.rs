//! Splits the URL of a store: our own parameters, those of encryption and passwords, and one URL
//! for each server with the parameters of the driver. Unknown parameters are refused.

use percent_encoding::percent_decode_str;
use retold_core::recording::Invalid;

use super::encryption::Wanted;

/// Parameters that the driver supports.
const OF_DRIVER: [&str; 17] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "user",
];

/// Parameters that are removed before the driver sees the rest.
const OURS: [&str; 7] = [
    "connections_max",
    "passfile",
    "schema",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
];

/// The parts of a URL.
#[derive(Default)]
pub(crate) struct UrlParts {
    /// One for each server, in the order of attempts. They may contain a password, so they are not
    /// shown.
    pub(crate) servers: Vec<String>,
    pub(crate) schema: Option<String>,
    pub(crate) connections_max: Option<usize>,
    pub(crate) passfile: Option<String>,
    pub(crate) encryption: Wanted,
}

/// Splits a URL.
///
/// # Errors
///
/// `Invalid` for a parameter that is unknown, given twice, or not supported. No message shows a
/// password.
pub(crate) fn take_apart(url: &str) -> Result<UrlParts, Invalid> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(Invalid::new(
            "the URL of the PostgreSQL server is refused: it must begin with postgres://".into(),
        ));
    };
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let has_user = |text: &str| text.contains('@');
    if has_user(parameters) && !(has_user(place) && place.contains('/')) {
        return Err(Invalid::new(
            "the URL has an @ after its ?; in a user's name or password write ? as %3F, and in a \
             parameter @ as %40"
                .into(),
        ));
    }
    let mut parts = UrlParts::default();
    let mut seen = Vec::new();
    let mut others = Vec::new();
    for parameter in parameters.split('&').filter(|it| !it.is_empty()) {
        let Some((name, value)) = parameter.split_once('=') else {
            return Err(Invalid::new(
                "the URL has something else after its ? than parameters of the form name=value"
                    .into(),
            ));
        };
        if seen.contains(&name) {
            return Err(Invalid::new(format!(
                "the URL gives the parameter {name} twice"
            )));
        }
        seen.push(name);
        if OURS.contains(&name) {
            parts.take(name, value)?;
        } else if OF_DRIVER.contains(&name) {
            check_of_driver(name, value)?;
            // The driver would read an @ as the end of the user's name.
            others.push(parameter.replace('@', "%40"));
        } else {
            return Err(unknown(name, parameters));
        }
    }
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    let (user, hosts) = match hosts.split_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), hosts),
    };
    if hosts.contains('@') {
        return Err(Invalid::new(
            "the URL has an @ in the user's name or password; write it as %40".into(),
        ));
    }
    let others = others.join("&");
    let server = |host| format!("{scheme}://{user}{host}/{database}?{others}");
    parts.servers = hosts.split(',').map(server).collect();
    Ok(parts)
}

impl UrlParts {
    fn take(&mut self, name: &str, value: &str) -> Result<(), Invalid> {
        let decoded = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| Invalid::new(format!("the URL's parameter {name} is not valid UTF-8")))?;
        let value = Some(decoded.into_owned());
        match name {
            "connections_max" => {
                let count = value.as_deref().and_then(|it| it.parse().ok());
                let count = count.filter(|it| *it >= 2).ok_or_else(|| {
                    Invalid::new(
                        "the URL's parameter connections_max must be a number from 2 \
                        on"
                        .into(),
                    )
                })?;
                self.connections_max = Some(count);
            }
            "passfile" => self.passfile = value,
            "schema" => self.schema = value,
            "sslcert" => self.encryption.certificate = value,
            "sslkey" => self.encryption.key = value,
            "sslmode" => self.encryption.mode = value,
            _ => self.encryption.root = value,
        }
        Ok(())
    }
}

/// Refuses values that the driver would accept but not honor.
fn check_of_driver(name: &str, value: &str) -> Result<(), Invalid> {
    if name == "channel_binding" && value == "require" {
        return Err(Invalid::new(
            "channel_binding=require is not supported by this store; use sslmode=verify-full to \
             check the server's identity"
                .into(),
        ));
    }
    if name == "target_session_attrs" && !["any", "read-write", "read-only"].contains(&value) {
        return Err(Invalid::new(
            "this target_session_attrs is unknown; known are any, read-write and read-only".into(),
        ));
    }
    Ok(())
}

fn unknown(name: &str, parameters: &str) -> Invalid {
    // After an @, or with other characters, it may be part of a password that contains a ?.
    let is_name = |it: u8| it.is_ascii_lowercase() || it == b'_';
    let shown = match !parameters.contains('@') && name.bytes().all(is_name) {
        true => format!(" {name:?}"),
        false => String::new(),
    };
    let mut known: Vec<&str> = OURS.into_iter().chain(OF_DRIVER).collect();
    known.sort_unstable();
    Invalid::new(format!(
        "the URL has the unknown parameter{shown}; known are {}",
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_a_url_of_its_own() {
        let parts = take_apart("postgres://a:b@h:1,i:2/d?schema=x%20y&user=a@b&connections_max=3");
        let parts = parts.unwrap();
        let expected = [
            "postgres://a:b@h:1/d?user=a%40b",
            "postgres://a:b@i:2/d?user=a%40b",
        ];
        assert_eq!(parts.servers, expected);
        assert_eq!(parts.schema.as_deref(), Some("x y"));
        assert_eq!(parts.connections_max, Some(3));
    }

    #[test]
    fn unknown_parameters_are_refused_without_a_password() {
        let refused = |url: &str, hint: &str| {
            let error = take_apart(url).map(drop).unwrap_err().to_string();
            assert!(error.contains(hint), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        };
        refused(
            "postgres://a:secret@h/d?colour=red",
            "\"colour\"; known are application_name",
        );
        refused("postgres://a:secret@h/d?schema=a&schema=b", "twice");
        refused("postgres://a:secret@h/d?sslmode", "name=value");
        refused("postgres://a:se@cret@h/d", "%40");
        refused("postgres://a:secret@h/d?connections_max=1", "from 2 on");
        refused(
            "postgres://a:secret@h/d?channel_binding=require",
            "verify-full",
        );
        refused("postgres://h/d?target_session_attrs=primary", "read-write");
        refused("a:secret", "postgres://");
    }
}
