//! What an owner that was killed left in the tree under reserved names. The first scan deals with it, before anything
//! else is done to the tree: one of the names may hold the only copy of something.

use super::Replica;
use super::commit::{Leftover, LeftoverFate, LeftoverVerdict};
use crate::archive::{ArchiveError, Snapshot};
use crate::core::entry::{Content, Record};
use crate::core::path::{Name, RelPath};
use crate::fs::Dir;

impl Replica {
    /// Deals with the leftovers in one directory. Returns what a person should know.
    ///
    /// # Errors
    /// When the archive fails.
    pub(super) fn recover(
        &self,
        dir: &Dir,
        path: &RelPath,
        snapshot: &Snapshot,
    ) -> Result<Vec<String>, ArchiveError> {
        let mut told = Vec::new();
        let names = match self.committer.leftovers(dir) {
            Ok(names) => names,
            Err(error) => return Ok(vec![super::apply::words(&error)]),
        };
        if names.is_empty() {
            return Ok(told);
        }
        let known = snapshot.children(path)?;
        for name in names {
            let fate = self
                .committer
                .examine_leftover(dir, &name, |leftover| judge(leftover, dir, &known, snapshot));
            match fate {
                Ok(
                    LeftoverFate::Removed | LeftoverFate::PutBack | LeftoverFate::Gone | LeftoverFate::InUse,
                ) => {}
                Ok(LeftoverFate::Kept(backup)) => {
                    told.push(format!(
                        "kept something that an interrupted change left and nobody knows: {backup:?}"
                    ));
                }
                Ok(LeftoverFate::Shown(shown)) => {
                    told.push(format!("kept a directory that an interrupted change left, as {shown:?}"));
                }
                Err(error) => told.push(super::apply::words(&error)),
            }
        }
        Ok(told)
    }
}

/// Says what the archive knows of a leftover.
fn judge(
    leftover: &Leftover,
    dir: &Dir,
    known: &[(RelPath, Record)],
    snapshot: &Snapshot,
) -> LeftoverVerdict {
    let is_it = |content: &Content| match content {
        Content::File { digest, .. } => leftover.digest == Some(*digest),
        Content::Symlink { target } => leftover.target.as_ref() == Some(target),
        Content::Dir | Content::Deleted => false,
    };
    let mut verdict = LeftoverVerdict::Unknown;
    for (path, record) in known {
        // What was about to be put there is the peer's, which still has it.
        if snapshot.intent(path).ok().flatten().is_some_and(|intent| is_it(&intent.entry.content)) {
            return LeftoverVerdict::Known;
        }
        if !is_it(&record.entry.content) {
            continue;
        }
        let Some(name) = path.name() else { continue };
        if is_vacant(dir, &name) {
            return LeftoverVerdict::PutBack(name);
        }
        // The peer's state took its place, or it stands under its name as well.
        verdict = LeftoverVerdict::Known;
    }
    verdict
}

fn is_vacant(dir: &Dir, name: &Name) -> bool {
    matches!(dir.stat(name), Ok(None))
}
