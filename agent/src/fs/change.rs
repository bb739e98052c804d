//! The single steps that change a tree, each one system call on names in open directories. What makes them safe in a
//! live tree is how [`crate::replica::commit`] orders them.

use super::dir::Dir;
use crate::core::path::Name;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with, unlinkat};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

/// Readable by nobody else until its mode is set.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Creates a file without a name in `dir`. `EOPNOTSUPP`, `EISDIR` or `EINVAL` where there are no such files.
pub(crate) fn create_unnamed(dir: &Dir) -> Result<File> {
    Ok(openat(dir, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, PRIVATE_FILE)?.into())
}

/// Creates the file `name`, where nothing stands yet.
pub(crate) fn create_named(dir: &Dir, name: &Name) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name.as_bytes(), flags, PRIVATE_FILE)?.into())
}

/// Makes the directory `name`, for its owner alone.
pub(crate) fn make_dir(dir: &Dir, name: &Name) -> Result<()> {
    rustix::fs::mkdirat(dir, name.as_bytes(), Mode::RWXU)
}

/// Gives an open file a further name, where nothing stands yet. For an unnamed file it is the first.
pub(crate) fn link_open_file(file: impl AsFd, dir: &Dir, name: &Name) -> Result<()> {
    match linkat(&file, "", dir, name.as_bytes(), AtFlags::EMPTY_PATH) {
        // Needs CAP_DAC_READ_SEARCH, or since Linux 6.10 that it was us who opened the file.
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {}
        done => return done,
    }
    let open_file = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    linkat(CWD, &*open_file, dir, name.as_bytes(), AtFlags::SYMLINK_FOLLOW)
}

/// Exchanges what stands at two names. `EINVAL` or `ENOSYS` where that cannot be had.
pub(crate) fn exchange(dir: &Dir, a: &Name, b: &Name) -> Result<()> {
    renameat_with(dir, a.as_bytes(), dir, b.as_bytes(), RenameFlags::EXCHANGE)
}

/// Renames, if nothing stands at the new name (`EEXIST`); `EINVAL` or `ENOSYS` where that cannot be had.
pub(crate) fn rename_noreplace_only(from: &Dir, old: &Name, to: &Dir, new: &Name) -> Result<()> {
    renameat_with(from, old.as_bytes(), to, new.as_bytes(), RenameFlags::NOREPLACE)
}

/// Removes the name of anything but a directory.
pub(crate) fn unlink(dir: &Dir, name: &Name) -> Result<()> {
    unlinkat(dir, name.as_bytes(), AtFlags::empty())
}

/// Removes an empty directory.
pub(crate) fn remove_dir(dir: &Dir, name: &Name) -> Result<()> {
    unlinkat(dir, name.as_bytes(), AtFlags::REMOVEDIR)
}
