//! [`Meta`] is what one look at a path shows: its kind, stamp and attributes.

use crate::core::entry::{Attributes, Kind, Stamp, Timestamp};
use rustix::fs::{AtFlags, FileType, Stat, Statx, StatxFlags};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// What kind of thing stands at a path, also those that are never synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
}

impl FileKind {
    /// Returns the kind as entries know it; `None` for what is never synchronised.
    pub fn synchronised(self) -> Option<Kind> {
        match self {
            FileKind::File => Some(Kind::File),
            FileKind::Dir => Some(Kind::Dir),
            FileKind::Symlink => Some(Kind::Symlink),
            FileKind::Fifo | FileKind::Socket | FileKind::BlockDevice | FileKind::CharDevice => None,
        }
    }

    pub(super) fn from_type(file_type: FileType) -> Option<FileKind> {
        Some(match file_type {
            FileType::RegularFile => FileKind::File,
            FileType::Directory => FileKind::Dir,
            FileType::Symlink => FileKind::Symlink,
            FileType::Fifo => FileKind::Fifo,
            FileType::Socket => FileKind::Socket,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::CharacterDevice => FileKind::CharDevice,
            FileType::Unknown => return None,
        })
    }
}

/// What one `statx` shows of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: FileKind,
    /// Which state of which inode it is.
    pub stamp: Stamp,
    /// Mode, owner and group.
    pub attributes: Attributes,
    /// How many names the inode has.
    pub nlink: u32,
    /// The mount it lies on; `None` before Linux 5.8.
    pub mount: Option<u64>,
}

impl Meta {
    /// Returns whether a change after this look could leave the stamp as it is: mtime and ctime both lie within
    /// `window` (the file system's clock tick) of `now`. Where only the ctime is fresh, a write would move the mtime.
    pub fn is_racy(&self, now: Timestamp, window: Duration) -> bool {
        is_within(self.stamp.mtime, now, window) && is_within(self.stamp.ctime, now, window)
    }

    /// Returns whether a further change of what the ctime alone tells of could leave it as it is: it lies within
    /// `window` of `now`.
    pub fn is_fresh(&self, now: Timestamp, window: Duration) -> bool {
        is_within(self.stamp.ctime, now, window)
    }

    /// Returns whether both show one inode with the same content, mode and owner. The ctime is left out, because
    /// renames and links move it.
    pub fn same_but_ctime(&self, other: &Meta) -> bool {
        self.kind == other.kind
            && Stamp { ctime: other.stamp.ctime, ..self.stamp } == other.stamp
            && self.attributes == other.attributes
    }

    /// Returns whether both show one inode.
    pub fn same_inode(&self, other: &Meta) -> bool {
        self.stamp.ino == other.stamp.ino && self.stamp.dev == other.stamp.dev
    }
}

fn is_within(a: Timestamp, b: Timestamp, window: Duration) -> bool {
    let nanoseconds = |t: Timestamp| i128::from(t.seconds) * 1_000_000_000 + i128::from(t.nanoseconds);
    (nanoseconds(a) - nanoseconds(b)).unsigned_abs() <= window.as_nanos()
}

/// Returns the time of day, on the clock that file systems stamp with.
pub fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Timestamp { seconds: now.tv_sec, nanoseconds: now.tv_nsec as u32 }
}

/// Looks at `name` in the directory `fd`, or at `fd` itself if the name is empty. Follows no symlink.
pub(super) fn look(fd: impl AsFd, name: &[u8]) -> io::Result<Meta> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    match rustix::fs::statx(&fd, name, flags, wanted) {
        Ok(stat) => from_statx(&stat),
        // A filter for system calls that does not know statx, as old containers have it.
        Err(rustix::io::Errno::NOSYS) => from_stat(&rustix::fs::statat(&fd, name, flags)?),
        Err(e) => Err(e.into()),
    }
}

fn from_statx(stat: &Statx) -> io::Result<Meta> {
    let time = |t: rustix::fs::StatxTimestamp| Timestamp { seconds: t.tv_sec, nanoseconds: t.tv_nsec };
    Ok(Meta {
        kind: kind(stat.stx_mode.into())?,
        stamp: Stamp {
            dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            ctime: time(stat.stx_ctime),
            mtime: time(stat.stx_mtime),
            size: stat.stx_size,
        },
        attributes: Attributes { mode: stat.stx_mode & 0o7777, uid: stat.stx_uid, gid: stat.stx_gid },
        nlink: stat.stx_nlink,
        mount: (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id),
    })
}

// The fields of `stat` differ in width from one architecture to the next.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
fn from_stat(stat: &Stat) -> io::Result<Meta> {
    Ok(Meta {
        kind: kind(stat.st_mode)?,
        stamp: Stamp {
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            ctime: Timestamp { seconds: stat.st_ctime as i64, nanoseconds: stat.st_ctime_nsec as u32 },
            mtime: Timestamp { seconds: stat.st_mtime as i64, nanoseconds: stat.st_mtime_nsec as u32 },
            size: stat.st_size as u64,
        },
        attributes: Attributes { mode: (stat.st_mode & 0o7777) as u16, uid: stat.st_uid, gid: stat.st_gid },
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        mount: None,
    })
}

fn kind(mode: u32) -> io::Result<FileKind> {
    FileKind::from_type(FileType::from_raw_mode(mode))
        .ok_or_else(|| io::Error::other("the file system shows a kind of file that Linux does not have"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Looks the old way, as where statx is refused.
    pub(in crate::fs) fn by_stat(fd: impl AsFd, name: &str) -> Meta {
        from_stat(&rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW).unwrap()).unwrap()
    }
}
