//! What others may do between two steps. After each: no content is lost, and what they made stands or is reported.

use super::*;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Opens a file for writing in another thread, which waits in its open as long as there is a lease; then appends.
pub(super) fn writer_at(step: &'static str, path: PathBuf, text: &'static str) -> Receiver<()> {
    let (done, receive) = channel();
    at(step, move || {
        let (path, done) = (path.clone(), done.clone());
        let ino = fs::metadata(&path).unwrap().ino();
        std::thread::spawn(move || {
            let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            drop(file);
            done.send(()).unwrap();
        });
        wait_for_a_breaking_lease(ino);
    });
    receive
}

/// Waits until somebody waits for a lease on this inode to be given up.
pub(super) fn wait_for_a_breaking_lease(ino: u64) {
    // On layers the kernel shows another inode; there the time has to be enough.
    let end = Instant::now() + Duration::from_secs(2);
    let breaking = |line: &str| line.contains("BREAKING") && line.contains(&format!(":{ino} "));
    while Instant::now() < end && !fs::read_to_string("/proc/locks").unwrap().lines().any(breaking) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Replaces a file by another one in one step, as editors do.
pub(super) fn overwrite_at(step: &'static str, world: &World, path: &'static str, content: &'static str) {
    let folder = world.place.path.clone();
    at(step, move || {
        let new = folder.join(format!("{path}~{}", content.len()));
        fs::write(&new, content).unwrap();
        fs::rename(new, folder.join(path)).unwrap();
    });
}

#[test]
fn a_name_that_is_filled_meanwhile_is_not_overwritten() {
    for world in worlds() {
        let path = world.path("f");
        at("create: ready", move || fs::write(&path, "theirs").unwrap());
        assert_stale(world.committer.create(world.staged("f", "ours")));
        assert_eq!(world.place.read("f"), "theirs");
        let path = world.path("g");
        at("create: ready", move || symlink("/etc/passwd", &path).unwrap());
        assert_stale(world.committer.create(world.staged("g", "ours")));
        let path = world.path("d");
        at("create: ready", move || fs::create_dir(&path).unwrap());
        assert_stale(world.committer.make_dir(&world.place.dir, &name("d"), &Wanted::default()));
        world.assert_clean();
    }
}

#[test]
fn a_write_right_after_publishing_takes_the_stamp_away() {
    for world in worlds() {
        let path = world.path("f");
        at("create: placed", move || fs::write(&path, "our").unwrap());
        let published = world.committer.create(world.staged("f", "new")).unwrap();
        assert_eq!(published.stamp, None);
        assert_eq!(world.place.read("f"), "our");
    }
}

#[test]
fn a_file_that_is_being_opened_for_writing_goes_back() {
    for world in worlds() {
        for step in ["replace: held", "replace: exchanged"] {
            fs::write(world.path("f"), "old").unwrap();
            // Before the exchange the writer finds the old file, and waits for our lease on it.
            let target = if step == "replace: held" { "f" } else { "f.other-name" };
            let _ = fs::remove_file(world.path("f.other-name"));
            fs::hard_link(world.path("f"), world.path("f.other-name")).unwrap();
            let done = writer_at(step, world.path(target), "+theirs");
            assert_busy(world.replace("f", "ours"));
            done.recv().unwrap();
            assert_eq!(world.place.read("f"), "old+theirs", "{step}");
            world.assert_clean();
        }
        fs::write(world.path("g"), "old").unwrap();
        let done = writer_at("remove: held", world.path("g"), "+theirs");
        assert_busy(world.remove("g"));
        done.recv().unwrap();
        assert_eq!(world.place.read("g"), "old+theirs");
        world.assert_clean();
    }
}

#[test]
fn a_file_that_was_replaced_before_the_exchange_goes_back() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("replace: held", &world, "f", "theirs");
        let backups = assert_stale(world.replace("f", "ours"));
        assert_eq!(backups, []);
        assert_eq!(world.place.read("f"), "theirs");
        world.assert_clean();
        overwrite_at("remove: held", &world, "f", "theirs2");
        assert_eq!(assert_stale(world.remove("f")), []);
        assert_eq!(world.place.read("f"), "theirs2");
        world.assert_clean();
    }
}

#[test]
fn a_mode_that_was_set_before_the_exchange_goes_back() {
    for world in worlds() {
        world.place.write("f", "old");
        let path = world.path("f");
        at("replace: held", move || {
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
        });
        assert_stale(world.replace("f", "ours"));
        assert_eq!(world.place.read("f"), "old");
        assert_eq!(world.place.dir.stat(&name("f")).unwrap().unwrap().attributes.mode, 0o400);
        world.assert_clean();
    }
}

