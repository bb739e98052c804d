//! A [`Dir`] is an open directory below a replica's root: the only place from which names are looked up.

use super::beneath::{self, DIR_FLAGS};
use super::meta::{self, FileKind, Meta};
use crate::core::path::{Name, RelPath};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

/// An open directory, and the path below the root at which it was opened. Cheap to clone.
///
/// It stays the same directory when it is renamed meanwhile; then its path is out of date.
#[derive(Clone)]
pub struct Dir(Arc<Handle>);

struct Handle {
    fd: OwnedFd,
    path: RelPath,
    /// Where it lies, once somebody has asked.
    place: OnceLock<(u64, Option<u64>)>,
}

impl Dir {
    /// Opens the root of a replica. Symlinks on the way are followed, as an administrator means them; the path
    /// itself must be a directory.
    pub fn open_root(path: &Path) -> io::Result<Dir> {
        let fd = rustix::fs::open(path, DIR_FLAGS, Mode::empty())?;
        Ok(Dir::new(fd, RelPath::root()))
    }

    fn new(fd: OwnedFd, path: RelPath) -> Dir {
        Dir(Arc::new(Handle { fd, path, place: OnceLock::new() }))
    }

    /// Opens the directory at `path` below this one. Never leaves it: a symlink on the way is an error (`ELOOP` or
    /// `ENOTDIR`).
    pub fn open_dir(&self, path: &RelPath) -> io::Result<Dir> {
        let whole = path.rebase(&RelPath::root(), self.path()).ok_or(Errno::NAMETOOLONG)?;
        Ok(Dir::new(beneath::open_dir(self.as_fd(), path)?, whole))
    }

    /// Returns where the directory is now, whatever led to it.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn place(&self) -> io::Result<PathBuf> {
        std::fs::read_link(format!("/proc/self/fd/{}", self.as_fd().as_raw_fd()))
    }

    /// Opens the directory `name` in this one. A symlink is an error (`ENOTDIR` or `ELOOP`).
    pub fn open_child_dir(&self, name: &Name) -> io::Result<Dir> {
        let whole = self.path().join(name).map_err(|_| Errno::NAMETOOLONG)?;
        Ok(Dir::new(openat(self, name.as_bytes(), DIR_FLAGS, Mode::empty())?, whole))
    }

    /// Opens this directory once more: a handle with a read position of its own.
    pub(super) fn reopen(&self) -> io::Result<OwnedFd> {
        Ok(openat(self, ".", DIR_FLAGS, Mode::empty())?)
    }

    /// Returns a handle on this directory for when it has become `name` in `parent`.
    pub(crate) fn renamed(&self, parent: &Dir, name: &Name) -> io::Result<Dir> {
        let whole = parent.path().join(name).map_err(|_| Errno::NAMETOOLONG)?;
        Ok(Dir::new(self.reopen()?, whole))
    }

    /// Returns where below the root this directory was when it was opened.
    pub fn path(&self) -> &RelPath {
        &self.0.path
    }

    /// Returns the path of `name` in this directory, to show it: the name alone where the whole becomes too long.
    pub fn path_of(&self, name: &Name) -> RelPath {
        let alone = || RelPath::new(name.as_bytes()).expect("a name is a path");
        self.path().join(name).unwrap_or_else(|_| alone())
    }

    /// Looks at `name`, without following a symlink; `None` if nothing stands there.
    pub fn stat(&self, name: &Name) -> io::Result<Option<Meta>> {
        match meta::look(self, name.as_bytes()) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            seen => seen.map(Some),
        }
    }

    /// Looks at the directory itself.
    pub fn self_stat(&self) -> io::Result<Meta> {
        meta::look(self, b"")
    }

    /// Returns the device and the mount that the directory lies on. They stay the same as long as it is open.
    pub fn file_system(&self) -> io::Result<(u64, Option<u64>)> {
        if let Some(place) = self.0.place.get() {
            return Ok(*place);
        }
        let meta = self.self_stat()?;
        Ok(*self.0.place.get_or_init(|| (meta.stamp.dev, meta.mount)))
    }

    /// Opens the regular file `name` for reading. Anything else is an error and cannot make the caller hang: a
    /// pipe that was swapped in is not waited for.
    ///
    /// RACE: a device that is swapped in is opened before it is refused. Worst outcome: the side effect of opening
    /// a device that somebody was allowed to put into the tree.
    pub fn open_file(&self, name: &Name) -> io::Result<File> {
        self.open_file_and_look(name).map(|(file, _)| file)
    }

    /// As [`Dir::open_file`], with what the file looked like when it was open.
    pub fn open_file_and_look(&self, name: &Name) -> io::Result<(File, Meta)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = File::from(openat(self, name.as_bytes(), flags, Mode::empty())?);
        let meta = Meta::of(&file)?;
        match meta.kind {
            FileKind::File => Ok((file, meta)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    /// Returns where the symbolic link `name` points; `EINVAL` if it is none.
    pub fn read_link(&self, name: &Name) -> io::Result<Box<[u8]>> {
        let target = rustix::fs::readlinkat(self, name.as_bytes(), Vec::new())?;
        Ok(target.into_bytes().into())
    }

    /// Waits until the names in this directory are on the disk.
    pub fn sync(&self) -> io::Result<()> {
        match rustix::fs::fsync(self) {
            // Some network and FUSE file systems have nothing to sync in a directory.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Waits until everything on the file system of this directory is on the disk.
    pub fn sync_file_system(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(self)?)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl fmt::Debug for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dir({:?})", self.0.path)
    }
}

impl Meta {
    /// Looks at what is open.
    pub fn of(fd: impl AsFd) -> io::Result<Meta> {
        meta::look(fd, b"")
    }
}
