//! The system calls of this architecture, as the tracepoint tier sees them.

use vfsync_common::{CALLS, Call, Class, record::Op};

/// One line of the table: number, class, operation, argument with the descriptor or new name, argument with the flags
/// of a removal or the old name of a rename.
type Line = (libc::c_long, Class, Op, u8, u8);

/// The calls that every architecture has.
const COMMON: &[Line] = &[
    (libc::SYS_write, Class::Data, Op::Write, 0, 0),
    (libc::SYS_pwrite64, Class::Data, Op::Write, 0, 0),
    (libc::SYS_writev, Class::Data, Op::Write, 0, 0),
    (libc::SYS_pwritev, Class::Data, Op::Write, 0, 0),
    (libc::SYS_pwritev2, Class::Data, Op::Write, 0, 0),
    (libc::SYS_sendfile, Class::Data, Op::Write, 0, 0),
    (libc::SYS_splice, Class::Data, Op::Write, 2, 0),
    (libc::SYS_copy_file_range, Class::Data, Op::Write, 2, 0),
    (libc::SYS_fallocate, Class::Data, Op::Write, 0, 0),
    (libc::SYS_ftruncate, Class::Data, Op::Truncate, 0, 0),
    (libc::SYS_ioctl, Class::Ioctl, Op::Write, 0, 0),
    (libc::SYS_mmap, Class::Map, Op::Write, 4, 0),
    (libc::SYS_close, Class::Close, Op::Close, 0, 0),
    // These close what the new number was before.
    (libc::SYS_dup3, Class::Close, Op::Close, 1, 0),
    (libc::SYS_getdents64, Class::List, Op::Directory, 0, 0),
    (libc::SYS_openat, Class::Open, Op::Create, 0, 0),
    (libc::SYS_openat2, Class::Open, Op::Create, 0, 0),
    (libc::SYS_mkdirat, Class::Make, Op::Mkdir, 1, 0),
    (libc::SYS_mknodat, Class::Make, Op::Mknod, 1, 0),
    (libc::SYS_symlinkat, Class::Make, Op::Symlink, 2, 0),
    (libc::SYS_linkat, Class::Make, Op::Link, 3, 0),
    (libc::SYS_bind, Class::Bind, Op::Mknod, 1, 0),
    (libc::SYS_unlinkat, Class::Remove, Op::Unlink, 1, 2),
    (libc::SYS_renameat2, Class::Rename, Op::Rename, 3, 1),
    (libc::SYS_truncate, Class::Attributes, Op::Truncate, 0, 0),
    (libc::SYS_fchmod, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_fchmodat, Class::Attributes, Op::Attributes, 0, 0),
    (SYS_FCHMODAT2, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_fchown, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_fchownat, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_utimensat, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_setxattr, Class::Attributes, Op::Xattr, 0, 0),
    (libc::SYS_lsetxattr, Class::Attributes, Op::Xattr, 0, 0),
    (libc::SYS_fsetxattr, Class::Attributes, Op::Xattr, 0, 0),
    (libc::SYS_removexattr, Class::Attributes, Op::Xattr, 0, 0),
    (libc::SYS_lremovexattr, Class::Attributes, Op::Xattr, 0, 0),
    (libc::SYS_fremovexattr, Class::Attributes, Op::Xattr, 0, 0),
    (SYS_SETXATTRAT, Class::Attributes, Op::Xattr, 0, 0),
    (SYS_REMOVEXATTRAT, Class::Attributes, Op::Xattr, 0, 0),
    (SYS_FILE_SETATTR, Class::Attributes, Op::Attributes, 0, 0),
];

// Of 6.6, 6.13 and 6.17; the same number everywhere.
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_REMOVEXATTRAT: libc::c_long = 466;
const SYS_FILE_SETATTR: libc::c_long = 469;

/// The older calls that only x86 has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Line] = &[
    (libc::SYS_dup2, Class::Close, Op::Close, 1, 0),
    (libc::SYS_getdents, Class::List, Op::Directory, 0, 0),
    (libc::SYS_open, Class::Open, Op::Create, 0, 0),
    (libc::SYS_creat, Class::Open, Op::Create, 0, 0),
    (libc::SYS_mkdir, Class::Make, Op::Mkdir, 0, 0),
    (libc::SYS_mknod, Class::Make, Op::Mknod, 0, 0),
    (libc::SYS_symlink, Class::Make, Op::Symlink, 1, 0),
    (libc::SYS_link, Class::Make, Op::Link, 1, 0),
    (libc::SYS_unlink, Class::Remove, Op::Unlink, 0, 0),
    (libc::SYS_rmdir, Class::Remove, Op::Rmdir, 0, 0),
    (libc::SYS_rename, Class::Rename, Op::Rename, 1, 0),
    (libc::SYS_renameat, Class::Rename, Op::Rename, 3, 1),
    (libc::SYS_chmod, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_chown, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_lchown, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_utime, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_utimes, Class::Attributes, Op::Attributes, 0, 0),
    (libc::SYS_futimesat, Class::Attributes, Op::Attributes, 0, 0),
];

#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Line] = &[(libc::SYS_renameat, Class::Rename, Op::Rename, 3, 1)];

/// Returns the table that the programs are given.
pub fn table() -> [Call; CALLS] {
    let mut table = [Call::default(); CALLS];
    for &(number, class, op, arg, other) in COMMON.iter().chain(OLDER) {
        if let Some(entry) = usize::try_from(number).ok().and_then(|n| table.get_mut(n)) {
            *entry = Call { class: class as u8, op: op as u8, arg, other };
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lines_are_of_one_call() {
        let mut numbers: Vec<_> = COMMON.iter().chain(OLDER).map(|line| line.0).collect();
        let count = numbers.len();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert!(numbers.iter().all(|&n| (n as usize) < CALLS));
    }
}
