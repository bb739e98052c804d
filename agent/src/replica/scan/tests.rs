//! Scans of real folders.

use super::*;
use crate::core::entry::{Attributes, Digest, Entry, Timestamp};
use crate::core::filter::Filter;
use crate::core::version::{ReplicaId, Sequence};
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
    BTreeMap::from([(path(at), Look { recursive, written: false, ..Look::default() })])
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

/// Killed before it put an empty file there, and the peer deleted it since: the next empty file is somebody's own, and not
/// the peer's old state, which the peer would have deleted once more.
#[test]
fn what_was_about_to_be_put_there_is_forgotten_when_it_was_not() {
    let world = world();
    world.file("other", "1");
    let (content, theirs) =
        (Content::File { size: 0, digest: Digest(*blake3::hash(b"").as_bytes()) }, ReplicaId(7));
    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
    let entry = Entry::new(content, attributes, Timestamp::default(), theirs, Sequence(5));
    let intent = crate::archive::Intent { entry, from: Some(theirs) };
    let noted = |w: &mut crate::archive::Writer<'_>| w.set_intent(&path("f"), &intent);
    world.replica.archive.write(Durable::Yes, noted).unwrap();
    world.replica.recovering.store(true, Ordering::Relaxed);
    world.replica.scan_all().unwrap();
    world.file("f", "");
    world.replica.scan_all().unwrap();
    let record = world.replica.archive.read().unwrap().get(&path("f")).unwrap().unwrap();
    assert_eq!(record.entry.counter(theirs), 0, "it is taken for the peer's");
    assert!(record.entry.counter(world.replica.id()) > 0);
}

/// A conflict of two directories' modes was ended, and what had failed below them was never asked for again.
#[test]
fn a_resolution_of_two_directories_says_nothing_of_what_is_in_them() {
    let world = world();
    world.file("d/f", "1");
    world.replica.scan_all().unwrap();
    let peer = ReplicaId(7);
    let record = |at| world.replica.archive.read().unwrap().get(&path(at)).unwrap().unwrap();
    let theirs = record("d").entry.bumped(peer, Sequence(5));
    let open = |reason| crate::archive::Open { reason, recursive: false };
    let failed = open(crate::archive::OpenReason::Failed("the disk was full".to_owned()));
    let before = record("d/f");
    world
        .replica
        .archive
        .write(Durable::Yes, |w| {
            w.set_open(peer, &path("d"), &open(crate::archive::OpenReason::Conflict))?;
            let disputed = crate::archive::Disputed { theirs, at: path("d"), keep_theirs: None };
            w.set_disputed(peer, &path("d"), &disputed)?;
            w.set_open(peer, &path("d/failed"), &failed)?;
            w.set_open(peer, &path("d/coming"), &open(crate::archive::OpenReason::Pending))
        })
        .unwrap();
    assert!(world.replica.keep_ours(peer, &path("d")).unwrap());
    let snapshot = world.replica.archive.read().unwrap();
    let left: Vec<_> = snapshot.open(peer).unwrap().map(|row| row.unwrap().0).collect();
    assert_eq!(left, [path("d/coming"), path("d/failed")]);
    assert_eq!(record("d/f"), before, "it was in no conflict");
}

/// A page of memory on which the kernel waits when it writes there, until it is let go.
struct Trap {
    faults: std::os::fd::OwnedFd,
    page: usize,
}

/// A request of userfaultfd: its number, and as many words as it takes.
fn request<const N: usize>(faults: &impl std::os::fd::AsRawFd, number: libc::c_ulong, mut words: [u64; N]) {
    // SAFETY: the structures of these requests are words only, and N is how many of them there are.
    let done = unsafe { libc::ioctl(faults.as_raw_fd(), number as _, words.as_mut_ptr()) };
    assert_eq!(done, 0, "{number:#x}: {}", io::Error::last_os_error());
}

impl Trap {
    /// Returns none where the kernel's own faults are not for this user.
    fn set() -> Option<Trap> {
        use rustix::mm::{MapFlags, ProtFlags, UserfaultfdFlags, mmap_anonymous, userfaultfd};
        use rustix::param::page_size;
        // It can only be waited for if it does not block.
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK;
        // SAFETY: it watches over a page that is made below, and over nothing else.
        let faults = unsafe { userfaultfd(flags) }.ok()?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses; it stays for ever.
        let page =
            unsafe { mmap_anonymous(std::ptr::null_mut(), page_size(), protection, MapFlags::PRIVATE) };
        let page = page.unwrap() as usize;
        // UFFDIO_API, then UFFDIO_REGISTER for missing pages.
        request(&faults, 0xc018_aa3f, [0xaa, 0, 0]);
        request(&faults, 0xc020_aa00, [page as u64, page_size() as u64, 1, 0]);
        Some(Trap { faults, page })
    }

