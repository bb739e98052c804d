//! vfsync keeps directory trees on several Linux servers the same, both ways, as they change.

pub mod archive;
pub mod capture;
pub mod cli;
pub mod cmd;
pub mod config;
pub mod core;
pub mod daemon;
pub mod environment;
pub mod exit;
pub mod fs;
pub mod link;
pub mod logging;
pub mod options;
pub mod output;
pub mod profile;
pub mod replica;
pub mod roots;
pub mod transport;
pub mod wire;
