//! A [`Leftover`] is a reserved name that a process killed in the middle of its work left in the tree.

use super::backup::{Backup, BackupPlace};
use super::{CommitError, Committer};
use crate::core::entry::Digest;
use crate::core::path::Name;
use crate::fs::{
    Dir, FileKind, LeaseRefused, Meta, PROBE_CLASS, RESERVED_PREFIX, ReadLease, change, hash_file,
    temporary_name,
};
use std::fs::File;

/// What a reserved name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The reserved name.
    pub name: Name,
    /// How it looks.
    pub meta: Meta,
    /// The hash of a file's content.
    pub digest: Option<Digest>,
    /// Where a symlink points.
    pub target: Option<Box<[u8]>>,
}

/// What the archive says to a leftover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftoverVerdict {
    /// Its content is known: it is the old or the new side of something that was under way. It can go.
    Known,
    /// It is what stood at this name in the same directory, and belongs there if nothing stands there now.
    PutBack(Name),
    /// Nobody knows it: it may be the only copy of something.
    Unknown,
}

/// What has become of a leftover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftoverFate {
    /// It was known, or empty, and is removed.
    Removed,
    /// It has its name again.
    PutBack,
    /// It is kept as a backup.
    Kept(Backup),
    /// It is a directory that holds something, and the backups lie on another file system: it now has this name, for
    /// everybody to see.
    Shown(Name),
    /// Somebody is at it right now: it was left alone.
    InUse,
    /// It has gone by itself.
    Gone,
}

impl Committer {
    /// Lists what an interrupted commit left in a directory. Backups are not among it.
    pub fn leftovers(&self, dir: &Dir) -> Result<Vec<Name>, CommitError> {
        let listing =
            dir.list().map_err(|source| CommitError::Io { op: "list", path: dir.path().clone(), source })?;
        Ok(listing
            .reserved
            .into_iter()
            .filter(|name| is_of(name, "tmp") || is_of(name, PROBE_CLASS))
            .collect())
    }

    /// Does what is right with a leftover: compares before it removes. To be called only while no commit is under way
    /// in the tree.
    pub fn examine_leftover(
        &self,
        dir: &Dir,
        name: &Name,
        judge: impl FnOnce(&Leftover) -> LeftoverVerdict,
    ) -> Result<LeftoverFate, CommitError> {
        let Some(meta) = dir.stat(name).map_err(CommitError::io("look at", dir, name))? else {
            return Ok(LeftoverFate::Gone);
        };
        let mut leftover = Leftover { name: name.clone(), meta, digest: None, target: None };
        match meta.kind {
            FileKind::File => self.examine_file(dir, leftover, judge),
            FileKind::Dir => self.examine_dir(dir, leftover, judge),
            FileKind::Symlink => {
                let target = dir.read_link(name).map_err(CommitError::io("read the link", dir, name))?;
                leftover.target = Some(target);
                self.carry_out(dir, name, judge(&leftover))
            }
            FileKind::Fifo | FileKind::Socket | FileKind::BlockDevice | FileKind::CharDevice => {
                self.carry_out(dir, name, LeftoverVerdict::Unknown)
            }
        }
    }

    fn examine_file(
        &self,
        dir: &Dir,
        mut leftover: Leftover,
        judge: impl FnOnce(&Leftover) -> LeftoverVerdict,
    ) -> Result<LeftoverFate, CommitError> {
        let name = leftover.name.clone();
        let file = dir.open_file(&name).map_err(CommitError::io("open", dir, &name))?;
        // Held until it is gone, so that nobody writes to it after it was read.
        let (lease, file): (Option<ReadLease>, File) = match ReadLease::take(file) {
            Ok(lease) => {
                let file = lease.file().try_clone().map_err(CommitError::io("open", dir, &name))?;
                (Some(lease), file)
            }
            Err(LeaseRefused::Writer(_)) => return Ok(LeftoverFate::InUse),
            Err(LeaseRefused::Unsupported(file, _)) => (None, file),
        };
        let hashed = hash_file(&file).map_err(CommitError::io("read", dir, &name))?;
        if hashed.changed || !hashed.meta.same_inode(&leftover.meta) {
            return Ok(LeftoverFate::InUse);
        }
        leftover.digest = Some(hashed.digest);
        let verdict = judge(&leftover);
        if lease.as_ref().is_some_and(|lease| !lease.is_unbroken()) {
            return Ok(LeftoverFate::InUse);
        }
        let fate = self.carry_out(dir, &name, verdict);
        drop(lease);
        fate
    }

