//! The hooks as programs: each once as a kprobe and once as an fentry program, and where the signature has changed,
//! once a variant. Those of the kernel's security hooks also as BPF LSM programs, which a preemptible kernel never
//! skips. The agent loads the one that the kernel's BTF asks for. (One program that selects the argument would
//! be refused: the compiler merges the two loads into one with a computed address.)

use crate::{hooks, ring::SHARED};
use aya_ebpf::{
    EbpfContext,
    helpers::bpf_probe_read_kernel,
    macros::{fentry, kprobe, lsm},
    programs::{FEntryContext, LsmContext, ProbeContext},
};

/// Reads an argument as a number. Taken from the context directly it would be a typed pointer to the verifier, which
/// functions of their own do not accept.
#[inline(always)]
fn argument(ctx: &impl EbpfContext, n: usize) -> Option<u64> {
    // SAFETY: the helper checks the address; the context has an element for each argument.
    unsafe { bpf_probe_read_kernel(ctx.as_ptr().cast::<u64>().add(n)) }.ok()
}

/// Makes `$kprobe` and `$fentry`, which call the hook with the named arguments.
macro_rules! probe {
    ($slot:literal, $hook:ident, $kprobe:ident, $fentry:ident, $($arg:literal),+) => {
        #[doc = concat!("Kprobe of [`hooks::", stringify!($hook), "`].")]
        #[kprobe]
        pub fn $kprobe(ctx: ProbeContext) -> u32 {
            hooks::$hook($slot, $(match ctx.arg::<u64>($arg) { Some(arg) => arg, None => return 0 }),+);
            0
        }

        #[doc = concat!("Trampoline of [`hooks::", stringify!($hook), "`].")]
        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> i32 {
            hooks::$hook($slot, $(match argument(&ctx, $arg) { Some(arg) => arg, None => return 0 }),+);
            0
        }
    };
}

probe!(0, file_permission, k_file_permission, f_file_permission, 0, 1);
probe!(1, update_time, k_update_time, f_update_time, 0);
probe!(2, mmap_file, k_mmap_file, f_mmap_file, 0, 2);
probe!(3, fput, k_fput, f_fput, 0);
probe!(4, create, k_create, f_create, 1);
probe!(5, mkdir, k_mkdir, f_mkdir, 1);
probe!(6, mknod, k_mknod, f_mknod, 1);
probe!(7, symlink, k_symlink, f_symlink, 1);
probe!(8, link, k_link, f_link, 0, 2);
probe!(9, unlink, k_unlink, f_unlink, 1);
probe!(10, rmdir, k_rmdir, f_rmdir, 1);
probe!(11, rename, k_rename, f_rename, 1, 3, 4);
probe!(12, notify_change, k_notify_change_0, f_notify_change_0, 0, 1);
probe!(12, notify_change, k_notify_change_1, f_notify_change_1, 1, 2);
probe!(13, xattr, k_setxattr_0, f_setxattr_0, 0);
probe!(13, xattr, k_setxattr_1, f_setxattr_1, 1);
probe!(14, removexattr, k_removexattr_0, f_removexattr_0, 0, 1);
probe!(14, removexattr, k_removexattr_1, f_removexattr_1, 1, 2);
probe!(15, xattr, k_set_acl, f_set_acl, 1);
probe!(16, xattr, k_remove_acl, f_remove_acl, 1);
probe!(17, fileattr, k_fileattr, f_fileattr, 1);
// Never together with the one before.
probe!(17, ioctl, k_ioctl, f_ioctl, 0, 1);

/// Makes `$lsm`, which calls the hook with the named arguments. It always allows what the others do.
macro_rules! lsm {
    ($hook:ident, $lsm:ident, $name:literal, $($arg:literal),+) => {
        #[doc = concat!("BPF LSM program of [`hooks::", stringify!($hook), "`].")]
        #[lsm(hook = $name)]
        pub fn $lsm(ctx: LsmContext) -> i32 {
            hooks::$hook(SHARED, $(match argument(&ctx, $arg) { Some(arg) => arg, None => return 0 }),+);
            0
        }
    };
}

lsm!(file_permission, l_file_permission, "file_permission", 0, 1);
// The protection that was asked for stands before the one that is given.
lsm!(mmap_file, l_mmap_file, "mmap_file", 0, 3);
lsm!(create, l_create, "inode_create", 1);
lsm!(mkdir, l_mkdir, "inode_mkdir", 1);
lsm!(mknod, l_mknod, "inode_mknod", 1);
lsm!(symlink, l_symlink, "inode_symlink", 1);
lsm!(link, l_link, "inode_link", 0, 2);
lsm!(unlink, l_unlink, "inode_unlink", 1);
lsm!(rmdir, l_rmdir, "inode_rmdir", 1);
lsm!(plain_rename, l_rename, "inode_rename", 1, 3);
lsm!(notify_change, l_setattr_0, "inode_setattr", 0, 1);
lsm!(notify_change, l_setattr_1, "inode_setattr", 1, 2);
