//! What may be done through an opening.

/// What an opening, or a recorder of it, may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    ReadWrite,
    ReadOnly,
}
