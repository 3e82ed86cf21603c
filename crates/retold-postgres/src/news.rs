//! News: how the store learns that a log has grown.

pub(crate) mod herald;

pub(crate) mod listener;
