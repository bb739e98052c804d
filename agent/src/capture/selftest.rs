//! The self-test: performs each kind of operation in a private directory and requires its event. Probes that attach
//! and never fire are the rule, not the exception: inlined functions, changed arguments, policies.
//!
//! It runs before this process' own changes are left out, and before the roots are watched.

use super::{
    event::{Event, EventKind},
    report::{Seen, Tested},
};
use crate::{core::path::RelPath, fs::temporary_name};
use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid, XattrFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

/// A directory for one self-test. It is removed with all it holds.
pub struct Ground {
    /// Where it is.
    pub path: PathBuf,
    dir: OwnedFd,
}

impl Ground {
    /// Makes one on the file system of `root`: beside it where that is the same file system and no replica, else in
    /// it, under a reserved name.
    pub fn near(root: &Path, roots: &[PathBuf]) -> Result<Ground, String> {
        let name = temporary_name("self-test");
        let dev =
            std::fs::metadata(root).map_err(|e| format!("cannot look at {}: {e}", root.display()))?.dev();
        let beside = root.parent().filter(|parent| {
            std::fs::metadata(parent).is_ok_and(|m| m.dev() == dev)
                && !roots.iter().any(|r| parent.starts_with(r))
        });
        let mut why = String::new();
        for place in beside.into_iter().chain([root]) {
            let path = place.join(OsStr::from_bytes(name.as_bytes()));
            let made = rustix::fs::mkdirat(CWD, &path, Mode::RWXU).and_then(|()| {
                rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            });
            match made {
                Ok(dir) => return Ok(Ground { path, dir }),
                Err(error) => why = format!("cannot make {}: {error}", path.display()),
            }
        }
        Err(why)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), why = %error, "the self-test's directory was not removed");
        }
    }
}

/// What an operation must be reported as.
struct Expected {
    kinds: &'static [EventKind],
    path: &'static str,
    to: Option<&'static str>,
}

/// One operation.
struct Operation {
    name: &'static str,
    perform: fn(&Ground) -> Result<(), Errno>,
    expected: Expected,
    /// Whether a tier is of no use without it.
    needed: bool,
}

const fn operation(
    name: &'static str,
    perform: fn(&Ground) -> Result<(), Errno>,
    kinds: &'static [EventKind],
    path: &'static str,
) -> Operation {
    Operation { name, perform, expected: Expected { kinds, path, to: None }, needed: true }
}

/// The operations, in an order in which each finds what it needs.
const OPERATIONS: &[Operation] = &[
    operation(
        "create",
        |g| open(g, "file", OFlags::CREATE | OFlags::EXCL).map(drop),
        &[EventKind::Create],
        "file",
    ),
    operation("write", write, &[EventKind::Write], "file"),
    Operation {
        needed: false,
        ..operation(
            "close after write",
            |g| open(g, "file", OFlags::empty()).map(drop),
            &[EventKind::CloseWrite],
            "file",
        )
    },
    operation("truncate", truncate, &[EventKind::Truncate, EventKind::Write], "file"),
    operation(
        "open with truncation",
        |g| open(g, "file", OFlags::TRUNC).map(drop),
        &[EventKind::Truncate, EventKind::Write],
        "file",
    ),
    operation("mkdir", |g| rustix::fs::mkdirat(&g.dir, "dir", Mode::RWXU), &[EventKind::Mkdir], "dir"),
    operation("mknod", mknod, &[EventKind::Mknod], "fifo"),
    operation(
        "symlink",
        |g| rustix::fs::symlinkat("nowhere", &g.dir, "dir/symlink"),
        &[EventKind::Symlink],
        "dir/symlink",
    ),
    operation("chmod", chmod, &[EventKind::Attributes], "file"),
    operation("chown", chown, &[EventKind::Attributes], "dir"),
    operation("utimes", utimes, &[EventKind::Attributes], "file"),
    Operation {
        needed: false,
        ..operation("xattr", xattr, &[EventKind::Xattr, EventKind::Attributes], "file")
    },
    // After the attributes: a file with two names may be reported by either.
    operation(
        "link",
        |g| rustix::fs::linkat(&g.dir, "file", &g.dir, "dir/link", AtFlags::empty()),
        &[EventKind::Link],
        "dir/link",
    ),
    Operation {
        expected: Expected {
            kinds: &[EventKind::Rename, EventKind::Exchange],
            path: "fifo",
            to: Some("dir/symlink"),
        },
        ..operation("exchange", exchange, &[], "")
    },
    Operation {
        expected: Expected { kinds: &[EventKind::Rename], path: "dir", to: Some("moved") },
        ..operation("rename", |g| rustix::fs::renameat(&g.dir, "dir", &g.dir, "moved"), &[], "")
    },
    operation(
        "unlink",
        |g| rustix::fs::unlinkat(&g.dir, "moved/link", AtFlags::empty()),
        &[EventKind::Delete],
        "moved/link",
    ),
    operation("rmdir", rmdir, &[EventKind::Rmdir], "moved"),
];

