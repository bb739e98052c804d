//! System calls by number: each of them is what is tested, and a library may take another one.

use std::{ffi::CString, fs::File, io, os::fd::AsRawFd, os::unix::ffi::OsStrExt, path::Path};

/// What can be an argument of a system call.
pub trait Word {
    fn word(&self) -> libc::c_long;
}

impl Word for CString {
    fn word(&self) -> libc::c_long {
        self.as_ptr() as libc::c_long
    }
}

impl Word for File {
    fn word(&self) -> libc::c_long {
        self.as_raw_fd().into()
    }
}

impl Word for i32 {
    fn word(&self) -> libc::c_long {
        (*self).into()
    }
}

impl Word for i64 {
    fn word(&self) -> libc::c_long {
        *self
    }
}

impl Word for usize {
    fn word(&self) -> libc::c_long {
        *self as libc::c_long
    }
}

/// Bytes, or what the kernel takes as a structure.
impl<T, const N: usize> Word for [T; N] {
    fn word(&self) -> libc::c_long {
        self.as_ptr() as libc::c_long
    }
}

/// What the kernel writes to.
impl<T, const N: usize> Word for &mut [T; N] {
    fn word(&self) -> libc::c_long {
        self.as_ptr().cast_mut() as libc::c_long
    }
}

impl<T: Word> Word for &T {
    fn word(&self) -> libc::c_long {
        (*self).word()
    }
}

/// Makes a system call with arguments that live until its end.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::operations::raw::system_call($number, &[$($crate::operations::raw::Word::word(&$argument)),*])
    };
}
pub(super) use call;

/// Makes a system call. Callers give each of them the arguments that it takes, as addresses of what lives.
pub fn system_call(number: libc::c_long, arguments: &[libc::c_long]) -> io::Result<libc::c_long> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or_default();
    // SAFETY: addresses among the arguments are of strings that end in a NUL, and of structures of the right size.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Returns a path as the kernel takes it.
pub fn text(path: impl AsRef<Path>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_bytes())?)
}
