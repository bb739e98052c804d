//! Directories that got another name with all that is in them, on this host's disk or by a peer: their records get new
//! paths, nothing is hashed, and the links may pass the whole on as one [`Renamed`].

use super::Replica;
use super::apply::dir_stamp;
use crate::archive::{ArchiveError, Durable, RenameIntent, Writer};
use crate::core::entry::{Content, Entry, Record, Stamp};
use crate::core::path::RelPath;
use crate::core::renamed::{Renamed, Subtree};
use crate::core::version::{ReplicaId, Sequence};
use crate::fs::{Dir, Meta};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

/// So many records are held in memory while a subtree gets its new paths.
const AT_ONCE: usize = 4096;
/// So many renames are remembered for the links; of an older one every path is offered by itself.
const REMEMBERED: usize = 1000;
/// Of the names in a directory so many are looked at, to tell a renamed one from a new one with a number that was used before.
const SAMPLE: usize = 64;

/// A rename whose records are in the archive.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub renamed: Renamed,
    /// The peer that it came from.
    pub peer: Option<ReplicaId>,
    /// The sequence numbers of the records at `to`, and of the tombstones at `from`.
    pub stands: Range<u64>,
    pub gone: Range<u64>,
}

/// The renames of late, in the order in which they were recorded. Only a hint, and forgotten with the process.
#[derive(Debug, Default)]
pub(super) struct Renames(Mutex<Vec<Recorded>>);

impl Renames {
    fn all(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.0.lock().expect("no thread panics with this locked")
    }

    pub(super) fn note(&self, recorded: Recorded) {
        let mut all = self.all();
        if all.len() >= REMEMBERED {
            all.remove(0);
        }
        all.push(recorded);
    }
}

/// What a scan found to be under another name.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub from: RelPath,
    pub to: RelPath,
    pub meta: Meta,
}

impl Replica {
    /// Returns the renames whose numbers are above `after` and not above `through`, in their order.
    pub(crate) fn renames_between(&self, after: Sequence, through: Sequence) -> Vec<Recorded> {
        let is_between =
            |r: &&Recorded| r.stands.start > after.0 && r.gone.end <= through.0.saturating_add(1);
        self.renames.all().iter().filter(is_between).cloned().collect()
    }

    /// Notes a rename for the links.
    pub(super) fn note_rename(&self, recorded: Recorded) {
        self.renames.note(recorded);
    }

    /// Returns the name that a path has by now, where it went along with a directory that was renamed of late.
    pub(super) fn name_now(&self, path: &RelPath) -> Result<RelPath, ArchiveError> {
        if self.archive.read()?.get(path)?.is_some_and(|record| record.entry.content.is_live()) {
            return Ok(path.clone());
        }
        let renames = self.renames.all();
        Ok(renames.iter().fold(path.clone(), |at, recorded| recorded.renamed.moved(&at).unwrap_or(at)))
    }

    /// Returns where the archive has a directory that stands at `to` now, if it has it elsewhere and it is not there any more.
    pub(super) fn renamed_from(
        &self,
        snapshot: &crate::archive::Snapshot,
        to: &RelPath,
        opened: &Dir,
        meta: &Meta,
    ) -> Result<Option<RelPath>, ArchiveError> {
        let Some(from) = snapshot.directory(meta.stamp.ino)? else { return Ok(None) };
        if from.starts_with(to) || to.starts_with(&from) {
            return Ok(None);
        }
        let stamp = |record: &Record| record.shown.as_ref().and_then(|shown| shown.stamp);
        let record = snapshot.get(&from)?.filter(|record| record.entry.content.is_dir());
        let Some(was) = record.as_ref().and_then(stamp).filter(|was| was.ino == meta.stamp.ino) else {
            return Ok(None);
        };
        let same_device = match self.same_boot {
            true => was.dev == meta.stamp.dev,
            // Numbers of devices are of one boot: both on the device of the root is what can be told.
            false => {
                let root = self.dir.self_stat().ok().map(|meta| meta.stamp.dev);
                snapshot.device()? == Some(was.dev) && root == Some(meta.stamp.dev)
            }
        };
        if !same_device || self.filter.ignores_at_or_above(&from) || self.stands_at(&from, meta) {
            return Ok(None);
        }
        // An inode number is used again after a directory was deleted: what is in it tells.
        let children = snapshot.children(&from)?;
        let known = children.iter().filter(|(_, record)| record.entry.content.is_live()).take(SAMPLE);
        let (mut all, mut same) = (0, 0);
        for (path, record) in known {
            all += 1;
            let now = path.name().and_then(|name| opened.stat(&name).ok().flatten());
            same += usize::from(now.is_some_and(|now| {
                stamp(record).is_some_and(|was| was.ino == now.stamp.ino)
                    && record.entry.content.kind() == now.kind.synchronised()
            }));
        }
        Ok((all > 0 && same * 2 >= all).then_some(from))
    }

