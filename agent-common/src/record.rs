//! A record is one message from the programs to the agent: a [`Header`] of 64 bytes, then `path_len` bytes of path,
//! then `to_len` bytes of a second path or name.
//!
//! A path is the names from the leaf up to, and without, the innermost watched directory, each ended by a NUL. An
//! empty path is that directory itself. Up to [`LEVELS`] names and [`PATH_BYTES`] bytes; beyond that the record says
//! [`flag::CAPPED`] (which directory it belongs to is then unknown unless `root` says so) and the agent rescans.

use core::mem::{offset_of, size_of};

/// How many names a path in a record may have.
pub const LEVELS: usize = 256;
/// How many bytes a path in a record may have.
pub const PATH_BYTES: usize = 4096;
/// The longest name with its NUL.
pub const NAME_BYTES: usize = 256;
/// The longest record.
pub const RECORD_BYTES: usize = size_of::<Header>() + 2 * PATH_BYTES;

/// `root` of a record whose path leads to no watched directory.
pub const ROOT_OUTSIDE: u32 = u32::MAX;
/// `root` of a record whose path could not be followed to its end.
pub const ROOT_UNKNOWN: u32 = u32::MAX - 1;

/// What a record reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Op {
    /// Content was written, allocated, cloned or mapped for writing.
    Write = 1,
    /// A descriptor that could write was closed.
    Close = 2,
    /// A regular file was created.
    Create = 3,
    /// A directory was created.
    Mkdir = 4,
    /// A fifo, socket, device node or file was made by `mknod` or `bind`.
    Mknod = 5,
    /// A symbolic link was created.
    Symlink = 6,
    /// A name was given to an existing inode.
    Link = 7,
    /// A name was taken from an inode that is no directory.
    Unlink = 8,
    /// A directory was removed.
    Rmdir = 9,
    /// `path` was renamed to `to`. With [`flag::EXCHANGE`] the other way round as well.
    Rename = 10,
    /// Size was changed by `truncate` or `O_TRUNC`.
    Truncate = 11,
    /// Mode, owner or times were changed.
    Attributes = 12,
    /// An extended attribute or ACL was changed.
    Xattr = 13,
    /// Something in this directory changed, and which name is not known.
    Directory = 14,
    /// An inode is about to be renamed away from `path`; [`Op::Moved`] of the same task and inode follows.
    Moving = 15,
    /// An inode was renamed and is now at `path`.
    Moved = 16,
    /// The agent's own write to its cookie: everything before it is in the ring already. Carries [`crate::Losses`].
    Barrier = 17,
}

impl Op {
    /// Every operation, in the order of its number.
    pub const ALL: [Op; 17] = [
        Op::Write,
        Op::Close,
        Op::Create,
        Op::Mkdir,
        Op::Mknod,
        Op::Symlink,
        Op::Link,
        Op::Unlink,
        Op::Rmdir,
        Op::Rename,
        Op::Truncate,
        Op::Attributes,
        Op::Xattr,
        Op::Directory,
        Op::Moving,
        Op::Moved,
        Op::Barrier,
    ];

    /// Returns the operation with this number.
    pub fn from_number(number: u8) -> Option<Op> {
        // No index that could panic: a program with a panic in it does not load.
        Op::ALL.get(usize::from(number).wrapping_sub(1)).copied()
    }
}

/// Bits of [`Header::flags`].
pub mod flag {
    /// `path` is not complete: too many names or too long.
    pub const CAPPED: u16 = 1 << 0;
    /// `to` is not complete.
    pub const TO_CAPPED: u16 = 1 << 1;
    /// The inode has more than one name.
    pub const LINKED: u16 = 1 << 2;
    /// Someone has the inode open for writing.
    pub const WRITERS: u16 = 1 << 3;
    /// A rename that exchanges two names.
    pub const EXCHANGE: u16 = 1 << 4;
    /// `to` is not a path but the string that the caller gave; its last component is a name in the directory `path`.
    pub const NAME: u16 = 1 << 5;
    /// The file is mapped shared and writable: stores to it may go unseen until it is closed.
    pub const MAPPED: u16 = 1 << 6;
    /// The operation has ended (else it may just be about to happen).
    pub const DONE: u16 = 1 << 7;
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Header {
    /// [`crate::ABI`].
    pub abi: u8,
    /// An [`Op`].
    pub op: u8,
    /// Bits of [`flag`].
    pub flags: u16,
    /// The slot of the watched directory that `path` is relative to, [`ROOT_OUTSIDE`] or [`ROOT_UNKNOWN`].
    pub root: u32,
    /// The inode number; 0 where there is no inode yet.
    pub ino: u64,
    /// The device number of the superblock, as the kernel encodes it (20 bits of minor).
    pub dev: u32,
    /// The inode's generation.
    pub generation: u32,
    /// The process, in the kernel's numbering (not a PID namespace's).
    pub tgid: u32,
    /// The file's mode with its type; 0 where there is no inode yet.
    pub mode: u16,
    /// Bytes of the path.
    pub path_len: u16,
    /// Bytes of the second path.
    pub to_len: u16,
    /// Zero.
    pub reserved: u16,
    /// The slot that `to` is relative to, as `root`.
    pub to_root: u32,
    /// The thread (what joins [`Op::Moving`] with [`Op::Moved`]), or the number of a barrier: the position of the cookie.
    pub cookie: u64,
    /// The name of the task.
    pub comm: [u8; 16],
}

const _: () = {
    assert!(size_of::<Header>() == 64);
    assert!(offset_of!(Header, flags) == 2);
    assert!(offset_of!(Header, root) == 4);
    assert!(offset_of!(Header, ino) == 8);
    assert!(offset_of!(Header, dev) == 16);
    assert!(offset_of!(Header, generation) == 20);
    assert!(offset_of!(Header, tgid) == 24);
    assert!(offset_of!(Header, mode) == 28);
    assert!(offset_of!(Header, path_len) == 30);
    assert!(offset_of!(Header, to_len) == 32);
    assert!(offset_of!(Header, to_root) == 36);
    assert!(offset_of!(Header, cookie) == 40);
    assert!(offset_of!(Header, comm) == 48);
};
