//! Symbolic links.

use super::{
    Then::{Same, Skipped},
    cases, nothing,
};

cases! {
    a_changed_symlink_goes_over {
        before: |t| { t.symlink("l", "old"); },
        first: |t| { t.symlink("l", "new"); },
        second: nothing,
        then: Same(|t| assert_eq!(std::fs::read_link(t.path("l")).unwrap().to_str(), Some("new"))),
    }
    symlinks_changed_differently_are_a_conflict {
        before: |t| { t.symlink("l", "old"); },
        first: |t| { t.symlink("l", "mine"); },
        second: |t| { t.symlink("l", "yours"); },
        then: Skipped(&["l"]),
    }
    symlinks_changed_in_the_same_way_are_merged {
        before: |t| { t.symlink("l", "old"); },
        first: |t| { t.symlink("l", "new"); },
        second: |t| { t.symlink("l", "new"); },
        then: Same(|t| assert_eq!(std::fs::read_link(t.path("l")).unwrap().to_str(), Some("new"))),
    }
    a_symlink_changed_here_and_deleted_there_is_a_conflict {
        before: |t| { t.symlink("l", "old"); },
        first: |t| { t.symlink("l", "new"); },
        second: |t| { t.remove("l"); },
        then: Skipped(&["l"]),
    }
}
