//! Tests on real folders. What others do meanwhile happens at a checkpoint between two steps, so that no test depends
//! on chance.

mod attack;
mod backups;
mod basic;
mod disk;
mod displaced;
mod kinds;
mod leftovers;
mod metadata;
mod poor;
mod put_back;
mod races;

use super::checkpoint::{at, checkpoint};
use super::*;
use crate::core::entry::{Kind, Timestamp};
use crate::core::path::Name;
use crate::fs::FileKind;
use crate::fs::tests::{Place, name, places};
use std::fs;
use std::path::PathBuf;

/// A tree with a committer, and whatever anybody has written into it.
struct World {
    place: Place,
    committer: Committer,
    backups: PathBuf,
}

/// A world on each file system there is to test on, with the backups on the same one.
fn worlds() -> Vec<World> {
    places().into_iter().map(World::on).collect()
}

impl World {
    fn on(place: Place) -> World {
        let backups = place.path.parent().unwrap().join("backups");
        World { committer: Committer::new(&backups).unwrap(), place, backups }
    }

    /// Prepares a file with this content and an old mtime.
    fn staged(&self, path: &str, content: &str) -> Staged {
        let mut staged = self.committer.stage_file(&self.place.dir, &name(path)).unwrap();
        staged.write_all(content.as_bytes()).unwrap();
        let mtime = Some(Timestamp { seconds: 1_600_000_000, nanoseconds: 0 });
        assert!(staged.set(&Wanted { mtime, ..Wanted::default() }).unwrap().is_nothing());
        staged
    }

    fn stamp(&self, path: &str) -> Stamp {
        self.place.dir.stat(&name(path)).unwrap().unwrap().stamp
    }

    /// What a scan that has just been made would expect there.
    fn seen(&self, path: &str) -> Expected {
        self.place.wait_for_writers(&name(path));
        let meta = self.place.dir.stat(&name(path)).unwrap().unwrap();
        Expected::State(meta.kind.synchronised().unwrap(), meta.stamp)
    }

    /// Replaces `path`, as a scan has just seen it, by a file with this content.
    fn replace(&self, path: &str, content: &str) -> Result<Published, CommitError> {
        let expected = self.seen(path);
        self.committer.replace(self.staged(path, content), &expected, Writers::Wait)
    }

    fn remove(&self, path: &str) -> Result<Removed, CommitError> {
        self.committer.remove(&self.place.dir, &name(path), &self.seen(path), Writers::Wait)
    }

    /// Waits until a further change is sure to get another time.
    fn wait_for_the_clock(&self) {
        let step = self.committer.capabilities(&self.place.dir).unwrap().racy_window();
        std::thread::sleep(step + std::time::Duration::from_millis(5));
    }

    /// Returns whether leases here tell the truth about writers.
    fn trusts_leases(&self) -> bool {
        self.committer.capabilities(&self.place.dir).unwrap().leases == crate::fs::Leases::Trusted
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path.join(path)
    }

    /// Every content that can be found in the tree or in the backups.
    fn contents(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.place.path.clone(), self.backups.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_type().unwrap().is_file() {
                    found.push(fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
        found
    }

    /// Asserts that each of these contents is still somewhere.
    #[track_caller]
    fn assert_kept(&self, contents: &[&str]) {
        let found = self.contents();
        for content in contents {
            assert!(found.iter().any(|f| f == content), "{content:?} is lost; there are {found:?}");
        }
    }

    /// Asserts that nothing temporary is left in the tree.
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.committer.leftovers(&self.place.dir).unwrap(), []);
    }

    fn backup_count(&self) -> usize {
        fs::read_dir(&self.backups).unwrap().count()
    }
}

#[track_caller]
fn assert_stale<T: std::fmt::Debug>(result: Result<T, CommitError>) -> Vec<Backup> {
    match result {
        Err(CommitError::Stale { backups, .. }) => backups,
        other => panic!("not stale: {other:?}"),
    }
}

#[track_caller]
fn assert_busy<T: std::fmt::Debug>(result: Result<T, CommitError>) {
    assert!(matches!(result, Err(CommitError::Busy { .. })), "not busy: {result:?}");
}
