//! retold-cli
fn main() {}
