//! Opening a directory some levels below another one, without ever leaving it: no `..`, no symlink, no magic link.

use crate::core::path::RelPath;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// What one system call takes as a path, less some room (`PATH_MAX` is 4096 with the closing NUL).
const PIECE_MAX: usize = 4000;
/// How often a resolution that a rename disturbed is tried before the directories are walked one by one.
const RETRIES: usize = 64;

/// How every directory is opened: readable, so that it can be listed and synced.
pub(super) const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How a directory on the way is opened: search permission is enough.
const STEP_FLAGS: OFlags =
    OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory at `path` below `base`.
pub(super) fn open_dir(base: BorrowedFd<'_>, path: &RelPath) -> io::Result<OwnedFd> {
    if path.is_root() {
        return Ok(openat(base, ".", DIR_FLAGS, Mode::empty())?);
    }
    let mut at: Option<OwnedFd> = None;
    let mut rest = path.as_bytes();
    while rest.len() > PIECE_MAX {
        let cut = rest[..=PIECE_MAX].iter().rposition(|&b| b == b'/').expect("names are short");
        at = Some(step(at.as_ref().map_or(base, |fd| fd.as_fd()), &rest[..cut], STEP_FLAGS)?);
        rest = &rest[cut + 1..];
    }
    step(at.as_ref().map_or(base, |fd| fd.as_fd()), rest, DIR_FLAGS)
}

/// Opens a directory along a path that one system call takes.
fn step(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    if !has_openat2() {
        return walk(base, path, flags);
    }
    for _ in 0..RETRIES {
        match resolve(base, path, flags) {
            // A rename or a mount somewhere on the system disturbed the resolution.
            Err(Errno::AGAIN | Errno::INTR) => continue,
            done => return Ok(done?),
        }
    }
    walk(base, path, flags)
}

fn resolve(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(base, path, flags, Mode::empty(), how)
}

/// The same, one component at a time. Each of them is a single name without `..`, opened without following, so no
/// step leads anywhere but to a child of the step before.
pub(super) fn walk(base: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let mut at: Option<OwnedFd> = None;
    let mut names = path.split(|&b| b == b'/').peekable();
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { STEP_FLAGS } else { flags };
        let from = at.as_ref().map_or(base, |fd| fd.as_fd());
        at = Some(openat(from, name, flags, Mode::empty())?);
    }
    at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Returns whether the kernel (since 5.6) and what filters its calls let us use `openat2`. Decided once, on a
/// directory where nothing else can be in the way.
pub(super) fn has_openat2() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let Ok(root) = rustix::fs::open("/", STEP_FLAGS, Mode::empty()) else { return false };
        !matches!(resolve(root.as_fd(), b".", STEP_FLAGS), Err(Errno::NOSYS | Errno::PERM | Errno::INVAL))
    })
}
