//! What is handed to the kernel to be done by it: io_uring and aio. There is no system call of the writer's that does it.

use std::{
    any::Any,
    ffi::{CString, c_void},
    fs::File,
    io,
    os::fd::AsRawFd,
    sync::atomic::AtomicU8,
};

use io_uring::{
    IoUring, opcode,
    squeue::{Entry, Flags},
    types::{Fd, OpenHow},
};

use super::{
    Act, CUT, Expected, Ground, Kept, Operation, WRITTEN, Way, XATTRS, act, at, raw::text, renamed, staged,
};

/// What a ring is given to do, with what has to live until it is done.
pub struct Request {
    entry: Entry,
    /// Open files are among it.
    keep: Box<dyn Any>,
    /// A buffer to register first.
    buffer: Option<&'static [AtomicU8]>,
}

type Make = fn(&Ground) -> io::Result<Request>;

/// Both names, what is asked of the ring, what has to be reported.
const BY_RING: &[(&str, &str, Make, &[Expected])] = &[
    ("io_uring write", "io_uring write, async", write, WRITTEN),
    ("io_uring writev", "io_uring writev, async", writev, WRITTEN),
    ("io_uring write_fixed", "io_uring write_fixed, async", write_fixed, WRITTEN),
    ("io_uring splice", "io_uring splice, async", splice, WRITTEN),
    ("io_uring fallocate", "io_uring fallocate, async", fallocate, WRITTEN),
    ("io_uring ftruncate", "io_uring ftruncate, async", ftruncate, CUT),
    ("io_uring openat", "io_uring openat, async", openat, &[at("create", "d/new")]),
    ("io_uring openat2", "io_uring openat2, async", openat2, &[at("create", "d/new")]),
    ("io_uring openat that truncates", "io_uring openat that truncates, async", truncating, CUT),
    ("io_uring renameat", "io_uring renameat, async", renameat, &[renamed("f", "d/new")]),
    ("io_uring unlinkat", "io_uring unlinkat, async", unlinkat, &[at("delete", "d/g")]),
    (
        "io_uring unlinkat of a directory",
        "io_uring unlinkat of a directory, async",
        rmdir,
        &[at("rmdir", "d/e")],
    ),
    ("io_uring mkdirat", "io_uring mkdirat, async", mkdirat, &[at("mkdir", "d/new")]),
    ("io_uring symlinkat", "io_uring symlinkat, async", symlinkat, &[at("symlink", "d/new")]),
    ("io_uring linkat", "io_uring linkat, async", linkat, &[at("link", "d/new")]),
    ("io_uring setxattr", "io_uring setxattr, async", setxattr, XATTRS),
    ("io_uring fsetxattr", "io_uring fsetxattr, async", fsetxattr, XATTRS),
];

const BY_AIO: &[Operation] = &[
    staged("aio pwrite", WRITTEN, |g| {
        const PWRITE: u16 = 1;
        by_aio(g, PWRITE, DATA.as_ptr().cast(), DATA.len())
    }),
    staged("aio pwritev", WRITTEN, |g| {
        const PWRITEV: u16 = 8;
        let slices = vec![slice()];
        let (pointer, count) = (slices.as_ptr(), slices.len());
        // It is small, and has to live until the end.
        std::mem::forget(slices);
        by_aio(g, PWRITEV, pointer.cast(), count)
    }),
];

/// Returns the operations.
pub fn operations() -> Vec<Operation> {
    let ring = |&(inline, asynchronous, make, expected): &(_, _, Make, _)| {
        [(inline, false), (asynchronous, true)].map(|(name, asynchronous)| Operation {
            name,
            way: Way::Ring(make, asynchronous),
            expected,
        })
    };
    BY_RING.iter().flat_map(ring).chain(BY_AIO.iter().copied()).collect()
}

