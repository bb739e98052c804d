//! Content that is in the tree already, elsewhere: found by its hash in the archive or by the peer's hint, cloned or
//! copied, and hashed again before it is used. What the archive says of a file is never enough: a program may be
//! writing to it.

use super::decide::Decider;
use super::steps::{Doer, Step};
use super::{Incoming, Work};
use crate::archive::OpenReason;
use crate::core::entry::{Content, Digest};
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, hash_file, read_file};
use crate::replica::commit::{CommitError, Staged};
use std::io;

/// So many files with the wanted content are tried.
const TRIED: usize = 4;

impl Decider<'_> {
    /// Returns where the archive has a file with the content of an offer, as far as this link may look: what a peer did
    /// not have to know, it does not learn from what is not asked for either.
    pub(super) fn sources(&self, incoming: &Incoming) -> Vec<RelPath> {
        let Content::File { digest, size } = &incoming.entry().content else { return Vec::new() };
        if !self.applier.copy_local || *size == 0 {
            return Vec::new();
        }
        let holds = |path: &RelPath| {
            let record = self.snapshot.get(path).ok().flatten();
            record.is_some_and(|r| r.entry.content == incoming.entry().content)
        };
        let hinted = incoming.offer.like.iter().filter(|path| holds(path)).cloned();
        // An archive that cannot be read fails where it has to be written.
        let found = self.snapshot.with_content(digest, TRIED).unwrap_or_default();
        let mut sources: Vec<RelPath> = hinted.chain(found).collect();
        sources.dedup();
        sources.retain(|path| path != incoming.path() && !self.applier.leaves_out(path));
        sources
    }
}

impl Doer<'_> {
    /// Prepares the files whose content is here already. What turns out to be another is asked for. Returns all steps
    /// that go on.
    pub(super) fn copy(&mut self, work: &mut Work, files: Vec<Step>) -> Vec<Step> {
        let (copies, mut all): (Vec<Step>, Vec<Step>) =
            files.into_iter().partition(|s| !s.sources.is_empty());
        let mut placed = Vec::with_capacity(copies.len());
        for step in copies {
            match self.dir_of(step.incoming.path()) {
                Ok((dir, name)) => placed.push((step, dir, name)),
                Err(why) => self.stale(work, step.incoming, why),
            }
        }
        let doer = &*self;
        for (mut step, copied) in doer.each(placed, |(step, dir, name)| {
            let copied = doer.copy_one(&step, &dir, &name);
            (step, copied)
        }) {
            match copied {
                Some(staged) => {
                    step.incoming.staged = Some(staged);
                    all.push(step);
                }
                None => {
                    work.decided.remove(step.incoming.path());
                    work.open(step.incoming.path(), OpenReason::Pending, false);
                    work.applied.wanted.push(step.incoming);
                }
            }
        }
        all
    }

    fn copy_one(&self, step: &Step, dir: &Dir, name: &Name) -> Option<Staged> {
        let Content::File { size, digest } = step.entry.content else { return None };
        step.sources.iter().find_map(|source| match self.copy_from(source, dir, name, size, digest) {
            Ok(copied) => {
                if copied.is_some() {
                    // Whoever it is offered to in turn may find it there as well.
                    self.replica().note_gone(&digest, source);
                }
                copied
            }
            Err(error) => {
                tracing::debug!(path = %source, why = super::words(&error), "cannot be copied");
                None
            }
        })
    }

    /// Copies a file; `None` if it is not the wanted one.
    fn copy_from(
        &self,
        source: &RelPath,
        dir: &Dir,
        name: &Name,
        size: u64,
        digest: Digest,
    ) -> Result<Option<Staged>, CommitError> {
        let failed = |error| CommitError::Io { op: "read", path: source.clone(), source: error };
        let Some((parent, at)) = source.split() else { return Ok(None) };
        let file = self.replica().dir.open_dir(&parent).and_then(|dir| dir.open_file(&at)).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() != size {
            return Ok(None);
        }
        let mut staged = self.replica().committer.stage_file(dir, name)?;
        let hashed = match staged.clone_of(&file) {
            true => staged.file().map_or_else(|| Err(io::ErrorKind::InvalidInput.into()), hash_file),
            // In one pass over the bytes, where the kernel's own way of copying would need a second one to hash them.
            false => read_file(&file, |bytes| staged.write_all(bytes).map_err(io::Error::other)),
        };
        let hashed = hashed.map_err(failed)?;
        Ok((hashed.size == size && hashed.digest == digest).then_some(staged))
    }
}
