//! Removing a directory with all that is below it, after a last look at what it really holds.

use super::steps::{Doer, Removal, Step};
use super::{Fate, Incoming, Trouble, Work, trouble};
use crate::archive::OpenReason;
use crate::core::entry::{Content, Entry, Record};
use crate::core::path::RelPath;
use crate::fs::{FileKind, Meta, is_reserved};
use crate::replica::commit::CommitError;
use crate::wire::{Action, Verdict};
use std::collections::{BTreeMap, BTreeSet};

impl Doer<'_> {
    /// Removes a directory as a whole; where something in it is not what the archive says, nothing of it.
    pub(super) fn remove_whole(&mut self, work: &mut Work, removal: Removal) {
        let Removal { incoming, local, gone, entry, becomes } = removal;
        let path = incoming.path().clone();
        let known: BTreeMap<&RelPath, &Record> = gone.iter().map(|(i, r, _)| (i.path(), r)).collect();
        let keeps = match self.look_inside(&path, &known) {
            Ok(keeps) => keeps,
            Err((suspect, why)) => {
                let members = gone.into_iter().map(|(member, _, _)| member);
                return self.all_stale(work, incoming, members.collect(), &suspect, &why);
            }
        };
        let mut stopped: Option<CommitError> = None;
        let mut left = Vec::new();
        for (member, record, tombstone) in gone.into_iter().rev() {
            if stopped.is_some() {
                left.push(member);
                continue;
            }
            let remainder = keeps.contains(member.path());
            match self.take_away(member.path(), &record, remainder) {
                Ok(()) => {
                    let at = member.path().clone();
                    work.put(&at, self.tombstone(tombstone, member.entry(), remainder));
                    work.answer(&member, Some(&record.entry), Verdict::Took(Action::Delete));
                }
                Err(error) => {
                    stopped = Some(error);
                    left.push(member);
                }
            }
        }
        let here = local.as_ref().map(|r| r.entry.clone());
        let remainder = keeps.contains(&path);
        if stopped.is_none()
            && let Some(record) = &local
            && let Err(error) = self.take_away(&path, record, remainder)
        {
            stopped = Some(error);
        }
        if let Some(error) = stopped {
            return match trouble(&error) {
                Trouble::Stale(why) => self.all_stale(work, incoming, left, &path, &why),
                Trouble::Failed(why) => {
                    work.answer(&incoming, here.as_ref(), Verdict::Failed(why));
                    left.iter().for_each(|member| work.answer(member, None, Verdict::Waits));
                }
            };
        }
        self.gone(work, incoming, here, entry, becomes, remainder);
    }

    /// The directory is gone: it gets a tombstone, or something else in its place.
    fn gone(
        &mut self,
        work: &mut Work,
        incoming: Incoming,
        here: Option<Entry>,
        entry: Entry,
        becomes: Option<crate::core::reconcile::Change>,
        remainder: bool,
    ) {
        let path = incoming.path().clone();
        let kept = || "it holds ignored files: they were kept, and the directory with them".to_owned();
        match becomes {
            None => {
                let verdict = match remainder {
                    true => Verdict::TookPartly(Action::Delete, kept()),
                    false => Verdict::Took(Action::Delete),
                };
                work.put(&path, self.tombstone(entry, incoming.entry(), remainder));
                work.answer(&incoming, here.as_ref(), verdict);
            }
            Some(_) if remainder => {
                work.answer(&incoming, here.as_ref(), Verdict::Failed(kept()));
            }
            Some(change) => {
                let has_content = incoming.offer.content.is_some() || incoming.staged.is_some();
                if matches!(entry.content, Content::File { .. }) && !has_content {
                    // Nothing stands here any more; what comes in its place comes when its content has come.
                    work.decided.insert(path.clone(), None);
                    work.fates.insert(path.clone(), Fate::Forget);
                    work.open(&path, OpenReason::Pending, false);
                    work.applied.wanted.push(incoming);
                } else {
                    let action = Action::Update;
                    let sources = Vec::new();
                    work.steps.push(Step { incoming, local: None, entry, change, action, sources });
                }
            }
        }
    }

    fn all_stale(
        &self,
        work: &mut Work,
        incoming: Incoming,
        members: Vec<Incoming>,
        suspect: &RelPath,
        why: &str,
    ) {
        let mut all = vec![incoming];
        all.extend(members);
        all.sort_by(|a, b| a.path().cmp(b.path()));
        for one in all {
            work.decided.remove(one.path());
            work.open(one.path(), OpenReason::Pending, false);
            work.applied.stale.push(one.stale(vec![suspect.clone()], why.to_owned()));
        }
    }

    /// Looks at everything in the directory: each name must be known and unchanged, or ignored. Returns the directories
    /// that hold something ignored, and so have to stay; or what is otherwise than the archive says.
    fn look_inside(
        &self,
        top: &RelPath,
        known: &BTreeMap<&RelPath, &Record>,
    ) -> Result<BTreeSet<RelPath>, (RelPath, String)> {
        let mut keeps = BTreeSet::new();
        let mut todo = vec![top.clone()];
        while let Some(path) = todo.pop() {
            let unreadable = |e: std::io::Error| (path.clone(), format!("cannot look into {path}: {e}"));
            let dir = self.applier.replica.dir.open_dir(&path).map_err(unreadable)?;
            let mut listing = dir.list().map_err(unreadable)?;
            listing.reserved = self.applier.replica.without_partials(&dir, listing.reserved);
            let mut stays = !listing.unusable.is_empty();
            for listed in std::mem::take(&mut listing.entries) {
                let Ok(child) = path.join(&listed.name) else {
                    stays = true;
                    continue;
                };
                let Some(meta) = dir.stat(&listed.name).map_err(unreadable)? else { continue };
                let Some(record) = known.get(&child) else {
                    if self.is_ignored(&child, &meta) {
                        stays = true;
                        continue;
                    }
                    let why = format!("{child} appeared in it");
                    return Err((child, why));
                };
                if !is_as_known(record, &meta) {
                    let why = format!("{child} changed");
                    return Err((child, why));
                }
                if meta.kind == FileKind::Dir {
                    todo.push(child);
                }
            }
            debug_assert!(listing.reserved.iter().all(|name| is_reserved(name.as_bytes())));
            if stays || !listing.reserved.is_empty() {
                let mut at = Some(path);
                while let Some(dir) = at.filter(|dir| dir.starts_with(top)) {
                    keeps.insert(dir.clone());
                    at = dir.parent();
                }
            }
        }
        Ok(keeps)
    }

    fn is_ignored(&self, path: &RelPath, meta: &Meta) -> bool {
        let options = &self.applier.replica.options;
        let is_left_out_link =
            meta.kind == FileKind::Symlink && options.links == crate::options::SymbolicLinks::LeaveOut;
        is_left_out_link
            || meta.kind.synchronised().is_none()
            || self.applier.replica.filter.ignores(path)
            || self.applier.filter.ignores(path)
    }

    /// Takes one path away, if it is what the archive says. A remainder stays.
    fn take_away(&mut self, path: &RelPath, record: &Record, remainder: bool) -> Result<(), CommitError> {
        let fail = |why: String| CommitError::Io {
            op: "remove",
            path: path.clone(),
            source: std::io::Error::other(why),
        };
        if remainder {
            return Ok(());
        }
        let (dir, name) = self.dir_of(path).map_err(fail)?;
        self.keep_version(&dir, &name, path).map_err(fail)?;
        let committer = &self.applier.replica.committer;
        match (record.entry.content.is_dir(), Self::expected(record)) {
            (true, _) => {
                let ino = record.shown.as_ref().and_then(|s| s.stamp).map_or(0, |s| s.ino);
                self.forget_dir(path);
                committer.remove_dir(&dir, &name, ino)
            }
            (false, Some(expected)) => {
                committer.remove(&dir, &name, &expected, crate::replica::commit::Writers::Wait).map(|_| ())
            }
            (false, None) => Err(fail("nothing is known of it".to_owned())),
        }
    }
}

/// Returns whether what stands there is what the archive knows.
pub(super) fn is_as_known(record: &Record, meta: &Meta) -> bool {
    if record.entry.content.kind() != meta.kind.synchronised() {
        return false;
    }
    match (meta.kind, record.shown.as_ref().and_then(|s| s.stamp)) {
        (FileKind::Dir, Some(stamp)) => stamp.ino == meta.stamp.ino,
        (FileKind::File, Some(stamp)) => {
            crate::core::entry::Stamp { dev: meta.stamp.dev, ..stamp } == meta.stamp
        }
        // Without a stamp to go by the removal itself compares the content.
        (FileKind::File | FileKind::Symlink, _) => true,
        _ => false,
    }
}
