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
