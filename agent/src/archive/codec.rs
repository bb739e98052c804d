//! The encoding of what the archive stores: a format byte, then postcard, with replica ids interned and with what is
//! usually equal left out. A record of a plain file takes about 90 bytes.
//!
//! Format 1 knows no extended attributes. Records that have none are still written in it; the others, and entries within
//! other values, are of format 2.

use crate::core::entry::{AttributeMask, Attributes, Content, Entry, Record, Shown, Stamp, Timestamp};
use crate::core::extended::{Extended, ShownExtended};
use crate::core::path::RelPath;
use crate::core::renamed::Renamed;
use crate::core::version::{Lineage, ReplicaId, Sequence, Version};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The first byte of every value without extended attributes.
const FORMAT: u8 = 1;
/// The first byte of a value that may have some.
const EXTENDED: u8 = 2;

/// Why a path is open: the peer's state is not the local one, and the position is already past it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpenReason {
    /// Both sides changed.
    Conflict,
    /// It could not be put into the tree; what went wrong.
    Failed(String),
    /// The content is on its way, the parent is missing, or the peer has to resolve it.
    Pending,
    /// An option forbids it; its name.
    Forbidden(String),
}

/// A path that is open towards a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Why.
    pub reason: OpenReason,
    /// The whole subtree is meant, and has to be offered as one.
    pub recursive: bool,
}

/// The other side of a path in conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disputed {
    /// What the peer offered.
    pub theirs: Entry,
    /// The topmost path in conflict: the path itself, or a directory above it.
    pub at: RelPath,
    /// A person has decided for the peer's state, over what stood here up to this number. The peer, who holds the winner,
    /// writes the resolution.
    pub keep_theirs: Option<Sequence>,
}

/// What is about to be put into the tree: noted before it gets its name, cleared with the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The entry that the path will have.
    pub entry: Entry,
    /// The peer that it comes from.
    pub from: Option<ReplicaId>,
}

/// A directory that is about to get another name, as a peer's has: noted before, cleared with its records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenameIntent {
    /// The rename.
    pub renamed: Renamed,
    /// The peer that it comes from.
    pub from: ReplicaId,
}

/// Small numbers for replica ids.
#[derive(Debug, Default, Clone)]
pub(super) struct Interner {
    ids: Vec<ReplicaId>,
    numbers: HashMap<ReplicaId, u32>,
}

