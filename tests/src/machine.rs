//! A [`Machine`] is a copy of this one of which nothing stays: its root with everything written kept in memory, and no
//! network. Packages can be installed there. Booted, it has processes of its own, which end all at once.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Outcome, Vfsync};

/// Makes the root in the folder `$1`, with the further folders at their places, says so, and keeps the namespaces until its
/// input ends. What this machine has of vfsync and of keys is not there, and no manual pages are indexed.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs -o mode=755 vfsync-test "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" vfsync-test "$1/root"
mount -t proc proc "$1/root/proc"
mount --rbind /sys "$1/root/sys"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=755 run "$1/root/run"
mount -t tmpfs -o mode=1777 tmp "$1/root/tmp"
rm -rf "$1/root/var/lib/vfsync" "$1/root/etc/vfsync" "$1/root/var/lib/man-db/auto-update" "$1/root/root/.ssh"
root="$1/root"
shift
for folder do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
done
echo ready
exec cat
"#;

/// Is the first process of a booted machine, and says so.
const FIRST: &str = "mount -t tmpfs -o mode=755 run \"$1/run\" && echo ready && exec cat";

/// A copy of this machine. What runs in it is to be ended by who started it.
pub struct Machine {
    keeper: Child,
    /// What its processes end with, where it is booted.
    booted: Option<Child>,
    /// Where its root is, in its own namespace: from outside there is nothing in this folder.
    dir: TempDir,
}

impl Machine {
    /// Makes one. Needs root.
    pub fn new() -> Machine {
        Machine::sharing(&[])
    }

    /// Makes one that has these folders of this one, wherever they come from.
    pub fn sharing(folders: &[&Path]) -> Machine {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--net", "sh", "-c", SCRIPT, "sh"]);
        let keeper = until_ready(command.arg(dir.path()).args(folders));
        Machine { keeper, booted: None, dir }
    }

    /// Gives it processes of its own from now on: the first is there, and nothing else.
    pub fn boot(&mut self) {
        assert!(self.booted.is_none(), "it runs already");
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.keeper.id().to_string(), "--mount", "--net", "--"]);
        command.args(["unshare", "--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"]);
        let mut proc = std::ffi::OsString::from("--mount-proc=");
        proc.push(self.root().join("proc"));
        command.arg(proc).args(["sh", "-c", FIRST, "sh"]).arg(self.root());
        self.booted = Some(until_ready(&mut command));
    }

    /// Ends all its processes at once. What it has written stays.
    pub fn halt(&mut self) {
        if let Some(mut booted) = self.booted.take() {
            let _ = booted.kill();
            let _ = booted.wait();
        }
    }

    /// Returns the process whose namespaces it has.
    pub fn keeper(&self) -> u32 {
        self.keeper.id()
    }

    /// Returns a place of it, as seen from outside.
    pub fn path(&self, place: impl AsRef<Path>) -> PathBuf {
        let place = place.as_ref().strip_prefix("/").expect("a place is absolute");
        let namespace = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        namespace.join(self.root().strip_prefix("/").expect("it is absolute")).join(place)
    }

    /// Writes a file, with the folders above it.
    pub fn file(&self, place: &str, text: impl AsRef<[u8]>) -> &Machine {
        let path = self.path(place);
        let parent = path.parent().expect("it lies below the root");
        fs::create_dir_all(parent).unwrap_or_else(|e| panic!("cannot create {}: {e}", parent.display()));
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        self
    }

    /// Returns what a file holds.
    #[track_caller]
    pub fn text(&self, place: &str) -> String {
        fs::read_to_string(self.path(place)).unwrap_or_else(|e| panic!("cannot read {place}: {e}"))
    }

    /// Returns whether something is there.
    pub fn has(&self, place: &str) -> bool {
        self.path(place).symlink_metadata().is_ok()
    }

    /// Runs a line of shell to its end.
    pub fn run(&self, line: &str) -> Outcome {
        let mut command = self.inside();
        let out = command.args(["sh", "-c", line]).stdin(Stdio::null()).output();
        let out = out.unwrap_or_else(|e| panic!("cannot start nsenter: {e}"));
        Outcome {
            line: line.to_owned(),
            code: out.status.code(),
            signal: std::os::unix::process::ExitStatusExt::signal(&out.status),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// Returns a command line to be started, with the environment that the service manager gives.
    pub fn service(&self, line: &str) -> Vfsync {
        let mut command = self.inside();
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(line.split_whitespace());
        Vfsync::behind(command)
    }

    /// Returns a line of shell to be started, with the environment that the service manager gives.
    pub fn shell(&self, line: &str) -> Vfsync {
        let mut command = self.inside();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command.env_clear().env("PATH", path).args(["sh", "-c", line]);
        Vfsync::behind(command)
    }

    /// Has a folder in memory of its own there, for as long as the machine lasts. To be called before it is booted.
    pub fn mount_tmpfs(&self, place: &str) {
        assert!(self.booted.is_none(), "what runs there would not see it");
        let place = self.root().join(place.strip_prefix("/").expect("a place is absolute"));
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.keeper.id().to_string(), "--mount", "--", "sh", "-c"]);
        command.arg("mkdir -p \"$0\" && mount -t tmpfs -o mode=755 vfsync-test \"$0\"").arg(place);
        let status = command.status().expect("nsenter can be started");
        assert!(status.success(), "cannot mount a tmpfs (this test needs root)");
    }

    /// Returns its root as its own namespace has it. Elsewhere nothing is there, so that nothing that is meant for it can
    /// happen to this machine.
    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn inside(&self) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.booted.as_ref().map_or(self.keeper.id(), Child::id);
        command.args(["--target", &target.to_string(), "--mount", "--net"]);
        if self.booted.is_some() {
            command.arg(format!("--pid=/proc/{target}/ns/pid_for_children"));
        }
        command.args(["--", "chroot"]).arg(self.root());
        command.env("HOME", "/root");
        for variable in ["VFSYNC_STATE_DIR", "VFSYNC_CONFIG", "VFSYNC_LOG", "XDG_STATE_HOME"] {
            command.env_remove(variable);
        }
        command
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.halt();
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Starts what keeps namespaces, until it says that they are ready. It ends with this process, whatever becomes of that.
fn until_ready(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut keeper = command.spawn().expect("unshare and nsenter can be started");
    let mut said = String::new();
    let stdout = keeper.stdout.take().expect("it is piped");
    let read = BufReader::new(stdout).read_line(&mut said);
    assert!(
        read.is_ok() && said == "ready\n",
        "cannot make a copy of this machine (this test needs root): {said:?}, {:?}",
        keeper.wait()
    );
    keeper
}
