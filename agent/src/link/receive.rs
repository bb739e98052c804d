//! The receiver: decides about the offers that come, puts them into the tree, and answers. One thread, so that what
//! comes is dealt with in the order in which it came.

use super::credit::Closed;
use super::delta;
use super::event;
use super::offer::rename_cost;
use super::order::Sorter;
use super::{BATCH_COST, Event, FRAME_COST, Shared};
use crate::archive::ArchiveError;
use crate::core::entry::Content;
use crate::core::order::{Phase, Phases};
use crate::core::path::RelPath;
use crate::core::reconcile::Side;
use crate::core::renamed::Renamed;
use crate::core::version::Sequence;
use crate::replica::apply::{Applied, Applier, Awaited, IN_MOTION, Incoming, Transfer};
use crate::replica::scan::{Look, ScanError};
use crate::wire::{Action, Message, Offer, OfferNumber, Verdict, Want};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc;

/// So many offers, or so much content with them, are put into the tree at once at the most.
const CHUNK: usize = 4096;
const CHUNK_BYTES: u64 = 16 << 20;
/// So many files whose content has come are published together at the most. Each is an open file until then.
const ARRIVED: usize = 256;
/// So many changed large files are asked for at once as recipes: a list of chunks for each is under way.
pub(super) const DELTAS: usize = 4;
/// How often an offer is decided about anew because the path had changed on the disk.
const TRIES: u32 = 4;
/// So many conflicts the peer may ask to be ended at once.
/// So many contents may be on their way at a time.
const OPEN_TRANSFERS: usize = 64;
pub(super) const MOST_RESOLVED: usize = 100_000;
/// How often the peer is asked for one resolution: what it is asked for may have changed under it.
const ASKED: u32 = 3;

/// What the reader hands over.
#[derive(Debug)]
pub(super) enum Task {
    Offers(Vec<Offer>),
    Batch(Sequence),
    Renamed(Box<Renamed>),
    Data(OfferNumber, Bytes),
    Copy {
        number: OfferNumber,
        from: u64,
        length: u64,
    },
    Zeros {
        number: OfferNumber,
        length: u64,
    },
    DataEnd(OfferNumber, bool),
    /// What [`Shared::resolutions`] holds.
    Resolve,
}

/// Why receiving ended.
#[derive(Debug)]
pub(super) enum ReceiveError {
    Closed,
    Archive(ArchiveError),
    Scan(ScanError),
    /// The peer has seen more of this replica than its archive knows.
    RolledBack,
}

impl From<Closed> for ReceiveError {
    fn from(_: Closed) -> ReceiveError {
        ReceiveError::Closed
    }
}

impl From<ArchiveError> for ReceiveError {
    fn from(error: ArchiveError) -> ReceiveError {
        ReceiveError::Archive(error)
    }
}

pub(super) struct Receiver {
    shared: Arc<Shared>,
    applier: Applier,
    sorter: Sorter,
    next: u64,
    queue: VecDeque<Incoming>,
    queued_bytes: u64,
    /// The paths in the queue.
    paths: HashSet<RelPath>,
    /// Up to where the first `complete` offers of the queue bring this end; `None` while a batch is under way.
    through: Option<Sequence>,
    complete: usize,
    /// Offers whose content has come.
    arrived: Vec<Incoming>,
    /// Offers whose content has been asked for.
    wanted: HashMap<OfferNumber, Waiting>,
    wanted_paths: HashMap<RelPath, OfferNumber>,
    /// The cost of offers that wait for their content: it is given back when that has come, so that the window bounds
    /// how many wait.
    withheld: u64,
    /// Offers of changed large files, of which the old ones are not cut yet.
    to_sign: VecDeque<(OfferNumber, RelPath)>,
    signer: mpsc::UnboundedSender<(OfferNumber, RelPath)>,
    /// For which offers recipes are asked for, also if nobody waits for them any more: until the sender is done with them.
    deltas: HashSet<OfferNumber>,
    /// How many contents are on their way.
    open_transfers: usize,
    /// Conflicts that the peer asks to be ended with what stands here, and that are not known here yet.
    resolutions: Vec<RelPath>,
    /// How often the peer was asked for the resolution of a conflict.
    asked: HashMap<RelPath, u32>,
    /// More is waited for than can be noted: what has come stands, and no position says that it was all.
    asks_in_vain: bool,
    given_offers: Arc<AtomicU64>,
    given_data: Arc<AtomicU64>,
}

