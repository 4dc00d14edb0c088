//! Judge of recorded data.
fn main() {}
