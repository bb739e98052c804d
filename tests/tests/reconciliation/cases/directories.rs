//! Directories, and paths that became something else.

use super::{
    Then::{Partly, Same, Skipped},
    cases, nothing,
};

cases! {
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
}
