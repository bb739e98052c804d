use super::*;
use crate::fs::beneath::{DIR_FLAGS, walk};
use std::os::fd::AsFd;

#[test]
fn a_path_deeper_than_path_max_opens() {
    for place in places() {
        let level = name(&"d".repeat(255));
        let mut at = place.dir.clone();
        for _ in 0..200 {
            change::make_dir(&at, &level).unwrap();
            at = at.open_child_dir(&level).unwrap();
        }
        drop(change::create_named(&at, &name("bottom")).unwrap());
        let deep = at.path().clone();
        assert_eq!(deep.as_bytes().len(), 200 * 256 - 1);
        let opened = place.dir.open_dir(&deep).unwrap();
        assert!(opened.self_stat().unwrap().same_inode(&at.self_stat().unwrap()));
        assert_eq!(opened.list().unwrap().entries[0].name, name("bottom"));
        let walked = walk(place.dir.as_fd(), &deep.as_bytes()[..255 * 3 + 2], DIR_FLAGS);
        assert!(walked.is_ok());
    }
}

#[test]
fn no_symlink_on_the_way_is_followed() {
    for place in places() {
        fs::create_dir_all(place.path.join("a/b")).unwrap();
        fs::create_dir(place.outside()).unwrap();
        symlink(place.outside(), place.path.join("a/out")).unwrap();
        symlink("b", place.path.join("a/in")).unwrap();
        symlink("/proc/self/fd", place.path.join("magic")).unwrap();
        assert!(place.dir.open_dir(&path("a/b")).is_ok());
        assert_eq!(place.dir.open_dir(&path("a/b")).unwrap().path(), &path("a/b"));
        for bad in ["a/out", "a/in", "magic/0", "a/in/x", "missing"] {
            assert!(place.dir.open_dir(&path(bad)).is_err(), "{bad}");
            let fd = place.dir.as_fd();
            assert!(walk(fd, bad.as_bytes(), DIR_FLAGS).is_err(), "{bad}");
        }
        let a = place.dir.open_child_dir(&name("a")).unwrap();
        assert!(a.open_child_dir(&name("out")).is_err());
    }
}

/// Somebody exchanges a directory and a symlink that leads out, as fast as possible.
#[test]
fn a_directory_that_flips_to_a_symlink_never_leads_out() {
    for place in places() {
        fs::create_dir_all(place.path.join("a/b")).unwrap();
        fs::create_dir_all(place.outside().join("b")).unwrap();
        symlink(place.outside(), place.path.join("c")).unwrap();
        let inside = fs::metadata(place.path.join("a/b")).map(|m| std::os::unix::fs::MetadataExt::ino(&m));
        let inside = inside.unwrap();
        let stop = AtomicBool::new(false);
        let (mut opened, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = change::exchange(&place.dir, &name("a"), &name("c"));
                }
            });
            let _stop = StopAtEnd(&stop);
            let end = Instant::now() + Duration::from_millis(300);
            while Instant::now() < end || ((opened == 0 || refused == 0) && opened + refused < 10_000_000) {
                let walked = walk(place.dir.as_fd(), b"a/b", DIR_FLAGS).map(|fd| Meta::of(fd).unwrap());
                let resolved = place.dir.open_dir(&path("a/b")).map(|d| d.self_stat().unwrap());
                for found in [walked, resolved] {
                    match found {
                        Ok(meta) => {
                            assert_eq!(meta.stamp.ino, inside);
                            opened += 1;
                        }
                        Err(_) => refused += 1,
                    }
                }
            }
        });
        assert!(opened > 0 && refused > 0, "{opened} opened, {refused} refused");
    }
}
