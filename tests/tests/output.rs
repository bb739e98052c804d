//! What a user, a script and a terminal get to see.

use vfsync_tests::{Live, Pair, Tree, assert_same, over_both_links, terminal::Terminal};

over_both_links! {
    fn a_first_pass_carries_everything_both_ways(pair) {
        pair.first.file("a/f", "1").symlink("a/l", "f").file("same", "both").chmod("a/f", 0o600);
        pair.second.file("b/g", "2").dir("b/empty").file("same", "both");
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.first.names(), ["a", "b", "same"]);
        pair.sync().run().code(0);
    }

    fn json_lines_have_the_fields_that_scripts_rely_on(pair) {
        pair.first.file("updated", "old").file("deleted", "old").file("mode", "").file("clash", "old");
        pair.in_step();
        pair.first.file("updated", "new").file("dir/created", "1").symlink("link", "x").file("clash", "mine");
        pair.second.remove("deleted").chmod("mode", 0o600).file("clash", "yours");
        let pass = pair.sync().arg("--json").run();
        pass.code(1);
        let mut lines: Vec<String> = pass
            .events("item")
            .iter()
            .map(|item| {
                assert!(item["reason"].is_string() || item["reason"].is_null(), "{item}");
                let field = |name: &str| item[name].as_str().unwrap_or("?").to_owned();
                ["path", "kind", "action", "direction", "result"].map(field).join(" ")
            })
            .collect();
        lines.sort();
        assert_eq!(lines, [
            "deleted file delete to-first done",
            "dir dir create to-second done",
            "dir/created file create to-second done",
            "link symlink create to-second done",
            "mode file props to-first done",
            "updated file update to-second done",
        ], "{pass}");
        let conflict = &pass.events("conflict")[0];
        assert_eq!((conflict["path"].as_str(), conflict["resolved"].as_str()), (Some("clash"), Some("no")));
        assert!(conflict["first"].is_string() && conflict["second"].is_string(), "{conflict}");
        let summary = pass.summary();
        assert_eq!((&summary["transferred"], &summary["skipped"], &summary["failed"]), (&6.into(), &1.into(), &0.into()));
        assert!(summary["bytes_sent"].is_u64() && summary["bytes_received"].is_u64() && summary["seconds"].is_number());
    }

    fn a_dry_run_shows_the_plan_and_does_nothing(pair) {
        pair.first.file("updated", "old").file("deleted", "old");
        pair.in_step();
        pair.first.file("updated", "new").file("created", "1");
        pair.second.remove("deleted");
        let before = (pair.first.snapshot(), pair.second.snapshot());
        let plan = pair.sync().arg("-dry-run").run();
        plan.code(0);
        let shown = plan.stdout.clone() + &plan.stderr;
        for path in ["updated", "deleted", "created"] {
            assert!(shown.contains(path), "{path} is not in the plan:\n{plan}");
        }
        assert_eq!((pair.first.snapshot(), pair.second.snapshot()), before);
        // It has left nothing in the way of a pass, either.
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.second.names(), ["created", "updated"]);
    }

    fn a_dry_run_of_a_first_pass_does_nothing(pair) {
        pair.first.file("f", "1");
        pair.second.file("g", "2");
        pair.sync().arg("-dry-run").run().code(0);
        assert_eq!((pair.first.names(), pair.second.names()), (vec!["f".to_owned()], vec!["g".to_owned()]));
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn without_batch_the_plan_is_shown_and_a_yes_carries_it_out(pair) {
        pair.first.file("f", "1");
        let mut terminal = Terminal::start(pair.command("sync"));
        terminal.shows("Proceed?");
        assert!(terminal.screen().contains('f'));
        assert!(!pair.second.has("f"));
        terminal.types("y");
        terminal.end().code(0);
        assert_eq!(pair.second.text("f"), "1");
    }

    fn without_batch_a_no_leaves_everything_as_it_is(pair) {
        pair.first.file("f", "1");
        let mut terminal = Terminal::start(pair.command("sync"));
        terminal.shows("Proceed?").types("n");
        terminal.end();
        assert!(!pair.second.has("f"));
        pair.sync().run().code(0);
        assert_eq!(pair.second.text("f"), "1");
    }

    fn a_yes_to_a_plan_that_is_stale_overwrites_nothing(pair) {
        pair.first.file("f", "old");
        pair.in_step();
        pair.first.file("f", "mine");
        let mut terminal = Terminal::start(pair.command("sync"));
        terminal.shows("Proceed?");
        pair.second.file("f", "written while the question stood");
        terminal.types("y");
        let outcome = terminal.end();
        assert_ne!(outcome.code, Some(0), "{outcome}");
        assert_eq!(pair.second.text("f"), "written while the question stood");
        assert_eq!(pair.first.text("f"), "mine");
    }

    fn with_nothing_to_do_nothing_is_asked(pair) {
        pair.first.file("f", "1");
        pair.in_step();
        Terminal::start(pair.command("sync")).end().code(0);
    }

    fn testserver_connects_and_does_nothing(pair) {
        pair.first.file("f", "1");
        pair.command("sync").arg("-testserver").run().code(0);
        pair.command("sync").arg("--testserver").run().code(0);
        assert!(!pair.second.has("f"));
    }

    fn silent_prints_nothing_unless_something_is_wrong(pair) {
        pair.first.file("f", "1");
        let pass = pair.command("sync").arg("-silent").run();
        pass.code(0);
        assert_eq!(pass.stdout.clone() + &pass.stderr, "");
        pair.first.file("f", "mine");
        pair.second.file("f", "yours");
        let pass = pair.command("sync").arg("-silent").run();
        pass.code(1);
        assert!((pass.stdout.clone() + &pass.stderr).contains('f'), "{pass}");
    }

    fn the_line_of_the_old_script_works_as_it_stands(pair) {
        pair.first.file("f", "1").file("x.tmp", "2");
        // As in a script of Unison's: options between and behind the roots, one dash, values apart.
        let (first, second) = (pair.first_root() + "/", pair.second_root() + "/");
        let line = ["-batch", &first, "-times", "-perms", "-1", &second, "-ignore", "Name *.tmp", "-auto=true"];
        pair.bare("sync").args(line).run().code(0);
        assert_eq!(pair.second.names(), ["f"]);
    }

    fn roots_can_stand_in_options_and_in_a_profile(pair) {
        pair.first.file("f", "1").file("x.tmp", "2");
        let profile = format!(
            "# as Unison reads it\nroot = {}\nroot = {}\nignore = Name *.tmp\nbatch = true\n",
            pair.first_root(),
            pair.second_root()
        );
        pair.home().file("www.prf", profile);
        pair.bare("sync").args(["--profile", "www.prf"]).run().code(0);
        assert_eq!(pair.second.names(), ["f"]);
        pair.first.file("g", "3");
        let (first, second) = (pair.first_root(), pair.second_root());
        pair.bare("sync").args(["-batch", "-root", &first, "-root", &second]).run().code(0);
        assert!(pair.second.has("g"));
    }

    fn a_logfile_tells_what_was_done(pair) {
        pair.first.file("some-file", "1");
        let log = pair.home().path("pass.log");
        pair.sync().args(["-log", "-logfile"]).arg(&log).run().code(0);
        assert!(pair.home().text("pass.log").contains("some-file"), "{}", pair.home().text("pass.log"));
    }
}

