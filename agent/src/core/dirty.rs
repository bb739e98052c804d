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
    /// Its attributes were reported: a change of them may be about to happen.
    pub attributes: bool,
}

/// With more paths than this it is cheaper, and bounded, to look at everything.
pub const MOST: usize = 200_000;

/// Paths to be looked at.
#[derive(Debug, Default)]
pub struct DirtySet {
    paths: BTreeMap<RelPath, Dirty>,
    due: BTreeSet<(Duration, RelPath)>,
    /// Why everything is to be looked at, and when.
    everything: Option<(Duration, String)>,
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
        if self.is_overtaken(now, look) {
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
        if !self.is_overtaken(at, look) && !self.paths.contains_key(&path) {
            self.set(path, look, at, at, None);
        }
    }

    /// Returns whether everything is looked at by this time.
    fn is_overtaken(&self, at: Duration, look: Look) -> bool {
        let more_is_known = look.written || look.attributes;
        self.everything.as_ref().is_some_and(|(due, _)| *due <= at)
            && (!more_is_known || self.paths.len() >= MOST)
    }

    fn set(&mut self, path: RelPath, look: Look, due: Duration, since: Duration, old: Option<Dirty>) {
        let mut look = look;
        if let Some(old) = old {
            self.due.remove(&(old.due, path.clone()));
            look.recursive |= old.look.recursive;
            look.written |= old.look.written;
            look.attributes |= old.look.attributes;
        }
        self.due.insert((due, path.clone()));
        self.paths.insert(path, Dirty { look, due, since });
        if self.paths.len() > MOST {
            self.everything("too many paths changed at once");
        }
    }

    /// Gives up on single paths: everything is looked at, at once.
    pub fn everything(&mut self, why: &str) {
        self.paths.clear();
        self.due.clear();
        self.everything_at(why, Duration::ZERO);
    }

    /// Looks at everything, at this time or earlier. What is due before then is looked at by itself.
    pub fn everything_at(&mut self, why: &str, at: Duration) {
        match &mut self.everything {
            Some((due, _)) => *due = at.min(*due),
            None => self.everything = Some((at, why.to_owned())),
        }
    }

    /// Takes the reason why everything has to be looked at by now, if it has. Single paths are taken with it, but for those
    /// of which more is known than that they may have changed: these are due then.
    pub fn take_everything(&mut self, now: Duration) -> Option<String> {
        let (_, why) = self.everything.take_if(|(due, _)| *due <= now)?;
        self.paths.retain(|_, dirty| dirty.look.written || dirty.look.attributes);
        self.paths.values_mut().for_each(|dirty| dirty.due = dirty.due.min(now));
        self.due = self.paths.iter().map(|(path, dirty)| (dirty.due, path.clone())).collect();
        Some(why)
    }

    /// Returns when the next path, or everything, is due.
    pub fn next_due(&self) -> Option<Duration> {
        let everything = self.everything.as_ref().map(|(due, _)| *due);
        [everything, self.due.first().map(|(due, _)| *due)].into_iter().flatten().min()
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
        Look { recursive: false, written: true, ..Look::default() }
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
        assert!(dirty.take_everything(MS).is_some());
        assert!(dirty.is_empty());
    }

    #[test]
    fn a_look_at_everything_that_is_put_off_holds_up_no_single_path() {
        let mut dirty = DirtySet::default();
        dirty.everything_at("a loss", 5000 * MS);
        dirty.add(path("a"), written(), 10 * MS, Duration::ZERO, 1000 * MS);
        assert_eq!(dirty.next_due(), Some(10 * MS));
        assert!(dirty.take_everything(10 * MS).is_none());
        assert_eq!(dirty.take_due(10 * MS).len(), 1);
        // Nor is it put off by another loss, and what is marked when it is due goes along with it.
        dirty.everything_at("another loss", 9000 * MS);
        dirty.add(path("b"), written(), 4999 * MS, 20 * MS, 1000 * MS);
        dirty.add(path("c"), Look::default(), 4999 * MS, 20 * MS, 1000 * MS);
        assert_eq!(dirty.take_everything(5000 * MS).as_deref(), Some("a loss"));
        // A look at everything does not read what has an unchanged stamp.
        assert_eq!(dirty.take_due(5000 * MS).into_keys().collect::<Vec<_>>(), [path("b")]);
        assert!(dirty.is_empty());
    }
}
