//! Tests on real folders: the disk's and, where there is one, a tmpfs.

mod beneath;
mod lease;
mod looking;

use super::*;
use crate::core::path::{Name, RelPath};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A folder that is gone after the test, and a handle on it.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    /// Removed at the end.
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn in_folder(parent: &Path) -> Place {
        let folder = tempfile::tempdir_in(parent).unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        let place = Place::at(folder.path());
        Place { _folder: Some(folder), ..place }
    }

    /// The tree `root` in a folder that stays.
    pub(crate) fn at(folder: &Path) -> Place {
        let path = folder.join("root");
        Place { dir: Dir::open_root(&path).unwrap(), path, _folder: None }
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        fs::write(self.path.join(path), content).unwrap();
    }

    /// Waits a moment until nobody writes to a file any more. What this process had open for writing is, for as long as
    /// another test takes to start a program, also open there.
    pub(crate) fn wait_for_writers(&self, name: &Name) {
        let end = Instant::now() + Duration::from_secs(1);
        let is_written_to =
            || self.dir.open_file(name).is_ok_and(|file| has_writer(file) == WriterCheck::Open);
        while is_written_to() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path.join(path)).unwrap()
    }

    /// A path beside the root, outside of it.
    pub(crate) fn outside(&self) -> PathBuf {
        self.path.parent().unwrap().join("outside")
    }
}

/// A place on each kind of file system to test on: `VFSYNC_TEST_FOLDERS` (colon-separated), or the disk and a tmpfs.
pub(crate) fn places() -> Vec<Place> {
    let folders = std::env::var("VFSYNC_TEST_FOLDERS").unwrap_or_else(|_| "/var/tmp:/dev/shm".into());
    let usable = |p: &&str| Path::new(p).is_dir();
    folders.split(':').filter(usable).map(|p| Place::in_folder(Path::new(p))).collect()
}

/// Tells another thread to stop when the test ends, also when it fails.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn name(s: &str) -> Name {
    Name::new(s.as_bytes()).unwrap()
}

pub(crate) fn path(s: &str) -> RelPath {
    RelPath::new(s.as_bytes()).unwrap()
}

/// A file mapped for writing, shared.
pub(crate) struct Mapping(*mut std::ffi::c_void);

impl Mapping {
    pub(crate) fn new(file: &fs::File) -> Mapping {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let (null, write) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: the kernel chooses an address that is free, and nobody reads or writes there.
        Mapping(unsafe { mmap(null, 1, write, MapFlags::SHARED, file, 0) }.unwrap())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped above with this length, and not used since.
        unsafe { rustix::mm::munmap(self.0, 1) }.unwrap();
    }
}
