//! retold-sqlite
