//! What bad input gets: exit code 3, a message that says what to do, no panic, no harm.

use std::net::TcpListener;

use vfsync_tests::{Outcome, Pair, Vfsync, assert_same, over_both_links, sshd::TestSshd, wait_for};

/// Nothing could be done.
const NOTHING: i32 = 3;

/// Runs a pass between two roots as they are written.
fn sync(pair: &Pair, first: &str, second: &str) -> Outcome {
    pair.bare("sync").args(["-batch", first, second]).run()
}

/// Asserts that a run failed with these words and left both trees as they were.
#[track_caller]
fn fails_without_harm(pair: &Pair, vfsync: Vfsync, words: &[&str]) {
    pair.first.file("f", "mine");
    pair.second.file("g", "yours");
    let before = (pair.first.snapshot(), pair.second.snapshot());
    let outcome = vfsync.run();
    outcome.code(NOTHING);
    for words in words {
        outcome.says(words);
    }
    assert_eq!((pair.first.snapshot(), pair.second.snapshot()), before);
}

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
        sync(pair, &pair.first_root(), &pair.second_root()).code(NOTHING).says("second");
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

    fn an_archive_in_use_is_said_with_its_owner(pair) {
        pair.first.file("f", "1");
        let mut live = pair.live();
        let pass = sync(pair, &pair.first_root(), &pair.second_root());
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

#[test]
fn an_unknown_option_names_the_nearest_known_one() {
    let pair = Pair::local();
    let pass = pair.command("sync").args(["-batch", "-ignroe", "Name x"]);
    fails_without_harm(&pair, pass, &["ignroe", "ignore"]);
}

#[test]
fn one_root_is_not_enough() {
    let pair = Pair::local();
    let pass = pair.bare("sync").args(["-batch", &pair.first_root()]);
    fails_without_harm(&pair, pass, &["root"]);
}

#[test]
fn a_host_that_does_not_answer_is_said_within_the_limit_of_ssh() {
    let pair = Pair::over_ssh();
    // The kernel accepts the connection; nobody ever says a word on it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let second =
        format!("ssh://127.0.0.1:{}/{}", silent.local_addr().unwrap().port(), pair.second.root().display());
    let pass = pair
        .bare("sync")
        .args(["-batch", "-sshargs", &(pair.sshd().ssh_args() + " -o ConnectTimeout=1")])
        .args([&pair.first_root(), &second]);
    fails_without_harm(&pair, pass, &["127.0.0.1", "does not answer"]);
}

#[test]
fn a_port_without_sshd_is_said() {
    let pair = Pair::over_ssh();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let second = format!("ssh://127.0.0.1:{free}/{}", pair.second.root().display());
    let pass = pair.bare("sync").args(["-batch", &pair.first_root(), &second]);
    fails_without_harm(&pair, pass, &["nothing listens", "port"]);
}

#[test]
fn a_host_name_without_an_address_is_said() {
    let pair = Pair::over_ssh();
    let second = format!("ssh://no-such-host.invalid/{}", pair.second.root().display());
    let pass = pair.bare("sync").args(["-batch", &pair.first_root(), &second]);
    fails_without_harm(&pair, pass, &["no-such-host.invalid", "name"]);
}

#[test]
fn a_refused_key_is_said() {
    let pair = Pair::over_ssh();
    let other = TestSshd::own();
    // Another sshd's user key, with this one's host key.
    let args = pair.sshd().ssh_args().replace(
        &format!("{}/user_key", pair.sshd().dir().display()),
        &format!("{}/user_key", other.dir().display()),
    );
    let pass = pair.command("sync").args(["-batch", "-sshargs", &args]);
    fails_without_harm(&pair, pass, &["authorized_keys"]);
}

#[test]
fn an_unknown_host_key_is_said() {
    let pair = Pair::over_ssh();
    let args = format!("-o UserKnownHostsFile=/dev/null {}", pair.sshd().ssh_args());
    let pass = pair.command("sync").args(["-batch", "-sshargs", &args]);
    fails_without_harm(&pair, pass, &["host key"]);
}

#[test]
fn no_vfsync_at_the_far_end_is_said() {
    let pair = Pair::over_ssh();
    let pass = pair.command("sync").args(["-batch", "-servercmd", "/no/such/vfsync"]);
    fails_without_harm(&pair, pass, &["no vfsync at", "servercmd"]);
}

#[test]
fn another_version_there_is_said_with_both_versions() {
    let pair = Pair::over_ssh();
    let server = r"printf '\0vfsync\n\003\347\003\346\00599.99'; cat >/dev/null; :";
    let pass = pair.command("sync").args(["-batch", "-servercmd", server]);
    fails_without_harm(&pair, pass, &["99.99", "999", env!("CARGO_PKG_VERSION")]);
}

#[test]
fn garbage_from_the_far_end_is_refused_before_the_greeting() {
    let pair = Pair::over_ssh();
    let pass = pair.command("sync").args(["-batch", "-servercmd", "head -c 300000 /dev/urandom; :"]);
    fails_without_harm(&pair, pass, &["servercmd"]);
}

#[test]
fn garbage_from_the_far_end_is_refused_after_the_greeting() {
    for garbage in ["head -c 300000 /dev/urandom", "head -c 300000 /dev/zero", "yes", "true"] {
        let pair = Pair::over_ssh();
        let server = format!(r"printf '\0vfsync\n\0\001\0\001\0050.1.0'; {garbage}; :");
        let pass = pair.command("sync").args(["-batch", "-servercmd", &server]);
        fails_without_harm(&pair, pass, &["127.0.0.1"]);
    }
}

#[test]
fn a_login_shell_that_prints_text_first_is_no_obstacle() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let server = format!("echo Welcome to this machine; printf '\\0vfs'; {}", pair.server_command());
    pair.sync().args(["-servercmd", &server]).run().code(0);
    assert_same(&pair.first, &pair.second);
}

#[test]
fn garbage_on_the_input_of_serve_is_refused() {
    let pair = Pair::local();
    let mut garbage = pair.home().file("garbage", vec![0xa5; 100_000]).read("garbage");
    garbage.extend(b"\0vfsync\n\0\x01\0\x01\x01x");
    for content in
        [garbage, b"\0vfsync\n\0\x01\0\x01\x01x\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), Vec::new()]
    {
        pair.home().file("input", content);
        let input = std::fs::File::open(pair.home().path("input")).unwrap();
        let serve = pair.vfsync().arg("serve").streams(
            input.into(),
            std::process::Stdio::piped(),
            std::process::Stdio::piped(),
        );
        let outcome = serve.run();
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        assert_ne!(outcome.code, Some(0), "{outcome}");
    }
}

#[test]
fn a_pass_leaves_no_process_behind() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    pair.sync().run().code(0);
    wait_for("the far end to have ended", || pair.far_ends().is_empty().then_some(()));
    // Every process that it started, ssh too, has the pair's folder as its home.
    let home = pair.home();
    wait_for("ssh to have ended", || {
        vfsync_tests::process::with_environment("HOME", home.root()).is_empty().then_some(())
    });
}