    /// Lists a directory into the page: until the trap is let go, the directory's lock is held, shared.
    fn list(&self, dir: &std::path::Path) -> std::thread::JoinHandle<()> {
        let (dir, page) = (fs::File::open(dir).unwrap(), self.page);
        std::thread::spawn(move || {
            use std::os::fd::AsRawFd;
            // SAFETY: the page is as long as is said, and nobody else's.
            let read = unsafe {
                libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), page, rustix::param::page_size())
            };
            assert!(read > 0, "{}", io::Error::last_os_error());
        })
    }

    /// Writes to a file out of the page: until the trap is let go, the file's lock is held.
    fn write(&self, file: &std::path::Path) -> std::thread::JoinHandle<()> {
        let (file, page) = (fs::File::options().write(true).open(file).unwrap(), self.page);
        std::thread::spawn(move || {
            use std::os::fd::AsRawFd;
            // SAFETY: the page is longer than a byte, and nobody else's.
            let written = unsafe { libc::syscall(libc::SYS_write, file.as_raw_fd(), page, 1) };
            assert_eq!(written, 1, "{}", io::Error::last_os_error());
        })
    }

    /// Waits until somebody has stepped on it.
    fn sprung(&self) {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut waiting = [PollFd::new(&self.faults, PollFlags::IN)];
        assert_eq!(poll(&mut waiting, None), Ok(1));
        assert_eq!(waiting[0].revents(), PollFlags::IN);
    }

    fn let_go(&self) {
        // UFFDIO_ZEROPAGE.
        let length = rustix::param::page_size() as u64;
        request(&self.faults, 0xc020_aa04, [self.page as u64, length, 0, 0]);
    }
}

/// Returns whether a thread of this process whose name starts so waits in the kernel, in this system call.
fn waits(name: &str, call: libc::c_long) -> bool {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
    threads.into_iter().any(|thread| {
        let read = |file| fs::read_to_string(thread.join(file)).unwrap_or_default();
        let uninterruptible = read("stat").rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" D"));
        read("comm").starts_with(name)
            && uninterruptible
            && read("syscall").split(' ').next() == Some(&call.to_string())
    })
}

#[test]
fn a_hint_that_comes_before_its_change_is_looked_at_when_that_is_done() {
    use std::thread;
    let Some(trap) = Trap::set() else {
        eprintln!("skipped: this user may not have the kernel's page faults");
        return;
    };
    let pause = || thread::sleep(Duration::from_millis(1));
    let world = world();
    world.file("dir/known", "1");
    world.file("dir/new", "2");
    world.replica.scan_all().unwrap();
    let (old, new) = (world.tree.join("dir/new"), world.tree.join("dir/known"));
    // A rename that is under way: it cannot have the directory's lock yet, and is next.
    let listing = trap.list(&world.tree.join("dir"));
    trap.sprung();
    let renaming = thread::Builder::new().name("renaming".to_owned()).spawn(move || {
        // The standard library's rename is another call on each processor.
        rustix::fs::renameat(rustix::fs::CWD, old, rustix::fs::CWD, new).unwrap();
    });
    while !waits("renaming", libc::SYS_renameat) {
        pause();
    }
    let hints: BTreeMap<RelPath, Look> =
        [hint("dir/known", false), hint("dir/new", false)].into_iter().flatten().collect();
    thread::scope(|threads| {
        let scan = threads.spawn(|| world.replica.scan_dirty(&hints).unwrap());
        while !scan.is_finished() && !waits("scan-", libc::SYS_getdents64) {
            pause();
        }
        trap.let_go();
        assert!(scan.join().unwrap().again.is_empty());
    });
    listing.join().unwrap();
    renaming.unwrap().join().unwrap();
    assert!(!world.has("dir/new"), "it was looked at before it was renamed");
    let record = world.replica.archive.read().unwrap().get(&path("dir/known")).unwrap();
    let digest = blake3::hash(b"2");
    let is_new =
        |content: &Content| matches!(content, Content::File { digest: d, .. } if d.0 == *digest.as_bytes());
    assert!(record.is_some_and(|record| is_new(&record.entry.content)));
}

