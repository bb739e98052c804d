//! The marks of an archive's openings, what is known of those of others, and the new id of a copy: see
//! [`crate::core::marks`].

use super::codec::{decode_record, with_format, without_format};
use super::open::{Archive, ArchiveError, Durable, random_id};
use super::writer::AT_ONCE;
use super::{Snapshot, Writer, path};
use crate::core::entry::Record;
use crate::core::marks::{Mark, Openings, PASSED_ON, restamped};
use crate::core::version::{ReplicaId, Sequence};
use redb::{ReadableTable, Table};
use std::ops::Bound;
use std::sync::atomic::Ordering;

/// So many marks of its own an archive keeps: years of a daemon, days of a crontab.
const KEPT: u64 = 10_000;

/// Adds the mark of an opening at which `after` was the last number.
pub(super) fn add_mark(marks: &mut Table<'_, u64, (u64, u64)>, after: Sequence) -> Result<(), ArchiveError> {
    let index = marks.last()?.map_or(0, |(index, _)| index.value() + 1);
    let random = random_id().map_err(|e| ArchiveError::Storage(redb::Error::Io(e)))?;
    marks.insert(index, (after.0, random))?;
    if let Some(oldest) = index.checked_sub(KEPT) {
        marks.remove(oldest)?;
    }
    Ok(())
}

impl Archive {
    /// Makes sure that this opening has a mark, durably: from here on peers remember it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn mark(&self) -> Result<(), ArchiveError> {
        if self.marked.load(Ordering::SeqCst) {
            // It may have come with what is not on the disk yet.
            return self.make_durable(self.read()?.head()?);
        }
        self.write(Durable::Yes, |w| w.mark())
    }

    /// Takes a new replica id, because this archive is a copy: up to `common` it is the same as the one that others
    /// know. What it made since gets versions of the new id, and is offered again. Every peer is met anew.
    ///
    /// # Errors
    /// When the database fails. Nothing is changed then.
    pub fn renew(&self, common: Sequence, known: &Openings) -> Result<ReplicaId, ArchiveError> {
        let new = random_id().map_err(|e| ArchiveError::Storage(redb::Error::Io(e)))?;
        self.write(Durable::Yes, |w| w.renew(ReplicaId(new), common, known))?;
        Ok(ReplicaId(new))
    }
}

impl Writer<'_> {
    fn renew(&mut self, new: ReplicaId, common: Sequence, known: &Openings) -> Result<(), ArchiveError> {
        let old = self.replica;
        let mut after = Vec::new();
        while let Some(last) = self.restamp(&after, old, common, new)? {
            after = last;
        }
        self.learn(old, known)?;
        self.replica = new;
        self.meta.insert("replica", &new.0.to_be_bytes()[..])?;
        self.meta.remove("root")?;
        self.marks.retain(|_, _| false)?;
        self.positions.retain(|_, _| false)?;
        self.scopes.retain(|_, _| false)?;
        self.forget_acknowledgements()?;
        add_mark(&mut self.marks, self.last)
    }

    /// Restamps the next records after a key; returns the last of them.
    fn restamp(
        &mut self,
        after: &[u8],
        old: ReplicaId,
        common: Sequence,
        new: ReplicaId,
    ) -> Result<Option<Vec<u8>>, ArchiveError> {
        let from = (Bound::Excluded(after), Bound::Unbounded);
        let (mut last, mut found) = (None, Vec::new());
        for row in self.entries.range::<&[u8]>(from)?.take(AT_ONCE) {
            let (key, value) = row?;
            last = Some(key.value().to_vec());
            let record = decode_record(value.value(), &self.interner);
            let record = record.ok_or(ArchiveError::Damaged("a record cannot be read"))?;
            if record.entry.has_seen_more(old, common) {
                found.push((path(key.value()).ok_or(ArchiveError::Damaged("a key is no path"))?, record));
            }
        }
        for (path, record) in found {
            let sequence = self.next_sequence();
            if let Some(entry) = restamped(&record.entry, old, common, new, sequence) {
                self.put(&path, &Record { entry, sequence, from: None, computed: false, ..record })?;
            }
        }
        Ok(last)
    }

    /// Adds what a replica says of the openings of its archive.
    pub fn meet(&mut self, replica: ReplicaId, said: &Openings) -> Result<(), ArchiveError> {
        // What has come from an earlier opening since it was met counts for that one.
        let position = Sequence(self.positions.get(replica.0)?.map_or(0, |position| position.value()));
        self.change_openings(replica, |openings| {
            openings.reach(position);
            openings.meet(said);
        })
    }

    /// Adds that numbers of a peer up to this one have come.
    pub fn reach(&mut self, peer: ReplicaId, number: Sequence) -> Result<(), ArchiveError> {
        self.change_openings(peer, |openings| openings.reach(number))
    }

    /// Adds what somebody knows of the openings of a replica's archive.
    pub fn learn(&mut self, replica: ReplicaId, known: &Openings) -> Result<(), ArchiveError> {
        self.change_openings(replica, |openings| openings.learn(known))
    }

    fn change_openings(
        &mut self,
        replica: ReplicaId,
        change: impl FnOnce(&mut Openings),
    ) -> Result<(), ArchiveError> {
        let stored = self.openings.get(replica.0)?.and_then(|v| without_format(v.value()));
        let before: Openings = stored.unwrap_or_default();
        let mut openings = before.clone();
        change(&mut openings);
        if openings != before {
            self.openings.insert(replica.0, &with_format(&openings)[..])?;
        }
        Ok(())
    }
}

