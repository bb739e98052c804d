//! A directory that the peer has under another name: renamed here as well, in one step, if it is here just what it was
//! there and holds nothing else. If not, nothing is done, and the peer offers every path by itself.
//!
//! Crash invariant: the rename is noted durably before it is made. A scan that finds the directory under its new name, and
//! the note, takes it for the peer's rename; one that finds it under the old name has nothing to do.

#[cfg(test)]
mod tests;

use super::removal::is_as_known;
use super::steps::Doer;
use super::{Applier, Work, words};
use crate::archive::{ArchiveError, Open, OpenReason, RenameIntent, Snapshot};
use crate::core::entry::{Content, Entry, Record};
use crate::core::path::RelPath;
use crate::core::reconcile::{Above, Decision};
use crate::core::renamed::{Renamed, Subtree};
use crate::fs::{Meta, hash_file};
use crate::link::open_set::OpenSet;
use crate::options::Fsync;
use crate::replica::commit::Expected;
use crate::replica::scan::pool;
use rayon::prelude::*;
use std::sync::RwLock;

/// Why it is not done; `Err` of the outer result is a failure of the archive.
type Judged<T> = Result<Result<T, String>, ArchiveError>;

/// Tombstones are looked at as well: so many for each path that is renamed, and so many in any case. Of a directory with more
/// of them each path is offered by itself.
const TOMBSTONES: u64 = 4;
const FEW: u64 = 4096;
/// With so many paths open nothing more is noted as open for a rename: whatever a peer sends, the archive does not grow by it.
const MOST_OPEN: usize = 100_000;

/// What is waited for because a rename was not done.
#[derive(Debug)]
pub struct Awaited {
    /// To be asked for.
    pub again: Vec<(RelPath, bool)>,
    /// If not, only the position at the peer brings it after a break: none may be stored that is above it.
    pub all_noted: bool,
}

/// Goes on, or returns why not.
macro_rules! or_return {
    ($judged:expr) => {
        match $judged {
            Ok(value) => value,
            Err(why) => return Ok(Err(why)),
        }
    };
}

impl Applier {
    /// Renames a directory as the peer has. Returns why it is not done, where it is not.
    ///
    /// # Errors
    /// When the archive fails. What is in the tree then is found again by a scan.
    pub fn rename(&self, open: &RwLock<OpenSet>, renamed: &Renamed) -> Judged<()> {
        let Renamed { from, to, .. } = renamed;
        if renamed.by == self.replica.id() || !renamed.is_sane() {
            return Ok(Err("it says what this replica has done".to_owned()));
        }
        if !self.copy_local || !self.paths.is_empty() || self.leaves_out(from) || self.leaves_out(to) {
            return Ok(Err("the link leaves it out".to_owned()));
        }
        if self.is_open(open, from) || self.is_open(open, to) {
            return Ok(Err("something there waits".to_owned()));
        }
        let replica = self.replica.clone();
        let held = replica.busy.hold_trees(vec![from.clone(), to.clone()]);
        let snapshot = replica.archive.read()?;
        let dirs = or_return!(self.is_known(&snapshot, renamed)?);
        or_return!(self.is_there(&snapshot, from, dirs)?);
        let mut tried = false;
        let done = self.carry_out(&snapshot, renamed, &mut tried);
        drop(held);
        if tried {
            // What somebody wrote in the moment before was hinted at under the old name. If it failed, also in the archive,
            // only a look tells under which name it stands now: hints of the rename itself are taken for this end's own.
            replica.suspect_tree(from);
            replica.suspect_tree(to);
        }
        done
    }

