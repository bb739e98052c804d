//! The sshd that the tests of one process share.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
    thread::{self, JoinHandle},
};

use tempfile::TempDir;

/// A private sshd with the folder of its keys.
pub struct TestSshd {
    sshd: Arc<xtask::sshd::Sshd>,
    /// The thread that started it, which it ends with: it waits until the other end of the channel is dropped.
    keeper: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
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
        TestSshd::own_with(|_| String::new())
    }

    /// Starts an sshd with further lines of configuration, which may name its folder.
    pub fn own_with(lines: impl FnOnce(&Path) -> String) -> TestSshd {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let lines = lines(dir.path());
        let (ready, started) = mpsc::channel();
        let (keep, dropped) = mpsc::channel();
        let path = dir.path().to_owned();
        let keeper = thread::spawn(move || {
            let sshd = xtask::sshd::Sshd::start_with(&path, &lines).map(Arc::new);
            let kept = sshd.as_ref().ok().cloned();
            // Without a receiver the test has failed already.
            let _ = ready.send(sshd);
            let _ = dropped.recv();
            drop(kept);
        });
        let sshd = started.recv().expect("the thread sends an answer");
        let sshd = sshd.unwrap_or_else(|e| panic!("no private sshd: {e:#}"));
        TestSshd { sshd, keeper: Some((keep, keeper)), dir }
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

impl Drop for TestSshd {
    fn drop(&mut self) {
        if let Some((keep, keeper)) = self.keeper.take() {
            drop(keep);
            let _ = keeper.join();
        }
    }
}
