//! A link is a session between two replicas. Both ends run the same parts:
//!
//! - the *offerer* sends every entry above the number that the peer has acknowledged ([`offer`]);
//! - the *receiver* decides about what comes, puts it into the tree and answers ([`receive`]);
//! - the *content pumps* send the bytes that the peer asks for ([`content`]), or a recipe over what it has ([`delta`]).
//!
//! Only the opening and the end differ ([`session`]): one end dials, and says what to do.
//!
//! What bounds the memory: each direction has at most [`credit::OFFER_WINDOW`] of offers and
//! [`credit::DATA_WINDOW`] of content under way, and a queue of a few frames. A peer that sends more is cut off.

mod compress;
mod content;
pub mod credit;
pub(crate) mod delta;
mod event;
mod gauge;
#[cfg(test)]
mod hostile;
mod offer;
pub mod open_set;
pub mod order;
mod receive;
pub mod session;
mod streams;

pub use event::{Event, Outcome, describe, describe_both};
pub use gauge::{Backlog, Gauge};
pub use session::{Accepted, LinkError, Setup, Totals, accept, initiate};

use crate::archive::ArchiveError;
use crate::core::entry::{Entry, Kind};
use crate::core::filter::Filter;
use crate::core::path::RelPath;
use crate::core::reconcile::{Choice, Choices, Chosen, Policy, Side};
use crate::core::version::{ReplicaId, Sequence};
use crate::replica::{Replica, Stage};
use crate::wire::{self, Action, Message, OfferNumber, Verdict, encode_in_frames};
use bytes::Bytes;
use credit::{Closed, Credit};
use open_set::OpenSet;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;
use tokio::sync::{Notify, mpsc};

/// What a frame of content, or one that stands for content or ends it, counts against the window beside its bytes: more
/// than it takes until it is dealt with. Without that a hostile peer could send any number of them.
pub(crate) const FRAME_COST: u64 = 256;

/// An offer that the peer has not answered.
#[derive(Debug)]
pub(crate) struct Sent {
    pub path: RelPath,
    pub entry: Entry,
    /// How many bytes of content went along, if any did.
    pub inline: Option<u64>,
    pub sequence: Sequence,
    /// Where it was, if it is a rename as a whole.
    pub from: Option<RelPath>,
    /// When.
    pub at: Instant,
}

/// What the parts of one end share.
pub(crate) struct Shared {
    pub replica: Arc<Replica>,
    pub peer: ReplicaId,
    pub policy: Policy,
    pub filter: Filter,
    pub paths: Vec<RelPath>,
    pub numeric_ids: bool,
    /// Content that the receiver has elsewhere is copied there.
    pub copy_local: bool,
    /// The peer takes renames as a whole.
    pub renames: bool,
    /// This end says what to do, and is told nothing.
    pub dials: bool,
    /// It has been said what to do. Before that no entry is taken.
    pub started: AtomicBool,
    /// The session is over: whoever works for it stops.
    pub closed: AtomicBool,
    /// Decide and answer, but change nothing. So it is until it has been said what to do.
    pub plan: AtomicBool,
    /// The position towards the peer was reached with the patterns and attributes of now.
    pub same_scope: bool,
    pub open: RwLock<OpenSet>,
    /// What changes is followed; else a pass ends at some time, however much changes meanwhile.
    pub live: AtomicBool,
    pub sent: Mutex<HashMap<OfferNumber, Sent>>,
    /// What the peer asks to be offered again.
    pub again: Again,
    /// The peer waits to hear that this end is at rest.
    pub settling: AtomicBool,
    /// What the peer has asked for, and has not been sent.
    pub asked: Mutex<HashSet<OfferNumber>>,
    /// How many of those with a basis.
    pub bases: AtomicUsize,
    /// What the peer did not take of it, and why.
    pub refused: Mutex<BTreeMap<RelPath, String>>,
    pub offer_credit: Credit,
    pub data_credit: Credit,
    /// Everything up to this number of ours is offered, or being offered from a snapshot.
    pub offered_through: AtomicU64,
    /// Everything up to this number of ours the peer had dealt with when the session began; unknown as yet: all.
    pub settled: AtomicU64,
    /// Everything up to this number of ours was considered by the offerer.
    pub considered: AtomicU64,
    pub idle: Idle,
    /// Conflicts that a person has decided for the peer's state, when the session began; true: already told of in a plan.
    pub decided: Mutex<BTreeMap<RelPath, bool>>,
    /// Conflicts that the peer asks to be ended with what stands here.
    pub resolutions: Mutex<BTreeSet<RelPath>>,
    /// What a person has chosen after a plan.
    pub choices: Arc<RwLock<Choices>>,
    /// Whether the root of this end is the first.
    pub is_first: bool,
    pub events: mpsc::UnboundedSender<Event>,
    compression: compress::Compression,
    out: mpsc::Sender<Bytes>,
}

