//! The older calls that only x86 has, where libraries take newer ones.

use std::{fs, io};

use super::{
    ATTRIBUTES, Expected, Operation, at, by_paths,
    raw::{call, text},
    renamed,
};

pub const OPERATIONS: &[Operation] = &[
    by_paths("open", &[at("create", "new")], |g| {
        let flags = libc::O_CREAT | libc::O_WRONLY;
        close(call!(libc::SYS_open, text(g.at("new"))?, flags, 0o600)?)
    }),
    by_paths("open that truncates", &[at("truncate", "f")], |g| {
        close(call!(libc::SYS_open, text(g.at("f"))?, libc::O_TRUNC | libc::O_WRONLY)?)
    }),
    by_paths("creat", &[at("create", "new")], |g| close(call!(libc::SYS_creat, text(g.at("new"))?, 0o600)?)),
    by_paths("creat of what is there", &[at("truncate", "f")], |g| {
        close(call!(libc::SYS_creat, text(g.at("f"))?, 0o600)?)
    }),
    by_paths("mkdir", &[at("mkdir", "d/new")], |g| {
        call!(libc::SYS_mkdir, text(g.at("d/new"))?, 0o700).map(drop)
    }),
    by_paths("mknod", &[at("mknod", "d/new")], |g| {
        let fifo = i64::from(libc::S_IFIFO | 0o600);
        call!(libc::SYS_mknod, text(g.at("d/new"))?, fifo, 0).map(drop)
    }),
    by_paths("symlink", &[at("symlink", "d/new")], |g| {
        call!(libc::SYS_symlink, c"nowhere".to_owned(), text(g.at("d/new"))?).map(drop)
    }),
    by_paths("link", &[at("link", "d/new")], |g| {
        call!(libc::SYS_link, text(g.at("f"))?, text(g.at("d/new"))?).map(drop)
    }),
    by_paths("unlink", &[at("delete", "d/g")], |g| call!(libc::SYS_unlink, text(g.at("d/g"))?).map(drop)),
    by_paths("unlink of a symbolic link", &[at("delete", "l")], |g| {
        call!(libc::SYS_unlink, text(g.at("l"))?).map(drop)
    }),
    by_paths("rmdir", &[at("rmdir", "d/e")], |g| call!(libc::SYS_rmdir, text(g.at("d/e"))?).map(drop)),
    by_paths("rmdir with a slash behind", &[at("rmdir", "d/e")], |g| {
        call!(libc::SYS_rmdir, text(g.at("d/e/"))?).map(drop)
    }),
    by_paths("rename", &[renamed("f", "d/new")], |g| {
        call!(libc::SYS_rename, text(g.at("f"))?, text(g.at("d/new"))?).map(drop)
    }),
    by_paths("renameat", &[renamed("f", "d/new")], |g| {
        call!(libc::SYS_renameat, g.dir("d")?, c"../f".to_owned(), g.dir("d")?, c"new".to_owned()).map(drop)
    }),
    by_paths("chmod", ATTRIBUTES, |g| call!(libc::SYS_chmod, text(g.at("f"))?, 0o640).map(drop)),
    by_paths("chown", ATTRIBUTES, |g| call!(libc::SYS_chown, text(g.at("f"))?, 0, 0).map(drop)),
    by_paths("chown of what a symbolic link leads to", ATTRIBUTES, |g| {
        call!(libc::SYS_chown, text(g.at("l"))?, 0, 0).map(drop)
    }),
    by_paths("lchown of a symbolic link", LINK, |g| {
        call!(libc::SYS_lchown, text(g.at("l"))?, 0, 0).map(drop)
    }),
    // Seconds of access and of change; with microseconds for the others.
    by_paths("utime", ATTRIBUTES, |g| call!(libc::SYS_utime, text(g.at("f"))?, [1i64, 2]).map(drop)),
    by_paths("utimes", ATTRIBUTES, |g| call!(libc::SYS_utimes, text(g.at("f"))?, [1i64, 2, 3, 4]).map(drop)),
    by_paths("futimesat", ATTRIBUTES, |g| {
        call!(libc::SYS_futimesat, g.dir("d")?, c"../f".to_owned(), [1i64, 2, 3, 4]).map(drop)
    }),
    by_paths("link and unlink by the old name", &[at("link", "new"), at("delete", "f")], |g| {
        fs::hard_link(g.at("f"), g.at("new"))?;
        call!(libc::SYS_unlink, text(g.at("f"))?).map(drop)
    }),
];

const LINK: &[Expected] = &[at("attrib", "l")];

fn close(descriptor: libc::c_long) -> io::Result<()> {
    call!(libc::SYS_close, descriptor).map(drop)
}
