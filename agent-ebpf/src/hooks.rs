//! What each hooked kernel function means, whichever way it is attached. All of them run before the operation, some of
//! which then fail: a record says "look", not "this happened".

use crate::{
    emit::{barrier, changed, learn, named, named_as, renamed},
    kernel::{Dentry, File, read},
    maps::offset,
};
use vfsync_common::{
    WAIT_ATTRIBUTE,
    record::{Op, flag},
};

const MAY_WRITE: u64 = 2;
const ATTR_SIZE: u32 = 8;
const MAP_SHARED: u64 = 1;
const RENAME_EXCHANGE: u64 = 2;

/// Every write of content: `write` and its kin, io_uring, aio, splice, copy, clone, dedupe, fallocate, nfsd.
///
/// `int security_file_permission(struct file *file, int mask)`, since before 5.10. Reads pass too: listing a directory
/// is how the agent teaches it.
#[inline(always)]
pub fn file_permission(slot: u32, file: u64, mask: u64) {
    let file = File(file);
    let Some(inode) = file.inode() else { return };
    if mask & MAY_WRITE == 0 {
        return learn(inode);
    }
    if barrier(slot, file, inode) {
        return;
    }
    written(slot, file, 0);
}

/// Reports a write through an open file.
#[inline(always)]
pub fn written(slot: u32, file: File, flags: u16) {
    let (Some(dentry), Some(inode)) = (file.dentry(), file.inode()) else { return };
    if inode.is_file() {
        changed(slot, Op::Write, dentry, inode, flags);
    }
}

/// A store to a mapped page that was clean, and a loop device's write to its file; also every ordinary write.
///
/// `int file_update_time(struct file *file)`, since before 5.10.
#[inline(always)]
pub fn update_time(slot: u32, file: u64) {
    written(slot, File(file), 0);
}

/// A shared mapping of a file that is open for writing: stores to it may never be seen.
///
/// `int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)`, since before 5.10. The
/// protection is not tested: `mprotect` can add writing later, as long as the file was opened for it.
#[inline(always)]
pub fn mmap_file(slot: u32, file: u64, flags: u64) {
    if file != 0 && flags & MAP_SHARED != 0 && File(file).writes() {
        written(slot, File(file), flag::MAPPED);
    }
}

/// The last descriptor or mapping of an open file goes.
///
/// `void __fput(struct file *file)`, since before 5.10.
#[inline(always)]
pub fn fput(slot: u32, file: u64) {
    let file = File(file);
    if file.writes() {
        closed(slot, file);
    }
}

/// Reports that a file that was open for writing is closed.
#[inline(always)]
pub fn closed(slot: u32, file: File) {
    let (Some(dentry), Some(inode)) = (file.dentry(), file.inode()) else { return };
    if !inode.is_file() {
        return;
    }
    let Some(mut facts) = inode.facts() else { return };
    // This file is counted still.
    facts.writers -= 1;
    if facts.nlink != 0 {
        named_as(slot, Op::Close, dentry, &facts, 0);
    }
}

/// `int security_inode_create(struct inode *dir, struct dentry *dentry, umode_t mode)`, since before 5.10.
#[inline(always)]
pub fn create(slot: u32, dentry: u64) {
    named(slot, Op::Create, Dentry(dentry), 0);
}

/// `int security_inode_mkdir(struct inode *dir, struct dentry *dentry, umode_t mode)`, since before 5.10.
#[inline(always)]
pub fn mkdir(slot: u32, dentry: u64) {
    named(slot, Op::Mkdir, Dentry(dentry), 0);
}

/// `int security_inode_mknod(struct inode *dir, struct dentry *dentry, umode_t mode, dev_t dev)`, since before 5.10.
#[inline(always)]
pub fn mknod(slot: u32, dentry: u64) {
    named(slot, Op::Mknod, Dentry(dentry), 0);
}

/// `int security_inode_symlink(struct inode *dir, struct dentry *dentry, const char *old_name)`, since before 5.10.
#[inline(always)]
pub fn symlink(slot: u32, dentry: u64) {
    named(slot, Op::Symlink, Dentry(dentry), 0);
}

/// `int security_inode_link(struct dentry *old_dentry, struct inode *dir, struct dentry *new_dentry)`, since before
/// 5.10. The new dentry has no inode yet: the facts are the old one's.
///
/// The old name is reported as well: if the new one is outside, whoever watches the old one has to know that the file
/// can be written to by a name outside from now on.
#[inline(always)]
pub fn link(slot: u32, old: u64, new: u64) {
    let Some(inode) = Dentry(old).inode() else { return };
    let Some(facts) = inode.facts() else { return };
    changed(slot, Op::Attributes, Dentry(old), inode, flag::LINKED);
    named_as(slot, Op::Link, Dentry(new), &facts, flag::LINKED);
}

