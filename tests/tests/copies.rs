//! Archives that are restored from a backup or cloned, trees that are put back, and hosts that are away for longer than
//! tombstones are kept: none of them deletes or reverts anything, and nobody has to do anything about it.

use std::fs;
use std::path::{Path, PathBuf};
use vfsync_tests::{Pair, Tree, assert_same, over_both_links};

/// Returns the folder of the archive of a root.
fn archive(state: &Path, root: &Path) -> PathBuf {
    let folders = fs::read_dir(state.join("replicas")).unwrap().map(|folder| folder.unwrap().path());
    let is_it = |folder: &PathBuf| {
        let shown = fs::read(folder.join("root")).unwrap_or_default();
        shown.strip_suffix(b"\n") == Some(root.as_os_str().as_encoded_bytes())
    };
    let mut found: Vec<PathBuf> = folders.filter(is_it).collect();
    assert_eq!(found.len(), 1, "{}: {found:?}", root.display());
    found.remove(0)
}

/// Returns the name of the mark on a root.
fn mark(tree: &Tree) -> String {
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(tree.root(), &mut names[..]).unwrap();
    let names = names[..length].split(|&b| b == 0).map(|name| String::from_utf8_lossy(name).into_owned());
    let mut marks: Vec<String> = names.filter(|name| name.starts_with("user.vfsync.mark.")).collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    marks.remove(0)
}

fn save(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("archive.redb")).unwrap()
}

fn restore(folder: &Path, saved: &[u8]) {
    fs::write(folder.join("archive.redb"), saved).unwrap();
}

over_both_links! {
    fn an_archive_that_was_restored_is_recognised_and_reverts_nothing(pair) {
        pair.first.file("kept", "1").file("changed", "1").file("deleted", "1").file("mine", "1");
        pair.in_step();
        for (tree, state) in [(&pair.first, pair.near_state()), (&pair.second, pair.far_state())] {
            let folder = archive(&state, tree.root());
            let saved = save(&folder);
            pair.first.file("changed", "2, and longer").file("deleted", "again");
            pair.in_step();
            pair.second.remove("deleted");
            pair.in_step();
            restore(&folder, &saved);
            // A tree that came back with its archive, or a file system without extended attributes, has none.
            let mark = mark(tree);
            tree.remove_xattr("", &mark);
            tree.file("mine", "made after that");
            pair.in_step();
            assert_eq!(pair.second.text("changed"), "2, and longer");
            assert_eq!(pair.first.text("mine"), "made after that");
            assert!(!pair.first.has("deleted"));
            assert_same(&pair.first, &pair.second);
            pair.sync().run().code(0).tells("in step");
        }
    }

    fn an_archive_that_is_older_than_its_tree_is_recognised_when_it_is_opened(pair) {
        pair.first.file("f", "1");
        pair.in_step();
        let folder = archive(&pair.near_state(), pair.first.root());
        let saved = save(&folder);
        let before = mark(&pair.first);
        pair.second.file("f", "2, and longer");
        pair.in_step();
        restore(&folder, &saved);
        pair.second.file("g", "1");
        pair.in_step();
        assert!(pair.first.has("g") && pair.first.text("f") == "2, and longer");
        assert_ne!(mark(&pair.first), before, "the replica has the id of before");
    }

    fn a_tree_that_was_put_back_without_its_archive_halts(pair) {
        pair.first.file("f", "1");
        pair.in_step();
        let mark = mark(&pair.first);
        let old = pair.first.xattr("", &mark).unwrap();
        pair.first.file("f", "2, and longer");
        pair.in_step();
        pair.first.file("f", "1").set_xattr("", &mark, &old);
        pair.sync().run().code(3).tells("older than its archive");
        assert_eq!(pair.second.text("f"), "2, and longer");
        fs::remove_dir_all(archive(&pair.near_state(), pair.first.root())).unwrap();
        // As the message says: then it is a conflict, and nothing is reverted.
        pair.sync().run().code(1);
        assert_eq!(pair.second.text("f"), "2, and longer");
    }

    fn a_replica_that_was_cloned_meets_its_original(pair) {
        pair.first.file("both", "1");
        pair.in_step();
        // The second becomes a copy of the first, with its archive.
        let (original, copy) =
            (archive(&pair.near_state(), pair.first.root()), archive(&pair.far_state(), pair.second.root()));
        restore(&copy, &save(&original));
        let mark = mark(&pair.second);
        pair.second.remove_xattr("", &mark);
        pair.first.file("from the original", "1");
        pair.second.file("from the copy", "1").file("both", "changed at the copy");
        pair.in_step();
        assert_eq!(pair.first.text("both"), "changed at the copy");
        assert!(pair.first.has("from the copy") && pair.second.has("from the original"));
        pair.sync().run().code(0).tells("in step");
    }
}

#[test]
fn a_host_that_was_away_for_longer_than_tombstones_are_kept_deletes_nothing() {
    let pair = Pair::local();
    let third = Tree::new(pair.home().path("third"));
    third.dir("");
    let with_third = |args: &[&str]| {
        let sync = pair.bare("sync").arg("-batch").args(args);
        sync.args([pair.first_root(), third.root().display().to_string()]).run()
    };
    pair.first.file("deleted here", "1").file("d/deleted with its directory", "1").file("kept", "1");
    pair.in_step();
    with_third(&[]).code(0);
    pair.first.remove("deleted here").remove("d");
    third.file("made while away", "1").remove("kept");
    // Nothing is kept for who does not come.
    pair.in_step_with(["-tombstone-max", "0"]);
    pair.in_step_with(["-tombstone-max", "0"]);
    assert!(!pair.second.has("deleted here"));
    with_third(&["-tombstone-max", "0"]).code(0);
    assert!(pair.first.has("made while away"));
    assert!(pair.first.has("deleted here") && pair.first.has("d/deleted with its directory"));
    assert_same(&pair.first, &third);
    with_third(&[]).code(0).tells("in step");
    pair.in_step();
    assert_same(&pair.first, &pair.second);
}
