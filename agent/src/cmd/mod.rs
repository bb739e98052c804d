//! The commands: each puts the parts together.

mod capture;
mod connect;
pub mod doctor;
pub mod live;
pub mod serve;
pub mod sync;
mod tell;
pub mod watch;
