//! Taking something away for good.

use super::checkpoint::checkpoint;
use super::held::Held;
use super::replace::Disposed;
use super::{Backup, CommitError, Committer, Displaced, Expected, Writers};
use crate::core::path::Name;
use crate::fs::{Dir, FileKind, change, temporary_name};
use rustix::io::Errno;

/// How often a directory that seems to fill and empty itself is tried.
const TRIES: usize = 8;

/// What was removed.
#[derive(Debug)]
pub struct Removed {
    /// As in [`super::Published`].
    pub displaced: Option<Displaced>,
    /// As in [`super::Published`].
    pub backup: Option<Backup>,
}

impl Committer {
    /// Removes the file or symlink `name`, if it is what is expected.
    ///
    /// RACE: killed after it was moved aside, it is left under a reserved name: recovery compares it before it goes.
    pub fn remove(
        &self,
        dir: &Dir,
        name: &Name,
        expected: &Expected,
        writers: Writers,
    ) -> Result<Removed, CommitError> {
        let capabilities =
            self.capabilities(dir).map_err(CommitError::io("try the file system of", dir, name))?;
        let held = Held::take(dir, name, expected, writers, &capabilities)?;
        if held.meta.kind == FileKind::Dir {
            self.remove_dir(dir, name, held.meta.stamp.ino)?;
            return Ok(Removed { displaced: None, backup: None });
        }
        let aside = temporary_name("tmp");
        checkpoint("remove: held");
        self.move_aside(dir, name, &aside, &held)?;
        Ok(match self.dispose(dir, &aside, name, held) {
            Ok(Disposed::Removed(displaced)) => Removed { displaced, backup: None },
            Ok(Disposed::Kept(backup)) => Removed { displaced: None, backup: Some(backup) },
            Err(_) => Removed { displaced: None, backup: Some(self.backups.keep(dir, &aside, name)) },
        })
    }

    /// Removes the directory `name`, if it is still that inode and empty; else [`CommitError::NotEmpty`].
    ///
    /// RACE: another empty directory may take the name after the look. Worst outcome: that one is removed; nothing is
    /// in it.
    pub fn remove_dir(&self, dir: &Dir, name: &Name, ino: u64) -> Result<(), CommitError> {
        let mut holds = None;
        for _ in 0..TRIES {
            let seen = dir.stat(name).map_err(CommitError::io("look at", dir, name))?;
            if !seen.is_some_and(|seen| seen.kind == FileKind::Dir && seen.stamp.ino == ino) {
                return Err(CommitError::stale(dir, name));
            }
            checkpoint("remove dir: seen");
            match change::remove_dir(dir, name) {
                Ok(()) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(CommitError::stale(dir, name)),
                Err(e) => return Err(CommitError::io("remove the directory", dir, name)(e)),
            }
            holds = dir.open_child_dir(name).ok().and_then(|room| room.any_name().ok().flatten());
            if holds.is_some() {
                break;
            }
        }
        let path = dir.path_of(name);
        match holds {
            Some(holds) => Err(CommitError::NotEmpty { path, holds }),
            // Names that vfsync cannot handle, or a program that is quicker each time.
            None => Err(CommitError::io("remove the directory", dir, name)(Errno::NOTEMPTY)),
        }
    }
}
