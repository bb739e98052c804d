//! Why something was not committed.

use super::backup::Backup;
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, Meta};
use std::io;

/// Why something was not committed. The tree is then as it was, or as others have made it meanwhile.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// What stands there is not what was expected: somebody changed it.
    #[error("{path} is not what it was when it was last looked at")]
    Stale {
        /// The path.
        path: RelPath,
        /// What stands there now; `None` for nothing.
        found: Option<Box<Meta>>,
        /// What could be saved only beside the path: of two changes made within the same moment, the earlier one.
        backups: Vec<Backup>,
    },
    /// Somebody has the file open for writing: to be tried again when it is closed.
    #[error("{path} is open for writing")]
    Busy {
        /// The path.
        path: RelPath,
    },
    /// A directory is in the way that still holds something.
    #[error("the directory {path} is not empty: it holds {holds:?}")]
    NotEmpty {
        /// The directory.
        path: RelPath,
        /// One of the names in it.
        holds: Name,
    },
    /// The directory that was to hold the path has been removed.
    #[error("the directory of {path} has been removed")]
    DirGone {
        /// The path.
        path: RelPath,
    },
    /// A system call failed.
    #[error("cannot {op} {path}")]
    Io {
        /// What was being done.
        op: &'static str,
        /// The path.
        path: RelPath,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl CommitError {
    /// Returns how to say that `op` on `name` failed.
    pub(super) fn io<E: Into<io::Error>>(
        op: &'static str,
        dir: &Dir,
        name: &Name,
    ) -> impl FnOnce(E) -> CommitError {
        let path = dir.path_of(name);
        move |e| CommitError::Io { op, path, source: e.into() }
    }

    /// Says that something else stands at `name` than was expected.
    pub(super) fn stale(dir: &Dir, name: &Name) -> CommitError {
        CommitError::stale_with(dir, name, Vec::new())
    }

    pub(super) fn stale_with(dir: &Dir, name: &Name, backups: Vec<Backup>) -> CommitError {
        let path = dir.path_of(name);
        match dir.stat(name) {
            Ok(found) => CommitError::Stale { path, found: found.map(Box::new), backups },
            // The backups outweigh the reason why the path cannot be looked at.
            Err(_) if !backups.is_empty() => CommitError::Stale { path, found: None, backups },
            Err(source) => CommitError::Io { op: "look at", path, source },
        }
    }

    /// Says why nothing was found at `name`: it was removed, or the directory with it.
    pub(super) fn stale_or_gone(dir: &Dir, name: &Name) -> CommitError {
        match is_gone(dir) {
            true => CommitError::DirGone { path: dir.path_of(name) },
            false => CommitError::stale(dir, name),
        }
    }

    /// Says why nothing could be put at `name`: the directory itself may be gone.
    pub(super) fn from_placing(
        op: &'static str,
        dir: &Dir,
        name: &Name,
        e: rustix::io::Errno,
    ) -> CommitError {
        match e {
            rustix::io::Errno::EXIST => CommitError::stale(dir, name),
            // ENOENT as a rule, EPERM for an unnamed file.
            _ if is_gone(dir) => CommitError::DirGone { path: dir.path_of(name) },
            e => CommitError::io(op, dir, name)(e),
        }
    }
}

/// Returns whether an open directory has been removed: then it has no name left.
fn is_gone(dir: &Dir) -> bool {
    dir.self_stat().is_ok_and(|meta| meta.nlink == 0)
}