/// What the end of a batch counts against the window of offers, for the same reason.
pub(crate) const BATCH_COST: u64 = 512;

/// So many paths the peer may ask for one by one; beyond that everything is offered again. Also bounds what a hostile
/// one can make this end remember.
const AGAIN_ONE_BY_ONE: usize = 100_000;

/// The same, in bytes of all the paths together.
const AGAIN_BYTES: usize = 32 << 20;

/// So many choices a person can make about one plan, one by one. Bounds what a hostile peer can make this end remember.
pub const CHOICES: usize = 100_000;
/// The same, in bytes of all the paths together.
const CHOICES_BYTES: usize = 32 << 20;

/// Paths that are to be offered again: true with all below.
#[derive(Debug, Default)]
pub(crate) struct Again {
    paths: Mutex<BTreeMap<RelPath, bool>>,
    /// The bytes of the paths, at least.
    bytes: AtomicUsize,
    pub asked: Notify,
}

impl Again {
    pub(crate) fn ask(&self, paths: Vec<(RelPath, bool)>) {
        let mut asked = self.paths.lock().expect("no thread panics with this locked");
        let come: usize = paths.iter().map(|(path, _)| path.as_bytes().len()).sum();
        let bytes = self.bytes.fetch_add(come, Ordering::SeqCst) + come;
        for (path, recursive) in paths {
            *asked.entry(path).or_default() |= recursive;
        }
        if asked.len() > AGAIN_ONE_BY_ONE || bytes > AGAIN_BYTES {
            *asked = BTreeMap::from([(RelPath::root(), true)]);
            self.bytes.store(0, Ordering::SeqCst);
        }
        self.asked.notify_one();
    }

    pub(crate) fn take(&self) -> BTreeMap<RelPath, bool> {
        let mut paths = self.paths.lock().expect("no thread panics with this locked");
        self.bytes.store(0, Ordering::SeqCst);
        std::mem::take(&mut *paths)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.paths.lock().expect("no thread panics with this locked").is_empty()
    }
}

/// How much of the archive a peer has been offered.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// Everything up to here, in this session.
    pub through: Sequence,
    /// What has a number up to here is not offered by itself any more.
    pub over: Sequence,
}

/// What has to come to rest before an end is settled.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    /// The offerer has something to send.
    pub offering: AtomicBool,
    /// Messages for the receiver that it has not dealt with, and contents that it waits for.
    pub receiving: AtomicU64,
    /// Grows with every batch of offers, either way.
    pub activity: AtomicU64,
    pub changed: Notify,
}

impl Idle {
    pub(crate) fn stir(&self) {
        self.changed.notify_waiters();
    }
}

impl Shared {
    /// Sends a message. Blocks while the connection is slow.
    pub(crate) fn send(&self, message: &Message) -> Result<(), Closed> {
        encode_in_frames(message).into_iter().try_for_each(|frame| self.send_frame(frame))
    }

    pub(crate) fn send_frame(&self, frame: Bytes) -> Result<(), Closed> {
        self.out.blocking_send(self.compression.pack(frame)).map_err(|_| Closed)
    }

    /// Sends a message from a task.
    pub(crate) async fn send_async(&self, message: &Message) -> Result<(), Closed> {
        for frame in encode_in_frames(message) {
            self.out.send(frame).await.map_err(|_| Closed)?;
        }
        Ok(())
    }

    pub(crate) fn tell(&self, event: Event) {
        let Some(event) = self.as_decided(event) else { return };
        // Without a listener (the end that answers) there is nobody to tell.
        let _ = self.events.send(event);
    }

    /// In a plan a conflict that a person has decided is a change.
    fn as_decided(&self, event: Event) -> Option<Event> {
        let Event::Conflict { path, local, remote } = event else { return Some(event) };
        let mut decided = self.decided.lock().expect("no thread panics with this locked");
        match decided.get_mut(&path).filter(|_| self.is_plan()) {
            None => Some(Event::Conflict { path, local, remote }),
            Some(true) => None,
            Some(told) => {
                *told = true;
                let (kind, action, side) = (Kind::File, Action::Update, Side::Local);
                Some(Event::Change { path, from: None, kind, action, side, outcome: Outcome::Done })
            }
        }
    }

