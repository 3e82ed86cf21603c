//! retold-derive
