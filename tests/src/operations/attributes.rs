//! Mode, owner, times, flags, extended attributes and ACLs.

use std::{fs, io, os::unix::fs::PermissionsExt};

use rustix::fs::{AtFlags, CWD, Gid, IFlags, Timespec, Timestamps, Uid, XattrFlags};

use super::{
    ATTRIBUTES, Expected, Ground, Operation, XATTRS, at, by_paths, open,
    raw::{call, text},
};

pub const OPERATIONS: &[Operation] = &[
    open("fchmod", ATTRIBUTES, |f| f.set_permissions(fs::Permissions::from_mode(0o640))),
    by_paths("fchmodat", ATTRIBUTES, |g| {
        call!(libc::SYS_fchmodat, g.dir("d")?, c"../f".to_owned(), 0o640).map(drop)
    }),
    // Of Linux 6.6; the same number everywhere, as those of the other calls here that are a number.
    by_paths("fchmodat2", ATTRIBUTES, |g| {
        call!(452, g.dir("d")?, c"../f".to_owned(), 0o640, libc::AT_SYMLINK_NOFOLLOW).map(drop)
    }),
    by_paths("fchmodat of a directory", &[at("attrib", "d/e")], |g| {
        fs::set_permissions(g.at("d/e"), fs::Permissions::from_mode(0o700))
    }),
    open("fchown", ATTRIBUTES, |f| std::os::unix::fs::fchown(f, Some(0), None)),
    by_paths("fchownat", ATTRIBUTES, |g| std::os::unix::fs::chown(g.at("f"), Some(0), Some(0))),
    by_paths("fchownat of a symbolic link", &[at("attrib", "l")], |g| {
        let (owner, group) = (Some(Uid::ROOT), Some(Gid::ROOT));
        Ok(rustix::fs::chownat(g.dir("d")?, "../l", owner, group, AtFlags::SYMLINK_NOFOLLOW)?)
    }),
    by_paths("fchownat with AT_EMPTY_PATH", ATTRIBUTES, |g| {
        Ok(rustix::fs::chownat(g.file("f")?, "", Some(Uid::ROOT), None, AtFlags::EMPTY_PATH)?)
    }),
    by_paths("utimensat", ATTRIBUTES, |g| touch(g, "f", AtFlags::empty())),
    by_paths("utimensat of a symbolic link", &[at("attrib", "l")], |g| {
        touch(g, "l", AtFlags::SYMLINK_NOFOLLOW)
    }),
    by_paths("utimensat through a symbolic link", ATTRIBUTES, |g| touch(g, "l", AtFlags::empty())),
    by_paths("utimensat of a directory", &[at("attrib", "d/e")], |g| touch(g, "d/e", AtFlags::empty())),
    open("futimens", ATTRIBUTES, |f| f.set_modified(std::time::UNIX_EPOCH)),
    by_paths("setxattr", XATTRS, |g| set(g, libc::SYS_setxattr, "f")),
    by_paths("setxattr through a symbolic link", XATTRS, |g| set(g, libc::SYS_setxattr, "l")),
    by_paths("setxattr of a directory", &[at("xattr", "d/e")], |g| set(g, libc::SYS_setxattr, "d/e")),
    by_paths("lsetxattr", XATTRS, |g| set(g, libc::SYS_lsetxattr, "f")),
    by_paths("lsetxattr of a symbolic link", &[at("xattr", "l")], |g| {
        Ok(rustix::fs::lsetxattr(g.at("l"), "trusted.a", b"1", XattrFlags::empty())?)
    }),
    open("fsetxattr", XATTRS, |f| Ok(rustix::fs::fsetxattr(f, "user.a", b"1", XattrFlags::empty())?)),
    // The address of the value, its size, flags: struct xattr_args. Linux 6.13.
    by_paths("setxattrat", XATTRS, |g| {
        let arguments = [VALUE.as_ptr() as u64, VALUE.len() as u64];
        call!(463, g.dir("d")?, c"../f".to_owned(), 0, c"user.a".to_owned(), arguments, 16).map(drop)
    }),
    by_paths("removexattr", XATTRS, |g| {
        set(g, libc::SYS_setxattr, "f")?;
        call!(libc::SYS_removexattr, text(g.at("f"))?, c"user.a".to_owned()).map(drop)
    }),
    by_paths("lremovexattr", XATTRS, |g| {
        set(g, libc::SYS_setxattr, "f")?;
        call!(libc::SYS_lremovexattr, text(g.at("f"))?, c"user.a".to_owned()).map(drop)
    }),
    by_paths("fremovexattr", XATTRS, |g| {
        set(g, libc::SYS_setxattr, "f")?;
        call!(libc::SYS_fremovexattr, g.file("f")?, c"user.a".to_owned()).map(drop)
    }),
    by_paths("removexattrat", XATTRS, |g| {
        set(g, libc::SYS_setxattr, "f")?;
        call!(466, g.dir("d")?, c"../f".to_owned(), 0, c"user.a".to_owned()).map(drop)
    }),
    by_paths("setting an ACL", XATTRS, |g| acl(g, "f", "system.posix_acl_access")),
    by_paths("removing an ACL", XATTRS, |g| {
        acl(g, "f", "system.posix_acl_access")?;
        Ok(rustix::fs::removexattr(g.at("f"), "system.posix_acl_access")?)
    }),
    by_paths("setting a default ACL", &[at("xattr", "d/e")], |g| acl(g, "d/e", "system.posix_acl_default")),
    by_paths("setting a label", XATTRS, |g| {
        Ok(rustix::fs::setxattr(g.at("f"), "security.vfsync-test", b"1", XattrFlags::empty())?)
    }),
    open("FS_IOC_SETFLAGS", FLAGS, |f| {
        let flags = rustix::fs::ioctl_getflags(f)?;
        Ok(rustix::fs::ioctl_setflags(f, flags ^ IFlags::NODUMP)?)
    }),
    open("FS_IOC_FSSETXATTR", FLAGS, |f| {
        const GET: i64 = 0x801c_581f;
        const SET: i64 = 0x401c_5820;
        const NODUMP: u32 = 0x80;
        // Flags, sizes, counts, project: struct fsxattr.
        let mut attributes = [0u32; 7];
        call!(libc::SYS_ioctl, f, GET, &mut attributes)?;
        attributes[0] ^= NODUMP;
        call!(libc::SYS_ioctl, f, SET, attributes).map(drop)
    }),
    // Flags, sizes, counts, project: struct file_attr. Linux 6.17.
    by_paths("file_setattr", FLAGS, |g| {
        const NODUMP: u64 = 0x80;
        let (dir, path, size) = (g.dir("d")?, c"../f".to_owned(), 24usize);
        let mut attributes = [0u64; 3];
        call!(468, dir, path, &mut attributes, size, 0)?;
        attributes[0] ^= NODUMP;
        call!(469, dir, path, attributes, size, 0).map(drop)
    }),
];

