//! URLs of stores: how a text selects a store and its options.
//!
//! - `memory:NAME`: in the memory of this process; opening the same name again returns the same
//!   store
//! - `sqlite:PATH`: the SQLite file at `PATH`, created if missing; relative to the working
//!   directory unless `PATH` begins with `/`
//! - `sqlite:///PATH`: the same for an absolute path, as URLs of files are often written
//! - `sqlite:PATH?synchronous=normal`: the same file, faster and less durable: see
//!   [`Durability`]
//! - `sqlite:PATH?mode=640`: the same file; if it is created, it gets these permissions, in octal
//!   as for `chmod`; the default is 600, readable only by the owner
//! - `postgres://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME`: the schema of that name
//!   (`retold` by default) of a PostgreSQL database, created if missing; the other parameters
//!   are those of libpq, see `retold_postgres`
//!
//! A path is taken literally, without decoding of `%`, up to the first `?`. Options follow it as
//! `name=value`, joined by `&`. An unknown option is refused, and the error lists the known ones,
//! so that a mistyped option never silently weakens a guarantee.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::recording::Invalid;
use crate::recording::limits::check_name;

/// When an append to a store on disk is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// When its bytes are on the disk: an acknowledged event survives a power failure.
    #[default]
    Full,
    /// When its bytes are with the operating system: an acknowledged event survives a crash of the
    /// process. A power failure can lose the latest events, but if an event is kept, so are all
    /// before it. `synchronous=normal` in a URL.
    Normal,
}

/// The location of a store: a parsed URL. See the [module](self) for the accepted forms.
///
/// ```
/// use retold::store_url::StoreUrl;
///
/// let url: StoreUrl = "sqlite:dogs.db".parse()?;
/// assert_eq!(url.file(), Some("dogs.db".as_ref()));
/// assert!("postgre://localhost".parse::<StoreUrl>().is_err());
/// # Ok::<(), retold::recording::Invalid>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreUrl {
    /// `memory:NAME`: a store in the memory of this process.
    Memory {
        /// The name of the store.
        name: String,
    },
    /// `sqlite:PATH`: a SQLite file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// When an append is acknowledged.
        durability: Durability,
        /// Permissions of the file if it is created, on Unix; `None` for the store's default.
        file_mode: Option<u32>,
    },
    /// `postgres://…`: a schema of a PostgreSQL database.
    Postgres {
        /// Server, database and schema.
        url: PostgresUrl,
    },
}

/// The URL of a PostgreSQL database. It may contain a password, so it is not displayed in full.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// Returns the URL as it was given, with its password.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PostgresUrl {
    /// Formats the URL without anything that is or may be a password: the password itself,
    /// parameters that are not known to be free of passwords, and the whole URL if its parts are
    /// ambiguous.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("postgres", ""));
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let has_user = |text: &str| text.contains('@');
        let is_ambiguous = has_user(parameters) && !(has_user(hosts) && place.contains('/'));
        if is_ambiguous || !is_plain(database) {
            // A password that contains `/` or `?`: its end is ambiguous.
            return write!(f, "{scheme}://{HIDDEN}");
        }
        write!(f, "{scheme}://")?;
        let (user, hosts) = match hosts.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, hosts),
        };
        if let Some(user) = user {
            write!(f, "{}@", without_password(user))?;
        }
        let hosts: Vec<&str> = hosts.split(',').map(shown_host).collect();
        write!(f, "{}/{database}", hosts.join(","))?;
        let is_known = |it: &&str| {
            let parts = it.split_once('=');
            parts.is_some_and(|(name, value)| SHOWN_PARAMETERS.contains(&name) && is_plain(value))
        };
        for (number, parameter) in parameters.split('&').filter(is_known).enumerate() {
            let before = if number == 0 { '?' } else { '&' };
            write!(f, "{before}{parameter}")?;
        }
        Ok(())
    }
}

/// Replaces hidden text.
const HIDDEN: &str = "…";

/// Parameters that contain no password.
const SHOWN_PARAMETERS: [&str; 13] = [
    "application_name",
    "connect_timeout",
    "connections_max",
    "dbname",
    "host",
    "hostaddr",
    "passfile",
    "port",
    "schema",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
];

/// Returns whether a text contains nothing that can separate a password from a name, in any
/// encoding.
fn is_plain(text: &str) -> bool {
    let lower_case = text.to_ascii_lowercase();
    let parts = [
        ":", "@", "=", ";", "%3a", "%40", "%3d", "%3b", "passw", "pwd", "secret",
    ];
    !parts.into_iter().any(|it| lower_case.contains(it))
}

