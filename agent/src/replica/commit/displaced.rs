//! [`Displaced`] is a file that was taken away under a lease and has no name any more.

use super::Committer;
use super::backup::{Backup, Backups};
use super::checkpoint::checkpoint;
use super::error::CommitError;
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, Meta, ReadLease, WriterCheck, has_writer};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a writer is waited for that turns up when nobody asks any more.
const PATIENCE: Duration = Duration::from_secs(600);

/// A file that was unlinked while nobody wrote to it. As long as this is held, its lease is: a program that had found
/// the file by its name just before, and opens it for writing just after, waits and shows. Then what it writes is kept
/// as a backup, by [`Committer::settle`] or, if this is only dropped, by a thread of its own.
///
/// RACE: a program may be between finding the file and opening it for longer than this is held. Worst outcome: it
/// writes to a file without a name. Held until the end of a batch, the program would have to sleep in between for as
/// long as the batch takes.
#[derive(Debug)]
pub struct Displaced(Option<Unnamed>);

#[derive(Debug)]
struct Unnamed {
    lease: ReadLease,
    meta: Meta,
    path: RelPath,
    name: Name,
    backups: Arc<Backups>,
}

impl Displaced {
    pub(super) fn new(
        lease: ReadLease,
        meta: Meta,
        dir: &Dir,
        name: &Name,
        backups: &Arc<Backups>,
    ) -> Displaced {
        let (path, name, backups) = (dir.path_of(name), name.clone(), backups.clone());
        Displaced(Some(Unnamed { lease, meta, path, name, backups }))
    }
}

impl Committer {
    /// Lets a displaced file go for good. If somebody turned out to open it for writing in the last moment, waits
    /// until that writer is done (at most `wait`) and keeps what it wrote as a backup.
    pub fn settle(&self, mut displaced: Displaced, wait: Duration) -> Result<Option<Backup>, CommitError> {
        checkpoint("settle");
        let Some(unnamed) = displaced.0.take().filter(|unnamed| !unnamed.lease.is_unbroken()) else {
            return Ok(None);
        };
        let path = unnamed.path.clone();
        unnamed.rescue(wait).map_err(|source| CommitError::Io {
            op: "keep what was written to",
            path,
            source,
        })
    }
}

impl Drop for Displaced {
    fn drop(&mut self) {
        let Some(unnamed) = self.0.take().filter(|unnamed| !unnamed.lease.is_unbroken()) else { return };
        std::thread::spawn(move || {
            let path = unnamed.path.clone();
            match unnamed.rescue(PATIENCE) {
                Ok(None) => {}
                Ok(Some(backup)) => {
                    tracing::warn!(%path, backup = ?backup.place, "somebody wrote to the file that was just replaced: kept");
                }
                Err(error) => {
                    tracing::warn!(%path, why = %error, "what somebody wrote to the file that was just replaced is lost");
                }
            }
        });
    }
}

impl Unnamed {
    /// Lets the writer go on, waits until it is done, and keeps what it made of the file.
    fn rescue(self, wait: Duration) -> io::Result<Option<Backup>> {
        let file = self.lease.file().try_clone()?;
        self.lease.release();
        let end = Instant::now() + wait;
        while Instant::now() < end && has_writer(file.try_clone()?) == WriterCheck::Open {
            std::thread::sleep(Duration::from_millis(5));
        }
        if Meta::of(&file)?.same_but_ctime(&self.meta) {
            return Ok(None);
        }
        self.backups.copy(&file, self.path, &self.name).map(Some)
    }
}
