//! Applying turns offers of a peer into changes of the tree and of the archive, a chunk at a time:
//!
//! 1. hold the paths, decide about each ([`decide`], [`group`]);
//! 2. make directories, prepare files out of sight (also from what is here already, [`copy`]);
//! 3. wait until their bytes are on the disk, and so is the note in the archive of what is about to be done (intents);
//! 4. publish: each step a compare-and-swap ([`crate::replica::commit`]);
//! 5. wait until the names are on the disk, write the records, release the paths.
//!
//! Crash invariant: whatever the moment, a later scan finds at each path either the state of the old record, or the one
//! of the intent (and adopts the peer's version), or an edit of a user.

mod copy;
mod decide;
mod group;
mod incoming;
mod moved;
mod removal;
mod rename;
mod steps;
mod subtrees;

pub(super) use incoming::SMALLEST_DELTA;
pub use incoming::{Applied, IN_MOTION, Incoming, OutcomeOf, Transfer};
pub use rename::Awaited;
pub(super) use steps::dir_stamp;
pub use subtrees::Subtrees;

use super::commit::{CommitError, Writers};
use super::{Replica, Stage};
use crate::archive::{ArchiveError, Disputed, Durable, Open, OpenReason};
use crate::core::entry::{Content, Entry, Record};
use crate::core::filter::Filter;
use crate::core::path::RelPath;
use crate::core::reconcile::{Above, Choice, Choices, Decision, Policy, Rules, reconcile};
use crate::core::version::{ReplicaId, Sequence};
use crate::link::Offered;
use crate::link::open_set::OpenSet;
use crate::options::Fsync;
use crate::wire::Verdict;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, RwLock};
use std::time::Instant;

/// What forbids something, where no option does: what a person has chosen.
const CHOICE: &str = "your choice";
/// What a person has chosen was about another state.
const CHANGED: &str = "a change since you chose";

/// Applies what one peer offers to one replica.
pub struct Applier {
    /// Whose tree and archive.
    pub replica: Arc<Replica>,
    /// Who offers.
    pub peer: ReplicaId,
    /// What is compared, and who wins.
    pub policy: Policy,
    /// What holds for some paths only.
    pub rules: Rules,
    /// What a person has chosen after a plan.
    pub choices: Arc<RwLock<Choices>>,
    /// What the link leaves out.
    pub filter: Filter,
    /// What the link is about; empty is everything.
    pub paths: Vec<RelPath>,
    /// Owners and groups go by number.
    pub numeric_ids: bool,
    /// Content that the replica has elsewhere is copied there, not asked for.
    pub copy_local: bool,
    /// Stands for what this link leaves out: see [`crate::archive::Writer::set_position`].
    pub scope: u64,
    /// What is waited for with all below it.
    pub subtrees: Subtrees,
}

/// What becomes of a path's record.
#[derive(Debug)]
enum Fate {
    /// Stored under the next sequence number. `wins`: with a new counter of this replica in every register.
    Put { record: Box<Record>, wins: bool },
    /// Nothing is known any more.
    Forget,
}

/// What a chunk has come to so far.
#[derive(Default)]
struct Work {
    applied: Applied,
    fates: BTreeMap<RelPath, Fate>,
    /// Paths that become open, and paths that are no longer.
    opened: BTreeMap<RelPath, Open>,
    closed: Vec<RelPath>,
    /// Paths whose offer was asked for.
    asked: BTreeSet<RelPath>,
    /// What the peer has at paths in conflict, and the topmost path of each conflict.
    disputed: BTreeMap<RelPath, Disputed>,
    /// What the records will say, for the paths below.
    decided: BTreeMap<RelPath, Option<Entry>>,
    steps: Vec<steps::Step>,
    removals: Vec<steps::Removal>,
    intents: Vec<RelPath>,
    /// Directories whose record only gets what the disk shows now; it stays under its number.
    refreshed: Vec<(RelPath, Record)>,
}

impl Work {
    /// Answers an offer.
    fn answer(&mut self, incoming: &Incoming, here: Option<&Entry>, verdict: Verdict) {
        let path = incoming.path().clone();
        if incoming.asked {
            self.asked.insert(path.clone());
        }
        match &verdict {
            Verdict::Have | Verdict::Took(_) | Verdict::TookPartly(..) | Verdict::Won(_) => {
                self.closed.push(path.clone());
            }
            Verdict::Conflict { at, .. } => {
                self.dispute(incoming, at, None);
                self.open(&path, OpenReason::Conflict, false);
            }
            Verdict::Waits => self.open(&path, OpenReason::Pending, false),
            Verdict::Forbidden(option) => self.open(&path, OpenReason::Forbidden(option.clone()), false),
            Verdict::Failed(why) => self.open(&path, OpenReason::Failed(why.clone()), false),
        }
        let offered = incoming.entry().clone();
        let here = here.cloned();
        self.applied.outcomes.push(OutcomeOf { number: incoming.number, path, offered, here, verdict });
    }

