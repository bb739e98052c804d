//! Renames that a peer tells of, of real folders.

use super::*;
use crate::archive::Durable;
use crate::core::entry::AttributeMask;
use crate::core::filter::{Filter, PathMap};
use crate::core::reconcile::{Policy, Rules};
use crate::core::version::{ReplicaId, Sequence};
use crate::options::ReplicaOptions;
use crate::replica::Replica;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

const THEM: ReplicaId = ReplicaId(7);

struct World {
    applier: Applier,
    open: RwLock<OpenSet>,
    tree: PathBuf,
    _home: tempfile::TempDir,
}

fn path(path: &str) -> RelPath {
    RelPath::new(path.as_bytes()).unwrap()
}

/// A tree with `m/a` and `m/b`, and whoever applies what a peer tells of it.
fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    fs::create_dir_all(tree.join("m")).unwrap();
    fs::write(tree.join("m/a"), "1").unwrap();
    fs::write(tree.join("m/b"), "2").unwrap();
    let state = home.path().join("state");
    let replica = Replica::open(&tree, &state, ReplicaOptions::default(), Filter::default()).unwrap();
    replica.scan_all().unwrap();
    let (force, prefer) =
        (PathMap::new(Vec::new(), false).unwrap(), PathMap::new(Vec::new(), false).unwrap());
    let rules = Rules { force, prefer, forbidden: PathMap::new(Vec::new(), false).unwrap(), too_large: None };
    let applier = Applier {
        replica: Arc::new(replica),
        peer: THEM,
        policy: Policy::plain(AttributeMask::ALL),
        rules,
        choices: Arc::default(),
        filter: Filter::default(),
        paths: Vec::new(),
        numeric_ids: false,
        copy_local: true,
        scope: 0,
        subtrees: crate::replica::apply::Subtrees::default(),
    };
    World { applier, open: RwLock::default(), tree, _home: home }
}

impl World {
    /// Returns what the peer says that has renamed what stands here.
    fn renamed(&self, to: &str) -> Renamed {
        let from = path("m");
        let snapshot = self.applier.replica.archive.read().unwrap();
        let mut subtree = Subtree::new(&from);
        let top = (from.clone(), snapshot.get(&from).unwrap().unwrap());
        for (at, record) in std::iter::once(top).chain(snapshot.below(&from).unwrap().map(|row| row.unwrap()))
        {
            subtree.add(&at, &record.entry, None);
        }
        let (count, digest) = subtree.finish();
        let (first, gone) = (Sequence(1000), Sequence(2000));
        Renamed { from, to: path(to), by: THEM, first, gone, count, digest }
    }

    /// Returns what is to be looked at again, with all that is below.
    async fn suspects(&self) -> Vec<String> {
        let limit = std::time::Duration::from_secs(20);
        let taken = tokio::time::timeout(limit, self.applier.replica.suspects()).await;
        let taken = taken.expect("something is to be looked at").into_iter().filter(|(_, all)| *all);
        taken.map(|(path, _)| path.to_string()).collect()
    }

    fn has(&self, at: &str) -> bool {
        let record = self.applier.replica.archive.read().unwrap().get(&path(at)).unwrap();
        record.is_some_and(|record| record.entry.content.is_live())
    }
}

#[tokio::test]
async fn what_is_told_is_done_and_looked_at() {
    let world = world();
    let renamed = world.renamed("z");
    assert_eq!(world.applier.rename(&world.open, &renamed).unwrap(), Ok(()));
    assert!(world.tree.join("z/a").exists() && !world.tree.join("m").exists());
    assert!(world.has("z/b") && !world.has("m"));
    assert_eq!(world.suspects().await, ["m", "z"]);
}

/// Where it stands now, only a look tells: it may have stayed under the new name.
#[tokio::test]
async fn what_was_tried_in_vain_is_looked_at() {
    let world = world();
    let renamed = world.renamed("z");
    // Somebody has just made it, and no scan knows.
    fs::create_dir(world.tree.join("z")).unwrap();
    world.applier.rename(&world.open, &renamed).unwrap().unwrap_err();
    assert!(world.tree.join("m/a").exists() && world.has("m/a"));
    assert_eq!(world.suspects().await, ["m", "z"]);
    let snapshot = world.applier.replica.archive.read().unwrap();
    assert!(snapshot.rename_intents().unwrap().is_empty());
}

#[test]
fn what_stands_here_and_not_there_is_found_before_all_of_it_is_looked_at() {
    let world = world();
    let fewer = Renamed { count: 2, ..world.renamed("z") };
    let why = world.applier.rename(&world.open, &fewer).unwrap().unwrap_err();
    assert_eq!(why, "more is here than was there");
    let record = world.applier.replica.archive.read().unwrap().get(&path("m")).unwrap().unwrap();
    let below = |w: &mut crate::archive::Writer<'_>| {
        for n in 0..=FEW {
            let sequence = w.next_sequence();
            let entry = record.entry.deleted(THEM, Sequence(n + 1));
            w.put(&path(&format!("z/{n}")), &Record { entry, shown: None, sequence, ..record.clone() })?;
        }
        Ok(())
    };
    world.applier.replica.archive.write(Durable::Later, below).unwrap();
    let why = world.applier.rename(&world.open, &world.renamed("z")).unwrap().unwrap_err();
    assert_eq!(why, "too much stood at its new place at some time");
    assert!(world.tree.join("m/a").exists() && world.has("m/a"));
}

/// A rename of what was never offered may be all that is said of it.
#[test]
fn what_is_not_known_here_is_waited_for_and_what_is_left_out_is_not() {
    let mut world = world();
    let renamed = Renamed { from: path("x"), ..world.renamed("y") };
    let awaited = world.applier.await_each(&world.open, &renamed).unwrap();
    assert_eq!((awaited.again, awaited.all_noted), (vec![(path("y"), true), (path("x"), true)], true));
    assert!(world.open.read().unwrap().awaits_all(&path("x")));
    world.applier.paths = vec![path("only")];
    let awaited = world.applier.await_each(&world.open, &renamed).unwrap();
    assert_eq!((awaited.again, awaited.all_noted), (Vec::new(), true));
}
