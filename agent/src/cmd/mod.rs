//! The commands: each puts the parts together.

pub mod doctor;
pub mod watch;
