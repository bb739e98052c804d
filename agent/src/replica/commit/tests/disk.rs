//! A full disk, on a small tmpfs of its own.

use super::*;
use rustix::mount::{MountFlags, UnmountFlags};

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one; `None` where we may not.
    fn new() -> Option<SmallDisk> {
        let folder = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new("size=256k,nr_inodes=32").unwrap();
        let done = rustix::mount::mount("none", folder.path(), "tmpfs", MountFlags::empty(), &*options);
        done.is_ok().then(|| SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    let Some(disk) = SmallDisk::new() else {
        eprintln!("skipped: mounting is not allowed here");
        return;
    };
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
