//! Commit puts a new state into a live tree without destroying a byte that nobody has seen.
//!
//! New states are prepared out of sight ([`Staged`]). Publishing one is a compare-and-swap: the caller says what it
//! expects to stand at the name ([`Expected`]), and if anything else comes to light, before or after the swap, the
//! swap is taken back and the answer is [`CommitError::Stale`]. What is taken away is unlinked only while a read
//! lease proves that nobody writes to it; else it is kept as a [`Backup`].
//!
//! Nothing here waits for the disk by itself, except [`Staged::sync`]: the caller syncs contents before it publishes,
//! directories afterwards, and only then writes the archive.
//!
//! The whole stands on this invariant: **at each moment, every content that stood in the tree or was written to it
//! has a name in the tree or in the backups, or is known to be the one that the caller expected.** A process killed at
//! any step leaves it true; names that it leaves behind are for [`Committer::examine_leftover`].

mod attributes;
mod backup;
mod checkpoint;
mod create;
mod directory;
mod displaced;
mod error;
mod held;
mod leftover;
mod metadata;
mod put_back;
mod remove;
mod rename;
mod replace;
mod stage;

pub use attributes::{Refused, SetId, Wanted, WantedExtended};
pub use backup::{Backup, BackupPlace};
pub use displaced::Displaced;
pub use error::CommitError;
pub use held::{Expected, Writers};
pub use leftover::{Leftover, LeftoverFate, LeftoverVerdict};
pub use remove::Removed;
pub use stage::{BLOCK, Staged};

use crate::core::entry::Stamp;
use crate::core::extended::{ExtendedNames, ShownExtended};
use crate::fs::{Capabilities, Dir, FileKind, Meta, extended, now};
use backup::Backups;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

/// Changes one replica's tree. Shared by the threads that do so.
#[derive(Debug)]
pub struct Committer {
    backups: Arc<Backups>,
    /// What new files and directories get whose mode is not synchronised: `umask` is taken from these bits.
    umask: u16,
    /// What each file system in the tree can do, by device and mount.
    capabilities: RwLock<BTreeMap<(u64, Option<u64>), Capabilities>>,
    /// Which extended attributes are looked at.
    names: Arc<ExtendedNames>,
}

/// What has been put into the tree.
#[derive(Debug)]
pub struct Published {
    /// How it looks now.
    pub meta: Meta,
    /// The stamp to record; `None` if it does not vouch for the content that was published (somebody was quick to
    /// change it): the next scan reads the file.
    pub stamp: Option<Stamp>,
    /// Whether a change that comes right after this may leave the stamp as it is ([`Meta::is_racy`]).
    pub racy: bool,
    /// The extended attributes that it has now; `None` where they are not looked at.
    pub extended: Option<ShownExtended>,
    /// The file that was taken away, as long as somebody may still turn up who opened it in the last moment: better
    /// held until the end of the batch.
    pub displaced: Option<Displaced>,
    /// Where what was taken away is kept, if it was not certain that nobody writes to it.
    pub backup: Option<Backup>,
}

impl Committer {
    /// Makes a committer that keeps backups in the folder `backups` (made if it is missing; outside of every tree) for
    /// files on the same file system, and under reserved names beside the original for others.
    pub fn new(backups: &Path) -> io::Result<Committer> {
        Ok(Committer {
            backups: Arc::new(Backups::open(backups)?),
            umask: umask(),
            capabilities: RwLock::default(),
            names: Arc::default(),
        })
    }

    /// Returns a committer that looks at these extended attributes.
    #[must_use]
    pub fn carrying(self, names: Arc<ExtendedNames>) -> Committer {
        Committer { names, ..self }
    }

    /// Returns the mode that something new gets of which no mode is synchronised.
    pub fn default_mode(&self, is_dir: bool) -> u16 {
        (if is_dir { 0o777 } else { 0o666 }) & !self.umask
    }

    /// Returns what the file system of `dir` can do. Tried once for each file system.
    pub fn capabilities(&self, dir: &Dir) -> io::Result<Capabilities> {
        let key = dir.file_system()?;
        let known = self.capabilities.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let found = Capabilities::probe(dir)?;
        // A directory that we may not write to says nothing about the others.
        if found.writable {
            self.capabilities.write().unwrap_or_else(PoisonError::into_inner).insert(key, found);
        }
        Ok(found)
    }

    /// Puts together what is to be said about something published: `before` was seen just before it got its name.
    fn published(
        &self,
        capabilities: &Capabilities,
        before: &Meta,
        after: Meta,
        handle: impl AsFd,
    ) -> Published {
        // Link, rename and exchange move the ctime, so the stamp is the one from before with the ctime from after.
        let stamp = after.same_but_ctime(before).then_some(after.stamp);
        let racy = after.is_racy(now(), capabilities.racy_window());
        let has_extended = matches!(after.kind, FileKind::File | FileKind::Dir);
        // What cannot be read here is looked at by the next scan, which says so.
        let look =
            || extended::look_with(handle, &self.names, &after, capabilities.racy_window()).ok().flatten();
        let extended = has_extended.then(look).flatten();
        Published { meta: after, stamp, racy, extended, displaced: None, backup: None }
    }
}

/// Returns the process's file mode creation mask. Read where it does not have to be set to be read, because other
/// threads create files meanwhile.
fn umask() -> u16 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u16::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o022)
}

#[cfg(test)]
mod tests;
