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
    /// Directories that are held with everything below them.
    trees: Vec<RelPath>,
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

/// Directories that are held with all that is below them until this is dropped.
#[derive(Debug)]
pub struct HeldTrees<'a> {
    busy: &'a Busy,
    trees: Vec<RelPath>,
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
        while paths.iter().any(|p| state.held.contains(p) || state.is_in_tree(p)) {
            state = self.released.wait(state).expect("no thread panics with this locked");
        }
        for seen in state.watches.values_mut() {
            remember(seen, &paths);
        }
        state.held.extend(paths.iter().cloned());
        Held { busy: self, paths }
    }

    /// Holds directories with all that is below them, at once, as soon as nobody else holds anything there.
    pub fn hold_trees(&self, trees: Vec<RelPath>) -> HeldTrees<'_> {
        let mut state = self.state();
        while trees.iter().any(|tree| state.is_busy(tree)) {
            state = self.released.wait(state).expect("no thread panics with this locked");
        }
        for seen in state.watches.values_mut() {
            remember(seen, &trees);
        }
        state.trees.extend(trees.iter().cloned());
        HeldTrees { busy: self, trees }
    }

    /// Returns whether somebody holds the path.
    pub fn holds(&self, path: &RelPath) -> bool {
        let state = self.state();
        state.held.contains(path) || state.is_in_tree(path)
    }

    /// Returns whether somebody holds the path or one below it, or held it since a watch that is not over began.
    pub fn held_below(&self, path: &RelPath) -> bool {
        let state = self.state();
        let mut watches = state.watches.values();
        state.is_busy(path) || watches.any(|seen| has_below(seen, path))
    }

    /// Returns whether somebody holds the path, one below it, or one above it with all that is below.
    pub fn is_busy(&self, path: &RelPath) -> bool {
        self.state().is_busy(path)
    }

    /// Starts to remember; to be called before a snapshot is taken of the archive.
    pub fn watch(&self) -> Watch<'_> {
        let state = &mut *self.state();
        let number = state.next_watch;
        state.next_watch += 1;
        let mut seen = BTreeSet::new();
        remember(&mut seen, state.held.iter().chain(&state.trees));
        state.watches.insert(number, seen);
        Watch { busy: self, number }
    }
}

impl State {
    fn is_in_tree(&self, path: &RelPath) -> bool {
        self.trees.iter().any(|tree| path.starts_with(tree))
    }

    fn is_busy(&self, path: &RelPath) -> bool {
        has_below(&self.held, path)
            || self.trees.iter().any(|tree| path.starts_with(tree) || tree.starts_with(path))
    }
}

/// Returns whether the path or one below it is among these: in the order of a walk what lies below a directory follows it.
fn has_below(paths: &BTreeSet<RelPath>, path: &RelPath) -> bool {
    paths.range(path..).next().is_some_and(|found| found.starts_with(path))
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

impl Drop for HeldTrees<'_> {
    fn drop(&mut self) {
        let mut state = self.busy.state();
        for tree in &self.trees {
            if let Some(at) = state.trees.iter().position(|held| held == tree) {
                state.trees.swap_remove(at);
            }
        }
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
    fn a_tree_is_held_with_all_that_is_below_it() {
        let busy = Busy::default();
        let watch = busy.watch();
        let trees = busy.hold_trees(vec![path("a/b"), path("z")]);
        assert!(["a/b", "a/b/c", "z/y/x"].into_iter().all(|p| busy.holds(&path(p))));
        assert!(!["a", "a/bc", "y"].into_iter().any(|p| busy.holds(&path(p))));
        assert!(busy.is_busy(&path("a")) && !busy.is_busy(&path("a/bc")));
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| drop(busy.hold(vec![path("q"), path("a/b/c")])));
            drop(busy.hold(vec![path("a/c")]));
            assert!(!waiting.is_finished(), "it is below a tree that is held");
            drop(trees);
            waiting.join().expect("it goes on");
        });
        assert!(!busy.is_busy(&path("a")));
        assert!(watch.end().contains(&path("a/b")), "a watch remembers the tree");
        let below = busy.hold(vec![path("d/e/f")]);
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| drop(busy.hold_trees(vec![path("d")])));
            assert!(!waiting.is_finished(), "something below it is held");
            drop(below);
            waiting.join().expect("it goes on");
        });
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
