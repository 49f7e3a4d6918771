//! The `cofferdam` binary: parse, run, exit code.

fn main() {}
