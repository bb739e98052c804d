//! A pair is two replicas in a temporary folder and a private sshd between them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::{
    exec,
    sshd::{self, Sshd},
};

/// Two replicas; the second is reached over ssh.
pub struct Pair {
    // Ends before the folder that its files are in.
    sshd: Sshd,
    dir: TempDir,
    binary: PathBuf,
}

impl Pair {
    /// Makes the folders and starts the sshd. `binary` is the vfsync of both ends.
    pub fn new(binary: &Path) -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("vfsync-").tempdir().context("cannot make a temporary folder")?;
        Self::in_folder(dir, binary)
    }

    /// Makes the folders below one that exists, such as one on another file system.
    pub fn below(folder: &Path, binary: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("vfsync-").tempdir_in(folder);
        Self::in_folder(dir.with_context(|| format!("cannot make a folder in {}", folder.display()))?, binary)
    }

    fn in_folder(dir: TempDir, binary: &Path) -> Result<Self> {
        for name in ["ssh", "a", "b", "state-a", "state-b"] {
            fs::create_dir(dir.path().join(name)).with_context(|| format!("cannot create {name}"))?;
        }
        let sshd = Sshd::start(&dir.path().join("ssh"))?;
        Ok(Self { sshd, dir, binary: binary.to_owned() })
    }

    /// Returns the temporary folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the first replica.
    pub fn first(&self) -> PathBuf {
        self.dir.path().join("a")
    }

    /// Returns the second replica, as a folder.
    pub fn second(&self) -> PathBuf {
        self.dir.path().join("b")
    }

    /// Returns the second replica's address.
    pub fn second_root(&self) -> String {
        self.sshd.root(&self.second())
    }

    /// Returns the sshd.
    pub fn sshd(&self) -> &Sshd {
        &self.sshd
    }

    /// Returns `vfsync COMMAND A ssh://…//B`, each end with a state folder of its own. `more_ssh` are further
    /// arguments for ssh, such as `-C`.
    pub fn vfsync(&self, command: &str, more_ssh: &str) -> Command {
        let mut vfsync = exec::tied(&self.binary);
        let far = self.dir.path().join("state-b");
        vfsync
            .arg(command)
            .arg(self.first())
            .arg(self.second_root())
            .args(["--times", "--sshargs", format!("{} {more_ssh}", self.sshd.ssh_args()).trim()])
            .arg("--servercmd")
            .arg(format!("env VFSYNC_STATE_DIR={} {}", quoted(&far), quoted(&self.binary)))
            .env("VFSYNC_STATE_DIR", self.dir.path().join("state-a"))
            // A user's own configuration has no say here.
            .env_remove("VFSYNC_CONFIG");
        vfsync.env("PATH", sshd::search_path());
        vfsync
    }
}

/// Returns a path as one word for a shell.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
