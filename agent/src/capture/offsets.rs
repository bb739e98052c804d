//! What the programs need to know of this kernel, resolved from its BTF.

use super::btf::Btf;
use vfsync_common::{MISSING, Offsets};

/// The names that the reader keeps.
pub const NAMES: &[&str] = &[
    "file",
    "dentry",
    "inode",
    "super_block",
    "iattr",
    "task_struct",
    "files_struct",
    "fdtable",
    "pt_regs",
    "io_kiocb",
    "security_file_permission",
    "security_inode_create",
    "security_inode_mkdir",
    "security_inode_mknod",
    "security_inode_symlink",
    "security_inode_link",
    "security_inode_unlink",
    "security_inode_rmdir",
    "security_inode_rename",
    "security_inode_set_acl",
    "security_inode_remove_acl",
    "security_mmap_file",
    "notify_change",
    "__vfs_setxattr_noperm",
    "__vfs_removexattr_locked",
    "vfs_fileattr_set",
    "bpf_lsm_inode_setattr",
    "file_update_time",
    "__fput",
    "btf_trace_inode_set_ctime_to_ts",
    "btf_trace_ctime_ns_xchg",
    "btf_trace_ctime_xchg_skip",
    "btf_trace_sys_enter",
    "btf_trace_sys_exit",
    "btf_trace_io_uring_complete",
];

/// The members, as structure and path. The order is of no meaning; [`resolve`] names each.
pub const MEMBERS: &[(&str, &str)] = &[
    ("file", "f_path.dentry"),
    ("file", "f_inode"),
    ("file", "f_mode"),
    ("file", "f_pos"),
    ("dentry", "d_parent"),
    ("dentry", "d_name.name"),
    ("dentry", "d_name.hash_len"),
    ("dentry", "d_inode"),
    ("dentry", "d_sb"),
    ("dentry", "d_u.d_alias"),
    ("inode", "i_ino"),
    ("inode", "i_nlink"),
    ("super_block", "s_dev"),
    ("task_struct", "thread_info.status"),
    ("pt_regs", "orig_ax"),
    ("io_kiocb", "file"),
];

/// The registers that hold a system call's number and arguments.
#[cfg(target_arch = "x86_64")]
const REGISTERS: [&str; 7] = ["orig_ax", "di", "si", "dx", "r10", "r8", "r9"];
/// The member of `task_struct` that tells a 32-bit system call, and its bit.
#[cfg(target_arch = "x86_64")]
const COMPAT: (&str, u32) = ("thread_info.status", 2);

/// The first is the number, the others are eight bytes apart in `regs`.
#[cfg(target_arch = "aarch64")]
const REGISTERS: [&str; 2] = ["syscallno", "regs"];
#[cfg(target_arch = "aarch64")]
const COMPAT: (&str, u32) = ("thread_info.flags", 1 << 22);

/// Returns the bit that marks a 32-bit task.
pub fn compat_bit() -> u32 {
    COMPAT.1
}

/// Resolves the offsets; the error names the first one without which no program works.
pub fn resolve(btf: &Btf) -> Result<Offsets, String> {
    let need = |structure: &str, path: &str| {
        btf.member(structure, path).ok_or_else(|| format!("this kernel's types have no {structure}.{path}"))
    };
    let either = |structure: &str, paths: &[&str]| {
        paths.iter().find_map(|path| btf.member(structure, path)).unwrap_or(MISSING)
    };
    let maybe = |structure: &str, path: &str| either(structure, &[path]);
    Ok(Offsets {
        file_dentry: need("file", "f_path.dentry")?,
        file_inode: need("file", "f_inode")?,
        file_mode: need("file", "f_mode")?,
        file_pos: need("file", "f_pos")?,
        dentry_parent: need("dentry", "d_parent")?,
        dentry_name: need("dentry", "d_name.name")?,
        dentry_hash: maybe("dentry", "d_name.hash_len"),
        dentry_inode: need("dentry", "d_inode")?,
        dentry_sb: need("dentry", "d_sb")?,
        dentry_alias: either("dentry", &["d_u.d_alias", "d_alias"]),
        inode_ino: need("inode", "i_ino")?,
        inode_sb: need("inode", "i_sb")?,
        inode_generation: need("inode", "i_generation")?,
        inode_mode: need("inode", "i_mode")?,
        inode_nlink: need("inode", "i_nlink")?,
        inode_writecount: maybe("inode", "i_writecount"),
        inode_aliases: either("inode", &["i_dentry", "i_dentry.first"]),
        sb_dev: need("super_block", "s_dev")?,
        sb_root: need("super_block", "s_root")?,
        iattr_valid: maybe("iattr", "ia_valid"),
        task_files: maybe("task_struct", "files"),
        task_flags: maybe("task_struct", "flags"),
        task_status: maybe("task_struct", COMPAT.0),
        files_fdt: maybe("files_struct", "fdt"),
        fdt_max: maybe("fdtable", "max_fds"),
        fdt_fd: maybe("fdtable", "fd"),
        regs_call: maybe("pt_regs", REGISTERS[0]),
        regs_arg: arguments(btf),
        request_file: maybe("io_kiocb", "file"),
        request_opcode: maybe("io_kiocb", "opcode"),
    })
}

#[cfg(target_arch = "x86_64")]
fn arguments(btf: &Btf) -> [u32; 6] {
    std::array::from_fn(|i| btf.member("pt_regs", REGISTERS[i + 1]).unwrap_or(MISSING))
}

#[cfg(target_arch = "aarch64")]
fn arguments(btf: &Btf) -> [u32; 6] {
    match btf.member("pt_regs", REGISTERS[1]) {
        Some(first) => std::array::from_fn(|i| first + 8 * i as u32),
        None => [MISSING; 6],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_has_every_member() {
        let Ok(btf) = Btf::of_this_kernel(NAMES) else { return };
        let offsets = resolve(&btf).expect("a kernel with BTF has the members");
        assert_ne!(offsets.inode_aliases, MISSING);
        assert_ne!(offsets.regs_arg[5], MISSING);
        assert!(btf.tracepoint("sys_exit").is_some_and(|p| p.len() == 2 && p[0] == "pt_regs"));
    }
}
