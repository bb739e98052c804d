//! An [`Operation`] changes a tree in one of the many ways in which programs do, and says what capture has to report.
//! The same list runs in tests on this machine and, through `capture-check`, in guests with other kernels.

use std::{
    ffi::c_void,
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::{
            fs::{FileExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    ptr,
};

use rustix::{
    fs::{
        AtFlags, CWD, FallocateFlags, FileType, IFlags, Mode, OFlags, RenameFlags, ResolveFlags, Timespec,
        Timestamps, XattrFlags,
    },
    mm::{MapFlags, ProtFlags},
    pipe::{PipeFlags, SpliceFlags},
};

/// Where operations take place: a watched tree, and a directory beside it on the same file system.
pub struct Ground {
    /// The watched tree.
    pub root: PathBuf,
    /// Beside it.
    pub outside: PathBuf,
}

impl Ground {
    /// Makes both in this directory.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn make(dir: &Path) -> io::Result<Ground> {
        let ground = Ground { root: dir.join("root"), outside: dir.join("outside") };
        fs::create_dir_all(&ground.root)?;
        fs::create_dir_all(&ground.outside)?;
        Ok(ground)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn file(&self, path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.at(path))
    }
}

/// One event that has to come: any of these names, at this path.
pub struct Expected {
    /// As in the contract of `vfsync watch`, separated by `|`.
    pub events: &'static str,
    /// Below the root.
    pub path: &'static str,
    /// Below the root, for a rename.
    pub to: Option<&'static str>,
}

/// One way to change a tree.
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    /// Does it.
    pub run: fn(&Ground) -> io::Result<()>,
    /// What capture has to report.
    pub expected: &'static [Expected],
}

const fn at(events: &'static str, path: &'static str) -> Expected {
    Expected { events, path, to: None }
}

const fn renamed(path: &'static str, to: &'static str) -> Expected {
    Expected { events: "rename", path, to: Some(to) }
}

