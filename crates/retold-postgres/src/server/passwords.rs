//! Finds a password that the URL does not contain: in the environment or in a password file, as
//! PostgreSQL's own programs do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use retold_core::recording::Invalid;

/// Sources of passwords, in the order of libpq: `PGPASSWORD`, then the file.
#[derive(Debug, Default)]
pub(crate) struct Passwords {
    password: Option<String>,
    file: Option<PasswordFile>,
}

#[derive(Debug)]
struct PasswordFile {
    lines: String,
}

/// The login whose password is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

impl Passwords {
    /// Reads the environment of the process, and the file that a URL names: else the one of
    /// `PGPASSFILE`, else `.pgpass` in the home directory.
    ///
    /// # Errors
    ///
    /// `Invalid` if the file that the URL names cannot be read. Other unreadable files are ignored.
    pub(crate) fn gather(passfile: Option<&str>) -> Result<Self, Invalid> {
        let file = match passfile {
            Some(path) => Some(PasswordFile::read(Path::new(path))?),
            None => default_file().and_then(|path| match PasswordFile::read(&path) {
                Ok(file) => Some(file),
                Err(error) => {
                    tracing::warn!("{error}");
                    None
                }
            }),
        };
        Ok(Self {
            password: env::var("PGPASSWORD").ok().filter(|it| !it.is_empty()),
            file,
        })
    }

    /// Returns the password, if one is found.
    pub(crate) fn find(&self, sought: Sought<'_>) -> Option<String> {
        let of_file = || self.file.as_ref().and_then(|file| file.find(sought));
        self.password.clone().or_else(of_file)
    }
}

/// Returns the default file, if it exists.
fn default_file() -> Option<PathBuf> {
    let path = match env::var_os("PGPASSFILE").filter(|it| !it.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => Path::new(&env::var_os("HOME")?).join(".pgpass"),
    };
    path.exists().then_some(path)
}

impl PasswordFile {
    fn read(path: &Path) -> Result<Self, Invalid> {
        let shown = path.display();
        if may_be_read_by_others(path) {
            return Err(Invalid::new(format!(
                "the password file {shown} is not used, because other users can read it; run \
                 chmod 600 {shown}"
            )));
        }
        let lines = fs::read_to_string(path).map_err(|error| {
            Invalid::new(format!("the password file {shown} cannot be read: {error}"))
        })?;
        Ok(Self { lines })
    }

    fn find(&self, sought: Sought<'_>) -> Option<String> {
        let port = sought.port.to_string();
        let wanted = [sought.host, &port, sought.database, sought.user];
        let lines = self.lines.lines().filter(|line| !line.starts_with('#'));
        lines.map(fields).find_map(|fields| {
            let (password, named) = fields.split_last()?;
            let is_meant = named.len() == wanted.len()
                && named
                    .iter()
                    .zip(wanted)
                    .all(|(name, wanted)| name == "*" || name == wanted);
            is_meant.then(|| password.clone())
        })
    }
}

/// Splits a line into its fields. A colon or backslash within a field is escaped by a backslash.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        let taken = match letter {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => letters.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(field) = fields.last_mut() {
            field.push(taken);
        }
    }
    fields
}

#[cfg(unix)]
fn may_be_read_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn may_be_read_by_others(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_fits_gives_the_password() {
        let file = PasswordFile {
            lines: "# host:port:database:user:password\n\
                    db:5432:dogs:ann:first\n\
                    db:*:dogs:*:second\n\
                    a\\:b:*:*:*:with\\:colon\\\\\n\
                    too:few:fields\n\
                    *:*:*:*:last:with:colons\n"
                .into(),
        };
        let find = |host, port, database, user| {
            file.find(Sought {
                host,
                port,
                database,
                user,
            })
        };
        assert_eq!(find("db", 5432, "dogs", "ann").as_deref(), Some("first"));
        assert_eq!(find("db", 5433, "dogs", "ann").as_deref(), Some("second"));
        let odd = find("a:b", 1, "x", "y");
        assert_eq!(odd.as_deref(), Some("with:colon\\"));
        let last = find("too", 1, "x", "y");
        assert_eq!(last.as_deref(), Some("last:with:colons"));
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let lines = "*:*:*:*:file".to_owned();
        let sought = Sought {
            host: "h",
            port: 1,
            database: "d",
            user: "u",
        };
        let mut passwords = Passwords {
            password: None,
            file: Some(PasswordFile { lines }),
        };
        assert_eq!(passwords.find(sought).as_deref(), Some("file"));
        passwords.password = Some("environment".into());
        assert_eq!(passwords.find(sought).as_deref(), Some("environment"));
    }
}
