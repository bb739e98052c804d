//! A [`Listing`] is the names that one directory holds, in the order of a sorted walk.

use super::dir::Dir;
use super::meta::FileKind;
use super::reserved::is_reserved;
use crate::core::path::Name;
use rustix::fs::RawDir;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use vfsync_common::WAIT_ATTRIBUTE;

/// How much the kernel hands over at once.
const BUFFER: usize = 64 * 1024;
/// As much where no name is wanted: room for the longest one.
const SOME_NAMES: usize = 512;

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: Name,
    /// What the directory says that it is; `None` where the file system does not tell. A hint: only a look at the
    /// name itself is a fact.
    pub hint: Option<FileKind>,
}

/// The names of one directory, each list sorted by bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// What may be synchronised.
    pub entries: Vec<Listed>,
    /// Names that vfsync keeps to itself ([`is_reserved`]).
    pub reserved: Vec<Name>,
    /// Names that vfsync cannot handle: longer than 255 bytes. To be reported: unreadable, not absent.
    pub unusable: Vec<Box<[u8]>>,
}

impl Dir {
    /// Lists the directory. Takes memory in proportion to this one directory.
    ///
    /// RACE: a name that is renamed while the directory is being read may be missed under both its names. Worst
    /// outcome: something looks absent that is there; so an absence counts only when [`Dir::stat`] confirms it.
    pub fn list(&self) -> io::Result<Listing> {
        let fd = self.reopen()?;
        let mut buffer = Vec::with_capacity(BUFFER);
        let mut raw = RawDir::new(fd, buffer.spare_capacity_mut());
        let mut listing = Listing::default();
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                listing.add(name, FileKind::from_type(entry.file_type()));
            }
        }
        listing.sort();
        Ok(listing)
    }

    /// Waits until whoever is about to change a name in this directory has done so.
    ///
    /// The kernel changes names under the directory's lock, and takes the same lock, shared, to hand over even a part
    /// of a listing; a look at a name takes none. So what was begun before this call is over when it returns. What
    /// the listing says, and whether it can be had at all, is of no interest.
    pub fn wait_for_changes(&self) {
        let mut buffer = Vec::with_capacity(SOME_NAMES);
        // Without opening it once more: where this handle reads on, nobody asks.
        let _ = RawDir::new(self, buffer.spare_capacity_mut()).next();
    }

    /// Waits until whoever is about to change the attributes of what has this name has done so.
    ///
    /// The kernel changes mode, owner, times and extended attributes under the lock of the inode itself, which no look
    /// takes. Removing an attribute takes it first, and finds only then that there can be none of this name: nothing
    /// is changed. Whatever it answers, what was begun before this call is over when it returns.
    pub fn wait_for_attributes(&self, name: &Name) {
        let mut path = format!("/proc/self/fd/{}/", self.as_fd().as_raw_fd()).into_bytes();
        path.extend_from_slice(name.as_bytes());
        // Not following a symbolic link: it is about what the name is itself.
        let _ = rustix::fs::lremovexattr(path, WAIT_ATTRIBUTE.strip_suffix(b"\0").unwrap_or(WAIT_ATTRIBUTE));
    }

    /// Returns one name in the directory, reserved or not; `None` if it is empty.
    pub fn any_name(&self) -> io::Result<Option<Name>> {
        let fd = self.reopen()?;
        let mut buffer = Vec::with_capacity(4096);
        let mut raw = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            if let Ok(name) = Name::new(entry?.file_name().to_bytes()) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

impl Listing {
    fn add(&mut self, bytes: &[u8], hint: Option<FileKind>) {
        match Name::new(bytes) {
            Err(_) => self.unusable.push(bytes.into()),
            Ok(name) if is_reserved(bytes) => self.reserved.push(name),
            Ok(name) => self.entries.push(Listed { name, hint }),
        }
    }

    fn sort(&mut self) {
        self.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        // A name that is removed and made again while the directory is read can appear twice.
        self.entries.dedup_by(|a, b| a.name == b.name);
        self.reserved.sort_unstable();
        self.reserved.dedup();
        self.unusable.sort_unstable();
        self.unusable.dedup();
    }
}
