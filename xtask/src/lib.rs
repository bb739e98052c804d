//! The tasks behind `cargo xtask`, as a library so that the end-to-end tests can use them too.

pub mod apt;
pub mod build;
pub mod check;
pub mod cpio;
pub mod exec;
pub mod initramfs;
pub mod kernel;
pub mod kit;
pub mod kmod;
pub mod place;
pub mod purity;
pub mod setup;
pub mod sshd;
pub mod toolchain;
pub mod vm;
