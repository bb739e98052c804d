//! A file handle is the kernel's own name of an inode: it leads to it wherever it is in the tree now.
//!
//! `unsafe`, as no crate that vfsync uses opens one.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
};

/// The most that the kernel takes (`MAX_HANDLE_SZ`).
const BYTES: usize = 128;

/// A `struct file_handle`, with room for the longest.
#[repr(C)]
struct Handle {
    bytes: libc::c_uint,
    kind: libc::c_int,
    data: [u8; BYTES],
}

/// Opens the inode behind a handle as a place only, by way of a directory on the same file system. Takes the right to
/// search any directory.
pub fn open_handle(on: impl AsFd, kind: i32, data: &[u8]) -> io::Result<OwnedFd> {
    let mut handle = Handle { bytes: 0, kind, data: [0; BYTES] };
    handle.data.get_mut(..data.len()).ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(data);
    handle.bytes = data.len() as libc::c_uint;
    let on = on.as_fd().as_raw_fd();
    // SAFETY: both descriptors are open for the time of the call; the handle lives, and is as long as it says. The
    // kernel only reads it.
    let opened =
        unsafe { libc::open_by_handle_at(on, (&raw mut handle).cast(), libc::O_PATH | libc::O_CLOEXEC) };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was made just now.
    Ok(unsafe { OwnedFd::from_raw_fd(opened) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_that_is_too_long_or_means_nothing_is_an_error() {
        let dir = std::fs::File::open("/tmp").unwrap();
        let error = open_handle(&dir, 1, &[0; BYTES + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(open_handle(&dir, 0x1234, &[7; 9]).is_err());
    }
}
