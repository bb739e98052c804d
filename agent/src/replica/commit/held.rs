//! [`Held`] is what stands at a name and is to be taken away: pinned by an open handle, and by a lease where possible.

use super::error::CommitError;
use crate::core::entry::{Digest, Kind, Stamp};
use crate::core::path::Name;
use crate::fs::{Capabilities, Dir, FileKind, LeaseRefused, Leases, Meta, ReadLease, change, hash_file};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// What the caller expects to stand at a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// A file or symlink in the very state of this stamp. Its device is not compared: it changes from boot to boot.
    State(Kind, Stamp),
    /// A file with this content, whatever its stamp: it is read again, under the lease. For a stamp that is missing or
    /// not to be trusted.
    Content {
        /// Its length.
        size: u64,
        /// Its hash.
        digest: Digest,
    },
    /// A symlink to this target.
    Target(Box<[u8]>),
    /// A directory with this inode number; its times change with what it holds.
    Dir {
        /// The inode number.
        ino: u64,
    },
}

impl Expected {
    /// Returns the kind that is expected.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Expected::State(kind, _) => *kind,
            Expected::Content { .. } => Kind::File,
            Expected::Target(_) => Kind::Symlink,
            Expected::Dir { .. } => Kind::Dir,
        }
    }

    /// Returns whether a look agrees; for a content or a target, as far as a look can tell.
    fn agrees(&self, meta: &Meta) -> bool {
        let kind = meta.kind.synchronised();
        match self {
            Expected::State(Kind::Dir, stamp) => kind == Some(Kind::Dir) && meta.stamp.ino == stamp.ino,
            Expected::State(expected, stamp) => {
                kind == Some(*expected) && Stamp { dev: meta.stamp.dev, ..*stamp } == meta.stamp
            }
            Expected::Content { size, .. } => kind == Some(Kind::File) && meta.stamp.size == *size,
            Expected::Target(_) => kind == Some(Kind::Symlink),
            Expected::Dir { ino } => kind == Some(Kind::Dir) && meta.stamp.ino == *ino,
        }
    }
}

/// What to do about a program that has the file open for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Leave the file ([`CommitError::Busy`]).
    Wait,
    /// Take the file away all the same and keep it as a backup, to which the program goes on writing.
    Displace,
}

/// Something that stands at a name in the expected state.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) meta: Meta,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    /// Nobody writes, and we see it if somebody is about to.
    Lease(ReadLease),
    /// A lease that proves nothing on this file system.
    Untrusted(ReadLease),
    /// Open for reading.
    File(File),
    /// Open as a path: not a file, or not readable by us.
    Path(OwnedFd),
}

/// What has become of something held since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// It is as it was.
    Unchanged,
    /// Somebody is opening it for writing.
    Opened,
    /// Something else came out, or it has been changed.
    Changed,
}

impl Held {
    /// Opens what stands at `name` and makes sure that it is as expected.
    pub(super) fn take(
        dir: &Dir,
        name: &Name,
        expected: &Expected,
        writers: Writers,
        capabilities: &Capabilities,
    ) -> Result<Held, CommitError> {
        let stale = || CommitError::stale(dir, name);
        let seen = dir.stat(name).map_err(CommitError::io("look at", dir, name))?.ok_or_else(stale)?;
        if !expected.agrees(&seen) {
            return Err(stale());
        }
        let guard = Guard::new(dir, name, &seen, writers, capabilities)?;
        // Looked at again under the guard: from here on a change shows.
        let meta = Meta::of(&guard).map_err(CommitError::io("look at", dir, name))?;
        let held = Held { meta, guard };
        match expected.agrees(&meta) && meta.same_inode(&seen) && held.content_agrees(dir, name, expected)? {
            true => Ok(held),
            false => Err(stale()),
        }
    }

    /// Opens what stands at `name` only to act on its inode: writers are neither asked about nor held off.
    pub(super) fn take_inode(dir: &Dir, name: &Name, expected: &Expected) -> Result<Held, CommitError> {
        let stale = || CommitError::stale(dir, name);
        let guard = Guard::Path(change::open_path(dir, name).map_err(|e| match e {
            rustix::io::Errno::NOENT => stale(),
            e => CommitError::io("open", dir, name)(e),
        })?);
        let meta = Meta::of(&guard).map_err(CommitError::io("look at", dir, name))?;
        let held = Held { meta, guard };
        match expected.agrees(&meta) && held.content_agrees(dir, name, expected)? {
            true => Ok(held),
            false => Err(stale()),
        }
    }

