//! The pure part: no files, sockets, clocks, threads or randomness in here (`cargo xtask check` enforces it).

pub mod dirty;
pub mod entry;
pub mod escaped;
pub mod extended;
pub mod filter;
pub mod guard;
pub mod order;
pub mod path;
pub mod reconcile;
pub mod removal;
pub mod renamed;
pub mod version;
