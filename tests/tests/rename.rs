//! A directory that is renamed with all that is in it is renamed at the other side, in one step; where that cannot be, path
//! by path.

use serde_json::Value;
use std::os::unix::fs::MetadataExt;
use vfsync_tests::{Outcome, Pair, Tree, assert_same, over_both_links, wait_for};

/// Fills a directory with others in it.
fn many(tree: &Tree, dir: &str) {
    for n in 0..300 {
        tree.file(format!("{dir}/{:02}/{n}", n % 7), format!("{dir} {n} {}", "x".repeat(n)));
    }
    tree.dir(format!("{dir}/empty")).symlink(format!("{dir}/link"), "01/1");
}

/// Returns the inodes of a directory and of a file in it: where they stay, nothing was made anew.
fn inodes(tree: &Tree, dir: &str) -> (u64, u64) {
    (tree.meta(dir).ino(), tree.meta(format!("{dir}/03/10")).ino())
}

/// Returns the bytes that a pass sent, both ways.
fn bytes(pass: &Outcome) -> u64 {
    let summary = pass.summary();
    let count = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap();
    count("bytes_sent") + count("bytes_received")
}

/// Runs a pass that has to rename `from` to `to` at the second side as a whole.
#[track_caller]
fn renames(pair: &Pair, from: &str, to: &str) -> Outcome {
    let before = inodes(&pair.second, from);
    let pass = pair.sync().arg("--json").run();
    pass.code(0);
    assert_same(&pair.first, &pair.second);
    assert_eq!(inodes(&pair.second, to), before, "not the same directory\n{pass}");
    let items = pass.events("item");
    let renamed = items.iter().find(|item| item["action"] == "rename").unwrap_or_else(|| panic!("{pass}"));
    assert_eq!((&renamed["path"], &renamed["from"]), (&Value::from(to), &Value::from(from)));
    pair.sync().arg("--json").run().code(0);
    pass
}