    /// Notes that the paths of a rename that was not done are waited for. Nothing here need know of them: the peer may have
    /// renamed what it never offered.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn await_each(&mut self, open: &RwLock<OpenSet>, renamed: &Renamed) -> Result<Awaited, ArchiveError> {
        let names = [&renamed.to, &renamed.from].into_iter().filter(|path| !self.leaves_out(path));
        let paths: Vec<&RelPath> = names.collect();
        let open = &mut open.write().expect("no thread panics with this locked");
        let again = paths.iter().map(|&path| (path.clone(), true)).collect();
        if open.count() >= MOST_OPEN {
            return Ok(Awaited { again, all_noted: false });
        }
        paths.iter().for_each(|path| self.subtrees.note(path));
        self.replica.archive.write(crate::archive::Durable::Later, |w| {
            paths.iter().try_for_each(|path| {
                let waits = Open { reason: OpenReason::Pending, recursive: true };
                open.insert(w, self.peer, path, waits)
            })
        })?;
        Ok(Awaited { again, all_noted: true })
    }

    fn is_open(&self, open: &RwLock<OpenSet>, path: &RelPath) -> bool {
        let open = open.read().expect("no thread panics with this locked");
        open.get(path).is_some() || !open.touched_by(path).is_empty()
    }

    /// Compares the archive with what the peer says was there. Returns the directories, the topmost first.
    fn is_known(&self, snapshot: &Snapshot, renamed: &Renamed) -> Judged<Vec<RelPath>> {
        let Renamed { from, to, .. } = renamed;
        let is_dir = |path: &RelPath| -> Result<bool, ArchiveError> {
            Ok(path.is_root() || snapshot.get(path)?.is_some_and(|r| r.entry.content.is_dir()))
        };
        let Some(parent) = to.parent() else { return Ok(Err("the root stays as it is".to_owned())) };
        if !is_dir(&parent)? || !is_dir(from)? {
            return Ok(Err("it is not here, or its new place is not".to_owned()));
        }
        // The peer says how much there is: looking at it costs no more than that, whatever is here.
        let most = renamed.count.saturating_mul(TOMBSTONES).max(FEW);
        let top = snapshot.get(to)?;
        let mut over = top.is_some();
        let mut stands = top.is_some_and(|r| r.entry.content.is_live() || r.remainder);
        let mut stood = 0;
        for row in snapshot.below(to)? {
            if stands {
                break;
            }
            over = true;
            stood += 1;
            let record = row?.1;
            stands = record.entry.content.is_live() || record.remainder;
            if stood > most {
                return Ok(Err("too much stood at its new place at some time".to_owned()));
            }
        }
        if stands {
            return Ok(Err("something stands at its new place".to_owned()));
        }
        let mut looked = 0;
        let mut subtree = Subtree::new(from);
        let mut dirs = Vec::new();
        let mut n = 0;
        let top = snapshot.get(from)?.map(|record| Ok((from.clone(), record)));
        for row in top.into_iter().chain(snapshot.below(from)?) {
            let (path, record) = row?;
            looked += 1;
            if n >= renamed.count && record.entry.content.is_live() {
                return Ok(Err("more is here than was there".to_owned()));
            }
            if looked > most {
                return Ok(Err("too much was there at some time".to_owned()));
            }
            if record.remainder {
                return Ok(Err(format!("{path} holds what is left out")));
            }
            if !record.entry.content.is_live() {
                continue;
            }
            let Some(moved) = renamed.moved(&path) else { return Ok(Err("a name gets too long".to_owned())) };
            let there = if over { snapshot.get(&moved)?.map(|record| record.entry) } else { None };
            subtree.add(&path, &record.entry, there.as_ref());
            or_return!(self.is_taken(renamed, n, (&path, &record.entry), (&moved, there.as_ref())));
            n += 1;
            if record.entry.content.is_dir() {
                dirs.push(path);
            }
        }
        match subtree.finish() == (renamed.count, renamed.digest) {
            true => Ok(Ok(dirs)),
            false => Ok(Err("what is here is not what was there".to_owned())),
        }
    }

    /// Returns whether both the new path and the tombstone would be taken if they were offered by themselves.
    fn is_taken(
        &self,
        renamed: &Renamed,
        n: u64,
        (path, here): (&RelPath, &Entry),
        (moved, there): (&RelPath, Option<&Entry>),
    ) -> Result<(), String> {
        if self.leaves_out(path) || self.leaves_out(moved) {
            return Err(format!("the link leaves out {path}"));
        }
        let stands = self.judge(moved, there, &renamed.stands(n, here, there), Above::Live);
        let gone = self.judge(path, Some(here), &renamed.tombstone(n, here), Above::Live);
        match (stands, gone) {
            (Decision::Take(..), Decision::Take(entry, _)) if !entry.content.is_live() => Ok(()),
            _ => Err(format!("{path} is not to be renamed")),
        }
    }

    /// Compares the disk with the archive, one directory after the other.
    fn is_there(&self, snapshot: &Snapshot, from: &RelPath, dirs: Vec<RelPath>) -> Judged<()> {
        let Some((parent, name)) = from.split() else { return Ok(Err("the root stays as it is".to_owned())) };
        let top = self.replica.dir.open_dir(&parent).and_then(|dir| dir.stat(&name));
        let known = snapshot.get(from)?;
        if !matches!((top, known), (Ok(Some(meta)), Some(record)) if is_as_known(&record, &meta)) {
            return Ok(Err(format!("{from} is not what the archive says")));
        }
        let look =
            || dirs.into_par_iter().map(|dir| self.holds_what_is_known(snapshot, &dir)).collect::<Vec<_>>();
        for looked in pool(self.replica.options.max_threads).install(look) {
            or_return!(looked?);
        }
        Ok(Ok(()))
    }

    /// Returns whether a directory holds on the disk just what the archive says.
    fn holds_what_is_known(&self, snapshot: &Snapshot, path: &RelPath) -> Judged<()> {
        let failed = |e: std::io::Error| format!("cannot look into {path}: {e}");
        let dir = or_return!(self.replica.dir.open_dir(path).map_err(failed));
        let listing = or_return!(dir.list().map_err(failed));
        if !listing.unusable.is_empty() || !listing.reserved.is_empty() {
            return Ok(Err(format!("{path} holds names of another kind")));
        }
        let children = snapshot.children(path)?;
        let mut known = children.iter().filter(|(_, record)| record.entry.content.is_live());
        for listed in listing.entries {
            let same = known.next().filter(|(child, _)| child.name().as_ref() == Some(&listed.name));
            let Some((child, record)) = same else {
                return Ok(Err(format!("{path} holds something that was not known")));
            };
            let meta = or_return!(dir.stat(&listed.name).map_err(failed));
            let has_stamp = record.shown.as_ref().is_some_and(|shown| shown.stamp.is_some());
            let is_known = meta.is_some_and(|meta: Meta| is_as_known(record, &meta));
            let is_same = is_known
                && match &record.entry.content {
                    Content::File { digest, .. } if !has_stamp => {
                        let hashed = dir.open_file(&listed.name).and_then(|file| hash_file(&file));
                        hashed.is_ok_and(|hashed| !hashed.changed && hashed.digest == *digest)
                    }
                    Content::Symlink { target } => {
                        dir.read_link(&listed.name).is_ok_and(|read| read == *target)
                    }
                    Content::File { .. } | Content::Dir | Content::Deleted => true,
                };
            if !is_same {
                return Ok(Err(format!("{child} changed")));
            }
        }
        match known.next() {
            None => Ok(Ok(())),
            Some((child, _)) => Ok(Err(format!("{child} is gone"))),
        }
    }

    /// Notes it, renames, waits for the disk, and writes the records. `tried`: from here on the tree may have changed.
    fn carry_out(&self, snapshot: &Snapshot, renamed: &Renamed, tried: &mut bool) -> Judged<()> {
        let Renamed { from, to, .. } = renamed;
        let mut doer = Doer::new(self, snapshot);
        let (old, name) = or_return!(doer.dir_of(from));
        let (new, new_name) = or_return!(doer.dir_of(to));
        let known: Option<Record> = snapshot.get(from)?;
        let Some(expected) =
            known.as_ref().and_then(Doer::expected).filter(|e| matches!(e, Expected::Dir { .. }))
        else {
            return Ok(Err("nothing is known of it".to_owned()));
        };
        let intent = RenameIntent { renamed: renamed.clone(), from: self.peer };
        self.replica.archive.write(self.durable(), |w| w.set_rename_intent(&intent))?;
        *tried = true;
        let published = self.replica.committer.rename(&old, &name, &new, &new_name, &expected);
        let published = match published {
            Ok(published) => published,
            Err(error) => {
                let later = crate::archive::Durable::Later;
                self.replica.archive.write(later, |w| w.clear_rename_intent(to))?;
                return Ok(Err(words(&error)));
            }
        };
        let mut work = Work::default();
        doer.settle_dirs(&mut work)?;
        if self.replica.options.fsync != Fsync::None
            && let Err(error) = new.sync().and_then(|()| old.sync())
        {
            tracing::warn!(%error, "cannot sync the directories");
        }
        let over = match snapshot.get(to)?.is_none() && snapshot.below(to)?.next().is_none() {
            true => crate::replica::renames::Over::Nothing,
            false => crate::replica::renames::Over::Tombstones,
        };
        let recorded = self.replica.archive.write(self.durable(), |w| {
            let top = published.meta.stamp;
            let recorded = self.replica.rekey(w, renamed.clone(), over, Some(self.peer), top)?;
            w.clear_rename_intent(to)?;
            for (path, record) in &work.refreshed {
                if w.get(path)?.is_some_and(|now| now.sequence == record.sequence) {
                    w.put(path, record)?;
                }
            }
            Ok(recorded)
        })?;
        self.replica.note_rename(recorded);
        let head = self.replica.archive.read()?.head()?;
        self.replica.announce(head);
        Ok(Ok(()))
    }
}
