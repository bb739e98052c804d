//! Paths that are waited for with all below them. The peer sends such a subtree in many chunks, the directory itself first,
//! and all of it may lie below the position that is stored already: the note that it is waited for is all that brings the
//! rest after a break. So the note stays until the batch is over in which the peer has sent what it was asked for.

use super::Applier;
use crate::archive::{ArchiveError, Durable};
use crate::core::path::RelPath;
use crate::link::open_set::OpenSet;
use std::collections::BTreeSet;
use std::sync::RwLock;

/// What is known of the subtrees that are waited for, in one session.
#[derive(Debug, Default)]
pub struct Subtrees {
    /// Offers have come that belong to a batch of which the end has not.
    under_way: bool,
    /// Noted in this batch: what comes in it is not the answer yet.
    fresh: BTreeSet<RelPath>,
    /// Their directory has come in this batch because it was asked for.
    answered: BTreeSet<RelPath>,
}

/// What becomes of subtrees of which the directory itself is dealt with.
pub(super) struct Answered<'a> {
    /// Nothing more comes.
    pub over: Vec<&'a RelPath>,
    /// To be asked for.
    pub again: Vec<(RelPath, bool)>,
}

impl Subtrees {
    /// A batch has begun.
    pub fn begin(&mut self) {
        self.under_way = true;
    }

    /// A subtree is asked for from now on.
    pub(super) fn note(&mut self, path: &RelPath) {
        self.answered.remove(path);
        self.fresh.insert(path.clone());
    }

    /// Paths are open, also if they were dealt with before.
    pub(super) fn opened<'a>(&mut self, paths: impl Iterator<Item = &'a RelPath>) {
        if !self.answered.is_empty() {
            paths.for_each(|path| {
                self.answered.remove(path);
            });
        }
    }

    /// Their directories are dealt with; `asked`: those that came because they were asked for.
    pub(super) fn answered<'a>(
        &mut self,
        paths: Vec<&'a RelPath>,
        asked: &BTreeSet<RelPath>,
    ) -> Answered<'a> {
        let mut answered = Answered { over: Vec::new(), again: Vec::new() };
        for path in paths {
            match (asked.contains(path), self.fresh.contains(path)) {
                (_, true) => {}
                // It has changed, and came for that.
                (false, false) => answered.again.push((path.clone(), true)),
                (true, false) if self.under_way => {
                    self.answered.insert(path.clone());
                }
                (true, false) => answered.over.push(path),
            }
        }
        answered
    }
}

impl Applier {
    /// All offers of a batch are decided about, and what has come of it is in the archive. `more`: offers of the next one
    /// are here.
    ///
    /// # Errors
    /// When the archive fails. The subtrees are asked for once more then.
    pub fn end_batch(&mut self, open: &RwLock<OpenSet>, more: bool) -> Result<(), ArchiveError> {
        self.subtrees.under_way = more;
        self.subtrees.fresh.clear();
        let mut over = std::mem::take(&mut self.subtrees.answered);
        let open = &mut open.write().expect("no thread panics with this locked");
        over.retain(|path| open.awaits_all(path));
        if over.is_empty() {
            return Ok(());
        }
        self.replica
            .archive
            .write(Durable::Later, |w| over.iter().try_for_each(|path| open.remove(w, self.peer, path)))
    }
}
