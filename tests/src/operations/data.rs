//! Writing through a descriptor.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, Read, Seek, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt, OpenOptionsExt},
    },
};

use rustix::{
    io::ReadWriteFlags,
    pipe::{IoSliceRaw, PipeFlags, SpliceFlags},
};

use super::{Operation, WRITTEN, act, at, by_paths, open, staged};

pub const OPERATIONS: &[Operation] = &[
    open("write", WRITTEN, |mut f| f.write_all(b"one")),
    open("pwrite", WRITTEN, |f| f.write_all_at(b"two", 7)),
    open("writev", WRITTEN, |mut f| f.write_vectored(&[IoSlice::new(b"a"), IoSlice::new(b"b")]).map(drop)),
    open("pwritev", WRITTEN, |f| Ok(rustix::io::pwritev(f, &[IoSlice::new(b"c")], 3).map(drop)?)),
    open("pwritev2", WRITTEN, |f| {
        Ok(rustix::io::pwritev2(f, &[IoSlice::new(b"c")], u64::MAX, ReadWriteFlags::APPEND).map(drop)?)
    }),
    staged("write at the end", WRITTEN, |g| {
        let mut file = OpenOptions::new().append(true).open(g.at("f"))?;
        act(move || file.write_all(b"more").map(|()| file))
    }),
    staged("write past the page cache", WRITTEN, |g| {
        let mut file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(g.at("f"))?;
        let memory = vec![b'd'; 8192];
        let start = memory.as_ptr().align_offset(4096);
        act(move || file.write_all(&memory[start..start + 4096]).map(|()| file))
    }),
    staged("write to a descriptor that was duplicated", WRITTEN, |g| {
        let mut file = g.file("f")?.try_clone()?;
        act(move || file.write_all(b"again").map(|()| file))
    }),
    staged("write of another process", WRITTEN, |g| {
        let file = g.file("f")?;
        act(move || {
            let mut echo = std::process::Command::new("/bin/sh");
            let status = echo.args(["-c", "echo text"]).stdout(file.try_clone()?).status()?;
            if status.success() {
                Ok(file)
            } else {
                Err(io::Error::other(format!("the shell ended with {status}")))
            }
        })
    }),
    staged("sendfile", WRITTEN, |g| {
        let (from, to) = (g.file("x")?, g.file("f")?);
        act(move || Ok(rustix::fs::sendfile(&to, &from, None, 5).map(|_| to)?))
    }),
    staged("splice", WRITTEN, |g| {
        let (to, (read, write)) = (g.file("f")?, pipe()?);
        rustix::io::write(&write, b"through a pipe")?;
        act(move || spliced(&read, to))
    }),
    staged("vmsplice and splice", WRITTEN, |g| {
        let (to, (read, write)) = (g.file("f")?, pipe()?);
        act(move || {
            static DATA: &[u8] = b"from memory";
            // SAFETY: the memory lives and does not change.
            unsafe {
                rustix::pipe::vmsplice(write, &[IoSliceRaw::from_slice(DATA)], SpliceFlags::empty())?;
            }
            spliced(&read, to)
        })
    }),
    staged("tee and splice", WRITTEN, |g| {
        let (to, (read, write), (second, into)) = (g.file("f")?, pipe()?, pipe()?);
        rustix::io::write(&write, b"through two pipes")?;
        act(move || {
            rustix::pipe::tee(&read, &into, 17, SpliceFlags::empty())?;
            spliced(&second, to).map(|to| (to, read))
        })
    }),
    staged("splice from a file by way of a pipe", WRITTEN, |g| {
        let (from, to, (read, write)) = (g.file("x")?, g.file("f")?, pipe()?);
        act(move || {
            rustix::pipe::splice(&from, None, &write, None, 14, SpliceFlags::empty())?;
            spliced(&read, to)
        })
    }),
    staged("copy_file_range", WRITTEN, |g| {
        let (from, to) = (g.file("x")?, g.file("f")?);
        act(move || Ok(rustix::fs::copy_file_range(&from, Some(&mut 0), &to, Some(&mut 0), 4).map(|_| to)?))
    }),
    staged("close after write", &[at("close_write", "f")], |g| {
        let file = g.file("f")?;
        act(move || {
            drop(file);
            Ok(())
        })
    }),
    staged("dup2 over the last descriptor", &[at("close_write", "f")], |g| {
        let (mut file, other) = (OwnedFd::from(g.file("f")?), g.dir("d")?);
        act(move || Ok(rustix::io::dup2(other.as_fd(), &mut file).map(|()| file)?))
    }),
    by_paths("write and close in one go", &[at("close_write|write", "f")], |g| {
        OpenOptions::new().write(true).open(g.at("f"))?.write_all(b"quick")
    }),
    // What nothing in the tree comes of.
    staged("write to a file in memory alone", &[], |_| {
        let mut file = File::from(rustix::fs::memfd_create("vfsync-test", rustix::fs::MemfdFlags::CLOEXEC)?);
        act(move || file.write_all(b"nowhere").map(|()| file))
    }),
    staged("write to a file beside the tree", &[], |g| {
        let mut file = File::create(g.outside.join("beside"))?;
        act(move || file.write_all(b"beside").map(|()| file))
    }),
    staged("reading", &[], |g| {
        let mut file = g.file("f")?;
        act(move || {
            file.read_exact(&mut [0; 7])?;
            file.rewind().map(|()| file)
        })
    }),
];

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Moves what a pipe holds into a file.
fn spliced(read: &OwnedFd, to: File) -> io::Result<File> {
    rustix::pipe::splice(read, None, &to, None, 4096, SpliceFlags::empty())?;
    Ok(to)
}
