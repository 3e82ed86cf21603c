//! How a store may use its database: for reading and writing, or for reading only.

/// The kind of access of an open store, or of one of its recorders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}
