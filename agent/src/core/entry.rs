//! An [`Entry`] is a fact about one path of one replica: its content, attributes and mtime, each with a version of
//! its own. A [`Record`] is an entry as the archive keeps it: with what the disk showed when it was written.

use super::extended::{Extended, ShownExtended};
use super::version::{Lineage, ReplicaId, Sequence, Version};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The BLAKE3 hash of a file's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// A moment: seconds and nanoseconds (0 to 999,999,999) since 1970-01-01 UTC, as the file system has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// The rest, in nanoseconds.
    pub nanoseconds: u32,
}

/// What kind of thing stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
}

/// The state of the *content* register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Nothing stands here, and something stood: a tombstone.
    Deleted,
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Hash of all its bytes.
        digest: Digest,
    },
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink {
        /// Where it points, as it is written in the link.
        target: Box<[u8]>,
    },
}

impl Content {
    /// Returns the kind; `None` for a tombstone.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Content::Deleted => None,
            Content::File { .. } => Some(Kind::File),
            Content::Dir => Some(Kind::Dir),
            Content::Symlink { .. } => Some(Kind::Symlink),
        }
    }

    /// Returns whether something stands here.
    pub fn is_live(&self) -> bool {
        !matches!(self, Content::Deleted)
    }

    /// Returns whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Content::Dir)
    }
}

/// Which parts of [`Attributes`] are meant: what a link compares and carries over, or what a version vouches for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeMask {
    /// Permission bits (of `0o7777`).
    pub mode: u16,
    /// The owner.
    pub owner: bool,
    /// The group.
    pub group: bool,
    /// The extended attributes.
    pub xattrs: bool,
    /// The access lists.
    pub acl: bool,
}

impl AttributeMask {
    /// Nothing.
    pub const NONE: AttributeMask =
        AttributeMask { mode: 0, owner: false, group: false, xattrs: false, acl: false };
    /// All that every look shows: what a replica vouches for that saw the attributes on its own disk. What has to be
    /// asked for, [`Extended`], is not among it.
    pub const ALL: AttributeMask =
        AttributeMask { mode: 0o7777, owner: true, group: true, ..AttributeMask::NONE };

    /// What has to be asked for: [`Extended`].
    pub const EXTENDED: AttributeMask = AttributeMask { xattrs: true, acl: true, ..AttributeMask::NONE };

    /// Returns what this means and the other does not.
    #[must_use]
    pub fn without(self, other: AttributeMask) -> AttributeMask {
        AttributeMask {
            mode: self.mode & !other.mode,
            owner: self.owner && !other.owner,
            group: self.group && !other.group,
            xattrs: self.xattrs && !other.xattrs,
            acl: self.acl && !other.acl,
        }
    }

    /// Returns what one of them means.
    #[must_use]
    pub fn or(self, other: AttributeMask) -> AttributeMask {
        AttributeMask {
            mode: self.mode | other.mode,
            owner: self.owner || other.owner,
            group: self.group || other.group,
            xattrs: self.xattrs || other.xattrs,
            acl: self.acl || other.acl,
        }
    }

    /// Returns what both mean.
    #[must_use]
    pub fn and(self, other: AttributeMask) -> AttributeMask {
        AttributeMask {
            mode: self.mode & other.mode,
            owner: self.owner && other.owner,
            group: self.group && other.group,
            xattrs: self.xattrs && other.xattrs,
            acl: self.acl && other.acl,
        }
    }
}

/// The part of the *attributes* register that every look shows; [`Extended`] is the other. A symbolic link has none that
/// matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits (of `0o7777`).
    pub mode: u16,
    /// User id, in the numbering of the replica that holds the entry.
    pub uid: u32,
    /// Group id, likewise.
    pub gid: u32,
}

impl Attributes {
    /// Returns whether the two are the same where `mask` looks.
    pub fn equal_under(&self, other: &Attributes, mask: AttributeMask) -> bool {
        (self.mode ^ other.mode) & mask.mode == 0
            && (!mask.owner || self.uid == other.uid)
            && (!mask.group || self.gid == other.gid)
    }

    /// Returns these attributes with what `mask` names taken from `other`.
    #[must_use]
    pub fn overlaid(&self, other: &Attributes, mask: AttributeMask) -> Attributes {
        Attributes {
            mode: (self.mode & !mask.mode) | (other.mode & mask.mode),
            uid: if mask.owner { other.uid } else { self.uid },
            gid: if mask.group { other.gid } else { self.gid },
        }
    }
}

/// What is known of one path: three registers, each with its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What stands there.
    pub content: Content,
    /// The version of the content.
    pub content_lineage: Lineage,
    /// Mode, owner, group: as intended.
    pub attributes: Attributes,
    /// Extended attributes and access lists, as intended: the rest of the same register.
    pub extended: Extended,
    /// Which attributes the version vouches for; the others were never compared.
    pub vouched: AttributeMask,
    /// The version of the attributes.
    pub attributes_lineage: Lineage,
    /// Modification time of a file, as intended. Of a directory it is only remembered: it has no version.
    pub mtime: Timestamp,
    /// The version of the mtime.
    pub mtime_version: Version,
}

