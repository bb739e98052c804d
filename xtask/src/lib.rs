//! The tasks behind `cargo xtask`, as a library so that the end-to-end tests can use them too.

pub mod apt;
pub mod bench;
pub mod build;
pub mod check;
pub mod cpio;
pub mod demo;
pub mod disk;
pub mod dist;
pub mod exec;
pub mod initramfs;
pub mod kernel;
pub mod kit;
pub mod kmod;
pub mod pair;
pub mod place;
pub mod purity;
pub mod setup;
pub mod sshd;
pub mod steps;
pub mod strip;
pub mod talker;
pub mod test;
pub mod toolchain;
pub mod tree;
pub mod vm;