    fn content_agrees(&self, dir: &Dir, name: &Name, expected: &Expected) -> Result<bool, CommitError> {
        match expected {
            Expected::State(..) | Expected::Dir { .. } => Ok(true),
            Expected::Target(target) => {
                // A symlink never changes, so what the name says while it names this inode is what the inode says.
                let read = dir.read_link(name).map_err(CommitError::io("read the link", dir, name))?;
                let named = dir.stat(name).map_err(CommitError::io("look at", dir, name))?;
                Ok(read == *target && named.is_some_and(|named| named.same_inode(&self.meta)))
            }
            Expected::Content { digest, .. } => {
                let opened;
                let file = match self.file() {
                    Some(file) => file,
                    None => {
                        opened = dir.open_file(name).map_err(CommitError::io("open", dir, name))?;
                        &opened
                    }
                };
                let hashed = hash_file(file).map_err(CommitError::io("read", dir, name))?;
                Ok(hashed.meta == self.meta && !hashed.changed && hashed.digest == *digest)
            }
        }
    }

    /// Looks at what stands at `name` now, where the thing held should have gone.
    pub(super) fn since(&self, dir: &Dir, name: &Name) -> Since {
        let Ok(Some(out)) = dir.stat(name) else { return Since::Changed };
        let same = match self.meta.kind {
            // What it holds may have changed; an empty one loses nothing.
            FileKind::Dir => out.kind == FileKind::Dir && out.same_inode(&self.meta),
            _ => out.same_but_ctime(&self.meta),
        };
        match &self.guard {
            _ if !same => Since::Changed,
            Guard::Lease(lease) | Guard::Untrusted(lease) if !lease.is_unbroken() => Since::Opened,
            Guard::Lease(_) | Guard::Untrusted(_) | Guard::File(_) | Guard::Path(_) => Since::Unchanged,
        }
    }

    /// Returns the file, where it is open for reading.
    pub(super) fn file(&self) -> Option<&File> {
        match &self.guard {
            Guard::Lease(lease) | Guard::Untrusted(lease) => Some(lease.file()),
            Guard::File(file) => Some(file),
            Guard::Path(_) => None,
        }
    }

    /// Returns the lease that proves that nobody writes; `None` if nothing does.
    pub(super) fn into_proof(self) -> Option<ReadLease> {
        match self.guard {
            Guard::Lease(lease) => Some(lease),
            Guard::Untrusted(_) | Guard::File(_) | Guard::Path(_) => None,
        }
    }

    /// Returns whether a lease proves that nobody has written since it was taken.
    pub(super) fn is_proven(&self) -> bool {
        matches!(&self.guard, Guard::Lease(lease) if lease.is_unbroken())
    }
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.guard.as_fd()
    }
}

impl Guard {
    fn new(
        dir: &Dir,
        name: &Name,
        seen: &Meta,
        writers: Writers,
        capabilities: &Capabilities,
    ) -> Result<Guard, CommitError> {
        let as_path = || {
            let opened = change::open_path(dir, name).map(Guard::Path);
            opened.map_err(|e| match e {
                rustix::io::Errno::NOENT => CommitError::stale(dir, name),
                e => CommitError::io("open", dir, name)(e),
            })
        };
        if seen.kind != FileKind::File {
            return as_path();
        }
        let file = match dir.open_file(name) {
            // Ours to replace, but not to read.
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => return as_path(),
            // Somebody holds a write lease (a file server, say): as good as open for writing.
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                return Err(CommitError::Busy { path: dir.path_of(name) });
            }
            // Another kind of thing took the name.
            Err(_) if !dir.stat(name).is_ok_and(|now| now.as_ref() == Some(seen)) => {
                return Err(CommitError::stale(dir, name));
            }
            file => file.map_err(CommitError::io("open", dir, name))?,
        };
        match (ReadLease::take(file), writers) {
            (Ok(lease), _) if capabilities.leases == Leases::Trusted => Ok(Guard::Lease(lease)),
            (Ok(lease), _) => Ok(Guard::Untrusted(lease)),
            (Err(LeaseRefused::Writer(_)), Writers::Wait) => {
                Err(CommitError::Busy { path: dir.path_of(name) })
            }
            (Err(LeaseRefused::Writer(file)), Writers::Displace) => Ok(Guard::File(file)),
            (Err(LeaseRefused::Unsupported(file, _)), _) => Ok(Guard::File(file)),
        }
    }
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Guard::Lease(lease) | Guard::Untrusted(lease) => lease.file().as_fd(),
            Guard::File(file) => file.as_fd(),
            Guard::Path(path) => path.as_fd(),
        }
    }
}
