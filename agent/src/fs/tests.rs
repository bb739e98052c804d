//! Tests on real folders: the disk's and, where there is one, a tmpfs.

use super::*;
use crate::core::path::{Name, RelPath};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A folder that is gone after the test, and a handle on it.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    /// Removed at the end.
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn in_folder(parent: &Path) -> Place {
        let folder = tempfile::tempdir_in(parent).unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        let place = Place::at(folder.path());
        Place { _folder: Some(folder), ..place }
    }

    /// The tree `root` in a folder that stays.
    pub(crate) fn at(folder: &Path) -> Place {
        let path = folder.join("root");
        Place { dir: Dir::open_root(&path).unwrap(), path, _folder: None }
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        fs::write(self.path.join(path), content).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path.join(path)).unwrap()
    }

    /// A path beside the root, outside of it.
    pub(crate) fn outside(&self) -> PathBuf {
        self.path.parent().unwrap().join("outside")
    }
}

/// A place on each kind of file system to test on: `VFSYNC_TEST_FOLDERS` (colon-separated), or the disk and a tmpfs.
pub(crate) fn places() -> Vec<Place> {
    let folders = std::env::var("VFSYNC_TEST_FOLDERS").unwrap_or_else(|_| "/var/tmp:/dev/shm".into());
    let usable = |p: &&str| Path::new(p).is_dir();
    folders.split(':').filter(usable).map(|p| Place::in_folder(Path::new(p))).collect()
}

/// Tells another thread to stop when the test ends, also when it fails.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn name(s: &str) -> Name {
    Name::new(s.as_bytes()).unwrap()
}

pub(crate) fn path(s: &str) -> RelPath {
    RelPath::new(s.as_bytes()).unwrap()
}

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
        let walked = beneath::walk(
            std::os::fd::AsFd::as_fd(&place.dir),
            &deep.as_bytes()[..255 * 3 + 2],
            beneath::DIR_FLAGS,
        );
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
            let fd = std::os::fd::AsFd::as_fd(&place.dir);
            assert!(beneath::walk(fd, bad.as_bytes(), beneath::DIR_FLAGS).is_err(), "{bad}");
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
                let walked = beneath::walk(std::os::fd::AsFd::as_fd(&place.dir), b"a/b", beneath::DIR_FLAGS)
                    .map(|fd| Meta::of(fd).unwrap());
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

#[test]
fn a_lease_is_refused_by_a_writer_and_broken_by_the_next() {
    for place in places() {
        place.write("f", "x");
        let open = || place.dir.open_file(&name("f")).unwrap();
        let mut writer = fs::OpenOptions::new().append(true).open(place.path.join("f")).unwrap();
        assert!(matches!(ReadLease::take(open()), Err(LeaseRefused::Writer(_))));
        assert_eq!(has_writer(open()), WriterCheck::Open);
        writer.write_all(b"y").unwrap();
        drop(writer);
        assert_eq!(has_writer(open()), WriterCheck::None);
        let lease = ReadLease::take(open()).unwrap();
        let _reader = open();
        assert!(lease.is_unbroken(), "readers do no harm");
        std::thread::scope(|scope| {
            let path = place.path.join("f");
            let writer = scope.spawn(move || fs::OpenOptions::new().append(true).open(path).is_ok());
            let end = Instant::now() + Duration::from_secs(20);
            while lease.is_unbroken() {
                assert!(Instant::now() < end, "the writer breaks the lease");
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(!writer.is_finished(), "it waits for the lease to be given up");
            lease.release();
            assert!(writer.join().unwrap());
        });
    }
}

#[test]
fn a_probe_says_what_the_disk_can_do_and_leaves_nothing() {
    for place in places() {
        let found = Capabilities::probe(&place.dir).unwrap();
        assert!(found.writable);
        assert_eq!(place.dir.any_name().unwrap(), None);
        println!("{}: {found:?}", place.path.display());
        if let FileSystem::Local("ext4" | "xfs" | "btrfs" | "tmpfs") = found.file_system {
            assert!(found.unnamed_files && found.exchange && found.rename_noreplace);
            assert_eq!(found.leases, Leases::Trusted);
        }
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

/// A file mapped for writing, shared.
pub(crate) struct Mapping(*mut std::ffi::c_void);

impl Mapping {
    pub(crate) fn new(file: &fs::File) -> Mapping {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let (null, write) = (std::ptr::null_mut(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: the kernel chooses an address that is free, and nobody reads or writes there.
        Mapping(unsafe { mmap(null, 1, write, MapFlags::SHARED, file, 0) }.unwrap())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped above with this length, and not used since.
        unsafe { rustix::mm::munmap(self.0, 1) }.unwrap();
    }
}
