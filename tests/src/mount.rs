//! A [`SmallDisk`] is a file system with little room, for a test that fills it.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::Tree;

/// A tmpfs with a limited size. It is unmounted when it is dropped.
pub struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Mounts one of this size.
    pub fn new(bytes: u64) -> SmallDisk {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let options = std::ffi::CString::new(format!("size={bytes},mode=0755")).expect("no NUL in it");
        mount("vfsync-test", dir.path(), "tmpfs", MountFlags::empty(), options.as_c_str())
            .unwrap_or_else(|e| panic!("cannot mount a tmpfs (this test needs root): {e}"));
        SmallDisk { dir }
    }

    /// Returns a tree on it.
    pub fn tree(&self) -> Tree {
        Tree::new(self.path().join("root"))
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached even if something still looks at it; the folder below can then be removed.
        let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}
