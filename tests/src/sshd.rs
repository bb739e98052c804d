//! The sshd that the tests of one process share.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tempfile::TempDir;

/// A private sshd with the folder of its keys.
pub struct TestSshd {
    sshd: xtask::sshd::Sshd,
    dir: TempDir,
}

impl TestSshd {
    /// Returns the sshd that runs already, or starts one. It ends with its last user: a static would outlive the
    /// process.
    pub fn shared() -> Arc<TestSshd> {
        static SHARED: Mutex<Weak<TestSshd>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let sshd = Arc::new(TestSshd::own());
            *shared = Arc::downgrade(&sshd);
            sshd
        })
    }

    /// Starts an sshd. It sees what is mounted now, not what will be.
    pub fn own() -> TestSshd {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let sshd = xtask::sshd::Sshd::start(dir.path()).unwrap_or_else(|e| panic!("no private sshd: {e:#}"));
        TestSshd { sshd, dir }
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.sshd.port()
    }

    /// Returns the arguments for ssh with which a connection needs nothing of the user's own configuration.
    pub fn ssh_args(&self) -> String {
        self.sshd.ssh_args()
    }

    /// Returns the address of a folder.
    pub fn root(&self, path: &Path) -> String {
        self.sshd.root(path)
    }

    /// Returns the folder with the keys and the configuration.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
