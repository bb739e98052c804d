//! Doing what was decided: steps in an order that loses nothing, whatever the moment at which it stops.

use super::moved::Move;
use super::{Applier, Fate, Incoming, Trouble, Work, trouble, words};
use crate::archive::{ArchiveError, Intent, OpenReason, Snapshot};
use crate::core::entry::{AttributeMask, Content, Entry, Kind, Record, Shown, Stamp, Timestamp};
use crate::core::path::{Name, RelPath};
use crate::core::reconcile::Change;
use crate::core::version::Sequence;
use crate::fs::Dir;
use crate::options::Fsync;
use crate::replica::commit::{
    CommitError, Displaced, Expected, Published, Refused, SetId, Staged, Wanted, WantedExtended,
};
use crate::replica::scan::pool;
use crate::replica::{Replica, Stage};
use crate::wire::{Action, Verdict};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Up to so many files or directories are synced one by one; beyond that the whole file system is.
const ONE_BY_ONE: usize = 8;
/// How long somebody may go on writing to a file that was replaced in the moment in which it was opened.
const LATE_WRITER: Duration = Duration::from_millis(200);
/// So many directories are kept open.
const OPEN_DIRS: usize = 256;

/// One path that gets another state.
pub(super) struct Step {
    pub incoming: Incoming,
    pub local: Option<Record>,
    pub entry: Entry,
    pub change: Change,
    pub action: Action,
    /// Where the archive has a file with the content that did not come along.
    pub sources: Vec<RelPath>,
}

/// A directory that goes with all that is below it.
pub(super) struct Removal {
    pub incoming: Incoming,
    pub local: Option<Record>,
    /// What goes with it, in the order of a walk: the offer, what stood, and the tombstone.
    pub gone: Vec<(Incoming, Record, Entry)>,
    pub entry: Entry,
    /// What comes in its place, if anything does.
    pub becomes: Option<Change>,
}

/// A file or symlink that is prepared and waits to be published.
struct Ready {
    step: Step,
    dir: Dir,
    staged: Staged,
    refused: Refused,
}

/// The steps of a chunk beside its directories, by what is done.
#[derive(Default)]
pub(super) struct Sorted {
    pub files: Vec<Step>,
    metadata: Vec<Step>,
    pub deletions: Vec<Step>,
}

/// Where the time of a chunk goes, for the debug log.
struct Stages {
    last: Instant,
    took: Vec<(Stage, Duration)>,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages { last: Instant::now(), took: Vec::new() }
    }
}

impl Stages {
    /// Says what the time since the last mark went into.
    fn mark(&mut self, stage: Stage) {
        let now = Instant::now();
        self.took.push((stage, now - self.last));
        self.last = now;
    }
}

impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.took
            .iter()
            .try_for_each(|(stage, took)| write!(f, "{stage} {:.1} ms, ", took.as_secs_f64() * 1e3))
    }
}

/// Does the steps of one chunk.
pub(super) struct Doer<'a> {
    pub(super) applier: &'a Applier,
    pub(super) snapshot: &'a Snapshot,
    /// Directories that are open.
    dirs: BTreeMap<RelPath, Dir>,
    /// Directories in which names change, with the mtime that they had before.
    touched: BTreeMap<RelPath, Timestamp>,
    /// Files that were taken away and may still turn out to be written to.
    displaced: Vec<Displaced>,
}

