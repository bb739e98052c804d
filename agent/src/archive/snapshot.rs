//! A [`Snapshot`] is the archive as it was at one moment, whatever is written meanwhile.

use super::codec::{Disputed, Intent, Interner, Open, decode_holder, decode_record, without_format};
use super::open::{ArchiveError, last_sequence};
use super::{
    CONTENTS, DIRECTORIES, DISPUTED, ENTRIES, INTENTS, META, OPEN, PEERS, POSITIONS, RENAMES, SCOPES,
    SEQUENCES, below, key, path, start_of,
};
use crate::core::entry::{Content, Digest, Record};
use crate::core::path::RelPath;
use crate::core::version::{ReplicaId, Sequence};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTableMetadata};
use std::ops::{Bound, Range};
use std::sync::{Arc, RwLock};

/// A consistent, read-only view of an archive.
pub struct Snapshot {
    entries: ReadOnlyTable<&'static [u8], &'static [u8]>,
    sequences: ReadOnlyTable<u64, &'static [u8]>,
    contents: ReadOnlyTable<(u64, u64), ()>,
    directories: ReadOnlyTable<u64, &'static [u8]>,
    positions: ReadOnlyTable<u64, u64>,
    scopes: ReadOnlyTable<u64, u64>,
    open: ReadOnlyTable<(u64, &'static [u8]), &'static [u8]>,
    disputed: ReadOnlyTable<(u64, &'static [u8]), &'static [u8]>,
    peers: ReadOnlyTable<u64, &'static [u8]>,
    intents: ReadOnlyTable<&'static [u8], &'static [u8]>,
    renames: ReadOnlyTable<&'static [u8], &'static [u8]>,
    meta: ReadOnlyTable<&'static str, &'static [u8]>,
    interner: Arc<RwLock<Interner>>,
}

/// A path and what the archive knows of it.
pub type Known = (RelPath, Record);

impl Snapshot {
    pub(super) fn new(
        transaction: &ReadTransaction,
        interner: Arc<RwLock<Interner>>,
    ) -> Result<Snapshot, ArchiveError> {
        Ok(Snapshot {
            entries: transaction.open_table(ENTRIES)?,
            sequences: transaction.open_table(SEQUENCES)?,
            contents: transaction.open_table(CONTENTS)?,
            directories: transaction.open_table(DIRECTORIES)?,
            positions: transaction.open_table(POSITIONS)?,
            scopes: transaction.open_table(SCOPES)?,
            open: transaction.open_table(OPEN)?,
            disputed: transaction.open_table(DISPUTED)?,
            peers: transaction.open_table(PEERS)?,
            intents: transaction.open_table(INTENTS)?,
            renames: transaction.open_table(RENAMES)?,
            meta: transaction.open_table(META)?,
            interner,
        })
    }

    /// Returns what is known of a path.
    pub fn get(&self, path: &RelPath) -> Result<Option<Record>, ArchiveError> {
        match self.entries.get(&key(path)[..])? {
            Some(value) => self.decode(value.value()).map(Some),
            None => Ok(None),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Record, ArchiveError> {
        let interner = self.interner.read().expect("no thread panics with the interner locked");
        decode_record(bytes, &interner).ok_or(ArchiveError::Damaged("a record cannot be read"))
    }

    fn known(&self, key: &[u8], value: &[u8]) -> Result<Known, ArchiveError> {
        let path = path(key).ok_or(ArchiveError::Damaged("a key is no path"))?;
        Ok((path, self.decode(value)?))
    }

    /// Returns the number of the last write.
    pub fn head(&self) -> Result<Sequence, ArchiveError> {
        let counted = self.meta.get("sequence")?.map(|v| v.value().to_vec());
        let counted = counted.and_then(|v| <[u8; 8]>::try_from(v).ok()).map_or(0, u64::from_be_bytes);
        Ok(last_sequence(&self.sequences)?.max(Sequence(counted)))
    }

    /// Returns how many paths stand, tombstones left out.
    pub fn live(&self) -> Result<u64, ArchiveError> {
        let counted = self.meta.get("live")?.map(|v| v.value().to_vec());
        Ok(counted.and_then(|v| <[u8; 8]>::try_from(v).ok()).map_or(0, u64::from_be_bytes))
    }

    /// Returns how many paths have a record, tombstones included.
    pub fn records(&self) -> Result<u64, ArchiveError> {
        Ok(self.entries.len()?)
    }

    /// Returns the boot during which the last owner wrote; `None` in a new archive.
    pub fn boot(&self) -> Result<Option<Vec<u8>>, ArchiveError> {
        Ok(self.meta.get("boot")?.map(|v| v.value().to_vec()))
    }

    /// Returns everything strictly below a directory, in the order of a sorted walk.
    pub fn below(
        &self,
        dir: &RelPath,
    ) -> Result<impl Iterator<Item = Result<Known, ArchiveError>> + '_, ArchiveError> {
        let (from, to) = below(dir);
        let end = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.entries.range::<&[u8]>((Bound::Included(&from[..]), end))?;
        Ok(rows.map(|row| {
            let (key, value) = row?;
            self.known(key.value(), value.value())
        }))
    }

    /// Returns the direct children of a directory, in the order of their names.
    pub fn children(&self, dir: &RelPath) -> Result<Vec<Known>, ArchiveError> {
        let (mut from, to) = below(dir);
        let prefix = if dir.is_root() { 0 } else { from.len() };
        let mut children = Vec::new();
        'seek: loop {
            let end = to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for row in self.entries.range::<&[u8]>((Bound::Included(&from[..]), end))? {
                let (key, value) = row?;
                let key = key.value();
                if let Some(at) = key[prefix..].iter().position(|&b| b == 0) {
                    // Below a child: go on after all of it.
                    from = [&key[..prefix + at], &[1]].concat();
                    continue 'seek;
                }
                children.push(self.known(key, value.value())?);
            }
            return Ok(children);
        }
    }

    /// Returns up to `most` paths written after a sequence number, in the order they were written, each with its
    /// number.
    pub fn since(&self, after: Sequence, most: usize) -> Result<Vec<(Sequence, RelPath)>, ArchiveError> {
        let mut paths = Vec::new();
        for row in self.sequences.range((Bound::Excluded(after.0), Bound::Unbounded))?.take(most) {
            let (sequence, key) = row?;
            let path = path(key.value()).ok_or(ArchiveError::Damaged("a key is no path"))?;
            paths.push((Sequence(sequence.value()), path));
        }
        Ok(paths)
    }

    /// As [`Snapshot::since`], without what has a number in one of these ranges, which are in order and apart.
    pub fn since_but(
        &self,
        after: Sequence,
        most: usize,
        ranges: &[Range<u64>],
    ) -> Result<Vec<(Sequence, RelPath)>, ArchiveError> {
        let (mut paths, mut from) = (Vec::new(), after.0.saturating_add(1));
        let ends = ranges.iter().cloned().chain(std::iter::once(u64::MAX..u64::MAX));
        for range in ends {
            if from < range.start {
                for row in self.sequences.range(from..range.start)?.take(most - paths.len()) {
                    let (sequence, key) = row?;
                    let path = path(key.value()).ok_or(ArchiveError::Damaged("a key is no path"))?;
                    paths.push((Sequence(sequence.value()), path));
                }
            }
            from = from.max(range.end);
        }
        Ok(paths)
    }

    /// Returns where a directory with this inode number stands, if the archive has one; on which file system, nobody says.
    pub fn directory(&self, inode: u64) -> Result<Option<RelPath>, ArchiveError> {
        let Some(key) = self.directories.get(inode)? else { return Ok(None) };
        path(key.value()).map(Some).ok_or(ArchiveError::Damaged("a key is no path"))
    }

    /// Returns up to `most` paths at which a file with this content stands, of those that are large enough to be found
    /// by their content.
    pub fn with_content(&self, wanted: &Digest, most: usize) -> Result<Vec<RelPath>, ArchiveError> {
        let start = start_of(wanted);
        let mut paths = Vec::new();
        for row in self.contents.range((start, 0)..=(start, u64::MAX))? {
            let Some(key) = self.sequences.get(row?.0.value().1)? else { continue };
            let path = path(key.value()).ok_or(ArchiveError::Damaged("a key is no path"))?;
            let holds =
                |r: &Record| matches!(&r.entry.content, Content::File { digest, .. } if digest == wanted);
            if self.get(&path)?.as_ref().is_some_and(holds) {
                paths.push(path);
            }
            if paths.len() >= most {
                break;
            }
        }
        Ok(paths)
    }

    /// Returns up to which of the peer's numbers everything is dealt with; `None` if the two never met.
    pub fn position(&self, peer: ReplicaId) -> Result<Option<Sequence>, ArchiveError> {
        Ok(self.positions.get(peer.0)?.map(|v| Sequence(v.value())))
    }

    /// Returns the scope of the position ([`super::Writer::set_position`]).
    pub fn scope(&self, peer: ReplicaId) -> Result<Option<u64>, ArchiveError> {
        Ok(self.scopes.get(peer.0)?.map(|v| v.value()))
    }

    /// Returns the device number that the root had when everything was last looked at.
    pub fn device(&self) -> Result<Option<u64>, ArchiveError> {
        let stored = self.meta.get("device")?.map(|v| v.value().to_vec());
        Ok(stored.and_then(|v| <[u8; 8]>::try_from(v).ok()).map(u64::from_be_bytes))
    }

    /// Returns a number that stands for the extended attributes that records tell of; 0 is none.
    pub fn extended(&self) -> Result<u64, ArchiveError> {
        let stored = self.meta.get("extended")?.map(|v| v.value().to_vec());
        Ok(stored.and_then(|v| <[u8; 8]>::try_from(v).ok()).map_or(0, u64::from_be_bytes))
    }

    /// Returns the paths that are open towards a peer.
    pub fn open(
        &self,
        peer: ReplicaId,
    ) -> Result<impl Iterator<Item = Result<(RelPath, Open), ArchiveError>> + '_, ArchiveError> {
        let end = peer.0.checked_add(1);
        let end = end.as_ref().map_or(Bound::Unbounded, |&next| Bound::Excluded((next, &[][..])));
        let rows = self.open.range::<(u64, &[u8])>((Bound::Included((peer.0, &[][..])), end))?;
        Ok(rows.map(|row| {
            let (key, value) = row?;
            let path = path(key.value().1).ok_or(ArchiveError::Damaged("a key is no path"))?;
            let open = without_format(value.value());
            Ok((path, open.ok_or(ArchiveError::Damaged("an open path cannot be read"))?))
        }))
    }

    /// Returns the paths that are open towards any peer, with the peer.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn all_open(
        &self,
    ) -> Result<impl Iterator<Item = Result<(ReplicaId, RelPath, Open), ArchiveError>> + '_, ArchiveError>
    {
        let rows = self.open.range::<(u64, &[u8])>(..)?;
        Ok(rows.map(|row| {
            let (key, value) = row?;
            let (peer, path_key) = key.value();
            let path = path(path_key).ok_or(ArchiveError::Damaged("a key is no path"))?;
            let open = without_format(value.value());
            Ok((ReplicaId(peer), path, open.ok_or(ArchiveError::Damaged("an open path cannot be read"))?))
        }))
    }

