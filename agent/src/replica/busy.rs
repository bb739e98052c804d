//! Which paths a commit holds: between its decision and its record nobody else may decide about them.

use crate::core::path::RelPath;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Condvar, Mutex, MutexGuard};

/// So many paths a [`Watch`] remembers one by one; beyond that it remembers the root in their place.
const REMEMBERED: usize = 1 << 16;

/// The paths that are held.
#[derive(Debug, Default)]
pub struct Busy {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeSet<RelPath>,
    /// What each watch has seen.
    watches: HashMap<u64, BTreeSet<RelPath>>,
    next_watch: u64,
}

/// Paths that are held until this is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    busy: &'a Busy,
    paths: Vec<RelPath>,
}

/// Remembers which paths are held at any moment from its start to its end.
///
/// A scan sees the disk as it is and the archive as it was when the scan began. Of a path that a commit held in
/// between, the two say nothing when compared: what somebody changed there just after it was published, and before it
/// was recorded, would be overlooked. Such a path has to be looked at once more.
#[derive(Debug)]
pub struct Watch<'a> {
    busy: &'a Busy,
    number: u64,
}

impl Busy {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics with this locked")
    }

    /// Holds the paths, all at once, as soon as nobody else holds one of them.
    pub fn hold(&self, paths: Vec<RelPath>) -> Held<'_> {
        let mut state = self.state();
        while paths.iter().any(|p| state.held.contains(p)) {
            state = self.released.wait(state).expect("no thread panics with this locked");
        }
        for seen in state.watches.values_mut() {
            remember(seen, &paths);
        }
        state.held.extend(paths.iter().cloned());
        Held { busy: self, paths }
    }

    /// Returns whether somebody holds the path.
    pub fn holds(&self, path: &RelPath) -> bool {
        self.state().held.contains(path)
    }

    /// Returns whether somebody holds the path or one below it, or held it since a watch that is not over began.
    pub fn held_below(&self, path: &RelPath) -> bool {
        let state = self.state();
        // In the order of a walk what lies below a directory follows it.
        let mut sets = std::iter::once(&state.held).chain(state.watches.values());
        sets.any(|held| held.range(path..).next().is_some_and(|held| held.starts_with(path)))
    }

    /// Starts to remember; to be called before a snapshot is taken of the archive.
    pub fn watch(&self) -> Watch<'_> {
        let state = &mut *self.state();
        let number = state.next_watch;
        state.next_watch += 1;
        let mut seen = BTreeSet::new();
        remember(&mut seen, &state.held);
        state.watches.insert(number, seen);
        Watch { busy: self, number }
    }
}

fn remember<'p>(seen: &mut BTreeSet<RelPath>, paths: impl IntoIterator<Item = &'p RelPath>) {
    for path in paths {
        if seen.first().is_some_and(RelPath::is_root) {
            return;
        }
        seen.insert(path.clone());
        if seen.len() > REMEMBERED {
            *seen = BTreeSet::from([RelPath::root()]);
        }
    }
}

impl Watch<'_> {
    /// Ends it: the paths that were held, or the root if they were too many to remember.
    pub fn end(self) -> BTreeSet<RelPath> {
        self.busy.state().watches.remove(&self.number).unwrap_or_default()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.busy.state().watches.remove(&self.number);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.busy.state();
        self.paths.iter().for_each(|p| {
            state.held.remove(p);
        });
        self.busy.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> RelPath {
        RelPath::new(path.as_bytes()).expect("a path")
    }

    #[test]
    fn what_is_held_is_held_below_each_directory_above_it() {
        let busy = Busy::default();
        let held = busy.hold(vec![path("a/b/c"), path("z")]);
        let below = |p: &str| busy.held_below(&path(p));
        assert!(["a", "a/b", "a/b/c", "z"].into_iter().all(below));
        assert!(!["a/a", "a/b/c/d", "a/bc", "b"].into_iter().any(below));
        let watch = busy.watch();
        drop(held);
        assert!(below("a"), "it was held since the watch began");
        watch.end();
        assert!(!below("a"));
    }

    #[test]
    fn a_watch_sees_what_was_held_before_and_what_is_held_during_it() {
        let busy = Busy::default();
        drop(busy.hold(vec![path("over")]));
        let before = busy.hold(vec![path("before")]);
        let watch = busy.watch();
        drop(before);
        drop(busy.hold(vec![path("during/it")]));
        assert_eq!(watch.end(), BTreeSet::from([path("before"), path("during/it")]));
        assert!(busy.state().watches.is_empty());
    }

    #[test]
    fn a_watch_that_sees_too_much_remembers_the_root() {
        let busy = Busy::default();
        let watch = busy.watch();
        drop(busy.hold((0..=REMEMBERED).map(|n| path(&n.to_string())).collect()));
        drop(busy.hold(vec![path("one more")]));
        assert_eq!(watch.end(), BTreeSet::from([RelPath::root()]));
    }
}
