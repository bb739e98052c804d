//! The system calls of 32-bit programs, on a kernel that still offers them: other numbers, other registers, and another
//! way in.

use std::{
    arch::asm,
    fs::File,
    io::{self, Write},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
    ptr,
    sync::OnceLock,
};

use rustix::mm::{MapFlags, ProtFlags};

use super::{CUT, Ground, Operation, WRITTEN, at, by_paths, open, renamed};

pub const OPERATIONS: &[Operation] = &[
    by_paths("open of a 32-bit program", &[at("create", "d/new")], |g| {
        let flags = libc::O_CREAT | libc::O_WRONLY;
        close(call(OPEN, g, &["d/new"], &[flags as u32, 0o600])?)
    }),
    open("write of a 32-bit program", WRITTEN, |f| written(f, WRITE, &[])),
    open("pwrite64 of a 32-bit program", WRITTEN, |f| written(f, PWRITE64, &[3, 0])),
    by_paths("truncate64 of a 32-bit program", CUT, |g| call(TRUNCATE64, g, &["f"], &[5, 0]).map(drop)),
    by_paths("mkdir of a 32-bit program", &[at("mkdir", "d/new")], |g| {
        call(MKDIR, g, &["d/new"], &[0o700]).map(drop)
    }),
    by_paths("rename of a 32-bit program", &[renamed("f", "d/new")], |g| {
        call(RENAME, g, &["f", "d/new"], &[]).map(drop)
    }),
    by_paths("link of a 32-bit program", &[at("link", "d/new")], |g| {
        call(LINK, g, &["f", "d/new"], &[]).map(drop)
    }),
    by_paths("unlink of a 32-bit program", &[at("delete", "d/g")], |g| {
        call(UNLINK, g, &["d/g"], &[]).map(drop)
    }),
    by_paths("rmdir of a 32-bit program", &[at("rmdir", "d/e")], |g| call(RMDIR, g, &["d/e"], &[]).map(drop)),
    by_paths("chmod of a 32-bit program", &[at("attrib", "f")], |g| {
        call(CHMOD, g, &["f"], &[0o640]).map(drop)
    }),
];

const WRITE: u32 = 4;
const OPEN: u32 = 5;
const CLOSE: u32 = 6;
const LINK: u32 = 9;
const UNLINK: u32 = 10;
const CHMOD: u32 = 15;
const GETPID: u32 = 20;
const RENAME: u32 = 38;
const MKDIR: u32 = 39;
const RMDIR: u32 = 40;
const PWRITE64: u32 = 181;
const TRUNCATE64: u32 = 193;

/// Memory where 32 bits reach it.
struct Low(*mut u8);

impl Low {
    const SIZE: usize = 8192;

    fn new() -> io::Result<Low> {
        let low = MapFlags::from_bits_retain(libc::MAP_32BIT.cast_unsigned());
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | low);
        // SAFETY: a fresh mapping, at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), Low::SIZE, protection, flags)? };
        Ok(Low(start.cast()))
    }

    /// Copies bytes to it, a NUL behind them, and returns the address.
    fn put(&self, at: usize, bytes: &[u8]) -> io::Result<u32> {
        if at + bytes.len() >= Low::SIZE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: it was found to fit, and the mapping is of zeros.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.add(at), bytes.len()) };
        u32::try_from(self.0 as usize + at).map_err(io::Error::other)
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: mapped once, unmapped once.
        let _ = unsafe { rustix::mm::munmap(self.0.cast(), Low::SIZE) };
    }
}

/// Makes a call with paths below the root, then numbers.
fn call(number: u32, ground: &Ground, paths: &[&str], numbers: &[u32]) -> io::Result<u32> {
    let low = Low::new()?;
    let mut arguments = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let path: &Path = &ground.at(path);
        arguments.push(low.put(index * 4096, path.as_os_str().as_bytes())?);
    }
    arguments.extend(numbers);
    interrupt(number, &arguments)
}

fn written(mut file: &File, number: u32, more: &[u32]) -> io::Result<()> {
    file.flush()?;
    let low = Low::new()?;
    let descriptor = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let mut arguments = vec![descriptor, low.put(0, b"half as wide")?, 12];
    arguments.extend(more);
    interrupt(number, &arguments).map(drop)
}

fn close(descriptor: u32) -> io::Result<()> {
    interrupt(CLOSE, &[descriptor]).map(drop)
}

/// Makes a system call as a 32-bit program does.
fn interrupt(number: u32, arguments: &[u32]) -> io::Result<u32> {
    static OFFERED: OnceLock<bool> = OnceLock::new();
    if !OFFERED.get_or_init(is_offered) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    enter(number, arguments)
}

/// Tells whether the kernel takes such calls: else they end the process that makes one.
fn is_offered() -> bool {
    // SAFETY: the child makes two system calls, one of them to end.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let done = enter(GETPID, &[]).is_ok();
            libc::_exit(i32::from(!done));
        }
        let mut status = 0;
        child > 0 && libc::waitpid(child, &raw mut status, 0) == child && status == 0
    }
}

fn enter(number: u32, arguments: &[u32]) -> io::Result<u32> {
    let at = |index: usize| u64::from(arguments.get(index).copied().unwrap_or_default());
    let mut result = u64::from(number);
    // SAFETY: the call that callers name, with addresses of what lives. `rbx` is the compiler's own: it is exchanged
    // for the call. Older kernels spoil r8 to r11.
    unsafe {
        asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) at(0) => _,
            inout("rax") result,
            in("rcx") at(1),
            in("rdx") at(2),
            in("rsi") at(3),
            in("rdi") at(4),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as u32 as i32;
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result.cast_unsigned()) }
}
