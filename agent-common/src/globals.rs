//! What the agent finds out about the kernel before it loads the programs, passed to them as read-only globals. The
//! section is frozen before loading, so the verifier sees constants and drops what does not apply.

use crate::pod;

/// An offset that this kernel does not have.
pub const MISSING: u32 = u32::MAX;

/// Where the members that the programs read lie, in bytes, from the kernel's BTF. [`MISSING`] where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
#[allow(missing_docs, reason = "each field is named as the kernel's struct and member")]
pub struct Offsets {
    pub file_dentry: u32,
    pub file_inode: u32,
    pub file_mode: u32,
    pub file_pos: u32,
    pub dentry_parent: u32,
    pub dentry_name: u32,
    pub dentry_hash: u32,
    pub dentry_inode: u32,
    pub dentry_sb: u32,
    pub dentry_alias: u32,
    pub inode_ino: u32,
    pub inode_sb: u32,
    pub inode_generation: u32,
    pub inode_mode: u32,
    pub inode_nlink: u32,
    pub inode_writecount: u32,
    pub inode_aliases: u32,
    pub sb_dev: u32,
    pub sb_root: u32,
    pub iattr_valid: u32,
    pub task_files: u32,
    pub task_flags: u32,
    pub task_status: u32,
    pub files_fdt: u32,
    pub fdt_max: u32,
    pub fdt_fd: u32,
    pub regs_call: u32,
    pub regs_arg: [u32; 6],
    pub request_file: u32,
    pub request_opcode: u32,
}
const _: () = assert!(size_of::<Offsets>() == 35 * 4);

impl Offsets {
    /// Offsets of a kernel that has nothing.
    pub const NONE: Offsets = Offsets {
        file_dentry: MISSING,
        file_inode: MISSING,
        file_mode: MISSING,
        file_pos: MISSING,
        dentry_parent: MISSING,
        dentry_name: MISSING,
        dentry_hash: MISSING,
        dentry_inode: MISSING,
        dentry_sb: MISSING,
        dentry_alias: MISSING,
        inode_ino: MISSING,
        inode_sb: MISSING,
        inode_generation: MISSING,
        inode_mode: MISSING,
        inode_nlink: MISSING,
        inode_writecount: MISSING,
        inode_aliases: MISSING,
        sb_dev: MISSING,
        sb_root: MISSING,
        iattr_valid: MISSING,
        task_files: MISSING,
        task_flags: MISSING,
        task_status: MISSING,
        files_fdt: MISSING,
        fdt_max: MISSING,
        fdt_fd: MISSING,
        regs_call: MISSING,
        regs_arg: [MISSING; 6],
        request_file: MISSING,
        request_opcode: MISSING,
    };
}

/// What else the programs are told at load time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// [`crate::ABI`] of the agent.
    pub abi: u32,
    /// The device number of the cookie's superblock, in the kernel's encoding.
    pub cookie_dev: u32,
    /// The inode number of the cookie.
    pub cookie_ino: u64,
    /// Bytes in the ring buffer above which the reader is woken.
    pub wake_above: u64,
    /// After a wake-up, nanoseconds for which a first record in an empty ring wakes nobody: the reader looks by itself.
    pub wake_pause: u64,
    /// Whether two programs can interleave on one CPU, so that each needs scratch memory of its own.
    pub scratch_each: u32,
    /// Whether the timestamp tracepoints lead (else path system calls are not decoded).
    pub timestamps: u32,
    /// The bit of [`Offsets::task_status`] that marks a 32-bit system call, whose numbers are others.
    pub compat: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<Settings>() == 48);

/// How many programs can be attached at once, each with scratch memory of its own where they can interleave.
pub const SLOTS: u32 = 18;

/// The first of the scratch records behind those, which programs share that can interrupt themselves.
pub const CLAIMED_FIRST: u32 = SLOTS;

/// How many of these a CPU has. What more runs than these at a time put together at once is lost, and counted.
pub const CLAIMED: u32 = 8;

/// How many system calls the table covers.
pub const CALLS: usize = 512;

/// What kind of system call this is for the tracepoint tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Class {
    /// None of the others: what it touches is reported at once.
    Other = 0,
    /// Changes what a descriptor is open on.
    Data = 1,
    /// Opens a file and may create or truncate it.
    Open = 2,
    /// Makes a name.
    Make = 3,
    /// Takes a name.
    Remove = 4,
    /// Renames.
    Rename = 5,
    /// Changes attributes of what it touches.
    Attributes = 6,
    /// Maps a file.
    Map = 7,
    /// Closes a descriptor.
    Close = 8,
    /// Binds a socket, which makes a name if it is a local one.
    Bind = 9,
    /// An `ioctl` on a descriptor: reported if it is one that changes a file.
    Ioctl = 10,
    /// Lists a directory: how the agent teaches the programs a watched one.
    List = 11,
}

/// One entry of the system-call table: class, operation, and which arguments matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Call {
    /// A [`Class`].
    pub class: u8,
    /// An [`crate::record::Op`].
    pub op: u8,
    /// The argument with the descriptor or the name.
    pub arg: u8,
    /// For [`Class::Remove`] the argument with the flags, where there is one (it is never the first); for
    /// [`Class::Rename`] the one with the old name.
    pub other: u8,
}
const _: () = assert!(size_of::<Call>() == 4);

pod!(Offsets, Settings, Call);
