//! A [`Writer`] changes the archive within one transaction.

use super::codec::{
    Disputed, Intent, Interner, Open, RenameIntent, decode_holder, decode_record, encode_holder,
    encode_record, with_format, without_format,
};
use super::open::{ArchiveError, last_sequence};
use super::{
    CONTENTS, DIRECTORIES, DISPUTED, ENTRIES, INTENTS, META, OPEN, PEERS, POSITIONS, RENAMES, REPLICAS,
    SCOPES, SEQUENCES, below, content_key, directory_key, key, path,
};
use crate::core::entry::{AttributeMask, Record};
use crate::core::path::RelPath;
use crate::core::version::{ReplicaId, Sequence};
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use std::ops::Bound;
use std::sync::{Arc, RwLock};

/// So many records are held in memory while all of them are gone through.
const AT_ONCE: usize = 4096;

/// Changes to an archive, all or none.
pub struct Writer<'t> {
    entries: Table<'t, &'static [u8], &'static [u8]>,
    sequences: Table<'t, u64, &'static [u8]>,
    contents: Table<'t, (u64, u64), ()>,
    replicas: Table<'t, u32, u64>,
    meta: Table<'t, &'static str, &'static [u8]>,
    positions: Table<'t, u64, u64>,
    scopes: Table<'t, u64, u64>,
    open: Table<'t, (u64, &'static [u8]), &'static [u8]>,
    disputed: Table<'t, (u64, &'static [u8]), &'static [u8]>,
    peers: Table<'t, u64, &'static [u8]>,
    intents: Table<'t, &'static [u8], &'static [u8]>,
    renames: Table<'t, &'static [u8], &'static [u8]>,
    directories: Table<'t, u64, &'static [u8]>,
    interner: Interner,
    interned: usize,
    shared: Arc<RwLock<Interner>>,
    replica: ReplicaId,
    last: Sequence,
    live: u64,
}