impl<'a> Doer<'a> {
    pub fn new(applier: &'a Applier, snapshot: &'a Snapshot) -> Doer<'a> {
        Doer { applier, snapshot, dirs: BTreeMap::new(), touched: BTreeMap::new(), displaced: Vec::new() }
    }

    pub(super) fn replica(&self) -> &'a Replica {
        &self.applier.replica
    }

    /// Does all of it; the results are in `work`.
    pub fn run(&mut self, work: &mut Work) -> Result<(), ArchiveError> {
        let mut stages = Stages::default();
        let mut sorted = Sorted::default();
        self.sort(work, &mut sorted);
        stages.mark(Stage::Directories);
        let moves = self.moves(&mut sorted);
        // Before anything goes: it may be what is copied.
        sorted.files = self.copy(work, sorted.files);
        stages.mark(Stage::Copy);
        for removal in std::mem::take(&mut work.removals) {
            self.remove_whole(work, removal);
        }
        // What comes in place of a directory that went.
        self.sort(work, &mut sorted);
        stages.mark(Stage::Removals);
        let Sorted { files, metadata, deletions } = sorted;
        let ready = self.prepare(work, files);
        stages.mark(Stage::Prepare);
        let ready = self.make_durable(work, ready, &moves)?;
        stages.mark(Stage::Contents);
        self.publish(work, ready);
        self.publish_moves(work, moves);
        for step in metadata {
            self.set_metadata(work, step);
        }
        for step in deletions.into_iter().rev() {
            self.delete(work, step);
        }
        stages.mark(Stage::Publish);
        self.settle_dirs(work)?;
        stages.mark(Stage::Settle);
        self.sync_names();
        stages.mark(Stage::Names);
        tracing::debug!(%stages, "a chunk is in the tree");
        stages.took.iter().for_each(|(stage, took)| self.replica().times.add(*stage, *took));
        for displaced in std::mem::take(&mut self.displaced) {
            match self.replica().committer.settle(displaced, LATE_WRITER) {
                Ok(None) => {}
                Ok(Some(backup)) => {
                    tracing::warn!(
                        ?backup,
                        "somebody wrote to a file while it was replaced: what was written is kept"
                    );
                }
                Err(error) => tracing::warn!(why = words(&error), "a file that was replaced"),
            }
        }
        Ok(())
    }

    /// Makes the directories, and tells the other steps apart.
    fn sort(&mut self, work: &mut Work, into: &mut Sorted) {
        for step in std::mem::take(&mut work.steps) {
            match &step.entry.content {
                Content::Deleted => into.deletions.push(step),
                _ if !step.change.content => into.metadata.push(step),
                Content::Dir => self.make_dir(work, step),
                Content::File { .. } | Content::Symlink { .. } => into.files.push(step),
            }
        }
    }

    /// Opens the directory of a path in which a name is about to change.
    pub(super) fn dir_of(&mut self, path: &RelPath) -> Result<(Dir, Name), String> {
        let Some((parent, name)) = path.split() else { return Err("the root stays as it is".to_owned()) };
        if let Some(dir) = self.dirs.get(&parent) {
            return Ok((dir.clone(), name));
        }
        if self.dirs.len() >= OPEN_DIRS {
            self.dirs.clear();
        }
        let dir =
            self.replica().dir.open_dir(&parent).map_err(|e| format!("cannot open its directory: {e}"))?;
        if let Ok(meta) = dir.self_stat() {
            self.touched.entry(parent.clone()).or_insert(meta.stamp.mtime);
        }
        self.dirs.insert(parent, dir.clone());
        Ok((dir, name))
    }

    /// Closes a directory that is about to be removed.
    pub(super) fn forget_dir(&mut self, path: &RelPath) {
        self.dirs.remove(path);
        self.touched.remove(path);
    }

    /// Returns what the archive says that stands at a path, for the comparison with the disk.
    pub(super) fn expected(record: &Record) -> Option<Expected> {
        let stamp = record.shown.as_ref().and_then(|s| s.stamp);
        Some(match (&record.entry.content, stamp) {
            (Content::Deleted, _) => return None,
            (Content::Dir, Some(stamp)) => Expected::Dir { ino: stamp.ino },
            (Content::Dir, None) => return None,
            (Content::File { .. }, Some(stamp)) => Expected::State(Kind::File, stamp),
            (Content::File { size, digest }, None) => Expected::Content { size: *size, digest: *digest },
            (Content::Symlink { target }, _) => Expected::Target(target.clone()),
        })
    }

    /// Returns the attributes that a path shall get. What is not synchronised stays as it is, or for something new as
    /// the system makes it.
    pub(super) fn wanted(&self, step: &Step) -> Wanted {
        let policy = &self.applier.policy;
        let mask = step.entry.vouched.and(policy.mask);
        let intended = &step.entry.attributes;
        let same_kind = |r: &&Record| r.entry.content.kind() == step.entry.content.kind();
        let old = step.local.as_ref().filter(same_kind).and_then(|r| r.shown.as_ref()).map(|s| s.attributes);
        let mode = match (old, mask.mode) {
            (Some(old), mask) => Some((old.mode & !mask) | (intended.mode & mask)),
            (None, 0) => None,
            (None, mask) => {
                let is_dir = step.entry.content.is_dir();
                let default = self.replica().committer.default_mode(is_dir);
                Some((default & !mask) | (intended.mode & mask))
            }
        };
        let is_link = matches!(step.entry.content, Content::Symlink { .. });
        let has_time = policy.times && matches!(step.entry.content, Content::File { .. });
        let here = old.filter(|_| !step.change.content).map_or(0, |old| old.mode & 0o6000);
        Wanted {
            mode: mode.filter(|_| !is_link),
            uid: if mask.owner { Some(intended.uid) } else { old.map(|o| o.uid) },
            gid: if mask.group { Some(intended.gid) } else { old.map(|o| o.gid) },
            mtime: has_time.then_some(step.entry.mtime),
            extended: (mask.xattrs || mask.acl)
                .then(|| WantedExtended { value: step.entry.extended.clone(), mask }),
            set_id: SetId { with_owner: mask.owner, with_group: mask.group, here },
        }
    }

    fn make_dir(&mut self, work: &mut Work, step: Step) {
        let (dir, name) = match self.dir_of(step.incoming.path()) {
            Ok(opened) => opened,
            Err(why) => return self.stale(work, step.incoming, why),
        };
        let wanted = self.wanted(&step);
        let committer = &self.replica().committer;
        let made = match step.local.as_ref().and_then(Self::expected) {
            None => {
                committer.make_dir(&dir, &name, &wanted).map(|(_, published, refused)| (published, refused))
            }
            Some(expected) => committer.stage_dir(&dir, &name).and_then(|mut staged| {
                let refused = staged.set(&wanted)?;
                let published = committer.replace(staged, &expected, self.applier.writers())?;
                Ok((published, refused))
            }),
        };
        match made {
            Ok((published, refused)) => self.done(work, step, &published, refused),
            Err(error) => self.failed(work, step.incoming, step.local, &error),
        }
    }

    /// Prepares files and symlinks out of sight.
    fn prepare(&mut self, work: &mut Work, steps: Vec<Step>) -> Vec<Ready> {
        let mut placed = Vec::with_capacity(steps.len());
        for step in steps {
            match self.dir_of(step.incoming.path()) {
                Ok((dir, name)) => placed.push((step, dir, name)),
                Err(why) => self.stale(work, step.incoming, why),
            }
        }
        let doer = &*self;
        let prepared = doer.each(placed, |(step, dir, name)| doer.prepare_one(step, dir, &name));
        let mut all = Vec::with_capacity(prepared.len());
        for result in prepared {
            match result {
                Ok(ready) => all.push(ready),
                Err(failed) => {
                    let (step, error) = *failed;
                    self.failed(work, step.incoming, step.local, &error);
                }
            }
        }
        all
    }

    fn prepare_one(&self, mut step: Step, dir: Dir, name: &Name) -> Result<Ready, Box<(Step, CommitError)>> {
        let wanted = self.wanted(&step);
        let committer = &self.replica().committer;
        let staged = match (&step.entry.content, step.incoming.staged.take()) {
            // Its directory was opened when the content began to come, and may be another one by now, even outside of the
            // root: what is put there would be missed here, and deleted at the peer.
            (_, Some(staged)) if staged.is_in(&dir) => Ok(staged),
            (_, Some(_)) => Err(CommitError::Stale {
                path: step.incoming.path().clone(),
                found: None,
                backups: Vec::new(),
            }),
            (Content::Symlink { target }, None) => committer.stage_symlink(&dir, name, target),
            (_, None) => self.write_inline(&dir, name, &step),
        };
        let prepared = staged.and_then(|mut staged| {
            let refused = staged.set(&wanted)?;
            Ok((staged, refused))
        });
        match prepared {
            Ok((staged, refused)) => Ok(Ready { step, dir, staged, refused }),
            Err(error) => Err(Box::new((step, error))),
        }
    }

    /// Does the work for each item, on several processors if there are many, and returns the results in order.
    pub(super) fn each<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        work: impl Fn(T) -> R + Sync + Send,
    ) -> Vec<R> {
        if items.len() <= ONE_BY_ONE {
            return items.into_iter().map(work).collect();
        }
        pool(self.replica().options.max_threads).install(|| items.into_par_iter().map(work).collect())
    }

    fn write_inline(&self, dir: &Dir, name: &Name, step: &Step) -> Result<Staged, CommitError> {
        let content = step.incoming.offer.content.clone().unwrap_or_default();
        let Content::File { size, digest } = &step.entry.content else {
            unreachable!("only files have content, and symlinks are prepared elsewhere")
        };
        let is_it = content.len() as u64 == *size && blake3::hash(&content).as_bytes() == &digest.0;
        if !is_it {
            return Err(CommitError::Io {
                op: "take over the content of",
                path: step.incoming.path().clone(),
                source: std::io::Error::other("it is not what the peer said"),
            });
        }
        let mut staged = self.replica().committer.stage_file(dir, name)?;
        staged.write_all(&content)?;
        Ok(staged)
    }

    /// Waits until the bytes of what is prepared, and the note that it is about to be published, are on the disk: at the same
    /// time, as either takes as long as the disk does. An intent of something that is not published after all does no harm.
    fn make_durable(
        &self,
        work: &mut Work,
        ready: Vec<Ready>,
        moves: &[Move],
    ) -> Result<Vec<Ready>, ArchiveError> {
        let fsync = self.replica().options.fsync;
        let files = ready.iter().filter(|r| matches!(r.step.entry.content, Content::File { .. })).count();
        let steps = ready.iter().map(|ready| &ready.step).chain(moves.iter().map(|moved| &moved.step));
        let intents: Vec<(RelPath, Intent)> = steps.map(|step| self.intent(step)).collect();
        work.intents.extend(intents.iter().map(|(path, _)| path.clone()));
        if fsync == Fsync::None || files == 0 {
            self.note_intents(&intents)?;
            return Ok(ready);
        }
        std::thread::scope(|threads| {
            let noting = threads.spawn(|| self.note_intents(&intents));
            let ready = self.sync_contents(work, ready, files);
            noting.join().expect("noting does not panic").map(|()| ready)
        })
    }

    /// Waits until the bytes of what is prepared are on the disk.
    fn sync_contents(&self, work: &mut Work, ready: Vec<Ready>, files: usize) -> Vec<Ready> {
        let fsync = self.replica().options.fsync;
        let device = |r: &Ready| r.dir.self_stat().ok().map(|meta| meta.stamp.dev);
        let mut devices: Vec<_> =
            self.dirs.values().filter_map(|d| d.self_stat().ok()).map(|m| m.stamp.dev).collect();
        devices.dedup();
        let one_device = devices.len() == 1 && device(&ready[0]) == devices.first().copied();
        if fsync == Fsync::Batch && files > ONE_BY_ONE && one_device {
            return match ready[0].dir.sync_file_system() {
                Ok(()) => ready,
                Err(error) => {
                    let why = format!("cannot write it to the disk: {error}");
                    for ready in ready {
                        self.give_up(work, ready.step.incoming, ready.step.local, why.clone());
                    }
                    Vec::new()
                }
            };
        }
        let mut synced = Vec::new();
        for ready in ready {
            let is_file = matches!(ready.step.entry.content, Content::File { .. });
            match if is_file { ready.staged.sync() } else { Ok(()) } {
                Ok(()) => synced.push(ready),
                Err(error) => self.failed(work, ready.step.incoming, ready.step.local, &error),
            }
        }
        synced
    }

    fn intent(&self, step: &Step) -> (RelPath, Intent) {
        let intent = Intent { entry: step.entry.clone(), from: Some(self.applier.peer) };
        (step.incoming.path().clone(), intent)
    }

    /// Notes durably what is about to be published, so that a scan after a crash knows it for the peer's. A deletion
    /// needs no note: found after a crash, it meets the peer's tombstone as an equal state.
    fn note_intents(&self, intents: &[(RelPath, Intent)]) -> Result<(), ArchiveError> {
        if intents.is_empty() {
            return Ok(());
        }
        self.replica().archive.write(self.applier.durable(), |w| {
            intents.iter().try_for_each(|(path, intent)| w.set_intent(path, intent))
        })
    }

    /// Gives what is prepared its name.
    fn publish(&mut self, work: &mut Work, ready: Vec<Ready>) {
        let doer = &*self;
        let committer = &doer.replica().committer;
        let published = doer.each(ready, |Ready { step, dir, staged, refused }| {
            let published = match step.local.as_ref().and_then(Self::expected) {
                None => Ok(committer.create(staged)),
                Some(expected) => match step.incoming.path().name() {
                    Some(name) => doer
                        .keep_version(&dir, &name, step.incoming.path())
                        .map(|()| committer.replace(staged, &expected, doer.applier.writers())),
                    None => Err("the root stays as it is".to_owned()),
                },
            };
            (step, refused, published)
        });
        for (step, refused, published) in published {
            let published = match published {
                Ok(published) => published,
                Err(why) => {
                    self.give_up(work, step.incoming, step.local, why);
                    continue;
                }
            };
            match published {
                Ok(mut published) => {
                    self.displaced.extend(published.displaced.take());
                    self.done(work, step, &published, refused);
                }
                Err(error) => self.failed(work, step.incoming, step.local, &error),
            }
        }
    }

    fn set_metadata(&mut self, work: &mut Work, step: Step) {
        let path = step.incoming.path().clone();
        let opened =
            path.split().ok_or_else(|| "the root stays as it is".to_owned()).and_then(|(parent, name)| {
                let dir = self.replica().dir.open_dir(&parent);
                Ok((dir.map_err(|e| format!("cannot open its directory: {e}"))?, name))
            });
        let (dir, name) = match opened {
            Ok(opened) => opened,
            Err(why) => return self.stale(work, step.incoming, why),
        };
        let Some(expected) = step.local.as_ref().and_then(Self::expected) else {
            return self.stale(work, step.incoming, "it was not looked at yet".to_owned());
        };
        if step.entry.content.is_dir() && !step.change.attributes {
            // Only the mtime: set with those of the other directories, after the last change in them.
            let meta = dir.stat(&name).ok().flatten();
            if let (Some(meta), Some(local)) = (meta, &step.local) {
                self.touched.entry(path.clone()).or_insert(meta.stamp.mtime);
                let told = self.applier.has_this(&step.entry, step.incoming.entry());
                let from = told.then_some(self.applier.peer);
                work.put(&path, Record { entry: step.entry.clone(), from, computed: false, ..local.clone() });
            }
            let here = step.local.as_ref().map(|r| r.entry.clone());
            return work.answer(&step.incoming, here.as_ref(), Verdict::Have);
        }
        let wanted = self.wanted(&step);
        match self.replica().committer.set_metadata(&dir, &name, &expected, &wanted) {
            Ok((published, refused)) => self.done(work, step, &published, refused),
            Err(error) => self.failed(work, step.incoming, step.local, &error),
        }
    }

    pub(super) fn delete(&mut self, work: &mut Work, step: Step) {
        let (dir, name) = match self.dir_of(step.incoming.path()) {
            Ok(opened) => opened,
            Err(why) => return self.stale(work, step.incoming, why),
        };
        let Some(expected) = step.local.as_ref().and_then(Self::expected) else {
            return self.stale(work, step.incoming, "it was not looked at yet".to_owned());
        };
        if let Err(why) = self.keep_version(&dir, &name, step.incoming.path()) {
            return self.give_up(work, step.incoming, step.local, why);
        }
        match self.replica().committer.remove(&dir, &name, &expected, self.applier.writers()) {
            Ok(mut removed) => {
                self.displaced.extend(removed.displaced.take());
                let here = step.local.as_ref().map(|r| r.entry.clone());
                let path = step.incoming.path().clone();
                work.put(&path, self.tombstone(step.entry, step.incoming.entry(), false));
                work.answer(&step.incoming, here.as_ref(), Verdict::Took(Action::Delete));
            }
            Err(error) => self.failed(work, step.incoming, step.local, &error),
        }
    }

    /// Keeps the version that is about to go, if that is wanted.
    pub(super) fn keep_version(&self, dir: &Dir, name: &Name, path: &RelPath) -> Result<(), String> {
        let kept = self.replica().versions.keep(dir, name, path);
        kept.map_err(|e| format!("cannot keep a backup of it, so it stays: {e}"))
    }

    pub(super) fn tombstone(&self, entry: Entry, remote: &Entry, remainder: bool) -> Record {
        let from = entry.same_versions(remote).then_some(self.applier.peer);
        Record { entry, shown: None, sequence: Sequence(0), from, computed: false, remainder }
    }

    /// A step is done: its record, and the answer.
    pub(super) fn done(&self, work: &mut Work, step: Step, published: &Published, refused: Refused) {
        let Step { incoming, local, mut entry, action, .. } = step;
        let meta = &published.meta;
        let is_dir = entry.content.is_dir();
        // What nobody vouches for is what the disk shows.
        entry.attributes = meta.attributes.overlaid(&entry.attributes, entry.vouched);
        let stamp = match is_dir {
            true => Some(dir_stamp(meta.stamp)),
            false => published.stamp.filter(|_| !published.racy),
        };
        let extended = published.extended.clone();
        let seen = extended.as_ref().map(|shown| shown.value.clone()).unwrap_or_default();
        entry.extended = seen.overlaid(&entry.extended, entry.vouched);
        let shown = Some(Shown { stamp, mtime: meta.stamp.mtime, attributes: meta.attributes, extended });
        let from = self.applier.has_this(&entry, incoming.entry()).then_some(self.applier.peer);
        let here = local.map(|r| r.entry);
        let path = incoming.path().clone();
        work.put(
            &path,
            Record { entry, shown, sequence: Sequence(0), from, computed: false, remainder: false },
        );
        let verdict = match self.refusal(refused) {
            None => Verdict::Took(action),
            Some(why) => Verdict::TookPartly(action, why),
        };
        work.answer(&incoming, here.as_ref(), verdict);
        if let Some(backup) = &published.backup {
            tracing::warn!(%path, backup = ?backup, "what stood there was kept: somebody may have written to it");
        }
    }

    /// Says what of the attributes could not be set.
    fn refusal(&self, refused: Refused) -> Option<String> {
        let mask: AttributeMask = self.applier.policy.mask;
        let mut what = Vec::new();
        if refused.uid && mask.owner {
            what.push("the owner");
        }
        if refused.gid && mask.group {
            what.push("the group");
        }
        if refused.mode && mask.mode != 0 {
            what.push("the mode");
        }
        if refused.xattrs {
            what.push("extended attributes");
        }
        if refused.acl {
            what.push("the access list");
        }
        if refused.mtime && self.applier.policy.times {
            what.push("the mtime");
        }
        (!what.is_empty())
            .then(|| format!("{} could not be set: not allowed, or not kept here", what.join(" and ")))
    }

    pub(super) fn failed(
        &self,
        work: &mut Work,
        incoming: Incoming,
        local: Option<Record>,
        error: &CommitError,
    ) {
        match trouble(error) {
            Trouble::Stale(why) => self.stale(work, incoming, why),
            Trouble::Failed(why) => self.give_up(work, incoming, local, why),
        }
        tracing::debug!(why = words(error), "not committed");
    }

    fn give_up(&self, work: &mut Work, incoming: Incoming, local: Option<Record>, why: String) {
        // Whoever lies below it in this chunk fails by itself, when its directory cannot be opened.
        work.decided.remove(incoming.path());
        work.answer(&incoming, local.map(|r| r.entry).as_ref(), Verdict::Failed(why));
    }

    pub(super) fn stale(&self, work: &mut Work, incoming: Incoming, why: String) {
        work.decided.remove(incoming.path());
        work.open(incoming.path(), OpenReason::Pending, false);
        let path = incoming.path().clone();
        work.applied.stale.push(incoming.stale(vec![path], why));
    }

    /// Directories in which names changed: what the disk shows of them now, and with `times` the mtime that they shall
    /// have, is what their records say.
    pub(super) fn settle_dirs(&mut self, work: &mut Work) -> Result<(), ArchiveError> {
        let times = self.applier.policy.times;
        for (path, before) in std::mem::take(&mut self.touched) {
            let Some((parent, name)) = path.split() else { continue };
            let (mut record, new) = match work.fates.remove(&path) {
                Some(Fate::Put { record, wins }) => {
                    if !record.entry.content.is_dir() || wins {
                        work.fates.insert(path, Fate::Put { record, wins });
                        continue;
                    }
                    (*record, true)
                }
                Some(Fate::Forget) => {
                    work.fates.insert(path, Fate::Forget);
                    continue;
                }
                None => match self.snapshot.get(&path)? {
                    Some(record) if record.entry.content.is_dir() => (record, false),
                    Some(_) | None => continue,
                },
            };
            if let Some(shown) = &mut record.shown {
                let undisturbed = new || shown.mtime == before;
                let now = self.replica().dir.open_dir(&parent).and_then(|dir| {
                    let meta = dir.stat(&name)?;
                    Ok(meta.map(|meta| (dir, meta)))
                });
                if let (true, Ok(Some((dir, meta)))) = (undisturbed, now) {
                    let mut mtime = meta.stamp.mtime;
                    if times && mtime != record.entry.mtime {
                        let expected = Expected::Dir { ino: meta.stamp.ino };
                        let wanted = Wanted { mtime: Some(record.entry.mtime), ..Wanted::default() };
                        let set = self.replica().committer.set_metadata(&dir, &name, &expected, &wanted);
                        mtime = set.map_or(mtime, |(published, _)| published.meta.stamp.mtime);
                    }
                    shown.mtime = mtime;
                    shown.stamp = Some(dir_stamp(Stamp { mtime, ..meta.stamp }));
                }
            }
            if new {
                work.fates.insert(path, Fate::Put { record: Box::new(record), wins: false });
            } else {
                work.refreshed.push((path, record));
            }
        }
        Ok(())
    }

    /// Waits until the names are on the disk.
    fn sync_names(&self) {
        if self.replica().options.fsync == Fsync::None || self.dirs.is_empty() {
            return;
        }
        let result = if self.dirs.len() > ONE_BY_ONE {
            self.replica().dir.sync_file_system()
        } else {
            self.dirs.values().try_for_each(Dir::sync)
        };
        if let Err(error) = result {
            // The names are in the tree all the same; a power cut may take them back, and the next scan then sees it.
            tracing::warn!(%error, "cannot sync the directories");
        }
    }
}

/// The stamp of a directory is its inode and mtime: its ctime and size say nothing that those and its attributes do not.
pub(crate) fn dir_stamp(stamp: Stamp) -> Stamp {
    Stamp { ctime: Timestamp::default(), size: 0, ..stamp }
}
