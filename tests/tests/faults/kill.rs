//! Either end killed in the middle of a pass: the same command again finishes it.

use rustix::process::Signal;
use vfsync_tests::{Compare, Pair, Running, Snapshot, Tree, assert_same, over_both_links, process, wait_for};

/// How many files the big trees have.
const FILES: usize = 2000;

fn many_files(tree: &Tree, dir: &str, generation: &str) {
    for n in 0..FILES {
        let content = format!("{generation} {n} {}", "x".repeat(n % 3000));
        tree.file(format!("{dir}/{:02}/{n}", n % 20), content);
    }
}

/// Starts a pass and returns when the other side has got `count` of the files of `dir`.
fn pass_with_files(pair: &Pair, dir: &str, count: usize) -> Running {
    let mut pass = pair.sync().args(["-confirm-deletes", "100000"]).start();
    wait_for("files at the other side", || {
        let got = count == 0 || pair.second.has(dir) && pair.second.below(dir).files() >= count;
        (got || !pass.is_running()).then_some(())
    });
    pass
}

#[track_caller]
fn the_same_command_again_finishes(pair: &Pair, expected: &Snapshot) {
    pair.sync().args(["-confirm-deletes", "100000"]).run().code(0);
    assert_same(&pair.first, &pair.second);
    let differences = expected.differences(&pair.first.snapshot(), Compare::default());
    assert!(differences.is_empty(), "{}", vfsync_tests::snapshot::shortened(&differences));
    let again = pair.sync().arg("--json").run();
    again.code(0);
    assert_eq!(again.summary()["transferred"], 0, "{again}");
}

over_both_links! {
    fn a_first_pass_killed_at_the_near_end(pair) {
        many_files(&pair.first, "mine", "1");
        pair.second.file("yours/f", "2");
        let union = {
            let all = Tree::new(pair.home().path("union"));
            many_files(&all, "mine", "1");
            all.file("yours/f", "2").snapshot()
        };
        for count in [0, 1, 300, 1000] {
            pass_with_files(pair, "mine", count).kill();
        }
        the_same_command_again_finishes(pair, &union);
    }

    fn a_pass_with_changes_of_every_kind_killed_at_the_near_end(pair) {
        many_files(&pair.first, "edited", "old");
        many_files(&pair.first, "deleted", "old");
        many_files(&pair.first, "renamed", "old");
        pair.in_step();
        many_files(&pair.first, "edited", "new");
        many_files(&pair.first, "created", "new");
        pair.first.remove("deleted").rename("renamed", "renamed-to");
        let expected = pair.first.snapshot();
        for count in [1, 400, 1200] {
            pass_with_files(pair, "created", count).kill();
        }
        the_same_command_again_finishes(pair, &expected);
    }
}

#[test]
fn a_first_pass_killed_at_the_far_end() {
    let pair = Pair::over_ssh();
    many_files(&pair.first, "mine", "1");
    let expected = pair.first.snapshot();
    for count in [1, 300, 1000] {
        let pass = pass_with_files(&pair, "mine", count);
        for pid in pair.far_ends() {
            process::signal(pid, Signal::KILL);
        }
        // It may have been through already.
        let outcome = pass.end();
        assert!(matches!(outcome.code, Some(0 | 2 | 3)), "{outcome}");
        if outcome.code != Some(0) {
            outcome.says("127.0.0.1");
        }
    }
    the_same_command_again_finishes(&pair, &expected);
}

#[test]
fn a_pass_whose_connection_is_cut() {
    let pair = Pair::over_ssh();
    many_files(&pair.first, "mine", "1");
    let expected = pair.first.snapshot();
    let pass = pass_with_files(&pair, "mine", 300);
    for pid in ssh_of(&pair) {
        process::signal(pid, Signal::KILL);
    }
    let outcome = pass.end();
    assert!(matches!(outcome.code, Some(0 | 2 | 3)), "{outcome}");
    the_same_command_again_finishes(&pair, &expected);
}

#[test]
fn the_far_end_does_not_outlive_a_killed_near_end() {
    let pair = Pair::over_ssh();
    many_files(&pair.first, "mine", "1");
    let mut pass = pass_with_files(&pair, "mine", 10);
    pass.kill();
    wait_for("the far end to have ended", || pair.far_ends().is_empty().then_some(()));
    wait_for("ssh to have ended", || ssh_of(&pair).is_empty().then_some(()));
}

#[test]
fn live_reconnects_after_the_connection_was_cut() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let mut live = pair.live();
    for pid in ssh_of(&pair) {
        process::signal(pid, Signal::KILL);
    }
    pair.first.file("g", "written while the connection was cut");
    pair.second.file("h", "there too");
    live.carries();
    pair.second.file("i", "and later");
    live.carries();
}

#[test]
fn live_goes_on_where_it_was_killed() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1").file("deleted", "1");
    let mut live = pair.live();
    live.process().kill();
    wait_for("the far end to have ended", || pair.far_ends().is_empty().then_some(()));
    drop(live);
    // What happens while nobody looks is found at the start.
    pair.first.file("f", "2").remove("deleted");
    pair.second.file("g", "3");
    let mut live = pair.live();
    live.carries();
    assert_eq!(pair.first.names(), ["f", "g"]);
    assert_eq!(pair.second.text("f"), "2");
}

/// Returns the ssh processes of a pair: what has its folder as home and is no vfsync.
fn ssh_of(pair: &Pair) -> Vec<i32> {
    let is_ssh = |&pid: &i32| process::executable(pid).is_some_and(|exe| exe.ends_with("ssh"));
    process::with_environment("HOME", pair.home().root()).into_iter().filter(is_ssh).collect()
}
