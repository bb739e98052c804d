//! File systems that a test mounts for itself: a full disk, and layers.

use super::*;
use rustix::mount::{MountFlags, UnmountFlags};

struct Mounted(tempfile::TempDir);

impl Mounted {
    /// Mounts a file system; `None` where we may not.
    fn new(kind: &str, options: &str) -> Option<Mounted> {
        let folder = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        let done = rustix::mount::mount("none", folder.path(), kind, MountFlags::empty(), &*options);
        if let Err(error) = done {
            eprintln!("skipped: {kind} cannot be mounted here: {error}");
        }
        done.is_ok().then(|| Mounted(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let Some(disk) = Mounted::new("tmpfs", "size=256k,nr_inodes=32") else { return };
    let world = World::on(Place::in_folder(disk.0.path()));
    world.place.write("f", "old");
    let mut staged = world.committer.stage_file(&world.place.dir, &name("f")).unwrap();
    let error = loop {
        if let Err(e) = staged.write_all(&[1; 65536]) {
            break e;
        }
    };
    let CommitError::Io { source, op: "write", .. } = &error else { panic!("{error:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    drop(staged);
    world.assert_clean();
    assert_eq!(world.place.read("f"), "old");
    world.replace("f", "new").unwrap();

    // No inode left: nothing can be prepared, and what is there can still be removed.
    let mut i = 0;
    while fs::write(world.path(&format!("fill{i}")), "").is_ok() {
        i += 1;
    }
    assert!(matches!(world.committer.stage_file(&world.place.dir, &name("f")), Err(CommitError::Io { .. })));
    assert!(world.committer.stage_dir(&world.place.dir, &name("d")).is_err());
    assert!(world.committer.stage_symlink(&world.place.dir, &name("l"), b"x").is_err());
    let expected = world.seen("f");
    let writer = fs::OpenOptions::new().append(true).open(world.path("f")).unwrap();
    let removed = world.committer.remove(&world.place.dir, &name("f"), &expected, Writers::Displace).unwrap();
    drop(writer);
    let BackupPlace::Tree { path } = removed.backup.unwrap().place else {
        panic!("there is no room for a slot")
    };
    assert_eq!(world.place.read(&path.to_string()), "new");
    world.assert_clean();
}

/// A file that lies in the lower layer changes its inode, and its device, when it is first touched.
#[test]
fn a_file_of_a_lower_layer_is_replaced_at_the_second_look_at_the_latest() {
    let below = tempfile::tempdir_in("/var/tmp").unwrap();
    let Some(above) = Mounted::new("tmpfs", "size=10m") else { return };
    for folder in ["upper", "work"] {
        fs::create_dir(above.0.path().join(folder)).unwrap();
    }
    for file in ["f", "g", "h"] {
        fs::create_dir_all(below.path().join("in/root")).unwrap();
        fs::write(below.path().join("in/root").join(file), "old").unwrap();
    }
    let options = format!(
        "lowerdir={},upperdir={1}/upper,workdir={1}/work",
        below.path().display(),
        above.0.path().display()
    );
    let Some(layers) = Mounted::new("overlay", &options) else { return };
    let world = World::on(Place::at(&layers.0.path().join("in")));
    if let Err(error) = world.replace("f", "new") {
        assert!(matches!(error, CommitError::Stale { .. }), "{error:?}");
        assert_eq!(world.place.read("f"), "old");
        world.replace("f", "new").unwrap();
    }
    assert_eq!(world.place.read("f"), "new");
    let wanted = Wanted { mode: Some(0o640), ..Wanted::default() };
    let expected = world.seen("g");
    world.committer.set_metadata(&world.place.dir, &name("g"), &expected, &wanted).unwrap();
    if world.remove("h").is_err() {
        world.remove("h").unwrap();
    }
    assert_eq!(world.place.read("g"), "old");
    world.assert_clean();
}