#[test]
fn attributes_that_are_about_to_change_are_looked_at_when_that_is_done() {
    use std::thread;
    let Some(trap) = Trap::set() else {
        eprintln!("skipped: this user may not have the kernel's page faults");
        return;
    };
    let pause = || thread::sleep(Duration::from_millis(1));
    let world = world();
    world.file("file", "1");
    let file = world.tree.join("file");
    rustix::fs::chmod(&file, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
    world.replica.scan_all().unwrap();
    let writing = trap.write(&file);
    trap.sprung();
    let changing = thread::Builder::new().name("changing".to_owned()).spawn(move || {
        rustix::fs::chmodat(
            rustix::fs::CWD,
            &file,
            rustix::fs::Mode::from_raw_mode(0o600),
            rustix::fs::AtFlags::empty(),
        )
        .unwrap();
    });
    while !waits("changing", libc::SYS_fchmodat) {
        pause();
    }
    let look = Look { attributes: true, ..Look::default() };
    let hints = BTreeMap::from([(path("file"), look)]);
    thread::scope(|threads| {
        let scan = threads.spawn(|| world.replica.scan_dirty(&hints).unwrap());
        while !scan.is_finished() && !waits("scan-", libc::SYS_lremovexattr) {
            pause();
        }
        trap.let_go();
        assert!(scan.join().unwrap().again.is_empty());
    });
    writing.join().unwrap();
    changing.unwrap().join().unwrap();
    let record = world.replica.archive.read().unwrap().get(&path("file")).unwrap().unwrap();
    assert_eq!(
        record.shown.unwrap().attributes.mode & 0o777,
        0o600,
        "it was looked at before it was changed"
    );
}

/// A directory with many others in it took a descriptor for each of them.
#[test]
fn a_directory_with_thousands_of_others_takes_no_descriptor_for_each() {
    let world = world();
    for n in 0..3000 {
        world.file(&format!("many/{n}/file"), "");
    }
    let over = std::sync::atomic::AtomicBool::new(false);
    let most = std::thread::scope(|threads| {
        let counting = threads.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                let in_tree = |link: PathBuf| fs::read_link(link).is_ok_and(|to| to.starts_with(&world.tree));
                let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
                most = most.max(open.filter(|fd| in_tree(fd.path())).count());
            }
            most
        });
        let report = world.replica.scan_all().unwrap();
        over.store(true, Ordering::Relaxed);
        assert_eq!((report.changed, report.problems.len(), report.again.len()), (6001, 0, 0));
        counting.join().unwrap()
    });
    assert!(most < 600, "{most} descriptors");
}

/// Returns the record at a path.
fn record(world: &World, at: &str) -> Record {
    world.replica.archive.read().unwrap().get(&path(at)).unwrap().unwrap()
}

fn renames(world: &World) -> Vec<crate::core::renamed::Renamed> {
    let all =
        world.replica.renames_between(Sequence(0), world.replica.archive.read().unwrap().head().unwrap());
    all.into_iter().map(|recorded| recorded.renamed).collect()
}

/// The stamps of fresh files are not trusted, and such are read again whatever their name.
fn with_trusted_stamps(world: &World) {
    wait_until(|| world.replica.scan_all().unwrap().hashed == 0);
}

