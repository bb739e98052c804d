//! Making, linking, moving and removing names, by the calls that every architecture has.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::AsRawFd,
        unix::{
            ffi::OsStrExt,
            fs::{OpenOptionsExt, symlink},
            net::UnixListener,
        },
    },
};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, ResolveFlags};

use super::{
    Act, Ground, Operation, act, at, by_paths,
    raw::{call, text},
    renamed, staged,
};

pub const OPERATIONS: &[Operation] = &[
    staged("openat that creates", &[at("create", "new")], |g| {
        let path = g.at("new");
        act(move || File::create_new(path))
    }),
    staged("openat that creates, below a directory", &[at("create", "d/e/new")], |g| {
        let dir = g.dir("d")?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        act(move || Ok(rustix::fs::openat(dir, "../d/./e/new", flags, Mode::RUSR)?))
    }),
    staged("openat2", &[at("create", "d/new")], |g| {
        let (dir, flags) = (g.dir("d")?, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC);
        act(move || Ok(rustix::fs::openat2(dir, "new", flags, Mode::RUSR, ResolveFlags::BENEATH)?))
    }),
    staged("O_TMPFILE and linkat", &[at("link|create", "new")], |g| unnamed(g, false)),
    staged("O_TMPFILE and linkat with AT_EMPTY_PATH", &[at("link|create", "new")], |g| unnamed(g, true)),
    by_paths("mkdirat", &[at("mkdir", "new")], |g| {
        call!(libc::SYS_mkdirat, g.dir("d/e")?, c"../../new".to_owned(), 0o700).map(drop)
    }),
    by_paths("mkdirat with a slash behind", &[at("mkdir", "d/new")], |g| {
        call!(libc::SYS_mkdirat, g.dir("d")?, c"new/".to_owned(), 0o700).map(drop)
    }),
    by_paths("mknodat of a fifo", &[at("mknod", "new")], |g| node(g, FileType::Fifo)),
    by_paths("mknodat of a file", &[at("mknod|create", "new")], |g| node(g, FileType::RegularFile)),
    by_paths("mknodat of a device", &[at("mknod", "new")], |g| node(g, FileType::CharacterDevice)),
    by_paths("bind", &[at("mknod", "new")], |g| UnixListener::bind(g.at("new")).map(drop)),
    by_paths("symlinkat", &[at("symlink", "d/new")], |g| {
        call!(libc::SYS_symlinkat, c"nowhere".to_owned(), g.dir("d")?, c"new".to_owned()).map(drop)
    }),
    by_paths("linkat", &[at("link", "d/new")], |g| {
        call!(libc::SYS_linkat, g.dir("d")?, c"../f".to_owned(), g.dir("d")?, c"new".to_owned(), 0).map(drop)
    }),
    by_paths("linkat of a symbolic link", &[at("link", "new")], |g| {
        Ok(rustix::fs::linkat(CWD, g.at("l"), CWD, g.at("new"), AtFlags::empty())?)
    }),
    by_paths("linkat that follows a symbolic link", &[at("link", "new")], |g| {
        Ok(rustix::fs::linkat(CWD, g.at("l"), CWD, g.at("new"), AtFlags::SYMLINK_FOLLOW)?)
    }),
    by_paths("linkat with AT_EMPTY_PATH", &[at("link", "new")], |g| {
        Ok(rustix::fs::linkat(g.file("f")?, "", CWD, g.at("new"), AtFlags::EMPTY_PATH)?)
    }),
    by_paths("linkat from outside", &[at("link", "new")], |g| {
        File::create(g.outside.join("o"))?;
        Ok(rustix::fs::linkat(CWD, g.outside.join("o"), CWD, g.at("new"), AtFlags::empty())?)
    }),
    by_paths("linkat to outside and unlink", &[at("delete", "f")], |g| {
        fs::hard_link(g.at("f"), g.outside.join("o"))?;
        fs::remove_file(g.at("f"))
    }),
    by_paths("unlinkat", &[at("delete", "d/g")], |g| {
        call!(libc::SYS_unlinkat, g.dir("d/e")?, c"../g".to_owned(), 0).map(drop)
    }),
    staged("unlinkat of one of two names", &[at("delete", "d/new")], |g| {
        fs::hard_link(g.at("f"), g.at("d/new"))?;
        let path = g.at("d/new");
        act(move || fs::remove_file(path))
    }),
    by_paths("unlinkat of a directory", &[at("rmdir", "d/e")], |g| {
        call!(libc::SYS_unlinkat, g.dir("d")?, c"e".to_owned(), libc::AT_REMOVEDIR).map(drop)
    }),
    staged("unlinkat of a directory that someone has open", &[at("rmdir", "d/e")], |g| {
        let (path, open) = (g.at("d/e"), g.dir("d/e")?);
        act(move || fs::remove_dir(path).map(|()| open))
    }),
    by_paths("a name of 255 bytes", &[at("create", LONG)], |g| File::create(g.at(LONG)).map(drop)),
    // JSON says it with the character for what is none.
    by_paths("a name that is no text", &[at("create", "d/\u{fffd}new\u{fffd}")], |g| {
        File::create(g.at("d").join(OsStr::from_bytes(b"\xffnew\xff"))).map(drop)
    }),
    by_paths("renameat2", &[renamed("f", "d/new")], |g| {
        let (from, to) = (text(g.at("f"))?, c"new".to_owned());
        call!(libc::SYS_renameat2, libc::AT_FDCWD, from, g.dir("d")?, to, 0).map(drop)
    }),
    by_paths("rename by its own directory", &[renamed("d/g", "d/new")], |g| {
        let dir = g.dir("d")?;
        Ok(rustix::fs::renameat_with(&dir, "g", &dir, "e/../new", RenameFlags::empty())?)
    }),
    by_paths("rename that must not replace", &[renamed("f", "new")], |g| {
        Ok(rustix::fs::renameat_with(CWD, g.at("f"), CWD, g.at("new"), RenameFlags::NOREPLACE)?)
    }),
    by_paths(
        "rename that leaves a whiteout",
        &[at("rename|create", "new"), at("rename|mknod|delete", "f")],
        |g| Ok(rustix::fs::renameat_with(CWD, g.at("f"), CWD, g.at("new"), RenameFlags::WHITEOUT)?),
    ),
    by_paths("rename over a file", &[renamed("f", "x")], |g| fs::rename(g.at("f"), g.at("x"))),
    by_paths("rename over a directory", &[renamed("n", "d/e")], |g| {
        fs::create_dir(g.at("n"))?;
        fs::rename(g.at("n"), g.at("d/e"))
    }),
    by_paths("exchange", &[at("rename|changed", "f"), at("rename|changed", "d/g")], |g| {
        Ok(rustix::fs::renameat_with(CWD, g.at("f"), CWD, g.at("d/g"), RenameFlags::EXCHANGE)?)
    }),
    by_paths("exchange with a directory", &[at("rename|changed", "f"), at("rename|changed", "d")], |g| {
        Ok(rustix::fs::renameat_with(CWD, g.at("f"), CWD, g.at("d"), RenameFlags::EXCHANGE)?)
    }),
    by_paths("rename of a directory", &[renamed("d", "n")], |g| fs::rename(g.at("d"), g.at("n"))),
    staged("write below a renamed directory", &[at("write", "n/g")], |g| {
        let mut file = g.file("d/g")?;
        fs::rename(g.at("d"), g.at("n"))?;
        act(move || file.write_all(b"x").map(|()| file))
    }),
    staged("create in a directory that was just renamed", &[at("create", "n/e/new")], |g| {
        let (dir, from, to) = (g.dir("d/e")?, g.at("d"), g.at("n"));
        act(move || {
            fs::rename(from, to)?;
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            Ok(rustix::fs::openat(dir, "new", flags, Mode::RUSR)?)
        })
    }),
    by_paths("rename out of the tree", &[at("delete", "f")], |g| fs::rename(g.at("f"), g.outside.join("o"))),
    by_paths("rename of a directory out of the tree", &[at("rmdir", "d")], |g| {
        fs::rename(g.at("d"), g.outside.join("o"))
    }),
    staged("rename into the tree", &[at("create", "new")], |g| {
        File::create(g.outside.join("o"))?;
        let (from, to) = (g.outside.join("o"), g.at("new"));
        act(move || fs::rename(from, to))
    }),
    staged("rename into the tree over a file", &[at("create|write", "f")], |g| {
        File::create(g.outside.join("o"))?;
        let (from, to) = (g.outside.join("o"), g.at("f"));
        act(move || fs::rename(from, to))
    }),
    staged("rename of a directory into the tree", &[at("mkdir", "new")], |g| {
        fs::create_dir_all(g.outside.join("o/deep"))?;
        let (from, to) = (g.outside.join("o"), g.at("new"));
        act(move || fs::rename(from, to))
    }),
    staged("create below a directory that was moved in", &[at("create", "n/deep/new")], |g| {
        fs::create_dir_all(g.outside.join("o/deep"))?;
        fs::rename(g.outside.join("o"), g.at("n"))?;
        let path = g.at("n/deep/new");
        act(move || File::create(path))
    }),
    staged("create below a directory that was moved out", &[], |g| {
        let dir = g.dir("d")?;
        fs::rename(g.at("d"), g.outside.join("o"))?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        act(move || Ok(rustix::fs::openat(dir, "new", flags, Mode::RUSR)?))
    }),
    staged("symlink over which a file is renamed", &[renamed("f", "l")], |g| {
        symlink("nowhere", g.outside.join("o"))?;
        let (from, to) = (g.at("f"), g.at("l"));
        act(move || fs::rename(from, to))
    }),
];

const LONG: &str = "d/e/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
    0123456789abcdef0123456789abcdef0123456789abcde";

fn node(ground: &Ground, kind: FileType) -> io::Result<()> {
    let device = if kind == FileType::CharacterDevice { rustix::fs::makedev(1, 3) } else { 0 };
    Ok(rustix::fs::mknodat(ground.dir("d")?, "../new", kind, Mode::RUSR, device)?)
}

/// Gives a name to a file that has none.
fn unnamed(ground: &Ground, empty: bool) -> io::Result<Act> {
    let mut file = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(&ground.root)?;
    file.write_all(b"unnamed")?;
    let new = ground.at("new");
    act(move || {
        let by_proc = format!("/proc/self/fd/{}", file.as_raw_fd());
        if empty {
            rustix::fs::linkat(&file, "", CWD, new, AtFlags::EMPTY_PATH)?;
        } else {
            rustix::fs::linkat(CWD, by_proc, CWD, new, AtFlags::SYMLINK_FOLLOW)?;
        }
        Ok(file)
    })
}
