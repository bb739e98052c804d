//! Setting owner, mode, mtime and extended attributes on what is already open, never by a path that somebody may swap.

use crate::core::entry::Timestamp;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// The open file itself, also if it is a symlink.
const ITSELF: AtFlags = AtFlags::EMPTY_PATH.union(AtFlags::SYMLINK_NOFOLLOW);

/// Sets owner and group, those of them that are given.
pub(crate) fn set_owner(handle: impl AsFd, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let uid = uid.map(checked_id).transpose()?.map(Uid::from_raw);
    let gid = gid.map(checked_id).transpose()?.map(Gid::from_raw);
    rustix::fs::chownat(handle, "", uid, gid, ITSELF)
}

/// Refuses the id that means "leave it as it is" to the kernel.
fn checked_id(id: u32) -> Result<u32> {
    if id == u32::MAX { Err(Errno::INVAL) } else { Ok(id) }
}

/// Sets the permission bits (of `0o7777`). Not for symlinks, which have none.
pub(crate) fn set_mode(handle: impl AsFd, mode: u16) -> Result<()> {
    let mode = Mode::from_raw_mode(u32::from(mode & 0o7777));
    match rustix::fs::fchmod(&handle, mode) {
        // Opened only as a path.
        Err(Errno::BADF) => rustix::fs::chmodat(CWD, path_of(&handle), mode, AtFlags::empty()),
        done => done,
    }
}

/// Sets the modification time and leaves the access time.
pub(crate) fn set_mtime(handle: impl AsFd, mtime: Timestamp) -> Result<()> {
    let omit = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let mtime = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    let times = Timestamps { last_access: omit, last_modification: mtime };
    match rustix::fs::utimensat(&handle, "", &times, ITSELF) {
        // Before Linux 5.8.
        Err(Errno::INVAL | Errno::NOENT) => {
            rustix::fs::utimensat(CWD, path_of(&handle), &times, AtFlags::empty())
        }
        done => done,
    }
}

/// The one path that leads to an open file whatever becomes of its names.
fn path_of(handle: impl AsFd) -> String {
    format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd())
}

/// Copies extended attributes, access lists among them, from one open file to another. Left out is what belongs to
/// the content (a capability or a signature must not pass to other bytes) or to the layer below, and what `is_set` says
/// that the other has already.
pub(crate) fn copy_xattrs(from: &File, to: &File, is_set: impl Fn(&[u8]) -> bool) -> Result<()> {
    let names = xattr_names(from)?;
    for name in names.split(|&b| b == 0).filter(|name| passes_on(name) && !is_set(name)) {
        let Some(value) = xattr(from, name)? else { continue };
        match rustix::fs::fsetxattr(to, name, &value, XattrFlags::empty()) {
            // Not for us to set: a security module does, or nobody.
            Err(Errno::PERM | Errno::OPNOTSUPP) if !is_access_list(name) => {}
            done => done?,
        }
    }
    Ok(())
}

fn is_access_list(name: &[u8]) -> bool {
    name == b"system.posix_acl_access"
}

fn passes_on(name: &[u8]) -> bool {
    const BOUND: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];
    const LAYERS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
    !name.is_empty() && !BOUND.contains(&name) && !LAYERS.iter().any(|layer| name.starts_with(layer))
}

fn xattr_names(file: &File) -> Result<Vec<u8>> {
    loop {
        let size = match rustix::fs::flistxattr_query(file) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
            size => size?,
        };
        let mut names = vec![0; size];
        match rustix::fs::flistxattr(file, &mut names[..]) {
            Err(Errno::RANGE) => {}
            size => {
                names.truncate(size?);
                return Ok(names);
            }
        }
    }
}

fn xattr(file: &File, name: &[u8]) -> Result<Option<Vec<u8>>> {
    loop {
        let size = match rustix::fs::fgetxattr_query(file, name) {
            // Gone meanwhile, or listed but not for us to read.
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => return Ok(None),
            size => size?,
        };
        let mut value = vec![0; size];
        match rustix::fs::fgetxattr(file, name, &mut value[..]) {
            Err(Errno::RANGE) => {}
            Err(Errno::NODATA) => return Ok(None),
            size => {
                value.truncate(size?);
                return Ok(Some(value));
            }
        }
    }
}