impl Interner {
    /// Adds the next id.
    pub(super) fn add(&mut self, id: ReplicaId) -> u32 {
        if let Some(&number) = self.numbers.get(&id) {
            return number;
        }
        let number = self.ids.len() as u32;
        self.ids.push(id);
        self.numbers.insert(id, number);
        number
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn ids_from(&self, start: usize) -> &[ReplicaId] {
        &self.ids[start..]
    }

    fn id(&self, number: u32) -> Option<ReplicaId> {
        self.ids.get(number as usize).copied()
    }

    fn pack(&mut self, version: &Version) -> Packed {
        version.pairs().iter().map(|&(id, n)| (self.add(id), n)).collect()
    }

    fn unpack(&self, packed: &Packed) -> Option<Version> {
        let mut pairs: Vec<(ReplicaId, u64)> =
            packed.iter().map(|&(number, n)| Some((self.id(number)?, n))).collect::<Option<_>>()?;
        pairs.sort();
        Version::try_from(pairs).ok()
    }
}

/// A version with interned ids.
type Packed = Vec<(u32, u64)>;

/// A record as it is stored. `None` in a version means "as the content's".
#[derive(Serialize, Deserialize)]
struct Stored {
    content: Content,
    content_now: Packed,
    content_same: Vec<Packed>,
    attributes: Attributes,
    /// mode, owner, group
    vouched: (u16, bool, bool),
    attributes_now: Option<Packed>,
    attributes_same: Option<Vec<Packed>>,
    mtime: Timestamp,
    mtime_version: Option<Packed>,
    shown: Option<StoredShown>,
    sequence: u64,
    from: Option<u32>,
    computed: bool,
    remainder: bool,
}

/// What follows a record of format 2.
#[derive(Serialize, Deserialize, PartialEq, Default)]
struct StoredExtended {
    /// extended attributes, access lists
    vouched: (bool, bool),
    intended: Extended,
    shown: Option<StoredShownExtended>,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct StoredShownExtended {
    /// `None`: as intended.
    value: Option<Extended>,
    racy: bool,
}

#[derive(Serialize, Deserialize)]
struct StoredShown {
    stamp: Option<StoredStamp>,
    /// `None`: as intended.
    mtime: Option<Timestamp>,
    /// `None`: as intended.
    attributes: Option<Attributes>,
}

#[derive(Serialize, Deserialize)]
struct StoredStamp {
    dev: u64,
    ino: u64,
    ctime: Timestamp,
    /// `None`: as shown.
    mtime: Option<Timestamp>,
    size: u64,
}

fn pack_all(interner: &mut Interner, versions: &[Version]) -> Vec<Packed> {
    versions.iter().map(|v| interner.pack(v)).collect()
}

fn unpack_all(interner: &Interner, packed: &[Packed]) -> Option<Vec<Version>> {
    packed.iter().map(|p| interner.unpack(p)).collect()
}

/// Encodes a record; new replica ids go into the interner.
pub(super) fn encode_record(record: &Record, interner: &mut Interner) -> Vec<u8> {
    let entry = &record.entry;
    let stored = Stored {
        content: entry.content.clone(),
        content_now: interner.pack(&entry.content_lineage.now),
        content_same: pack_all(interner, &entry.content_lineage.same),
        attributes: entry.attributes,
        vouched: (entry.vouched.mode, entry.vouched.owner, entry.vouched.group),
        attributes_now: (entry.attributes_lineage.now != entry.content_lineage.now)
            .then(|| interner.pack(&entry.attributes_lineage.now)),
        attributes_same: (entry.attributes_lineage.same != entry.content_lineage.same)
            .then(|| pack_all(interner, &entry.attributes_lineage.same)),
        mtime: entry.mtime,
        mtime_version: (entry.mtime_version != entry.content_lineage.now)
            .then(|| interner.pack(&entry.mtime_version)),
        shown: record.shown.as_ref().map(|shown| StoredShown {
            stamp: shown.stamp.map(|stamp| StoredStamp {
                dev: stamp.dev,
                ino: stamp.ino,
                ctime: stamp.ctime,
                mtime: (stamp.mtime != shown.mtime).then_some(stamp.mtime),
                size: stamp.size,
            }),
            mtime: (shown.mtime != entry.mtime).then_some(shown.mtime),
            attributes: (shown.attributes != entry.attributes).then_some(shown.attributes),
        }),
        sequence: record.sequence.0,
        from: record.from.map(|id| interner.add(id)),
        computed: record.computed,
        remainder: record.remainder,
    };
    let shown = record.shown.as_ref().and_then(|shown| shown.extended.as_ref());
    let extended = StoredExtended {
        vouched: (entry.vouched.xattrs, entry.vouched.acl),
        intended: entry.extended.clone(),
        shown: shown.map(|shown| StoredShownExtended {
            value: (shown.value != entry.extended).then(|| shown.value.clone()),
            racy: shown.racy,
        }),
    };
    if extended == StoredExtended::default() {
        return with_format(&stored);
    }
    encode(EXTENDED, &(stored, extended))
}

/// Decodes a record; `None` if it is damaged.
pub(super) fn decode_record(bytes: &[u8], interner: &Interner) -> Option<Record> {
    let (stored, extended): (Stored, StoredExtended) = match bytes.split_first()? {
        (&EXTENDED, rest) => postcard::from_bytes(rest).ok()?,
        _ => (without_format(bytes)?, StoredExtended::default()),
    };
    let intended = extended.intended;
    let shown_extended = extended.shown.map(|shown| ShownExtended {
        value: shown.value.unwrap_or_else(|| intended.clone()),
        racy: shown.racy,
    });
    let content_lineage = Lineage {
        now: interner.unpack(&stored.content_now)?,
        same: unpack_all(interner, &stored.content_same)?,
    };
    let attributes_lineage = Lineage {
        now: match &stored.attributes_now {
            Some(packed) => interner.unpack(packed)?,
            None => content_lineage.now.clone(),
        },
        same: match &stored.attributes_same {
            Some(packed) => unpack_all(interner, packed)?,
            None => content_lineage.same.clone(),
        },
    };
    let mtime_version = match &stored.mtime_version {
        Some(packed) => interner.unpack(packed)?,
        None => content_lineage.now.clone(),
    };
    let shown = stored.shown.map(|shown| {
        let mtime = shown.mtime.unwrap_or(stored.mtime);
        Shown {
            stamp: shown.stamp.map(|s| Stamp {
                dev: s.dev,
                ino: s.ino,
                ctime: s.ctime,
                mtime: s.mtime.unwrap_or(mtime),
                size: s.size,
            }),
            mtime,
            attributes: shown.attributes.unwrap_or(stored.attributes),
            extended: shown_extended,
        }
    });
    let from = match stored.from {
        Some(number) => Some(interner.id(number)?),
        None => None,
    };
    let (mode, owner, group) = stored.vouched;
    let (xattrs, acl) = extended.vouched;
    Some(Record {
        entry: Entry {
            content: stored.content,
            content_lineage,
            attributes: stored.attributes,
            extended: intended,
            vouched: AttributeMask { mode, owner, group, xattrs, acl },
            attributes_lineage,
            mtime: stored.mtime,
            mtime_version,
        },
        shown,
        sequence: Sequence(stored.sequence),
        from,
        computed: stored.computed,
        remainder: stored.remainder,
    })
}

/// A value with an entry within.
pub(super) trait HoldsEntry: Serialize + for<'a> Deserialize<'a> {
    /// The same as format 1 had it.
    type Old: for<'a> Deserialize<'a> + Into<Self>;
}

impl HoldsEntry for Intent {
    type Old = OldIntent;
}

impl HoldsEntry for Disputed {
    type Old = OldDisputed;
}

/// An [`Entry`] in format 1.
#[derive(Deserialize)]
pub(super) struct OldEntry {
    content: Content,
    content_lineage: Lineage,
    attributes: Attributes,
    /// mode, owner, group
    vouched: (u16, bool, bool),
    attributes_lineage: Lineage,
    mtime: Timestamp,
    mtime_version: Version,
}

impl From<OldEntry> for Entry {
    fn from(old: OldEntry) -> Entry {
        let (mode, owner, group) = old.vouched;
        Entry {
            content: old.content,
            content_lineage: old.content_lineage,
            attributes: old.attributes,
            extended: Extended::default(),
            vouched: AttributeMask { mode, owner, group, ..AttributeMask::NONE },
            attributes_lineage: old.attributes_lineage,
            mtime: old.mtime,
            mtime_version: old.mtime_version,
        }
    }
}

/// An [`Intent`] in format 1.
#[derive(Deserialize)]
pub(super) struct OldIntent(OldEntry, Option<ReplicaId>);

impl From<OldIntent> for Intent {
    fn from(old: OldIntent) -> Intent {
        Intent { entry: old.0.into(), from: old.1 }
    }
}

/// A [`Disputed`] in format 1.
#[derive(Deserialize)]
pub(super) struct OldDisputed(OldEntry, RelPath, Option<Sequence>);

impl From<OldDisputed> for Disputed {
    fn from(old: OldDisputed) -> Disputed {
        Disputed { theirs: old.0.into(), at: old.1, keep_theirs: old.2 }
    }
}

/// Encodes a value with an entry within.
pub(super) fn encode_holder<T: HoldsEntry>(value: &T) -> Vec<u8> {
    encode(EXTENDED, value)
}

/// Decodes it, of whichever format; `None` if it is damaged.
pub(super) fn decode_holder<T: HoldsEntry>(bytes: &[u8]) -> Option<T> {
    match bytes.split_first()? {
        (&EXTENDED, rest) => postcard::from_bytes(rest).ok(),
        (&FORMAT, rest) => postcard::from_bytes::<T::Old>(rest).ok().map(Into::into),
        _ => None,
    }
}

fn encode<T: Serialize>(format: u8, value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![format]).expect("serialising plain data into memory does not fail")
}

/// Encodes a value with the format byte before it.
pub(super) fn with_format<T: Serialize>(value: &T) -> Vec<u8> {
    encode(FORMAT, value)
}

/// Decodes what [`with_format`] made; `None` if it is damaged or of another format.
pub(super) fn without_format<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::from_bytes(rest).ok(),
        Some(_) | None => None,
    }
}
