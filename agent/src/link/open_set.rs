//! The [`OpenSet`] is the paths that the local end has seen an offer for and has not dealt with: in conflict, failed, or
//! waiting. It is the archive's table of open paths, in memory.

use crate::archive::{ArchiveError, Open, OpenReason, Snapshot, Writer};
use crate::core::path::RelPath;
use crate::core::version::ReplicaId;
use std::collections::BTreeMap;

/// The open paths towards one peer.
#[derive(Debug, Default)]
pub struct OpenSet {
    paths: BTreeMap<RelPath, Open>,
}

impl OpenSet {
    /// Reads what the archive has.
    pub fn load(snapshot: &Snapshot, peer: ReplicaId) -> Result<OpenSet, ArchiveError> {
        Ok(OpenSet { paths: snapshot.open(peer)?.collect::<Result<_, _>>()? })
    }

    /// Notes a path as open, here and in the archive. What is waited for with all below it stays so, whatever is found out
    /// about the path itself.
    pub fn insert(
        &mut self,
        w: &mut Writer<'_>,
        peer: ReplicaId,
        path: &RelPath,
        mut open: Open,
    ) -> Result<(), ArchiveError> {
        open.recursive |= self.awaits_all(path);
        if self.paths.get(path) != Some(&open) {
            w.set_open(peer, path, &open)?;
            self.paths.insert(path.clone(), open);
        }
        Ok(())
    }

    /// Notes a path as dealt with, here and in the archive.
    pub fn remove(
        &mut self,
        w: &mut Writer<'_>,
        peer: ReplicaId,
        path: &RelPath,
    ) -> Result<(), ArchiveError> {
        match self.paths.remove(path) {
            Some(_) => w.close_open(peer, path),
            None => Ok(()),
        }
    }

    /// Returns what is open at the path itself.
    pub fn get(&self, path: &RelPath) -> Option<&Open> {
        self.paths.get(path)
    }

    /// Returns whether a path is waited for with all below it: that it came by itself settles nothing of that.
    pub fn awaits_all(&self, path: &RelPath) -> bool {
        let waits = |open: &Open| matches!(open.reason, OpenReason::Pending | OpenReason::Failed(_));
        self.paths.get(path).is_some_and(|open| open.recursive && waits(open))
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.paths.len()
    }

    /// Returns all of them, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&RelPath, &Open)> {
        self.paths.iter()
    }

    /// Returns all of them, for asking the peer to offer them again.
    pub fn all(&self) -> Vec<(RelPath, bool)> {
        self.paths.iter().map(|(path, open)| (path.clone(), open.recursive)).collect()
    }

    /// Returns those that failed: what was in their way may be gone.
    pub fn failed(&self) -> Vec<(RelPath, bool)> {
        let failed = self.paths.iter().filter(|(_, open)| matches!(open.reason, OpenReason::Failed(_)));
        failed.map(|(path, open)| (path.clone(), open.recursive)).collect()
    }

    /// Returns the nearest open path at or above `path` that is meant with all below it.
    pub fn recursive_above(&self, path: &RelPath) -> Option<&RelPath> {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if let Some((open_path, open)) = self.paths.get_key_value(&path)
                && open.recursive
            {
                return Some(open_path);
            }
            at = path.parent();
        }
        None
    }

    /// Returns the open paths that a change at `path` may settle: at it, below it, and above it where the whole subtree
    /// is meant.
    pub fn touched_by(&self, path: &RelPath) -> Vec<(RelPath, bool)> {
        if self.paths.is_empty() {
            return Vec::new();
        }
        let below = self.paths.range(path.clone()..).take_while(|(p, _)| p.starts_with(path));
        let mut touched: Vec<(RelPath, bool)> = below.map(|(p, o)| (p.clone(), o.recursive)).collect();
        if let Some(above) = path.parent().and_then(|parent| self.recursive_above(&parent).cloned()) {
            touched.push((above, true));
        }
        touched
    }
}
