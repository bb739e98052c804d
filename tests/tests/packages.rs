//! The Debian package: installed, used, upgraded and purged in a copy of this machine.

use std::{os::unix::fs::PermissionsExt, process::Command};

use rustix::process::Signal;
use vfsync_tests::{Machine, Outcome, binary, wait_for};
use xtask::dist::{self, Packing};

const CONFIG: &str = "[[sync]]\nroot = '/tmp/a'\npeers = ['/tmp/b']\n";

/// Stands for the service manager: notes what it is told, and does nothing.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$@\" >> /tmp/systemctl.calls\n";

/// Returns what the service manager was told since the last time.
fn told(machine: &Machine) -> String {
    machine.run("cat /tmp/systemctl.calls; rm -f /tmp/systemctl.calls").stdout
}

/// Returns the command that a unit starts.
fn started_by(machine: &Machine, unit: &str) -> String {
    let text = machine.text(&format!("/usr/lib/systemd/system/{unit}"));
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart="));
    line.unwrap_or_else(|| panic!("{unit} starts nothing")).to_owned()
}

#[test]
fn a_package_is_installed_and_purged_and_its_daemon_does_its_work() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        eprintln!("skipped: this machine has no dpkg, and so nothing to install a package with");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let package = dist::deb(binary::vfsync(), folder.path(), Packing::Fast).unwrap();
    let machine = Machine::new();
    machine.run("mkdir -p /run/systemd/system /tmp/a /tmp/b").code(0);
    machine.file("/usr/bin/systemctl", SYSTEMCTL).run("chmod 755 /usr/bin/systemctl").code(0);
    std::fs::copy(&package, machine.path("/tmp/vfsync.deb")).unwrap();
    let install = || -> Outcome { machine.run("dpkg -i /tmp/vfsync.deb") };

    let installed = install();
    installed.code(0);
    assert_eq!(
        told(&machine),
        "daemon-reload\n",
        "nothing else is done before it is configured:\n{installed}"
    );
    machine.run("dpkg -V vfsync").code(0);
    let installed = machine.run("dpkg -L vfsync").code(0).stdout.clone();
    machine.run("vfsync --version").code(0).tells(env!("CARGO_PKG_VERSION"));
    machine.run("zcat /usr/share/man/man1/vfsync.1.gz").code(0).tells("vfsync\\-daemon");
    machine.run("zcat /usr/share/man/man1/vfsync-sync.1.gz").code(0).tells("numericids");
    machine.run("bash -n /usr/share/bash-completion/completions/vfsync").code(0);
    machine.run("ls /usr/share/zsh/vendor-completions/_vfsync /usr/share/doc/vfsync/copyright").code(0);
    machine.run("dpkg-query -W -f '${Conffiles}' vfsync").code(0).tells("/etc/vfsync/vfsync.toml");
    let mode = |place| machine.path(place).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("/usr/bin/vfsync"), mode("/etc/vfsync/vfsync.toml")), (0o755, 0o644));
    for unit in ["vfsync.service", "vfsync-cron.service"] {
        let program = started_by(&machine, unit);
        assert!(
            machine.has(program.split(' ').next().unwrap()),
            "{unit} starts {program}, which is not there"
        );
    }

    // Somebody starts it before it is configured: it waits, and harms nothing.
    let mut daemon = machine.service(&started_by(&machine, "vfsync.service")).start();
    let mut says = |words: &str| {
        wait_for(words, || {
            assert!(daemon.is_running(), "it has ended:\n{}", daemon.stderr());
            daemon.stderr().contains(words).then_some(())
        });
    };
    says("there is nothing to do: /etc/vfsync/vfsync.toml:1:1: there is no [[sync]]");
    assert!(!machine.has("/var/lib/vfsync"));
    machine.file("/etc/vfsync/vfsync.toml", CONFIG).file("/tmp/a/d/f", "1").file("/tmp/b/g", "2");
    daemon.signal(Signal::HUP);
    wait_for("the trees to be the same", || {
        (machine.has("/tmp/b/d/f") && machine.has("/tmp/a/g")).then_some(())
    });
    machine.run("vfsync flush && diff -r /tmp/a /tmp/b").code(0);
    machine.run("vfsync status").code(0).tells("live for").tells("/tmp/b");
    let quiet = machine.run(&started_by(&machine, "vfsync-cron.service"));
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""), "{quiet}");
    daemon.signal(Signal::TERM);
    daemon.end().code(0);

    install().code(0);
    assert_eq!(machine.text("/etc/vfsync/vfsync.toml"), CONFIG, "an upgrade keeps what a person wrote");
    let upgraded = told(&machine);
    assert!(upgraded.contains("daemon-reload") && !upgraded.contains("enable"), "{upgraded}");

    machine.run("dpkg -r vfsync").code(0);
    assert!(machine.has("/etc/vfsync/vfsync.toml") && machine.has("/var/lib/vfsync/replicas"));
    assert!(!machine.has("/usr/bin/vfsync"));
    assert!(told(&machine).contains("disable --now vfsync.service vfsync-cron.timer"));
    machine.file("/var/lib/vfsync/backup/tmp/a/.bak.1.f", "0");
    machine.run("dpkg -P vfsync").code(0).says("/var/lib/vfsync/backup");
    assert!(!machine.has("/etc/vfsync") && !machine.has("/var/lib/vfsync/replicas"));
    assert_eq!(machine.text("/var/lib/vfsync/backup/tmp/a/.bak.1.f"), "0");
    machine.run("diff -r /tmp/a /tmp/b").code(0);
    assert_eq!(machine.text("/tmp/a/d/f"), "1");
    machine.run("rm -r /var/lib/vfsync/backup/tmp").code(0);
    install().code(0);
    machine.run("dpkg -P vfsync").code(0);
    assert!(!machine.has("/var/lib/vfsync") && !machine.has("/etc/vfsync"));
    for place in installed.lines().filter(|place| place.contains("vfsync")) {
        assert!(!machine.has(place), "{place} is left");
    }
}