    /// Returns whether this very directory stands at a path; `None` where that cannot be told.
    fn look_for(&self, path: &RelPath, meta: &Meta) -> Option<bool> {
        let (parent, name) = path.split()?;
        match self.dir.open_dir(&parent) {
            Ok(dir) => match dir.stat(&name) {
                Ok(now) => Some(now.is_some_and(|now| now.same_inode(meta))),
                Err(_) => None,
            },
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Some(false),
                _ => None,
            },
        }
    }

    /// Returns whether this very directory stands at a path. Where that cannot be told, it does.
    pub(super) fn stands_at(&self, path: &RelPath, meta: &Meta) -> bool {
        self.look_for(path, meta) != Some(false)
    }

    /// Gives the records of directories that a scan found under another name their new paths, as far as nobody has changed
    /// one since the scan began: `head` is what it knew of the archive. Returns the renames that are recorded, and what is
    /// to be looked at like anything else.
    pub(super) fn take_renames(
        &self,
        found: Vec<Found>,
        head: Sequence,
    ) -> Result<(Vec<Found>, Vec<Found>), ArchiveError> {
        let (mut taken, mut left) = (Vec::new(), found);
        let mut ours = Vec::new();
        left.sort_by(|a, b| a.to.cmp(&b.to));
        // One name may have to be given up before another can be taken.
        loop {
            let (mut not_yet, before) = (Vec::new(), left.len());
            for found in left {
                let is_known =
                    |n: Sequence| n <= head || ours.iter().any(|range: &Range<u64>| range.contains(&n.0));
                match self.take_rename(&found, &is_known)? {
                    Some(stands) => {
                        ours.push(stands);
                        taken.push(found);
                    }
                    None => not_yet.push(found),
                }
            }
            if not_yet.is_empty() || not_yet.len() == before {
                if !taken.is_empty() {
                    // Of many the disk is waited for once.
                    let head = self.archive.read()?.head()?;
                    self.archive.make_durable(head)?;
                    self.announce(head);
                }
                return Ok((taken, not_yet));
            }
            left = not_yet;
        }
    }

    /// Does so for one; returns the numbers of its records, `None` if it is not to be.
    fn take_rename(
        &self,
        found: &Found,
        is_known: &dyn Fn(Sequence) -> bool,
    ) -> Result<Option<Range<u64>>, ArchiveError> {
        let Found { to, meta, .. } = found;
        // Another rename of this look may have taken it along to another path.
        let from = match self.archive.read()?.directory(meta.stamp.ino)? {
            Some(from) if !from.starts_with(to) && !to.starts_with(&from) => from,
            _ => return Ok(None),
        };
        let recorded = self.archive.write(Durable::Later, |w| {
            let Some(over) =
                tombstones(w, to)?.filter(|_| !self.busy.is_busy(&from) && !self.busy.is_busy(to))
            else {
                return Ok(None);
            };
            if !stands_in_a_directory(w, to)? {
                return Ok(None);
            }
            let Some((count, digest)) = survey(w, &from, to, over, is_known)? else { return Ok(None) };
            // The scan saw it at its new name some time ago: it may be back, or further away.
            if self.look_for(to, meta) != Some(true) || self.stands_at(&from, meta) {
                return Ok(None);
            }
            let intent = w.rename_intent(to)?.filter(|intent| {
                let renamed = &intent.renamed;
                renamed.from == from && renamed.digest == digest && renamed.count == count
            });
            w.clear_rename_intent(to)?;
            let (renamed, peer) = match intent {
                // What the last owner was about to do is done: it is the peer's rename.
                Some(RenameIntent { renamed, from: peer }) => (renamed, Some(peer)),
                None => {
                    let by = w.replica();
                    let (first, gone) = (w.peek_sequence(), Sequence(w.peek_sequence().0 + count));
                    (Renamed { from, to: to.clone(), by, first, gone, count, digest }, None)
                }
            };
            self.rekey(w, renamed, over, peer, meta.stamp).map(Some)
        })?;
        let Some(recorded) = recorded else { return Ok(None) };
        tracing::debug!(path = %to, from = %recorded.renamed.from, n = recorded.renamed.count, "renamed");
        let stands = recorded.stands.clone();
        self.note_rename(recorded);
        Ok(Some(stands))
    }

    /// Gives every record at and below `from` its new path, and leaves tombstones. `peer`: who has sent it; `top`: what the
    /// directory itself looks like. The numbers of the records follow one another in the order of a walk.
    pub(super) fn rekey(
        &self,
        w: &mut Writer<'_>,
        renamed: Renamed,
        over: Over,
        peer: Option<ReplicaId>,
        top: Stamp,
    ) -> Result<Recorded, ArchiveError> {
        let count = renamed.count;
        let stands = w.next_sequences(count);
        let gone = w.next_sequences(count);
        let mut n = 0;
        let mut some: Vec<(RelPath, Record)> =
            w.get(&renamed.from)?.map(|record| (renamed.from.clone(), record)).into_iter().collect();
        while let Some((path, _)) = some.last() {
            let last = path.clone();
            some.retain(|(_, record)| record.entry.content.is_live());
            let number = |first: Sequence, at: usize| Sequence(first.0 + n + at as u64);
            let put = |entry: Entry, shown, sequence| Record {
                entry,
                shown,
                sequence,
                from: peer,
                computed: false,
                remainder: false,
            };
            // First all that stand, then all that are gone: each kind lies together in the archive.
            for (at, (path, record)) in some.iter().enumerate() {
                let to = renamed.moved(path).ok_or(ArchiveError::Damaged("a subtree changed"))?;
                if let Content::File { digest, .. } = &record.entry.content {
                    self.note_gone(digest, path);
                }
                let mut shown = record.shown.clone();
                if *path == renamed.from
                    && let Some(stamp) = shown.as_mut().and_then(|shown| shown.stamp.as_mut())
                {
                    *stamp = Stamp { mtime: stamp.mtime, ..dir_stamp(top) };
                }
                let there = over.at(w, &to)?;
                let below = there.as_ref().map(|there| &there.entry);
                let stands_now = renamed.stands(n + at as u64, &record.entry, below);
                w.put_over(&to, &put(stands_now, shown, number(stands, at)), there.as_ref())?;
            }
            for (at, (path, record)) in some.iter().enumerate() {
                let tombstone = renamed.tombstone(n + at as u64, &record.entry);
                w.put_over(path, &put(tombstone, None, number(gone, at)), Some(record))?;
            }
            n += some.len() as u64;
            let after = Some(&last).filter(|last| **last != renamed.from);
            some = w.some_below(&renamed.from, after, AT_ONCE)?;
        }
        if n != count {
            return Err(ArchiveError::Damaged("a subtree is not what was counted"));
        }
        let range = |first: Sequence| first.0..first.0 + count;
        Ok(Recorded { renamed, peer, stands: range(stands), gone: range(gone) })
    }
}

