//! The options of a PostgreSQL store.

use std::time::Duration;

use retold_core::recording::OPEN_WAIT_MAX;

/// The schema that holds the tables, unless another is given.
pub const SCHEMA_DEFAULT: &str = "retold";

/// Options for opening a store. By default it uses the schema [`SCHEMA_DEFAULT`] and at most
/// [`CONNECTIONS_MAX`](crate::limits::CONNECTIONS_MAX) connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    pub(crate) schema: Option<String>,
    pub(crate) connections_max: Option<usize>,
    pub(crate) open_wait_max: Duration,
}

impl PostgresOptions {
    /// Returns the default options.
    pub fn new() -> Self {
        Self {
            schema: None,
            connections_max: None,
            open_wait_max: OPEN_WAIT_MAX,
        }
    }

    /// Sets how long opening the store for writing waits for a server that cannot be reached, is
    /// starting, or has no free connection; by default [`OPEN_WAIT_MAX`]. Opening fails at once if
    /// a server refuses the user or the database, because waiting does not help.
    #[must_use]
    pub fn open_wait_max(mut self, wait: Duration) -> Self {
        self.open_wait_max = wait;
        self
    }

    /// Sets the schema that holds the tables. Overrides the URL.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = Some(name.into());
        self
    }

    /// Sets the maximum number of connections, at least 2 so that one can append while another
    /// reads. Overrides the URL.
    #[must_use]
    pub fn connections_max(mut self, count: usize) -> Self {
        self.connections_max = Some(count.max(2));
        self
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self::new()
    }
}
