//! A [`DirtySet`] is the paths that have to be looked at again, each with the time when it is due; or everything, with
//! the reason. Times are durations since some start that the caller chose.

use super::path::RelPath;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How a path is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// Everything below it too.
    pub recursive: bool,
    /// It was reported as written: its content counts even if its stamp is unchanged.
    pub written: bool,
}

/// With more paths than this it is cheaper, and bounded, to look at everything.
pub const MOST: usize = 200_000;

/// Paths to be looked at.
#[derive(Debug, Default)]
pub struct DirtySet {
    paths: BTreeMap<RelPath, Dirty>,
    due: BTreeSet<(Duration, RelPath)>,
    everything: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Dirty {
    look: Look,
    due: Duration,
    /// When it became dirty first.
    since: Duration,
}

impl DirtySet {
    /// Marks a path. It is due when it has rested for `rest` without being marked again, and at the latest `patience`
    /// after it was marked first; a mark that is due earlier stays.
    pub fn add(&mut self, path: RelPath, look: Look, now: Duration, rest: Duration, patience: Duration) {
        if self.everything.is_some() {
            return;
        }
        let (since, old) = match self.paths.get(&path) {
            Some(dirty) => (dirty.since, Some(*dirty)),
            None => (now, None),
        };
        let due = (now + rest).min(since + patience).max(since);
        // What was marked without a rest (it was closed, renamed, removed) is not put off by a later write.
        let due = match old {
            Some(old) if rest.is_zero() || old.due <= now => old.due.min(due),
            Some(_) | None => due,
        };
        self.set(path, look, due, since, old);
    }

    /// Marks a path for a later time, unless it is due earlier already.
    pub fn later(&mut self, path: RelPath, look: Look, at: Duration) {
        if self.everything.is_none() && !self.paths.contains_key(&path) {
            self.set(path, look, at, at, None);
        }
    }

    fn set(&mut self, path: RelPath, look: Look, due: Duration, since: Duration, old: Option<Dirty>) {
        let mut look = look;
        if let Some(old) = old {
            self.due.remove(&(old.due, path.clone()));
            look.recursive |= old.look.recursive;
            look.written |= old.look.written;
        }
        self.due.insert((due, path.clone()));
        self.paths.insert(path, Dirty { look, due, since });
        if self.paths.len() > MOST {
            self.everything("too many paths changed at once");
        }
    }

    /// Gives up on single paths.
    pub fn everything(&mut self, why: &str) {
        self.paths.clear();
        self.due.clear();
        self.everything.get_or_insert_with(|| why.to_owned());
    }

    /// Takes the reason why everything has to be looked at, if it has.
    pub fn take_everything(&mut self) -> Option<String> {
        self.everything.take()
    }

    /// Returns when the next path is due.
    pub fn next_due(&self) -> Option<Duration> {
        if self.everything.is_some() { Some(Duration::ZERO) } else { self.due.first().map(|(due, _)| *due) }
    }

    /// Takes the paths that are due.
    pub fn take_due(&mut self, now: Duration) -> BTreeMap<RelPath, Look> {
        let mut taken = BTreeMap::new();
        while let Some((due, _)) = self.due.first() {
            if *due > now {
                break;
            }
            let (_, path) = self.due.pop_first().expect("it was just seen");
            let dirty = self.paths.remove(&path).expect("both hold the same paths");
            taken.insert(path, dirty.look);
        }
        taken
    }

    /// Returns how many paths are dirty; one, if everything is.
    pub fn len(&self) -> usize {
        self.paths.len() + usize::from(self.everything.is_some())
    }

    /// Returns whether nothing is dirty.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.everything.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn path(s: &str) -> RelPath {
        RelPath::new(s.as_bytes()).unwrap()
    }

    fn written() -> Look {
        Look { recursive: false, written: true }
    }

    #[test]
    fn a_written_file_rests_and_a_closed_one_does_not() {
        let mut dirty = DirtySet::default();
        dirty.add(path("a"), written(), 100 * MS, 20 * MS, 1000 * MS);
        assert!(dirty.take_due(110 * MS).is_empty());
        dirty.add(path("a"), written(), 115 * MS, 20 * MS, 1000 * MS);
        assert!(dirty.take_due(125 * MS).is_empty(), "the rest starts again");
        dirty.add(path("a"), Look::default(), 126 * MS, Duration::ZERO, 1000 * MS);
        let due = dirty.take_due(126 * MS);
        assert_eq!(due.get(&path("a")), Some(&written()), "what was learned before is kept");
        assert!(dirty.is_empty());
    }

    #[test]
    fn a_file_that_is_written_for_ever_is_looked_at_all_the_same() {
        let mut dirty = DirtySet::default();
        for t in 0..200 {
            dirty.add(path("a"), written(), t * 10 * MS, 20 * MS, 1000 * MS);
            if !dirty.take_due(t * 10 * MS).is_empty() {
                assert!(t >= 100);
                return;
            }
        }
        panic!("it was put off for ever");
    }

    #[test]
    fn a_close_is_not_put_off_by_a_later_write() {
        let mut dirty = DirtySet::default();
        dirty.add(path("a"), written(), 10 * MS, Duration::ZERO, 1000 * MS);
        dirty.add(path("a"), written(), 10 * MS, 20 * MS, 1000 * MS);
        assert_eq!(dirty.take_due(10 * MS).len(), 1);
    }

    #[test]
    fn too_many_paths_are_everything() {
        let mut dirty = DirtySet::default();
        for i in 0..=MOST {
            dirty.add(path(&i.to_string()), written(), MS, MS, MS);
        }
        assert_eq!(dirty.next_due(), Some(Duration::ZERO));
        assert!(dirty.take_everything().is_some());
        assert!(dirty.is_empty());
    }
}
