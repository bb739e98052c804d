//! Roots that are missing, no directories, or each other's.

use vfsync_tests::over_both_links;

use crate::{NOTHING, fails_without_harm};

over_both_links! {
    fn a_missing_first_root_is_named(pair) {
        let missing = pair.home().path("missing").display().to_string();
        let pass = pair.bare("sync").args(["-batch", &missing, &pair.second_root()]);
        fails_without_harm(pair, pass, &[&missing]);
        assert!(!pair.home().has("missing"));
    }

    fn a_missing_second_root_is_named(pair) {
        let second = pair.second_root() + "-missing";
        let pass = pair.bare("sync").args(["-batch", &pair.first_root(), &second]);
        fails_without_harm(pair, pass, &["second-missing"]);
        assert!(!pair.home().has("second-missing"));
    }

    fn a_root_that_vanishes_later_is_not_a_deletion(pair) {
        pair.first.file("f", "1");
        pair.in_step();
        pair.second.rename("", "../moved-away");
        pair.sync().run().code(NOTHING).says("second");
        assert_eq!(pair.first.text("f"), "1");
    }

    fn a_root_that_was_emptied_halts_the_pass(pair) {
        for n in 0..10 {
            pair.first.file(format!("f{n}"), "1");
        }
        pair.in_step();
        for n in 0..10 {
            pair.second.remove(format!("f{n}"));
        }
        let pass = pair.sync().run();
        pass.code(NOTHING).says("confirm-deletes");
        assert_eq!(pair.first.names().len(), 10);
        // What the message names as the way out is one.
        pair.sync().args(["-confirm-deletes", "10"]).run().code(0);
        assert_eq!(pair.first.names().len(), 0);
    }

    /// What a file system that is not mounted leaves: the rest of the disk would be filled with what the other side has.
    fn an_empty_root_in_place_of_another_is_not_filled(pair) {
        pair.first.file("d/f", "1").file("g", "2");
        pair.sync().run().code(0);
        for (root, other) in [(&pair.second, &pair.first), (&pair.first, &pair.second)] {
            let aside = root.root().with_extension("old");
            std::fs::rename(root.root(), &aside).unwrap();
            std::fs::create_dir(root.root()).unwrap();
            pair.sync().run().code(3).tells("not the directory that it was, in which 3 entries stood");
            pair.sync().run().code(3).tells("--confirm-deletes 3");
            assert!(!root.has("g") && other.has("d/f"), "nothing was done");
            pair.sync().args(["--confirm-deletes", "3"]).run().code(0);
            assert_eq!(root.text("d/f"), "1");
        }
        pair.sync().run().code(0);
    }

    fn an_empty_root_does_not_win_by_force(pair) {
        pair.second.file("f", "1");
        let forced = || pair.sync().arg("-force").arg(pair.first.root());
        forced().run().code(3).tells("everything at the other end would be deleted");
        assert_eq!(pair.second.text("f"), "1");
        forced().args(["--confirm-deletes", "1"]).run().code(0);
        assert!(!pair.second.has("f"));
    }

    fn a_root_that_is_a_file_is_refused(pair) {
        pair.home().file("file", "precious");
        let second = pair.second_root().replace("/second", "/file");
        let pass = pair.bare("sync").args(["-batch", &pair.first_root(), &second]);
        fails_without_harm(pair, pass, &["file"]);
        assert_eq!(pair.home().text("file"), "precious");
    }

    fn the_same_root_twice_is_refused(pair) {
        let again = pair.second_root().replace("/second", "/first");
        let pass = pair.bare("sync").args(["-batch", &pair.first_root(), &again]);
        fails_without_harm(pair, pass, &["same"]);
    }

    fn the_same_root_under_another_name_is_refused(pair) {
        pair.home().symlink("alias", "first");
        let again = pair.second_root().replace("/second", "/alias");
        let pass = pair.bare("sync").args(["-batch", &pair.first_root(), &again]);
        fails_without_harm(pair, pass, &["same"]);
    }

    fn a_root_inside_the_other_is_refused(pair) {
        pair.first.dir("inside");
        let inside = pair.second_root().replace("/second", "/first/inside");
        let pass = pair.bare("sync").args(["-batch", &pair.first_root(), &inside]);
        fails_without_harm(pair, pass, &["inside"]);
    }
}
