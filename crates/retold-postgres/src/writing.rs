//! Writing: appends are sent to the server in groups, one statement for each group. The modules are
//! in order; each uses only those above it.

mod composite;
mod result_code;

mod parameters;

mod amending;

pub(crate) mod group;

pub(crate) mod answer;

pub(crate) mod writer;
