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
    sshd: Option<Sshd>,
    dir: TempDir,
    binary: PathBuf,
}

impl Pair {
    /// Makes the folders and starts the sshd. `binary` is the vfsync of both ends.
    pub fn new(binary: &Path) -> Result<Self> {
        let dir =
            tempfile::Builder::new().prefix("vfsync-").tempdir().context("cannot make a temporary folder")?;
        let mut pair = Self { sshd: None, dir, binary: binary.to_owned() };
        pair.make_folders()?;
        pair.sshd = Some(Sshd::start(&pair.path("ssh"))?);
        Ok(pair)
    }

    /// Makes the folders below one that exists, in a guest: its sshd runs already, and ssh knows the way.
    pub fn in_guest(folder: &Path, binary: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("vfsync-").tempdir_in(folder);
        let dir = dir.with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        let pair = Self { sshd: None, dir, binary: binary.to_owned() };
        pair.make_folders()?;
        Ok(pair)
    }

    fn make_folders(&self) -> Result<()> {
        for name in ["ssh", "a", "b", "state-a", "state-b"] {
            fs::create_dir(self.path(name)).with_context(|| format!("cannot create {name}"))?;
        }
        Ok(())
    }

    /// Returns a path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the vfsync of both ends.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Returns the first replica.
    pub fn first(&self) -> PathBuf {
        self.path("a")
    }

    /// Returns the second replica, as a folder.
    pub fn second(&self) -> PathBuf {
        self.path("b")
    }

    /// Returns the second replica's address.
    pub fn second_root(&self) -> String {
        match &self.sshd {
            Some(sshd) => sshd.root(&self.second()),
            None => format!("ssh://localhost/{}", self.second().display()),
        }
    }

    /// Returns `vfsync COMMAND A ssh://…//B`, each end with a state folder of its own. `more_ssh` are further
    /// arguments for ssh, such as `-C`.
    pub fn vfsync(&self, command: &str, more_ssh: &str) -> Command {
        let mut vfsync = exec::tied(&self.binary);
        let far = self.path("state-b");
        let ssh_args = self.sshd.as_ref().map(Sshd::ssh_args).unwrap_or_default();
        vfsync
            .arg(command)
            .arg(self.first())
            .arg(self.second_root())
            .args(["--times", "--sshargs", format!("{ssh_args} {more_ssh}").trim()])
            .arg("--servercmd")
            .arg(format!("env VFSYNC_STATE_DIR={} {}", quoted(&far), quoted(&self.binary)))
            .env("VFSYNC_STATE_DIR", self.path("state-a"))
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
