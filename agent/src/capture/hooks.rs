//! Which program goes where, for each tier on this kernel.

use super::{btf::Btf, report::Tier};

/// One program and what it is attached to.
pub struct Attach {
    /// The program's name in the object.
    pub program: &'static str,
    /// The kernel's function or tracepoint.
    pub function: &'static str,
    /// Whether the tier is of use without it.
    pub optional: bool,
    /// For an LSM program, the name of its hook.
    pub lsm: &'static str,
    /// The program that takes its place if the kernel refuses it.
    pub fallback: Option<&'static str>,
    /// That one had to.
    pub fell_back: bool,
}

impl Attach {
    fn new(program: &'static str, function: &'static str, optional: bool) -> Attach {
        Attach { program, function, optional, lsm: "", fallback: None, fell_back: false }
    }
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

/// The security hooks that can be BPF LSM programs: the function that a kprobe would stand on, the hook, the program. A
/// kernel that is preempted skips kprobes, but never these. Those of extended attributes are not among them: before
/// Linux 6.10 an LSM program there has the kernel leave out a check of its own.
const SECURITY: &[(&str, &str, &str)] = &[
    ("security_file_permission", "file_permission", "l_file_permission"),
    ("security_inode_create", "inode_create", "l_create"),
    ("security_inode_mkdir", "inode_mkdir", "l_mkdir"),
    ("security_inode_mknod", "inode_mknod", "l_mknod"),
    ("security_inode_symlink", "inode_symlink", "l_symlink"),
    ("security_inode_link", "inode_link", "l_link"),
    ("security_inode_unlink", "inode_unlink", "l_unlink"),
    ("security_inode_rmdir", "inode_rmdir", "l_rmdir"),
    ("security_inode_rename", "inode_rename", "l_rename"),
    ("security_mmap_file", "mmap_file", "l_mmap_file"),
];

/// The LSM hook for what `notify_change` is hooked for, by its signature: without a leading argument and with it.
const SETATTR: [&str; 2] = ["l_setattr_0", "l_setattr_1"];

/// The tracepoints, in the order in which they are attached: the cookie's first.
const TRACEPOINTS: &[(&str, &str, bool)] = &[
    ("sys_exit", "t_sys_exit", false),
    ("sys_enter", "t_sys_enter", true),
    ("inode_set_ctime_to_ts", "t_ctime_set", false),
    ("ctime_ns_xchg", "t_ctime_xchg", false),
    ("ctime_xchg_skip", "t_ctime_skip", false),
    ("io_uring_complete", "t_uring", true),
];

/// Returns what has to be attached for a tier, or why this kernel cannot have it. With `lsm` the security hooks are LSM
/// programs instead of kprobes.
pub fn of_tier(tier: Tier, btf: &Btf, lsm: bool) -> Result<Vec<Attach>, String> {
    match tier {
        Tier::Kprobe if lsm => Ok(probes(btf, false).into_iter().map(|a| by_lsm(a, btf)).collect()),
        Tier::Kprobe => Ok(probes(btf, false)),
        Tier::Fentry => Ok(probes(btf, true)),
        Tier::Tracepoint => {
            if btf.tracepoint("ctime_ns_xchg").is_none() {
                return Err("this kernel has no timestamp tracepoints (Linux 6.13 has)".into());
            }
            let attach = |&(function, program, optional)| Attach::new(program, function, optional);
            Ok(TRACEPOINTS.iter().map(attach).collect())
        }
        Tier::Fanotify | Tier::Scan => Ok(Vec::new()),
    }
}

fn probes(btf: &Btf, fentry: bool) -> Vec<Attach> {
    let older = (!btf.has_function("vfs_fileattr_set")).then_some(&OLDER);
    let there = SAME.iter().filter(|hook| !NEWER.contains(&hook.0) || btf.has_function(hook.0)).chain(older);
    let same = there.map(|&(function, kprobe, trampoline, optional)| {
        Attach::new(if fentry { trampoline } else { kprobe }, function, optional)
    });
    let moved = MOVED.iter().map(|&(function, kprobes, trampolines)| {
        let programs = if fentry { trampolines } else { kprobes };
        Attach::new(programs[usize::from(has_leading(btf, function))], function, true)
    });
    same.chain(moved).collect()
}

/// Returns whether something stands before a function's dentry. Without the function in BTF there is nothing to attach
/// to either, and that will be the reason.
fn has_leading(btf: &Btf, function: &str) -> bool {
    btf.parameters(function).and_then(|p| p.into_iter().next()).is_some_and(|first| first != "dentry")
}

/// Puts an LSM program in the place of a kprobe, where there is one for it.
fn by_lsm(attach: Attach, btf: &Btf) -> Attach {
    let found = match attach.function {
        "notify_change" if btf.has_function(LSM_SETATTR) => {
            Some(("inode_setattr", SETATTR[usize::from(has_leading(btf, LSM_SETATTR))]))
        }
        function => SECURITY.iter().find(|s| s.0 == function).map(|&(_, hook, program)| (hook, program)),
    };
    match found {
        Some((lsm, program)) => Attach { program, lsm, fallback: Some(attach.program), ..attach },
        None => attach,
    }
}

/// What the kernel calls for LSM programs of `inode_setattr`, with its arguments.
const LSM_SETATTR: &str = "bpf_lsm_inode_setattr";
