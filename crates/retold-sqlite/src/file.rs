//! The database file: its schema, its connections, the transactions on them, and the checks that
//! the file is still the one that was opened. The modules are in order; each uses only those above
//! it.

pub(crate) mod seq;

pub(crate) mod presence;
pub(crate) mod schema;

pub(crate) mod connection;
pub(crate) mod head;
pub(crate) mod log;

pub(crate) mod topics;
pub(crate) mod wal;

pub(crate) mod known;

pub(crate) mod names;
