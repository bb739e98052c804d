//! Files alone: content and mode.

use super::{
    Then::{Same, Skipped},
    cases, nothing,
};

cases! {
    nothing_happens_to_a_file_that_was_only_touched {
        before: |t| { t.file("f", "same"); },
        first: |t| { t.set_mtime("f", 1_000_000_000_000_000_000); },
        second: nothing,
        then: Same(|t| assert_eq!(t.text("f"), "same")),
    }
    a_modified_file_goes_over {
        before: |t| { t.file("f", "old"); },
        // As long as before: its size tells nothing.
        first: |t| { t.file("f", "new"); },
        second: nothing,
        then: Same(|t| assert_eq!(t.text("f"), "new")),
    }
    a_changed_mode_goes_over {
        before: |t| { t.file("f", "same").chmod("f", 0o644).dir("d").chmod("d", 0o755); },
        first: |t| { t.chmod("f", 0o750).chmod("d", 0o700); },
        second: nothing,
        then: Same(|t| assert_eq!((t.mode("f"), t.mode("d"), &*t.text("f")), (0o750, 0o700, "same"))),
    }
    a_modified_file_goes_over_with_its_new_mode {
        before: |t| { t.file("f", "old").chmod("f", 0o644); },
        first: |t| { t.file("f", "newer").chmod("f", 0o600); },
        second: nothing,
        then: Same(|t| assert_eq!((t.mode("f"), &*t.text("f")), (0o600, "newer"))),
    }
    a_file_deleted_on_one_side_goes {
        before: |t| { t.file("f", "old").file("other", ""); },
        first: |t| { t.remove("f"); },
        second: nothing,
        then: Same(|t| assert_eq!(t.names(), ["other"])),
    }
    what_is_created_on_one_side_goes_over_with_its_parents {
        before: nothing,
        first: |t| {
            t.file("a/b/f", "new").chmod("a/b/f", 0o640).chmod("a/b", 0o711).chmod("a", 0o700);
            t.symlink("a/link", "b/f").dir("empty");
        },
        second: nothing,
        then: Same(|t| {
            assert_eq!((t.mode("a"), t.mode("a/b"), t.mode("a/b/f")), (0o700, 0o711, 0o640));
            assert_eq!(t.text("a/link"), "new");
            assert!(t.has("empty"));
        }),
    }
    files_modified_to_the_same_bytes_are_merged {
        before: |t| { t.file("f", "old"); },
        first: |t| { t.file("f", "new"); },
        second: |t| { t.file("f", "new"); },
        then: Same(|t| assert_eq!(t.text("f"), "new")),
    }
    files_modified_to_different_bytes_are_a_conflict {
        before: |t| { t.file("f", "old"); },
        first: |t| { t.file("f", "mine"); },
        second: |t| { t.file("f", "yours"); },
        then: Skipped(&["f"]),
    }
    a_new_content_here_and_a_new_mode_there_are_merged {
        before: |t| { t.file("f", "old").chmod("f", 0o644); },
        first: |t| { t.file("f", "new"); },
        second: |t| { t.chmod("f", 0o600); },
        then: Same(|t| assert_eq!((t.mode("f"), &*t.text("f")), (0o600, "new"))),
    }
    the_same_new_mode_on_both_sides_is_merged {
        before: |t| { t.file("f", "same").chmod("f", 0o644); },
        first: |t| { t.chmod("f", 0o600); },
        second: |t| { t.chmod("f", 0o600); },
        then: Same(|t| assert_eq!(t.mode("f"), 0o600)),
    }
    different_new_modes_are_a_conflict {
        before: |t| { t.file("f", "same").chmod("f", 0o644); },
        first: |t| { t.chmod("f", 0o600); },
        second: |t| { t.chmod("f", 0o755); },
        then: Skipped(&["f"]),
    }
    the_same_new_content_and_a_new_mode_on_one_side_are_merged {
        before: |t| { t.file("f", "old").chmod("f", 0o644); },
        first: |t| { t.file("f", "new").chmod("f", 0o600); },
        second: |t| { t.file("f", "new"); },
        then: Same(|t| assert_eq!((t.mode("f"), &*t.text("f")), (0o600, "new"))),
    }
    a_file_modified_here_and_deleted_there_is_a_conflict {
        before: |t| { t.file("f", "old"); },
        first: |t| { t.file("f", "new"); },
        second: |t| { t.remove("f"); },
        then: Skipped(&["f"]),
    }
    a_deletion_wins_over_a_new_mode {
        before: |t| { t.file("f", "old").chmod("f", 0o644).file("other", ""); },
        first: |t| { t.chmod("f", 0o600); },
        second: |t| { t.remove("f"); },
        then: Same(|t| assert_eq!(t.names(), ["other"])),
    }
    a_file_deleted_on_both_sides_is_settled {
        before: |t| { t.file("f", "old").file("other", ""); },
        first: |t| { t.remove("f"); },
        second: |t| { t.remove("f"); },
        then: Same(|t| assert_eq!(t.names(), ["other"])),
    }
    files_created_with_the_same_bytes_are_merged {
        before: nothing,
        first: |t| { t.file("f", "new"); },
        second: |t| { t.file("f", "new"); },
        then: Same(|t| assert_eq!(t.text("f"), "new")),
    }
    files_created_with_different_bytes_are_a_conflict {
        before: nothing,
        first: |t| { t.file("f", "mine"); },
        second: |t| { t.file("f", "yours"); },
        then: Skipped(&["f"]),
    }
}
