//! [`Times`] is how long the stages of a change's way take at one replica: what tells whoever wants it faster where the time
//! goes.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A stage of a change's way, in the order in which a change comes through them: the first two and the last at the end that
/// has the change, the others at the end that takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// What was hinted at is looked at, and hashed.
    Look,
    /// What differs is written to the archive.
    Note,
    /// Directories are made.
    Directories,
    /// Content that is there already is copied.
    Copy,
    /// Directories are removed.
    Removals,
    /// Files are written out of sight.
    Prepare,
    /// The disk is waited for, with contents and intents.
    Contents,
    /// Files get their names.
    Publish,
    /// Directories get their times.
    Settle,
    /// The disk is waited for, with the names.
    Names,
    /// The records are written to the archive.
    Record,
    /// From an offer to the answer to it.
    Answer,
}

/// All of them.
const STAGES: [(Stage, &str); 12] = [
    (Stage::Look, "look"),
    (Stage::Note, "note"),
    (Stage::Directories, "directories"),
    (Stage::Copy, "copy"),
    (Stage::Removals, "removals"),
    (Stage::Prepare, "prepare"),
    (Stage::Contents, "contents"),
    (Stage::Publish, "publish"),
    (Stage::Settle, "settle"),
    (Stage::Names, "names"),
    (Stage::Record, "record"),
    (Stage::Answer, "answer"),
];

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STAGES[*self as usize].1)
    }
}

/// How often each stage was gone through, and how long all of that took, in microseconds.
#[derive(Debug, Default)]
pub struct Times([(AtomicU64, AtomicU64); STAGES.len()]);

impl Times {
    pub(crate) fn add(&self, stage: Stage, took: Duration) {
        let (count, micros) = &self.0[stage as usize];
        count.fetch_add(1, Ordering::Relaxed);
        micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// Returns each stage with how often it was gone through, and how long that took together, in microseconds.
    pub fn all(&self) -> Vec<(&'static str, u64, u64)> {
        let of = |(at, (_, name)): (usize, &(Stage, &'static str))| {
            let (count, micros) = &self.0[at];
            (*name, count.load(Ordering::Relaxed), micros.load(Ordering::Relaxed))
        };
        STAGES.iter().enumerate().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_at_its_place() {
        for (at, (stage, name)) in STAGES.iter().enumerate() {
            assert_eq!(*stage as usize, at, "{name}");
            let times = Times::default();
            times.add(*stage, Duration::from_millis(2));
            assert_eq!(times.all()[at], (*name, 1, 2000));
            assert_eq!(stage.to_string(), *name);
        }
    }
}