    /// Returns why a path is open towards a peer.
    pub fn open_at(&self, peer: ReplicaId, path: &RelPath) -> Result<Option<Open>, ArchiveError> {
        Ok(self.open.get((peer.0, &key(path)[..]))?.and_then(|v| without_format(v.value())))
    }

    /// Returns what a peer has at a path in conflict.
    pub fn disputed(&self, peer: ReplicaId, path: &RelPath) -> Result<Option<Disputed>, ArchiveError> {
        Ok(self.disputed.get((peer.0, &key(path)[..]))?.and_then(|v| decode_holder(v.value())))
    }

    /// Returns what peers have at the paths in conflict at or below a path.
    pub fn disputed_below(
        &self,
        peer: ReplicaId,
        top: &RelPath,
    ) -> Result<Vec<(RelPath, Disputed)>, ArchiveError> {
        let (from, (_, to)) = (key(top), below(top));
        let end = match &to {
            Some(to) => Bound::Excluded((peer.0, &to[..])),
            None => peer.0.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded((next, &[][..]))),
        };
        let rows = self.disputed.range::<(u64, &[u8])>((Bound::Included((peer.0, &from[..])), end))?;
        let mut found = Vec::new();
        for row in rows {
            let (key, value) = row?;
            let path = path(key.value().1).ok_or(ArchiveError::Damaged("a key is no path"))?;
            if path.starts_with(top)
                && let Some(disputed) = decode_holder(value.value())
            {
                found.push((path, disputed));
            }
        }
        Ok(found)
    }

    /// Returns whether nothing at a path or below it was written after a sequence number.
    pub fn is_unchanged_since(&self, path: &RelPath, after: Sequence) -> Result<bool, ArchiveError> {
        if self.get(path)?.is_some_and(|record| record.sequence > after) {
            return Ok(false);
        }
        for row in self.below(path)? {
            if row?.1.sequence > after {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns a peer's root as a person would name it, if it was ever told.
    pub fn peer_name(&self, peer: ReplicaId) -> Result<Option<String>, ArchiveError> {
        Ok(self.peers.get(peer.0)?.map(|v| String::from_utf8_lossy(v.value()).into_owned()))
    }

    /// Returns what was about to be put at a path.
    pub fn intent(&self, path: &RelPath) -> Result<Option<Intent>, ArchiveError> {
        Ok(self.intents.get(&key(path)[..])?.and_then(|v| decode_holder(v.value())))
    }

    /// Returns every path with an intent: those that the last owner was at when it stopped.
    pub fn intents(&self) -> Result<Vec<RelPath>, ArchiveError> {
        let rows = self.intents.range::<&[u8]>(..)?;
        rows.map(|row| path(row?.0.value()).ok_or(ArchiveError::Damaged("a key is no path"))).collect()
    }

    /// Returns the new name of every directory that the last owner was about to rename when it stopped.
    pub fn rename_intents(&self) -> Result<Vec<RelPath>, ArchiveError> {
        let rows = self.renames.range::<&[u8]>(..)?;
        rows.map(|row| path(row?.0.value()).ok_or(ArchiveError::Damaged("a key is no path"))).collect()
    }
}
