//! The hooks as programs: each once as a kprobe and once as an fentry program, and where the signature has changed,
//! once a variant. The agent loads the one that the kernel's BTF asks for. (One program that selects the argument would
//! be refused: the compiler merges the two loads into one with a computed address.)

use crate::hooks;
use aya_ebpf::{
    EbpfContext,
    helpers::bpf_probe_read_kernel,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};

/// Reads an argument as a number. Taken from the context directly it would be a typed pointer to the verifier, which
/// functions of their own do not accept.
#[inline(always)]
fn argument(ctx: &FEntryContext, n: usize) -> Option<u64> {
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
probe!(14, xattr, k_removexattr_0, f_removexattr_0, 0);
probe!(14, xattr, k_removexattr_1, f_removexattr_1, 1);
probe!(15, xattr, k_set_acl, f_set_acl, 1);
probe!(16, xattr, k_remove_acl, f_remove_acl, 1);
probe!(17, fileattr, k_fileattr, f_fileattr, 1);
// Never together with the one before.
probe!(17, ioctl, k_ioctl, f_ioctl, 0, 1);
