//! A [`ReadLease`] is the kernel's word that nobody has a file open for writing; it breaks when somebody opens it so.
//!
//! The one place in the agent's file handling with `unsafe`: no crate that vfsync uses offers leases.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// From `fcntl.h`, the same on every architecture; the libc crate does not have it.
const F_SETSIG: libc::c_int = 10;

/// A read lease on an open file, held until it is dropped.
///
/// It is refused exactly when somebody has the file open or mapped for writing. While it is held, whoever opens the
/// file for writing waits until it is dropped (at most `/proc/sys/fs/lease-break-time`, 45 s), or gets `EWOULDBLOCK`
/// if the open was non-blocking; either breaks the lease.
#[derive(Debug)]
pub struct ReadLease {
    file: File,
}

/// Why there is no lease, with the file back.
#[derive(Debug)]
pub enum LeaseRefused {
    /// Somebody has the file open or mapped for writing.
    Writer(File),
    /// The file system has no leases, or the file is not ours and we are not root.
    Unsupported(File, io::Error),
}

/// Whether somebody writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriterCheck {
    /// Nobody has it open or mapped for writing at the moment.
    None,
    /// Somebody has.
    Open,
    /// It cannot be told here.
    Unknown,
}

impl ReadLease {
    /// Takes a lease on a file that is open for reading only.
    pub fn take(file: File) -> Result<ReadLease, LeaseRefused> {
        // The signal first: a broken lease sends SIGIO to the process otherwise, which ends it. SIGURG is ignored
        // unless somebody asks for it.
        let done = fcntl(file.as_fd(), F_SETSIG, libc::SIGURG)
            .and_then(|_| fcntl(file.as_fd(), libc::F_SETLEASE, libc::F_RDLCK));
        match done {
            Ok(_) => Ok(ReadLease { file }),
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => Err(LeaseRefused::Writer(file)),
            Err(e) => Err(LeaseRefused::Unsupported(file, e)),
        }
    }

    /// Returns whether nobody has tried to open the file for writing since the lease was taken.
    pub fn is_unbroken(&self) -> bool {
        // A lease that is being broken shows as what it has to become: F_UNLCK.
        fcntl(self.file.as_fd(), libc::F_GETLEASE, 0).is_ok_and(|lease| lease == libc::F_RDLCK)
    }

    /// Returns the file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives up the lease: who waits to write goes on.
    pub fn release(self) {}
}

impl Drop for ReadLease {
    fn drop(&mut self) {
        // Said here and not left to the close, because the descriptor may have been duplicated. Nothing to be done if
        // it fails: the lease is then gone already.
        let _ = fcntl(self.file.as_fd(), libc::F_SETLEASE, libc::F_UNLCK);
    }
}

/// Returns whether somebody has a file open for writing. `file` must be open for reading only.
pub fn has_writer(file: File) -> WriterCheck {
    match ReadLease::take(file) {
        Ok(_) => WriterCheck::None,
        Err(LeaseRefused::Writer(_)) => WriterCheck::Open,
        Err(LeaseRefused::Unsupported(..)) => WriterCheck::Unknown,
    }
}

fn fcntl(fd: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the descriptor is open as long as it is borrowed, and each command used here (F_SETSIG, F_SETLEASE,
    // F_GETLEASE) takes one int by value, or nothing, and touches no memory of ours.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
