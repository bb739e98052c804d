//! Sets up tracing: to standard error, never to standard output, where `vfsync serve` speaks its protocol.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What is logged when `VFSYNC_LOG` says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what a person should look at.
    Warnings,
    /// Also each batch.
    Batches,
    /// Also each path.
    Paths,
    /// Everything.
    Everything,
}

/// Starts logging. `VFSYNC_LOG` holds a tracing filter, such as `debug` or `vfsync::link=trace`; a filter that cannot
/// be understood is said on standard error, and the default is used.
pub fn init(default: LogLevel, color: Option<bool>) {
    let default = match default {
        LogLevel::Warnings => "warn",
        LogLevel::Batches => "info",
        LogLevel::Paths => "warn,vfsync=debug",
        LogLevel::Everything => "warn,vfsync=trace",
    };
    let wanted = std::env::var("VFSYNC_LOG").ok().filter(|filter| !filter.is_empty());
    let filter = match wanted.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => filter,
        Some(Err(e)) => {
            eprintln!("vfsync: VFSYNC_LOG cannot be understood, {default} is used: {e}");
            EnvFilter::new(default)
        }
        None => EnvFilter::new(default),
    };
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(color.unwrap_or_else(|| std::io::stderr().is_terminal()));
    // The journal has times of its own.
    let started = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => logging.without_time().with_target(false).try_init(),
        None => logging.try_init(),
    };
    // It is only refused when it was started before, which is what is wanted.
    drop(started);
}