#[test]
fn a_file_that_goes_meanwhile_is_stale_and_stays_gone() {
    for world in worlds() {
        world.place.write("f", "old");
        let path = world.path("f");
        at("replace: held", move || fs::remove_file(&path).unwrap());
        assert!(matches!(world.replace("f", "ours"), Err(CommitError::Stale { found: None, .. })));
        world.place.write("f", "old");
        let path = world.path("f");
        at("remove: held", move || fs::remove_file(&path).unwrap());
        assert!(matches!(world.remove("f"), Err(CommitError::Stale { found: None, .. })));
        assert_eq!(world.place.dir.any_name().unwrap(), None);
    }
}

#[test]
fn a_directory_that_is_filled_meanwhile_stays() {
    for world in worlds() {
        fs::create_dir(world.path("d")).unwrap();
        let path = world.path("d/theirs");
        at("replace: held", move || fs::write(&path, "theirs").unwrap());
        let result = world.replace("d", "ours");
        assert!(matches!(result, Err(CommitError::NotEmpty { .. })), "{result:?}");
        assert_eq!(world.place.read("d/theirs"), "theirs");
        fs::remove_file(world.path("d/theirs")).unwrap();
        let path = world.path("d/theirs");
        at("remove dir: seen", move || fs::write(&path, "again").unwrap());
        let result = world.committer.remove_dir(&world.place.dir, &name("d"), world.stamp("d").ino);
        assert!(matches!(result, Err(CommitError::NotEmpty { .. })), "{result:?}");
        assert_eq!(world.place.read("d/theirs"), "again");
        world.assert_clean();
    }
}

#[test]
fn something_else_that_takes_the_name_is_not_renamed_away() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("rename: held", &world, "f", "theirs");
        let dir = &world.place.dir;
        let expected = world.seen("f");
        let rename = || world.committer.rename(dir, &name("f"), dir, &name("g"), &expected);
        assert_stale(rename());
        assert_eq!(world.place.read("f"), "theirs");
        assert_eq!(dir.stat(&name("g")).unwrap(), None);
        // And if the name is filled before it can go back, both are in sight.
        let expected = world.seen("f");
        overwrite_at("rename: held", &world, "f", "theirs2");
        let path = world.path("f");
        at("rename: renamed", move || fs::write(&path, "third").unwrap());
        let backups = assert_stale(world.committer.rename(dir, &name("f"), dir, &name("g"), &expected));
        assert_eq!(backups.len(), 1);
        assert_eq!((world.place.read("f"), world.place.read("g")), ("third".into(), "theirs2".into()));
    }
}

#[test]
fn a_directory_that_is_renamed_meanwhile_takes_the_file_along() {
    for world in worlds() {
        fs::create_dir(world.path("d")).unwrap();
        world.place.write("d/f", "old");
        let d = world.place.dir.open_child_dir(&name("d")).unwrap();
        let stamp = d.stat(&name("f")).unwrap().unwrap().stamp;
        let mut staged = world.committer.stage_file(&d, &name("f")).unwrap();
        staged.write_all(b"new").unwrap();
        let (from, to) = (world.path("d"), world.path("e"));
        at("replace: held", move || fs::rename(&from, &to).unwrap());
        let expected = Expected::State(Kind::File, stamp);
        let result = world.committer.replace(staged, &expected, Writers::Displace);
        result.unwrap();
        assert_eq!(world.place.read("e/f"), "new");
    }
}

#[test]
fn a_directory_that_is_removed_meanwhile_is_said_to_be_gone() {
    for world in worlds() {
        fs::create_dir(world.path("d")).unwrap();
        let d = world.place.dir.open_child_dir(&name("d")).unwrap();
        let staged = world.committer.stage_file(&d, &name("f")).unwrap();
        fs::remove_dir(world.path("d")).unwrap();
        let gone = |result: Result<(), _>| {
            assert!(matches!(result, Err(CommitError::DirGone { .. })), "{result:?}");
        };
        gone(world.committer.create(staged).map(drop));
        // An unnamed file can still be had there; a name for it cannot.
        let again = world.committer.stage_file(&d, &name("f"));
        gone(again.and_then(|staged| world.committer.create(staged)).map(drop));
        gone(world.committer.stage_dir(&d, &name("f")).map(drop));
    }
}
