//! A [`Backup`] is something that was taken away and is kept for a while, because nothing proves that it is known.

use super::Committer;
use super::error::CommitError;
use crate::core::entry::Timestamp;
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, FileKind, Meta, WriterCheck, change, has_writer, now, temporary_name};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the reserved names of backups begin; then come the time in seconds, hexadecimal, and a random part.
const KEPT: &str = ".vfsync.keep.";

/// Something kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The path that it stood at.
    pub of: RelPath,
    /// Where it is now.
    pub place: BackupPlace,
}

/// Where a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BackupPlace {
    /// In the folder of the backups, in a slot of its own, under its own name.
    Folder {
        /// The folder in the folder.
        slot: Name,
        /// The name in the slot.
        name: Name,
    },
    /// In the tree: the backups lie on another file system.
    Tree {
        /// The path, of a reserved name as a rule.
        path: RelPath,
    },
}

/// The folder of the backups.
#[derive(Debug)]
pub(super) struct Backups {
    path: PathBuf,
    folder: Dir,
    meta: Meta,
}

impl Backups {
    /// Opens the folder, and makes it if it is missing: for its owner alone.
    pub(super) fn open(path: &Path) -> io::Result<Backups> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let folder = Dir::open_root(path)?;
        let meta = folder.self_stat()?;
        Ok(Backups { path: path.to_owned(), folder, meta })
    }

    /// Takes what stands at the reserved name `under` out of the way for a while. Never fails: at worst it stays where
    /// it is.
    pub(super) fn keep(&self, dir: &Dir, under: &Name, original: &Name) -> Backup {
        let of = dir.path_of(original);
        if let Some(place) = self.keep_in_folder(dir, under, original) {
            return Backup { of, place };
        }
        let beside = kept_name(now());
        let name = match change::rename_noreplace(dir, under, dir, &beside) {
            Ok(()) => &beside,
            Err(_) => under,
        };
        Backup { of, place: BackupPlace::Tree { path: dir.path_of(name) } }
    }

    /// The same, only where the backups lie on the same file system.
    pub(super) fn keep_in_folder(&self, dir: &Dir, under: &Name, original: &Name) -> Option<BackupPlace> {
        let meta = dir.self_stat().ok()?;
        if (meta.stamp.dev, meta.mount) != (self.meta.stamp.dev, self.meta.mount) {
            return None;
        }
        let (slot, room) = self.new_slot().ok()?;
        match change::rename_noreplace(dir, under, &room, original) {
            Ok(()) => Some(BackupPlace::Folder { slot, name: original.clone() }),
            Err(_) => {
                // An empty slot goes with the next expiry at the latest.
                let _ = change::remove_dir(&self.folder, &slot);
                None
            }
        }
    }

    /// Keeps a copy of an open file that has no name any more.
    pub(super) fn copy(&self, file: &File, of: RelPath, original: &Name) -> io::Result<Backup> {
        let (slot, room) = self.new_slot()?;
        let mut copy = change::create_named(&room, original)?;
        crate::fs::read_file(file, |bytes| io::Write::write_all(&mut copy, bytes))?;
        copy.sync_data()?;
        room.sync()?;
        self.folder.sync()?;
        Ok(Backup { of, place: BackupPlace::Folder { slot, name: original.clone() } })
    }

    fn new_slot(&self) -> io::Result<(Name, Dir)> {
        let slot = kept_name(now());
        change::make_dir(&self.folder, &slot)?;
        let room = self.folder.open_child_dir(&slot)?;
        Ok((slot, room))
    }

    fn expire_slot(&self, slot: &Name) -> io::Result<bool> {
        use std::os::unix::ffi::OsStrExt;
        let room = self.folder.open_child_dir(slot)?;
        if room.list()?.entries.iter().any(|entry| is_written_to(&room, &entry.name)) {
            return Ok(false);
        }
        std::fs::remove_dir_all(self.path.join(std::ffi::OsStr::from_bytes(slot.as_bytes())))?;
        Ok(true)
    }
}

impl Committer {
    /// Removes backups in the folder that are older than `age`, except those that somebody still writes to. Returns
    /// how many went.
    pub fn expire_backups(&self, now: Timestamp, age: Duration) -> io::Result<usize> {
        let mut removed = 0;
        for slot in self.backups.folder.list()?.reserved {
            if is_older(&slot, now, age) && self.backups.expire_slot(&slot)? {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// The same for the backups that lie in a directory of the tree.
    pub fn expire_backups_in(&self, dir: &Dir, now: Timestamp, age: Duration) -> Result<usize, CommitError> {
        let mut removed = 0;
        let listing =
            dir.list().map_err(|source| CommitError::Io { op: "list", path: dir.path().clone(), source })?;
        for name in listing.reserved.iter().filter(|name| is_older(name, now, age)) {
            let Some(meta) = dir.stat(name).map_err(CommitError::io("look at", dir, name))? else { continue };
            let done = match meta.kind {
                FileKind::Dir => change::remove_dir(dir, name),
                _ if is_written_to(dir, name) => continue,
                _ => change::unlink(dir, name),
            };
            done.map_err(CommitError::io("remove the backup", dir, name))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Returns the path of a backup in the folder of the backups; `None` for one that lies in the tree.
    pub fn backup_path(&self, backup: &Backup) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        let os = |name: &Name| std::ffi::OsStr::from_bytes(name.as_bytes()).to_owned();
        match &backup.place {
            BackupPlace::Folder { slot, name } => Some(self.backups.path.join(os(slot)).join(os(name))),
            BackupPlace::Tree { .. } => None,
        }
    }
}

fn kept_name(at: Timestamp) -> Name {
    temporary_name(&format!("keep.{:x}", at.seconds.max(0)))
}

/// Returns whether a name is that of a backup from before `age` ago.
fn is_older(name: &Name, now: Timestamp, age: Duration) -> bool {
    let kept = std::str::from_utf8(name.as_bytes()).ok().and_then(|name| name.strip_prefix(KEPT));
    let seconds = kept.and_then(|rest| rest.split('.').next()).and_then(|s| i64::from_str_radix(s, 16).ok());
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    seconds.is_some_and(|seconds| now.seconds.saturating_sub(seconds) > age)
}

fn is_written_to(dir: &Dir, name: &Name) -> bool {
    dir.open_file(name).is_ok_and(|file| has_writer(file) == WriterCheck::Open)
}
