//! Keys and values of the maps.

use crate::pod;

/// A watched directory. The programs learn the key from the agent itself: it opens and lists the directory when
/// [`Control::learn`] is set. User space sees other device numbers on btrfs, and generations nearly nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RootKey {
    /// The inode number.
    pub ino: u64,
    /// The superblock's device number, in the kernel's encoding.
    pub dev: u32,
    /// The inode's generation.
    pub generation: u32,
}
const _: () = assert!(size_of::<RootKey>() == 16);

/// What identifies a file for coalescing: number and generation are not enough, as two btrfs subvolumes share them
/// under one device number; addresses alone are not, as they are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CacheKey {
    /// The address of the dentry: two names of one inode are two records.
    pub dentry: u64,
    /// The address of the inode.
    pub inode: u64,
    /// The inode number.
    pub ino: u64,
    /// The inode's generation.
    pub generation: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<CacheKey>() == 32);

/// What is known of a file that was reported, or left out, lately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct CacheValue {
    /// The ring's producer position before the file's record was written. While the reader has not come past it the
    /// record is unread, and another one would say nothing new.
    pub position: u64,
    /// [`State::namespace`] at that time: a rename since then may have given the file another path.
    pub namespace: u64,
    /// Which operations (bit = number of the operation) are in unread records; [`CACHE_OUTSIDE`].
    pub operations: u32,
    /// Zero.
    pub reserved: u32,
}
const _: () = assert!(size_of::<CacheValue>() == 24);

/// Bit of [`CacheValue::operations`]: the file lies in no watched directory.
pub const CACHE_OUTSIDE: u32 = 1;

/// Records that could not be delivered, by cause. BPF in Rust has no atomic addition, so that two CPUs may count one
/// loss together; but `at` always moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Losses {
    /// The ring buffer was full; which watched directory the record was about stands in a map of its own.
    pub ring: u64,
    /// The ring buffer was full, and it is not known which watched directory the record was about.
    pub nowhere: u64,
    /// No scratch memory.
    pub scratch: u64,
    /// A path could not be followed.
    pub walk: u64,
    /// The table of tasks was full.
    pub tasks: u64,
    /// When the last one was lost, in nanoseconds.
    pub at: u64,
}
const _: () = assert!(size_of::<Losses>() == 48);

/// What the agent tells the programs while they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Control {
    /// Whether the agent's own changes are left out.
    pub filter: u32,
    /// One more than the slot of the directory that the agent's thread is about to list, 0 for none.
    pub learn: u32,
}
const _: () = assert!(size_of::<Control>() == 8);

/// What the programs remember between events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct State {
    /// The agent's process, in the kernel's numbering, learnt from its first write to the cookie.
    pub agent: u32,
    /// The agent's thread that wrote to the cookie last.
    pub thread: u32,
    /// When paths may last have changed under what is cached, in nanoseconds.
    pub namespace: u64,
    /// When the reader was last woken, in nanoseconds.
    pub woken: u64,
    /// What was lost.
    pub lost: Losses,
}
const _: () = assert!(size_of::<State>() == 72);

/// How many inodes a task's system call may touch before the rest is reported at once.
pub const TOUCHES: usize = 4;

/// An inode that a system call has touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Touch {
    /// The address of its dentry.
    pub dentry: u64,
    /// The address of the inode.
    pub inode: u64,
    /// The inode number.
    pub ino: u64,
    /// The dentry's parent at that time.
    pub parent: u64,
    /// Hash and length of the dentry's name at that time.
    pub hash: u64,
    /// The inode's generation.
    pub generation: u32,
    /// Whether it lay in a watched directory, or may have: see [`TOUCH_INSIDE`].
    pub flags: u32,
}
const _: () = assert!(size_of::<Touch>() == 48);

/// Bit of [`Touch::flags`]: a record with its path at that time was sent.
pub const TOUCH_INSIDE: u32 = 1;

/// What a task's system call has touched so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Touched {
    /// The number of the system call.
    pub call: u32,
    /// How many of `touches` are in use.
    pub count: u32,
    /// The inodes.
    pub touches: [Touch; TOUCHES],
}
const _: () = assert!(size_of::<Touched>() == 8 + 48 * TOUCHES);

pod!(Control, RootKey, CacheKey, CacheValue, Losses, State, Touch, Touched);
