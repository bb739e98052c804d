//! What the options change about a pass, in the spellings that Unison's users have in their scripts.

use vfsync_tests::{Compare, Tree, assert_same, assert_same_with, over_both_links};

/// A moment long ago, with nanoseconds.
const LONG_AGO: u64 = 1_234_567_890_123_456_789;

over_both_links! {
    fn with_debug_it_is_said_on_standard_error_what_is_done(pair) {
        pair.first.file("f", "1");
        let quiet = pair.sync().run();
        assert!(!quiet.code(0).stderr.contains("DEBUG"), "{quiet}");
        pair.first.file("f", "2");
        let said = pair.sync().args(["-debug", "update"]).run();
        said.code(0).says("DEBUG vfsync");
        assert!(!said.stdout.contains("DEBUG") && !said.stderr.contains("TRACE"), "{said}");
        pair.first.file("f", "3");
        pair.sync().args(["-debug", "all", "--json"]).run().code(0).json();
    }

    fn with_times_the_mtimes_of_files_and_directories_go_over(pair) {
        pair.first.file("d/f", "content").file("g", "other");
        pair.first.set_mtime("d/f", LONG_AGO).set_mtime("g", LONG_AGO + 1).set_mtime("d", LONG_AGO + 2);
        pair.sync().arg("-times").run().code(0);
        assert_same_with(&pair.first, &pair.second, Compare { times: true, owners: false });
    }

    fn with_times_a_touch_is_carried_over_without_the_content(pair) {
        pair.first.file("f", vec![b'x'; 1_000_000]);
        pair.in_step_with(["-times"]);
        pair.second.set_mtime("f", LONG_AGO);
        let pass = pair.sync().args(["-times", "--json"]).run();
        pass.code(0);
        assert_same_with(&pair.first, &pair.second, Compare { times: true, owners: false });
        let summary = pass.summary();
        let bytes = summary["bytes_sent"].as_u64().unwrap() + summary["bytes_received"].as_u64().unwrap();
        assert!(bytes < 100_000, "{bytes} bytes for a touch:\n{pass}");
    }

    fn with_times_the_newer_mtime_wins_where_both_were_touched(pair) {
        pair.first.file("f", "content");
        pair.in_step_with(["-times"]);
        pair.first.set_mtime("f", LONG_AGO);
        pair.second.set_mtime("f", LONG_AGO + 1_000_000_000);
        pair.sync().arg("-times").run().code(0);
        assert_same_with(&pair.first, &pair.second, Compare { times: true, owners: false });
        assert_eq!(pair.first.meta("f").modified().unwrap(), std::time::UNIX_EPOCH + std::time::Duration::from_nanos(LONG_AGO + 1_000_000_000));
    }

    fn with_owner_group_and_numericids_the_numbers_go_over(pair) {
        pair.first.file("d/f", "content").chown("d/f", 12_345, 23_456).chown("d", 12_346, 23_457);
        pair.sync().args(["-owner", "-group", "-numericids"]).run().code(0);
        assert_same_with(&pair.first, &pair.second, Compare { times: false, owners: true });
        // And later on by itself, the other way.
        pair.second.chown("d/f", 1, 2);
        pair.sync().args(["-owner", "-group", "-numericids"]).run().code(0);
        assert_same_with(&pair.first, &pair.second, Compare { times: false, owners: true });
    }

    fn without_owner_and_group_a_file_belongs_to_who_syncs(pair) {
        pair.first.file("f", "content").chown("f", 12_345, 23_456);
        pair.sync().run().code(0);
        let own = pair.first.meta("");
        let there = pair.second.meta("f");
        use std::os::unix::fs::MetadataExt;
        assert_eq!((there.uid(), there.gid()), (own.uid(), own.gid()));
    }

    fn with_perms_0_modes_are_left_alone(pair) {
        pair.first.file("f", "content").chmod("f", 0o600);
        pair.in_step_with(["-perms", "0"]);
        pair.first.chmod("f", 0o644);
        pair.second.chmod("f", 0o640);
        pair.sync().args(["-perms", "0"]).run().code(0);
        assert_eq!((pair.first.mode("f"), pair.second.mode("f")), (0o644, 0o640));
    }

    fn with_perms_minus_1_all_bits_go_over(pair) {
        pair.first.file("f", "content").chmod("f", 0o6711).dir("d").chmod("d", 0o2775);
        // Set-id bits go over only together with the owner and the group that they are about.
        pair.sync().args(["-perms", "-1", "-owner", "-group", "-numericids"]).run().code(0);
        assert_eq!((pair.second.mode("f"), pair.second.mode("d")), (0o6711, 0o2775));
    }

    fn a_set_id_bit_does_not_go_over_to_a_file_that_stands_there_without_its_owner(pair) {
        pair.first.file("f", "content").chmod("f", 0o755).file("own", "theirs").chmod("own", 0o755);
        pair.in_step_with(["-perms", "-1"]);
        pair.first.chmod("f", 0o4755);
        pair.sync().args(["-perms", "-1"]).run().tells("the mode could not be set");
        assert_eq!(pair.second.mode("f"), 0o755);
        // One that was set there stays, as long as the bytes do.
        pair.second.chmod("own", 0o4755);
        pair.in_step_with(["-perms", "0o777"]);
        pair.first.chmod("own", 0o750);
        pair.sync().args(["-perms", "0o777"]).run().code(0);
        assert_eq!((pair.first.mode("own"), pair.second.mode("own")), (0o750, 0o4750));
        pair.first.file("own", "other bytes");
        pair.sync().args(["-perms", "0o777"]).run();
        assert_eq!((pair.second.text("own").as_str(), pair.second.mode("own")), ("other bytes", 0o750));
    }

    fn prefer_settles_conflicts_for_its_root_and_leaves_the_rest_to_the_rules(pair) {
        pair.first.file("clash", "old").file("deleted", "old");
        pair.in_step();
        pair.first.file("clash", "mine").remove("deleted").file("new-here", "1");
        pair.second.file("clash", "yours").file("deleted", "modified").file("new-there", "2");
        pair.sync().args(["-prefer", &pair.first_root()]).run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.second.names(), ["clash", "new-here", "new-there"]);
        assert_eq!(pair.second.text("clash"), "mine");
    }

    fn prefer_newer_settles_conflicts_for_the_newer_file(pair) {
        pair.first.file("a", "old").file("b", "old");
        pair.in_step();
        pair.first.file("a", "mine, newer").file("b", "mine").set_mtime("b", LONG_AGO);
        pair.second.file("a", "yours").set_mtime("a", LONG_AGO).file("b", "yours, newer");
        pair.sync().args(["-prefer", "newer"]).run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!((&*pair.first.text("a"), &*pair.first.text("b")), ("mine, newer", "yours, newer"));
    }

    fn force_makes_the_other_root_the_same_as_its_own(pair) {
        pair.first.file("changed", "old").file("deleted", "old").file("kept", "same");
        pair.in_step();
        pair.second.file("changed", "yours").remove("deleted").file("created", "yours");
        pair.sync().args(["-force", &pair.first_root()]).run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.second.names(), ["changed", "deleted", "kept"]);
        assert_eq!(pair.second.text("changed"), "old");
        // It is settled: without force nothing comes back.
        pair.sync().run().code(0);
        assert_eq!(pair.first.names(), ["changed", "deleted", "kept"]);
    }

    fn force_works_from_the_second_root_too(pair) {
        pair.first.file("f", "mine");
        pair.second.file("g", "yours");
        pair.sync().args(["-force", &pair.second_root()]).run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.first.names(), ["g"]);
    }

    fn ignored_paths_are_left_alone_on_both_sides(pair) {
        pair.first.file("a.tmp", "mine").file("cache/x", "mine").file("d/deep.tmp", "mine").file("f", "1");
        pair.second.file("b.tmp", "yours").file("cache/y", "yours").file("g", "2");
        let ignore = ["-ignore", "Name *.tmp", "-ignore", "Path cache"];
        pair.sync().args(ignore).run().code(0);
        assert_eq!(pair.first.names(), ["a.tmp", "cache", "d", "f", "g"]);
        assert_eq!(pair.second.names(), ["b.tmp", "cache", "d", "f", "g"]);
        assert_eq!((pair.first.below("cache").names(), pair.second.below("cache").names()), (vec!["x".to_owned()], vec!["y".to_owned()]));
        assert!(!pair.second.has("d/deep.tmp"));
    }

    fn ignorenot_makes_an_exception_of_ignore(pair) {
        pair.first.file("a.log", "1").file("keep.log", "2");
        pair.sync().args(["-ignore", "Name *.log", "-ignorenot", "Name keep.log"]).run().code(0);
        assert_eq!(pair.second.names(), ["keep.log"]);
    }

    fn a_file_that_is_ignored_later_is_not_taken_for_deleted(pair) {
        pair.first.file("f", "1").file("g.tmp", "2");
        pair.in_step();
        pair.sync().args(["-ignore", "Name *.tmp"]).run().code(0);
        assert!(pair.first.has("g.tmp") && pair.second.has("g.tmp"));
        pair.first.remove("g.tmp");
        pair.sync().args(["-ignore", "Name *.tmp"]).run().code(0);
        assert!(pair.second.has("g.tmp"));
        pair.sync().run().code(0);
        assert!(!pair.second.has("g.tmp"));
    }

    fn ignored_files_in_a_directory_deleted_on_the_other_side_are_kept(pair) {
        pair.first.file("d/f", "1").file("other", "");
        pair.in_step();
        pair.second.file("d/local.tmp", "only here");
        pair.first.remove("d");
        pair.sync().args(["-ignore", "Name *.tmp"]).run().code(1);
        assert!(!pair.second.has("d/f"));
        assert_eq!(pair.second.text("d/local.tmp"), "only here");
        assert!(!pair.first.has("d"));
    }

    fn path_restricts_a_pass_to_what_it_names(pair) {
        pair.first.file("a/in", "1").file("b/out", "2").file("c", "3");
        pair.sync().args(["-path", "a", "-path", "c"]).run().code(0);
        assert_eq!(pair.second.names(), ["a", "c"]);
        assert_eq!(pair.second.text("a/in"), "1");
        // The rest comes with a pass that does not leave it out.
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn a_path_below_makes_its_parents(pair) {
        pair.first.file("a/b/c/f", "1").file("a/b/other", "2").chmod("a/b", 0o700);
        pair.sync().args(["-path", "a/b/c"]).run().code(0);
        assert_eq!(pair.second.text("a/b/c/f"), "1");
        assert_eq!(pair.second.mode("a/b"), 0o700);
        assert!(!pair.second.has("a/b/other"));
    }

    fn fastcheck_false_reads_every_file_and_changes_nothing_else(pair) {
        pair.first.file("f", "old").file("g", "other");
        pair.in_step();
        pair.second.file("f", "new");
        pair.sync().args(["-fastcheck", "false"]).run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.first.text("f"), "new");
    }

    fn an_edit_that_keeps_size_and_mtime_is_seen(pair) {
        pair.first.file("f", "old").set_mtime("f", LONG_AGO);
        pair.in_step_with(["-times"]);
        pair.first.file("f", "new").set_mtime("f", LONG_AGO);
        pair.sync().arg("-times").run().code(0);
        assert_eq!(pair.second.text("f"), "new");
    }

    fn a_plan_shows_what_a_forced_root_takes_back(pair) {
        pair.first.file("base", "1").file("dir/kept", "1");
        pair.in_step();
        pair.first.file("base", "2, and longer").file("new", "1").remove("dir");
        let force = pair.second_root();
        let plan = pair.sync().args(["-dry-run", "-force", &force]).run();
        plan.code(0).tells("base").tells("deleted      new").tells("dir/kept");
        assert_eq!(pair.first.text("base"), "2, and longer");
        pair.sync().args(["-force", &force]).run().code(0);
        assert_eq!(pair.first.text("base"), "1");
        assert!(!pair.first.has("new") && pair.first.has("dir/kept"));
        assert_same(&pair.first, &pair.second);
    }

    fn a_conflict_that_stands_is_told_every_time(pair) {
        pair.first.file("f", "1");
        pair.second.file("f", "2, and longer");
        for _ in 0..3 {
            pair.command("sync").run().code(1).tells("conflict, both left");
        }
        for _ in 0..2 {
            pair.sync().run().code(1).tells("f");
        }
    }

    fn a_share_that_somebody_names_has_no_floor(pair) {
        for n in 0..20 {
            pair.first.file(format!("{n}"), "");
        }
        pair.in_step();
        for n in 0..3 {
            pair.first.remove(format!("{n}"));
        }
        pair.sync().args(["-max-delete", "10%"]).run().code(3).tells("3 of 20");
        assert_eq!(pair.second.files(), 20);
        pair.sync().run().code(0);
    }
    fn a_pattern_that_matches_everything_leaves_the_root_itself_alone(pair) {
        pair.first.file("a", "1").file("keep", "2").file(".hidden", "3");
        pair.sync().args(["-ignore", "Name *", "-ignorenot", "Name keep"]).run().code(0);
        assert_eq!(pair.second.names(), [".hidden", "keep"]);
    }

    fn preferpartial_and_forcepartial_hold_for_their_paths(pair) {
        pair.first.file("mine/f", "old").file("yours/f", "old").file("other/f", "old").file("forced/kept", "old");
        pair.in_step();
        for path in ["mine/f", "yours/f", "other/f"] {
            pair.first.file(path, "of the first");
            pair.second.file(path, "of the second root");
        }
        pair.first.file("forced/new", "only here").remove("forced/kept");
        let (first, second) = (pair.first_root(), pair.second_root());
        let pass = pair
            .sync()
            .args(["-preferpartial", &format!("BelowPath mine -> {first}")])
            .args(["-preferpartial", &format!("BelowPath yours -> {second}")])
            .args(["-forcepartial", &format!("BelowPath forced -> {second}"), "--json"])
            .run();
        pass.code(1);
        assert_eq!(pass.conflicts(), ["other/f"], "{pass}");
        for tree in [&pair.first, &pair.second] {
            assert_eq!(tree.text("mine/f"), "of the first");
            assert_eq!(tree.text("yours/f"), "of the second root");
            assert_eq!(tree.below("forced").names(), ["kept"]);
        }
        assert_eq!(pair.first.text("other/f"), "of the first");
        pair.sync().args(["-preferpartial", "Name f"]).run().code(3).says("which root");
        pair.sync().args(["-preferpartial", "Name f -> nowhere"]).run().code(3).says("none of the roots");
    }

    fn nodeletionpartial_and_its_like_hold_for_their_paths(pair) {
        pair.first.file("kept/f", "1").file("gone/f", "1").file("fixed/f", "1").file("other", "");
        pair.in_step();
        pair.first.remove("kept/f").remove("gone/f").file("fixed/f", "2, and longer").file("none/new", "3");
        let second = pair.second_root();
        let pass = pair
            .sync()
            .args(["-nodeletionpartial", &format!("BelowPath kept -> {second}")])
            .args(["-noupdatepartial", &format!("BelowPath fixed -> {second}")])
            .args(["-nocreationpartial", &format!("BelowPath none -> {second}")])
            .run();
        pass.code(1).tells("nodeletion").tells("noupdate").tells("nocreation");
        assert!(pair.second.has("kept/f") && !pair.second.has("gone/f") && !pair.second.has("none"));
        assert_eq!(pair.second.text("fixed/f"), "1");
        // What was only held back comes when nothing forbids it any more.
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn a_directory_stays_as_a_whole_if_something_in_it_may_not_be_deleted(pair) {
        pair.first.file("d/free", "1").file("d/kept", "1").file("other", "");
        pair.in_step();
        pair.first.remove("d");
        let spec = format!("Name kept -> {}", pair.second_root());
        pair.sync().args(["-nodeletionpartial", &spec]).run().code(1).tells("nodeletion").tells_not("conflict");
        assert_eq!(pair.second.below("d").names(), ["free", "kept"]);
        pair.sync().run().code(0);
        assert!(!pair.second.has("d"));
    }

    fn a_file_from_maxsizethreshold_on_is_skipped_even_with_force(pair) {
        pair.first.file("large", vec![b'x'; 20_000]).file("small", vec![b'x'; 19_999]);
        let force = pair.first_root();
        pair.sync().args(["-maxsizethreshold", "20"]).run().code(1).tells("maxsizethreshold");
        pair.sync().args(["-maxsizethreshold", "20", "-force", &force]).run().code(1).tells("maxsizethreshold");
        assert_eq!(pair.second.names(), ["small"]);
        pair.sync().args(["-maxsizethreshold", "-1"]).run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn known_children_of_an_immutable_directory_are_not_looked_at(pair) {
        pair.first.file("fixed/f", "old").file("fixed/except/g", "old").file("fixed/gone", "1").file("other", "");
        pair.in_step();
        pair.first.file("fixed/f", "changed").file("fixed/except/g", "changed").file("fixed/new", "2").remove("fixed/gone");
        let immutable = ["-immutable", "BelowPath fixed", "-immutablenot", "Path fixed/except"];
        pair.sync().args(immutable).run().code(0);
        assert_eq!(pair.second.text("fixed/f"), "old");
        assert_eq!(pair.second.text("fixed/except/g"), "changed");
        assert_eq!(pair.second.below("fixed").names(), ["except", "f", "new"]);
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn what_goes_first_is_shown_first(pair) {
        pair.first.file("a", "1").file("b.iso", "1").file("c", "1").file("z.index", "1");
        let order = ["-sortfirst", "Name *.index", "-sortlast", "Name *.iso", "-sortbysize", "-sortnewfirst"];
        let plan = pair.sync().args(["-dry-run", "--json"]).args(order).run();
        plan.code(0);
        let paths: Vec<String> =
            plan.events("plan").iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(paths, ["z.index", "a", "c", "b.iso"]);
        pair.sync().args(order).run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn contents_are_fetched_in_the_order_that_is_wanted(pair) {
        for (name, size) in [("a", 400_000), ("b", 300_000), ("c.first", 500_000), ("d", 200_000)] {
            pair.first.file(name, vec![b'x'; size]);
            pair.second.file(name, "");
        }
        let force = pair.first_root();
        let pass = pair.sync().args(["-force", &force, "-sortbysize", "-sortfirst", "Name *.first", "--json"]).run();
        pass.code(0);
        let done: Vec<String> =
            pass.events("item").iter().map(|line| line["path"].as_str().unwrap().to_owned()).collect();
        assert_eq!(done.len(), 4, "{pass}");
        assert_same(&pair.first, &pair.second);
    }

    fn a_dry_run_under_a_guard_shows_what_would_go_and_says_that_it_halts(pair) {
        for n in 0..20 {
            pair.first.file(format!("{n:02}"), "");
        }
        pair.in_step();
        for n in 0..3 {
            pair.first.remove(format!("{n:02}"));
        }
        let run = pair.sync().args(["-max-delete", "2", "-dry-run"]).run();
        run.code(3).tells("00").tells("02").tells("halts this pass").says("3 of 20");
        // The message is about the root in which it happened.
        let line = run.stderr.lines().find(|line| line.contains("3 of 20")).expect("a message").to_owned();
        assert!(line.contains(&pair.first_root()) && !line.contains(&pair.second_root()), "{line}");
        assert_eq!(pair.second.files(), 20);
        pair.sync().args(["-max-delete", "2"]).run().code(3);
    }

    fn deletions_that_may_not_pass_on_alarm_no_guard(pair) {
        for n in 0..20 {
            pair.first.file(format!("{n:02}"), "");
        }
        pair.in_step();
        for n in 0..20 {
            pair.first.remove(format!("{n:02}"));
        }
        let second = pair.second_root();
        pair.sync().args(["-max-delete", "2", "-nodeletion", &second]).run().code(1).tells("nodeletion");
        assert_eq!(pair.second.files(), 20);
    }

    fn what_a_mask_left_out_comes_over_when_it_is_widened(pair) {
        pair.first.file("f", "content").chmod("f", 0o640).dir("d").chmod("d", 0o750);
        pair.in_step_with(["-perms", "0", "-times"]);
        assert_eq!(pair.second.mode("f"), 0o644);
        let pass = pair.sync().args(["-perms", "-1", "-times", "--json"]).run();
        assert_eq!(pass.code(0).conflicts(), [""; 0], "{pass}");
        assert_eq!((pair.second.mode("f"), pair.second.mode("d")), (0o640, 0o750));
        assert_eq!((pair.first.mode("f"), pair.first.mode("d")), (0o640, 0o750));
        // And what changed while it was left out.
        pair.second.chmod("f", 0o600);
        pair.in_step_with(["-perms", "0", "-times"]);
        pair.sync().args(["-perms", "-1", "-times"]).run().code(0);
        assert_eq!((pair.first.mode("f"), pair.second.mode("f")), (0o600, 0o600));
    }

    fn owners_come_over_when_owner_is_given_later(pair) {
        pair.first.file("f", "content").chown("f", 12_345, 23_456);
        pair.in_step();
        pair.sync().args(["-owner", "-group", "-numericids"]).run().code(0);
        assert_same_with(&pair.first, &pair.second, Compare { times: false, owners: true });
        use std::os::unix::fs::MetadataExt;
        assert_eq!(pair.first.meta("f").uid(), 12_345);
    }

    fn old_versions_are_kept_of_what_is_replaced_or_deleted(pair) {
        pair.first.file("f", "1").file("d/g", "1").file("not", "1").symlink("link", "to").file("other", "");
        pair.in_step();
        let backup = ["-backup", "Name *", "-backupnot", "Name not", "-maxbackups", "2"];
        for content in ["2, longer", "3, longer still", "4, the longest of all"] {
            pair.first.file("f", content).file("not", content);
            pair.sync().args(backup).run().code(0);
        }
        pair.first.remove("d").symlink("link", "elsewhere");
        pair.sync().args(backup).run().code(0);
        assert_same(&pair.first, &pair.second);
        // Each end keeps what it replaces, below its own state directory, under the path of the root.
        let root = pair.second.root().strip_prefix("/").unwrap().to_owned();
        let kept = Tree::new(pair.far_state().join("backup").join(root));
        assert_eq!((&*kept.text(".bak.1.f"), &*kept.text(".bak.2.f")), ("3, longer still", "2, longer"));
        assert_eq!(kept.text("d/.bak.1.g"), "1");
        assert_eq!(std::fs::read_link(kept.path(".bak.1.link")).unwrap().to_str(), Some("to"));
        assert!(!kept.has(".bak.3.f") && !kept.has(".bak.1.not"));
    }

    fn versions_of_this_end_lie_where_backupdir_says(pair) {
        pair.second.file("f", "1").file("other", "");
        pair.in_step();
        pair.second.file("f", "2, longer");
        let dir = pair.home().path("versions");
        let options = ["-backup", "Name f", "-backupprefix", "", "-backupsuffix", ".$VERSION~", "-backupdir"];
        pair.sync().args(options).arg(&dir).run().code(0);
        assert_eq!(std::fs::read_to_string(dir.join("f.1~")).unwrap(), "1");
        pair.sync().args(["-backup", "Name f", "-backuploc", "local"]).run().code(3);
    }

    fn what_no_backup_can_be_kept_of_stays(pair) {
        pair.second.file("f", "1").file("other", "");
        pair.in_step();
        pair.second.file("f", "2, longer");
        // A file where the folder should be.
        pair.home().file("versions", "in the way");
        let dir = pair.home().path("versions");
        let run = pair.sync().args(["-backup", "Name f", "-backupdir"]).arg(&dir).run();
        run.code(2).tells("backup");
        assert_eq!(pair.first.text("f"), "1");
        pair.sync().run().code(0);
        assert_eq!(pair.first.text("f"), "2, longer");
    }
}