/// An offer that waits for its content.
struct Waiting {
    incoming: Incoming,
    cost: u64,
    /// `None` until the first bytes come: an open file for each would be too many.
    transfer: Option<Result<Transfer, String>>,
    /// It comes as a recipe over what stands there.
    as_delta: bool,
}

impl Receiver {
    pub(super) fn new(
        shared: Arc<Shared>,
        applier: Applier,
        sorter: Sorter,
        signer: mpsc::UnboundedSender<(OfferNumber, RelPath)>,
        given_offers: Arc<AtomicU64>,
        given_data: Arc<AtomicU64>,
    ) -> Receiver {
        Receiver {
            shared,
            applier,
            sorter,
            next: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            paths: HashSet::new(),
            through: None,
            complete: 0,
            arrived: Vec::new(),
            wanted: HashMap::new(),
            wanted_paths: HashMap::new(),
            withheld: 0,
            to_sign: VecDeque::new(),
            signer,
            deltas: HashSet::new(),
            open_transfers: 0,
            resolutions: Vec::new(),
            asked: HashMap::new(),
            asks_in_vain: false,
            given_offers,
            given_data,
        }
    }

    /// Deals with what comes until the session ends. Blocks.
    ///
    /// What has come meanwhile is put into the tree together: waiting for the disk is what takes the time.
    pub(super) fn run(mut self, tasks: mpsc::UnboundedReceiver<Task>) -> Result<(), ReceiveError> {
        let ended = self.deal_with(tasks);
        // Whatever ended it: what had come is of use the next time.
        for Waiting { incoming, transfer, .. } in std::mem::take(&mut self.wanted).into_values() {
            if let Some(Ok(transfer)) = transfer {
                transfer.keep(&self.shared.replica, &incoming);
            }
        }
        ended
    }

    fn discard_partial(&self, incoming: &Incoming) {
        if incoming.may_be_kept() {
            self.shared.replica.discard_partial(incoming.path());
        }
    }

    fn deal_with(&mut self, mut tasks: mpsc::UnboundedReceiver<Task>) -> Result<(), ReceiveError> {
        while let Some(task) = tasks.blocking_recv() {
            let mut dealt = 1;
            self.deal(task)?;
            while let Ok(task) = tasks.try_recv() {
                dealt += 1;
                self.deal(task)?;
            }
            self.flush()?;
            self.shared.idle.receiving.fetch_sub(dealt, Ordering::SeqCst);
            self.shared.idle.stir();
        }
        Ok(())
    }

    fn deal(&mut self, task: Task) -> Result<(), ReceiveError> {
        match task {
            Task::Offers(offers) => {
                self.applier.subtrees.begin();
                self.shared.idle.activity.fetch_add(1, Ordering::SeqCst);
                let (id, known) = (self.shared.replica.id(), self.shared.replica.archive.durable());
                for offer in offers {
                    if offer.entry.counter(id) > known.0 {
                        return Err(ReceiveError::RolledBack);
                    }
                    self.supersede(&offer.path)?;
                    // One state of a path after the other.
                    if !self.paths.insert(offer.path.clone()) {
                        self.flush()?;
                        self.paths.insert(offer.path.clone());
                    }
                    if let Some(content) = &offer.content {
                        self.shared.replica.tally.expect(1, content.len() as u64);
                    }
                    let number = OfferNumber(self.next);
                    self.next += 1;
                    self.queued_bytes += offer.cost();
                    self.queue.push_back(Incoming::new(number, offer));
                }
                if self.queue.len() >= CHUNK || self.queued_bytes >= CHUNK_BYTES {
                    self.flush()?;
                }
                while self.queue.len() >= CHUNK || self.queued_bytes >= CHUNK_BYTES {
                    if !self.chunk(CHUNK, false, None)? {
                        break;
                    }
                }
            }
            Task::Renamed(renamed) => {
                self.shared.idle.activity.fetch_add(1, Ordering::SeqCst);
                self.renamed(&renamed)?;
                self.give(rename_cost(&renamed))?;
            }
            Task::Batch(through) => {
                self.give(BATCH_COST)?;
                self.through = Some(through);
                self.complete = self.queue.len();
            }
            Task::Data(number, bytes) => {
                self.receive(number, bytes.len() as u64, |transfer, _| transfer.write(&bytes));
                self.give_data(bytes.len() as u64 + FRAME_COST)?;
            }
            Task::Copy { number, from, length } => {
                let replica = self.shared.replica.clone();
                self.receive(number, length, |transfer, of| transfer.copy(&replica, of, from, length));
                self.give_data(FRAME_COST)?;
            }
            Task::Zeros { number, length } => {
                let shared = self.shared.clone();
                self.receive(number, length, |transfer, _| transfer.zeros(length, &|| shared.is_closed()));
                self.give_data(FRAME_COST)?;
            }
            Task::Resolve => {
                // What has come before counts: the conflict may only show in it.
                let mut asked = self.shared.resolutions.lock().expect("no thread panics with this locked");
                self.resolutions.extend(std::mem::take(&mut *asked));
                drop(asked);
                self.resolutions.truncate(MOST_RESOLVED);
                self.resolve()?;
            }
            Task::DataEnd(number, complete) => {
                self.give_data(FRAME_COST)?;
                if self.deltas.remove(&number) {
                    self.sign();
                }
                self.arrived(number, complete)?;
                if self.arrived.len() >= ARRIVED {
                    self.publish_arrived()?;
                }
            }
        }
        Ok(())
    }