/// `int security_inode_unlink(struct inode *dir, struct dentry *dentry)`, since before 5.10.
#[inline(always)]
pub fn unlink(slot: u32, dentry: u64) {
    named(slot, Op::Unlink, Dentry(dentry), 0);
}

/// `int security_inode_rmdir(struct inode *dir, struct dentry *dentry)`, since before 5.10.
#[inline(always)]
pub fn rmdir(slot: u32, dentry: u64) {
    named(slot, Op::Rmdir, Dentry(dentry), 0);
}

/// `int security_inode_rename(struct inode *old_dir, struct dentry *old_dentry, struct inode *new_dir, struct dentry
/// *new_dentry, unsigned int flags)`, since before 5.10.
#[inline(always)]
pub fn rename(slot: u32, old: u64, new: u64, flags: u64) {
    let exchange = if flags & RENAME_EXCHANGE != 0 { flag::EXCHANGE } else { 0 };
    renamed(slot, Dentry(old), Dentry(new), exchange);
}

/// A rename as the LSM hook `inode_rename` has it, `(struct inode *old_dir, struct dentry *old_dentry, struct inode
/// *new_dir, struct dentry *new_dentry)`, since before 5.10: an exchange comes as two of them, one each way.
#[inline(always)]
pub fn plain_rename(slot: u32, old: u64, new: u64) {
    renamed(slot, Dentry(old), Dentry(new), 0);
}

/// Truncation (also by `O_TRUNC`), mode, owner, times.
///
/// Until 5.11 `int notify_change(struct dentry *dentry, struct iattr *attr, struct inode **delegated_inode)`; then
/// with a leading `struct user_namespace *`, from 6.3 on `struct mnt_idmap *`. The LSM hook `inode_setattr(struct dentry
/// *dentry, struct iattr *attr)`, which it calls, has a leading `struct mnt_idmap *` since 6.9.
#[inline(always)]
pub fn notify_change(slot: u32, dentry: u64, attributes: u64) {
    let Some(valid) = read::<u32>(attributes, offset!(iattr_valid)) else { return };
    let op = if valid & ATTR_SIZE != 0 { Op::Truncate } else { Op::Attributes };
    attributed(slot, op, dentry);
}

/// Extended attributes and ACLs: the dentry is the first argument, or the second behind an idmap, of
/// `__vfs_setxattr_noperm` (since before 5.10), `security_inode_set_acl` and `security_inode_remove_acl` (since 6.2, when
/// ACLs left it and [`removexattr`]).
#[inline(always)]
pub fn xattr(slot: u32, dentry: u64) {
    attributed(slot, Op::Xattr, dentry);
}

/// `int __vfs_removexattr_locked(struct dentry *dentry, const char *name, struct inode **delegated_inode)`, since before
/// 5.10; with an idmap before the others since 5.12. Agents that wait for a file's lock by a name that no attribute can
/// have would otherwise set each other off.
#[inline(always)]
pub fn removexattr(slot: u32, dentry: u64, name: u64) {
    if read::<[u8; WAIT_ATTRIBUTE.len()]>(name, 0) != Some(*WAIT_ATTRIBUTE) {
        attributed(slot, Op::Xattr, dentry);
    }
}

/// `chattr`: `int vfs_fileattr_set(struct user_namespace *, struct dentry *dentry, struct fileattr *fa)`, since 5.13.
#[inline(always)]
pub fn fileattr(slot: u32, dentry: u64) {
    attributed(slot, Op::Attributes, dentry);
}

/// `chattr` where there is no `vfs_fileattr_set`: `int security_file_ioctl(struct file *file, unsigned int cmd, unsigned
/// long arg)`, since before 5.10.
#[inline(always)]
pub fn ioctl(slot: u32, file: u64, command: u64) {
    if sets_attributes(command as u32)
        && let Some(dentry) = File(file).dentry()
    {
        attributed(slot, Op::Attributes, dentry.0);
    }
}

/// Returns whether an `ioctl` sets a file's attributes: FS_IOC_SETFLAGS, its 32-bit form, FS_IOC_FSSETXATTR.
#[inline(always)]
pub fn sets_attributes(command: u32) -> bool {
    matches!(command, 0x4008_6602 | 0x4004_6602 | 0x401c_5820)
}

/// Reports a change of attributes.
#[inline(always)]
fn attributed(slot: u32, op: Op, dentry: u64) {
    let dentry = Dentry(dentry);
    if let Some(inode) = dentry.inode() {
        changed(slot, op, dentry, inode, 0);
    }
}