impl Writer<'_> {
    /// Notes which mark the root carries.
    pub fn set_mark_on_root(&mut self, index: u64) -> Result<(), ArchiveError> {
        self.meta.insert("root", &index.to_be_bytes()[..])?;
        Ok(())
    }
}

impl Snapshot {
    /// Returns which mark the root carries, if it is known to carry one.
    ///
    /// # Errors
    /// When the database fails.
    pub fn mark_on_root(&self) -> Result<Option<u64>, ArchiveError> {
        let stored = self.meta.get("root")?.map(|v| v.value().to_vec());
        Ok(stored.and_then(|v| <[u8; 8]>::try_from(v).ok()).map(u64::from_be_bytes))
    }

    /// Returns the marks of this archive, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub fn marks(&self) -> Result<Vec<Mark>, ArchiveError> {
        let rows = self.marks.range::<u64>(..)?;
        rows.map(|row| {
            let (index, value) = row?;
            let (after, random) = value.value();
            Ok(Mark { index: index.value(), after: Sequence(after), random })
        })
        .collect()
    }

    /// Returns what a peer is told of this archive's own openings.
    ///
    /// # Errors
    /// When the database fails.
    pub fn own_openings(&self) -> Result<Openings, ArchiveError> {
        Ok(Openings::of(&self.marks()?, self.head()?))
    }

    /// Returns what is known of the openings of a replica's archive.
    ///
    /// # Errors
    /// When the database fails.
    pub fn openings(&self, replica: ReplicaId) -> Result<Option<Openings>, ArchiveError> {
        let stored = self.openings.get(replica.0)?;
        let Some(mut known) = stored.and_then(|v| without_format::<Openings>(v.value())) else {
            return Ok(None);
        };
        // What its own link has dealt with was seen, too.
        known.reach(self.position(replica)?.unwrap_or_default());
        Ok(Some(known))
    }

    /// Returns what is known of the openings of others, as far as it is passed on: first of those with a link.
    ///
    /// # Errors
    /// When the database fails.
    pub fn all_openings(&self) -> Result<Vec<(ReplicaId, Openings)>, ArchiveError> {
        let mut linked = Vec::new();
        for row in self.positions.range::<u64>(..)? {
            linked.push(ReplicaId(row?.0.value()));
        }
        for row in self.openings.range::<u64>(..)? {
            let replica = ReplicaId(row?.0.value());
            if linked.len() >= 2 * PASSED_ON {
                break;
            }
            if !linked.contains(&replica) {
                linked.push(replica);
            }
        }
        let mut all = Vec::new();
        for replica in linked {
            if let Some(known) = self.openings(replica)?
                && all.len() < PASSED_ON
            {
                all.push((replica, known));
            }
        }
        Ok(all)
    }
}