/// Returns the name of a user in front of a host, up to a colon in any encoding.
fn without_password(user: &str) -> &str {
    let ends = [":", "%3A", "%3a"]
        .into_iter()
        .filter_map(|it| user.find(it));
    &user[..ends.min().unwrap_or(user.len())]
}

/// Returns a host and its port, hidden unless it can be one: it may be a password before a
/// forgotten host.
fn shown_host(host: &str) -> &str {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = |it: &str| it.len() <= 5 && it.bytes().all(|it| it.is_ascii_digit());
    let in_brackets = |it: &str| it.starts_with('[') && it.ends_with(']');
    let is_host = port.is_none_or(is_port) && (is_plain(name) || in_brackets(name));
    if is_host { host } else { HIDDEN }
}

/// Returns a text that is not the URL of a store for display in a message: in full if it can only
/// be a path.
fn shown_path(text: &str) -> Cow<'_, str> {
    let is_drive = text.get(1..3).is_some_and(|it| it == ":\\" || it == ":/");
    let without_drive = if is_drive { &text[2..] } else { text };
    let is_path = is_plain(without_drive) && !text.contains(['?', '&']) && !text.starts_with(' ');
    if !is_path {
        return Cow::Owned(HIDDEN.into());
    }
    Cow::Borrowed(text)
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresUrl({self})")
    }
}

/// The known forms, for messages.
const KNOWN: &str = "known are memory:NAME, sqlite:PATH and postgres://HOST/DATABASE";

impl StoreUrl {
    /// Returns the path of the file of a SQLite store; `None` for other stores.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Memory { .. } | Self::Postgres { .. } => None,
            Self::Sqlite { path, .. } => Some(path),
        }
    }
}

impl FromStr for StoreUrl {
    type Err = Invalid;

    fn from_str(url: &str) -> Result<Self, Invalid> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(Invalid::new(format!("the store URL {}", no_scheme(url))));
        };
        // The URL is shown only for names of files and memory stores.
        let wrong = |reason: String| {
            let shown = match shown_path(rest.split('?').next().unwrap_or(rest)) {
                Cow::Borrowed(path) => format!("{:?}", format!("{scheme}:{path}")),
                Cow::Owned(hidden) => format!("{scheme}:{hidden}"),
            };
            Invalid::new(format!("the store URL {shown} {reason}"))
        };
        match scheme {
            "memory" => memory(rest).map_err(wrong),
            "postgres" | "postgresql" => postgres(url, rest)
                .map_err(|reason| Invalid::new(format!("the store URL {scheme}:… {reason}"))),
            "sqlite" => sqlite(rest).map_err(wrong),
            _ => Err(Invalid::new(format!(
                "the store URL {}",
                unknown_scheme(url, scheme, rest)
            ))),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Formats the URL; that of a PostgreSQL database without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { name } => write!(f, "memory:{name}"),
            Self::Sqlite {
                path,
                durability,
                file_mode,
            } => {
                write!(f, "sqlite:{}", path.display())?;
                let mut before = '?';
                if *durability == Durability::Normal {
                    write!(f, "{before}synchronous=normal")?;
                    before = '&';
                }
                match file_mode {
                    Some(mode) => write!(f, "{before}mode={mode:o}"),
                    None => Ok(()),
                }
            }
            Self::Postgres { url } => url.fmt(f),
        }
    }
}

fn no_scheme(url: &str) -> String {
    if url.is_empty() {
        return format!("is empty; {KNOWN}");
    }
    let shown = match shown_path(url) {
        Cow::Borrowed(path) => format!("{path:?}"),
        Cow::Owned(hidden) => hidden,
    };
    let path = shown_path(url);
    let path = if *path == *HIDDEN {
        "PATH".into()
    } else {
        path
    };
    format!(
        "{shown} does not name a kind of store; for a SQLite file write sqlite:{path} ({KNOWN})"
    )
}

/// Describes the error of a URL with an unknown scheme. The text in place of the scheme may be the
/// name of a user, and the text after it a password.
fn unknown_scheme(url: &str, scheme: &str, rest: &str) -> String {
    let is_drive = scheme.len() == 1
        && scheme.chars().all(|it| it.is_ascii_alphabetic())
        && rest.starts_with(['/', '\\'])
        && matches!(shown_path(rest), Cow::Borrowed(_));
    let meant = scheme.trim().to_ascii_lowercase();
    if is_drive {
        format!("{url:?} looks like a path; for a SQLite file write sqlite:{url}")
    } else if ["memory", "sqlite", "postgres", "postgresql"].contains(&&*meant) {
        format!("{HIDDEN} has a scheme with capitals or spaces; write {meant}:")
    } else if rest.starts_with("//") && scheme.chars().all(|it| it.is_ascii_alphanumeric()) {
        format!("{scheme}:{HIDDEN} has the unknown scheme {scheme:?}; {KNOWN}")
    } else {
        format!("{HIDDEN} has an unknown scheme; {KNOWN}")
    }
}

