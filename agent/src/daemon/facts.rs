//! The [`LinkFacts`] are what can be told of a link: its state, its backlog, what it carried and how fast.

use crate::core::path::RelPath;
use crate::core::version::ReplicaId;
use crate::link::{Event, Gauge, Outcome, Totals};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// How far back rates are taken, in samples of about a second.
const SAMPLES: usize = 60;
/// Over how many of them a rate is the mean.
const RATE: usize = 10;

/// How a link stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It waits for the replica of this end, which says why.
    Waiting,
    /// It is being made.
    Connecting,
    /// Both ends look at their trees.
    Scanning,
    /// What differs is carried over.
    CatchingUp,
    /// Both ends were in step, and changes are carried as they happen.
    Live,
    /// It broke, or could not be made; it is tried again then.
    Broken {
        /// Why.
        why: String,
        /// When.
        again: SystemTime,
    },
    /// A guard of the other end refuses to go on.
    Halted {
        /// Why.
        why: String,
        /// How many deletions `resume` approves there.
        deletions: Option<u64>,
    },
    /// A person has paused it.
    Paused,
    /// The other end, which has this replica, has dialled: that link carries everything. It may have broken just now.
    ByOtherEnd(ReplicaId),
    /// The peer is this root itself, as in a configuration that is the same on several hosts.
    Itself,
    /// It is over.
    Closed,
}

impl State {
    /// Returns the state as one word.
    pub fn word(&self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Connecting => "connecting",
            State::Scanning => "scanning",
            State::CatchingUp => "catching-up",
            State::Live => "live",
            State::Broken { .. } => "broken",
            State::Halted { .. } => "halted",
            State::Paused => "paused",
            State::ByOtherEnd(_) => "by-other-end",
            State::Itself => "itself",
            State::Closed => "closed",
        }
    }

    /// Returns how many deletions of the other end a person can approve, where a guard there has halted.
    pub fn deletions(&self) -> Option<u64> {
        match self {
            State::Halted { deletions, .. } => *deletions,
            State::Waiting
            | State::Connecting
            | State::Scanning
            | State::CatchingUp
            | State::Live
            | State::Broken { .. }
            | State::Paused
            | State::ByOtherEnd(_)
            | State::Itself
            | State::Closed => None,
        }
    }

    /// Returns why it is not live, where there is a reason.
    pub fn why(&self) -> Option<&str> {
        match self {
            State::Broken { why, .. } | State::Halted { why, .. } => Some(why),
            State::Waiting
            | State::Connecting
            | State::Scanning
            | State::CatchingUp
            | State::Live
            | State::Paused
            | State::ByOtherEnd(_)
            | State::Itself
            | State::Closed => None,
        }
    }
}

/// What can be told of a link.
pub struct LinkFacts {
    /// The block that it belongs to.
    pub block: String,
    /// The root at this end.
    pub root: String,
    /// The root at the other end.
    pub peer: String,
    /// Whether this end dials.
    pub dials: bool,
    yields: Notify,
    paused: AtomicBool,
    /// It has come to an end of its first try, one way or the other.
    tried: AtomicBool,
    inner: Mutex<Inner>,
}

struct Inner {
    state: State,
    since: SystemTime,
    /// Since when there is no session, whatever is tried meanwhile.
    broken: Option<SystemTime>,
    /// In which options the other end is configured otherwise, if it is, and the session has to end for that.
    otherwise: Option<String>,
    gauge: Option<Gauge>,
    /// Of the sessions before this one.
    before: Totals,
    replica: Option<ReplicaId>,
    sessions: u64,
    carried: u64,
    failed: u64,
    last: Option<(SystemTime, RelPath)>,
    samples: VecDeque<(Instant, Totals)>,
}

/// The numbers of a link at a moment.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// The replica at the other end, once it is known.
    pub replica: Option<ReplicaId>,
    /// How often it was made.
    pub sessions: u64,
    /// Changes that it carried, both ways.
    pub carried: u64,
    /// Changes that it could not carry.
    pub failed: u64,
    /// The last change that it carried, and when.
    pub last: Option<(SystemTime, RelPath)>,
    /// Bytes, both ways.
    pub totals: Totals,
    /// Bytes a second over the last ten seconds, both ways.
    pub rates: Totals,
}

impl LinkFacts {
    /// Makes them for a link that is to come.
    pub fn new(block: String, root: String, peer: String, dials: bool) -> LinkFacts {
        let inner = Inner {
            state: State::Waiting,
            since: SystemTime::now(),
            broken: None,
            otherwise: None,
            gauge: None,
            before: Totals::default(),
            replica: None,
            sessions: 0,
            carried: 0,
            failed: 0,
            last: None,
            samples: VecDeque::new(),
        };
        let (paused, tried) = (AtomicBool::new(false), AtomicBool::new(false));
        LinkFacts { block, root, peer, dials, yields: Notify::new(), paused, tried, inner: Mutex::new(inner) }
    }

    /// Ends its session: another one carries everything.
    pub fn give_way(&self) {
        self.yields.notify_one();
    }

    /// Ends its session: the other end is configured otherwise.
    pub fn disagree(&self, why: String) {
        self.inner().otherwise = Some(why);
        self.give_way();
    }

    /// Waits until its session has to end for another one; or for what is configured otherwise, which it returns then.
    pub async fn has_to_give_way(&self) -> Option<String> {
        self.yields.notified().await;
        self.inner().otherwise.take()
    }

