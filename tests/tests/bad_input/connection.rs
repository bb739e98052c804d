//! Hosts that do not answer, and answers that are not vfsync's.

use std::net::TcpListener;

use vfsync_tests::{Pair, assert_same, sshd::TestSshd, wait_for};

use crate::fails_without_harm;

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
        let server = format!(r"printf '\0vfsync\n\0\002\0\001\0050.1.0'; {garbage}; :");
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
