//! The connection itself, over a real sshd: what the sessions of vfsync are built on.

use std::{ffi::OsString, net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use vfsync::transport::{
    Exit, PROTOCOL_VERSION, SshLink, SshOptions, SshTarget, TransportError, dial, error::ConnectFailure,
    greet_as_initiator,
};
use vfsync_tests::{sshd::TestSshd, wait_for};

/// Returns the command that says first what a vfsync of this protocol does.
fn greeting() -> String {
    format!(r"printf '\0vfsync\n\0\{0:03o}\0\001\0040.0x'", PROTOCOL_VERSION)
}

fn target(sshd: &TestSshd) -> SshTarget {
    SshTarget { user: None, host: "127.0.0.1".to_owned(), port: Some(sshd.port()) }
}

fn options(sshd: &TestSshd, servercmd: &str) -> SshOptions {
    SshOptions {
        sshcmd: xtask_ssh(),
        sshargs: sshd.ssh_args().split(' ').map(OsString::from).collect(),
        servercmd: servercmd.to_owned(),
        connect_timeout: Duration::from_secs(2),
    }
}

fn xtask_ssh() -> PathBuf {
    xtask::sshd::kit().dir().join("bin/ssh")
}

/// Connects to a far end that is a line of shell; `serve` and what follows it are behind a `#`.
async fn link_to(shell: &str) -> (Arc<TestSshd>, SshLink) {
    let sshd = TestSshd::shared();
    let link = dial(&target(&sshd), &options(&sshd, &format!("{shell} #"))).await;
    (sshd, link.unwrap_or_else(|e| panic!("{e}")))
}

#[tokio::test]
async fn bytes_go_both_ways_and_the_end_is_told() {
    let (_sshd, link) = link_to(&format!("{}; cat; echo the last words >&2; exit 7", greeting())).await;
    let connection = link.open_channel(&[]).await.unwrap();
    let (mut connection, greeting) = greet_as_initiator(connection).await.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(greeting.theirs.program, "0.0x");
    // `cat` gives back our own greeting first.
    let mut own = [0; 13];
    connection.reader.read_exact(&mut own).await.unwrap();
    assert_eq!(&own[..8], b"\0vfsync\n");
    let mut version = vec![0; usize::from(own[12])];
    connection.reader.read_exact(&mut version).await.unwrap();

    let data = vec![0x5a; 3_000_000];
    let mut writer = connection.writer;
    let sent = data.clone();
    let writing = tokio::spawn(async move { writer.write_all(&sent).await });
    let mut got = vec![0; data.len()];
    connection.reader.read_exact(&mut got).await.unwrap();
    assert!(got == data, "the bytes came back changed");
    writing.await.unwrap().unwrap();

    assert_eq!(connection.reader.read(&mut [0]).await.unwrap(), 0);
    let ended = connection.far_end.finish().await;
    assert_eq!((ended.exit, ended.said.as_str()), (Exit::Code(7), "the last words\n"));
    link.close().await;
}

#[tokio::test]
async fn several_channels_share_one_connection() {
    let (_sshd, link) = link_to("ps -o ppid= -p $$; cat >/dev/null").await;
    let mut parents = Vec::new();
    for _ in 0..3 {
        let mut connection = link.open_channel(&["--root", "/a b"]).await.unwrap();
        let mut line = [0; 16];
        let n = connection.reader.read(&mut line).await.unwrap();
        parents.push(String::from_utf8_lossy(&line[..n]).into_owned());
        assert_eq!(connection.finish().await.exit, Exit::Code(0));
    }
    parents.dedup();
    assert_eq!(parents.len(), 1, "the channels have different parents: {parents:?}");
}

#[tokio::test]
async fn a_closed_link_leaves_no_ssh() {
    let (sshd, link) = link_to("cat").await;
    // The arguments name the folder of the sshd's keys.
    let mark = sshd.dir().display().to_string();
    let masters = || {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        let marked = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        marked.filter(|line| line.contains(&mark) && line.contains("ControlPersist")).count()
    };
    let before = masters();
    assert!(before > 0);
    link.close().await;
    wait_for("ssh to have ended", || (masters() < before).then_some(()));
}

#[tokio::test]
async fn each_way_to_fail_says_what_to_do() {
    let sshd = TestSshd::shared();
    let good = options(&sshd, "vfsync");
    let with = |args: &str| {
        let mut options = good.clone();
        options.sshargs.splice(0..0, args.split(' ').map(OsString::from));
        options
    };
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| Some(listener.local_addr().unwrap().port());
    let free = port(&TcpListener::bind("127.0.0.1:0").unwrap());
    let at = target(&sshd);
    let cases = [
        (at.clone(), with("-o IdentityFile=none -o PubkeyAuthentication=no"), ConnectFailure::Refused),
        (at.clone(), with("-o UserKnownHostsFile=/dev/null"), ConnectFailure::HostKeyUnknown),
        (
            SshTarget { host: "no-such-host.invalid".to_owned(), ..at.clone() },
            good.clone(),
            ConnectFailure::NameUnknown,
        ),
        (SshTarget { port: free, ..at.clone() }, good.clone(), ConnectFailure::NoSshd),
        (SshTarget { port: port(&silent), ..at.clone() }, good.clone(), ConnectFailure::NoAnswer),
        (at.clone(), with("-o NoSuchOption=1"), ConnectFailure::Other),
    ];
    for (target, options, expected) in cases {
        match dial(&target, &options).await {
            Err(TransportError::NotConnected { why, .. }) if why == expected => {}
            Err(e) => panic!("not {expected:?}: {e}"),
            Ok(_) => panic!("not {expected:?}: connected"),
        }
    }
    let no_ssh = SshOptions { sshcmd: PathBuf::from("/no/such/ssh"), ..good };
    assert!(matches!(dial(&at, &no_ssh).await, Err(TransportError::NoSsh { .. })));
}

#[tokio::test]
async fn a_far_end_without_vfsync_is_told_from_one_that_fails() {
    for (shell, expected) in [
        ("/no/such/vfsync", "no vfsync at 127.0.0.1"),
        ("echo out of order >&2; exit 4", "out of order"),
        ("head -c 100000 /dev/urandom", "does not answer as vfsync does"),
        (r"printf '\0vfsync\n\003\347\003\346\00599.99'; cat", "vfsync 99.99 (protocol 998 to 999)"),
    ] {
        let (_sshd, link) = link_to(shell).await;
        let connection = link.open_channel(&[]).await.unwrap();
        let message = greet_as_initiator(connection).await.err().expect("no vfsync there").to_string();
        assert!(message.contains(expected), "{shell}: {message}");
    }
}
