//! The single steps that change a tree, each one system call on names in open directories. What makes them safe in a
//! live tree is how [`crate::replica::commit`] orders them.

use super::dir::Dir;
use super::meta::FileKind;
use crate::core::path::Name;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat_with, unlinkat};
use rustix::io::{Errno, Result};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Readable by nobody else until its mode is set.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Creates a file without a name in `dir`. `EOPNOTSUPP`, `EISDIR` or `EINVAL` where there are no such files.
pub(crate) fn create_unnamed(dir: &Dir) -> Result<File> {
    #[cfg(test)]
    lacking::check(lacking::UNNAMED, Errno::OPNOTSUPP)?;
    Ok(openat(dir, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, PRIVATE_FILE)?.into())
}

/// Creates the file `name`, where nothing stands yet.
pub(crate) fn create_named(dir: &Dir, name: &Name) -> Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name.as_bytes(), flags, PRIVATE_FILE)?.into())
}

/// Opens whatever stands at `name` only to name it: nothing is read, no pipe is waited for, no device touched.
pub(crate) fn open_path(dir: &Dir, name: &Name) -> Result<OwnedFd> {
    openat(dir, name.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes the directory `name`, for its owner alone.
pub(crate) fn make_dir(dir: &Dir, name: &Name) -> Result<()> {
    rustix::fs::mkdirat(dir, name.as_bytes(), Mode::RWXU)
}

/// Makes the symbolic link `name`, where nothing stands yet.
pub(crate) fn make_symlink(dir: &Dir, name: &Name, target: &[u8]) -> Result<()> {
    rustix::fs::symlinkat(target, dir, name.as_bytes())
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
    #[cfg(test)]
    lacking::check(lacking::EXCHANGE, Errno::INVAL)?;
    renameat_with(dir, a.as_bytes(), dir, b.as_bytes(), RenameFlags::EXCHANGE)
}

/// Renames, if nothing stands at the new name (`EEXIST`); `EINVAL` or `ENOSYS` where that cannot be had.
pub(crate) fn rename_noreplace_only(from: &Dir, old: &Name, to: &Dir, new: &Name) -> Result<()> {
    #[cfg(test)]
    lacking::check(lacking::NOREPLACE, Errno::INVAL)?;
    renameat_with(from, old.as_bytes(), to, new.as_bytes(), RenameFlags::NOREPLACE)
}

/// Renames, if nothing stands at the new name (`EEXIST`), by the safest way that the file system has.
pub(crate) fn rename_noreplace(from: &Dir, old: &Name, to: &Dir, new: &Name) -> Result<()> {
    match rename_noreplace_only(from, old, to, new) {
        Err(Errno::INVAL | Errno::NOSYS) => {}
        done => return done,
    }
    // A hard link refuses a name that is taken. RACE: killed between the two steps, both names are left. Worst outcome:
    // recovery finds a reserved name with content that is known.
    match link(from, old, to, new) {
        Ok(()) => {
            // It has its new name; an old one that stays is left to recovery.
            let _ = unlink(from, old);
            return Ok(());
        }
        // A directory, or a file system without hard links.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::ISDIR | Errno::MLINK) => {}
        Err(e) => return Err(e),
    }
    rename_onto_claim(from, old, to, new)
}

fn link(from: &Dir, old: &Name, to: &Dir, new: &Name) -> Result<()> {
    #[cfg(test)]
    lacking::check(lacking::LINKS, Errno::PERM)?;
    linkat(from, old.as_bytes(), to, new.as_bytes(), AtFlags::empty())
}

/// Renames onto a name that was first claimed with something empty of the same kind.
///
/// RACE: the last way, on file systems with neither `RENAME_NOREPLACE` nor hard links (old FUSE, old vfat). Worst
/// outcome: what a program writes into the empty file that claims the name, in the microseconds before the rename,
/// is lost.
fn rename_onto_claim(from: &Dir, old: &Name, to: &Dir, new: &Name) -> Result<()> {
    let is_dir = from.stat(old).ok().flatten().is_some_and(|m| m.kind == FileKind::Dir);
    if is_dir {
        make_dir(to, new)?;
    } else {
        drop(create_named(to, new)?);
    }
    let renamed = renameat_with(from, old.as_bytes(), to, new.as_bytes(), RenameFlags::empty());
    if renamed.is_err() {
        let claim = to.stat(new).ok().flatten();
        // What cannot be removed stays as an empty file or directory.
        let _ = match claim {
            Some(claim) if claim.kind == FileKind::Dir => remove_dir(to, new),
            Some(claim) if claim.stamp.size == 0 => unlink(to, new),
            Some(_) | None => Ok(()),
        };
    }
    renamed
}

/// Renames within a directory, onto whatever but a directory stands at the new name.
pub(crate) fn rename(dir: &Dir, old: &Name, new: &Name) -> Result<()> {
    renameat_with(dir, old.as_bytes(), dir, new.as_bytes(), RenameFlags::empty())
}

/// Renames onto a new reserved name, of which it is enough that nobody else makes it.
pub(crate) fn rename_aside(dir: &Dir, name: &Name, aside: &Name) -> Result<()> {
    match rename_noreplace_only(dir, name, dir, aside) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            renameat_with(dir, name.as_bytes(), dir, aside.as_bytes(), RenameFlags::empty())
        }
        done => done,
    }
}

/// Removes the name of anything but a directory.
pub(crate) fn unlink(dir: &Dir, name: &Name) -> Result<()> {
    unlinkat(dir, name.as_bytes(), AtFlags::empty())
}

/// Removes an empty directory.
pub(crate) fn remove_dir(dir: &Dir, name: &Name) -> Result<()> {
    unlinkat(dir, name.as_bytes(), AtFlags::REMOVEDIR)
}

/// Lets a test take file systems for poorer than they are.
#[cfg(test)]
pub(crate) mod lacking {
    use rustix::io::{Errno, Result};
    use std::cell::Cell;

    pub(crate) const UNNAMED: u8 = 1;
    pub(crate) const EXCHANGE: u8 = 2;
    pub(crate) const NOREPLACE: u8 = 4;
    pub(crate) const LINKS: u8 = 8;

    thread_local! {
        static LACKING: Cell<u8> = const { Cell::new(0) };
    }

    /// Takes these for not to be had, on this thread, from now on.
    pub(crate) fn set(what: u8) {
        LACKING.set(what);
    }

    pub(super) fn check(what: u8, answer: Errno) -> Result<()> {
        if LACKING.get() & what == 0 { Ok(()) } else { Err(answer) }
    }
}
