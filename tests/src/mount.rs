//! A [`SmallDisk`] is a file system with little room, for a test that fills it; a [`Mounted`] one is at a given place.

use std::{
    ffi::CString,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
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
        mount("vfsync-test", dir.path(), "tmpfs", MountFlags::empty(), options(bytes).as_c_str())
            .unwrap_or_else(|e| panic!("cannot mount a tmpfs (this test needs root): {e}"));
        SmallDisk { dir }
    }

    /// Returns a tree on it.
    pub fn tree(&self) -> Tree {
        Tree::new(self.path().join("root"))
    }

    /// Gives it another size.
    pub fn resize(&self, bytes: u64) {
        mount_remount(self.path(), MountFlags::empty(), options(bytes).as_c_str())
            .unwrap_or_else(|e| panic!("cannot resize a tmpfs: {e}"));
    }

    /// Lets no program run from it.
    pub fn forbid_programs(&self) {
        mount_remount(self.path(), MountFlags::NOEXEC, c"")
            .unwrap_or_else(|e| panic!("cannot remount a tmpfs: {e}"));
    }

    /// Returns where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn options(bytes: u64) -> CString {
    CString::new(format!("size={bytes}")).expect("no NUL in it")
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Detached even if something still looks at it; the folder below can then be removed.
        let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

/// Something that is mounted for the time of a test.
pub struct Mounted {
    point: PathBuf,
}

impl Mounted {
    /// Mounts an empty file system in memory.
    pub fn tmpfs(point: &Path) -> Mounted {
        mount("vfsync-test", point, "tmpfs", MountFlags::empty(), options(1 << 20).as_c_str())
            .unwrap_or_else(|e| panic!("cannot mount a tmpfs (this test needs root): {e}"));
        Mounted { point: point.to_owned() }
    }

    /// Mounts an empty file system in memory that has no extended attributes.
    pub fn ramfs(point: &Path) -> Mounted {
        mount("vfsync-test", point, "ramfs", MountFlags::empty(), None::<&std::ffi::CStr>)
            .unwrap_or_else(|e| panic!("cannot mount a ramfs (this test needs root): {e}"));
        Mounted { point: point.to_owned() }
    }

    /// Shows a directory at a second place.
    pub fn bind(from: &Path, point: &Path) -> Mounted {
        mount_bind(from, point)
            .unwrap_or_else(|e| panic!("cannot bind a directory (this test needs root): {e}"));
        Mounted { point: point.to_owned() }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Detached even if something still looks at it.
        let _ = unmount(&self.point, UnmountFlags::DETACH);
    }
}
