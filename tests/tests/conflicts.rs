//! Conflicts that stand: how they are listed, and how a person ends one, from either side.

use vfsync_tests::{Live, Outcome, Pair, assert_same, over_both_links, run::Vfsync, wait_for};

/// A command at one of the two ends.
#[derive(Clone, Copy)]
enum End {
    Near,
    Far,
}

fn at(pair: &Pair, end: End) -> Vfsync {
    match end {
        End::Near => pair.vfsync(),
        End::Far => pair.vfsync().env("VFSYNC_STATE_DIR", pair.far_state()),
    }
}

fn resolve(pair: &Pair, end: End, path: &str, keep: &str) -> Outcome {
    let tree = match end {
        End::Near => &pair.first,
        End::Far => &pair.second,
    };
    let outcome = at(pair, end).arg("resolve").arg(tree.path(path)).args(["--keep", keep]).run();
    outcome.code(0);
    outcome
}

/// Two files that were changed on both sides.
fn with_a_conflict(pair: &Pair) {
    pair.first.file("f", "old").file("other", "");
    pair.in_step();
    pair.first.file("f", "mine");
    pair.second.file("f", "yours, and longer");
    pair.sync().run().code(1);
}

/// A directory that the first side deleted, and in which the second changed and made something.
fn with_a_directory(pair: &Pair) {
    pair.first.file("d/kept", "1").file("d/sub/changed", "1").file("other", "");
    pair.in_step();
    pair.first.remove("d");
    pair.second.file("d/sub/changed", "2, and longer").file("d/new", "3");
    pair.sync().run().code(1);
}

over_both_links! {
    fn a_conflict_is_listed_at_both_ends_with_what_each_has(pair) {
        with_a_conflict(pair);
        for (end, here, there) in [(End::Near, "4 bytes", "17 bytes"), (End::Far, "17 bytes", "4 bytes")] {
            let root = match end { End::Near => &pair.first, End::Far => &pair.second }.root();
            let list = at(pair, end).args(["conflicts", "--json"]).arg(root).run();
            list.code(1);
            let lines = list.events("conflict");
            assert_eq!(lines.len(), 1, "{list}");
            assert_eq!(lines[0]["path"], "f");
            assert!(lines[0]["here"].as_str().unwrap().contains(here), "{list}");
            assert!(lines[0]["there"].as_str().unwrap().contains(there), "{list}");
            at(pair, end).arg("conflicts").arg(root).run().code(1).tells("/f: file, ");
        }
        pair.first.file("f", "the same");
        pair.second.file("f", "the same");
        pair.sync().run().code(0);
        for end in [End::Near, End::Far] {
            at(pair, end).arg("conflicts").run().code(0).tells("no conflicts");
        }
    }

    fn keep_local_and_keep_remote_end_a_conflict_from_either_end(pair) {
        for (end, keep, content) in [
            (End::Near, "local", "mine"),
            (End::Near, "remote", "yours, and longer"),
            (End::Far, "local", "yours, and longer"),
            (End::Far, "remote", "mine"),
        ] {
            with_a_conflict(pair);
            resolve(pair, end, "f", keep);
            let pass = pair.sync().arg("--json").run();
            pass.code(0);
            assert_eq!(pass.conflicts(), [""; 0], "{pass}");
            assert_same(&pair.first, &pair.second);
            assert_eq!(pair.first.text("f"), content, "{pass}");
            let again = pair.sync().arg("--json").run();
            assert_eq!(again.code(0).summary()["transferred"], 0, "{again}");
            at(pair, End::Near).arg("conflicts").run().code(0);
        }
    }

    fn keep_both_gives_what_stands_here_another_name(pair) {
        with_a_conflict(pair);
        resolve(pair, End::Near, "f", "both").tells("f.conflict-");
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.first.text("f"), "yours, and longer");
        let aside = pair.first.names().into_iter().find(|name| name.starts_with("f.conflict-")).expect("a second name");
        assert_eq!(pair.second.text(aside), "mine");
    }

    fn keep_newer_takes_what_was_modified_last(pair) {
        with_a_conflict(pair);
        pair.first.set_mtime("f", 1_700_000_000_000_000_000);
        pair.second.set_mtime("f", 1_600_000_000_000_000_000);
        pair.sync().run().code(1);
        resolve(pair, End::Far, "f", "newer");
        pair.sync().run().code(0);
        assert_eq!((&*pair.first.text("f"), &*pair.second.text("f")), ("mine", "mine"));
    }

    fn what_changed_after_the_decision_stays_a_conflict(pair) {
        with_a_conflict(pair);
        resolve(pair, End::Near, "f", "local");
        pair.second.file("f", "changed once more");
        pair.sync().run().code(1).tells("conflict");
        assert_eq!((&*pair.first.text("f"), &*pair.second.text("f")), ("mine", "changed once more"));
        // And the other way: what stands here changes after the other side's was chosen.
        resolve(pair, End::Near, "f", "remote");
        pair.first.file("f", "mine once more");
        pair.sync().run();
        assert!([pair.first.text("f"), pair.second.text("f")].iter().any(|f| f == "mine once more"));
    }

    fn a_deleted_directory_is_brought_back_with_all_that_was_in_it(pair) {
        for (end, keep) in [(End::Near, "remote"), (End::Far, "local")] {
            with_a_directory(pair);
            resolve(pair, end, "d", keep);
            pair.sync().run().code(0);
            assert_same(&pair.first, &pair.second);
            assert_eq!(pair.first.text("d/sub/changed"), "2, and longer");
            assert_eq!((&*pair.first.text("d/kept"), &*pair.first.text("d/new")), ("1", "3"));
            pair.first.remove("d");
            pair.sync().run().code(0);
        }
    }

    fn a_deleted_directory_goes_with_all_that_was_new_in_it(pair) {
        for (end, keep) in [(End::Near, "local"), (End::Far, "remote")] {
            with_a_directory(pair);
            resolve(pair, end, "d", keep);
            pair.sync().run().code(0);
            assert_same(&pair.first, &pair.second);
            assert!(!pair.first.has("d") && !pair.second.has("d"));
        }
    }

    fn a_file_here_and_a_directory_there_end_as_either_or_both(pair) {
        for (keep, is_dir) in [("local", false), ("remote", true), ("both", true)] {
            pair.first.file("x", "a file").file("other", "");
            pair.second.file("x/in", "a directory");
            pair.sync().run().code(1);
            resolve(pair, End::Near, "x", keep);
            pair.sync().run();
            pair.sync().run().code(0);
            assert_same(&pair.first, &pair.second);
            assert_eq!(pair.first.has("x/in"), is_dir, "{keep}");
            for name in pair.first.names() {
                pair.first.remove(&name);
            }
            pair.first.file("other", "");
            pair.sync().args(["-confirm-deletes", "10"]).run().code(0);
        }
    }

    fn a_directory_here_steps_aside_for_a_file_there(pair) {
        pair.first.file("x/in", "a directory").file("other", "");
        pair.second.file("x", "a file");
        pair.sync().run().code(1);
        resolve(pair, End::Near, "x", "both").tells("x.conflict-");
        pair.sync().run();
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.second.text("x"), "a file");
        let aside = pair.second.names().into_iter().find(|name| name.starts_with("x.conflict-")).expect("a second name");
        assert_eq!(pair.second.text(format!("{aside}/in")), "a directory");
    }

    fn while_live_a_decision_that_waits_is_carried_out_at_the_start(pair) {
        with_a_conflict(pair);
        resolve(pair, End::Near, "f", "remote");
        let mut live = pair.live();
        live.carries();
        assert_eq!(pair.first.text("f"), "yours, and longer");
        // What stands in the tree is recorded a moment later.
        wait_for("no conflict", || (pair.vfsync().arg("conflicts").run().code == Some(0)).then_some(()));
        live.interrupt();
    }

    fn while_live_a_conflict_is_ended_at_once_by_the_process_that_owns_it(pair) {
        with_a_conflict(pair);
        let mut live = Live::of_unequal(pair);
        for (keep, content) in [("remote", "yours, and longer"), ("local", "mine again")] {
            // Not before it owns the archives: a command that asked for them would have them first.
            live.prints("conflict");
            let listed = || pair.vfsync().args(["conflicts", "--json"]).run().events("conflict");
            wait_for("the conflict", || (!listed().is_empty()).then_some(()));
            let path = pair.first.path("f");
            wait_for("the decision", || {
                let run = pair.vfsync().arg("resolve").arg(&path).args(["--keep", keep]).run();
                (run.code == Some(0)).then_some(())
            });
            live.carries();
            assert_eq!(pair.first.text("f"), content);
            wait_for("no conflict", || listed().is_empty().then_some(()));
            if keep == "remote" {
                // Both at once, while nothing can go over.
                drop(live.interrupt());
                pair.first.file("f", "mine again");
                pair.second.file("f", "yours again, and longer");
                live = Live::of_unequal(pair);
            }
        }
        live.interrupt();
    }
}

