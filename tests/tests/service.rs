//! What surrounds a daemon: the service manager that it tells how it stands, and users that have no say.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixDatagram, UnixStream},
    },
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Signal, Uid},
    thread::set_thread_res_uid,
};
use vfsync_tests::{
    Daemon, LIMIT, Pair,
    daemon::{control_socket, status},
};

/// The socket of a service manager.
struct Manager {
    socket: UnixDatagram,
    told: Vec<String>,
}

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        Manager { socket, told: Vec::new() }
    }

    /// Waits until it is told this, and returns all of that message.
    #[track_caller]
    fn hears(&mut self, line: &str) -> String {
        let started = Instant::now();
        loop {
            // The watchdog is fed whatever else is told.
            assert!(started.elapsed() < LIMIT, "nothing of {line}:\n{}", self.told.join("\n"));
            let mut message = [0; 4096];
            let n = self.socket.recv(&mut message);
            let n = n.unwrap_or_else(|e| panic!("nothing of {line} ({e}):\n{}", self.told.join("\n")));
            let message = String::from_utf8_lossy(&message[..n]).into_owned();
            self.told.push(message.clone());
            if message.lines().any(|told| told == line) {
                return message;
            }
        }
    }

    /// Waits until it has been told this, at any time.
    #[track_caller]
    fn has_heard(&mut self, line: &str) {
        if !self.told.iter().any(|message| message.lines().any(|told| told == line)) {
            self.hears(line);
        }
    }
}

/// Starts a daemon as a service manager does that wants a sign of life each second.
fn under_manager(pair: &Pair, config: &str) -> Daemon {
    let notify = pair.home().path("notify").display().to_string();
    Daemon::start_with(pair, config, &[("NOTIFY_SOCKET", &notify), ("WATCHDOG_USEC", "1000000")])
}

#[test]
fn the_service_manager_is_told_how_it_stands() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let mut manager = Manager::at(&pair.home().path("notify"));
    let mut daemon = under_manager(&pair, &pair.block());
    assert!(manager.hears("READY=1").contains("STATUS=1 block, 1 link"));
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    daemon.reload(&pair.block());
    let reloading = manager.hears("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.hears("READY=1");
    // Links that stay the same have been live all the time.
    manager.has_heard("STATUS=links: 2 live");
    // A bad configuration is no end of the service, and its status says so.
    daemon.reload("[[sync]\n");
    manager.hears("RELOADING=1");
    assert!(manager.hears("READY=1").contains("STATUS=the configuration was not taken: "));
    daemon.process().signal(Signal::TERM);
    manager.hears("STOPPING=1");
    daemon.stop().code(0);
}

#[test]
fn a_daemon_without_anything_to_do_waits_for_it_and_says_so() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let mut manager = Manager::at(&pair.home().path("notify"));
    let mut daemon = under_manager(&pair, "# nothing yet\n");
    assert!(manager.hears("READY=1").contains("STATUS=there is nothing to do: "));
    manager.hears("WATCHDOG=1");
    daemon.reload("[[sync]\n");
    manager.hears("RELOADING=1");
    assert!(manager.hears("READY=1").contains("vfsync.toml:1:"));
    daemon.reload(&pair.block());
    manager.hears("STATUS=links: 2 live");
    assert_eq!(pair.second.text("f"), "1");
    daemon.process().signal(Signal::TERM);
    manager.hears("STOPPING=1");
    daemon.stop().code(0);
}

/// Returns what a socket answers a user to a request.
fn answer(uid: u32, socket: &Path, request: &str) -> String {
    let (socket, request) = (socket.to_owned(), request.to_owned());
    // The kernel tells who it was that connected: this thread, which is somebody else from now on.
    let asked = thread::spawn(move || {
        let uid = Uid::from_raw(uid);
        set_thread_res_uid(uid, uid, uid).expect("a thread can be another user (this test needs root)");
        let mut stream = UnixStream::connect(&socket).expect("the socket can be reached");
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // It may answer before it has read.
        let _ = stream.write_all(request.as_bytes());
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    });
    asked.join().unwrap()
}

#[test]
fn a_foreign_user_has_no_say_even_where_the_socket_is_open_to_all() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let mut daemon = Daemon::of(&pair);
    let socket = control_socket(&pair);
    const NOBODY: u32 = 65534;
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    for above in socket.ancestors().skip(1).take_while(|above| above.starts_with(pair.home().root())) {
        open(above, 0o755);
    }
    open(&socket, 0o666);
    for request in ["status", "conflicts", "pause", "resume"] {
        let said = answer(NOBODY, &socket, &format!("{{\"command\":\"{request}\"}}\n"));
        assert!(
            said.contains("\"exit\":3") && said.contains("user 65534 has no say here"),
            "{request}: {said}"
        );
        assert_eq!(said.lines().count(), 1, "{request}: {said}");
    }
    assert!(answer(0, &socket, "{\"command\":\"status\"}\n").contains("\"event\":\"process\""));
    assert!(status(&pair, "replica").iter().all(|replica| replica["state"] == "following"));
    pair.first.file("f", "2");
    daemon.carries(&pair.first, &pair.second);
    daemon.stop().code(0);
}

/// What an administrator would look at first. Skipped where there is no systemd.
#[test]
fn the_units_are_understood_and_locked_down() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("skipped: there is no systemd-analyze");
        return;
    };
    let text = String::from_utf8_lossy(&version.stdout).into_owned();
    let number = text.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
    let units = ["vfsync.service", "vfsync-cron.service", "vfsync-cron.timer"];
    let folder = tempfile::tempdir().unwrap();
    for unit in units {
        let text = std::fs::read_to_string(xtask::place::workspace().join("contrib").join(unit)).unwrap();
        // Only what is there can be started.
        let text = text.replace("/usr/local/bin/vfsync", "/bin/true");
        std::fs::write(folder.path().join(unit), text).unwrap();
    }
    let paths = units.map(|unit| folder.path().join(unit));
    let out = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("vfsync")).collect();
    assert!(out.status.success() && ours.is_empty(), "{said}");
    // Offline since version 250.
    if number.is_some_and(|number| number >= 250) {
        let mut security = Command::new("systemd-analyze");
        // In tenths. Root that may change anybody's files and load programs into the kernel is what the service is for.
        security.args(["security", "--offline=true", "--threshold=60"]).arg(&paths[0]);
        let out = security.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    }
}