    /// Notes that it was tried: its peer is known by now, or cannot be reached.
    pub fn set_tried(&self) {
        self.tried.store(true, Ordering::SeqCst);
    }

    /// Returns whether it was tried.
    pub fn was_tried(&self) -> bool {
        self.tried.load(Ordering::SeqCst)
    }

    /// Notes which replica is at the other end, though there is no session with it.
    pub fn know(&self, replica: ReplicaId) {
        self.inner().replica = Some(replica);
    }

    /// Notes whether a person wants it paused; it may still be about to stop.
    pub fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::SeqCst);
    }

    /// Returns whether a person wants it paused.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Returns whether there is a session with this replica.
    pub fn is_with(&self, root: &str, replica: ReplicaId) -> bool {
        let inner = self.inner();
        self.root == root && inner.gauge.is_some() && inner.replica == Some(replica)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no thread panics with this locked")
    }

    /// Notes how it stands now.
    pub fn set(&self, state: State) {
        let mut inner = self.inner();
        if inner.state == state {
            return;
        }
        let now = SystemTime::now();
        match state {
            // Trying again, and in vain, makes it no shorter.
            State::Broken { .. } => inner.since = *inner.broken.get_or_insert(now),
            State::Waiting | State::Connecting => inner.since = now,
            State::Scanning
            | State::CatchingUp
            | State::Live
            | State::Halted { .. }
            | State::Paused
            | State::ByOtherEnd(_)
            | State::Itself
            | State::Closed => (inner.since, inner.broken) = (now, None),
        }
        inner.state = state;
    }

    /// Returns how it stands.
    pub fn state(&self) -> State {
        self.inner().state.clone()
    }

    /// Notes that a session begins, with this replica.
    pub fn begin(&self, gauge: Gauge, replica: ReplicaId) {
        // What a session before this one was told when it was over already does not concern this one.
        let stale = pin!(self.yields.notified());
        let _ = stale.poll(&mut Context::from_waker(Waker::noop()));
        let mut inner = self.inner();
        inner.otherwise = None;
        inner.gauge = Some(gauge);
        inner.replica = Some(replica);
        inner.sessions += 1;
    }

    /// Notes that the session is over.
    pub fn end(&self) {
        let mut inner = self.inner();
        if let Some(gauge) = inner.gauge.take() {
            let (before, more) = (inner.before, gauge.totals());
            inner.before =
                Totals { sent: before.sent + more.sent, received: before.received + more.received };
        }
    }

    /// Returns what tells how its session stands, if there is one.
    pub fn gauge(&self) -> Option<Gauge> {
        self.inner().gauge.clone()
    }

    /// Returns the replica at the other end, once it is known.
    pub fn replica(&self) -> Option<ReplicaId> {
        self.inner().replica
    }

    /// Notes what a session tells.
    pub fn event(&self, event: &Event) {
        let Event::Change { path, outcome, .. } = event else { return };
        let mut inner = self.inner();
        match outcome {
            Outcome::Done | Outcome::Partly(_) => {
                inner.carried += 1;
                inner.last = Some((SystemTime::now(), path.clone()));
            }
            Outcome::Failed(_) => inner.failed += 1,
            Outcome::Skipped(_) => {}
        }
    }

    /// Takes a sample for the rates; to be called about once a second.
    pub fn sample(&self) {
        let mut inner = self.inner();
        let totals = inner.totals();
        if inner.samples.len() >= SAMPLES {
            inner.samples.pop_front();
        }
        inner.samples.push_back((Instant::now(), totals));
    }

    /// Returns the numbers of this moment.
    pub fn numbers(&self) -> Numbers {
        let inner = self.inner();
        let totals = inner.totals();
        let old =
            inner.samples.len().checked_sub(RATE).map_or(inner.samples.front(), |at| inner.samples.get(at));
        let rates = old.map_or(Totals::default(), |(then, old)| {
            let seconds = then.elapsed().max(Duration::from_secs(1)).as_secs_f64();
            let rate = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds) as u64;
            Totals { sent: rate(totals.sent, old.sent), received: rate(totals.received, old.received) }
        });
        Numbers {
            state: inner.state.clone(),
            since: inner.since,
            replica: inner.replica,
            sessions: inner.sessions,
            carried: inner.carried,
            failed: inner.failed,
            last: inner.last.clone(),
            totals,
            rates,
        }
    }
}

impl Inner {
    fn totals(&self) -> Totals {
        let now = self.gauge.as_ref().map(Gauge::totals).unwrap_or_default();
        Totals { sent: self.before.sent + now.sent, received: self.before.received + now.received }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> LinkFacts {
        LinkFacts::new("block".to_owned(), "/here".to_owned(), "/there".to_owned(), true)
    }

    /// Each try in vain began the time anew: a link that was away for days was broken for seconds.
    #[test]
    fn a_link_is_broken_since_it_broke() {
        let facts = facts();
        let broken = |why: &str| State::Broken { why: why.to_owned(), again: SystemTime::now() };
        facts.set(State::Live);
        facts.set(broken("once"));
        let since = facts.numbers().since;
        std::thread::sleep(Duration::from_millis(2));
        for _ in 0..2 {
            facts.set(State::Waiting);
            facts.set(State::Connecting);
            assert!(facts.numbers().since > since);
            facts.set(broken("again"));
            assert_eq!(facts.numbers().since, since);
        }
        facts.set(State::Live);
        facts.set(broken("anew"));
        assert!(facts.numbers().since > since);
    }
}
