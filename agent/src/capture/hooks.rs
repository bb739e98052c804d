//! Which program goes where, for each tier on this kernel.

use super::{btf::Btf, report::Tier};

/// How many programs there can be at once, each with scratch memory of its own.
pub const SLOTS: u32 = 18;

/// One program and what it is attached to.
pub struct Attach {
    /// The program's name in the object.
    pub program: &'static str,
    /// The kernel's function or tracepoint.
    pub function: &'static str,
    /// Whether the tier is of use without it.
    pub optional: bool,
}

/// One hook: the function, the programs for kprobe and fentry, and whether it is optional.
type Hook = (&'static str, &'static str, &'static str, bool);

/// Hooks with one signature on all kernels.
const SAME: &[Hook] = &[
    ("security_file_permission", "k_file_permission", "f_file_permission", false),
    ("security_inode_create", "k_create", "f_create", false),
    ("security_inode_mkdir", "k_mkdir", "f_mkdir", false),
    ("security_inode_mknod", "k_mknod", "f_mknod", false),
    ("security_inode_symlink", "k_symlink", "f_symlink", false),
    ("security_inode_link", "k_link", "f_link", false),
    ("security_inode_unlink", "k_unlink", "f_unlink", false),
    ("security_inode_rmdir", "k_rmdir", "f_rmdir", false),
    ("security_inode_rename", "k_rename", "f_rename", false),
    ("__fput", "k_fput", "f_fput", true),
    ("file_update_time", "k_update_time", "f_update_time", true),
    ("security_mmap_file", "k_mmap_file", "f_mmap_file", true),
    ("security_inode_set_acl", "k_set_acl", "f_set_acl", true),
    ("security_inode_remove_acl", "k_remove_acl", "f_remove_acl", true),
    ("vfs_fileattr_set", "k_fileattr", "f_fileattr", true),
];

/// Hooks that got a leading argument: the programs for the signature without it and with it.
const MOVED: &[(&str, [&str; 2], [&str; 2])] = &[
    ("notify_change", ["k_notify_change_0", "k_notify_change_1"], ["f_notify_change_0", "f_notify_change_1"]),
    ("__vfs_setxattr_noperm", ["k_setxattr_0", "k_setxattr_1"], ["f_setxattr_0", "f_setxattr_1"]),
    (
        "__vfs_removexattr_locked",
        ["k_removexattr_0", "k_removexattr_1"],
        ["f_removexattr_0", "f_removexattr_1"],
    ),
];

/// Hooks that came with later kernels: not there is not a failure.
const NEWER: &[&str] = &["security_inode_set_acl", "security_inode_remove_acl", "vfs_fileattr_set"];

/// What sees `chattr` before that had a function of its own. It sees every other `ioctl` too, so only there.
const OLDER: Hook = ("security_file_ioctl", "k_ioctl", "f_ioctl", true);

/// The tracepoints, in the order in which they are attached: the cookie's first.
const TRACEPOINTS: &[(&str, &str, bool)] = &[
    ("sys_exit", "t_sys_exit", false),
    ("sys_enter", "t_sys_enter", true),
    ("inode_set_ctime_to_ts", "t_ctime_set", false),
    ("ctime_ns_xchg", "t_ctime_xchg", false),
    ("ctime_xchg_skip", "t_ctime_skip", false),
    ("io_uring_complete", "t_uring", true),
];

/// Returns what has to be attached for a tier, or why this kernel cannot have it.
pub fn of_tier(tier: Tier, btf: &Btf) -> Result<Vec<Attach>, String> {
    match tier {
        Tier::Kprobe => Ok(probes(btf, false)),
        Tier::Fentry => Ok(probes(btf, true)),
        Tier::Tracepoint => {
            if btf.tracepoint("ctime_ns_xchg").is_none() {
                return Err("this kernel has no timestamp tracepoints (Linux 6.13 has)".into());
            }
            let attach = |&(function, program, optional)| Attach { program, function, optional };
            Ok(TRACEPOINTS.iter().map(attach).collect())
        }
        Tier::Fanotify | Tier::Scan => Ok(Vec::new()),
    }
}

fn probes(btf: &Btf, fentry: bool) -> Vec<Attach> {
    let older = (!btf.has_function("vfs_fileattr_set")).then_some(&OLDER);
    let there = SAME.iter().filter(|hook| !NEWER.contains(&hook.0) || btf.has_function(hook.0)).chain(older);
    let same = there.map(|&(function, kprobe, trampoline, optional)| Attach {
        program: if fentry { trampoline } else { kprobe },
        function,
        optional,
    });
    let moved = MOVED.iter().map(|&(function, kprobes, trampolines)| {
        // Without the function in BTF there is nothing to attach to either, and that will be the reason.
        let leading = btf
            .parameters(function)
            .and_then(|p| p.into_iter().next())
            .is_some_and(|first| first != "dentry");
        let programs = if fentry { trampolines } else { kprobes };
        Attach { program: programs[usize::from(leading)], function, optional: true }
    });
    same.chain(moved).collect()
}
