use super::*;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};

#[test]
fn a_new_file_appears_whole_and_only_where_nothing_stands() {
    for world in worlds() {
        let published = world.committer.create(world.staged("new", "content")).unwrap();
        assert_eq!(world.place.read("new"), "content");
        assert_eq!(published.stamp, Some(world.stamp("new")));
        assert!(!published.racy, "its mtime is old");
        assert_stale(world.committer.create(world.staged("new", "other")));
        assert_eq!(world.place.read("new"), "content");
        world.assert_clean();
    }
}

#[test]
fn a_file_with_a_fresh_mtime_is_racy() {
    for world in worlds() {
        // Each within the clock tick, if the machine is not busy.
        let racy = (0..1000).any(|i| {
            let name = name(&i.to_string());
            let mut staged = world.committer.stage_file(&world.place.dir, &name).unwrap();
            staged.write_all(b"x").unwrap();
            world.committer.create(staged).unwrap().racy
        });
        assert!(racy);
    }
}

#[test]
fn names_of_any_bytes_and_of_the_full_length_work() {
    for world in worlds() {
        for bytes in [&[b'n'; 255][..], b"\xff\xfe\x01", b"a b\nc"] {
            let name = Name::new(bytes).unwrap();
            let staged = world.committer.stage_file(&world.place.dir, &name).unwrap();
            world.committer.create(staged).unwrap();
            world.place.wait_for_writers(&name);
            let meta = world.place.dir.stat(&name).unwrap().unwrap();
            let mut staged = world.committer.stage_file(&world.place.dir, &name).unwrap();
            staged.write_all(b"2").unwrap();
            let expected = Expected::State(Kind::File, meta.stamp);
            world.committer.replace(staged, &expected, Writers::Displace).unwrap();
            let path = world.place.path.join(std::ffi::OsStr::from_bytes(bytes));
            assert_eq!(fs::read(path).unwrap(), b"2");
            world.place.wait_for_writers(&name);
            let meta = world.place.dir.stat(&name).unwrap().unwrap();
            let expected = Expected::State(Kind::File, meta.stamp);
            world.committer.remove(&world.place.dir, &name, &expected, Writers::Wait).unwrap();
        }
        world.assert_clean();
        assert_eq!(world.place.dir.any_name().unwrap(), None);
    }
}

#[test]
fn an_expected_file_is_replaced_and_gone() {
    for world in worlds() {
        world.place.write("f", "old");
        let old = fs::File::open(world.path("f")).unwrap();
        let published = world.replace("f", "new").unwrap();
        assert_eq!(world.place.read("f"), "new");
        assert_eq!(published.stamp, Some(world.stamp("f")));
        if !world.trusts_leases() {
            assert!(published.backup.is_some() && published.displaced.is_none());
            world.assert_kept(&["old", "new"]);
            continue;
        }
        assert_eq!(published.backup, None);
        assert_eq!(old.metadata().unwrap().nlink(), 0);
        let displaced = published.displaced.unwrap();
        assert_eq!(world.committer.settle(displaced, std::time::Duration::ZERO).unwrap(), None);
        world.assert_clean();
        assert_eq!(world.backup_count(), 0);
        fs::OpenOptions::new().append(true).open(world.path("f")).unwrap();
    }
}

#[test]
fn any_change_since_the_scan_refuses_the_swap() {
    type Change = fn(&World);
    let changes: [(&str, Change); 6] = [
        ("written", |w| w.place.write("f", "edit")),
        ("changed in mode", |w| {
            rustix::fs::chmodat(&w.place.dir, "f", 0o600.into(), rustix::fs::AtFlags::empty()).unwrap();
        }),
        ("replaced", |w| {
            w.place.write("g", "edit");
            fs::rename(w.path("g"), w.path("f")).unwrap();
        }),
        ("removed", |w| fs::remove_file(w.path("f")).unwrap()),
        ("a symlink now", |w| {
            fs::remove_file(w.path("f")).unwrap();
            symlink("/etc/passwd", w.path("f")).unwrap();
        }),
        ("a pipe now", |w| {
            fs::remove_file(w.path("f")).unwrap();
            rustix::fs::mkfifoat(&w.place.dir, "f", 0o600.into()).unwrap();
        }),
    ];
    for world in worlds() {
        for (what, change) in changes {
            let _ = fs::remove_file(world.path("f"));
            world.place.write("f", "old!");
            let expected = world.seen("f");
            world.wait_for_the_clock();
            change(&world);
            let now = world.place.dir.stat(&name("f")).unwrap();
            let staged = world.staged("f", "new");
            assert_stale(world.committer.replace(staged, &expected, Writers::Wait));
            let remove = world.committer.remove(&world.place.dir, &name("f"), &expected, Writers::Wait);
            assert_stale(remove);
            let wanted = Wanted { mode: Some(0o777), ..Wanted::default() };
            assert_stale(world.committer.set_metadata(&world.place.dir, &name("f"), &expected, &wanted));
            let dir = &world.place.dir;
            assert_stale(world.committer.rename(dir, &name("f"), dir, &name("h"), &expected));
            assert_eq!(world.place.dir.stat(&name("f")).unwrap(), now, "{what}: untouched");
            world.assert_clean();
        }
    }
}