over_both_links! {
    fn a_renamed_directory_is_renamed_in_one_step(pair) {
        many(&pair.first, "m");
        pair.in_step();
        pair.first.rename("m", "z");
        let pass = renames(pair, "m", "z");
        assert_eq!(pass.events("item").len(), 1, "{pass}");
        assert!(bytes(&pass) < 4000, "{} bytes", bytes(&pass));
        // Back again, and from the other side.
        pair.second.rename("z", "m");
        let pass = pair.sync().arg("--json").run();
        assert_eq!(pass.code(0).events("item").len(), 1, "{pass}");
        assert_same(&pair.first, &pair.second);
        // Nothing is left to do.
        let again = pair.sync().arg("--json").run();
        assert_eq!(again.code(0).events("item").len(), 0, "{again}");
    }

    fn a_renamed_file_is_renamed_there(pair) {
        pair.first.file("d/large", "x".repeat(300_000)).file("small", "y".repeat(5000)).dir("e");
        pair.first.file("edited", "e".repeat(9000));
        pair.in_step_with(["-times"]);
        let inode = |path: &str| pair.second.meta(path).ino();
        let before = (inode("d/large"), inode("small"));
        pair.first.rename("d/large", "e/large").rename("small", "a-small").rename("edited", "e/edited");
        pair.first.append("e/edited", "more");
        let pass = pair.sync().args(["--json", "-times"]).run();
        pass.code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!((inode("e/large"), inode("a-small")), before);
        assert!(bytes(&pass) < 20_000, "{} bytes", bytes(&pass));
        // With other attributes it is copied, and the bytes are there all the same.
        pair.first.rename("e/large", "large").chmod("large", 0o600);
        pair.sync().arg("-times").run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn what_changed_in_it_as_well_goes_over_by_itself(pair) {
        many(&pair.first, "m");
        pair.in_step();
        pair.first.rename("m", "z").file("z/03/10x", "new").remove("z/04/4").append("z/05/12", "edited");
        pair.first.chmod("z/06/13", 0o600).dir("z/new").file("z/new/f", "f").file("m", "a file has the old name");
        let pass = renames(pair, "m", "z");
        assert!(pass.events("item").len() < 12, "{pass}");
        pair.second.append("z/05/12", "edited there");
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn directories_that_move_into_one_another_are_renamed(pair) {
        many(&pair.first, "a");
        many(&pair.first, "b");
        pair.in_step();
        pair.first.dir("new/place").rename("a", "new/place/a").rename("b", "a").rename("a/empty", "e");
        pair.first.rename("a/02", "new/place/a/02b");
        let pass = renames(pair, "a", "new/place/a");
        assert!(bytes(&pass) < 6000, "{} bytes", bytes(&pass));
        assert!(pass.events("item").len() < 9, "{pass}");
    }

    fn ignored_files_stay_where_they_are(pair) {
        many(&pair.first, "m");
        let ignore = ["-ignore", "Name *.o"];
        pair.in_step_with(ignore);
        pair.second.file("m/03/x.o", "ignored");
        pair.first.rename("m", "z");
        pair.sync().args(ignore).run().code(1);
        assert_eq!(pair.second.text("m/03/x.o"), "ignored");
        assert!(!pair.second.has("z/03/x.o") && !pair.second.has("m/03/10"));
        assert_eq!(pair.second.below("z").files(), pair.first.below("z").files());
    }

    fn what_the_other_side_changed_in_it_is_a_conflict_as_a_whole(pair) {
        many(&pair.first, "m");
        pair.in_step();
        pair.first.rename("m", "z");
        pair.second.append("m/03/10", "edited there");
        let pass = pair.sync().arg("--json").run();
        assert_eq!(pass.code(1).conflicts(), ["m"], "{pass}");
        assert!(pair.second.text("m/03/10").ends_with("edited there"));
        assert_eq!(pair.second.below("m").files(), 301, "nothing of it is gone");
        assert_eq!(pair.second.below("z").files(), 301, "the new name is there");
        assert!(pair.second.has("z/03/10"));
    }

    fn what_is_forbidden_is_not_renamed(pair) {
        many(&pair.first, "m");
        pair.in_step();
        pair.first.rename("m", "z");
        let second = pair.second_root();
        pair.sync().args(["-nodeletion", &second]).run().code(1);
        assert_eq!(pair.second.below("m").files(), 301);
        assert_eq!(pair.second.below("z").files(), 301);
    }

    /// A name that stood there before knows of what was deleted.
    fn it_can_go_to_and_fro(pair) {
        many(&pair.first, "m");
        pair.in_step();
        for (from, to) in [("m", "z"), ("z", "m"), ("m", "z")] {
            pair.first.rename(from, to);
            renames(pair, from, to);
        }
        pair.second.remove("z/03/10");
        pair.sync().run().code(0);
        assert!(!pair.first.has("z/03/10"));
    }

    /// The inode of a directory that is gone is given to another.
    fn a_new_directory_in_place_of_a_deleted_one_is_no_rename(pair) {
        many(&pair.first, "m");
        pair.in_step();
        pair.first.remove("m");
        many(&pair.first, "z");
        pair.sync().args(["-max-delete", "100%"]).run().code(0);
        assert_same(&pair.first, &pair.second);
    }
}

#[test]
fn a_rename_while_live_is_one_step_there() {
    let pair = Pair::over_ssh();
    many(&pair.first, "m");
    let mut live = pair.live();
    let before = inodes(&pair.second, "m");
    pair.first.rename("m", "z");
    live.carries();
    assert_eq!(inodes(&pair.second, "z"), before);
    pair.second.rename("z", "y").append("y/03/10", "edited");
    live.carries();
    assert_eq!(inodes(&pair.second, "y").0, before.0);
    // What is written from now on is seen under the new name.
    pair.first.append("y/03/17", "edited here");
    pair.second.append("y/04/4", "edited there");
    live.carries();
    wait_for("both edits", || {
        let (first, second) = (pair.second.text("y/03/17"), pair.first.text("y/04/4"));
        (first.ends_with("here") && second.ends_with("there")).then_some(())
    });
}
