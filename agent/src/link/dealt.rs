//! What the peer has dealt with of what this end has offered: the numbers that it has acknowledged, but for the paths that
//! it has open.
//!
//! An acknowledgement counts once everything has come that the peer offered before it: until then an older state of a path
//! may still be on its way.

use crate::archive::Expired;
use crate::core::entry::Record;
use crate::core::path::RelPath;
use crate::core::version::{ReplicaId, Sequence};
use crate::replica::Replica;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many paths that the peer has open are kept; beyond that all of them count as open.
const MOST: usize = 100_000;
/// The same, in bytes of all the paths together.
const MOST_BYTES: usize = 32 << 20;

/// What the peer has dealt with.
#[derive(Debug, Default)]
pub(crate) struct Dealt {
    /// Everything up to here, but for what is open.
    pub through: Sequence,
    /// What the peer has open: true with all below.
    open: BTreeMap<RelPath, bool>,
    bytes: usize,
    /// The first acknowledgement that does not count yet, and the last: the number of ours, and that of the peer up to
    /// which everything has to have come first.
    waiting: [Option<(Sequence, Sequence)>; 2],
    /// Somebody is told that there is one.
    pub told: bool,
}

impl Dealt {
    /// Notes what the peer says to have dealt with.
    pub fn acknowledged(&mut self, through: Sequence, when: Sequence) {
        let place = usize::from(self.waiting[0].is_some());
        self.waiting[place] = Some((through, when));
    }

    /// Lets those count of which everything has come that was offered before. Returns whether that is something new.
    pub fn came(&mut self, position: Sequence) -> bool {
        let before = self.through;
        while let Some((through, _)) = self.waiting[0].filter(|&(_, when)| when <= position) {
            self.through = self.through.max(through);
            self.waiting = [self.waiting[1], None];
        }
        self.through > before
    }

    /// Notes that the peer has a path open.
    pub fn opened(&mut self, path: &RelPath, recursive: bool) {
        if self.open.len() >= MOST || self.bytes > MOST_BYTES {
            self.open = BTreeMap::from([(RelPath::root(), true)]);
            self.bytes = 0;
            return;
        }
        if let Some(known) = self.open.get_mut(path) {
            *known |= recursive;
            return;
        }
        self.bytes += path.as_bytes().len();
        self.open.insert(path.clone(), recursive);
    }

    /// Notes that it is open no longer.
    pub fn closed(&mut self, path: &RelPath) {
        if self.open.remove(path).is_some() {
            self.bytes = self.bytes.saturating_sub(path.as_bytes().len());
        }
    }

    /// Returns what the peer has open.
    pub fn open(&self) -> &BTreeMap<RelPath, bool> {
        &self.open
    }

    /// Returns whether the peer has dealt with a record of ours: what it has at the path came after that.
    pub fn has(&self, path: &RelPath, record: &Record, peer: ReplicaId) -> bool {
        let is_open = self.open.contains_key(path)
            || path.ancestors().any(|above| self.open.get(&above) == Some(&true));
        let from_there = record.from == Some(peer) && !record.computed;
        from_there || (record.sequence <= self.through && !is_open)
    }
}

/// Keeps a peer from being found late as long as there is a session with it.
pub(crate) struct Presence(Arc<Replica>, ReplicaId);

impl Presence {
    pub fn new(replica: &Arc<Replica>, peer: ReplicaId) -> Presence {
        replica.note_present(peer);
        Presence(replica.clone(), peer)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.note_absent(self.1);
    }
}

/// Says what an expiry did.
pub(super) fn tell(expired: &Expired) {
    if expired.forgotten > 0 {
        tracing::debug!(n = expired.forgotten, "tombstones that every peer has dealt with were forgotten");
    }
    for peer in &expired.late {
        tracing::warn!(
            %peer,
            "a peer has been away for longer than tombstones are kept: it will be met as at the first time"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_counts_when_all_has_come_that_was_offered_before_it() {
        let mut dealt = Dealt::default();
        let n = Sequence;
        dealt.acknowledged(n(10), n(5));
        dealt.acknowledged(n(20), n(7));
        dealt.acknowledged(n(30), n(9));
        assert!(!dealt.came(n(4)));
        assert!(dealt.came(n(5)) && dealt.through == n(10));
        // The one in between was left out.
        assert!(!dealt.came(n(8)));
        assert!(dealt.came(n(9)) && dealt.through == n(30));
    }

    #[test]
    fn too_many_open_paths_are_all_of_them() {
        let mut dealt = Dealt::default();
        for i in 0..=MOST {
            dealt.opened(&RelPath::new(i.to_string().as_bytes()).unwrap(), false);
        }
        assert_eq!(dealt.open().len(), 1);
        assert_eq!(dealt.open().get(&RelPath::root()), Some(&true));
    }
}