#[test]
fn a_file_that_somebody_writes_is_left_or_kept() {
    for world in worlds() {
        world.place.write("f", "old");
        let mut writer = fs::OpenOptions::new().append(true).open(world.path("f")).unwrap();
        assert_busy(world.replace("f", "new"));
        assert_busy(world.remove("f"));
        assert_eq!(world.place.read("f"), "old");
        world.assert_clean();
        let expected = world.seen("f");
        let published =
            world.committer.replace(world.staged("f", "new"), &expected, Writers::Displace).unwrap();
        let backup = published.backup.unwrap();
        assert_eq!(backup.of, crate::fs::tests::path("f"));
        writer.write_all(b" and more").unwrap();
        assert_eq!(world.place.read("f"), "new");
        let kept = world.committer.backup_path(&backup).unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), "old and more");
        world.assert_clean();
    }
}

#[test]
fn a_mapping_for_writing_counts_as_a_writer() {
    for world in worlds().into_iter().filter(World::trusts_leases) {
        world.place.write("f", "old");
        let file = fs::OpenOptions::new().read(true).write(true).open(world.path("f")).unwrap();
        let mapping = crate::fs::tests::Mapping::new(&file);
        drop(file);
        assert_busy(world.replace("f", "new"));
        drop(mapping);
        world.replace("f", "new").unwrap();
    }
}

#[test]
fn a_missing_or_doubtful_stamp_is_made_good_by_reading() {
    for world in worlds() {
        world.place.write("f", "old");
        let content = |text: &str| Expected::Content {
            size: text.len() as u64,
            digest: crate::core::entry::Digest(*blake3::hash(text.as_bytes()).as_bytes()),
        };
        let staged = world.staged("f", "new");
        assert_stale(world.committer.replace(staged, &content("odd"), Writers::Wait));
        let staged = world.staged("f", "new");
        world.place.wait_for_writers(&name("f"));
        world.committer.replace(staged, &content("old"), Writers::Wait).unwrap();
        assert_eq!(world.place.read("f"), "new");
        world.place.wait_for_writers(&name("f"));
        world.committer.remove(&world.place.dir, &name("f"), &content("new"), Writers::Wait).unwrap();
        symlink("here", world.path("l")).unwrap();
        let target = |t: &[u8]| Expected::Target(t.into());
        let remove = |e| world.committer.remove(&world.place.dir, &name("l"), &e, Writers::Wait);
        assert_stale(remove(target(b"there")));
        remove(target(b"here")).unwrap();
        world.assert_clean();
    }
}

#[test]
fn what_is_prepared_and_dropped_leaves_nothing() {
    for world in worlds() {
        drop(world.staged("f", "x"));
        drop(world.committer.stage_dir(&world.place.dir, &name("d")).unwrap());
        drop(world.committer.stage_symlink(&world.place.dir, &name("l"), b"x").unwrap());
        let mut named = world.staged("f", "x");
        named.reserved_name().unwrap();
        drop(named);
        assert_eq!(world.place.dir.any_name().unwrap(), None);
    }
}

#[test]
fn a_sparse_file_stays_sparse() {
    for world in worlds() {
        let mut content = vec![0_u8; 8 << 20];
        content[3 << 20] = 1;
        let mut staged = world.committer.stage_file(&world.place.dir, &name("s")).unwrap();
        for piece in content.chunks(100_000) {
            staged.write_all(piece).unwrap();
        }
        staged.sync().unwrap();
        let mtime = Timestamp { seconds: 1_600_000_000, nanoseconds: 0 };
        staged.set(&Wanted { mtime: Some(mtime), ..Wanted::default() }).unwrap();
        let published = world.committer.create(staged).unwrap();
        assert_eq!(published.stamp.unwrap().mtime, mtime);
        assert!(fs::read(world.path("s")).unwrap() == content);
        // One that keeps its files in memory only has no blocks to count.
        if crate::fs::FileSystem::of(&world.place.dir).unwrap() != crate::fs::FileSystem::Local("ramfs") {
            assert!(fs::metadata(world.path("s")).unwrap().blocks() * 512 < 1 << 20);
        }
    }
}