#[test]
fn without_a_terminal_and_without_batch_nothing_is_done() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    pair.command("sync").run().code(3).says("-batch");
    assert!(!pair.second.has("f"));
}

/// It was shown as changed, in each pass, and by cron in a mail each minute.
#[test]
fn a_named_pipe_is_left_out_and_silence_does_not_mention_it() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let pipe = pair.first.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for _ in 0..2 {
        pair.sync().run().code(1).tells("left out").tells("named pipe").tells_not("changed");
    }
    let quiet = pair.sync().arg("-silent").run();
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(1), "", ""), "{quiet}");
    pair.home().file("vfsync.toml", format!("{}rsrc = true\n", pair.block()));
    let cron = pair.vfsync().args(["cron", "--config", "vfsync.toml"]).run();
    assert_eq!((cron.code, cron.stdout.as_str(), cron.stderr.as_str()), (Some(1), "", ""), "{cron}");
}

over_both_links! {
    fn a_path_that_leads_nowhere_is_said_to(pair) {
        pair.first.file("here/f", "1");
        pair.second.file("there/g", "2");
        let pass = |path: &str, more: &[&str]| pair.sync().args(["-path", path]).args(more).run();
        for path in ["here", "here/f", "there"] {
            pass(path, &["-dry-run"]).code(0).tells_not("neither root");
        }
        pass("nope", &["-dry-run"]).code(0).says("path nope: neither root has anything there");
        pass("here/nope", &["-path", "there"]).code(0).says("path here/nope: neither root").tells_not("path there");
        pass("there", &[]).code(0).tells_not("neither root");
        assert!(!pair.second.has("here/f") && pair.first.has("there/g"));
    }

    fn repeat_watch_follows_changes_as_live_does(pair) {
        pair.first.file("f", "1");
        let mut live = Live::of(pair.command("sync").args(["-repeat", "watch", "--json"]).start(), pair);
        pair.second.file("g", "2").remove("f");
        live.carries();
        live.interrupt().code(0);
        assert_eq!(pair.first.names(), ["g"]);
    }
}

