//! `cargo xtask`: everything a developer or CI does with vfsync.

fn main() {}