    fn dispute(&mut self, incoming: &Incoming, at: &RelPath, keep_theirs: Option<Sequence>) {
        let disputed = Disputed { theirs: incoming.entry().clone(), at: at.clone(), keep_theirs };
        self.disputed.entry(incoming.path().clone()).or_insert(disputed);
    }

    fn open(&mut self, path: &RelPath, reason: OpenReason, recursive: bool) {
        self.opened.entry(path.clone()).or_insert(Open { reason, recursive });
    }

    fn put(&mut self, path: &RelPath, record: Record) {
        self.decided.insert(path.clone(), Some(record.entry.clone()));
        self.fates.insert(path.clone(), Fate::Put { record: Box::new(record), wins: false });
    }
}

impl Applier {
    /// Returns the policy at a path.
    pub(super) fn policy_at(&self, path: &RelPath) -> Policy {
        self.rules.at(path, &self.policy)
    }

    /// Returns whether the peer, which has offered `remote`, has just this state, and need not be told of it.
    pub(super) fn has_this(&self, entry: &Entry, remote: &Entry) -> bool {
        let has_attributes = matches!(entry.content, Content::File { .. } | Content::Dir);
        entry.same_versions(remote)
            && (!has_attributes || entry.same_attributes(remote, self.policy.mask.and(entry.vouched)))
    }

    /// Decides about an offer, with what holds at its path.
    pub(super) fn judge(
        &self,
        path: &RelPath,
        local: Option<&Entry>,
        remote: &Entry,
        above: Above,
    ) -> Decision {
        let policy = self.policy_at(path);
        let plain = self.rules.limit(reconcile(local, remote, above, &policy));
        let choices = self.choices.read().expect("no thread panics with this locked");
        match (choices.at(path), plain) {
            (None, plain) | (Some(_), plain @ (Decision::Keep | Decision::Merge(_))) => plain,
            (Some(Choice::Skip), _) => Decision::Refuse(CHOICE),
            (Some(choice), _) if !choices.knows(choice, local, Some(remote), self.ids()) => {
                Decision::Refuse(CHANGED)
            }
            (Some(choice), _) => self.rules.limit(reconcile(local, remote, above, &choice.over(policy))),
        }
    }

