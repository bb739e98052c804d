//! What is at a path when its notice is read.

use std::{os::unix::fs::MetadataExt, path::Path};
use vfsync_common::record::Op;

const S_IFMT: u32 = 0o170000;
const S_IFREG: u32 = 0o100000;
const S_IFDIR: u32 = 0o040000;
const S_IFLNK: u32 = 0o120000;

/// What is at a path now.
#[derive(Debug, Clone, Copy, Default)]
pub struct Facts {
    /// The inode number; 0 where there is nothing.
    pub inode: u64,
    /// The mode with the type.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
    /// The superblock's device number, in the kernel's encoding.
    pub dev: u32,
}

impl Facts {
    /// Looks.
    pub fn of(path: &Path) -> Facts {
        let found = std::fs::symlink_metadata(path);
        found.map_or(Facts::default(), |m| Facts { inode: m.ino(), mode: m.mode(), links: m.nlink(), dev: 0 })
    }

    /// Takes the type from the notice where there is nothing to look at any more, or something else.
    pub fn or_type(self, is_dir: bool) -> Facts {
        match (self.mode & S_IFMT, is_dir) {
            (S_IFDIR, true) => self,
            (_, true) => Facts { mode: S_IFDIR, inode: 0, links: 0, ..self },
            (0 | S_IFDIR, false) => Facts { mode: S_IFREG, inode: 0, links: 0, ..self },
            (_, false) => self,
        }
    }

    /// Returns what has made this.
    pub fn made(&self) -> Op {
        match self.mode & S_IFMT {
            S_IFDIR => Op::Mkdir,
            S_IFLNK => Op::Symlink,
            S_IFREG if self.links > 1 => Op::Link,
            S_IFREG => Op::Create,
            _ => Op::Mknod,
        }
    }

    /// Returns whether there are other names for it.
    pub fn has_other_names(&self) -> bool {
        self.links > 1 && self.mode & S_IFMT != S_IFDIR
    }
}