#[test]
fn a_plan_shows_what_was_decided_and_does_nothing() {
    let pair = Pair::local();
    with_a_conflict(&pair);
    resolve(&pair, End::Near, "f", "remote");
    pair.sync().arg("-dry-run").run().code(0).tells_not("conflict");
    assert_eq!(pair.first.text("f"), "mine");
    pair.sync().run().code(0);
    assert_eq!(pair.first.text("f"), "yours, and longer");
}

#[test]
fn what_cannot_be_resolved_says_why() {
    let pair = Pair::local();
    pair.first.file("f", "same").chmod("f", 0o644);
    pair.in_step();
    pair.vfsync()
        .arg("resolve")
        .arg(pair.first.path("f"))
        .args(["--keep", "local"])
        .run()
        .code(3)
        .says("no conflict at f");
    pair.vfsync()
        .args(["resolve", "/nowhere/at/all", "--keep", "local"])
        .run()
        .code(3)
        .says("lies in no tree");
    pair.vfsync().args(["resolve", "x", "--keep", "mine"]).run().code(3);
    // The same content with two modes, and the same mtime.
    pair.first.chmod("f", 0o600);
    pair.second.chmod("f", 0o640);
    let pass = pair.sync().run();
    pass.code(1).tells("mode 0600").tells("mode 0640");
    pair.vfsync()
        .arg("resolve")
        .arg(pair.first.path("f"))
        .args(["--keep", "both"])
        .run()
        .code(3)
        .says("same content");
    pair.first.set_mtime("f", 1_700_000_000_000_000_000);
    pair.second.set_mtime("f", 1_700_000_000_000_000_000);
    pair.sync().args(["-times", "-prefer", "newer"]).run().code(1).tells("same mtime");
    pair.vfsync()
        .arg("resolve")
        .arg(pair.first.path("f"))
        .args(["--keep", "newer"])
        .run()
        .code(3)
        .says("neither is newer");
    pair.vfsync().arg("resolve").arg(pair.first.path("")).args(["--keep", "local"]).run().code(0);
    pair.sync().arg("-times").run().code(0);
    assert_eq!((pair.first.mode("f"), pair.second.mode("f")), (0o600, 0o600));
}
