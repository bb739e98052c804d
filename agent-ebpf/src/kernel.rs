//! The kernel's objects, read through the offsets that the agent found. Every read can fail: a pointer may be stale.

use crate::maps::offset;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use vfsync_common::{MISSING, record::flag};

const S_IFMT: u16 = 0o170000;
const S_IFREG: u16 = 0o100000;
const S_IFDIR: u16 = 0o040000;
const FMODE_WRITE: u32 = 2;
const FMODE_CREATED: u32 = 0x10_0000;

/// Reads a value of the kernel's memory.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if offset == MISSING {
        return None;
    }
    // SAFETY: the helper checks the address and fails on one that cannot be read.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// A `struct dentry`.
#[derive(Clone, Copy)]
pub struct Dentry(pub u64);

/// What a step of a walk needs of a dentry.
#[derive(Clone, Copy)]
pub struct Step {
    /// The directory above; the dentry itself at the top.
    pub parent: u64,
    /// The address of the name.
    pub name: u64,
    /// The inode, 0 if there is none.
    pub inode: u64,
}

impl Dentry {
    /// Reads parent, name and inode.
    #[inline(always)]
    pub fn step(self) -> Option<Step> {
        let (parent, name, inode) = (offset!(dentry_parent), offset!(dentry_name), offset!(dentry_inode));
        if name == parent + 16 && inode == parent + 24 {
            // As every kernel so far has it, which saves two reads a level.
            let [parent, _, name, inode] = read::<[u64; 4]>(self.0, parent)?;
            return Some(Step { parent, name, inode });
        }
        Some(Step { parent: read(self.0, parent)?, name: read(self.0, name)?, inode: read(self.0, inode)? })
    }

    /// Returns the inode; `None` for a name that does not exist (yet).
    #[inline(always)]
    pub fn inode(self) -> Option<Inode> {
        read(self.0, offset!(dentry_inode)).filter(|&i: &u64| i != 0).map(Inode)
    }

    /// Returns the superblock.
    #[inline(always)]
    pub fn superblock(self) -> Option<Superblock> {
        read(self.0, offset!(dentry_sb)).map(Superblock)
    }

    /// Returns the hash and length of the name.
    #[inline(always)]
    pub fn hash(self) -> u64 {
        read(self.0, offset!(dentry_hash)).unwrap_or(0)
    }

    /// Returns the parent's address.
    #[inline(always)]
    pub fn parent(self) -> u64 {
        read(self.0, offset!(dentry_parent)).unwrap_or(0)
    }
}

/// A `struct super_block`.
#[derive(Clone, Copy)]
pub struct Superblock(pub u64);

impl Superblock {
    /// Returns the device number (`s_dev`), which `stat` shows differently on btrfs.
    #[inline(always)]
    pub fn dev(self) -> Option<u32> {
        read(self.0, offset!(sb_dev))
    }

    /// Returns the address of the root dentry.
    #[inline(always)]
    pub fn root(self) -> u64 {
        read(self.0, offset!(sb_root)).unwrap_or(0)
    }
}

/// A `struct inode`.
#[derive(Clone, Copy)]
pub struct Inode(pub u64);

/// What a record says of an inode.
#[derive(Clone, Copy)]
pub struct Facts {
    /// The number.
    pub ino: u64,
    /// The generation.
    pub generation: u32,
    /// Mode and type.
    pub mode: u16,
    /// How many names.
    pub nlink: u32,
    /// How many have it open for writing (negative: it is being executed).
    pub writers: i32,
}

impl Facts {
    /// What is said of a name that does not exist yet.
    pub const NONE: Facts = Facts { ino: 0, generation: 0, mode: 0, nlink: 1, writers: 0 };

    /// Returns whether it is a directory.
    #[inline(always)]
    pub fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }

    /// Returns the flags that every record of this inode carries.
    #[inline(always)]
    pub fn flags(&self) -> u16 {
        let linked = if !self.is_dir() && self.nlink > 1 { flag::LINKED } else { 0 };
        let writers = if self.writers > 0 { flag::WRITERS } else { 0 };
        linked | writers
    }
}

impl Inode {
    /// Returns the inode number.
    #[inline(always)]
    pub fn ino(self) -> Option<u64> {
        read(self.0, offset!(inode_ino))
    }

    /// Returns the superblock.
    #[inline(always)]
    pub fn superblock(self) -> Option<Superblock> {
        read(self.0, offset!(inode_sb)).map(Superblock)
    }

    /// Returns the generation.
    #[inline(always)]
    pub fn generation(self) -> u32 {
        read(self.0, offset!(inode_generation)).unwrap_or(0)
    }

    /// Returns what a record says of it.
    #[inline(always)]
    pub fn facts(self) -> Option<Facts> {
        Some(Facts {
            ino: self.ino()?,
            generation: self.generation(),
            mode: read(self.0, offset!(inode_mode))?,
            nlink: read(self.0, offset!(inode_nlink))?,
            writers: read(self.0, offset!(inode_writecount)).unwrap_or(0),
        })
    }

    /// Returns the first of its names in the kernel's cache.
    #[inline(always)]
    pub fn alias(self) -> Option<Dentry> {
        let node: u64 = read(self.0, offset!(inode_aliases))?;
        (node != 0 && offset!(dentry_alias) != MISSING)
            .then(|| Dentry(node - u64::from(offset!(dentry_alias))))
    }

    /// Returns whether it is a regular file.
    #[inline(always)]
    pub fn is_file(self) -> bool {
        read::<u16>(self.0, offset!(inode_mode)).unwrap_or(0) & S_IFMT == S_IFREG
    }
}

/// A `struct file`.
#[derive(Clone, Copy)]
pub struct File(pub u64);

impl File {
    /// Returns the dentry that it was opened by.
    #[inline(always)]
    pub fn dentry(self) -> Option<Dentry> {
        read(self.0, offset!(file_dentry)).filter(|&d: &u64| d != 0).map(Dentry)
    }

    /// Returns the inode.
    #[inline(always)]
    pub fn inode(self) -> Option<Inode> {
        read(self.0, offset!(file_inode)).filter(|&i: &u64| i != 0).map(Inode)
    }

    /// Returns the position at which the next write goes on.
    #[inline(always)]
    pub fn position(self) -> Option<u64> {
        read(self.0, offset!(file_pos))
    }

    /// Returns whether it was opened for writing.
    #[inline(always)]
    pub fn writes(self) -> bool {
        read::<u32>(self.0, offset!(file_mode)).unwrap_or(0) & FMODE_WRITE != 0
    }

    /// Returns whether opening it created it.
    #[inline(always)]
    pub fn created(self) -> bool {
        read::<u32>(self.0, offset!(file_mode)).unwrap_or(0) & FMODE_CREATED != 0
    }
}
