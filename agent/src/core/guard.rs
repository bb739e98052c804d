//! A [`Guard`] refuses what is alarming before any harm is done: a link halts and says why.

use super::path::RelPath;
use std::fmt;

/// How many deletions at once are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxDelete {
    /// In percent of the entries that stand; counts only above [`ALWAYS_ALLOWED`] deletions.
    pub percent: u8,
    /// In paths; overrides the percentage.
    pub count: Option<u64>,
    /// So many were approved for this pass.
    pub approved: u64,
    /// Halt when the whole root was emptied.
    pub emptied_root: bool,
}

/// So many deletions are never alarming by their share of the tree.
pub const ALWAYS_ALLOWED: u64 = 100;

impl Default for MaxDelete {
    fn default() -> MaxDelete {
        MaxDelete { percent: 50, count: None, approved: 0, emptied_root: true }
    }
}

/// What is alarming.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// Nothing is left in the root.
    RootEmptied {
        /// How many entries stood.
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
            Guard::RootEmptied { entries } => write!(
                f,
                "the root is empty, and {entries} entries stood in it: halted, nothing was deleted anywhere. \
                 Is a file system not mounted? If all of it shall go, say --confirm-deletes {entries}"
            ),
            Guard::TooManyDeletions { deletions, entries, allowed } => write!(
                f,
                "{deletions} of {entries} entries are gone, more than the {allowed} that max-delete allows: halted, \
                 nothing was deleted anywhere. If they shall go, say --confirm-deletes {deletions}"
            ),
            Guard::NotMounted { path } => write!(
                f,
                "{path}, which mountpoint names, is not there: halted, nothing was done. Mount it and try again"
            ),
        }
    }
}

/// Judges a number of deletions among `entries` that stood.
pub fn too_many(deletions: u64, entries: u64, limit: &MaxDelete) -> Option<Guard> {
    let share = (u128::from(entries) * u128::from(limit.percent) / 100) as u64;
    let allowed = limit.count.unwrap_or_else(|| share.max(ALWAYS_ALLOWED)).max(limit.approved);
    (deletions > allowed).then_some(Guard::TooManyDeletions { deletions, entries, allowed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_tree_is_too_much_and_a_hundred_paths_never_are() {
        let limit = MaxDelete::default();
        assert_eq!(too_many(100, 100, &limit), None);
        assert_eq!(too_many(101, 202, &limit), None);
        assert!(too_many(102, 202, &limit).is_some());
        assert_eq!(too_many(102, 202, &MaxDelete { approved: 102, ..limit }), None);
        assert!(too_many(3, 1_000_000, &MaxDelete { count: Some(2), ..limit }).is_some());
        assert_eq!(too_many(u64::MAX, u64::MAX, &MaxDelete { percent: 100, ..limit }), None);
    }
}
