//! A [`Tally`] is how far the work has come, for a person who waits.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts what is done, and what is known to have to be done. Several threads add to it.
#[derive(Debug, Default)]
pub struct Tally {
    looked: AtomicU64,
    hashed: AtomicU64,
    due: Amount,
    done: Amount,
}

#[derive(Debug, Default)]
struct Amount {
    files: AtomicU64,
    bytes: AtomicU64,
}

/// What a [`Tally`] says at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Paths that were looked at.
    pub looked: u64,
    /// Bytes that were hashed to find what changed.
    pub hashed: u64,
    /// Files with content that go over, either way, as far as it is known.
    pub due_files: u64,
    /// Their bytes.
    pub due_bytes: u64,
    /// Those of them that went.
    pub done_files: u64,
    /// Bytes that went.
    pub done_bytes: u64,
}

impl Tally {
    pub(crate) fn look(&self) {
        self.looked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn hash(&self, bytes: u64) {
        self.hashed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Some files are going to go over.
    pub(crate) fn expect(&self, files: u64, bytes: u64) {
        self.due.add(files, bytes);
    }

    /// Some of it went.
    pub(crate) fn finish(&self, files: u64, bytes: u64) {
        self.done.add(files, bytes);
    }

    /// Returns what it comes to now. What was sent twice counts once.
    pub fn count(&self) -> Count {
        let (due_files, due_bytes) = self.due.get();
        let (done_files, done_bytes) = self.done.get();
        Count {
            looked: self.looked.load(Ordering::Relaxed),
            hashed: self.hashed.load(Ordering::Relaxed),
            due_files,
            due_bytes,
            done_files: done_files.min(due_files),
            done_bytes: done_bytes.min(due_bytes),
        }
    }
}

impl Amount {
    fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn get(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