    /// Renames a directory as the peer has, or asks for each path by itself.
    fn renamed(&mut self, renamed: &Renamed) -> Result<(), ReceiveError> {
        let number = OfferNumber(self.next);
        self.next += 1;
        // What came before it comes before it.
        self.flush()?;
        while !self.queue.is_empty() && self.chunk(CHUNK, false, None)? {}
        self.applier.subtrees.begin();
        let shared = self.shared.clone();
        if shared.is_plan() {
            // Nothing is renamed in a plan, nor is anything noted.
            shared.send(&Message::Verdicts(vec![(number, Verdict::Waits)]))?;
            return Ok(());
        }
        let done = match self.queue.is_empty() {
            true => self.applier.rename(&shared.open, renamed)?,
            false => Err("what comes before it is not done".to_owned()),
        };
        let verdict = match done {
            Ok(()) => {
                shared.tell(event::of_rename(&renamed.from, &renamed.to, Side::Local));
                Verdict::Took(Action::Rename)
            }
            Err(why) => {
                tracing::debug!(path = %renamed.to, from = %renamed.from, why, "not renamed as a whole");
                let Awaited { again, all_noted } = self.applier.await_each(&shared.open, renamed)?;
                self.asks_in_vain |= !all_noted;
                match again.is_empty() {
                    true => Verdict::Have,
                    false => {
                        shared.send(&Message::Again(again))?;
                        Verdict::Waits
                    }
                }
            }
        };
        shared.send(&Message::Verdicts(vec![(number, verdict)]))?;
        Ok(())
    }

    /// Adds to the content of an offer that waits for it.
    fn receive(
        &mut self,
        number: OfferNumber,
        bytes: u64,
        add: impl FnOnce(&mut Transfer, &Incoming) -> Result<(), String>,
    ) {
        let Some(Waiting { incoming, transfer, .. }) = self.wanted.get_mut(&number) else { return };
        let under_way = transfer.get_or_insert_with(|| {
            // Each takes a file descriptor, and a peer that keeps to the protocol has two under way.
            if self.open_transfers >= OPEN_TRANSFERS {
                return Err("the peer sends too many files at a time".to_owned());
            }
            self.open_transfers += 1;
            self.applier.transfer(incoming).inspect_err(|_| self.open_transfers -= 1)
        });
        if let Ok(open) = under_way
            && let Err(why) = add(open, incoming)
        {
            *transfer = Some(Err(why));
            self.open_transfers -= 1;
        }
        self.shared.replica.tally.finish(0, bytes);
    }

    /// Takes out an offer that waits for its content.
    fn take_wanted(&mut self, number: OfferNumber) -> Option<Waiting> {
        let waiting = self.wanted.remove(&number)?;
        self.open_transfers -= usize::from(matches!(waiting.transfer, Some(Ok(_))));
        Some(waiting)
    }

    fn give_data(&self, bytes: u64) -> Result<(), Closed> {
        self.given_data.fetch_add(bytes, Ordering::SeqCst);
        self.shared.send(&Message::DataCredit(bytes))
    }

