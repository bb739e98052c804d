//! [`Capabilities`] are what a file system can do of what vfsync would like: tried for real, in the tree, once.

use super::beneath;
use super::change;
use super::dir::Dir;
use super::lease::{LeaseRefused, ReadLease};
use super::meta::Meta;
use super::reserved::temporary_name;
use crate::core::path::Name;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::time::Duration;

/// The class of the reserved directories in which file systems are tried.
pub(crate) const PROBE_CLASS: &str = "probe";

/// What the file system of a directory can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Which file system it is.
    pub file_system: FileSystem,
    /// Whether we can create files at all.
    pub writable: bool,
    /// Files without a name (`O_TMPFILE`) that can be given one.
    pub unnamed_files: bool,
    /// Exchanging two names in one step.
    pub exchange: bool,
    /// Renaming only where nothing stands.
    pub rename_noreplace: bool,
    /// Read leases.
    pub leases: Leases,
    /// The steps in which it keeps times.
    pub time_step: Duration,
    /// Whether the kernel resolves paths beneath a directory for us. Without it vfsync walks them itself.
    pub openat2: bool,
}

/// What a read lease is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leases {
    /// It is refused while somebody writes, and breaks when somebody is about to.
    Trusted,
    /// It can be had, but says nothing about writers elsewhere (other hosts, other layers), or it failed its test.
    Untrusted,
    /// There are none.
    Missing,
}