/// Every operation, in an order in which each finds what it needs.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "open(O_CREAT)",
        run: |g| File::create(g.at("f")).map(drop),
        expected: &[at("create", "f")],
    },
    Operation { name: "write", run: |g| g.file("f")?.write_all(b"one"), expected: &[at("write", "f")] },
    Operation {
        name: "pwrite",
        run: |g| g.file("f")?.write_all_at(b"two", 7),
        expected: &[at("write", "f")],
    },
    Operation {
        name: "writev",
        run: |g| g.file("f")?.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).map(drop),
        expected: &[at("write", "f")],
    },
    Operation {
        name: "pwritev2",
        run: |g| {
            let flags = rustix::io::ReadWriteFlags::APPEND;
            Ok(rustix::io::pwritev2(g.file("f")?, &[IoSlice::new(b"c")], u64::MAX, flags).map(drop)?)
        },
        expected: &[at("write", "f")],
    },
    Operation {
        name: "close after write",
        run: |g| g.file("f").map(drop),
        expected: &[at("close_write", "f")],
    },
    Operation {
        name: "open(O_APPEND) and write",
        run: |g| OpenOptions::new().append(true).open(g.at("f"))?.write_all(b"more"),
        expected: &[at("write", "f")],
    },
    Operation {
        name: "sendfile",
        run: |g| Ok(rustix::fs::sendfile(File::create(g.at("s"))?, g.file("f")?, None, 5).map(drop)?),
        expected: &[at("create", "s"), at("write", "s")],
    },
    Operation { name: "splice", run: splice, expected: &[at("write", "s")] },
    Operation { name: "io_uring write", run: by_ring, expected: &[at("write", "s")] },
    Operation { name: "aio write", run: by_aio, expected: &[at("write", "s")] },
    Operation {
        name: "FICLONE",
        run: |g| Ok(rustix::fs::ioctl_ficlone(g.file("s")?, g.file("f")?)?),
        expected: &[at("write", "s")],
    },
    Operation {
        name: "copy_file_range",
        run: |g| {
            let (from, to) = (g.file("f")?, g.file("s")?);
            Ok(rustix::fs::copy_file_range(from, Some(&mut 0), to, Some(&mut 0), 4).map(drop)?)
        },
        expected: &[at("write", "s")],
    },
    Operation {
        name: "fallocate",
        run: |g| Ok(rustix::fs::fallocate(g.file("s")?, FallocateFlags::empty(), 0, 8192)?),
        expected: &[at("write", "s")],
    },
    Operation {
        name: "fallocate of a hole",
        run: |g| {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(g.file("s")?, flags, 0, 4096)?)
        },
        expected: &[at("write", "s")],
    },
    Operation { name: "mmap store", run: store, expected: &[at("write", "s")] },
    Operation { name: "ftruncate", run: |g| g.file("s")?.set_len(3), expected: &[at("truncate|write", "s")] },
    Operation {
        name: "open(O_TRUNC)",
        run: |g| OpenOptions::new().write(true).truncate(true).open(g.at("s")).map(drop),
        expected: &[at("truncate", "s")],
    },
    Operation {
        name: "truncate",
        run: |g| old::truncate(&g.at("s"), 5),
        expected: &[at("truncate|write", "s")],
    },
    Operation { name: "creat", run: |g| old::creat(&g.at("creat")), expected: &[at("create", "creat")] },
    Operation {
        name: "openat2",
        run: |g| {
            let (flags, mode) = (OFlags::CREATE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR);
            let root = File::open(&g.root)?;
            Ok(rustix::fs::openat2(root, "openat2", flags, mode, ResolveFlags::BENEATH).map(drop)?)
        },
        expected: &[at("create", "openat2")],
    },
    Operation { name: "O_TMPFILE and linkat", run: unnamed, expected: &[at("link|create", "unnamed")] },
    Operation {
        name: "chmod",
        run: |g| fs::set_permissions(g.at("f"), fs::Permissions::from_mode(0o640)),
        expected: &[at("attrib", "f")],
    },
    Operation {
        name: "fchmod",
        run: |g| g.file("f")?.set_permissions(fs::Permissions::from_mode(0o600)),
        expected: &[at("attrib", "f")],
    },
    Operation {
        name: "chown",
        run: |g| std::os::unix::fs::chown(g.at("f"), Some(0), Some(0)),
        expected: &[at("attrib", "f")],
    },
    Operation {
        name: "fchown",
        run: |g| std::os::unix::fs::fchown(g.file("f")?, Some(0), None),
        expected: &[at("attrib", "f")],
    },
    Operation { name: "utimensat", run: |g| touch(CWD, &g.at("f"), 1), expected: &[at("attrib", "f")] },
    Operation {
        name: "futimens",
        run: |g| g.file("f")?.set_modified(std::time::UNIX_EPOCH),
        expected: &[at("attrib", "f")],
    },
    Operation {
        name: "setxattr",
        run: |g| Ok(rustix::fs::setxattr(g.at("f"), "user.a", b"1", XattrFlags::empty())?),
        expected: &[at("xattr", "f")],
    },
    Operation {
        name: "fsetxattr",
        run: |g| Ok(rustix::fs::fsetxattr(g.file("f")?, "user.b", b"1", XattrFlags::empty())?),
        expected: &[at("xattr", "f")],
    },
    Operation {
        name: "removexattr",
        run: |g| Ok(rustix::fs::removexattr(g.at("f"), "user.a")?),
        expected: &[at("xattr", "f")],
    },
    Operation {
        name: "fremovexattr",
        run: |g| Ok(rustix::fs::fremovexattr(g.file("f")?, "user.b")?),
        expected: &[at("xattr", "f")],
    },
    Operation {
        name: "setting an ACL",
        run: |g| Ok(rustix::fs::setxattr(g.at("f"), ACL, ACL_VALUE, XattrFlags::empty())?),
        expected: &[at("xattr", "f")],
    },
    Operation {
        name: "removing an ACL",
        run: |g| Ok(rustix::fs::removexattr(g.at("f"), ACL)?),
        expected: &[at("xattr", "f")],
    },
    Operation {
        name: "chattr",
        run: |g| Ok(rustix::fs::ioctl_setflags(g.file("f")?, IFlags::NODUMP)?),
        expected: &[at("attrib|write", "f")],
    },
    Operation { name: "mkdir", run: |g| fs::create_dir(g.at("d")), expected: &[at("mkdir", "d")] },
    Operation {
        name: "mkdirat with a slash behind",
        run: |g| Ok(rustix::fs::mkdirat(fs::File::open(&g.root)?, "d/e/", Mode::RWXU)?),
        expected: &[at("mkdir", "d/e")],
    },
    Operation {
        name: "mknod of a fifo",
        run: |g| Ok(rustix::fs::mknodat(CWD, g.at("d/fifo"), FileType::Fifo, Mode::RUSR, 0)?),
        expected: &[at("mknod", "d/fifo")],
    },
    Operation {
        name: "mknod of a file",
        run: |g| Ok(rustix::fs::mknodat(CWD, g.at("d/file"), FileType::RegularFile, Mode::RUSR, 0)?),
        expected: &[at("mknod|create", "d/file")],
    },
    Operation {
        name: "bind",
        run: |g| UnixListener::bind(g.at("d/socket")).map(drop),
        expected: &[at("mknod", "d/socket")],
    },
    Operation {
        name: "symlink",
        run: |g| std::os::unix::fs::symlink("nowhere", g.at("d/symlink")),
        expected: &[at("symlink", "d/symlink")],
    },
    Operation {
        name: "lchown of a symlink",
        run: |g| std::os::unix::fs::lchown(g.at("d/symlink"), Some(0), Some(0)),
        expected: &[at("attrib", "d/symlink")],
    },
    Operation { name: "rename", run: |g| fs::rename(g.at("f"), g.at("g")), expected: &[renamed("f", "g")] },
    Operation {
        name: "rename that must not replace",
        run: |g| {
            let flags = RenameFlags::NOREPLACE;
            Ok(rustix::fs::renameat_with(CWD, g.at("creat"), CWD, g.at("kept"), flags)?)
        },
        expected: &[renamed("creat", "kept")],
    },
    Operation {
        name: "rename that leaves a whiteout",
        run: |g| {
            let flags = RenameFlags::WHITEOUT;
            Ok(rustix::fs::renameat_with(CWD, g.at("kept"), CWD, g.at("moved"), flags)?)
        },
        // What it leaves is a device node at the old name.
        expected: &[at("rename|create", "moved"), at("rename|mknod|delete", "kept")],
    },
    Operation {
        name: "rename to another directory",
        run: |g| fs::rename(g.at("g"), g.at("d/e/h")),
        expected: &[renamed("g", "d/e/h")],
    },
    Operation {
        name: "rename over a file",
        run: |g| fs::rename(g.at("d/e/h"), g.at("d/file")),
        expected: &[renamed("d/e/h", "d/file")],
    },
    Operation {
        name: "exchange",
        run: |g| {
            let (fifo, file) = (g.at("d/fifo"), g.at("d/file"));
            Ok(rustix::fs::renameat_with(CWD, fifo, CWD, file, RenameFlags::EXCHANGE)?)
        },
        expected: &[at("rename|changed", "d/fifo"), at("rename|changed", "d/file")],
    },
    Operation {
        name: "rename of a directory",
        run: |g| fs::rename(g.at("d"), g.at("m")),
        expected: &[renamed("d", "m")],
    },
    Operation {
        name: "write below a renamed directory",
        run: |g| OpenOptions::new().append(true).open(g.at("m/fifo"))?.write_all(b"x"),
        expected: &[at("write", "m/fifo")],
    },
    Operation {
        name: "rename out of the tree",
        run: |g| fs::rename(g.at("m/file"), g.outside.join("fifo")),
        expected: &[at("delete", "m/file")],
    },
    Operation {
        name: "rename into the tree",
        run: |g| fs::rename(g.outside.join("fifo"), g.at("back")),
        expected: &[at("create", "back")],
    },
    Operation {
        name: "rename of a directory into the tree",
        run: |g| {
            fs::create_dir_all(g.outside.join("new/deep"))?;
            fs::rename(g.outside.join("new"), g.at("new"))
        },
        expected: &[at("mkdir", "new")],
    },
    Operation {
        name: "create below a directory that was moved in",
        run: |g| File::create(g.at("new/deep/er")).map(drop),
        expected: &[at("create", "new/deep/er")],
    },
    Operation {
        name: "link",
        run: |g| fs::hard_link(g.at("s"), g.at("m/link")),
        expected: &[at("link", "m/link")],
    },
    Operation {
        name: "link by the old call",
        run: |g| old::link(&g.at("s"), &g.at("m/link-2")),
        expected: &[at("link", "m/link-2")],
    },
    Operation {
        name: "write by one of two names",
        run: |g| OpenOptions::new().append(true).open(g.at("m/link-2"))?.write_all(b"x"),
        expected: &[at("write", "m/link-2")],
    },
    Operation {
        name: "unlink of one of two names",
        run: |g| fs::remove_file(g.at("m/link")),
        expected: &[at("delete", "m/link")],
    },
    Operation {
        name: "unlink",
        run: |g| fs::remove_file(g.at("m/symlink")),
        expected: &[at("delete", "m/symlink")],
    },
    Operation { name: "rmdir", run: |g| fs::remove_dir(g.at("m/e")), expected: &[at("rmdir", "m/e")] },
    Operation {
        name: "unlinkat of a directory",
        run: |g| {
            Ok(rustix::fs::unlinkat(fs::File::open(g.at("new/deep"))?, "../deep/er", AtFlags::empty())
                .and_then(|()| rustix::fs::unlinkat(CWD, g.at("new/deep"), AtFlags::REMOVEDIR))?)
        },
        expected: &[at("delete", "new/deep/er"), at("rmdir", "new/deep")],
    },
    Operation {
        name: "a name of 255 bytes that is no text",
        run: |g| {
            use std::os::unix::ffi::OsStrExt;
            File::create(g.root.join(std::ffi::OsStr::from_bytes(&[0xff; 255]))).map(drop)
        },
        expected: &[],
    },
];