fn open(ground: &Ground, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(&ground.dir, name, flags | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
}

fn write(ground: &Ground) -> Result<(), Errno> {
    rustix::io::write(open(ground, "file", OFlags::empty())?, b"vfsync").map(drop)
}

fn truncate(ground: &Ground) -> Result<(), Errno> {
    rustix::fs::ftruncate(open(ground, "file", OFlags::empty())?, 3)
}

fn mknod(ground: &Ground) -> Result<(), Errno> {
    rustix::fs::mknodat(&ground.dir, "fifo", FileType::Fifo, Mode::RUSR, 0)
}

fn chmod(ground: &Ground) -> Result<(), Errno> {
    rustix::fs::chmodat(&ground.dir, "file", Mode::RWXU, AtFlags::empty())
}

fn chown(ground: &Ground) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(&ground.dir)?;
    let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(&ground.dir, "dir", Some(user), Some(group), AtFlags::empty())
}

fn utimes(ground: &Ground) -> Result<(), Errno> {
    let time = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(&ground.dir, "file", &times, AtFlags::empty())
}

fn xattr(ground: &Ground) -> Result<(), Errno> {
    rustix::fs::setxattr(ground.path.join("file"), "user.vfsync", b"1", XattrFlags::empty())
}

fn exchange(ground: &Ground) -> Result<(), Errno> {
    rustix::fs::renameat_with(&ground.dir, "fifo", &ground.dir, "dir/symlink", RenameFlags::EXCHANGE)
}

fn rmdir(ground: &Ground) -> Result<(), Errno> {
    rustix::fs::unlinkat(ground.dir.as_fd(), "moved/symlink", AtFlags::empty())?;
    rustix::fs::unlinkat(&ground.dir, "moved", AtFlags::REMOVEDIR)
}

/// Performs every operation; `sync` returns the events up to now, with paths relative to the ground.
pub fn run(
    ground: &Ground,
    mut sync: impl FnMut() -> Result<Vec<Event>, String>,
) -> Result<Vec<Tested>, String> {
    let mut table = Vec::new();
    for operation in OPERATIONS {
        sync()?;
        let seen = match (operation.perform)(ground) {
            Ok(()) if operation.expected.is_met_by(&sync()?) => Seen::Yes,
            Ok(()) => Seen::No,
            Err(error) => Seen::NotTested(error.to_string()),
        };
        table.push(Tested { operation: operation.name, seen });
    }
    Ok(table)
}

impl Expected {
    fn is_met_by(&self, events: &[Event]) -> bool {
        let is = |path: &RelPath, expected: &str| path.as_bytes() == expected.as_bytes();
        let listed = |path: &str| events.iter().any(|e| says_to_look(e.kind) && is(&e.path, path));
        let straight = |event: &Event| {
            let to = self.to.is_none_or(|to| event.to.as_ref().is_some_and(|path| is(path, to)));
            self.kinds.contains(&event.kind) && is(&event.path, self.path) && to
        };
        // Both ends of a rename for themselves do as well.
        events.iter().any(straight) || self.to.is_some_and(|to| listed(self.path) && listed(to))
    }
}

/// Returns whether an event of this kind says to look at a name, whatever is there.
fn says_to_look(kind: EventKind) -> bool {
    use EventKind::{Create, Delete, List, Mkdir, Mknod, Rmdir, Symlink};
    matches!(kind, List | Create | Mkdir | Mknod | Symlink | Delete | Rmdir)
}

/// Returns why a tier with this table is refused, if it is.
pub fn verdict(table: &[Tested]) -> Option<String> {
    let unseen = table.iter().filter(|t| t.seen == Seen::No);
    let needed = |name: &str| OPERATIONS.iter().any(|o| o.name == name && o.needed);
    let names: Vec<_> = unseen.map(|t| t.operation).filter(|name| needed(name)).collect();
    (!names.is_empty()).then(|| format!("is attached but does not report: {}", names.join(", ")))
}