    fn examine_dir(
        &self,
        dir: &Dir,
        leftover: Leftover,
        judge: impl FnOnce(&Leftover) -> LeftoverVerdict,
    ) -> Result<LeftoverFate, CommitError> {
        let name = &leftover.name;
        if is_of(name, PROBE_CLASS) {
            clear_probe(dir, name);
        }
        if change::remove_dir(dir, name).is_ok() {
            return Ok(LeftoverFate::Removed);
        }
        // A directory that holds something is never removed here, whatever is known of it.
        if let LeftoverVerdict::PutBack(original) = judge(&leftover)
            && change::rename_noreplace(dir, name, dir, &original).is_ok()
        {
            return Ok(LeftoverFate::PutBack);
        }
        let of = dir.path_of(name);
        if let Some(place) = self.backups.keep_in_folder(dir, name, name) {
            return Ok(LeftoverFate::Kept(Backup { of, place }));
        }
        let shown = shown_name();
        change::rename_noreplace(dir, name, dir, &shown).map_err(CommitError::io(
            "bring to light",
            dir,
            name,
        ))?;
        Ok(LeftoverFate::Shown(shown))
    }

    fn carry_out(
        &self,
        dir: &Dir,
        name: &Name,
        verdict: LeftoverVerdict,
    ) -> Result<LeftoverFate, CommitError> {
        match verdict {
            LeftoverVerdict::Known => {
                change::unlink(dir, name).map_err(CommitError::io("remove", dir, name))?;
                return Ok(LeftoverFate::Removed);
            }
            LeftoverVerdict::PutBack(original) => {
                if change::rename_noreplace(dir, name, dir, &original).is_ok() {
                    return Ok(LeftoverFate::PutBack);
                }
            }
            LeftoverVerdict::Unknown => {}
        }
        let backup = self.backups.keep(dir, name, name);
        match &backup.place {
            BackupPlace::Tree { path } if *path == backup.of => Err(CommitError::io("keep", dir, name)(
                std::io::Error::other("it could be moved neither to the backups nor to another name"),
            )),
            _ => Ok(LeftoverFate::Kept(backup)),
        }
    }
}

/// Removes what an interrupted probe of the file system left: empty files, and nothing else.
fn clear_probe(dir: &Dir, name: &Name) {
    let Ok(room) = dir.open_child_dir(name) else { return };
    let Ok(listing) = room.list() else { return };
    let names = listing.entries.into_iter().map(|entry| entry.name).chain(listing.reserved);
    for name in names {
        if let Ok(Some(meta)) = room.stat(&name)
            && meta.kind == FileKind::File
            && meta.stamp.size == 0
        {
            // What stays makes the directory stay, and is then treated as any other.
            let _ = change::unlink(&room, &name);
        }
    }
}

fn is_of(name: &Name, class: &str) -> bool {
    let rest = name.as_bytes().strip_prefix(RESERVED_PREFIX);
    rest.and_then(|rest| rest.strip_prefix(class.as_bytes())).is_some_and(|rest| rest.starts_with(b"."))
}

/// A name that is not reserved and not taken.
fn shown_name() -> Name {
    let random = temporary_name("x");
    let tail = &random.as_bytes()[RESERVED_PREFIX.len() + 2..];
    Name::new(&[b"vfsync-recovered.", tail].concat()).expect("it is short")
}
