//! The cases: what was there, what each side does to it, and what one pass makes of that.

use vfsync_tests::Tree;

/// What a pair of changes leads to. Each holds for the mirrored case too.
pub struct Case {
    /// The case in words.
    pub name: &'static str,
    /// What both sides have at the beginning.
    pub before: fn(&Tree),
    /// What happens on one side.
    pub first: fn(&Tree),
    /// What happens on the other.
    pub second: fn(&Tree),
    /// What becomes of it.
    pub then: Then,
}

/// What becomes of a pair of changes.
pub enum Then {
    /// Both sides are the same, and this holds for them. Exit code 0.
    Same(fn(&Tree)),
    /// These paths are conflicts, and both sides stay as they are. Exit code 1.
    Skipped(&'static [&'static str]),
    /// These paths are conflicts, and this holds for the sides. Exit code 1.
    Partly(&'static [&'static str], fn(&Tree, &Tree)),
}

use Then::{Partly, Same, Skipped};

fn nothing(_: &Tree) {}

macro_rules! cases {
    ($($name:ident { $($field:ident: $value:expr,)* })*) => {
        /// All cases.
        pub const CASES: &[Case] = &[$(Case { name: stringify!($name), $($field: $value,)* }),*];

        $(mod $name {
            #[test]
            fn between_local_trees() {
                crate::check_between_local_trees(super::case(stringify!($name)), false);
            }

            #[test]
            fn between_local_trees_mirrored() {
                crate::check_between_local_trees(super::case(stringify!($name)), true);
            }
        })*
    };
}

