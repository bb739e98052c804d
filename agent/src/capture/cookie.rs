//! A [`Cookie`] is a file of the agent's own that nobody else can open, and whose inode the programs know. A write to
//! it comes back through the ring as a barrier: what happened before is in the ring before it. It also tells the
//! programs which process and thread the agent is, in the kernel's own numbering.
//!
//! A kernel that is preempted may skip a program, and so a barrier: who waits for one writes again after a while, and
//! any later number will do.

use rustix::fs::{MemfdFlags, SeekFrom};
use std::{
    io,
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};
use tokio::sync::Notify;

/// The cookie.
pub struct Cookie {
    file: OwnedFd,
    /// The superblock, in the kernel's encoding.
    pub dev: u32,
    /// The inode number.
    pub ino: u64,
    /// How many writes there were.
    written: Mutex<u64>,
    /// Told when the reader has to look by itself.
    asked: Notify,
}

impl Cookie {
    /// Makes the cookie. It lies in memory and has no name.
    pub fn create() -> io::Result<Cookie> {
        let file = rustix::fs::memfd_create("vfsync-cookie", MemfdFlags::CLOEXEC)?;
        let stat = rustix::fs::fstat(&file)?;
        let dev = rustix::fs::major(stat.st_dev) << 20 | rustix::fs::minor(stat.st_dev);
        Ok(Cookie { file, dev, ino: stat.st_ino, written: Mutex::new(0), asked: Notify::new() })
    }

    /// Writes, and returns the number of the barrier that will come.
    pub fn write(&self) -> io::Result<u64> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_locked(&mut written)
    }

    /// Returns how many writes there were.
    pub fn written(&self) -> u64 {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes, and wakes the reader whatever becomes of that.
    pub fn ask(&self) -> io::Result<u64> {
        let number = self.write()?;
        self.asked.notify_one();
        Ok(number)
    }

    /// Waits until someone asks, or returns at once if someone did since the last time.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Writes, and runs `work` while this thread is the one that the programs know.
    pub fn with_thread<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_locked(&mut written)?;
        Ok(work())
    }

    fn write_locked(&self, written: &mut u64) -> io::Result<u64> {
        // The position is the number. Nothing is written there, so that the file never grows; the kernel asks for
        // permission all the same.
        rustix::fs::seek(&self.file, SeekFrom::Start(*written + 1))?;
        rustix::io::write(&self.file, &[])?;
        *written += 1;
        Ok(*written)
    }
}