impl<'t> Writer<'t> {
    pub(super) fn new(
        transaction: &'t WriteTransaction,
        replica: ReplicaId,
        shared: Arc<RwLock<Interner>>,
    ) -> Result<Writer<'t>, ArchiveError> {
        let sequences = transaction.open_table(SEQUENCES)?;
        let meta = transaction.open_table(META)?;
        let number = |name: &str| -> Result<u64, ArchiveError> {
            let stored = meta.get(name)?.map(|v| v.value().to_vec());
            Ok(stored.and_then(|v| <[u8; 8]>::try_from(v).ok()).map_or(0, u64::from_be_bytes))
        };
        let last = last_sequence(&sequences)?.max(Sequence(number("sequence")?));
        let live = number("live")?;
        let interner = shared.read().expect("no thread panics with the interner locked").clone();
        let replicas = transaction.open_table(REPLICAS)?;
        Ok(Writer {
            entries: transaction.open_table(ENTRIES)?,
            contents: transaction.open_table(CONTENTS)?,
            // From the table and not from memory: a transaction that failed may have left more in memory.
            interned: replicas.len()? as usize,
            replicas,
            positions: transaction.open_table(POSITIONS)?,
            scopes: transaction.open_table(SCOPES)?,
            open: transaction.open_table(OPEN)?,
            disputed: transaction.open_table(DISPUTED)?,
            peers: transaction.open_table(PEERS)?,
            intents: transaction.open_table(INTENTS)?,
            renames: transaction.open_table(RENAMES)?,
            directories: transaction.open_table(DIRECTORIES)?,
            interner,
            shared,
            replica,
            sequences,
            meta,
            last,
            live,
        })
    }

    /// Returns how many paths stand, as far as it is written.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Returns the replica's id.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Takes the next sequence number, which is also the replica's next counter.
    pub fn next_sequence(&mut self) -> Sequence {
        self.last = Sequence(self.last.0 + 1);
        self.last
    }

    /// Returns the number that [`Writer::next_sequence`] gives next.
    pub fn peek_sequence(&self) -> Sequence {
        Sequence(self.last.0 + 1)
    }

    /// Returns what was about to be put at a path.
    pub fn intent(&self, path: &RelPath) -> Result<Option<Intent>, ArchiveError> {
        Ok(self.intents.get(&key(path)[..])?.and_then(|v| decode_holder(v.value())))
    }

    /// Returns what is known of a path.
    pub fn get(&self, path: &RelPath) -> Result<Option<Record>, ArchiveError> {
        match self.entries.get(&key(path)[..])? {
            Some(value) => decode_record(value.value(), &self.interner)
                .map(Some)
                .ok_or(ArchiveError::Damaged("a record cannot be read")),
            None => Ok(None),
        }
    }

    /// Stores a record under the sequence number that it carries.
    pub fn put(&mut self, path: &RelPath, record: &Record) -> Result<(), ArchiveError> {
        let key = key(path);
        let old = self.insert(&key, record)?;
        if let Some(old) = old {
            let old = decode_record(&old, &self.interner);
            self.forgotten(&key, &old.ok_or(ArchiveError::Damaged("a record cannot be read"))?)?;
        }
        self.index(&key, record)
    }

    /// As [`Writer::put`], where the caller has just read what is known of the path.
    pub fn put_over(
        &mut self,
        path: &RelPath,
        record: &Record,
        old: Option<&Record>,
    ) -> Result<(), ArchiveError> {
        let key = key(path);
        self.insert(&key, record)?;
        if let Some(old) = old {
            self.forgotten(&key, old)?;
        }
        self.index(&key, record)
    }

    /// Stores a record alone; returns the one that was there.
    fn insert(&mut self, key: &[u8], record: &Record) -> Result<Option<Vec<u8>>, ArchiveError> {
        let value = encode_record(record, &mut self.interner);
        // Before the record that uses them: a reader of this transaction's result must find the ids.
        for (i, id) in self.interner.ids_from(self.interned).iter().enumerate() {
            self.replicas.insert((self.interned + i) as u32, id.0)?;
        }
        self.interned = self.interner.len();
        Ok(self.entries.insert(key, &value[..])?.map(|v| v.value().to_vec()))
    }

    /// Notes what leads to a record.
    fn index(&mut self, key: &[u8], record: &Record) -> Result<(), ArchiveError> {
        self.sequences.insert(record.sequence.0, key)?;
        if let Some(at) = content_key(&record.entry.content, record.sequence) {
            self.contents.insert(at, ())?;
        }
        if let Some(inode) = directory_key(record) {
            self.directories.insert(inode, key)?;
        }
        self.live += u64::from(record.entry.content.is_live());
        Ok(())
    }

    /// Removes all knowledge of a path.
    pub fn remove(&mut self, path: &RelPath) -> Result<(), ArchiveError> {
        let key = key(path);
        let old = self.entries.remove(&key[..])?.map(|v| v.value().to_vec());
        let Some(old) = old else { return Ok(()) };
        let old = decode_record(&old, &self.interner);
        self.forgotten(&key, &old.ok_or(ArchiveError::Damaged("a record cannot be read"))?)
    }

    /// Takes a record that is gone out of what leads to it.
    fn forgotten(&mut self, key: &[u8], old: &Record) -> Result<(), ArchiveError> {
        self.live = self.live.saturating_sub(u64::from(old.entry.content.is_live()));
        self.sequences.remove(old.sequence.0)?;
        if let Some(at) = content_key(&old.entry.content, old.sequence) {
            self.contents.remove(at)?;
        }
        if let Some(inode) = directory_key(old)
            && self.directories.get(inode)?.is_some_and(|at| at.value() == key)
        {
            self.directories.remove(inode)?;
        }
        Ok(())
    }

    /// Takes `count` sequence numbers that follow one another, and returns the first.
    pub fn next_sequences(&mut self, count: u64) -> Sequence {
        let first = Sequence(self.last.0 + 1);
        self.last = Sequence(self.last.0 + count);
        first
    }

    /// Returns up to `most` of what is known strictly below a directory, after a path if one is given, in the order of a
    /// walk.
    pub fn some_below(
        &self,
        dir: &RelPath,
        after: Option<&RelPath>,
        most: usize,
    ) -> Result<Vec<(RelPath, Record)>, ArchiveError> {
        let (from, to) = below(dir);
        let start = match after {
            Some(after) => Bound::Excluded(key(after)),
            None => Bound::Included(from),
        };
        let start = start.as_ref().map(|key| &key[..]);
        let end = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.entries.range::<&[u8]>((start, end))?.take(most);
        rows.map(|row| {
            let (key, value) = row?;
            let path = path(key.value()).ok_or(ArchiveError::Damaged("a key is no path"))?;
            let record = decode_record(value.value(), &self.interner);
            Ok((path, record.ok_or(ArchiveError::Damaged("a record cannot be read"))?))
        })
        .collect()
    }

    /// Returns the rename that was about to give a directory this name.
    pub fn rename_intent(&self, to: &RelPath) -> Result<Option<RenameIntent>, ArchiveError> {
        Ok(self.renames.get(&key(to)[..])?.and_then(|v| without_format(v.value())))
    }

    /// Notes that a directory is about to be renamed.
    pub fn set_rename_intent(&mut self, intent: &RenameIntent) -> Result<(), ArchiveError> {
        self.renames.insert(&key(&intent.renamed.to)[..], &with_format(intent)[..])?;
        Ok(())
    }

    /// Removes the note.
    pub fn clear_rename_intent(&mut self, to: &RelPath) -> Result<(), ArchiveError> {
        self.renames.remove(&key(to)[..])?;
        Ok(())
    }

    /// Notes the boot during which this is written.
    pub fn set_boot(&mut self, boot: &[u8]) -> Result<(), ArchiveError> {
        self.meta.insert("boot", boot)?;
        Ok(())
    }

    /// Notes up to which of the peer's numbers everything is dealt with, and the scope of that: a number that stands
    /// for what was left out on the way. In another scope the position says nothing.
    pub fn set_position(
        &mut self,
        peer: ReplicaId,
        sequence: Sequence,
        scope: u64,
    ) -> Result<(), ArchiveError> {
        self.positions.insert(peer.0, sequence.0)?;
        self.scopes.insert(peer.0, scope)?;
        Ok(())
    }

    /// Notes the device number of the root.
    pub fn set_device(&mut self, device: u64) -> Result<(), ArchiveError> {
        self.meta.insert("device", &device.to_be_bytes()[..])?;
        Ok(())
    }

    /// Notes which extended attributes records tell of from now on: a number that stands for them, 0 for none. What they
    /// told of others is vouched for no longer; it stays what was intended.
    pub fn set_extended(&mut self, names: u64) -> Result<(), ArchiveError> {
        if names != 0 {
            let mut after = Vec::new();
            while let Some(last) = self.forget_shown_extended(&after)? {
                after = last;
            }
        }
        self.meta.insert("extended", &names.to_be_bytes()[..])?;
        Ok(())
    }

    /// Does so for the next records after a key; returns the last of them.
    fn forget_shown_extended(&mut self, after: &[u8]) -> Result<Option<Vec<u8>>, ArchiveError> {
        let from = (Bound::Excluded(after), Bound::Unbounded);
        let (mut last, mut changed) = (None, Vec::new());
        for row in self.entries.range::<&[u8]>(from)?.take(AT_ONCE) {
            let (key, value) = row?;
            last = Some(key.value().to_vec());
            let record = decode_record(value.value(), &self.interner);
            let mut record = record.ok_or(ArchiveError::Damaged("a record cannot be read"))?;
            let vouched = record.entry.vouched;
            let shown = record.shown.as_mut().and_then(|shown| shown.extended.take());
            if shown.is_some() || vouched.xattrs || vouched.acl {
                record.entry.vouched = AttributeMask { xattrs: false, acl: false, ..vouched };
                changed.push((key.value().to_vec(), encode_record(&record, &mut self.interner)));
            }
        }
        for (key, value) in changed {
            self.entries.insert(&key[..], &value[..])?;
        }
        Ok(last)
    }

    /// Notes that a path is open towards a peer.
    pub fn set_open(&mut self, peer: ReplicaId, path: &RelPath, open: &Open) -> Result<(), ArchiveError> {
        self.open.insert((peer.0, &key(path)[..]), &with_format(open)[..])?;
        Ok(())
    }

    /// Notes that a path is no longer open towards a peer, nor in conflict.
    pub fn close_open(&mut self, peer: ReplicaId, path: &RelPath) -> Result<(), ArchiveError> {
        let key = key(path);
        self.open.remove((peer.0, &key[..]))?;
        self.disputed.remove((peer.0, &key[..]))?;
        Ok(())
    }

    /// Returns what a peer has at a path in conflict.
    pub fn disputed(&self, peer: ReplicaId, path: &RelPath) -> Result<Option<Disputed>, ArchiveError> {
        Ok(self.disputed.get((peer.0, &key(path)[..]))?.and_then(|v| decode_holder(v.value())))
    }

    /// Notes what a peer has at a path in conflict.
    pub fn set_disputed(
        &mut self,
        peer: ReplicaId,
        path: &RelPath,
        disputed: &Disputed,
    ) -> Result<(), ArchiveError> {
        self.disputed.insert((peer.0, &key(path)[..]), &encode_holder(disputed)[..])?;
        Ok(())
    }

    /// Notes how a person would name a peer's root.
    pub fn set_peer_name(&mut self, peer: ReplicaId, name: &str) -> Result<(), ArchiveError> {
        self.peers.insert(peer.0, name.as_bytes())?;
        Ok(())
    }

    /// Notes what is about to be put at a path.
    pub fn set_intent(&mut self, path: &RelPath, intent: &Intent) -> Result<(), ArchiveError> {
        self.intents.insert(&key(path)[..], &encode_holder(intent)[..])?;
        Ok(())
    }

    /// Removes the note.
    pub fn clear_intent(&mut self, path: &RelPath) -> Result<(), ArchiveError> {
        self.intents.remove(&key(path)[..])?;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Sequence, ArchiveError> {
        // The counter stands on its own: the record with the last number may have been removed.
        self.meta.insert("sequence", &self.last.0.to_be_bytes()[..])?;
        self.meta.insert("live", &self.live.to_be_bytes()[..])?;
        // If the commit fails after this, ids are in memory that are not on the disk. They keep their numbers, and the
        // next transaction stores them.
        *self.shared.write().expect("no thread panics with the interner locked") = self.interner;
        Ok(self.last)
    }
}