/// Where a file's ACL is.
const ACL: &str = "system.posix_acl_access";
/// An ACL with an entry that no mode can say: version 2, then owner, user 1, group, mask, others.
const ACL_VALUE: &[u8] = b"\x02\0\0\0\
    \x01\0\x06\0\xff\xff\xff\xff\
    \x02\0\x04\0\x01\0\0\0\
    \x04\0\x04\0\xff\xff\xff\xff\
    \x10\0\x04\0\xff\xff\xff\xff\
    \x20\0\x04\0\xff\xff\xff\xff";

/// System calls that the standard library no longer makes where there are newer ones.
mod old {
    use std::{ffi::CString, io, os::unix::ffi::OsStrExt, path::Path};

    fn text(path: &Path) -> io::Result<CString> {
        Ok(CString::new(path.as_os_str().as_bytes())?)
    }

    fn answer(result: libc::c_int) -> io::Result<()> {
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub fn truncate(path: &Path, size: i64) -> io::Result<()> {
        let path = text(path)?;
        // SAFETY: a string that ends in a NUL.
        answer(unsafe { libc::truncate(path.as_ptr(), size) })
    }

    pub fn creat(path: &Path) -> io::Result<()> {
        let path = text(path)?;
        // SAFETY: a string that ends in a NUL.
        let file = unsafe { libc::creat(path.as_ptr(), 0o600) };
        answer(file)?;
        // SAFETY: a descriptor of our own, closed once.
        answer(unsafe { libc::close(file) })
    }

    pub fn link(from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (text(from)?, text(to)?);
        // SAFETY: strings that end in a NUL.
        answer(unsafe { libc::link(from.as_ptr(), to.as_ptr()) })
    }
}

/// Writes by io_uring, from a thread of the kernel's own: such a write is in no system call of ours.
fn by_ring(ground: &Ground) -> io::Result<()> {
    let file = ground.file("s")?;
    let mut ring = io_uring::IoUring::new(2)?;
    let data = *b"by a ring";
    let target = io_uring::types::Fd(file.as_raw_fd());
    let write = io_uring::opcode::Write::new(target, data.as_ptr(), data.len() as u32).build();
    // SAFETY: file and data outlive the wait below.
    unsafe { ring.submission().push(&write.flags(io_uring::squeue::Flags::ASYNC)) }
        .map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    if done.result() < 0 { Err(io::Error::from_raw_os_error(-done.result())) } else { Ok(()) }
}

/// Writes by the kernel's own asynchronous calls.
fn by_aio(ground: &Ground) -> io::Result<()> {
    let file = ground.file("s")?;
    let data = *b"asynchronously";
    const PWRITE: u16 = 1;
    let mut context: libc::c_ulong = 0;
    // SAFETY: the context is ours; a request of zeros is one; the request and its data live until it is done.
    unsafe {
        if libc::syscall(libc::SYS_io_setup, 1, &raw mut context) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut request: libc::iocb = std::mem::zeroed();
        request.aio_lio_opcode = PWRITE;
        request.aio_fildes = file.as_raw_fd() as u32;
        request.aio_buf = data.as_ptr() as u64;
        request.aio_nbytes = data.len() as u64;
        let mut requests = [&raw mut request];
        let submitted = libc::syscall(libc::SYS_io_submit, context, 1, requests.as_mut_ptr());
        let error = io::Error::last_os_error();
        // It waits for what was submitted.
        libc::syscall(libc::SYS_io_destroy, context);
        if submitted == 1 { Ok(()) } else { Err(error) }
    }
}

/// Writes by way of a pipe.
fn splice(ground: &Ground) -> io::Result<()> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::write(&write, b"through a pipe")?;
    rustix::pipe::splice(read, None, ground.file("s")?, None, 14, SpliceFlags::empty())?;
    Ok(())
}

/// Stores into a shared mapping, which no system call tells of.
fn store(ground: &Ground) -> io::Result<()> {
    let file = ground.file("s")?;
    file.set_len(4096)?;
    file.sync_all()?;
    // SAFETY: a fresh mapping of a file of a page, written within its bounds, and unmapped once.
    unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let map = rustix::mm::mmap(ptr::null_mut(), 4096, protection, MapFlags::SHARED, file.as_fd(), 0)?;
        map.cast::<u8>().write_volatile(7);
        rustix::mm::munmap(map.cast::<c_void>(), 4096)?;
    }
    Ok(())
}

/// Makes a file without a name, writes it, and gives it one.
fn unnamed(ground: &Ground) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let flag = i32::try_from(OFlags::TMPFILE.bits()).expect("the flag fits");
    let mut file = options.write(true).custom_flags(flag).open(&ground.root)?;
    file.write_all(b"unnamed")?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, name, CWD, ground.at("unnamed"), AtFlags::SYMLINK_FOLLOW)?)
}

fn touch(dir: impl AsFd, path: &Path, seconds: i64) -> io::Result<()> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 1 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(dir, path, &times, AtFlags::empty())?)
}