fn case(name: &str) -> &'static Case {
    CASES.iter().find(|case| case.name == name).expect("every case has its name")
}

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
    a_file_here_and_a_directory_there_are_a_conflict {
        before: nothing,
        first: |t| { t.file("x", "file"); },
        second: |t| { t.file("x/child", "in a directory"); },
        then: Skipped(&["x"]),
    }
    a_file_here_and_a_symlink_there_are_a_conflict {
        before: nothing,
        first: |t| { t.file("x", "file"); },
        second: |t| { t.symlink("x", "elsewhere"); },
        then: Skipped(&["x"]),
    }
    directories_created_on_both_sides_become_one {
        before: nothing,
        first: |t| { t.file("d/mine", "1").file("d/both", "same").file("d/clash", "mine"); },
        second: |t| { t.file("d/yours", "2").file("d/both", "same").file("d/clash", "yours"); },
        then: Partly(&["d/clash"], |first, second| {
            for tree in [first, second] {
                assert_eq!((&*tree.text("d/mine"), &*tree.text("d/yours"), &*tree.text("d/both")), ("1", "2", "same"));
            }
            assert_eq!((&*first.text("d/clash"), &*second.text("d/clash")), ("mine", "yours"));
        }),
    }
    a_file_that_became_a_directory_is_replaced {
        before: |t| { t.file("x", "file"); },
        first: |t| { t.remove("x").file("x/child", "new"); },
        second: nothing,
        then: Same(|t| assert_eq!(t.text("x/child"), "new")),
    }
    a_file_that_became_a_symlink_is_replaced {
        before: |t| { t.file("x", "file").file("target", ""); },
        first: |t| { t.remove("x").symlink("x", "target"); },
        second: nothing,
        then: Same(|t| assert!(t.meta("x").is_symlink())),
    }
    a_file_that_became_a_directory_here_and_was_modified_there_is_a_conflict {
        before: |t| { t.file("x", "file"); },
        first: |t| { t.remove("x").file("x/child", "new"); },
        second: |t| { t.file("x", "modified"); },
        then: Skipped(&["x"]),
    }
    a_file_that_became_a_directory_here_and_was_deleted_there_is_a_conflict {
        before: |t| { t.file("x", "file"); },
        first: |t| { t.remove("x").file("x/child", "new"); },
        second: |t| { t.remove("x"); },
        then: Skipped(&["x"]),
    }
    a_file_that_became_a_directory_on_both_sides_is_merged {
        before: |t| { t.file("x", "file"); },
        first: |t| { t.remove("x").file("x/mine", "1"); },
        second: |t| { t.remove("x").file("x/yours", "2"); },
        then: Same(|t| assert_eq!((&*t.text("x/mine"), &*t.text("x/yours")), ("1", "2"))),
    }
    a_directory_that_became_a_file_is_replaced {
        before: |t| { t.file("x/child", "old").file("x/deep/er", "old"); },
        first: |t| { t.remove("x").file("x", "file"); },
        second: nothing,
        then: Same(|t| assert_eq!(t.text("x"), "file")),
    }
    a_directory_that_became_a_file_here_with_a_changed_child_there_is_a_conflict {
        before: |t| { t.file("x/child", "old").file("x/other", "old"); },
        first: |t| { t.remove("x").file("x", "file"); },
        second: |t| { t.file("x/child", "modified"); },
        then: Skipped(&["x"]),
    }
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
    different_children_modified_on_each_side_go_both_ways {
        before: |t| { t.file("d/x", "old").file("d/y", "old"); },
        first: |t| { t.file("d/x", "mine"); },
        second: |t| { t.file("d/y", "yours"); },
        then: Same(|t| assert_eq!((&*t.text("d/x"), &*t.text("d/y")), ("mine", "yours"))),
    }
    a_deleted_directory_goes_with_all_below_it {
        before: |t| { t.file("d/x", "old").file("d/sub/y", "old").dir("d/empty").file("other", ""); },
        first: |t| { t.remove("d"); },
        second: nothing,
        then: Same(|t| assert_eq!(t.names(), ["other"])),
    }
    a_deleted_directory_goes_where_only_deletions_were_made_in_it {
        before: |t| { t.file("d/x", "old").file("d/sub/y", "old").file("other", ""); },
        first: |t| { t.remove("d"); },
        second: |t| { t.remove("d/sub"); },
        then: Same(|t| assert_eq!(t.names(), ["other"])),
    }
    a_deleted_directory_with_a_modified_child_there_is_a_conflict_as_a_whole {
        before: |t| { t.file("d/x", "old").file("d/sub/y", "old").file("d/z", "old"); },
        first: |t| { t.remove("d"); },
        second: |t| { t.file("d/sub/y", "modified"); },
        then: Skipped(&["d"]),
    }
    a_deleted_directory_with_a_new_child_there_is_a_conflict_as_a_whole {
        before: |t| { t.file("d/x", "old"); },
        first: |t| { t.remove("d"); },
        second: |t| { t.file("d/new", "created"); },
        then: Skipped(&["d"]),
    }
    a_deleted_directory_goes_where_only_its_mode_was_changed {
        before: |t| { t.file("d/x", "old").chmod("d", 0o755).file("other", ""); },
        first: |t| { t.remove("d"); },
        second: |t| { t.chmod("d", 0o700); },
        then: Same(|t| assert_eq!(t.names(), ["other"])),
    }
    a_new_mode_of_a_directory_and_a_modified_child_go_both_ways {
        before: |t| { t.file("d/x", "old").chmod("d", 0o755); },
        first: |t| { t.chmod("d", 0o700); },
        second: |t| { t.file("d/x", "modified"); },
        then: Same(|t| assert_eq!((t.mode("d"), &*t.text("d/x")), (0o700, "modified"))),
    }
    a_renamed_file_is_renamed_there {
        before: |t| { t.file("f", "content"); },
        first: |t| { t.rename("f", "g"); },
        second: nothing,
        then: Same(|t| assert_eq!((t.names(), &*t.text("g")), (vec!["g".to_owned()], "content"))),
    }
    a_file_renamed_here_and_modified_there_appears_and_is_a_conflict {
        before: |t| { t.file("f", "old"); },
        first: |t| { t.rename("f", "g"); },
        second: |t| { t.file("f", "modified"); },
        then: Partly(&["f"], |first, second| {
            assert_eq!((&*first.text("g"), &*second.text("g"), &*second.text("f")), ("old", "old", "modified"));
            assert!(!first.has("f"));
        }),
    }
    a_file_renamed_to_different_names_is_there_under_both {
        before: |t| { t.file("f", "content"); },
        first: |t| { t.rename("f", "g"); },
        second: |t| { t.rename("f", "h"); },
        then: Same(|t| assert_eq!(t.names(), ["g", "h"])),
    }
    a_renamed_directory_is_renamed_there {
        before: |t| { t.file("d/x", "1").file("d/sub/y", "2").symlink("d/l", "x"); },
        first: |t| { t.rename("d", "e"); },
        second: nothing,
        then: Same(|t| assert_eq!((t.names(), &*t.text("e/sub/y")), (vec!["e".to_owned()], "2"))),
    }
    a_directory_renamed_here_with_a_modified_child_there_appears_and_is_a_conflict {
        before: |t| { t.file("d/x", "old").file("d/y", "old"); },
        first: |t| { t.rename("d", "e"); },
        second: |t| { t.file("d/x", "modified"); },
        then: Partly(&["d"], |first, second| {
            for tree in [first, second] {
                assert_eq!((&*tree.text("e/x"), &*tree.text("e/y")), ("old", "old"));
            }
            assert!(!first.has("d"));
            assert_eq!((&*second.text("d/x"), &*second.text("d/y")), ("modified", "old"));
        }),
    }
}
