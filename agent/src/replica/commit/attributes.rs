//! [`Wanted`] is which attributes something shall have; [`Refused`] is what of that the system did not allow.

use crate::core::entry::Timestamp;
use crate::fs::{FileKind, Meta, attributes};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;

/// The attributes that something shall have; `None` leaves one as it is (for something new: as the system makes it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Permission bits (of `0o7777`).
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Modification time.
    pub mtime: Option<Timestamp>,
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
    /// The owner first, because a change of owner clears the set-id bits; the mtime last. A set-user-id bit on a file
    /// is set only along with its owner, a set-group-id bit only along with its group: without, what was harmless
    /// there would here run as whoever happens to own the file.
    pub(super) fn apply(&self, handle: impl AsFd + Copy) -> io::Result<(Meta, Refused)> {
        let mut meta = Meta::of(handle)?;
        let now = self.compare(&meta);
        if now.uid || now.gid {
            self.set_owner(handle)?;
            meta = Meta::of(handle)?;
        }
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
        Ok((meta, self.compare(&meta)))
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
            if self.uid != Some(meta.attributes.uid) {
                mode &= !0o4000;
            }
            if self.gid != Some(meta.attributes.gid) {
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
