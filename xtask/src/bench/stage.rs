//! The stage: one tree, a private sshd, and for each contestant an empty second replica and the commands that it runs.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::road::Road;
use crate::{
    apt::Apt,
    exec, kit,
    kit::Kit,
    pair::quoted,
    place,
    sshd::{self, Sshd},
};

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contestant {
    /// Ours.
    Vfsync,
    /// Unison, a pass at a time.
    Unison,
    /// rsync, a pass at a time.
    Rsync,
    /// tar through ssh: what bare copying takes.
    Tar,
    /// lsyncd over rsync, with a delay of one second.
    Lsyncd,
    /// Unison started by a loop around inotifywait: what vfsync replaces.
    Loop,
    /// inotifywait alone.
    Inotifywait,
    /// find, which looks at each file once.
    Find,
}

impl Contestant {
    /// Returns the name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vfsync => "vfsync",
            Self::Unison => "unison",
            Self::Rsync => "rsync",
            Self::Tar => "tar | ssh tar",
            Self::Lsyncd => "lsyncd",
            Self::Loop => "inotifywait + unison",
            Self::Inotifywait => "inotifywait -r",
            Self::Find => "find",
        }
    }
}

/// Downloads and unpacks the contestants, unless they are there.
pub fn set_up() -> Result<()> {
    peers().ensure("peers for the benchmarks", |dir| {
        let apt = Apt::of_this_machine(&place::tools().join("apt"))?;
        let mut brought = apt.unpack(&["unison", "rsync", "lsyncd", "inotify-tools"], dir)?;
        let programs = ["usr/bin/unison-2.52", "usr/bin/rsync", "usr/bin/lsyncd", "usr/bin/inotifywait"];
        kit::write_wrappers(dir, &programs)?;
        brought.sort_by_key(|package| !package.starts_with("unison-"));
        Ok(brought)
    })
}

fn peers() -> Kit {
    Kit::new("peers", "unison rsync lsyncd inotify-tools, 1")
}

/// Where the benchmarks run.
pub struct Stage {
    sshd: Sshd,
    road: Option<Road>,
    dir: TempDir,
    binary: PathBuf,
    peers: PathBuf,
}

impl Stage {
    /// Prepares a folder below `folder`.
    pub fn new(folder: &Path, binary: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(folder);
        let dir = dir.with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        for name in ["ssh", "tree", "home"] {
            fs::create_dir(dir.path().join(name)).with_context(|| format!("cannot create {name}"))?;
        }
        let peers = peers().require("the peers", "bench")?.join("bin");
        let sshd = Sshd::start(&dir.path().join("ssh"))?;
        Ok(Self { sshd, road: None, dir, binary: binary.to_owned(), peers })
    }

    /// As [`Stage::new`], with a road between the two hosts that counts what goes over it and takes so long, each way.
    pub fn with_road(folder: &Path, binary: &Path, delay: Duration) -> Result<Self> {
        let mut stage = Self::new(folder, binary)?;
        stage.road = Some(Road::open(stage.sshd.port(), delay)?);
        Ok(stage)
    }

    /// Returns how many bytes went over the road, both ways; none without one.
    pub fn bytes(&self) -> u64 {
        self.road.as_ref().map_or(0, Road::bytes)
    }

    fn port(&self) -> u16 {
        self.road.as_ref().map_or(self.sshd.port(), Road::port)
    }

    /// Returns a path in the stage's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the tree that everyone starts from.
    pub fn tree(&self) -> PathBuf {
        self.path("tree")
    }

    /// Returns the vfsync under test.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Returns a contestant's own second replica.
    pub fn replica(&self, contestant: Contestant) -> PathBuf {
        let name = match contestant {
            // The loop is Unison with another start.
            Contestant::Loop => Contestant::Unison.name(),
            other => other.name(),
        };
        self.path(&format!("replica-{}", name.replace(" | ", "-").replace(' ', "-")))
    }

    /// Empties a contestant's second replica.
    pub fn empty_replica(&self, contestant: Contestant) -> Result<()> {
        let replica = self.replica(contestant);
        if replica.exists() {
            fs::remove_dir_all(&replica).with_context(|| format!("cannot clear {}", replica.display()))?;
        }
        fs::create_dir(&replica).with_context(|| format!("cannot create {}", replica.display()))
    }

    /// Returns the program that a contestant runs on both sides.
    pub fn program(&self, contestant: Contestant) -> PathBuf {
        let name = match contestant {
            Contestant::Vfsync => return self.binary.clone(),
            Contestant::Unison | Contestant::Loop => "unison-2.52",
            Contestant::Rsync | Contestant::Lsyncd => "rsync",
            Contestant::Inotifywait => "inotifywait",
            Contestant::Tar => return "tar".into(),
            Contestant::Find => return "find".into(),
        };
        // What the wrapper of the same name runs.
        self.peers.with_file_name("usr/bin").join(name)
    }

    /// Takes away what vfsync and Unison know of the replicas.
    pub fn forget(&self) -> Result<()> {
        for name in ["state-a", "state-b", "home"] {
            let path = self.path(name);
            if path.exists() {
                fs::remove_dir_all(&path).with_context(|| format!("cannot clear {}", path.display()))?;
            }
        }
        fs::create_dir(self.path("home")).context("cannot create home")
    }

