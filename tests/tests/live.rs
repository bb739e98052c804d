//! `vfsync live`: what changes on either side is on the other soon after, by the kernel's word. These tests need a
//! kernel and rights that let vfsync capture; `vfsync doctor` says whether they do.

use rustix::process::Signal;
use std::fs;

use vfsync_tests::{Live, Pair, Tree, Writer, assert_same, over_both_links};

/// Does one operation of each kind in a tree, and lets the other side follow after each.
fn operations_of_every_kind(tree: &Tree, live: &mut Live) {
    // Stays, so that the root is never empty.
    tree.file("bystander", "");
    tree.file("new", "1");
    live.carries();
    tree.file("new", "2");
    live.carries();
    tree.append("new", " and more");
    live.carries();
    tree.rename("new", "renamed");
    live.carries();
    tree.chmod("renamed", 0o600);
    live.carries();
    tree.symlink("link", "renamed");
    live.carries();
    tree.symlink("link", "elsewhere");
    live.carries();
    tree.dir("dir");
    live.carries();
    tree.file("dir/sub/f", "1").file("dir/sub/g", "2").file("dir/h", "3");
    live.carries();
    tree.chmod("dir/sub", 0o700);
    live.carries();
    tree.rename("dir", "other-dir");
    live.carries();
    tree.file("aside", "replaced").rename("aside", "other-dir/h");
    live.carries();
    tree.rename("other-dir/sub/f", "f");
    live.carries();
    tree.remove("renamed");
    live.carries();
    tree.remove("other-dir");
    live.carries();
    tree.remove("link").remove("f");
    live.carries();
    assert_eq!(tree.names(), ["bystander"]);
}