/// Returns what has a request done by a ring.
pub fn by_ring(request: Request, asynchronous: bool) -> io::Result<Act> {
    let mut ring = IoUring::new(2)?;
    if let Some(buffer) = request.buffer {
        let slice = [libc::iovec { iov_base: buffer.as_ptr() as *mut c_void, iov_len: buffer.len() }];
        // SAFETY: it lives for ever, and is only read.
        unsafe { ring.submitter().register_buffers(&slice)? };
    }
    act(move || {
        let flags = if asynchronous { Flags::ASYNC } else { Flags::empty() };
        // SAFETY: what the entry points to is kept until it is done.
        unsafe { ring.submission().push(&request.entry.flags(flags)) }.map_err(io::Error::other)?;
        ring.submit_and_wait(1)?;
        let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?.result();
        match done {
            ..0 => Err(io::Error::from_raw_os_error(-done)),
            _ => Ok((ring, request.keep)),
        }
    })
}

static DATA: &[u8] = b"by a queue";

fn slice() -> libc::iovec {
    libc::iovec { iov_base: DATA.as_ptr() as *mut c_void, iov_len: DATA.len() }
}

fn request(entry: Entry, keep: impl Any) -> io::Result<Request> {
    Ok(Request { entry, keep: Box::new(keep), buffer: None })
}

/// A request with the open file `f`.
fn on_file(ground: &Ground, make: impl FnOnce(Fd) -> (Entry, Kept)) -> io::Result<Request> {
    let file = ground.file("f")?;
    let (entry, keep) = make(Fd(file.as_raw_fd()));
    request(entry, (file, keep))
}

/// A request with the directory `d` and a name in it.
fn in_dir(ground: &Ground, name: &str, make: impl FnOnce(Fd, &CString) -> Entry) -> io::Result<Request> {
    let (dir, name) = (ground.dir("d")?, Box::new(text(name)?));
    let entry = make(Fd(dir.as_raw_fd()), &name);
    request(entry, (dir, name))
}

fn write(ground: &Ground) -> io::Result<Request> {
    on_file(ground, |f| (opcode::Write::new(f, DATA.as_ptr(), DATA.len() as u32).build(), Box::new(())))
}

fn writev(ground: &Ground) -> io::Result<Request> {
    on_file(ground, |f| {
        let slices = Box::new([slice()]);
        (opcode::Writev::new(f, slices.as_ptr(), 1).build(), slices)
    })
}

fn write_fixed(ground: &Ground) -> io::Result<Request> {
    // The kernel takes only memory that it could write to.
    static BUFFER: [AtomicU8; 4096] = [const { AtomicU8::new(b'b') }; 4096];
    let made =
        on_file(ground, |f| (opcode::WriteFixed::new(f, BUFFER.as_ptr().cast(), 9, 0).build(), Box::new(())));
    Ok(Request { buffer: Some(&BUFFER), ..made? })
}

fn splice(ground: &Ground) -> io::Result<Request> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    rustix::io::write(&write, DATA)?;
    on_file(ground, |f| {
        let from = Fd(read.as_raw_fd());
        (opcode::Splice::new(from, -1, f, 0, DATA.len() as u32).build(), Box::new((read, write)))
    })
}

fn fallocate(ground: &Ground) -> io::Result<Request> {
    on_file(ground, |f| (opcode::Fallocate::new(f, 1 << 16).build(), Box::new(())))
}

fn ftruncate(ground: &Ground) -> io::Result<Request> {
    on_file(ground, |f| (opcode::Ftruncate::new(f, 3).build(), Box::new(())))
}

fn openat(ground: &Ground) -> io::Result<Request> {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
    in_dir(ground, "new", |d, name| opcode::OpenAt::new(d, name.as_ptr()).flags(flags).mode(0o600).build())
}

fn openat2(ground: &Ground) -> io::Result<Request> {
    let flags = u64::try_from(libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC).map_err(io::Error::other)?;
    let how = Box::new(OpenHow::new().flags(flags).mode(0o600));
    let made =
        in_dir(ground, "new", |d, name| opcode::OpenAt2::new(d, name.as_ptr(), &raw const *how).build())?;
    Ok(Request { keep: Box::new((how, made.keep)), ..made })
}

