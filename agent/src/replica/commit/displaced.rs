//! [`Displaced`] is a file that was taken away under a lease and has no name any more.

use super::backup::Backup;
use super::error::CommitError;
use super::{Committer, checkpoint::checkpoint};
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, Meta, ReadLease, WriterCheck, has_writer};
use std::time::{Duration, Instant};

/// A file that was unlinked while nobody wrote to it. As long as this is held, its lease is: a program that had found
/// the file by its name just before, and opens it for writing just after, waits and shows.
///
/// RACE: dropped without [`Committer::settle`], or settled before such a program comes to its open. Worst outcome:
/// that program writes to a file without a name. Settled at the end of a batch the program would have to sleep between
/// finding and opening the file for as long as the batch takes.
#[derive(Debug)]
pub struct Displaced {
    lease: ReadLease,
    meta: Meta,
    path: RelPath,
    name: Name,
}

impl Displaced {
    pub(super) fn new(lease: ReadLease, meta: Meta, dir: &Dir, name: &Name) -> Displaced {
        Displaced { lease, meta, path: dir.path_of(name), name: name.clone() }
    }
}

impl Committer {
    /// Lets a displaced file go for good. If somebody turned out to open it for writing in the last moment, waits
    /// until that writer is done (at most `wait`) and keeps what it wrote as a backup.
    pub fn settle(&self, displaced: Displaced, wait: Duration) -> Result<Option<Backup>, CommitError> {
        checkpoint("settle");
        if displaced.lease.is_unbroken() {
            return Ok(None);
        }
        let Displaced { lease, meta, path, name } = displaced;
        let error = |op| {
            let path = path.clone();
            move |source| CommitError::Io { op, path, source }
        };
        let file = lease.file().try_clone().map_err(error("keep open"))?;
        lease.release();
        let end = Instant::now() + wait;
        while Instant::now() < end && file.try_clone().is_ok_and(|file| has_writer(file) == WriterCheck::Open)
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        let now = Meta::of(&file).map_err(error("look at"))?;
        if now.same_but_ctime(&meta) {
            return Ok(None);
        }
        self.backups.copy(&file, path.clone(), &name).map(Some).map_err(error("keep what was written to"))
    }
}
