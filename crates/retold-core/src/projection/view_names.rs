//! The names of the tables of a view: which ones are allowed, and those of each version.

use std::sync::Arc;

use crate::recording::Invalid;

/// Most tables of one projection: a view that needs more should be several projections.
const TABLES_MAX: usize = 64;

/// The names of one version of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionNames {
    version: u32,
}

impl VersionNames {
    /// For view stores: returns the names of this version.
    pub fn new(version: u32) -> Self {
        Self { version }
    }

    /// Returns the name in this version for a plain name that readers use: `dogs__v2` for `dogs`.
    /// Use it for tables, and for their indexes and triggers too, whose names must differ from
    /// those of other versions.
    pub fn table(&self, name: &str) -> String {
        format!("{name}__v{}", self.version)
    }

    /// Returns the version of the projection.
    pub fn version(&self) -> u32 {
        self.version
    }
}

/// Which names a database allows. View stores insert names into SQL unchanged, so they must not
/// need quotes.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a view store must set every field"
)]
pub struct ViewNameRule {
    /// The length of the longest name, in bytes, without the suffix of a version.
    pub size_max: usize,
    /// How the names of the database itself begin, in lowercase.
    pub reserved: &'static str,
}

impl ViewNameRule {
    /// Checks the plain names of a view's tables.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if there are none or too many, or if a name needs quotes or is reserved.
    pub fn check_tables(&self, names: &[Arc<str>]) -> Result<(), Invalid> {
        if names.is_empty() || names.len() > TABLES_MAX {
            return Err(Invalid::new(format!(
                "a view has 1 to {TABLES_MAX} tables, not {}",
                names.len()
            )));
        }
        names.iter().try_for_each(|name| {
            self.check("the table", name)?;
            match name.to_ascii_lowercase().starts_with("retold") {
                true => Err(Invalid::new(format!(
                    "a view cannot have the table {name:?}; names that begin with `retold` are \
                     reserved"
                ))),
                false => Ok(()),
            }
        })
    }

    /// Checks a name; `what` says in the error what has the name.
    ///
    /// # Errors
    ///
    /// [`Invalid`] if the name needs quotes or is reserved.
    pub fn check(&self, what: &str, name: &str) -> Result<(), Invalid> {
        let is_word = name
            .bytes()
            .all(|it| it.is_ascii_alphanumeric() || it == b'_');
        let begins_well = name.bytes().next().is_some_and(|it| !it.is_ascii_digit());
        let is_free = !name.to_ascii_lowercase().starts_with(self.reserved);
        if is_word && begins_well && is_free && name.len() <= self.size_max {
            return Ok(());
        }
        let Self { size_max, reserved } = self;
        Err(Invalid::new(format!(
            "a view cannot have {what} {name:?}; a name has 1 to {size_max} ASCII letters, digits \
             and underscores, no digit first, and does not begin with `{reserved}`"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: ViewNameRule = ViewNameRule {
        size_max: 48,
        reserved: "pg_",
    };

    fn check(name: &str) -> Result<(), Invalid> {
        RULE.check_tables(&[name.into()])
    }

    #[test]
    fn names_of_tables_need_no_quotes() {
        for name in ["dogs", "Dogs_2", "_d"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "2dogs",
            "dogs; DROP TABLE event",
            "retold_dogs",
            "PG_x",
            "hünde",
        ] {
            assert!(check(name).is_err(), "{name}");
        }
        assert!(check(&"d".repeat(RULE.size_max)).is_ok());
        assert!(check(&"d".repeat(RULE.size_max + 1)).is_err());
        assert!(RULE.check_tables(&[]).is_err());
        assert!(RULE.check_tables(&vec!["d".into(); TABLES_MAX]).is_ok());
        assert!(
            RULE.check_tables(&vec!["d".into(); TABLES_MAX + 1])
                .is_err()
        );
        // A schema may have a name that no table may have.
        assert!(RULE.check("the schema", "retold_views").is_ok());
    }
}
