//! Changing a file's size, or which blocks it has.

use std::{
    fs::{File, OpenOptions},
    io,
};

use rustix::fs::FallocateFlags;

use super::{
    CUT, Operation, SIZE, WRITTEN, act, by_paths, open,
    raw::{call, text},
    staged,
};

pub const OPERATIONS: &[Operation] = &[
    by_paths("truncate", CUT, |g| call!(libc::SYS_truncate, text(g.at("f"))?, 5i64).map(drop)),
    by_paths("truncate to more", CUT, |g| call!(libc::SYS_truncate, text(g.at("f"))?, 1i64 << 20).map(drop)),
    open("ftruncate", CUT, |f| f.set_len(3)),
    staged("open(O_TRUNC)", CUT, |g| {
        let path = g.at("f");
        act(move || OpenOptions::new().write(true).truncate(true).open(path))
    }),
    open("fallocate", WRITTEN, |f| allocate(f, FallocateFlags::empty(), SIZE, 8192)),
    open("fallocate behind the end", WRITTEN, |f| allocate(f, FallocateFlags::KEEP_SIZE, SIZE, 8192)),
    open("fallocate of a hole", WRITTEN, |f| {
        allocate(f, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4096)
    }),
    open("fallocate of zeros", WRITTEN, |f| allocate(f, FallocateFlags::ZERO_RANGE, 0, 4096)),
    open("fallocate that collapses", WRITTEN, |f| allocate(f, FallocateFlags::COLLAPSE_RANGE, 0, 4096)),
    open("fallocate that inserts", WRITTEN, |f| allocate(f, FallocateFlags::INSERT_RANGE, 4096, 4096)),
    staged("FICLONE", WRITTEN, |g| {
        let (from, to) = (g.file("x")?, g.file("f")?);
        act(move || Ok(rustix::fs::ioctl_ficlone(&to, &from).map(|()| to)?))
    }),
    staged("FICLONERANGE", WRITTEN, |g| {
        const FICLONERANGE: i64 = 0x4020_940d;
        let (from, to) = (g.file("x")?, g.file("f")?);
        act(move || {
            // From where, how much, to where: struct file_clone_range.
            let range = [u64::try_from(raw_descriptor(&from)).map_err(io::Error::other)?, 0, 4096, 4096];
            call!(libc::SYS_ioctl, to, FICLONERANGE, range).map(|_| to)
        })
    }),
];

fn allocate(file: &File, flags: FallocateFlags, offset: u64, length: u64) -> io::Result<()> {
    Ok(rustix::fs::fallocate(file, flags, offset, length)?)
}

fn raw_descriptor(file: &File) -> i64 {
    std::os::fd::AsRawFd::as_raw_fd(file).into()
}
