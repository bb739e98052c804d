//! The commands: each puts the parts together.

pub mod ask;
pub mod conflicts;
pub(crate) mod connect;
pub mod cron;
pub mod daemon;
pub mod doctor;
pub mod import;
pub mod live;
pub mod serve;
pub mod sync;
pub(crate) mod tell;
pub mod top;
pub mod watch;