    /// Ends the conflicts that the peer's person has decided for what stands here. One that is not known here yet may
    /// show in the next batch.
    fn resolve(&mut self) -> Result<(), ReceiveError> {
        let mut left = Vec::new();
        for at in std::mem::take(&mut self.resolutions) {
            if self.shared.replica.keep_ours(self.shared.peer, &at)? {
                self.shared.reload_open()?;
            } else {
                left.push(at);
            }
        }
        self.resolutions = left;
        Ok(())
    }

    /// Gives up an older offer of a path whose content is on its way: what comes for it must not settle the newer one.
    fn supersede(&mut self, path: &RelPath) -> Result<(), ReceiveError> {
        if self.arrived.iter().any(|incoming| incoming.path() == path) {
            self.publish_arrived()?;
        }
        let Some(number) = self.wanted_paths.remove(path) else { return Ok(()) };
        if let Some(Waiting { cost, .. }) = self.take_wanted(number) {
            self.give(cost)?;
            self.shared.idle.receiving.fetch_sub(1, Ordering::SeqCst);
            self.shared.send(&Message::Verdicts(vec![(number, Verdict::Have)]))?;
        }
        Ok(())
    }

    /// Deals with the contents that have come, and with the batches that are complete.
    fn flush(&mut self) -> Result<(), ReceiveError> {
        self.publish_arrived()?;
        let Some(through) = self.through.take() else { return Ok(()) };
        let mut complete = std::mem::take(&mut self.complete).min(self.queue.len());
        // Several batches became one: in the order of one again.
        in_order(&mut self.queue.make_contiguous()[..complete]);
        while complete > CHUNK {
            let before = self.queue.len();
            if !self.chunk(CHUNK, false, None)? {
                break;
            }
            complete -= before - self.queue.len();
        }
        // A pass over some paths says nothing of the others: it leaves no position.
        let whole = self.shared.paths.is_empty();
        self.chunk(complete, true, Some(through).filter(|_| whole && !self.asks_in_vain))?;
        if !self.shared.is_plan() {
            let shared = self.shared.clone();
            self.applier.end_batch(&shared.open, !self.queue.is_empty())?;
        }
        self.resolve()?;
        self.resolutions.clear();
        if !self.shared.is_plan() {
            self.shared.send(&Message::Done(through))?;
        }
        Ok(())
    }

    /// Puts the contents that have come into the tree, together.
    fn publish_arrived(&mut self) -> Result<(), ReceiveError> {
        if self.arrived.is_empty() {
            return Ok(());
        }
        let mut arrived = std::mem::take(&mut self.arrived);
        arrived.sort_by(|a, b| a.path().cmp(b.path()));
        let n = arrived.len() as u64;
        let cost: u64 = arrived.iter().map(Incoming::base_cost).sum();
        self.withheld = 0;
        self.decide(arrived, true, None)?;
        let withheld = std::mem::take(&mut self.withheld);
        self.give(cost.saturating_sub(withheld))?;
        self.shared.idle.receiving.fetch_sub(n, Ordering::SeqCst);
        Ok(())
    }

    /// Takes the first `n` from the queue and deals with them. `complete`: nothing more of the batch comes. Returns
    /// whether anything was taken for good.
    fn chunk(&mut self, n: usize, complete: bool, position: Option<Sequence>) -> Result<bool, ReceiveError> {
        let n = n.min(self.queue.len());
        let mut chunk: Vec<Incoming> = self.queue.drain(..n).collect();
        chunk.iter().for_each(|incoming| {
            self.paths.remove(incoming.path());
        });
        let cost: u64 = chunk.iter_mut().map(Incoming::take_cost).sum();
        let contents = chunk.iter().filter_map(Incoming::inline);
        let (files, bytes) = contents.fold((0, 0), |(files, bytes), length| (files + 1, bytes + length));
        self.queued_bytes = self.queue.iter().map(Incoming::cost).sum();
        let held = self.decide(chunk, complete, position)?;
        self.shared.replica.tally.finish(files, bytes);
        let withheld = std::mem::take(&mut self.withheld);
        self.give(cost.saturating_sub(withheld))?;
        let progress = held.len() < n;
        for incoming in held.into_iter().rev() {
            self.paths.insert(incoming.path().clone());
            self.queue.push_front(incoming);
        }
        Ok(progress)
    }

