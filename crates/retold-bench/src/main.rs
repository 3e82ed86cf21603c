//! retold-bench
fn main() {}
