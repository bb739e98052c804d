//! Which paths a commit holds: between its decision and its record nobody else may decide about them.

use crate::core::path::RelPath;
use std::collections::HashSet;
use std::sync::{Condvar, Mutex};

/// The paths that are held.
#[derive(Debug, Default)]
pub struct Busy {
    held: Mutex<HashSet<RelPath>>,
    released: Condvar,
}

/// Paths that are held until this is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    busy: &'a Busy,
    paths: Vec<RelPath>,
}

impl Busy {
    /// Holds the paths, all at once, as soon as nobody else holds one of them.
    pub fn hold(&self, paths: Vec<RelPath>) -> Held<'_> {
        let mut held = self.held.lock().expect("no thread panics with this locked");
        while paths.iter().any(|p| held.contains(p)) {
            held = self.released.wait(held).expect("no thread panics with this locked");
        }
        held.extend(paths.iter().cloned());
        Held { busy: self, paths }
    }

    /// Returns whether somebody holds the path.
    pub fn holds(&self, path: &RelPath) -> bool {
        self.held.lock().expect("no thread panics with this locked").contains(path)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.busy.held.lock().expect("no thread panics with this locked");
        self.paths.iter().for_each(|p| {
            held.remove(p);
        });
        self.busy.released.notify_all();
    }
}
