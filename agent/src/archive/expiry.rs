//! The end of tombstones: one is of use until every peer that is linked has dealt with it.
//!
//! What is sound about forgetting one: whoever has acknowledged it has it too, or has the path open, and then it is kept. So
//! no neighbour has an older state of the path any more, nor gets one from its own neighbours, unless a link is made for
//! the first time; against that, and against what goes round in a ring of such links, it is kept for a day at least. What a peer makes at the path after that is newer, whatever its version says
//! ([`crate::core::reconcile::Policy::dealt_with`]). A peer that does not acknowledge for too long is *late*: it is met as at
//! the first time, so that what stands on either side goes over, and what is missing deletes nothing.

use super::codec::decode_record;
use super::open::ArchiveError;
use super::writer::AT_ONCE;
use super::{Snapshot, Writer, key, path};
use crate::core::path::RelPath;
use crate::core::version::{ReplicaId, Sequence};
use redb::{ReadableTable, ReadableTableMetadata};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long, and how many, tombstones are kept for peers that do not acknowledge them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// So many days.
    pub days: u64,
    /// So many tombstones.
    pub most: u64,
}

/// What an expiry did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Tombstones that were forgotten.
    pub forgotten: u64,
    /// Peers that are late from now on.
    pub late: Vec<ReplicaId>,
}

/// Returns the days since 1970.
pub(super) fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400)
}

