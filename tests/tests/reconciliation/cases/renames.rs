//! Renames, which a pass without a witness sees as a deletion and a creation.

use super::{
    Then::{Partly, Same},
    cases, nothing,
};

cases! {
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