/// The file systems that matter here, by what vfsync does differently on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// A local one, with its name.
    Local(&'static str),
    /// Another host may change it unseen.
    Network(&'static str),
    /// A program answers for it, and anything may be behind that.
    Fuse,
    /// Layers: a file below may be changed past it.
    Overlay,
    /// Not known by name (its magic number). Taken for local.
    Unknown(u64),
}

impl FileSystem {
    /// Tells which file system a directory lies on.
    pub fn of(dir: &Dir) -> io::Result<FileSystem> {
        Ok(FileSystem::from_magic(rustix::fs::fstatfs(dir)?.f_type as u64))
    }

    fn from_magic(magic: u64) -> FileSystem {
        use FileSystem::{Fuse, Local, Network, Overlay, Unknown};
        // From linux/magic.h and the file systems' own headers.
        match magic & 0xffff_ffff {
            0xef53 => Local("ext4"),
            0x5846_5342 => Local("xfs"),
            0x9123_683e => Local("btrfs"),
            0x0102_1994 => Local("tmpfs"),
            0x8584_58f6 => Local("ramfs"),
            0xf2f5_2010 => Local("f2fs"),
            0x2fc1_2fc1 => Local("zfs"),
            0xca45_1a4e => Local("bcachefs"),
            0x4d44 => Local("vfat"),
            0x2011_bab0 => Local("exfat"),
            0x7366_746e => Local("ntfs3"),
            0x6969 => Network("nfs"),
            0xff53_4d42 => Network("cifs"),
            0xfe53_4d42 => Network("smb2"),
            0x517b => Network("smb"),
            0x0102_1997 => Network("9p"),
            0x00c3_6400 => Network("ceph"),
            0x5346_414f | 0x6b41_4653 => Network("afs"),
            0x4750_4653 => Network("gpfs"),
            0x0bd0_0bd0 => Network("lustre"),
            0x0116_1970 => Network("gfs2"),
            0x7461_636f => Network("ocfs2"),
            0x6573_5546 => Fuse,
            0x794c_7630 => Overlay,
            other => Unknown(other),
        }
    }

    /// Returns whether two files can share blocks on it.
    pub fn shares_blocks(self) -> bool {
        matches!(self, FileSystem::Local("xfs" | "btrfs" | "bcachefs"))
    }

    /// Returns whether only this kernel changes files on it, so that what the kernel says of them is the truth.
    pub fn is_local(self) -> bool {
        match self {
            FileSystem::Local(_) | FileSystem::Unknown(_) => true,
            FileSystem::Network(_) | FileSystem::Fuse | FileSystem::Overlay => false,
        }
    }
}

impl Capabilities {
    /// Tries what the file system of `dir` can do, in a reserved directory that is gone afterwards. Fails only where
    /// the tree cannot be looked at.
    pub fn probe(dir: &Dir) -> io::Result<Capabilities> {
        let mut found = Capabilities {
            file_system: FileSystem::of(dir)?,
            writable: false,
            unnamed_files: false,
            exchange: false,
            rename_noreplace: false,
            leases: Leases::Missing,
            time_step: Duration::from_nanos(1),
            openat2: beneath::has_openat2(),
        };
        let name = temporary_name(PROBE_CLASS);
        if change::make_dir(dir, &name).is_err() {
            return Ok(found);
        }
        let tried = dir.open_child_dir(&name).and_then(|room| {
            let tried = found.try_in(&room);
            while let Ok(Some(leftover)) = room.any_name() {
                change::unlink(&room, &leftover)?;
            }
            tried
        });
        // A directory that cannot be removed is found by recovery, as any reserved name.
        let _ = change::remove_dir(dir, &name);
        tried.map(|()| found)
    }

    /// How far back a time must lie before a further change is sure to get another one: the kernel's clock tick, or
    /// the step in which the file system keeps times.
    pub fn racy_window(&self) -> Duration {
        // At most 10 ms: CONFIG_HZ=100, before Linux 6.13.
        self.time_step.max(Duration::from_millis(10))
    }

    fn try_in(&mut self, room: &Dir) -> io::Result<()> {
        let [a, b, c] = ["a", "b", "c"].map(|n| Name::new(n.as_bytes()).expect("it is a name"));
        if change::create_named(room, &a).is_err() {
            return Ok(());
        }
        self.writable = true;
        drop(change::create_named(room, &b)?);
        self.exchange = moves(room, &a, || change::exchange(room, &a, &b), &b);
        let to_c = |from| change::rename_noreplace_only(room, from, room, &c);
        self.rename_noreplace = moves(room, &a, || to_c(&a), &c) && to_c(&b) == Err(Errno::EXIST);
        let rest = temporary_name("rest");
        drop(change::create_named(room, &rest)?);
        self.unnamed_files = change::create_unnamed(room)
            .and_then(|file| change::link_open_file(&file, room, &temporary_name("linked")))
            .is_ok();
        self.leases = leases(room, &rest, self.file_system);
        self.time_step = time_step(room, &rest)?;
        Ok(())
    }
}

/// Returns whether a rename both reports success and moves the inode.
fn moves(room: &Dir, from: &Name, rename: impl Fn() -> rustix::io::Result<()>, to: &Name) -> bool {
    let inode = |name| room.stat(name).ok().flatten().map(|m: Meta| m.stamp.ino);
    let before = inode(from);
    rename().is_ok() && before.is_some() && inode(to) == before
}

/// Tries both promises of a lease: refused while there is a writer, broken by one that comes.
fn leases(room: &Dir, name: &Name, file_system: FileSystem) -> Leases {
    let open = |flags| openat(room, name.as_bytes(), flags | OFlags::CLOEXEC, Mode::empty()).map(File::from);
    let Ok(writer) = open(OFlags::WRONLY) else { return Leases::Missing };
    let Ok(reader) = open(OFlags::RDONLY) else { return Leases::Missing };
    let reader = match ReadLease::take(reader) {
        Err(LeaseRefused::Writer(reader)) => reader,
        Err(LeaseRefused::Unsupported(..)) => return Leases::Missing,
        Ok(_) => return Leases::Untrusted,
    };
    drop(writer);
    let Some(lease) = lease_without_writers(reader) else { return Leases::Missing };
    let held_off = open(OFlags::WRONLY | OFlags::NONBLOCK).is_err_and(|e| e == Errno::WOULDBLOCK);
    match held_off && !lease.is_unbroken() && file_system.is_local() {
        true => Leases::Trusted,
        false => Leases::Untrusted,
    }
}

/// Takes a lease on a file that nobody writes to any more. A program that another thread is just starting has all our
/// handles until it runs, so a refusal is asked about again.
fn lease_without_writers(mut file: File) -> Option<ReadLease> {
    for _ in 0..500 {
        match ReadLease::take(file) {
            Ok(lease) => return Some(lease),
            Err(LeaseRefused::Writer(back)) => file = back,
            Err(LeaseRefused::Unsupported(..)) => return None,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Sets a time with all its digits and looks at what is kept of it.
fn time_step(room: &Dir, name: &Name) -> io::Result<Duration> {
    const NANOSECONDS: i64 = 123_456_789;
    let time = Timespec { tv_sec: 1_000_000_001, tv_nsec: NANOSECONDS };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(room, name.as_bytes(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
    let kept = room.stat(name)?.ok_or(Errno::NOENT)?.stamp.mtime;
    Ok(match (kept.seconds, kept.nanoseconds) {
        (1_000_000_001, 123_456_789) => Duration::from_nanos(1),
        (1_000_000_001, 123_456_700) => Duration::from_nanos(100),
        (1_000_000_001, 123_456_000) => Duration::from_micros(1),
        (1_000_000_001, 120_000_000) => Duration::from_millis(10),
        (1_000_000_001, 0) => Duration::from_secs(1),
        _ => Duration::from_secs(2),
    })
}