/// Returns a text if it may be shown, else its replacement.
fn or_word<'a>(text: &'a str, word: &'a str) -> &'a str {
    match shown_path(text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(_) => word,
    }
}

fn memory(name: &str) -> Result<StoreUrl, String> {
    if name.is_empty() {
        return Err("has no name; write memory:NAME".into());
    }
    if let Some(name) = name.strip_prefix("//") {
        return Err(format!(
            "has // before the name; write memory:{}",
            or_word(name, "NAME")
        ));
    }
    if let Some((name, _)) = name.split_once('?') {
        return Err(format!(
            "has options, but a memory store has none; write memory:{}",
            or_word(name, "NAME")
        ));
    }
    check_name("name of a memory store", name).map_err(|error| match shown_path(name) {
        Cow::Borrowed(_) => format!("is refused: {error}"),
        Cow::Owned(_) => "has a name that is not allowed".to_owned(),
    })?;
    Ok(StoreUrl::Memory { name: name.into() })
}

fn sqlite(rest: &str) -> Result<StoreUrl, String> {
    let (path, options) = match rest.split_once('?') {
        Some((path, options)) => (path, Some(options)),
        None => (rest, None),
    };
    let path = sqlite_path(path)?;
    let options = options.map_or(Ok(SqliteParameters::default()), sqlite_options)?;
    Ok(StoreUrl::Sqlite {
        path,
        durability: options.durability.unwrap_or_default(),
        file_mode: options.file_mode,
    })
}

fn sqlite_path(path: &str) -> Result<PathBuf, String> {
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some("") => "",
        Some(name) => {
            let name = or_word(name, "PATH");
            return Err(format!(
                "leaves open whether its path is relative; write sqlite:{name} for a relative \
                 path, sqlite:///{name} for an absolute one"
            ));
        }
        None => path,
    };
    if path.is_empty() {
        return Err("has no path; write sqlite:PATH".into());
    }
    if path.starts_with(":memory:") {
        return Err(
            "asks SQLite for a database in memory, which would not be kept; \
                    write memory:NAME for a store in memory"
                .into(),
        );
    }
    if path.starts_with("file:") {
        return Err("has a URL of SQLite's own as its path; write the path of the file".into());
    }
    if path.chars().any(char::is_control) {
        return Err("has a control character in its path".into());
    }
    Ok(path.into())
}

/// The options after the path.
#[derive(Default)]
struct SqliteParameters {
    durability: Option<Durability>,
    file_mode: Option<u32>,
}

fn sqlite_options(options: &str) -> Result<SqliteParameters, String> {
    const KNOWN: &str = "known are synchronous=full (which is the default), synchronous=normal, \
        and mode= with the permissions of a new file, such as mode=640";
    let mut found = SqliteParameters::default();
    for option in options.split('&') {
        let is_second = match option.split_once('=') {
            Some(("synchronous", value)) => {
                let chosen = match value {
                    "full" => Durability::Full,
                    "normal" => Durability::Normal,
                    _ => {
                        return Err(format!("has an unknown value for synchronous; {KNOWN}"));
                    }
                };
                found.durability.replace(chosen).is_some()
            }
            Some(("mode", value)) => {
                let is_octal = value.bytes().all(|digit| (b'0'..b'8').contains(&digit));
                let mode = u32::from_str_radix(value, 8).ok().filter(|_| is_octal);
                let mode = mode.ok_or_else(|| {
                    format!(
                        "has a value for mode that is not an octal number as for chmod; {KNOWN}"
                    )
                })?;
                found.file_mode.replace(mode).is_some()
            }
            Some((name, _)) => {
                let name = or_word(name, HIDDEN);
                return Err(format!("has the unknown option {name}; {KNOWN}"));
            }
            None => return Err(format!("has an option without a value; {KNOWN}")),
        };
        if is_second {
            let name = option.split_once('=').map_or(option, |(name, _)| name);
            return Err(format!("gives the option {name} twice"));
        }
    }
    Ok(found)
}

