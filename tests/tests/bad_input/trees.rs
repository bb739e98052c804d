//! Archives and trees that are not as one would wish.

use vfsync_tests::{assert_same, over_both_links};

use crate::NOTHING;

over_both_links! {
    fn an_archive_in_use_is_said_with_its_owner(pair) {
        pair.first.file("f", "1");
        let mut live = pair.live();
        let pass = pair.sync().run();
        pass.code(NOTHING).says("use").says(&live.process().pid().to_string());
        pair.first.file("g", "2");
        live.carries();
    }

    fn a_corrupt_archive_is_set_aside_and_nothing_is_deleted(pair) {
        pair.first.file("f", "1").file("only-here", "2");
        pair.in_step();
        // With an archive this would be a deletion; without one it must not be.
        pair.second.remove("only-here");
        let spoilt = spoil_archives(&pair.near_state());
        assert!(spoilt > 0, "no archive in {}", pair.near_state().display());
        pair.sync().run().code(0).says("archive");
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.second.names(), ["f", "only-here"]);
        pair.sync().run().code(0);
    }

    fn a_tree_200_levels_deep_goes_over(pair) {
        let deep = vec!["level"; 200].join("/");
        pair.first.file(format!("{deep}/f"), "deep");
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
        pair.second.remove("level");
        pair.sync().args(["-confirm-deletes", "1000"]).run().code(0);
        assert!(!pair.first.has("level"));
    }

    fn names_that_are_not_utf8_and_names_of_255_bytes_go_over(pair) {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
        let odd = OsStr::from_bytes(b"not \xff\xfe utf-8\n\x1b[2J");
        let long = "x".repeat(255);
        pair.first.file(odd, "odd").file(format!("{long}/{long}"), "long");
        let pass = pair.sync().arg("--json").run();
        pass.code(0);
        assert_same(&pair.first, &pair.second);
        let line = pass.events("item").into_iter().find(|item| item["path_bytes"].is_string());
        assert_eq!(line.expect("an exact path")["path_bytes"], "bm90IP/+IHV0Zi04ChtbMko=");
        // A change of such a file, and its end.
        pair.second.file(odd, "changed").remove(&long);
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn special_files_are_reported_and_the_rest_goes_over(pair) {
        pair.first.fifo("pipe").file("f", "1");
        let pass = pair.sync().arg("--json").run();
        pass.code(1);
        assert_eq!(pair.second.names(), ["f"]);
        let skipped = pass.events("item").into_iter().find(|item| item["path"] == "pipe");
        assert_eq!(skipped.expect("a line for the fifo")["result"], "skipped", "{pass}");
    }
}

/// Overwrites the middle of every file of some size below a state directory, and returns how many there were.
fn spoil_archives(state: &std::path::Path) -> usize {
    let mut spoilt = 0;
    for entry in std::fs::read_dir(state).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            spoilt += spoil_archives(&path);
        } else if entry.metadata().is_ok_and(|meta| meta.is_file() && meta.len() > 1000) {
            let len = entry.metadata().unwrap().len() as usize;
            std::fs::write(&path, vec![0xa5; len]).unwrap();
            spoilt += 1;
        }
    }
    spoilt
}