fn truncating(ground: &Ground) -> io::Result<Request> {
    let flags = libc::O_TRUNC | libc::O_WRONLY | libc::O_CLOEXEC;
    in_dir(ground, "../f", |d, name| opcode::OpenAt::new(d, name.as_ptr()).flags(flags).build())
}

fn renameat(ground: &Ground) -> io::Result<Request> {
    let from = Box::new(text(ground.at("f"))?);
    let made = in_dir(ground, "new", |d, name| {
        opcode::RenameAt::new(Fd(libc::AT_FDCWD), from.as_ptr(), d, name.as_ptr()).build()
    })?;
    Ok(Request { keep: Box::new((from, made.keep)), ..made })
}

fn unlinkat(ground: &Ground) -> io::Result<Request> {
    in_dir(ground, "g", |d, name| opcode::UnlinkAt::new(d, name.as_ptr()).build())
}

fn rmdir(ground: &Ground) -> io::Result<Request> {
    in_dir(ground, "e", |d, name| opcode::UnlinkAt::new(d, name.as_ptr()).flags(libc::AT_REMOVEDIR).build())
}

fn mkdirat(ground: &Ground) -> io::Result<Request> {
    in_dir(ground, "new", |d, name| opcode::MkDirAt::new(d, name.as_ptr()).mode(0o700).build())
}

fn symlinkat(ground: &Ground) -> io::Result<Request> {
    in_dir(ground, "new", |d, name| opcode::SymlinkAt::new(d, c"nowhere".as_ptr(), name.as_ptr()).build())
}

fn linkat(ground: &Ground) -> io::Result<Request> {
    let from = Box::new(text(ground.at("f"))?);
    let made = in_dir(ground, "new", |d, name| {
        opcode::LinkAt::new(Fd(libc::AT_FDCWD), from.as_ptr(), d, name.as_ptr()).build()
    })?;
    Ok(Request { keep: Box::new((from, made.keep)), ..made })
}

fn setxattr(ground: &Ground) -> io::Result<Request> {
    let (path, name) = (Box::new(text(ground.at("f"))?), c"user.ring");
    let entry =
        opcode::SetXattr::new(name.as_ptr(), DATA.as_ptr().cast(), path.as_ptr(), DATA.len() as u32).build();
    request(entry, path)
}

fn fsetxattr(ground: &Ground) -> io::Result<Request> {
    on_file(ground, |f| {
        let (name, length) = (c"user.ring", DATA.len() as u32);
        (opcode::FSetXattr::new(f, name.as_ptr(), DATA.as_ptr().cast(), length).build(), Box::new(()))
    })
}

/// Has the kernel's own asynchronous calls write.
fn by_aio(ground: &Ground, opcode: u16, data: *const c_void, length: usize) -> io::Result<Act> {
    let file = ground.file("f")?;
    let data = data as u64;
    act(move || submit(&file, opcode, data, length as u64).map(|()| file))
}

fn submit(file: &File, opcode: u16, data: u64, length: u64) -> io::Result<()> {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the context is ours; a request of zeros is one; the request and its data live until it is done.
    unsafe {
        if libc::syscall(libc::SYS_io_setup, 1, &raw mut context) < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut request: libc::iocb = std::mem::zeroed();
        request.aio_lio_opcode = opcode;
        request.aio_fildes = file.as_raw_fd() as u32;
        request.aio_buf = data;
        request.aio_nbytes = length;
        let mut requests = [&raw mut request];
        let submitted = libc::syscall(libc::SYS_io_submit, context, 1, requests.as_mut_ptr());
        let error = io::Error::last_os_error();
        // It waits for what was submitted.
        libc::syscall(libc::SYS_io_destroy, context);
        if submitted == 1 { Ok(()) } else { Err(error) }
    }
}