impl Writer<'_> {
    /// Notes up to where the numbers had come when this day began.
    pub(super) fn note_day(&mut self, before: Sequence) -> Result<(), ArchiveError> {
        self.begin_day(today(), before)
    }

    fn begin_day(&mut self, day: u64, before: Sequence) -> Result<(), ArchiveError> {
        if self.days.last()?.is_none_or(|(last, _)| last.value() < day) {
            self.days.insert(day, before.0)?;
        }
        Ok(())
    }

    /// Begins a day that has not come yet.
    #[cfg(test)]
    pub(super) fn set_day(&mut self, day: u64) -> Result<(), ArchiveError> {
        self.begin_day(day, self.last)
    }

    pub(super) fn forget_acknowledgements(&mut self) -> Result<(), ArchiveError> {
        self.acknowledged.retain(|_, _| false)?;
        self.held.retain(|_, _| false)?;
        self.late.retain(|_, ()| false)?;
        Ok(())
    }

    /// Notes up to which number of ours a peer has dealt with everything, but for the paths that it has open.
    ///
    /// # Errors
    /// When the database fails.
    pub fn acknowledge(
        &mut self,
        peer: ReplicaId,
        through: Sequence,
        open: &BTreeMap<RelPath, bool>,
    ) -> Result<(), ArchiveError> {
        self.acknowledged.insert(peer.0, through.0)?;
        let end = peer
            .0
            .checked_add(1)
            .map_or(std::ops::Bound::Unbounded, |next| std::ops::Bound::Excluded((next, &[][..])));
        let range = (std::ops::Bound::Included((peer.0, &[][..])), end);
        self.held.retain_in::<(u64, &[u8]), _>(range, |_, _| false)?;
        for (path, recursive) in open {
            self.held.insert((peer.0, &key(path)[..]), recursive)?;
        }
        Ok(())
    }

    /// Forgets the tombstones that nobody needs any more, and finds peers late that others would have to keep too many for;
    /// none of those that are present.
    ///
    /// # Errors
    /// When the database fails.
    pub fn expire(&mut self, patience: Patience, present: &[ReplicaId]) -> Result<Expired, ArchiveError> {
        self.expire_on(today(), patience, present)
    }

    pub(super) fn expire_on(
        &mut self,
        today: u64,
        patience: Patience,
        present: &[ReplicaId],
    ) -> Result<Expired, ArchiveError> {
        let too_old = self.made_before(today.saturating_sub(patience.days))?;
        // Of what was made before the last day began it is certain that it is a day old.
        let aged = self.made_before(today.saturating_sub(1))?;
        let mut expired = Expired { forgotten: self.forget_acknowledged(aged)?, late: Vec::new() };
        if self.tombstones.len()? > patience.most {
            expired.forgotten += self.forget_acknowledged(self.last.0)?;
        }
        let oldest = |w: &Self| -> Result<Option<u64>, ArchiveError> {
            Ok(w.tombstones.first()?.map(|(sequence, _)| sequence.value()))
        };
        loop {
            let is_too_old = oldest(self)?.is_some_and(|oldest| oldest <= too_old);
            if !is_too_old && self.tombstones.len()? <= patience.most {
                break;
            }
            let peers = self.linked()?.into_iter().filter(|(peer, _)| !present.contains(peer));
            let slowest = peers.min_by_key(|&(_, acknowledged)| acknowledged);
            let Some((peer, acknowledged)) = slowest else { break };
            // What is kept for another reason is no fault of a peer that has acknowledged it.
            let waits = self.tombstones.range(acknowledged + 1..)?.next().transpose()?;
            let waits_long = waits.as_ref().is_some_and(|(sequence, _)| sequence.value() <= too_old);
            let are_too_many = self.tombstones.len()? > patience.most && waits.is_some();
            if !waits_long && !are_too_many {
                break;
            }
            drop(waits);
            self.positions.remove(peer.0)?;
            self.scopes.remove(peer.0)?;
            self.acknowledge(peer, Sequence(0), &BTreeMap::new())?;
            self.acknowledged.remove(peer.0)?;
            self.late.insert(peer.0, ())?;
            expired.late.push(peer);
            expired.forgotten += self.forget_acknowledged(if are_too_many { self.last.0 } else { aged })?;
        }
        // Days of which nobody asks any more.
        self.days.retain_in(..today.saturating_sub(patience.days.max(1)), |_, last| last >= too_old)?;
        Ok(expired)
    }

    /// Returns the peers that were met and are not late, with the number that each has acknowledged.
    fn linked(&self) -> Result<Vec<(ReplicaId, u64)>, ArchiveError> {
        let mut linked = BTreeMap::new();
        for row in self.positions.iter()? {
            linked.insert(row?.0.value(), 0);
        }
        for row in self.acknowledged.iter()? {
            let (peer, through) = row?;
            linked.insert(peer.value(), through.value());
        }
        Ok(linked.into_iter().map(|(peer, through)| (ReplicaId(peer), through)).collect())
    }

    /// Returns the last number that was given out before a day began, at least as far as is known.
    fn made_before(&self, day: u64) -> Result<u64, ArchiveError> {
        Ok(self.days.range(..=day)?.next_back().transpose()?.map_or(0, |(_, last)| last.value()))
    }

    fn forget_acknowledged(&mut self, most: u64) -> Result<u64, ArchiveError> {
        let linked = self.linked()?;
        let through = linked.iter().map(|&(_, through)| through).min().unwrap_or(self.last.0).min(most);
        let (mut after, mut forgotten) = (0, 0);
        loop {
            let rows = self.tombstones.range(after + 1..=through.max(after))?.take(AT_ONCE);
            let mut some = Vec::new();
            for row in rows {
                let (sequence, key) = row?;
                after = sequence.value();
                some.push(key.value().to_vec());
            }
            if some.is_empty() {
                return Ok(forgotten);
            }
            for key in some {
                if !self.is_needed(&key, &linked)? {
                    self.remove(&path(&key).ok_or(ArchiveError::Damaged("a key is no path"))?)?;
                    forgotten += 1;
                }
            }
        }
    }

    /// Returns whether a tombstone is of use although every peer has acknowledged it.
    fn is_needed(&self, at: &[u8], linked: &[(ReplicaId, u64)]) -> Result<bool, ArchiveError> {
        let record = self.entries.get(at)?.and_then(|value| decode_record(value.value(), &self.interner));
        let record = record.ok_or(ArchiveError::Damaged("a record cannot be read"))?;
        if record.remainder || self.intents.get(at)?.is_some() {
            return Ok(true);
        }
        for &(peer, _) in linked {
            if self.open.get((peer.0, at))?.is_some() || self.is_held(peer, at)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_held(&self, peer: ReplicaId, at: &[u8]) -> Result<bool, ArchiveError> {
        if self.held.get((peer.0, at))?.is_some() {
            return Ok(true);
        }
        let above = at.iter().enumerate().filter(|&(_, &b)| b == 0).map(|(end, _)| end).chain([0]);
        for end in above {
            if self.held.get((peer.0, &at[..end]))?.is_some_and(|recursive| recursive.value()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Snapshot {
    /// Returns the peers that were met and are not late.
    ///
    /// # Errors
    /// When the database fails.
    pub fn linked(&self) -> Result<Vec<ReplicaId>, ArchiveError> {
        let met = self.positions.range::<u64>(..)?.map(|row| Ok(row?.0.value()));
        let acknowledged = self.acknowledged.range::<u64>(..)?.map(|row| Ok(row?.0.value()));
        let all: BTreeSet<u64> = met.chain(acknowledged).collect::<Result<_, ArchiveError>>()?;
        Ok(all.into_iter().map(ReplicaId).collect())
    }

    /// Returns up to which number of ours a peer has dealt with everything that it does not have open.
    ///
    /// # Errors
    /// When the database fails.
    pub fn acknowledged(&self, peer: ReplicaId) -> Result<Sequence, ArchiveError> {
        Ok(Sequence(self.acknowledged.get(peer.0)?.map_or(0, |through| through.value())))
    }

    /// Returns the peers that were away for longer than tombstones are kept.
    ///
    /// # Errors
    /// When the database fails.
    pub fn late(&self) -> Result<Vec<ReplicaId>, ArchiveError> {
        self.late.range::<u64>(..)?.map(|row| Ok(ReplicaId(row?.0.value()))).collect()
    }
}