    /// Returns the conflicts that a person has decided for the peer's state.
    pub(crate) fn decided(&self) -> Result<Vec<RelPath>, ArchiveError> {
        let snapshot = self.replica.archive.read()?;
        let all = snapshot.disputed_below(self.peer, &RelPath::root())?;
        let mut decided = BTreeMap::new();
        for (_, disputed) in all {
            if let Some(over) = disputed.keep_theirs
                && !decided.contains_key(&disputed.at)
            {
                let stands = snapshot.is_unchanged_since(&disputed.at, over)?;
                decided.insert(disputed.at, stands);
            }
        }
        Ok(decided.into_iter().filter(|(_, stands)| *stands).map(|(at, _)| at).collect())
    }

    /// Takes over what was decided about conflicts: those that are no longer open here are forgotten.
    pub(crate) fn reload_open(&self) -> Result<(), ArchiveError> {
        let mut open = self.open.write().expect("no thread panics with this locked");
        *open = OpenSet::load(&self.replica.archive.read()?, self.peer)?;
        Ok(())
    }

    /// Returns whether this link leaves the path out.
    pub(crate) fn leaves_out(&self, path: &RelPath) -> bool {
        let outside = |p: &&RelPath| path.starts_with(p) || p.starts_with(path);
        (!self.paths.is_empty() && !self.paths.iter().any(|p| outside(&p)))
            || self.filter.ignores_at_or_above(path)
    }

    /// Returns whether the session is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Takes over what a person has chosen. Returns whether that were too many.
    pub(crate) fn choose(&self, chosen: Vec<wire::Chosen>) -> bool {
        let side = |winner| match (winner, self.is_first) {
            (wire::Winner::First, true) | (wire::Winner::Second, false) => Side::Local,
            (wire::Winner::First, false) | (wire::Winner::Second, true) => Side::Remote,
        };
        let mut choices = self.choices.write().expect("no thread panics with this locked");
        for wire::Chosen { path, choice, below } in chosen {
            let choice = match choice {
                wire::Choice::Skip => Choice::Skip,
                wire::Choice::Settle(winner) => Choice::Settle(side(winner)),
                wire::Choice::Impose(winner) => Choice::Impose(side(winner)),
            };
            choices.insert(path, Chosen { choice, below });
        }
        choices.len() > CHOICES || choices.size() > CHOICES_BYTES
    }

    pub(crate) fn is_plan(&self) -> bool {
        self.plan.load(Ordering::Relaxed)
    }

    pub(crate) fn offered(&self) -> Offered {
        let through = self.offered_through.load(Ordering::SeqCst);
        let over = through.max(self.settled.load(Ordering::SeqCst));
        Offered { through: Sequence(through), over: Sequence(over) }
    }

    /// Returns whether nothing is left to offer, to answer or to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        // A record that was just written is not offered yet, and the offerer may not have woken up.
        let behind = self.replica.head().borrow().0 > self.considered.load(Ordering::SeqCst);
        !self.idle.offering.load(Ordering::SeqCst)
            && (self.is_plan() || !behind)
            && self.idle.receiving.load(Ordering::SeqCst) == 0
            && self.sent.lock().expect("no thread panics with this locked").is_empty()
    }

    /// Waits until [`Shared::is_idle`].
    pub(crate) async fn until_idle(&self) {
        loop {
            let changed = self.idle.changed.notified();
            if self.is_idle() {
                return;
            }
            changed.await;
        }
    }

    /// Ends the waiting of every thread of this end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.offer_credit.close();
        self.data_credit.close();
    }

    /// Takes the answer to an offer of ours, and tells what it means.
    pub(crate) fn answered(&self, number: OfferNumber, verdict: Verdict) {
        let sent = self.sent.lock().expect("no thread panics with this locked").remove(&number);
        if let Some(bytes) = sent.as_ref().and_then(|sent| sent.inline) {
            self.replica.tally.finish(1, bytes);
        }
        if let Some(sent) = &sent {
            self.replica.times.add(Stage::Answer, sent.at.elapsed());
            gauge::note(self, &sent.path, &verdict);
        }
        if let (Some(sent), Verdict::Took(Action::Rename)) = (&sent, &verdict) {
            if let Some(from) = &sent.from {
                self.tell(event::of_rename(from, &sent.path, Side::Remote));
            }
        } else if let Some(sent) = sent
            && let Some(event) =
                event::of_verdict(&sent.path, &sent.entry, None, verdict, Side::Remote, self.is_plan())
        {
            self.tell(event);
        }
        self.idle.stir();
    }
}
