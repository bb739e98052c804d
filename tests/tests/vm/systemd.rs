//! The units of the Debian package under systemd itself, in a guest whose first process it is: started, watched, reloaded,
//! killed, stopped; and the timer.

use std::{path::PathBuf, process::Command, time::Duration};

use xtask::{
    dist::{self, Packing},
    kernel::Kernel,
    vm::{Disk, Vm},
};

/// What is done in the guest. A step that fails ends it, and says where.
const SCRIPT: &str = r#"
step() { echo "step: $*"; }
# Waits until a command succeeds.
until_so() {
    n=0
    until "$@"; do
        n=$((n + 1))
        [ $n -lt 600 ] || { echo "in vain: $*"; vfsync status; systemctl status vfsync; exit 1; }
        sleep 0.2
    done
}
same() { [ "$(cat "$1" 2>&1)" = "$(cat "$2" 2>&1)" ]; }
show() { systemctl show -p "$1" --value vfsync; }
set -e

step starts and waits while nothing is configured
mkdir -p /mnt/ext4/a /mnt/ext4/b /mnt/ext4/c /mnt/ext4/d
systemctl daemon-reload
systemctl start vfsync
[ "$(show ActiveState)" = active ]
show StatusText | grep -q 'nothing to do'

step is reloaded and captures under the hardening of its unit
block() { printf "[[sync]]\nname = '%s'\nroot = '/mnt/ext4/%s'\npeers = ['%s']\n" "$1" "$1" "$2"; }
block a ssh://localhost//mnt/ext4/b > /etc/vfsync/vfsync.toml
systemctl reload vfsync
echo 1 > /mnt/ext4/a/f
until_so same /mnt/ext4/a/f /mnt/ext4/b/f
until_so sh -c 'vfsync status --json | grep -q "\"state\":\"live\""'
vfsync status --json | grep '"event":"process"' | grep -E '"tier":"(kprobe|fentry|tracepoint)"'
echo 2 > /mnt/ext4/a/f
until_so same /mnt/ext4/a/f /mnt/ext4/b/f
vfsync flush
until_so sh -c 'systemctl show -p StatusText --value vfsync | grep -q live'

step a bad configuration changes nothing
echo 'tmes = true' >> /etc/vfsync/vfsync.toml
systemctl reload vfsync
until_so sh -c 'systemctl show -p StatusText --value vfsync | grep -q "not taken"'
[ "$(show ActiveState)" = active ]
echo 3 > /mnt/ext4/a/f
until_so same /mnt/ext4/a/f /mnt/ext4/b/f
block a ssh://localhost//mnt/ext4/b > /etc/vfsync/vfsync.toml
systemctl reload vfsync

step one that is killed comes back
pid=$(show MainPID)
kill -KILL $pid
until_so sh -c '[ "$(systemctl show -p NRestarts --value vfsync)" = 1 ]'
until_so sh -c '[ "$(systemctl show -p ActiveState --value vfsync)" = active ]'
echo 4 > /mnt/ext4/a/f
until_so same /mnt/ext4/a/f /mnt/ext4/b/f

step one that hangs is ended by the watchdog and comes back
mkdir -p /etc/systemd/system/vfsync.service.d
printf '[Service]\nWatchdogSec=20\nTimeoutAbortSec=5\n' > /etc/systemd/system/vfsync.service.d/soon.conf
systemctl daemon-reload
systemctl restart vfsync
pid=$(show MainPID)
until_so sh -c 'vfsync status --json | grep -q "\"state\":\"live\""'
[ "$(show MainPID)" = "$pid" ]
kill -STOP $pid
until_so sh -c '[ "$(systemctl show -p MainPID --value vfsync)" != '$pid' ]'
[ ! -d /proc/$pid ] || grep -q Z /proc/$pid/stat
until_so sh -c '[ "$(systemctl show -p ActiveState --value vfsync)" = active ]'
echo 5 > /mnt/ext4/b/f
until_so same /mnt/ext4/b/f /mnt/ext4/a/f

step it stops in order
systemctl stop vfsync
[ "$(show Result)" = success ]
[ "$(show ExecMainStatus)" = 0 ]
ls /var/lib/vfsync/replicas/*/clean
[ "$(stat -c %a /var/lib/vfsync)" = 700 ]

step the timer makes a pass
block c /mnt/ext4/d > /etc/vfsync/vfsync.toml
echo 1 > /mnt/ext4/c/f
mkdir -p /etc/systemd/system/vfsync-cron.timer.d
printf '[Timer]\nOnBootSec=\nOnUnitInactiveSec=\nOnActiveSec=1s\nOnUnitInactiveSec=1s\nAccuracySec=1s\n' > /etc/systemd/system/vfsync-cron.timer.d/soon.conf
systemctl daemon-reload
systemctl start vfsync-cron.timer
until_so same /mnt/ext4/c/f /mnt/ext4/d/f
echo 2 > /mnt/ext4/d/f
until_so same /mnt/ext4/c/f /mnt/ext4/d/f
systemctl stop vfsync-cron.timer
[ "$(systemctl show -p Result --value vfsync-cron.service)" = success ]
echo all steps done
"#;

/// Returns what a package installs: where it is unpacked, and where it goes.
fn contents(unpacked: &std::path::Path) -> Vec<(PathBuf, String)> {
    let mut folders = vec![unpacked.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().expect("it was unpacked").flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else {
                let place = path.strip_prefix(unpacked).expect("it lies below");
                files.push((path.clone(), place.display().to_string()));
            }
        }
    }
    files
}

#[test]
fn the_units_do_their_work_under_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let package = dist::deb(&super::vfsync(), folder.path(), Packing::Fast).unwrap();
    let unpacked = folder.path().join("unpacked");
    let unpack = Command::new("dpkg-deb").arg("-x").args([&package, &unpacked]).status();
    assert!(unpack.expect("dpkg-deb can be started").success());
    let vm = Vm {
        systemd: true,
        disks: vec![Disk::Ext4],
        files: contents(&unpacked),
        limit: Duration::from_secs(1200),
        ..Vm::new(Kernel::V6_1)
    };
    let finished = vm.run(SCRIPT).unwrap_or_else(|e| panic!("{e:#}"));
    println!("{}", finished.output);
    assert_eq!(finished.code, 0, "its console:\n{}", finished.console);
    assert!(finished.output.contains("all steps done"));
}
