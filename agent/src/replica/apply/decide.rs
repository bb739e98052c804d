//! Deciding: from the offers of a chunk and the archive to answers, records and steps. Nothing in the tree is touched.

use super::steps::Step;
use super::{Applier, Fate, Incoming, Work};
use crate::archive::{ArchiveError, OpenReason, Snapshot};
use crate::core::entry::{Content, Entry, Record};
use crate::core::path::RelPath;
use crate::core::reconcile::{Above, Change, Decision, is_news};
use crate::core::version::Sequence;
use crate::link::open_set::OpenSet;
use crate::link::{Offered, describe_both};
use crate::options::SymbolicLinks;
use crate::wire::{Action, Verdict};
use std::iter::Peekable;
use std::vec;

/// Decides about the offers of one chunk.
pub(super) struct Decider<'a> {
    pub applier: &'a Applier,
    pub snapshot: &'a Snapshot,
    pub open: &'a OpenSet,
    pub offered: Offered,
    pub plan: bool,
}

/// What stands above a path here.
pub(super) enum Parent {
    Is(Above),
    /// Nothing is known of the directory: it did not come, or not yet.
    Unknown,
}

impl Decider<'_> {
    /// Decides about all of them; those at the end that need the rest of the batch are held.
    pub fn decide(
        &mut self,
        work: &mut Work,
        chunk: Vec<Incoming>,
        complete: bool,
    ) -> Result<(), ArchiveError> {
        let mut chunk = chunk.into_iter().peekable();
        while let Some(mut incoming) = chunk.next() {
            if self.is_left_out(&incoming) {
                work.answer(&incoming, None, Verdict::Have);
                continue;
            }
            if let Err(why) = self.localise(&mut incoming) {
                work.answer(&incoming, None, Verdict::Failed(why));
                continue;
            }
            let local = self.local(work, incoming.path())?;
            let was_dir = local.as_ref().is_some_and(|r| r.entry.content.is_dir());
            if was_dir && !incoming.entry().content.is_dir() {
                let members = members(&mut chunk, incoming.path());
                if chunk.peek().is_none() && !complete {
                    work.applied.held.push(incoming);
                    work.applied.held.extend(members);
                    return Ok(());
                }
                self.group(work, incoming, members, local)?;
                continue;
            }
            self.one(work, incoming, local)?;
        }
        Ok(())
    }

    fn is_left_out(&self, incoming: &Incoming) -> bool {
        let (applier, path) = (self.applier, incoming.path());
        let link = matches!(incoming.entry().content, Content::Symlink { .. })
            && applier.replica.options.links == SymbolicLinks::LeaveOut;
        link || applier.leaves_out(path)
    }

    /// Leaves out what is not carried, whatever the peer sends, and puts owners into this host's numbers.
    fn localise(&self, incoming: &mut Incoming) -> Result<(), String> {
        let mask = self.applier.policy.mask;
        let entry = &mut incoming.offer.entry;
        entry.extended = self.applier.replica.names.only(&entry.extended.only(mask));
        if self.applier.numeric_ids || !entry.content.is_live() {
            return Ok(());
        }
        self.applier.replica.localise(entry, &incoming.offer.owners, mask)
    }

    /// Returns what is known of a path, with what this chunk has come to.
    pub fn local(&self, work: &Work, path: &RelPath) -> Result<Option<Record>, ArchiveError> {
        match work.fates.get(path) {
            Some(Fate::Put { record, .. }) => Ok(Some((**record).clone())),
            Some(Fate::Forget) => Ok(None),
            None => self.snapshot.get(path),
        }
    }

    fn entry_at(&self, work: &Work, path: &RelPath) -> Result<Option<Entry>, ArchiveError> {
        match work.decided.get(path) {
            Some(entry) => Ok(entry.clone()),
            None => Ok(self.snapshot.get(path)?.map(|r| r.entry)),
        }
    }

    /// Returns what stands above a path.
    pub fn parent(&self, work: &Work, path: &RelPath, deletes: bool) -> Result<Parent, ArchiveError> {
        let Some(parent) = path.parent().filter(|p| !p.is_root()) else { return Ok(Parent::Is(Above::Live)) };
        match self.entry_at(work, &parent)? {
            None => Ok(Parent::Unknown),
            Some(entry) if !entry.content.is_dir() => Ok(Parent::Is(Above::Gone)),
            Some(_) if deletes && self.conflict_above(work, &parent) => Ok(Parent::Is(Above::Conflict)),
            Some(_) => Ok(Parent::Is(Above::Live)),
        }
    }

    fn conflict_above(&self, work: &Work, parent: &RelPath) -> bool {
        let in_chunk = work
            .opened
            .iter()
            .any(|(p, o)| o.recursive && o.reason == OpenReason::Conflict && parent.starts_with(p));
        let before = self.open.recursive_above(parent).filter(|p| !work.closed.contains(p));
        in_chunk
            || before
                .is_some_and(|p| self.open.get(p).is_some_and(|open| open.reason == OpenReason::Conflict))
    }

    /// Returns the topmost directory above a path that does not stand here.
    fn topmost_gone(&self, work: &Work, path: &RelPath) -> Result<RelPath, ArchiveError> {
        let mut top = path.clone();
        while let Some(parent) = top.parent().filter(|p| !p.is_root()) {
            match self.entry_at(work, &parent)? {
                Some(entry) if !entry.content.is_dir() => top = parent,
                Some(_) | None => break,
            }
        }
        Ok(top)
    }

    /// Decides about a path that does not take a directory away.
    pub(super) fn one(
        &mut self,
        work: &mut Work,
        incoming: Incoming,
        local: Option<Record>,
    ) -> Result<(), ArchiveError> {
        let path = incoming.path().clone();
        let deletes = !incoming.entry().content.is_live();
        let here = local.as_ref().map(|r| r.entry.clone());
        let above = match self.parent(work, &path, deletes)? {
            Parent::Is(above) => above,
            Parent::Unknown if deletes => Above::Live,
            Parent::Unknown => {
                work.answer(&incoming, here.as_ref(), Verdict::Waits);
                return Ok(());
            }
        };
        if !incoming.offer.again
            && let Some(dir) = path.parent().and_then(|p| self.open.recursive_above(&p).cloned())
        {
            // The peer said something new below a directory that is open as a whole: that may settle it.
            work.applied.again.push((dir, true));
        }
        let decision = self.applier.judge(&path, here.as_ref(), incoming.entry(), above);
        match decision {
            Decision::Keep => {
                if let Some(local) = &local
                    && local.sequence <= self.offered.over
                    && is_news(&local.entry, incoming.entry())
                {
                    // It was offered before, and the peer did not keep it.
                    work.applied.owed.insert(path, false);
                }
                work.answer(&incoming, here.as_ref(), Verdict::Have);
            }
            Decision::Merge(entry) => {
                let verdict = Verdict::Have;
                work.answer(&incoming, here.as_ref(), verdict);
                if let Some(local) = local {
                    work.put(&path, self.merged(local, *entry, incoming.entry()));
                }
            }
            Decision::Win(entry) => {
                work.answer(&incoming, here.as_ref(), Verdict::Won(entry.content.kind()));
                self.win(work, &path, local, *entry);
            }
            Decision::Yield => {
                if above == Above::Gone {
                    // Part of whatever the directory above is in: known, should a person end that.
                    let at = self.topmost_gone(work, &path)?;
                    work.dispute(&incoming, &at, None);
                }
                work.answer(&incoming, here.as_ref(), Verdict::Waits);
            }
            Decision::Refuse(option) => {
                work.answer(&incoming, here.as_ref(), Verdict::Forbidden(option.to_owned()));
            }
            Decision::Conflict => {
                let at = if above == Above::Gone { self.topmost_gone(work, &path)? } else { path };
                if self.is_decided(work, &incoming, &at)? {
                    work.answer(&incoming, here.as_ref(), Verdict::Waits);
                    return Ok(());
                }
                let shown = if at == *incoming.path() { here.clone() } else { self.entry_at(work, &at)? };
                let offered = incoming.entry();
                let (here_shown, mut there) =
                    describe_both(shown.as_ref(), offered, &self.applier.policy_at(incoming.path()));
                if at != *incoming.path() {
                    there = format!("{}: {there}", incoming.path());
                }
                let verdict = Verdict::Conflict { here: here_shown, there, at };
                work.answer(&incoming, here.as_ref(), verdict);
            }
            Decision::Take(entry, change) => self.take(work, incoming, local, *entry, change),
        }
        Ok(())
    }

    /// Returns whether a person has decided for the peer's state: then the peer writes the resolution, which it is asked
    /// for.
    pub fn is_decided(
        &self,
        work: &mut Work,
        incoming: &Incoming,
        at: &RelPath,
    ) -> Result<bool, ArchiveError> {
        let disputed = self.snapshot.disputed(self.applier.peer, incoming.path())?;
        let Some(over) = disputed.filter(|d| d.at == *at).and_then(|d| d.keep_theirs) else {
            return Ok(false);
        };
        if self.plan || !self.snapshot.is_unchanged_since(at, over)? {
            return Ok(false);
        }
        work.applied.resolve.insert(at.clone());
        // It stays a conflict until the resolution has come.
        work.open(
            incoming.path(),
            OpenReason::Conflict,
            at == incoming.path() && incoming.entry().content.is_dir(),
        );
        work.dispute(incoming, at, Some(over));
        Ok(true)
    }

    /// Returns the record of a state that both sides have.
    fn merged(&self, local: Record, entry: Entry, remote: &Entry) -> Record {
        let same = self.applier.has_this(&entry, remote);
        // What was offered before is what the peer computes the same result from. It computes nothing where the versions
        // are the same already and the states are not.
        let computes = local.sequence <= self.offered.through && !entry.same_versions(remote);
        Record {
            from: (same || computes).then_some(self.applier.peer),
            computed: !same && computes,
            entry,
            ..local
        }
    }

    /// The local state wins: it gets a new version.
    pub fn win(&self, work: &mut Work, path: &RelPath, local: Option<Record>, entry: Entry) {
        let shown = local.as_ref().and_then(|r| r.shown.clone());
        let remainder = local.as_ref().is_some_and(|r| r.remainder);
        work.decided.insert(path.clone(), Some(entry.clone()));
        let record = Record { entry, shown, sequence: Sequence(0), from: None, computed: false, remainder };
        work.fates.insert(path.clone(), Fate::Put { record: Box::new(record), wins: true });
    }

    /// The peer's state is taken: a step, or a request for its content.
    pub fn take(
        &self,
        work: &mut Work,
        mut incoming: Incoming,
        local: Option<Record>,
        entry: Entry,
        change: Change,
    ) {
        let path = incoming.path().clone();
        let here = local.as_ref().map(|r| r.entry.clone());
        let action = action(here.as_ref(), &entry, change);
        if self.plan {
            work.decided.insert(path, Some(entry));
            // The mtime of a directory is nothing that anybody wants to approve.
            let quiet = incoming.entry().content.is_dir() && !change.content && !change.attributes;
            let verdict = if quiet { Verdict::Have } else { Verdict::Took(action) };
            work.answer(&incoming, here.as_ref(), verdict);
            return;
        }
        let needs_content = change.content
            && matches!(entry.content, Content::File { .. })
            && incoming.offer.content.is_none()
            && incoming.staged.is_none();
        let sources = if needs_content { self.sources(&incoming) } else { Vec::new() };
        if needs_content && sources.is_empty() {
            work.open(&path, OpenReason::Pending, false);
            incoming.note_basis(here.as_ref());
            incoming.is_new = !here.is_some_and(|entry| entry.content.is_live());
            work.applied.wanted.push(incoming);
            return;
        }
        work.decided.insert(path, Some(entry.clone()));
        work.steps.push(Step { incoming, local, entry, change, action, sources });
    }
}

/// Returns what taking `entry` does to what stands here.
fn action(here: Option<&Entry>, entry: &Entry, change: Change) -> Action {
    match (here.is_some_and(|h| h.content.is_live()), entry.content.is_live()) {
        (_, false) => Action::Delete,
        (false, true) => Action::Create,
        (true, true) if change.content => Action::Update,
        (true, true) => Action::Props,
    }
}

/// Takes the offers for what lies below a path.
fn members(chunk: &mut Peekable<vec::IntoIter<Incoming>>, path: &RelPath) -> Vec<Incoming> {
    let mut members = Vec::new();
    while let Some(member) = chunk.next_if(|i| i.path().is_below(path)) {
        members.push(member);
    }
    members
}