    fn give(&self, cost: u64) -> Result<(), Closed> {
        if cost == 0 {
            return Ok(());
        }
        self.given_offers.fetch_add(cost, Ordering::SeqCst);
        self.shared.send(&Message::OfferCredit(cost))
    }

    /// Decides about offers until none of them is stale. Returns those at the end that only the rest of the batch lets
    /// decide about.
    fn decide(
        &mut self,
        mut chunk: Vec<Incoming>,
        complete: bool,
        position: Option<Sequence>,
    ) -> Result<Vec<Incoming>, ReceiveError> {
        let shared = self.shared.clone();
        let mut held = Vec::new();
        let mut position = position;
        for attempt in 0.. {
            let (offered, whole) = (shared.offered(), complete || attempt > 0);
            let applied =
                self.applier.apply(&shared.open, offered, chunk, whole, position.take(), shared.is_plan())?;
            let Applied { outcomes, wanted, stale, held: more, again, mut resolve, owed } = applied;
            held.extend(more);
            let verdicts: Vec<_> = outcomes
                .into_iter()
                .map(|outcome| {
                    let told = event::of_verdict(
                        &outcome.path,
                        &outcome.offered,
                        outcome.here.as_ref(),
                        outcome.verdict.clone(),
                        Side::Local,
                        shared.is_plan(),
                    );
                    if let Some(told) = told {
                        shared.tell(told);
                    }
                    (outcome.number, outcome.verdict)
                })
                .collect();
            if !verdicts.is_empty() {
                shared.send(&Message::Verdicts(verdicts))?;
            }
            if !again.is_empty() {
                shared.send(&Message::Again(again))?;
            }
            if !owed.is_empty() && !shared.is_plan() {
                shared.idle.offering.store(true, Ordering::SeqCst);
                shared.again.ask(owed.into_iter().collect());
            }
            resolve.retain(|at| {
                let asked = self.asked.entry(at.clone()).or_default();
                *asked += 1;
                *asked <= ASKED
            });
            if !resolve.is_empty() {
                shared.send(&Message::Resolve(resolve.into_iter().collect()))?;
            }
            self.want(wanted)?;
            if stale.is_empty() {
                return Ok(held);
            }
            if attempt + 1 >= TRIES {
                self.give_up(stale)?;
                return Ok(held);
            }
            // The disk is not what the archive says: look, and decide again.
            let dirty: BTreeMap<RelPath, Look> = stale
                .iter()
                .flat_map(Incoming::suspects)
                .map(|path| (path, Look { recursive: true, written: false, ..Look::default() }))
                .collect();
            let report = shared.replica.scan_dirty(&dirty).map_err(ReceiveError::Scan)?;
            for problem in report.problems {
                shared.tell(Event::Problem { side: Side::Local, problem });
            }
            chunk = stale.into_iter().map(Incoming::renewed).collect();
        }
        Ok(held)
    }

    fn give_up(&mut self, stale: Vec<Incoming>) -> Result<(), ReceiveError> {
        let shared = self.shared.clone();
        let mut verdicts = Vec::new();
        shared.replica.archive.write(crate::archive::Durable::Later, |w| {
            let mut open = shared.open.write().expect("no thread panics with this locked");
            for incoming in &stale {
                let why = incoming
                    .why_stale()
                    .unwrap_or("it keeps changing: tried again when it is quiet")
                    .to_owned();
                let reason = crate::archive::OpenReason::Failed(why.clone());
                let recursive = false;
                open.insert(w, shared.peer, incoming.path(), crate::archive::Open { reason, recursive })?;
                verdicts.push((incoming.number, Verdict::Failed(why)));
            }
            Ok(())
        })?;
        for ((_, verdict), incoming) in verdicts.iter().zip(&stale) {
            let entry = incoming.entry();
            if let Some(told) =
                event::of_verdict(incoming.path(), entry, None, verdict.clone(), Side::Local, false)
            {
                shared.tell(told);
            }
        }
        shared.send(&Message::Verdicts(verdicts))?;
        Ok(())
    }

