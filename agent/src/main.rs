//! The `vfsync` binary: parse, set up logging, call one command, exit code.

fn main() {}