#[test]
fn json_lines_tell_the_links_of_three_roots_apart() {
    let pair = Pair::over_ssh();
    let third = Tree::new(pair.home().path("third"));
    let third_root = third.root().display().to_string();
    let running =
        pair.bare("live").args(["--json", &pair.first_root(), &pair.second_root(), &third_root]).start();
    let mut live = Live::of(running, &pair);
    pair.second.file("f", "1");
    live.carries().prints(r#""path":"f","kind":"file","action":"create","direction":"to-second""#);
    let outcome = live.interrupt();
    let items = outcome.code(0).events("item");
    let peers = |direction: &str| -> Vec<String> {
        let of = items.iter().filter(|item| item["direction"] == direction);
        of.map(|item| item["peer"].as_str().expect("it names its peer").to_owned()).collect()
    };
    assert_eq!((peers("to-first"), peers("to-second")), (vec![pair.second_root()], vec![third_root]));
    assert!(items.iter().all(|item| item["time"].as_str().is_some_and(|time| time.starts_with("20"))));
}

#[test]
fn a_relative_root_is_one_from_here() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    pair.bare("sync").args(["-batch", "first", "./second/"]).run().code(0);
    assert_eq!(pair.second.text("f"), "1");
}

#[test]
fn a_root_in_the_spelling_of_scp_is_understood() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let args = format!("{} -o Port={}", pair.sshd().ssh_args(), pair.sshd().port());
    let second = format!("127.0.0.1:{}", pair.second.root().display());
    pair.bare("sync").args(["-batch", "-sshargs", &args, &pair.first_root(), &second]).run().code(0);
    assert_eq!(pair.second.text("f"), "1");
}

#[test]
fn sshargs_minus_c_compresses_the_connection() {
    let pair = Pair::over_ssh();
    pair.first.file("f", vec![b'x'; 1_000_000]);
    let args = format!("-C {}", pair.sshd().ssh_args());
    pair.sync().args(["-sshargs", &args]).run().code(0);
    assert_same(&pair.first, &pair.second);
}

#[test]
fn either_root_can_be_the_one_on_the_other_host() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    pair.second.file("g", "2");
    pair.bare("sync").args(["-batch", &pair.second_root(), &pair.first_root()]).run().code(0);
    assert_same(&pair.first, &pair.second);
}

