//! A [`Gauge`] tells how a session stands, to whoever runs it. It does not keep the session alive.

use super::streams::Counters;
use super::{Shared, Totals};
use crate::archive::{ArchiveError, Open, OpenReason};
use crate::core::path::RelPath;
use crate::core::version::Sequence;
use crate::wire::Verdict;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// So many paths that the peer did not take are kept in mind.
const MOST_REFUSED: usize = 10_000;
/// A peer may say much; so many characters of a reason are kept.
const LONGEST_REASON: usize = 1000;
/// So many entries are counted that are still to be looked at.
const MOST_COUNTED: usize = 100_000;

/// What is still to be carried over a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Entries that the offerer has not come to. Some of them the peer may have.
    pub unsent: u64,
    /// Offers without an answer.
    pub unanswered: u64,
    /// Messages and contents from the peer that wait.
    pub incoming: u64,
}

/// Tells how a session stands, as long as it lasts.
#[derive(Clone)]
pub struct Gauge {
    shared: Weak<Shared>,
    counters: Arc<Counters>,
}

impl Gauge {
    pub(super) fn new(shared: &Arc<Shared>, counters: Arc<Counters>) -> Gauge {
        Gauge { shared: Arc::downgrade(shared), counters }
    }

    /// Returns the bytes that went each way.
    pub fn totals(&self) -> Totals {
        Totals {
            sent: self.counters.sent.load(Ordering::Relaxed),
            received: self.counters.received.load(Ordering::Relaxed),
        }
    }

    /// Returns what is still to be carried; `None` when the session is over. Reads the archive.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn backlog(&self) -> Result<Option<Backlog>, ArchiveError> {
        let Some(shared) = self.shared.upgrade() else { return Ok(None) };
        let considered = Sequence(shared.considered.load(Ordering::SeqCst));
        let head = *shared.replica.head().borrow();
        let unsent = match considered < head {
            true => shared.replica.archive.read()?.since(considered, MOST_COUNTED)?.len() as u64,
            false => 0,
        };
        let unanswered = shared.sent.lock().expect("no thread panics with this locked").len() as u64;
        Ok(Some(Backlog { unsent, unanswered, incoming: shared.idle.receiving.load(Ordering::SeqCst) }))
    }

    /// Returns whether the peer has answered for everything up to this number of ours; `None` when the session is over.
    pub fn answered(&self, through: Sequence) -> Option<bool> {
        let shared = self.shared.upgrade()?;
        let sent = shared.sent.lock().expect("no thread panics with this locked");
        let considered = shared.considered.load(Ordering::SeqCst) >= through.0;
        Some(considered && !sent.values().any(|sent| sent.sequence <= through))
    }

    /// Returns what the peer did not take, and why; empty when the session is over.
    pub fn refused(&self) -> Vec<(RelPath, String)> {
        let Some(shared) = self.shared.upgrade() else { return Vec::new() };
        let refused = shared.refused.lock().expect("no thread panics with this locked");
        refused.iter().map(|(path, why)| (path.clone(), why.clone())).collect()
    }

    /// Returns what this end could not take of the peer's, and why; empty when the session is over. Conflicts are both
    /// here and there.
    pub fn left_open(&self) -> Vec<(RelPath, String)> {
        let Some(shared) = self.shared.upgrade() else { return Vec::new() };
        let open = shared.open.read().expect("no thread panics with this locked");
        open.iter().map(|(path, open)| (path.clone(), why_open(open))).collect()
    }
}

/// Says why a path is open, for a person.
pub fn why_open(open: &Open) -> String {
    match &open.reason {
        OpenReason::Conflict => "conflict".to_owned(),
        OpenReason::Failed(why) => why.clone(),
        OpenReason::Pending => "waits for its content, for its directory, or for the other end".to_owned(),
        OpenReason::Forbidden(option) => format!("forbidden by {option}"),
    }
}

/// Keeps in mind what the peer did not take.
pub(super) fn note(shared: &Shared, path: &RelPath, verdict: &Verdict) {
    let why = match verdict {
        Verdict::Have | Verdict::Took(_) | Verdict::Won(_) => None,
        Verdict::TookPartly(_, why) | Verdict::Failed(why) => Some(why.clone()),
        Verdict::Conflict { .. } => Some("conflict".to_owned()),
        Verdict::Forbidden(option) => Some(format!("forbidden by {option}")),
        Verdict::Waits => Some("waits for its directory, or for a resolution".to_owned()),
    };
    if shared.is_plan() {
        return;
    }
    let mut refused = shared.refused.lock().expect("no thread panics with this locked");
    match why {
        None => {
            refused.remove(path);
        }
        Some(why) if refused.len() < MOST_REFUSED || refused.contains_key(path) => {
            refused.insert(path.clone(), why.chars().take(LONGEST_REASON).collect());
        }
        Some(_) => {}
    }
}