const VALUE: &[u8] = b"value";
const FLAGS: &[Expected] = &[at("attrib|write", "f")];

/// Sets an extended attribute by a call that takes a path.
fn set(ground: &Ground, number: libc::c_long, path: &str) -> io::Result<()> {
    let value = *b"value";
    call!(number, text(ground.at(path))?, c"user.a".to_owned(), value, value.len(), 0).map(drop)
}

/// Sets an ACL with an entry that no mode can say: version 2, then owner, user 1, group, mask, others.
fn acl(ground: &Ground, path: &str, name: &str) -> io::Result<()> {
    const ACL: &[u8] = b"\x02\0\0\0\
        \x01\0\x06\0\xff\xff\xff\xff\
        \x02\0\x04\0\x01\0\0\0\
        \x04\0\x04\0\xff\xff\xff\xff\
        \x10\0\x04\0\xff\xff\xff\xff\
        \x20\0\x04\0\xff\xff\xff\xff";
    Ok(rustix::fs::setxattr(ground.at(path), name, ACL, XattrFlags::empty())?)
}

fn touch(ground: &Ground, path: &str, flags: AtFlags) -> io::Result<()> {
    let time = Timespec { tv_sec: 1, tv_nsec: 1 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, ground.at(path), &times, flags)?)
}
