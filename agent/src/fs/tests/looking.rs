use super::*;

#[test]
fn a_listing_is_sorted_and_leaves_out_what_is_reserved() {
    for place in places() {
        for i in (0..2000).rev() {
            place.write(&format!("file-{i:04}"), "");
        }
        place.write(".vfsync.tmp.0", "");
        let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
        fs::create_dir(place.path.join(odd)).unwrap();
        let long = "x".repeat(255);
        place.write(&long, "");
        let listing = place.dir.list().unwrap();
        let names: Vec<_> = listing.entries.iter().map(|e| e.name.clone()).collect();
        assert!(names.is_sorted());
        assert_eq!(names.len(), 2002);
        assert_eq!(names[2000], name(&long));
        assert_eq!(listing.entries[2001].hint, Some(FileKind::Dir));
        assert_eq!(listing.reserved, [name(".vfsync.tmp.0")]);
        assert_eq!(place.dir.list().unwrap(), listing, "the handle can be listed again");
    }
}

#[test]
fn every_kind_of_file_is_told_apart() {
    for place in places() {
        place.write("file", "12345");
        fs::create_dir(place.path.join("dir")).unwrap();
        symlink("nowhere", place.path.join("link")).unwrap();
        rustix::fs::mkfifoat(&place.dir, "fifo", 0o600.into()).unwrap();
        std::os::unix::net::UnixListener::bind(place.path.join("socket")).unwrap();
        let meta = |n| place.dir.stat(&name(n)).unwrap().unwrap();
        assert_eq!(meta("file").kind, FileKind::File);
        assert_eq!(meta("file").stamp.size, 5);
        assert_eq!(meta("file").nlink, 1);
        assert_eq!(meta("dir").kind, FileKind::Dir);
        assert_eq!(meta("link").kind, FileKind::Symlink);
        assert_eq!(meta("fifo").kind, FileKind::Fifo);
        assert_eq!(meta("socket").kind, FileKind::Socket);
        assert_eq!(place.dir.stat(&name("nothing")).unwrap(), None);
        assert_eq!(&*place.dir.read_link(&name("link")).unwrap(), b"nowhere");
        assert!(place.dir.read_link(&name("file")).is_err());
        let child = place.dir.open_child_dir(&name("dir")).unwrap();
        assert!(child.self_stat().unwrap().same_inode(&meta("dir")));
        assert_eq!(child.any_name().unwrap(), None);
        assert!(place.dir.any_name().unwrap().is_some());
    }
}

#[test]
fn a_stamp_agrees_with_the_standard_library() {
    use std::os::unix::fs::MetadataExt;
    for place in places() {
        place.write("f", "x");
        fs::set_permissions(place.path.join("f"), fs::Permissions::from_mode(0o4751)).unwrap();
        let std = fs::metadata(place.path.join("f")).unwrap();
        let meta = place.dir.stat(&name("f")).unwrap().unwrap();
        assert_eq!((meta.stamp.dev, meta.stamp.ino), (std.dev(), std.ino()));
        assert_eq!(
            (meta.stamp.mtime.seconds, meta.stamp.mtime.nanoseconds as i64),
            (std.mtime(), std.mtime_nsec())
        );
        assert_eq!((meta.stamp.ctime.seconds, meta.stamp.size), (std.ctime(), std.len()));
        assert_eq!(meta.attributes.mode, 0o4751);
        let by_stat = meta::tests::by_stat(&place.dir, "f");
        assert_eq!(Meta { mount: meta.mount, ..by_stat }, meta, "the old system call shows the same");
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    for place in places() {
        rustix::fs::mkfifoat(&place.dir, "fifo", 0o600.into()).unwrap();
        place.write("file", "");
        symlink("file", place.path.join("link")).unwrap();
        fs::create_dir(place.path.join("dir")).unwrap();
        for kind in ["fifo", "link", "dir"] {
            assert!(place.dir.open_file(&name(kind)).is_err(), "{kind}");
        }
        assert!(place.dir.open_file(&name("file")).is_ok());
    }
}

#[test]
fn hashing_sees_the_content_and_what_changes_meanwhile() {
    for place in places() {
        for size in [0, 1, 4096, 512 * 1024, 512 * 1024 + 1, 3_000_000] {
            let content: Vec<u8> = (0..size).map(|i| (i * 31 / 7) as u8).collect();
            fs::write(place.path.join("f"), &content).unwrap();
            let file = place.dir.open_file(&name("f")).unwrap();
            let hashed = hash_file(&file).unwrap();
            assert_eq!(hashed.digest.0, *blake3::hash(&content).as_bytes());
            assert_eq!((hashed.size, hashed.changed), (size as u64, false));
            assert_eq!(Some(hashed.meta), place.dir.stat(&name("f")).unwrap());
        }
        let file = place.dir.open_file(&name("f")).unwrap();
        let writer = fs::OpenOptions::new().write(true).open(place.path.join("f")).unwrap();
        let mut pieces = 0;
        let hashed = read_file(&file, |_| {
            pieces += 1;
            writer.write_at(b"more", 3_000_000 + pieces * 4).map(drop)
        });
        assert!(hashed.unwrap().changed, "it grew");
        assert!(pieces < 10, "a file that grows is not followed for ever");
        let cut = read_file(&file, |_| writer.set_len(5));
        assert!(cut.unwrap().changed, "it was cut short");
    }
}

#[test]
fn only_a_stamp_with_two_fresh_times_is_racy() {
    let place = &places()[0];
    place.write("f", "x");
    let meta = place.dir.stat(&name("f")).unwrap().unwrap();
    let window = Duration::from_millis(10);
    let fresh = meta.stamp.ctime;
    assert!(meta.is_racy(fresh, window));
    let later = |seconds| crate::core::entry::Timestamp { seconds: fresh.seconds + seconds, ..fresh };
    assert!(!meta.is_racy(later(1), window));
    assert!(!meta.is_racy(later(-1), window), "a clock that was set back counts as another time");
    let mut dated = meta;
    dated.stamp.mtime = later(-100);
    assert!(!dated.is_racy(fresh, window), "a write would move the old mtime");
}

#[test]
fn temporary_names_are_reserved_and_never_twice_the_same() {
    let names: std::collections::BTreeSet<_> = (0..1000).map(|_| temporary_name("tmp")).collect();
    assert_eq!(names.len(), 1000);
    assert!(names.iter().all(|n| is_reserved(n.as_bytes())));
    assert!(!is_reserved(b".vfsyncignore"));
}
