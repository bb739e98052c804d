//! A [`Guard`] refuses what is alarming before any harm is done: a link halts and says why.

use super::path::RelPath;
use std::fmt;
use std::time::Duration;

/// How many deletions at once are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxDelete {
    /// In percent of the entries that stand.
    pub percent: u8,
    /// So many are allowed whatever their share is.
    pub always: u64,
    /// In paths; overrides the percentage.
    pub count: Option<u64>,
    /// So many were approved for this pass.
    pub approved: u64,
    /// Halt when the whole root was emptied.
    pub emptied_root: bool,
}

/// So many deletions are never alarming by their share of the tree, unless somebody has named a share.
pub const ALWAYS_ALLOWED: u64 = 100;

impl Default for MaxDelete {
    fn default() -> MaxDelete {
        MaxDelete { percent: 50, always: ALWAYS_ALLOWED, count: None, approved: 0, emptied_root: true }
    }
}

/// What is alarming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Nothing is left in the root.
    RootEmptied {
        /// How many entries stood.
        entries: u64,
        /// How many of them other replicas have deleted already.
        passed_on: u64,
    },
    /// The root is an empty directory, and another one stood in its place.
    RootReplaced {
        /// How many entries stood in that.
        entries: u64,
    },
    /// More than `max-delete` is gone.
    TooManyDeletions {
        /// How many.
        deletions: u64,
        /// Of how many.
        entries: u64,
        /// How many would be allowed.
        allowed: u64,
        /// How many of them other replicas have deleted already.
        passed_on: u64,
    },
    /// A path that `mountpoint` names is not there.
    NotMounted {
        /// Which.
        path: RelPath,
    },
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::RootEmptied { entries, passed_on } => write!(
                f,
                "the root is empty, and {entries} entries stood in it: halted, {}. Is a file system not mounted? If all of \
                 it shall go, say --confirm-deletes {entries}",
                Harm(*passed_on)
            ),
            Guard::RootReplaced { entries } => write!(
                f,
                "the root is empty, and not the directory that it was, in which {entries} entries stood: halted, nothing was \
                 done. Is a file system not mounted? If it shall be filled anew, say --confirm-deletes {entries}"
            ),
            Guard::TooManyDeletions { deletions, entries, allowed, passed_on } => write!(
                f,
                "{deletions} of {entries} entries are gone, more than the {allowed} that max-delete allows: halted, {}. If \
                 they shall go, say --confirm-deletes {deletions}",
                Harm(*passed_on)
            ),
            Guard::NotMounted { path } => write!(
                f,
                "{path}, which mountpoint names, is not there: halted, nothing was done. Mount it and try again"
            ),
        }
    }
}

/// What has happened elsewhere before a guard halted.
struct Harm(u64);

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("nothing was deleted anywhere"),
            1 => f.write_str("after the first of them was deleted at the other end, too"),
            n => write!(f, "after the first {n} of them were deleted at the other end, too"),
        }
    }
}

/// After so long without a deletion the next ones count for themselves.
pub const QUIET: Duration = Duration::from_secs(10);

/// Deletions that followed one another. Found a few at a time, as they happen, none of them would be too many by
/// itself. What counts is by how much the tree shrank: files that come and go are no loss. Times are durations since
/// some start that the caller chose.
#[derive(Debug, Default)]
pub struct Spate {
    /// The most entries that stood since it began.
    stood: u64,
    /// How many deletions were let pass.
    count: u64,
    last: Option<Duration>,
}

impl Spate {
    /// Returns by how many entries the tree shrank before the deletions that are about to be judged, and how many stood.
    /// `live` is how many stand now, with those.
    pub fn before(&mut self, live: u64, now: Duration) -> (u64, u64) {
        if self.last.is_none_or(|last| now.saturating_sub(last) > QUIET) {
            *self = Spate { stood: live, ..Spate::default() };
        }
        self.stood = self.stood.max(live);
        // What the other end deleted was judged there.
        (self.count.min(self.stood - live), self.stood)
    }

    /// Notes that deletions were let pass.
    pub fn note(&mut self, deletions: u64, now: Duration) {
        self.count += deletions;
        self.last = Some(now);
    }
}

/// Judges a number of deletions among `entries` that stood: returns how many would be allowed if these are too many.
pub fn too_many(deletions: u64, entries: u64, limit: &MaxDelete) -> Option<u64> {
    let share = (u128::from(entries) * u128::from(limit.percent) / 100) as u64;
    let allowed = limit.count.unwrap_or_else(|| share.max(limit.always)).max(limit.approved);
    (deletions > allowed).then_some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_one_by_one_count_together_until_it_is_quiet() {
        let mut spate = Spate::default();
        let at = Duration::from_secs;
        assert_eq!(spate.before(600, at(5)), (0, 600));
        for n in 0..5 {
            spate.note(1, at(5 + n));
            assert_eq!(spate.before(599 - n, at(5 + n)), (n + 1, 600));
        }
        assert_eq!(spate.before(599, at(15)), (1, 600), "what came in their place is no loss");
        assert_eq!(spate.before(700, at(15)), (0, 700));
        assert_eq!(spate.before(100, at(15)), (5, 700), "the rest was deleted by the other end");
        assert_eq!(spate.before(600, at(25)), (0, 600));
    }

    #[test]
    fn half_the_tree_is_too_much_and_a_hundred_paths_never_are() {
        let limit = MaxDelete::default();
        assert_eq!(too_many(100, 100, &limit), None);
        assert_eq!(too_many(101, 202, &limit), None);
        assert!(too_many(102, 202, &limit).is_some());
        assert_eq!(too_many(102, 202, &MaxDelete { approved: 102, ..limit }), None);
        assert!(too_many(3, 1_000_000, &MaxDelete { count: Some(2), ..limit }).is_some());
        assert_eq!(too_many(3, 20, &MaxDelete { percent: 10, always: 0, ..limit }), Some(2));
        assert_eq!(too_many(u64::MAX, u64::MAX, &MaxDelete { percent: 100, ..limit }), None);
    }
}
