//! The [`ExitStatus`] of a command: what a script learns from it.

use std::process::ExitCode;

/// How a command ended. Ordered by gravity: of two, the greater one is what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitStatus {
    /// Everything is in step.
    InStep = 0,
    /// Some paths were skipped: conflicts, kinds that are left out.
    Skipped = 1,
    /// Some paths failed; the rest is done.
    Failed = 2,
    /// Nothing could be done: bad usage, no connection, a root is missing, halted by a guard.
    Nothing = 3,
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> ExitCode {
        ExitCode::from(status as u8)
    }
}
