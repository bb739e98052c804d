//! The tasks behind `cargo xtask`, as a library so that the end-to-end tests can use them too.

pub mod apt;
pub mod build;
pub mod exec;
pub mod place;
pub mod setup;
pub mod toolchain;
