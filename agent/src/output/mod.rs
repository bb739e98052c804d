//! What a person or a script is told: an [`Item`] is one thing that was done or not, a [`ConflictReport`] one path
//! that two sides changed, a [`Planned`] one thing that would be done, a [`Summary`] all of it in numbers. A
//! [`Reporter`] prints them.

mod ask;
mod changelog;
mod choose;
mod human;
mod json;
mod logfile;
mod progress;
mod reporter;
#[cfg(test)]
mod tests;

pub use ask::{AskError, Decided, can_ask};
pub use changelog::ChangeLog;
pub use choose::Pick;
pub use human::{plural, size};
pub use logfile::LogFile;
pub use reporter::{Reporter, Style};

use crate::core::path::RelPath;
use crate::exit::ExitStatus;
use serde::Serialize;
use std::time::Duration;

/// What lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
}

/// What is done to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It is made.
    Create,
    /// Its content is changed.
    Update,
    /// It is removed.
    Delete,
    /// Only its attributes are changed.
    Props,
    /// It is renamed.
    Rename,
}

/// Which root is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The first.
    ToFirst,
    /// The second.
    ToSecond,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemResult {
    /// It is done.
    Done,
    /// It was tried in vain.
    Failed,
    /// It was not tried.
    Skipped,
}

/// Why there is an [`Item`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Something changed, and was to be carried.
    Change,
    /// A look at a tree met with something that does not take part, changed or not.
    Look,
}

/// One thing that was done or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Why it is told.
    pub cause: Cause,
    /// Where.
    pub path: RelPath,
    /// Where it was before, if it was renamed.
    pub from: Option<RelPath>,
    /// What lies there.
    pub kind: ItemKind,
    /// What was to be done.
    pub action: Action,
    /// In which root.
    pub direction: Direction,
    /// What came of it.
    pub result: ItemResult,
    /// Why it failed or was skipped; empty if it was done.
    pub reason: String,
}

/// How a conflict ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolved {
    /// Not at all: both sides stay as they are.
    No,
    /// The first root won.
    First,
    /// The second root won.
    Second,
    /// Both are kept, under two names.
    Both,
    /// The two were merged.
    Merged,
}

/// A path that two sides changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictReport {
    /// Where.
    pub path: RelPath,
    /// What happened in the first root, in a few words: `changed`, `deleted`, `new file`.
    pub first: String,
    /// What happened in the second root.
    pub second: String,
    /// How it ended.
    pub resolved: Resolved,
}

/// One thing that would be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// A change that goes over.
    Change {
        /// Where.
        path: RelPath,
        /// Where it was before, if it was renamed.
        from: Option<RelPath>,
        /// What lies there.
        kind: ItemKind,
        /// What would be done.
        action: Action,
        /// In which root.
        direction: Direction,
    },
    /// A conflict.
    Conflict(ConflictReport),
}

/// All of a pass in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// How many items are done.
    pub transferred: u64,
    /// How many items were skipped and how many conflicts stay.
    pub skipped: u64,
    /// How many items failed.
    pub failed: u64,
    /// How much went to the other host.
    pub bytes_sent: u64,
    /// How much came from it.
    pub bytes_received: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Summary {
    /// Counts an item.
    pub fn count(&mut self, item: &Item) {
        match item.result {
            ItemResult::Done => self.transferred += 1,
            ItemResult::Failed => self.failed += 1,
            ItemResult::Skipped => self.skipped += 1,
        }
    }

    /// Counts a conflict, if it stays.
    pub fn count_conflict(&mut self, conflict: &ConflictReport) {
        self.skipped += u64::from(conflict.resolved == Resolved::No);
    }

    /// Returns how a command that ends with this summary exits.
    pub fn exit_status(&self) -> ExitStatus {
        match (self.failed, self.skipped) {
            (0, 0) => ExitStatus::InStep,
            (0, _) => ExitStatus::Skipped,
            _ => ExitStatus::Failed,
        }
    }
}