    /// Returns the command of one pass, where the contestant has one.
    pub fn pass(&self, contestant: Contestant) -> Option<Command> {
        let (tree, replica) = (self.tree(), self.replica(contestant));
        Some(match contestant {
            Contestant::Vfsync => {
                let mut command = self.vfsync("sync");
                command.arg("--batch");
                command
            }
            Contestant::Unison | Contestant::Loop => self.unison(),
            Contestant::Rsync => {
                let mut command = self.peer("rsync");
                command.args(["-aHAX", "-e", &format!("ssh {}", self.ssh_args())]);
                command.arg(format!("--rsync-path={}", quoted(&self.peers.join("rsync"))));
                command.arg(tree.join("")).arg(format!("127.0.0.1:{}/", replica.display()));
                command
            }
            Contestant::Tar => self.shell(&format!(
                "tar -C {} -cf - . | ssh {} 127.0.0.1 tar -C {} -xpf -",
                quoted(&tree),
                self.ssh_args(),
                quoted(&replica)
            )),
            Contestant::Find => {
                let mut command = Command::new("find");
                command.arg(&tree).args(["-printf", "%p %T@ %s %m %U %G\n"]);
                command
            }
            Contestant::Lsyncd | Contestant::Inotifywait => return None,
        })
    }

    /// Returns the command that keeps following changes, where the contestant has one.
    pub fn follow(&self, contestant: Contestant) -> Result<Option<Command>> {
        Ok(Some(match contestant {
            Contestant::Vfsync => {
                let mut command = self.vfsync("live");
                command.arg("--json");
                command
            }
            Contestant::Lsyncd => {
                let config = self.path("lsyncd.conf");
                fs::write(&config, self.lsyncd_config()).context("cannot write lsyncd's configuration")?;
                let mut command = self.peer("lsyncd");
                command.arg("-nodaemon").arg(config);
                command
            }
            Contestant::Loop => self.shell(&format!(
                "{0}; {1} -mrq -e create,delete,modify,move,attrib {2} | while read -r change; do {0}; done",
                as_words(&self.unison()),
                quoted(&self.peers.join("inotifywait")),
                quoted(&self.tree())
            )),
            _ => return Ok(None),
        }))
    }

    /// Returns the command that watches the tree, where the contestant has one.
    pub fn watch(&self, contestant: Contestant) -> Option<Command> {
        match contestant {
            Contestant::Vfsync => {
                let mut command = exec::tied(&self.binary);
                command.args(["watch", "--json"]).arg(self.tree());
                command.env("VFSYNC_STATE_DIR", self.path("state-watch"));
                Some(command)
            }
            Contestant::Inotifywait => {
                let mut command = self.peer("inotifywait");
                command.args(["-mrq", "-e", "create,close_write"]).arg(self.tree());
                Some(command)
            }
            _ => None,
        }
    }

    fn vfsync(&self, what: &str) -> Command {
        let mut command = exec::tied(&self.binary);
        let far = format!("env VFSYNC_STATE_DIR={} {}", quoted(&self.path("state-b")), quoted(&self.binary));
        command.arg(what).arg(self.tree()).arg(sshd::root(self.port(), &self.replica(Contestant::Vfsync)));
        command.args(["--times", "--owner", "--group", "--perms", "-1"]);
        command.args(["--sshargs", &self.sshd.ssh_args(), "--servercmd", &far]);
        command.env("VFSYNC_STATE_DIR", self.path("state-a"));
        self.with_ssh(command)
    }

    fn unison(&self) -> Command {
        let mut command = self.peer("unison-2.52");
        let far =
            format!("env UNISON={} {}", quoted(&self.path("home")), quoted(&self.peers.join("unison-2.52")));
        command.arg(self.tree()).arg(sshd::root(self.port(), &self.replica(Contestant::Unison)));
        command.args(["-batch", "-silent", "-times", "-owner", "-group", "-numericids", "-perms", "-1"]);
        command.args(["-sshargs", &self.sshd.ssh_args(), "-servercmd", &far, "-confirmbigdel=false"]);
        command.env("UNISON", self.path("home"));
        command
    }

    fn lsyncd_config(&self) -> String {
        format!(
            "settings {{ nodaemon = true }}\n\
             sync {{\n\
               default.rsync, source = \"{}\", target = \"127.0.0.1:{}\", delay = 1,\n\
               rsync = {{ archive = true, binary = \"{}\", rsh = \"ssh {}\",\n\
                 _extra = {{ \"--rsync-path={}\" }} }},\n\
             }}\n",
            self.tree().display(),
            self.replica(Contestant::Lsyncd).display(),
            self.peers.join("rsync").display(),
            self.ssh_args(),
            self.peers.join("rsync").display()
        )
    }

    fn ssh_args(&self) -> String {
        format!("{} -p {}", self.sshd.ssh_args(), self.port())
    }

    fn peer(&self, program: &str) -> Command {
        self.with_ssh(exec::tied(&self.peers.join(program)))
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = exec::tied(Path::new("/bin/sh"));
        command.args(["-c", script]);
        command.env("UNISON", self.path("home"));
        self.with_ssh(command)
    }

    fn with_ssh(&self, mut command: Command) -> Command {
        command.env("PATH", crate::sshd::search_path());
        command
    }
}

/// Returns a command as words for a shell.
fn as_words(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| quoted(Path::new(word))).collect();
    words.join(" ")
}

/// Runs a pass to its end and returns the seconds that it took.
pub fn timed(mut command: Command) -> Result<f64> {
    let line: OsString = exec::line(&command).into();
    let start = Instant::now();
    let out = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output();
    let took = start.elapsed().as_secs_f64();
    let out = out.with_context(|| format!("cannot start {}", line.to_string_lossy()))?;
    if !out.status.success() {
        let errors = String::from_utf8_lossy(&out.stderr);
        bail!("{} ended with {}:\n{}", line.to_string_lossy(), out.status, errors.trim_end());
    }
    Ok(took)
}