    /// Returns why a path is to stay as it is, whatever becomes of the directory that it is in; `None` if nobody wants that.
    pub(super) fn skipped(&self, path: &RelPath) -> Option<&'static str> {
        let choices = self.choices.read().expect("no thread panics with this locked");
        matches!(choices.at(path), Some(Choice::Skip)).then_some(CHOICE)
    }

    /// Returns the policy for what stands here below a directory that goes, with what a person has chosen about it.
    pub(super) fn policy_below(&self, path: &RelPath, local: &Entry) -> Policy {
        let policy = self.policy_at(path);
        let choices = self.choices.read().expect("no thread panics with this locked");
        match choices.at(path).filter(|&choice| choices.knows(choice, Some(local), None, self.ids())) {
            Some(choice) => choice.over(policy),
            None => policy,
        }
    }

    fn ids(&self) -> (ReplicaId, ReplicaId) {
        (self.replica.id(), self.peer)
    }

    /// Deals with a chunk of offers in the order of a walk. `complete`: nothing more of the batch follows. `position`:
    /// with this chunk everything up to this number of the peer is dealt with. `plan`: decide, and change nothing.
    ///
    /// # Errors
    /// When the archive fails. What is in the tree then is found again by a scan.
    pub fn apply(
        &mut self,
        open: &RwLock<OpenSet>,
        offered: Offered,
        chunk: Vec<Incoming>,
        complete: bool,
        position: Option<Sequence>,
        plan: bool,
    ) -> Result<Applied, ArchiveError> {
        let replica = self.replica.clone();
        let paths = if plan { Vec::new() } else { chunk.iter().map(|i| i.path().clone()).collect() };
        let held = replica.busy.hold(paths);
        let mut work = Work::default();
        {
            let snapshot = replica.archive.read()?;
            {
                let open = &open.read().expect("no thread panics with this locked");
                let applier = &*self;
                decide::Decider { applier, snapshot: &snapshot, open, offered, plan }
                    .decide(&mut work, chunk, complete)?;
            }
            if !plan {
                let mut doer = steps::Doer::new(self, &snapshot);
                doer.run(&mut work)?;
            }
        }
        if !plan {
            let open = &mut open.write().expect("no thread panics with this locked");
            let started = Instant::now();
            self.record(&mut work, open, position)?;
            let took = started.elapsed();
            replica.times.add(Stage::Record, took);
            tracing::debug!(?took, "recorded");
        }
        drop(held);
        if position.is_some() && !plan {
            // They have met: from here on a deletion says what it says.
            self.policy.first_meeting = false;
        }
        Ok(work.applied)
    }

    /// Writes what was done.
    fn record(
        &mut self,
        work: &mut Work,
        open: &mut OpenSet,
        position: Option<Sequence>,
    ) -> Result<(), ArchiveError> {
        let nothing = work.fates.is_empty()
            && work.refreshed.is_empty()
            && work.opened.is_empty()
            && work.disputed.is_empty()
            && position.is_none();
        if nothing && work.closed.iter().all(|path| open.get(path).is_none()) {
            return Ok(());
        }
        let durable = self.durable();
        let closed: Vec<&RelPath> =
            work.closed.iter().filter(|path| !work.opened.contains_key(*path)).collect();
        let (all_below, alone): (Vec<&RelPath>, Vec<&RelPath>) =
            closed.into_iter().partition(|path| open.awaits_all(path));
        self.subtrees.opened(work.opened.keys());
        let subtrees = self.subtrees.answered(all_below, &work.asked);
        let head = self.replica.archive.write(durable, |w| {
            let mut head = Sequence(0);
            for (path, fate) in &mut work.fates {
                match fate {
                    Fate::Forget => w.remove(path)?,
                    Fate::Put { record, wins } => {
                        let sequence = w.next_sequence();
                        record.sequence = sequence;
                        if *wins {
                            record.entry = record.entry.bumped(w.replica(), sequence);
                        }
                        w.put(path, record)?;
                        head = sequence;
                    }
                }
            }
            for (path, record) in &work.refreshed {
                if w.get(path)?.is_some_and(|now| now.sequence == record.sequence) {
                    w.put(path, record)?;
                }
            }
            for path in &work.intents {
                w.clear_intent(path)?;
            }
            for path in alone.into_iter().chain(subtrees.over) {
                open.remove(w, self.peer, path)?;
            }
            for (path, reason) in &work.opened {
                open.insert(w, self.peer, path, reason.clone())?;
            }
            for (path, disputed) in &work.disputed {
                if w.disputed(self.peer, path)?.as_ref() != Some(disputed) {
                    w.set_disputed(self.peer, path, disputed)?;
                }
            }
            if let Some(position) = position {
                w.set_position(self.peer, position, self.scope)?;
            }
            Ok(head)
        })?;
        work.applied.again.extend(subtrees.again);
        self.replica.announce(head);
        Ok(())
    }

    pub(super) fn durable(&self) -> Durable {
        match self.replica.options.fsync {
            Fsync::Batch | Fsync::File => Durable::Yes,
            Fsync::None => Durable::Later,
        }
    }

    /// Returns whether the link is not about a path.
    pub(super) fn leaves_out(&self, path: &RelPath) -> bool {
        let outside =
            !self.paths.is_empty() && !self.paths.iter().any(|p| path.starts_with(p) || p.starts_with(path));
        outside || self.filter.ignores_at_or_above(path)
    }

    /// Starts to receive the content of an offer.
    ///
    /// # Errors
    /// In words for a person, when it cannot be prepared.
    pub fn transfer(&self, incoming: &Incoming) -> Result<Transfer, String> {
        let Content::File { size, .. } = incoming.entry().content else {
            return Err("it has no content".to_owned());
        };
        let Some((parent, name)) = incoming.path().split() else {
            return Err("the root has no content".to_owned());
        };
        let dir = self.replica.dir.open_dir(&parent);
        let dir = dir.map_err(|e| format!("cannot open its directory: {e}"))?;
        let staged = self.replica.committer.stage_file(&dir, &name).map_err(|e| words(&e))?;
        Ok(Transfer { staged, hasher: Box::default(), written: 0, size, basis: None })
    }

    /// What is done about programs that have a file open for writing.
    fn writers(&self) -> Writers {
        Writers::Wait
    }
}

/// Says an error with its causes.
pub(crate) fn words(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// What an error of a commit means for the offer.
enum Trouble {
    /// The disk is not what the archive says: look and decide again.
    Stale(String),
    /// It did not work.
    Failed(String),
}

fn trouble(error: &CommitError) -> Trouble {
    let text = words(error);
    match error {
        CommitError::Stale { .. } | CommitError::NotEmpty { .. } | CommitError::DirGone { .. } => {
            Trouble::Stale(text)
        }
        CommitError::Busy { .. } | CommitError::Io { .. } => Trouble::Failed(text),
    }
}
