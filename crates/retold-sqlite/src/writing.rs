//! Writing: appends are judged and recorded in groups, one transaction and one sync for each group.
//! The modules are in order; each uses only those above it.

pub(crate) mod amend;

pub(crate) mod judge;
pub(crate) mod record;

pub(crate) mod append;

pub(crate) mod member;

pub(crate) mod group;
pub(crate) mod queue;

pub(crate) mod alarm;

pub(crate) mod writer;

pub(crate) mod store_thread;

pub(crate) mod committer;

pub(crate) mod watcher;

pub(crate) mod watermark;

pub(crate) mod keeper;