over_both_links! {
    fn operations_of_every_kind_on_the_first_side_are_followed(pair) {
        let mut live = pair.live();
        operations_of_every_kind(&pair.first, &mut live);
        live.interrupt().code(0);
    }

    fn operations_of_every_kind_on_the_second_side_are_followed(pair) {
        let mut live = pair.live();
        operations_of_every_kind(&pair.second, &mut live);
        live.interrupt().code(0);
    }

    fn what_differs_at_the_start_is_brought_in_step_first(pair) {
        pair.first.file("a/mine", "1");
        pair.second.file("a/yours", "2");
        let mut live = pair.live();
        pair.second.file("a/mine", "changed there");
        live.carries();
        assert_eq!(pair.first.text("a/mine"), "changed there");
    }

    fn a_storm_of_changes_is_followed_to_its_end(pair) {
        // What goes below is half of what is made; these keep it from looking alarming.
        for n in 0..500 {
            pair.first.file(format!("bystanders/{n}"), "");
        }
        let mut live = pair.live();
        for n in 0..1000 {
            pair.first.file(format!("{}/{n}", n % 7), format!("{n}"));
            pair.second.file(format!("there-{}/{n}", n % 7), format!("{n}"));
        }
        live.carries();
        for n in 0..7 {
            pair.first.remove(format!("there-{n}"));
            pair.second.rename(format!("{n}"), format!("renamed-{n}"));
        }
        live.carries();
        let mut renamed: Vec<String> = (0..7).map(|n| format!("renamed-{n}")).collect();
        renamed.insert(0, "bystanders".to_owned());
        assert_eq!(pair.first.names(), renamed, "{}", live.interrupt());
    }

    fn a_folder_that_is_renamed_as_something_comes_into_it_goes_with_it(pair) {
        let mut live = pair.live();
        for n in 0..20 {
            let (before, after) = (format!("{n}/photos"), format!("{n}/pictures"));
            pair.first.file(format!("{before}/one"), "1").file(format!("{before}/old/two"), "2");
            live.carries();
            pair.first.dir(format!("{before}/new"));
            vfsync_tests::wait_for("the new folder", || pair.second.has(format!("{before}/new")).then_some(()));
            pair.second.rename(&before, &after);
            live.carries();
            assert_eq!(pair.first.below(&after).names(), ["new", "old", "one"]);
        }
        live.interrupt().code(0).tells_not("conflict");
        assert_same(&pair.first, &pair.second);
    }

    fn a_stopped_agent_finds_what_it_missed(pair) {
        for n in 0..300 {
            pair.first.file(format!("{}/kept-{n}", n % 3), "1");
        }
        let mut live = pair.live();
        live.process().signal(Signal::STOP);
        // More than the ring holds, with what matters before, in between and behind.
        for n in 0..20_000 {
            let brief = pair.first.path(format!("{}/brief", n % 3));
            fs::write(&brief, "").unwrap();
            fs::remove_file(&brief).unwrap();
            if n % 80 == 0 {
                pair.first.file(format!("{}/new-{n}", n % 7), "2").append(format!("{}/kept-{n}", n % 3), "3");
            }
        }
        pair.first.rename("0", "moved");
        live.process().signal(Signal::CONT);
        live.carries();
        assert_eq!((pair.second.text("moved/kept-240"), pair.second.text("2/new-800")), ("13".into(), "2".into()));
        live.interrupt().code(0).tells("looked at everything");
    }

    fn writers_on_both_sides_are_followed_until_they_rest(pair) {
        let mut live = pair.live();
        let writers = [
            Writer::start(pair.first.below("at-first"), 3),
            Writer::start(pair.second.below("at-second"), 4),
        ];
        // Some thousand operations, with a mark now and then that must come through the bustle.
        for mark in 0..5 {
            pair.first.file(format!("mark-{mark}"), "");
            vfsync_tests::wait_for("a mark to come through", || {
                pair.second.has(format!("mark-{mark}")).then_some(())
            });
        }
        let [at_first, at_second] = writers.map(Writer::stop);
        live.carries();
        for tree in [&pair.first, &pair.second] {
            at_first.is_all_in(&tree.below("at-first"));
            at_second.is_all_in(&tree.below("at-second"));
        }
        live.interrupt().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn ignored_files_are_not_followed(pair) {
        let mut live = Live::start(pair, ["-ignore", "Name *.tmp"]);
        pair.first.file("x.tmp", "1").file("f", "2");
        vfsync_tests::wait_for("the other file", || pair.second.has("f").then_some(()));
        assert!(!pair.second.has("x.tmp"));
        pair.first.rename("x.tmp", "x");
        live.carries();
        assert_eq!(pair.second.text("x"), "1");
    }

    fn a_write_by_a_name_outside_the_tree_is_followed(pair) {
        pair.first.file("inside", "1");
        let mut live = pair.live();
        let outside = pair.first.root().with_file_name("outside");
        fs::hard_link(pair.first.path("inside"), &outside).unwrap();
        fs::write(&outside, "2, by the other name").unwrap();
        live.carries();
        assert_eq!(pair.second.text("inside"), "2, by the other name");
        // Files with several names that are none of ours are nobody's business.
        let foreign = ["foreign", "foreign-too"].map(|name| pair.first.root().with_file_name(name));
        fs::write(&foreign[0], "1").unwrap();
        fs::hard_link(&foreign[0], &foreign[1]).unwrap();
        fs::write(&foreign[1], "2").unwrap();
        pair.first.file("last", "");
        live.carries();
        live.interrupt().code(0).tells_not("looked at everything");
    }

    fn after_an_interrupt_a_pass_finds_everything_in_step(pair) {
        let mut live = pair.live();
        pair.first.file("f", "1");
        live.carries();
        live.interrupt().code(0);
        let pass = pair.sync().arg("--json").run();
        pass.code(0);
        assert_eq!(pass.summary()["transferred"], 0, "{pass}");
    }

    fn the_lines_of_live_are_json(pair) {
        let mut live = pair.live();
        pair.first.file("some-file", "1");
        live.carries().prints("some-file");
        let outcome = live.interrupt();
        outcome.code(0);
        let item = outcome.events("item").into_iter().find(|item| item["path"] == "some-file");
        assert_eq!(item.expect("a line for the file")["result"], "done");
    }
}

#[test]
fn a_change_on_one_of_three_roots_reaches_the_other_two() {
    let pair = Pair::over_ssh();
    let third = Tree::new(pair.home().path("third"));
    pair.first.file("f", "1");
    let running = pair.command("live").args(["--json".as_ref(), third.root().as_os_str()]).start();
    let mut live = Live::of(running, &pair);
    vfsync_tests::wait_for("the third tree", || third.has("f").then_some(()));
    third.file("g", "from the third");
    vfsync_tests::wait_for("the second tree", || pair.second.has("g").then_some(()));
    live.carries();
    pair.second.remove("f");
    vfsync_tests::wait_for("the third tree", || (!third.has("f")).then_some(()));
    live.interrupt().code(0);
    assert_same(&pair.first, &third);
}

/// The number went out with every session, and let through what nobody had been shown when the connection came back.
#[test]
fn confirmed_deletions_are_for_the_first_look_alone() {
    let pair = Pair::over_ssh();
    for n in 0..20 {
        pair.first.file(format!("{n}"), "");
    }
    let mut live = Live::start(&pair, ["-max-delete", "5", "-confirm-deletes", "15"]);
    let far_ends = pair.far_ends();
    for pid in &far_ends {
        vfsync_tests::process::signal(*pid, Signal::STOP);
    }
    for n in 0..10 {
        pair.second.remove(format!("{n}"));
    }
    for pid in far_ends {
        vfsync_tests::process::signal(pid, Signal::KILL);
    }
    vfsync_tests::wait_for("the guard of the other host", || {
        live.process().stderr().contains("more than the 5 that max-delete allows").then_some(())
    });
    assert_eq!(pair.first.files(), 20);
}