/// What is known at and below a new name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Nothing.
    Nothing,
    /// That something stood there at some time.
    Tombstones,
}

impl Over {
    /// Returns the tombstone at a path.
    fn at(self, w: &Writer<'_>, path: &RelPath) -> Result<Option<Record>, ArchiveError> {
        match self {
            Over::Nothing => Ok(None),
            Over::Tombstones => w.get(path),
        }
    }
}

/// Returns what is known at and below a path; `None` if something stands there.
fn tombstones(w: &Writer<'_>, to: &RelPath) -> Result<Option<Over>, ArchiveError> {
    let top = w.get(to)?;
    let mut over = if top.is_some() { Over::Tombstones } else { Over::Nothing };
    if top.is_some_and(|record| record.entry.content.is_live() || record.remainder) {
        return Ok(None);
    }
    let mut last = None;
    loop {
        let some = w.some_below(to, last.as_ref(), AT_ONCE)?;
        if some.iter().any(|(_, record)| record.entry.content.is_live() || record.remainder) {
            return Ok(None);
        }
        let Some((path, _)) = some.into_iter().next_back() else { return Ok(Some(over)) };
        over = Over::Tombstones;
        last = Some(path);
    }
}

/// Returns whether the archive has the directory that a path is in.
fn stands_in_a_directory(w: &Writer<'_>, path: &RelPath) -> Result<bool, ArchiveError> {
    match path.parent() {
        None => Ok(false),
        Some(parent) if parent.is_root() => Ok(true),
        Some(parent) => Ok(w.get(&parent)?.is_some_and(|record| record.entry.content.is_dir())),
    }
}

/// Counts what stands at and below a directory. Returns the number and the digest; `None` if there is something that cannot
/// have the new path, or that is not as it was known.
fn survey(
    w: &Writer<'_>,
    from: &RelPath,
    to: &RelPath,
    over: Over,
    is_known: &dyn Fn(Sequence) -> bool,
) -> Result<Option<(u64, [u8; 32])>, ArchiveError> {
    let mut subtree = Subtree::new(from);
    let mut last: Option<RelPath> = None;
    let top = w.get(from)?.filter(|record| record.entry.content.is_dir());
    let mut some: Vec<_> = top.map(|record| (from.clone(), record)).into_iter().collect();
    while !some.is_empty() {
        for (path, record) in some {
            last = Some(path.clone());
            if record.remainder {
                // What is left out there has moved along, and nobody would know it under its new name.
                return Ok(None);
            }
            if !record.entry.content.is_live() {
                continue;
            }
            let moved = path.rebase(from, to).filter(|_| record.shown.is_some() && is_known(record.sequence));
            let Some(moved) = moved else { return Ok(None) };
            let there = over.at(w, &moved)?;
            subtree.add(&path, &record.entry, there.as_ref().map(|there| &there.entry));
        }
        some = w.some_below(from, last.as_ref().filter(|last| *last != from), AT_ONCE)?;
    }
    let (count, digest) = subtree.finish();
    Ok((count > 0).then_some((count, digest)))
}