fn wait_until(mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_renamed_directory_is_not_read_again() {
    let world = world();
    for n in 0..50 {
        world.file(&format!("m/{}/{n}", n % 3), &format!("content {n}"));
    }
    with_trusted_stamps(&world);
    let before = record(&world, "m/1/4");
    fs::rename(world.tree.join("m"), world.tree.join("z")).unwrap();
    world.file("z/new", "something new");
    world.file("z/0/3", "edited");
    for whole in [true, false] {
        let dirty = BTreeMap::from_iter([hint("m", true), hint("z", true)].into_iter().flatten());
        let report = if whole { world.replica.scan_all() } else { world.replica.scan_dirty(&dirty) }.unwrap();
        let expected = if whole { "something new".len() + "edited".len() } else { 0 };
        assert!(report.hashed <= 2 * expected as u64, "{report:?}");
    }
    let after = record(&world, "z/1/4");
    assert_eq!((after.entry.content, after.shown), (before.entry.content, before.shown));
    assert!(!world.has("m") && !world.has("m/1/4") && world.has("z/new"));
    let known = renames(&world);
    assert_eq!(known.len(), 1);
    assert_eq!((&known[0].from, &known[0].to, known[0].count), (&path("m"), &path("z"), 54));
    // Whoever has the same computes the same.
    let version = &after.entry.content_lineage.now;
    assert!(version.counter(world.replica.id()) > known[0].first.0);
    // A peer that had seen `m` can tell that it is gone.
    let tombstone = record(&world, "m/1/4").entry;
    assert!(tombstone.content_lineage.now.covers(&before.entry.content_lineage.now));
}

/// Killed between the rename of a peer and its records: the directory is the peer's under its new name, not one of our own.
#[test]
fn a_rename_that_was_interrupted_is_the_peers() {
    use crate::archive::RenameIntent;
    use crate::core::renamed::{Renamed, Subtree};
    let world = world();
    for n in 0..20 {
        world.file(&format!("m/{n}"), &format!("content {n}"));
    }
    with_trusted_stamps(&world);
    let (from, to, by) = (path("m"), path("z"), ReplicaId(77));
    let mut subtree = Subtree::new(&from);
    let snapshot = world.replica.archive.read().unwrap();
    subtree.add(&from, &record(&world, "m").entry, None);
    for row in snapshot.below(&from).unwrap() {
        let (at, record) = row.unwrap();
        subtree.add(&at, &record.entry, None);
    }
    let (count, digest) = subtree.finish();
    let (first, gone) = (Sequence(1000), Sequence(2000));
    let renamed = Renamed { from, to, by, first, gone, count, digest };
    let intent = RenameIntent { renamed, from: by };
    world.replica.archive.write(Durable::Yes, |w| w.set_rename_intent(&intent)).unwrap();
    fs::rename(world.tree.join("m"), world.tree.join("z")).unwrap();
    world.replica.recovering.store(true, Ordering::Relaxed);
    world.replica.scan_all().unwrap();
    let taken = record(&world, "z/3");
    assert_eq!(taken.entry.content_lineage.now.pairs().len(), 1, "{taken:?}");
    assert!(taken.entry.counter(by) > 1000 && taken.entry.counter(world.replica.id()) == 0);
    assert_eq!(taken.from, Some(by));
    assert!(record(&world, "m/3").entry.counter(by) > 2000);
    assert!(world.replica.archive.read().unwrap().rename_intents().unwrap().is_empty());
}

#[test]
fn a_rename_that_a_commit_has_something_below_waits_for_it() {
    let world = world();
    world.file("m/a", "1");
    world.file("m/b", "2");
    with_trusted_stamps(&world);
    let held = world.replica.busy.hold(vec![path("m/a")]);
    fs::rename(world.tree.join("m"), world.tree.join("z")).unwrap();
    let report = world.replica.scan_all().unwrap();
    assert!(renames(&world).is_empty() && !report.again.is_empty(), "{report:?}");
    drop(held);
    assert!(world.replica.scan_all().unwrap().again.is_empty());
    assert!(!world.has("m/a") && world.has("z/a") && world.has("z/b"));
}

/// A name that came and went before anybody looked, beside a change: the change was written, and nobody was told of it.
#[test]
fn what_changed_beside_a_name_that_nobody_knew_is_announced() {
    let world = world();
    world.file("h", "3");
    world.replica.scan_all().unwrap();
    fs::write(world.tree.join("aside"), "replaced").unwrap();
    fs::rename(world.tree.join("aside"), world.tree.join("h")).unwrap();
    let hints = [hint("aside", true), hint("h", true)].into_iter().flatten().collect();
    assert_eq!(world.replica.scan_dirty(&hints).unwrap().changed, 1);
    let head = world.replica.archive.read().unwrap().head().unwrap();
    assert_eq!(*world.replica.head().borrow(), head);
}

/// Returns what a look found at `m` and takes for renamed to `to`.
fn found(world: &World, to: &str) -> Vec<Found> {
    let meta = world.replica.dir.stat(&path("m").name().unwrap()).unwrap().unwrap();
    vec![Found { from: path("m"), to: path(to), meta }]
}

/// A scan of much takes minutes, and what it has found is recorded at its end.
#[test]
fn a_directory_that_is_not_where_it_was_seen_is_not_taken_for_renamed() {
    let world = world();
    world.file("m/a", "1");
    with_trusted_stamps(&world);
    let (seen, head) = (found(&world, "z"), world.replica.archive.read().unwrap().head().unwrap());
    let (taken, left) = world.replica.take_renames(seen.clone(), head).unwrap();
    assert_eq!((taken.len(), left.len()), (0, 1), "it is back");
    fs::rename(world.tree.join("m"), world.tree.join("y")).unwrap();
    let (taken, left) = world.replica.take_renames(seen, head).unwrap();
    assert_eq!((taken.len(), left.len()), (0, 1), "it is further away");
    assert!(world.has("m/a") && !world.has("z"));
    world.replica.scan_all().unwrap();
    assert!(world.has("y/a") && !world.has("m"));
}

#[test]
fn a_directory_in_one_that_is_not_known_is_not_taken_for_renamed() {
    let world = world();
    world.file("m/a", "1");
    with_trusted_stamps(&world);
    let (seen, head) = (found(&world, "new/z"), world.replica.archive.read().unwrap().head().unwrap());
    fs::create_dir(world.tree.join("new")).unwrap();
    fs::rename(world.tree.join("m"), world.tree.join("new/z")).unwrap();
    let (taken, left) = world.replica.take_renames(seen, head).unwrap();
    assert_eq!((taken.len(), left.len()), (0, 1));
    world.replica.scan_all().unwrap();
    assert!(world.has("new/z/a") && !world.has("m"));
    assert_eq!(renames(&world).len(), 1, "with the directory that it is in it is");
}

#[test]
fn a_mountpoint_that_was_renamed_away_halts() {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let options = ReplicaOptions { mountpoints: vec![path("m/mnt")], ..ReplicaOptions::default() };
    fs::create_dir_all(tree.join("m/mnt")).unwrap();
    let replica = Replica::open(&tree, &home.path().join("state"), options, Filter::default()).unwrap();
    let world = World { replica, tree, _home: home };
    world.file("m/a", "1");
    with_trusted_stamps(&world);
    fs::rename(world.tree.join("m"), world.tree.join("z")).unwrap();
    let dirty = BTreeMap::from_iter([hint("m", true), hint("z", true)].into_iter().flatten());
    let halted = world.replica.scan_dirty(&dirty).unwrap_err();
    assert!(matches!(&halted, ScanError::Guard { guard: Guard::NotMounted { .. }, .. }), "{halted}");
    assert!(world.has("m/a") && renames(&world).is_empty());
}

/// It holds what is left out, and is no longer there for anybody else.
#[test]
fn a_directory_with_a_remainder_in_it_is_not_renamed_as_a_whole() {
    let world = world();
    world.file("m/a", "1");
    world.file("m/r/left out", "2");
    with_trusted_stamps(&world);
    let known = record(&world, "m/r");
    let by = world.replica.id();
    world
        .replica
        .archive
        .write(Durable::Yes, |w| {
            for at in ["m/r/left out", "m/r"] {
                let sequence = w.next_sequence();
                let entry = known.entry.deleted(by, sequence);
                let remainder = at == "m/r";
                w.put(&path(at), &Record { entry, shown: None, sequence, remainder, ..known.clone() })?;
            }
            Ok(())
        })
        .unwrap();
    fs::rename(world.tree.join("m"), world.tree.join("z")).unwrap();
    world.replica.scan_all().unwrap();
    assert!(renames(&world).is_empty());
    assert!(world.has("z/a") && !world.has("m/a"));
}

#[test]
fn what_went_along_with_a_directory_is_known_under_its_new_name() {
    let world = world();
    world.file("m/a", "1");
    with_trusted_stamps(&world);
    for (from, to) in [("m", "y"), ("y", "z")] {
        fs::rename(world.tree.join(from), world.tree.join(to)).unwrap();
        world.replica.scan_all().unwrap();
    }
    assert_eq!(renames(&world).len(), 2);
    let now = |at: &str| world.replica.name_now(&path(at)).unwrap();
    assert_eq!((now("m/a"), now("y/a"), now("z/a")), (path("z/a"), path("z/a"), path("z/a")));
    world.file("m/a", "another");
    world.replica.scan_all().unwrap();
    assert_eq!((now("m/a"), now("other")), (path("m/a"), path("other")));
}