over_both_links! {
    fn items_are_chosen_one_by_one(pair) {
        pair.first.file("both", "old").file("deleted", "old").file("edited", "old").file("d/x", "old").file("d/y", "old");
        pair.in_step();
        pair.first.file("both", "mine").remove("deleted").file("edited", "mine").remove("d").file("new", "mine").file("skipped", "mine");
        pair.second.file("both", "yours");
        let mut terminal = Terminal::start(pair.command("sync"));
        terminal.shows("Proceed?").types("c");
        // In the order of the paths: both, d, deleted, edited, new, skipped; what is in d goes with it.
        terminal.shows("[/]").types(">");
        terminal.shows("  d  [f]").types("<");
        terminal.shows("deleted  [f]").types("<");
        terminal.shows("edited  [f]").types("<");
        terminal.shows("new  [f]").types("<");
        terminal.shows("skipped  [f]").types("/");
        terminal.shows("Proceed? [y/N]").types("y");
        // What was skipped is said.
        terminal.end().code(1).tells("your choice");
        for tree in [&pair.first, &pair.second] {
            assert_eq!((tree.text("both").as_str(), tree.text("deleted").as_str(), tree.text("edited").as_str()), ("mine", "old", "old"));
            assert_eq!((tree.text("d/x").as_str(), tree.text("d/y").as_str(), tree.has("new")), ("old", "old", false));
        }
        assert!(pair.first.has("skipped") && !pair.second.has("skipped"));
        // It is settled, but for what was skipped.
        pair.in_step();
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.second.text("skipped"), "mine");
    }

    fn a_choice_about_a_file_that_changed_since_overwrites_nothing(pair) {
        pair.first.file("f", "old").file("g", "old");
        pair.in_step();
        pair.first.file("f", "mine").file("g", "mine");
        pair.second.file("f", "yours").file("g", "yours");
        let mut terminal = Terminal::start(pair.command("sync"));
        terminal.shows("Proceed?").types("c");
        terminal.shows("[/]").types(">").types(">");
        terminal.shows("Proceed? [y/N]");
        pair.second.file("f", "written while the question stood");
        terminal.types("y");
        let outcome = terminal.end();
        assert_ne!(outcome.code, Some(0), "{outcome}");
        assert_eq!((pair.first.text("f").as_str(), pair.second.text("f").as_str()), ("mine", "written while the question stood"));
        assert_eq!((pair.first.text("g").as_str(), pair.second.text("g").as_str()), ("mine", "mine"));
    }

    fn with_auto_only_conflicts_are_asked_about(pair) {
        pair.first.file("dir/f", "old").file("bystander", "");
        pair.in_step();
        pair.first.file("dir/f", "mine").file("new", "1");
        pair.second.remove("dir");
        let mut terminal = Terminal::start(pair.command("sync").arg("-auto"));
        // The file is restored where it was deleted.
        terminal.shows("[/]").types("?").shows("the second root gets what the first has").types(">");
        terminal.shows("Proceed?").types("y");
        terminal.end().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!((pair.second.text("dir/f").as_str(), pair.second.text("new").as_str()), ("mine", "1"));
    }

    fn a_directory_stays_whole_where_something_in_it_is_to_stay(pair) {
        pair.first.file("bystander", "").file("d/x", "1").file("d/y", "2");
        pair.in_step();
        pair.first.remove("d");
        let mut terminal = Terminal::start(pair.command("sync"));
        terminal.shows("Proceed?").types("c").shows("[f]").types("f/f").shows("Proceed? [y/N]").types("y");
        terminal.end().code(1).tells("your choice");
        assert_eq!((pair.second.text("d/x").as_str(), pair.second.text("d/y").as_str()), ("1", "2"));
        pair.in_step();
        assert!(!pair.second.has("d"));
    }

    fn quitting_leaves_everything_as_it_is(pair) {
        pair.first.file("f", "1").file("g", "1");
        let mut terminal = Terminal::start(pair.command("sync"));
        terminal.shows("Proceed?").types("c");
        terminal.shows("[f]").types("fq");
        terminal.end().tells("nothing was done");
        assert_eq!(pair.second.names(), [""; 0]);
    }
}
