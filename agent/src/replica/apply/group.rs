//! A directory that the peer no longer has, with all that lies below it: it goes as a whole or not at all.

use super::decide::{Decider, Parent};
use super::steps::Removal as Steps;
use super::{Fate, Incoming, Work};
use crate::archive::{ArchiveError, OpenReason};
use crate::core::entry::{Content, Entry, Kind, Record};
use crate::core::path::RelPath;
use crate::core::reconcile::{Above, Change, Decision, is_news};
use crate::core::removal::{Removal, judge_below, worse};
use crate::link::describe;
use crate::wire::{Action, Verdict};
use std::collections::BTreeMap;

impl Decider<'_> {
    /// Decides about a directory that stands here and is something else, or nothing, at the peer.
    pub(super) fn group(
        &mut self,
        work: &mut Work,
        incoming: Incoming,
        members: Vec<Incoming>,
        local: Option<Record>,
    ) -> Result<(), ArchiveError> {
        let here = local.as_ref().map(|r| r.entry.clone());
        let path = incoming.path().clone();
        if !incoming.offer.again
            && let Some(dir) = path.parent().and_then(|p| self.open.recursive_above(&p).cloned())
        {
            // As for a single path: this may be what the directory above was waiting for.
            work.applied.again.push((dir, true));
        }
        let above = match self.parent(work, &path, true)? {
            Parent::Is(above) => above,
            Parent::Unknown => Above::Live,
        };
        match self.applier.judge(&path, here.as_ref(), incoming.entry(), above) {
            Decision::Take(entry, change) => {
                let below = self.below(&path)?;
                let offered: BTreeMap<&RelPath, &Entry> =
                    members.iter().map(|m| (m.path(), m.entry())).collect();
                let judged = below.iter().fold(Removal::Whole, |so_far, (child, record)| {
                    if let Some(why) = self.applier.skipped(child) {
                        return worse(so_far, Removal::Refuse(why));
                    }
                    let policy = self.applier.policy_below(child, &record.entry);
                    let (theirs, becomes) = (offered.get(child).copied(), &incoming.entry().content);
                    worse(so_far, judge_below(&record.entry, theirs, becomes, &policy))
                });
                match judged {
                    Removal::Whole => self.remove(work, incoming, members, local, below, *entry, change),
                    Removal::Conflict => self.stays(work, incoming, members, here.as_ref())?,
                    Removal::Refuse(option) => {
                        self.forbidden(work, &incoming, &members, here.as_ref(), option)
                    }
                    Removal::Win => self.win_below(work, incoming, members, local, below),
                    Removal::Yield => {
                        work.open(&path, OpenReason::Pending, true);
                        self.all(work, &incoming, &members, here.as_ref(), &Verdict::Waits);
                    }
                }
            }
            Decision::Win(_) => {
                let below = self.below(&path)?;
                self.win_below(work, incoming, members, local, below);
            }
            Decision::Keep | Decision::Merge(_) => {
                // The directory here is newer; what lies below it is decided path by path.
                if local
                    .as_ref()
                    .is_some_and(|r| r.sequence <= self.offered.over && is_news(&r.entry, incoming.entry()))
                {
                    work.applied.owed.insert(path.clone(), true);
                }
                work.answer(&incoming, here.as_ref(), Verdict::Have);
                for mut member in members {
                    let known = self.local(work, member.path())?;
                    let conflict = known.as_ref().is_some_and(|r| r.entry.content.is_dir());
                    if conflict && !member.entry().content.is_dir() {
                        // A smaller group of its own; it is offered again as one.
                        work.applied.again.push((member.path().clone(), true));
                        work.answer(&member, known.as_ref().map(|r| &r.entry), Verdict::Waits);
                        continue;
                    }
                    member.offer.again = true;
                    self.one(work, member, known)?;
                }
            }
            Decision::Yield => {
                work.open(&path, OpenReason::Pending, true);
                self.all(work, &incoming, &members, here.as_ref(), &Verdict::Waits);
            }
            Decision::Refuse(option) => self.forbidden(work, &incoming, &members, here.as_ref(), option),
            Decision::Conflict => self.stays(work, incoming, members, here.as_ref())?,
        }
        Ok(())
    }

    /// An option forbids it, or that something below goes.
    fn forbidden(
        &self,
        work: &mut Work,
        incoming: &Incoming,
        members: &[Incoming],
        here: Option<&Entry>,
        option: &str,
    ) {
        work.open(incoming.path(), OpenReason::Forbidden(option.to_owned()), true);
        self.all(work, incoming, members, here, &Verdict::Forbidden(option.to_owned()));
    }

    /// Returns what stands below a directory.
    fn below(&self, path: &RelPath) -> Result<Vec<(RelPath, Record)>, ArchiveError> {
        let rows = self.snapshot.below(path)?;
        rows.filter(|row| row.as_ref().map_or(true, |(_, r)| r.entry.content.is_live())).collect()
    }

    fn all(
        &self,
        work: &mut Work,
        incoming: &Incoming,
        members: &[Incoming],
        here: Option<&Entry>,
        verdict: &Verdict,
    ) {
        work.answer(incoming, here, verdict.clone());
        for member in members {
            // The directory stands for what is in it.
            work.answer(member, None, Verdict::Waits);
        }
    }

    /// It is a conflict as a whole.
    fn stays(
        &self,
        work: &mut Work,
        incoming: Incoming,
        members: Vec<Incoming>,
        here: Option<&Entry>,
    ) -> Result<(), ArchiveError> {
        let at = incoming.path().clone();
        work.open(&at, OpenReason::Conflict, true);
        let decided = self.is_decided(work, &incoming, &at)?;
        let over = work.disputed.get(&at).and_then(|d| d.keep_theirs);
        members.iter().for_each(|member| work.dispute(member, &at, over));
        if decided {
            self.all(work, &incoming, &members, here, &Verdict::Waits);
            return Ok(());
        }
        let here_shown = match here {
            Some(entry) if !incoming.entry().content.is_live() => {
                format!("{}, with changes that the other side has not seen", describe(Some(entry)))
            }
            entry => describe(entry),
        };
        let there = describe(Some(incoming.entry()));
        let verdict = Verdict::Conflict { here: here_shown, there, at };
        self.all(work, &incoming, &members, here, &verdict);
        Ok(())
    }

    /// Everything that stands gets a resolution.
    fn win_below(
        &self,
        work: &mut Work,
        incoming: Incoming,
        members: Vec<Incoming>,
        local: Option<Record>,
        below: Vec<(RelPath, Record)>,
    ) {
        let offered: BTreeMap<RelPath, Entry> =
            members.iter().map(|m| (m.path().clone(), m.entry().clone())).collect();
        let join = |mine: &Entry, theirs: Option<&Entry>| match theirs {
            None => mine.clone(),
            Some(theirs) => mine.joined_versions(theirs),
        };
        let stands = local.as_ref().and_then(|r| r.entry.content.kind());
        let below_stands: BTreeMap<RelPath, Option<Kind>> =
            below.iter().map(|(path, record)| (path.clone(), record.entry.content.kind())).collect();
        if let Some(local) = local {
            let entry = join(&local.entry, Some(incoming.entry()));
            self.win(work, incoming.path(), Some(local), entry);
        }
        for (path, record) in below {
            let entry = join(&record.entry, offered.get(&path));
            self.win(work, &path, Some(record), entry);
        }
        work.answer(&incoming, None, Verdict::Won(stands));
        for member in &members {
            let stands = below_stands.get(member.path()).copied().flatten();
            work.answer(member, None, Verdict::Won(stands));
        }
    }

    /// All of it goes.
    #[allow(clippy::too_many_arguments)] // The parts of one decision; a struct of them would have no other use.
    fn remove(
        &self,
        work: &mut Work,
        incoming: Incoming,
        members: Vec<Incoming>,
        local: Option<Record>,
        below: Vec<(RelPath, Record)>,
        entry: Entry,
        change: Change,
    ) {
        let known: BTreeMap<&RelPath, &Record> = below.iter().map(|(p, r)| (p, r)).collect();
        if self.plan {
            for member in &members {
                let local = known.get(member.path());
                let verdict = local.map_or(Verdict::Have, |_| Verdict::Took(Action::Delete));
                work.answer(member, local.map(|r| &r.entry), verdict);
            }
            self.take(work, incoming, local, entry, change);
            return;
        }
        // Tombstones of what stands here; what does not stand here is decided as any other path.
        let mut gone = Vec::new();
        let mut others = Vec::new();
        for member in members {
            let local = known.get(member.path()).copied();
            let entry = local.map(|r| &r.entry);
            let result = self.applier.judge(member.path(), entry, member.entry(), Above::Live);
            match (result, local) {
                (Decision::Take(entry, _), Some(record)) => gone.push((member, record.clone(), *entry)),
                _ => others.push(member),
            }
        }
        for member in others {
            let local = self.snapshot.get(member.path()).ok().flatten();
            let entry = local.as_ref().map(|r| &r.entry);
            let tombstone = self.applier.judge(member.path(), entry, member.entry(), Above::Live);
            if let (Decision::Merge(entry), Some(local)) = (tombstone, local) {
                let path = member.path().clone();
                work.fates.insert(
                    path,
                    Fate::Put { record: Box::new(Record { entry: *entry, ..local }), wins: false },
                );
            }
            work.answer(&member, None, Verdict::Have);
        }
        work.decided.insert(incoming.path().clone(), Some(entry.clone()));
        let becomes = match entry.content {
            Content::Deleted => None,
            Content::File { .. } | Content::Dir | Content::Symlink { .. } => Some(change),
        };
        work.removals.push(Steps { incoming, local, gone, entry, becomes });
    }
}