    /// Asks for contents.
    fn want(&mut self, mut wanted: Vec<Incoming>) -> Result<(), ReceiveError> {
        if wanted.is_empty() {
            return Ok(());
        }
        wanted.sort_by_key(|incoming| {
            let size = match incoming.entry().content {
                Content::File { size, .. } => size,
                Content::Deleted | Content::Dir | Content::Symlink { .. } => 0,
            };
            self.sorter.place(incoming.path(), incoming.is_new(), size)
        });
        let mut wants = Vec::new();
        for mut incoming in wanted {
            incoming.note_partial(&self.shared.replica);
            let offer = incoming.number;
            let as_delta = incoming.has_basis();
            if as_delta {
                self.to_sign.push_back((offer, incoming.path().clone()));
            } else {
                wants.push(Want { offer, basis: None });
            }
            let cost = incoming.base_cost();
            self.withheld += cost;
            if let Content::File { size, .. } = incoming.entry().content {
                self.shared.replica.tally.expect(1, size);
            }
            // Until it has come, this end is not at rest.
            self.shared.idle.receiving.fetch_add(1, Ordering::SeqCst);
            self.wanted_paths.insert(incoming.path().clone(), offer);
            self.wanted.insert(offer, Waiting { incoming, cost, transfer: None, as_delta });
        }
        self.sign();
        if !wants.is_empty() {
            self.shared.send(&Message::Want(wants))?;
        }
        Ok(())
    }

    /// Has the next files cut for which recipes are wanted.
    fn sign(&mut self) {
        while self.deltas.len() < DELTAS
            && let Some(next) = self.to_sign.pop_front()
        {
            if self.wanted.contains_key(&next.0) {
                self.deltas.insert(next.0);
                // A signer that is gone has found the session closed.
                let _ = self.signer.send(next);
            }
        }
    }

    /// The content of an offer is complete, or will not come.
    fn arrived(&mut self, number: OfferNumber, complete: bool) -> Result<(), ReceiveError> {
        let Some(Waiting { mut incoming, cost, transfer, as_delta }) = self.take_wanted(number) else {
            return Ok(());
        };
        self.wanted_paths.remove(incoming.path());
        self.shared.replica.tally.finish(1, 0);
        let transfer = transfer.unwrap_or_else(|| self.applier.transfer(&incoming));
        let result = match transfer {
            Err(why) => Err(why),
            Ok(_) if !complete => Err(IN_MOTION.to_owned()),
            Ok(transfer) => match &incoming.entry().content {
                Content::File { size, digest } => transfer.finish(*size, *digest),
                Content::Deleted | Content::Dir | Content::Symlink { .. } => {
                    Err("it has no content".to_owned())
                }
            },
        };
        match result {
            Ok(staged) => {
                self.discard_partial(&incoming);
                self.arrived.push(incoming.with_staged(staged));
            }
            Err(why) if as_delta && complete => {
                // What stands here changed, or cannot be read: without it.
                tracing::debug!(path = %incoming.path(), why, "a recipe did not come out: the whole file is asked for");
                incoming.forget_basis();
                self.discard_partial(&incoming);
                self.shared.idle.receiving.fetch_sub(1, Ordering::SeqCst);
                // The cost is held back already.
                let withheld = self.withheld;
                self.want(vec![incoming])?;
                self.withheld = withheld;
            }
            Err(why) => {
                self.give_up(vec![incoming.failed(why)])?;
                self.give(cost)?;
                self.shared.idle.receiving.fetch_sub(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

/// Puts offers into the order of one batch ([`crate::core::order`]).
fn in_order(offers: &mut [Incoming]) {
    offers.sort_by(|a, b| a.path().cmp(b.path()));
    let mut phases = Phases::default();
    let mut parts: HashMap<OfferNumber, Phase> = HashMap::with_capacity(offers.len());
    for incoming in &*offers {
        parts.insert(incoming.number, phases.of(incoming.path(), &incoming.entry().content));
    }
    offers.sort_by_key(|incoming| parts.get(&incoming.number).copied());
}

/// Cuts what stands in place of changed large files, and asks for recipes over that. Blocks.
pub(super) fn sign(
    shared: &Shared,
    mut wanted: mpsc::UnboundedReceiver<(OfferNumber, RelPath)>,
) -> Result<(), Closed> {
    while let Some((offer, path)) = wanted.blocking_recv() {
        let file = shared.replica.basis(&path).ok();
        // Whatever is wrong with it: then without it.
        let basis = file.and_then(|file| delta::basis(&file).ok().flatten());
        shared.send(&Message::Want(vec![Want { offer, basis }]))?;
    }
    Ok(())
}
