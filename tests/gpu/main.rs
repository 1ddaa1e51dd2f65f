//! The GPU check.
fn main() {}