fn postgres(url: &str, rest: &str) -> Result<StoreUrl, String> {
    let Some(place) = rest.strip_prefix("//") else {
        return Err("does not name a server; write postgres://HOST/DATABASE".into());
    };
    let place = place.split_once('?').map_or(place, |(place, _)| place);
    let host_and_database = place.rsplit_once('@').map_or(place, |(_, it)| it);
    match host_and_database.split_once('/') {
        Some((_, database)) if !database.is_empty() => {}
        _ => return Err("does not name a database; write postgres://HOST/DATABASE".into()),
    }
    if url.chars().any(char::is_control) {
        return Err("has a control character".into());
    }
    let url = PostgresUrl(url.to_owned());
    Ok(StoreUrl::Postgres { url })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, expected: &StoreUrl) {
        let parsed: StoreUrl = url.parse().unwrap();
        assert_eq!(&parsed, expected);
        assert_eq!(&parsed.to_string().parse::<StoreUrl>().unwrap(), expected);
    }

    #[track_caller]
    fn check_refused(url: &str, hint: &str) {
        let message = url.parse::<StoreUrl>().unwrap_err().to_string();
        assert!(message.contains(hint), "{url}: {message}");
    }

    fn sqlite(path: &str, durability: Durability) -> StoreUrl {
        StoreUrl::Sqlite {
            path: path.into(),
            durability,
            file_mode: None,
        }
    }

    #[test]
    fn known_urls_are_parsed() {
        let memory = |name: &str| StoreUrl::Memory { name: name.into() };
        check("memory:dogs", &memory("dogs"));
        check("memory:Hund 🐕; DROP", &memory("Hund 🐕; DROP"));
        check("sqlite:dogs.db", &sqlite("dogs.db", Durability::Full));
        check("sqlite:./a b/d.db", &sqlite("./a b/d.db", Durability::Full));
        check("sqlite:/var/d.db", &sqlite("/var/d.db", Durability::Full));
        check("sqlite:///var/d.db", &sqlite("/var/d.db", Durability::Full));
        check("sqlite:100%25.db", &sqlite("100%25.db", Durability::Full));
        check(r"sqlite:C:\d.db", &sqlite(r"C:\d.db", Durability::Full));
        check(
            "sqlite:d.db?synchronous=full",
            &sqlite("d.db", Durability::Full),
        );
        check(
            "sqlite:d.db?synchronous=normal",
            &sqlite("d.db", Durability::Normal),
        );
    }

    #[test]
    fn the_permissions_of_a_file_are_parsed() {
        let file = |durability, mode| StoreUrl::Sqlite {
            path: "d.db".into(),
            durability,
            file_mode: Some(mode),
        };
        check("sqlite:d.db?mode=640", &file(Durability::Full, 0o640));
        check(
            "sqlite:d.db?mode=0666&synchronous=normal",
            &file(Durability::Normal, 0o666),
        );
        check_refused("sqlite:d.db?mode=rw", "as for chmod");
        check_refused("sqlite:d.db?mode=+600", "as for chmod");
        check_refused("sqlite:d.db?mode=", "as for chmod");
        check_refused("sqlite:d.db?mode=698", "as for chmod");
        check_refused("sqlite:d.db?mode=600&mode=600", "mode twice");
    }

    #[test]
    fn a_password_is_kept_and_not_shown() {
        let text = "postgres://ann:secret@db/dogs?password=secret";
        let url: StoreUrl = text.parse().unwrap();
        let StoreUrl::Postgres { url: inner } = &url else {
            panic!("{url:?}");
        };
        assert_eq!(inner.as_str(), text);
        assert_eq!(url.to_string(), "postgres://ann@db/dogs");
        assert!(!format!("{url:?}").contains("secret"));
        let text = "postgres://a:b@db/dogs?schema=x&password=secret&sslmode=require";
        let shown = text.parse::<StoreUrl>().unwrap().to_string();
        assert_eq!(shown, "postgres://a@db/dogs?schema=x&sslmode=require");
        check(
            "postgresql://db/dogs",
            &"postgresql://db/dogs".parse().unwrap(),
        );
        check_refused("postgres:dogs", "write postgres://HOST/DATABASE");
        check_refused("postgres://db", "does not name a database");
        check_refused("Postgres://db/dogs", "write postgres:");
    }

    /// Places of a password, or places that a user may believe to be one. `S` is the password.
    const PLACES: [&str; 45] = [
        "postgres://ann:S@db/dogs",
        "postgres://ann:S@db:5432,db2/dogs?schema=x",
        "postgresql://:S@db/dogs",
        "postgres://ann%3AS@db/dogs",
        "postgres://ann:S@db",
        "postgres://ann:S@/dogs",
        "postgres://ann:a@S@db/dogs",
        "postgres://ann:a/S@db/dogs",
        "postgres://ann:a?S@db/dogs",
        "postgres://ann:a?S=b@db/dogs",
        "postgres://ann:a?b=S@db/dogs",
        "postgres://ann:a&S@db/dogs",
        "postgres://ann:a#S@db/dogs",
        "postgres://ann:S/dogs",
        "postgres://ann:S",
        "postgres:ann:S@db/dogs",
        "postgres:/ann:S@db/dogs",
        "postgres://db/dogs?password=S",
        "postgres://db/dogs?user=ann&password=S&schema=x",
        "postgres://db/dogs?PASSWORD=S",
        "postgres://db/dogs?pass%77ord=S",
        "postgres://db/dogs?%70assword=S",
        "postgres://db/dogs?passwd=S",
        "postgres://db/dogs?sslpassword=S",
        "postgres://db/dogs?pwd=S",
        "postgres://db/dogs? password=S",
        "postgres://db/dogs?schema=x;password=S",
        "postgres://db/dogs?user=ann:S",
        "postgres://db/dogs?options=-c%20x.password%3DS",
        "postgres://db/dogs;password=S",
        "host=db password=S dbname=dogs",
        "ann:S@db/dogs",
        "S@db/dogs",
        "p:S@db/dogs",
        "mysql://ann:S@db/dogs",
        "postgres+tls://ann:S@db/dogs",
        "jdbc:postgresql://db/dogs?user=ann&password=S",
        "//ann:S@db/dogs",
        "sqlite://ann:S@db/dogs",
        "sqlite:dogs.db?password=S",
        "sqlite:dogs.db?key=S",
        "sqlite:dogs.db?synchronous=S",
        "sqlite:dogs.db?mode=S",
        "memory://ann:S@db",
        "memory:dogs?password=S",
    ];

    /// Ways in which a URL can be mistyped.
    fn variants(url: &str) -> Vec<String> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        let capitals = format!("{}:{rest}", scheme.to_uppercase());
        let mut variants = vec![url.to_owned(), capitals];
        for before in [" ", "\t", "\u{a0}", "\"", "x"] {
            variants.push(format!("{before}{url}"));
        }
        for behind in [" ", "\n", "&", "?x", "#x", "&schema=a&schema=b", "/"] {
            variants.push(format!("{url}{behind}"));
        }
        variants
    }

    /// Goal: no message and no text of a URL shows what may be a password, in any position.
    #[test]
    fn no_password_is_shown() {
        for secret in ["Hunter2", "%48unter2", "Hunter2%21", "1Hunter2"] {
            for place in PLACES {
                // The templates themselves must not contain the text that is searched for.
                for url in variants(&place.replace('S', secret)) {
                    let shown = match url.parse::<StoreUrl>() {
                        Ok(url) => format!("{url} {url:?}"),
                        Err(error) => format!("{error} {error:?}"),
                    };
                    assert!(!shown.to_lowercase().contains("unter2"), "{url}: {shown}");
                }
            }
        }
    }

    #[test]
    fn others_are_refused_with_the_known_forms() {
        check_refused(
            "",
            "is empty; known are memory:NAME, sqlite:PATH and postgres:",
        );
        check_refused("dogs.db", "write sqlite:dogs.db");
        check_refused(r"C:\dogs.db", r"write sqlite:C:\dogs.db");
        check_refused("postgre://localhost", "unknown scheme \"postgre\"");
        check_refused("SQLite:dogs.db", "write sqlite:");
        check_refused("memory:", "write memory:NAME");
        check_refused("memory://dogs", "write memory:dogs");
        check_refused("memory:dogs?size=3", "write memory:dogs");
        check_refused(&format!("memory:{}", "d".repeat(256)), "256 bytes");
        check_refused("sqlite:", "write sqlite:PATH");
        check_refused("sqlite://", "write sqlite:PATH");
        check_refused("sqlite:?synchronous=full", "write sqlite:PATH");
        check_refused("sqlite://dogs.db", "sqlite:///dogs.db for an absolute");
        check_refused("sqlite::memory:", "write memory:NAME");
        check_refused("sqlite:file:d.db", "path of the file");
        check_refused("sqlite:d\n.db", "control character");
        check_refused("sqlite:d.db?sync=off", "unknown option sync;");
        check_refused("sqlite:d.db?", "option without a value");
        check_refused("sqlite:d.db?synchronous=off", "unknown value for");
        check_refused(
            "sqlite:d.db?synchronous=full&synchronous=normal",
            "synchronous twice",
        );
    }
}
