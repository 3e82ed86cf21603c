//! News: how the store learns that a log has grown.

pub(crate) mod notifier;

pub(crate) mod listener;
