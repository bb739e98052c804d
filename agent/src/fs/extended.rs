//! Extended attributes and access lists of what is already open: looking at them, and setting them.

use crate::core::extended::{Acl, Acls, Extended, ExtendedNames, ShownExtended, Xattrs};
use crate::fs::{Meta, now};
use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
/// What the kernel lets a program that runs the file do. Worth what a set-user-id bit is worth.
const CAPABILITY: &[u8] = b"security.capability";

/// What of [`Extended`] could not be set as it was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NotSet {
    pub xattrs: bool,
    pub acl: bool,
}

/// Looks at what is open, as far as `names` says; `None` where that is nothing. Never for a symbolic link, which has
/// none.
///
/// # Errors
/// When it cannot be read, or is more than is handled.
pub(crate) fn look(handle: impl AsFd, names: &ExtendedNames) -> io::Result<Option<Extended>> {
    if !names.any() {
        return Ok(None);
    }
    let handle = Handle(handle.as_fd());
    let (mut xattrs, mut access, mut default) = (BTreeMap::new(), None, None);
    for name in handle.names()?.split(|&b| b == 0).filter(|name| !name.is_empty()) {
        let is_list = names.acl() && matches!(name, ACCESS | DEFAULT);
        if !is_list && !names.carries(name) {
            continue;
        }
        let Some(value) = handle.get(name)? else { continue };
        match name {
            ACCESS if is_list => access = Some(acl(&value)?),
            DEFAULT if is_list => default = Some(acl(&value)?),
            name => drop(xattrs.insert(name.to_vec(), value)),
        }
    }
    let xattrs = Xattrs::new(&xattrs).map_err(io::Error::other)?;
    Ok(Some(Extended { xattrs, acls: Acls::new(access, default) }))
}

/// As [`look`], with whether it was changed a moment ago, so that it may change again without a trace: `meta` was seen
/// before, and `window` is the file system's clock tick.
///
/// # Errors
/// As for [`look`].
pub(crate) fn look_with(
    handle: impl AsFd,
    names: &ExtendedNames,
    meta: &Meta,
    window: Duration,
) -> io::Result<Option<ShownExtended>> {
    let seen = look(handle, names)?;
    Ok(seen.map(|value| ShownExtended { value, racy: meta.is_fresh(now(), window) }))
}

fn acl(bytes: &[u8]) -> io::Result<Acl> {
    Acl::from_bytes(bytes).map_err(io::Error::other)
}

/// Makes the extended attributes that `names` carries just those of `wanted`. After the owner is set, which takes some
/// of them away; a capability is only set with `trusted`, which says that the owner is the one who had it there.
///
/// What is not allowed, or not to be had on this file system, is no error.
///
/// # Errors
/// When they cannot be read, or not be set for another reason.
pub(crate) fn set_xattrs(
    handle: impl AsFd,
    wanted: &Xattrs,
    names: &ExtendedNames,
    trusted: bool,
) -> io::Result<NotSet> {
    let handle = Handle(handle.as_fd());
    let mut not_set = NotSet::default();
    let wanted: BTreeMap<_, _> = wanted.iter().filter(|(name, _)| names.carries(name)).collect();
    let present = handle.names()?;
    for name in present.split(|&b| b == 0).filter(|name| names.carries(name)) {
        if !wanted.contains_key(name) {
            not_set.xattrs |= tolerate(handle.remove(name))?.is_none();
        }
    }
    for (name, value) in wanted {
        if name == CAPABILITY && !trusted {
            not_set.xattrs = true;
        } else if handle.get(name)?.as_deref() != Some(value) {
            not_set.xattrs |= tolerate(handle.set(name, value))?.is_none();
        }
    }
    Ok(not_set)
}

/// Makes the access lists just those of `wanted`, and the permissions those of `mode`, in one step: at no moment may
/// anybody more than before or after.
///
/// What is not allowed, or not to be had on this file system, is no error.
///
/// # Errors
/// As for [`set_xattrs`].
pub(crate) fn set_acls(handle: impl AsFd, wanted: &Acls, mode: u16, is_dir: bool) -> io::Result<NotSet> {
    let handle = Handle(handle.as_fd());
    let mut not_set = NotSet::default();
    let has = |name| Ok::<_, Errno>(handle.get(name)?.map(|value| Acl::from_bytes(&value)));
    let access = wanted.access(mode);
    let is_access = match (has(ACCESS)?, &access) {
        (None, None) => true,
        (Some(Ok(is)), Some(wanted)) => is == *wanted,
        (Some(_), _) | (None, Some(_)) => false,
    };
    if !is_access {
        // Where there shall be no list any more, one that says what the mode says: the kernel then keeps the mode alone.
        let list = access.unwrap_or_else(|| Acl::of_mode(mode));
        not_set.acl |= tolerate(handle.set(ACCESS, &list.to_bytes()))?.is_none();
    }
    if is_dir {
        let is = has(DEFAULT)?;
        match wanted.inherited() {
            None if is.is_some() => not_set.acl |= tolerate(handle.remove(DEFAULT))?.is_none(),
            Some(list) if is != Some(Ok(list.clone())) => {
                not_set.acl |= tolerate(handle.set(DEFAULT, &list.to_bytes()))?.is_none();
            }
            None | Some(_) => {}
        }
    }
    Ok(not_set)
}

/// Takes "not allowed", "not to be had here" and "no room for it here" for an answer.
fn tolerate(done: Result<()>) -> Result<Option<()>> {
    match done {
        Err(
            Errno::PERM
            | Errno::ACCESS
            | Errno::OPNOTSUPP
            | Errno::INVAL
            | Errno::RANGE
            | Errno::TOOBIG
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::NAMETOOLONG,
        ) => Ok(None),
        // Somebody was quicker.
        Err(Errno::NODATA) => Ok(Some(())),
        done => done.map(Some),
    }
}

/// Something open, perhaps only as a path: then it is reached by the one name that nobody can swap.
struct Handle<'f>(BorrowedFd<'f>);

impl Handle<'_> {
    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }

    /// Returns the names of all attributes, each with a NUL after it.
    fn names(&self) -> Result<Vec<u8>> {
        let names = sized(|buffer| match rustix::fs::flistxattr(self.0, &mut *buffer) {
            Err(Errno::BADF) => rustix::fs::listxattr(self.path(), buffer),
            done => done,
        });
        // None to be had on this file system.
        Ok(names?.unwrap_or_default())
    }

    /// Returns a value; `None` where there is none.
    fn get(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        sized(|buffer| match rustix::fs::fgetxattr(self.0, name, &mut *buffer) {
            Err(Errno::BADF) => rustix::fs::getxattr(self.path(), name, buffer),
            done => done,
        })
    }

    fn set(&self, name: &[u8], value: &[u8]) -> Result<()> {
        match rustix::fs::fsetxattr(self.0, name, value, XattrFlags::empty()) {
            Err(Errno::BADF) => rustix::fs::setxattr(self.path(), name, value, XattrFlags::empty()),
            done => done,
        }
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        match rustix::fs::fremovexattr(self.0, name) {
            Err(Errno::BADF) => rustix::fs::removexattr(self.path(), name),
            done => done,
        }
    }
}

/// Reads something whose length is not known before. Most of what is read this way is short.
fn sized(mut read: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            // The most that the kernel hands out, of names or of one value, is 64 KiB.
            Err(Errno::RANGE) if buffer.len() <= 64 << 10 => buffer.resize(buffer.len() * 8, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            size => {
                buffer.truncate(size?);
                return Ok(Some(buffer));
            }
        }
    }
}
