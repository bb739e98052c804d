//! [`Wanted`] is which attributes something shall have; [`Refused`] is what of that the system did not allow.

use crate::core::entry::{AttributeMask, Timestamp};
use crate::core::extended::{Extended, ExtendedNames};
use crate::fs::extended::{NotSet, set_acls, set_xattrs};
use crate::fs::{FileKind, Meta, attributes};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;

/// The attributes that something shall have; `None` leaves one as it is (for something new: as the system makes it).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Permission bits (of `0o7777`).
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Modification time.
    pub mtime: Option<Timestamp>,
    /// Extended attributes and access lists.
    pub extended: Option<WantedExtended>,
    /// Whose program a set-id bit or a capability would make of it.
    pub set_id: SetId,
}

/// Where set-id bits come from: see [`Wanted::apply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetId {
    /// The owner comes along with the mode.
    pub with_owner: bool,
    /// The group comes along with the mode.
    pub with_group: bool,
    /// The set-id bits that stand here already, on the same bytes.
    pub here: u16,
}

/// The extended attributes that something shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedExtended {
    /// These, and no others of those that are carried.
    pub value: Extended,
    /// Whether the extended attributes are meant, and whether the access lists.
    pub mask: AttributeMask,
}

/// Which of the wanted attributes the disk shows otherwise: refused, or not to be kept by this file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// The owner.
    pub uid: bool,
    /// The group.
    pub gid: bool,
    /// The mode. Also where a set-id bit was left out, see [`Wanted::apply`].
    pub mode: bool,
    /// The modification time.
    pub mtime: bool,
    /// Extended attributes; also a capability where the owner did not come along, see [`Wanted::apply`].
    pub xattrs: bool,
    /// An access list.
    pub acl: bool,
}

impl Refused {
    /// Returns whether everything was done as wanted.
    pub fn is_nothing(&self) -> bool {
        *self == Refused::default()
    }
}

impl Wanted {
    /// Sets what is wanted on something open, and looks what came of it.
    ///
    /// The owner first, because a change of owner clears the set-id bits; then extended attributes, while the mode still
    /// lets the owner write; then access list and mode; the mtime last. A set-user-id bit on a file, or a capability, is
    /// set only along with its owner, a set-group-id bit only along with its group: without, what was harmless there
    /// would here run as whoever happens to own the file. What has such a bit already, on the same bytes, keeps it.
    pub(super) fn apply(
        &self,
        handle: impl AsFd + Copy,
        names: &ExtendedNames,
    ) -> io::Result<(Meta, Refused)> {
        let mut meta = Meta::of(handle)?;
        let now = self.compare(&meta);
        if now.uid || now.gid {
            self.set_owner(handle)?;
            meta = Meta::of(handle)?;
        }
        let not_set = match &self.extended {
            Some(extended) if matches!(meta.kind, FileKind::File | FileKind::Dir) => {
                let not_set = self.set_extended(extended, handle, &meta, names)?;
                // A list sets the mode along with it.
                meta = Meta::of(handle)?;
                not_set
            }
            Some(_) | None => NotSet::default(),
        };
        if let Some(mode) = self.mode
            && meta.kind != FileKind::Symlink
            && self.safe_mode(mode, &meta) != meta.attributes.mode
        {
            tolerate(attributes::set_mode(handle, self.safe_mode(mode, &meta)))?;
        }
        if let Some(mtime) = self.mtime
            && mtime != meta.stamp.mtime
        {
            tolerate(attributes::set_mtime(handle, mtime))?;
        }
        let meta = Meta::of(handle)?;
        Ok((meta, Refused { xattrs: not_set.xattrs, acl: not_set.acl, ..self.compare(&meta) }))
    }

    fn set_extended(
        &self,
        wanted: &WantedExtended,
        handle: impl AsFd + Copy,
        meta: &Meta,
        names: &ExtendedNames,
    ) -> io::Result<NotSet> {
        let mut not_set = NotSet::default();
        if wanted.mask.xattrs {
            let is_owners = self.set_id.with_owner && self.uid == Some(meta.attributes.uid);
            not_set.xattrs = set_xattrs(handle, &wanted.value.xattrs, names, is_owners)?.xattrs;
        }
        if wanted.mask.acl {
            let mode = self.mode.unwrap_or(meta.attributes.mode);
            let is_dir = meta.kind == FileKind::Dir;
            not_set.acl = set_acls(handle, &wanted.value.acls, mode, is_dir)?.acl;
        }
        Ok(not_set)
    }

    fn set_owner(&self, handle: impl AsFd + Copy) -> rustix::io::Result<()> {
        match tolerate_as(attributes::set_owner(handle, self.uid, self.gid))? {
            Some(()) => Ok(()),
            // One may be allowed where both are not: a group of our own.
            None if self.uid.is_some() && self.gid.is_some() => {
                tolerate(attributes::set_owner(handle, None, self.gid))
            }
            None => Ok(()),
        }
    }

    fn safe_mode(&self, mode: u16, meta: &Meta) -> u16 {
        let mut mode = mode & 0o7777;
        if meta.kind == FileKind::File {
            let SetId { with_owner, with_group, here } = self.set_id;
            let may = |came: bool, bit: u16, wanted: Option<u32>, is| {
                (came || here & bit != 0) && wanted == Some(is)
            };
            if !may(with_owner, 0o4000, self.uid, meta.attributes.uid) {
                mode &= !0o4000;
            }
            if !may(with_group, 0o2000, self.gid, meta.attributes.gid) {
                mode &= !0o2000;
            }
        }
        mode
    }

    fn compare(&self, meta: &Meta) -> Refused {
        let differs = |wanted: Option<u32>, is| wanted.is_some_and(|wanted| wanted != is);
        let mode = self.mode.map(|mode| mode & 0o7777);
        Refused {
            uid: differs(self.uid, meta.attributes.uid),
            gid: differs(self.gid, meta.attributes.gid),
            mode: meta.kind != FileKind::Symlink && mode.is_some_and(|mode| mode != meta.attributes.mode),
            mtime: self.mtime.is_some_and(|mtime| mtime != meta.stamp.mtime),
            ..Refused::default()
        }
    }
}

/// Takes "not allowed" and "not to be had here" for an answer.
fn tolerate(done: rustix::io::Result<()>) -> rustix::io::Result<()> {
    tolerate_as(done).map(drop)
}

fn tolerate_as(done: rustix::io::Result<()>) -> rustix::io::Result<Option<()>> {
    match done {
        // INVAL: an id that the user namespace does not have, a time that the file system does not have.
        Err(Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP | Errno::INVAL | Errno::OVERFLOW) => Ok(None),
        done => done.map(Some),
    }
}