impl Entry {
    /// Returns whether the attributes of the two are the same where `mask` looks.
    pub fn same_attributes(&self, other: &Entry, mask: AttributeMask) -> bool {
        self.attributes.equal_under(&other.attributes, mask)
            && self.extended.equal_under(&other.extended, mask)
    }

    /// Takes the attributes that `mask` names from another entry.
    pub fn overlay(&mut self, other: &Entry, mask: AttributeMask) {
        self.attributes = self.attributes.overlaid(&other.attributes, mask);
        self.extended = self.extended.overlaid(&other.extended, mask);
    }

    /// Returns what the entry has seen of a replica, in any register; 0 is nothing.
    pub fn counter(&self, replica: ReplicaId) -> u64 {
        let (content, attributes) = (&self.content_lineage.now, &self.attributes_lineage.now);
        content.counter(replica).max(attributes.counter(replica)).max(self.mtime_version.counter(replica))
    }

    /// Returns what versions and extended attributes take in memory, in bytes.
    pub fn variable_size(&self) -> usize {
        let versions =
            self.content_lineage.size() + self.attributes_lineage.size() + self.mtime_version.size();
        versions + self.extended.size()
    }

    /// Returns the entry of something that `replica` saw on its disk for the first time.
    pub fn new(
        content: Content,
        attributes: Attributes,
        mtime: Timestamp,
        replica: ReplicaId,
        counter: Sequence,
    ) -> Entry {
        let version = Version::of(replica, counter);
        Entry {
            content,
            content_lineage: Lineage::new(version.clone()),
            attributes,
            extended: Extended::default(),
            vouched: AttributeMask::ALL,
            attributes_lineage: Lineage::new(version.clone()),
            mtime,
            mtime_version: version,
        }
    }

    /// Returns this entry with its content deleted by `replica`.
    #[must_use]
    pub fn deleted(&self, replica: ReplicaId, counter: Sequence) -> Entry {
        Entry {
            content: Content::Deleted,
            content_lineage: self.content_lineage.bumped(replica, counter),
            extended: Extended::default(),
            ..self.clone()
        }
    }

    /// Returns this entry as a resolution made by `replica`: newer in every register.
    #[must_use]
    pub fn bumped(&self, replica: ReplicaId, counter: Sequence) -> Entry {
        Entry {
            content_lineage: self.content_lineage.bumped(replica, counter),
            attributes_lineage: self.attributes_lineage.bumped(replica, counter),
            mtime_version: self.mtime_version.bumped(replica, counter),
            ..self.clone()
        }
    }

    /// Returns this state with versions that cover both.
    #[must_use]
    pub fn joined_versions(&self, other: &Entry) -> Entry {
        let join = |a: &Lineage, b: &Lineage| Lineage::new(a.now.join(&b.now));
        Entry {
            content_lineage: join(&self.content_lineage, &other.content_lineage),
            attributes_lineage: join(&self.attributes_lineage, &other.attributes_lineage),
            mtime_version: self.mtime_version.join(&other.mtime_version),
            ..self.clone()
        }
    }

    /// Returns whether the versions of all registers are the same.
    pub fn same_versions(&self, other: &Entry) -> bool {
        self.content_lineage.now == other.content_lineage.now
            && self.attributes_lineage.now == other.attributes_lineage.now
            && self.mtime_version == other.mtime_version
    }
}

/// What tells cheaply whether the file on disk is still the one that the archive knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Device (`st_dev`); not compared across boots.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Time of the last change of the inode.
    pub ctime: Timestamp,
    /// Time of the last change of the content.
    pub mtime: Timestamp,
    /// Length in bytes.
    pub size: u64,
}

/// What the disk showed when a record was written. Only a change of this is a local edit; what was intended may
/// differ from it (a chown that was not allowed, `times = false`, `perms = 0`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The stamp; `None` where it cannot be trusted, so that the next scan reads the file again.
    pub stamp: Option<Stamp>,
    /// Modification time. Kept beside the stamp, because it is compared even where the stamp is not trusted.
    pub mtime: Timestamp,
    /// The attributes.
    pub attributes: Attributes,
    /// Extended attributes and access lists; `None` where nobody has looked at them under the options of now.
    pub extended: Option<ShownExtended>,
}

/// An entry as one replica's archive keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The fact.
    pub entry: Entry,
    /// What the disk showed; `None` for a tombstone.
    pub shown: Option<Shown>,
    /// When it was written, in the replica's own count.
    pub sequence: Sequence,
    /// The peer that this state came from, or that made the same of what both had: it need not be offered there.
    pub from: Option<ReplicaId>,
    /// `from` did not send this state but computes it for itself from an offer of ours. Until it has acknowledged
    /// that offer, it has to be offered again after a reconnect.
    pub computed: bool,
    /// A deleted directory that still stands, because it holds ignored files.
    pub remainder: bool,
}
