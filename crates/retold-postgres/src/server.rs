//! The server: finding it, opening, encrypting and pooling connections to it, and the runtime that
//! drives them. The modules are in order; each uses only those above it.

pub(crate) mod passwords;
pub(crate) mod server_check;

pub(crate) mod greeting;

pub(crate) mod encrypted;
pub(crate) mod encryption;
pub(crate) mod kept_statements;
pub(crate) mod roles;
pub(crate) mod runtime;

pub(crate) mod url;

pub(crate) mod place;

pub(crate) mod socket;

pub(crate) mod reach;

pub(crate) mod connection;

pub(crate) mod pool;
pub(crate) mod standby;

pub(crate) mod work;
