//! A [`Pair`] is two trees to be kept the same, and everything that vfsync needs to do it without touching anything
//! of the user's.

use std::{ffi::OsStr, path::PathBuf, sync::Arc};

use tempfile::TempDir;

use crate::{Live, Tree, Vfsync, process, sshd::TestSshd};

/// What carries the link between the two trees.
#[derive(Clone)]
pub enum Link {
    /// Nothing: both are paths of this host.
    Local,
    /// An ssh connection to this host.
    Ssh(Arc<TestSshd>),
}

/// Two trees, with a state directory for each end.
pub struct Pair {
    /// The first root, always local.
    pub first: Tree,
    /// The second root.
    pub second: Tree,
    link: Link,
    home: TempDir,
}

impl Pair {
    /// Makes two empty trees that are linked as local paths.
    pub fn local() -> Pair {
        Pair::over(Link::Local)
    }

    /// Makes two empty trees of which the second is reached over ssh.
    pub fn over_ssh() -> Pair {
        Pair::over(Link::Ssh(TestSshd::shared()))
    }

    /// Makes two empty trees with this link.
    pub fn over(link: Link) -> Pair {
        let home = tempfile::Builder::new().prefix("vfsync-test-").tempdir();
        let home = home.expect("a temporary folder can be made");
        let tree = |name| Tree::new(home.path().join(name));
        Pair { first: tree("first"), second: tree("second"), link, home }
    }

    /// Puts the second root elsewhere.
    pub fn with_second(mut self, second: Tree) -> Pair {
        self.second = second;
        self
    }

    /// Returns the sshd that the link goes through.
    pub fn sshd(&self) -> &TestSshd {
        match &self.link {
            Link::Ssh(sshd) => sshd,
            Link::Local => panic!("this pair needs no sshd"),
        }
    }

    /// Returns whether both roots are paths of this host.
    pub fn is_local(&self) -> bool {
        matches!(self.link, Link::Local)
    }

    /// Returns the folder that holds all of the pair. Files of the test may lie there too.
    pub fn home(&self) -> Tree {
        Tree::new(self.home.path())
    }

    /// Returns the state directory of the end that the commands run at.
    pub fn near_state(&self) -> PathBuf {
        self.home.path().join("near")
    }

    /// Returns the state directory of the far end.
    pub fn far_state(&self) -> PathBuf {
        match self.link {
            Link::Local => self.near_state(),
            Link::Ssh(_) => self.home.path().join("far"),
        }
    }

    /// Returns the first root as a command takes it.
    pub fn first_root(&self) -> String {
        self.first.root().display().to_string()
    }

    /// Returns the second root as a command takes it.
    pub fn second_root(&self) -> String {
        match &self.link {
            Link::Local => self.second.root().display().to_string(),
            Link::Ssh(sshd) => sshd.root(self.second.root()),
        }
    }

    /// Returns what starts vfsync at the far end: the one under test, with the pair's state directory.
    pub fn server_command(&self) -> String {
        let state = self.far_state();
        format!("env VFSYNC_STATE_DIR={} {}", state.display(), crate::binary::vfsync().display())
    }

    /// Returns what starts vfsync at the near end, for another pair that has it as its far end.
    pub fn near_server_command(&self) -> String {
        let state = self.near_state();
        format!("env VFSYNC_STATE_DIR={} {}", state.display(), crate::binary::vfsync().display())
    }

    /// Returns `vfsync COMMAND` with the options that the link needs, and nothing of the user's own. The roots are
    /// still to be named.
    pub fn bare(&self, command: &str) -> Vfsync {
        let vfsync = self.vfsync().arg(command);
        match &self.link {
            Link::Local => vfsync,
            Link::Ssh(sshd) => {
                let ssh = xtask::sshd::kit().dir().join("bin/ssh");
                vfsync
                    .args(["-sshcmd".as_ref(), ssh.as_os_str()])
                    .args(["-sshargs", &sshd.ssh_args()])
                    .args(["-servercmd", &self.server_command()])
            }
        }
    }

    /// Returns the `[defaults]` of a configuration with what the link needs.
    pub fn defaults(&self) -> String {
        match &self.link {
            Link::Local => "[defaults]\n".to_owned(),
            Link::Ssh(sshd) => {
                let ssh = xtask::sshd::kit().dir().join("bin/ssh");
                format!(
                    "[defaults]\nsshcmd = '{}'\nsshargs = '{}'\nservercmd = '{}'\n",
                    ssh.display(),
                    sshd.ssh_args(),
                    self.server_command()
                )
            }
        }
    }

    /// Returns a `[[sync]]` for both roots.
    pub fn block(&self) -> String {
        block(&self.first_root(), &[&self.second_root()])
    }

    /// Returns vfsync in the pair's environment, without arguments.
    pub fn vfsync(&self) -> Vfsync {
        Vfsync::new()
            .env("HOME", self.home.path())
            .env("VFSYNC_STATE_DIR", self.near_state())
            .in_dir(self.home.path())
    }

    /// Returns `vfsync COMMAND` for both roots.
    pub fn command(&self, command: &str) -> Vfsync {
        self.bare(command).args([self.first_root(), self.second_root()])
    }

    /// Returns `vfsync sync -batch` for both roots.
    pub fn sync(&self) -> Vfsync {
        self.command("sync").arg("-batch")
    }

    /// Brings both trees in step, as the beginning of a test.
    #[track_caller]
    pub fn in_step(&self) -> &Pair {
        self.in_step_with([""; 0])
    }

    /// Brings both trees in step with these options.
    #[track_caller]
    pub fn in_step_with(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &Pair {
        self.sync().args(args).run().code(0);
        self
    }

    /// Starts `vfsync live` on both roots.
    pub fn live(&self) -> Live {
        Live::start(self, [""; 0])
    }

    /// Returns the processes of vfsync at the far end.
    pub fn far_ends(&self) -> Vec<i32> {
        assert!(matches!(self.link, Link::Ssh(_)), "both ends of a local pair are one process");
        let binary = crate::binary::vfsync();
        process::with_environment("VFSYNC_STATE_DIR", &self.far_state())
            .into_iter()
            .filter(|&pid| process::executable(pid).is_some_and(|exe| same_file(&exe, binary)))
            .collect()
    }
}

/// Returns a `[[sync]]` for these roots.
pub fn block(root: &str, peers: &[&str]) -> String {
    let peers: Vec<String> = peers.iter().map(|peer| format!("'{peer}'")).collect();
    format!("[[sync]]\nroot = '{root}'\npeers = [{}]\n", peers.join(", "))
}

fn same_file(first: &std::path::Path, second: &std::path::Path) -> bool {
    match (first.canonicalize(), second.canonicalize()) {
        (Ok(first), Ok(second)) => first == second,
        _ => false,
    }
}
