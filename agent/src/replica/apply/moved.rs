//! A file that the peer has under another name: where the old name goes in the same chunk, the file is renamed here as well,
//! and nothing is copied.
//!
//! Crash invariant: that the new name is about to appear is noted before, as for every file. A scan that finds it adopts it,
//! and the old name, found gone, meets the peer's tombstone as an equal state.

use super::steps::{Doer, Sorted, Step};
use super::{Trouble, Work, trouble, words};
use crate::archive::OpenReason;
use crate::core::entry::{Content, Record};
use crate::replica::commit::{CommitError, Expected, Published, Refused};
use crate::wire::{Action, Verdict};
use std::collections::HashMap;

/// A file that gets another name.
pub(super) struct Move {
    /// What comes at the new name.
    pub step: Step,
    /// What goes at the old one.
    pub gone: Step,
    expected: Expected,
}

impl Doer<'_> {
    /// Takes out the files that only get another name, with the deletions of their old ones.
    pub(super) fn moves(&self, sorted: &mut Sorted) -> Vec<Move> {
        let mut old = HashMap::new();
        for (at, gone) in sorted.deletions.iter().enumerate() {
            if self.replica().versions.keeps(gone.incoming.path()) {
                continue;
            }
            old.insert(gone.incoming.path().clone(), at);
        }
        if old.is_empty() {
            return Vec::new();
        }
        let (mut pairs, mut files) = (Vec::new(), Vec::new());
        for step in std::mem::take(&mut sorted.files) {
            let found = step.sources.iter().find_map(|source| {
                let at = *old.get(source)?;
                let expected = self.is_moved(&step, sorted.deletions[at].local.as_ref()?)?;
                Some((source.clone(), at, expected))
            });
            match found {
                Some((source, at, expected)) => {
                    old.remove(&source);
                    pairs.push((at, step, expected));
                }
                None => files.push(step),
            }
        }
        sorted.files = files;
        let mut deletions: Vec<Option<Step>> =
            std::mem::take(&mut sorted.deletions).into_iter().map(Some).collect();
        let mut moves = Vec::with_capacity(pairs.len());
        for (at, step, expected) in pairs {
            // Each was found once.
            if let Some(gone) = deletions[at].take() {
                moves.push(Move { step, gone, expected });
            }
        }
        sorted.deletions = deletions.into_iter().flatten().collect();
        moves
    }

    /// Returns what has to stand at the old name, if that is just what is to stand at the new one.
    fn is_moved(&self, step: &Step, old: &Record) -> Option<Expected> {
        if step.local.as_ref().is_some_and(|local| local.entry.content.is_live()) {
            return None;
        }
        let policy = &self.applier.policy;
        let (new, was) = (&step.entry, &old.entry);
        let shown = old.shown.as_ref()?;
        let looks_the_same = new.content == was.content
            && matches!(new.content, Content::File { .. })
            && new.same_attributes(was, policy.mask.and(new.vouched))
            && was.attributes.equal_under(&shown.attributes, policy.mask)
            && (!policy.times || new.mtime == shown.mtime);
        looks_the_same.then(|| Self::expected(old)).flatten()
    }

    /// Gives the files their new names.
    pub(super) fn publish_moves(&mut self, work: &mut Work, moves: Vec<Move>) {
        for Move { step, gone, expected } in moves {
            match self.rename_file(&step, &gone, &expected) {
                Ok(published) => {
                    let here = gone.local.as_ref().map(|record| record.entry.clone());
                    let path = gone.incoming.path().clone();
                    work.put(&path, self.tombstone(gone.entry, gone.incoming.entry(), false));
                    work.answer(&gone.incoming, here.as_ref(), Verdict::Took(Action::Delete));
                    self.done(work, step, &published, Refused::default());
                }
                Err(error) => match trouble(&error) {
                    Trouble::Stale(why) => {
                        self.stale(work, step.incoming, why.clone());
                        self.stale(work, gone.incoming, why);
                    }
                    Trouble::Failed(_) => {
                        // Between two file systems there is no renaming: then it comes from the peer.
                        tracing::debug!(path = %step.incoming.path(), why = words(&error), "cannot be renamed");
                        work.decided.remove(step.incoming.path());
                        work.open(step.incoming.path(), OpenReason::Pending, false);
                        work.applied.wanted.push(step.incoming);
                        self.delete(work, gone);
                    }
                },
            }
        }
    }

    fn rename_file(
        &mut self,
        step: &Step,
        gone: &Step,
        expected: &Expected,
    ) -> Result<Published, CommitError> {
        let path = step.incoming.path();
        let stale = || CommitError::Stale { path: path.clone(), found: None, backups: Vec::new() };
        let (old, name) = self.dir_of(gone.incoming.path()).map_err(|_| stale())?;
        let (new, new_name) = self.dir_of(path).map_err(|_| stale())?;
        self.replica().committer.rename(&old, &name, &new, &new_name, expected)
    }
}
