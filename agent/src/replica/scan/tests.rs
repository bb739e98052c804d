//! Scans of real folders.

use super::*;
use crate::core::filter::Filter;
use crate::options::ReplicaOptions;
use std::fs;
use std::path::PathBuf;

/// A tree and its replica.
struct World {
    replica: Replica,
    tree: PathBuf,
    _home: tempfile::TempDir,
}

fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let state = home.path().join("state");
    let replica = Replica::open(&tree, &state, ReplicaOptions::default(), Filter::default()).unwrap();
    World { replica, tree, _home: home }
}

fn path(path: &str) -> RelPath {
    RelPath::new(path.as_bytes()).unwrap()
}

fn hint(at: &str, recursive: bool) -> BTreeMap<RelPath, Look> {
    BTreeMap::from([(path(at), Look { recursive, written: false })])
}

impl World {
    fn file(&self, at: &str, content: &str) {
        let file = self.tree.join(at);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }

    /// Returns whether the archive has something alive at a path.
    fn has(&self, at: &str) -> bool {
        let record = self.replica.archive.read().unwrap().get(&path(at)).unwrap();
        record.is_some_and(|record| record.entry.content.is_live())
    }
}

#[test]
fn a_path_that_a_commit_held_is_looked_at_once_more() {
    let world = world();
    world.file("dir/known", "1");
    assert!(world.replica.scan_all().unwrap().again.is_empty());
    // A commit has put `dir/new` there and not yet recorded it, when somebody moves the directory away.
    let held = world.replica.busy.hold(vec![path("dir/new"), path("elsewhere")]);
    fs::rename(world.tree.join("dir"), world.tree.join("moved")).unwrap();
    let report = world.replica.scan_dirty(&hint("dir", true)).unwrap();
    assert_eq!(report.again, [path("dir"), path("dir/new")], "what goes with something new waits for that");
    assert!(world.has("dir") && !world.has("dir/known"));
    let report = world.replica.scan_dirty(&hint("dir/new", false)).unwrap();
    assert_eq!(report.again, [path("dir"), path("dir/new")]);
    let report = world.replica.scan_all().unwrap();
    assert_eq!(report.again, [path("dir"), path("dir/new"), path("elsewhere")]);
    drop(held);
    let report = world.replica.scan_all().unwrap();
    assert!(report.again.is_empty(), "{report:?}");
    assert!(!world.has("dir") && world.has("moved/known"));
}

#[test]
fn what_somebody_holds_for_good_is_a_problem() {
    let world = world();
    world.file("calm", "1");
    world.file("held", "1");
    let held = world.replica.busy.hold(vec![path("held")]);
    let report = world.replica.scan_until_quiet().unwrap();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert_eq!((&report.problems[0].path, report.problems[0].severity), (&path("held"), Severity::Failed));
    assert!(world.has("calm") && !world.has("held"));
    drop(held);
    let report = world.replica.scan_until_quiet().unwrap();
    assert!(report.problems.is_empty() && world.has("held"), "{report:?}");
}

#[test]
fn what_was_recorded_below_a_directory_that_is_gone_goes_too() {
    let world = world();
    world.file("dir/f", "1");
    world.replica.scan_all().unwrap();
    let archive = &world.replica.archive;
    let record = archive.read().unwrap().get(&path("dir/f")).unwrap().unwrap();
    fs::rename(world.tree.join("dir"), world.tree.join("moved")).unwrap();
    world.replica.scan_dirty(&hint("dir", true)).unwrap();
    assert!(!world.has("dir/f"));
    // A commit that put it there before the directory moved comes to its record only now.
    let late = |w: &mut crate::archive::Writer<'_>| {
        let sequence = w.next_sequence();
        w.put(&path("dir/late"), &Record { sequence, ..record.clone() })
    };
    archive.write(Durable::Yes, late).unwrap();
    world.replica.scan_dirty(&hint("dir/late", false)).unwrap();
    assert!(!world.has("dir/late"));
}

#[test]
fn what_a_commit_deletes_meanwhile_does_not_alarm() {
    let world = world();
    for n in 0..300 {
        world.file(&format!("{n}"), "");
    }
    world.replica.scan_all().unwrap();
    // The peer deletes most of them. A scan comes by before that is recorded; ten are our own deletions.
    let held = world.replica.busy.hold((10..250).map(|n| path(&n.to_string())).collect());
    (0..250).for_each(|n| fs::remove_file(world.tree.join(n.to_string())).unwrap());
    let report = world.replica.scan_all().unwrap();
    assert_eq!(report.changed, 10);
    assert!(!world.has("9") && world.has("10"));
    drop(held);
    // Were they nobody else's, they would alarm, and stay.
    let halted = world.replica.scan_all().unwrap_err();
    assert!(matches!(halted, ScanError::Guard { .. }), "{halted}");
    assert!(world.has("10"));
}
