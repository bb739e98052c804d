//! Somebody who may write to the tree tries to make us act outside of it.

use super::*;
use crate::fs::change;
use crate::fs::tests::StopAtEnd;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A directory flips to a symlink that leads out while every operation runs below it.
#[test]
fn no_operation_ever_acts_outside() {
    for world in worlds() {
        let outside = world.place.outside();
        fs::create_dir_all(world.path("a/d")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::create_dir(outside.join("d")).unwrap();
        fs::write(outside.join("d/f"), "theirs").unwrap();
        symlink(&outside, world.path("b")).unwrap();
        let before = tree(&outside);
        let stop = AtomicBool::new(false);
        let mut done = [0; 2];
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = change::exchange(&world.place.dir, &name("a"), &name("b"));
                }
            });
            let _stop = StopAtEnd(&stop);
            let end = Instant::now() + Duration::from_millis(500);
            while Instant::now() < end
                || (done.contains(&0) && Instant::now() < end + Duration::from_secs(20))
            {
                done[usize::from(operate(&world).is_ok())] += 1;
            }
        });
        assert!(!done.contains(&0), "{done:?}");
        assert_eq!(tree(&outside), before);
    }
}

/// Opens `a/d` and does one of everything in it.
fn operate(world: &World) -> Result<(), Box<dyn std::error::Error>> {
    let d = world.place.dir.open_dir(&crate::fs::tests::path("a/d"))?;
    let n = name("f");
    let state = |kind| -> Result<_, Box<dyn std::error::Error>> {
        Ok(Expected::State(kind, d.stat(&n)?.ok_or("gone")?.stamp))
    };
    let mut staged = world.committer.stage_file(&d, &n)?;
    staged.write_all(b"ours")?;
    world.committer.create(staged)?;
    let staged = world.committer.stage_file(&d, &n)?;
    world.committer.replace(staged, &state(Kind::File)?, Writers::Wait)?;
    let wanted = Wanted { mode: Some(0o777), ..Wanted::default() };
    world.committer.set_metadata(&d, &n, &state(Kind::File)?, &wanted)?;
    world.committer.remove(&d, &n, &state(Kind::File)?, Writers::Wait)?;
    Ok(())
}

/// Everything in a folder: path, mode and content.
fn tree(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let meta = entry.metadata().unwrap();
        let content = fs::read(entry.path()).unwrap_or_default();
        found.push(format!("{:?} {:?} {content:?}", entry.path(), meta.permissions()));
        if meta.is_dir() {
            found.extend(tree(&entry.path()));
        }
    }
    found.sort();
    found
}

/// A name below an open directory becomes a symlink between the look and the act.
#[test]
fn a_symlink_swapped_in_is_never_followed() {
    for world in worlds() {
        let outside = world.place.outside();
        fs::write(&outside, "theirs").unwrap();
        let before = fs::metadata(&outside).unwrap();
        for step in ["metadata: held", "replace: held", "remove: held"] {
            let _ = fs::remove_file(world.path("f"));
            world.place.write("f", "old");
            let (path, target) = (world.path("f"), outside.clone());
            at(step, move || {
                fs::remove_file(&path).unwrap();
                symlink(&target, &path).unwrap();
            });
            let mtime = Some(Timestamp { seconds: 1, nanoseconds: 0 });
            let wanted = Wanted { mode: Some(0o777), uid: Some(1), gid: Some(1), mtime, ..Wanted::default() };
            match step {
                "metadata: held" => {
                    let expected = world.seen("f");
                    let _ = world.committer.set_metadata(&world.place.dir, &name("f"), &expected, &wanted);
                }
                "replace: held" => drop(assert_stale(world.replace("f", "ours"))),
                _ => drop(assert_stale(world.remove("f"))),
            }
            assert_eq!(fs::read_link(world.path("f")).unwrap(), outside, "{step}: it stands");
            let now = fs::metadata(&outside).unwrap();
            assert_eq!(now.modified().unwrap(), before.modified().unwrap());
            assert_eq!(now.permissions(), before.permissions());
            assert_eq!(fs::read_to_string(&outside).unwrap(), "theirs");
            world.assert_clean();
        }
    }
}

/// Others edit, replace, remove and rename at full speed while we swap and remove the same name. Each content they
/// make is unique; at the end none of those that they did not take away themselves is missing.
#[test]
fn under_constant_change_nothing_that_was_written_is_lost() {
    for world in worlds() {
        let stop = AtomicBool::new(false);
        let (mut last, mut ours) = (String::new(), 0);
        std::thread::scope(|scope| {
            let editor = scope.spawn(|| {
                let mut i = 0;
                let mut last = String::new();
                while !stop.load(Ordering::Relaxed) {
                    i += 1;
                    last = format!("theirs {i}");
                    // What an editor does: the new version beside, then over the old one.
                    fs::write(world.path("f~"), &last).unwrap();
                    fs::rename(world.path("f~"), world.path("f")).unwrap();
                    if i % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
                last
            });
            let stop_at_end = StopAtEnd(&stop);
            let end = Instant::now() + Duration::from_millis(700);
            while Instant::now() < end {
                let staged = world.staged("f", "ours");
                let Some(meta) = world.place.dir.stat(&name("f")).unwrap() else { continue };
                let expected = Expected::State(Kind::File, meta.stamp);
                if world.committer.replace(staged, &expected, Writers::Wait).is_ok() {
                    ours += 1;
                }
            }
            drop(stop_at_end);
            last = editor.join().unwrap();
        });
        // The editor had the last word, unless we saw that very version and replaced it.
        let found = world.contents();
        assert!(found.contains(&last) || found.contains(&"ours".into()), "{last} lost ({ours} swaps)");
        assert_eq!(
            fs::read_dir(&world.place.path).unwrap().count(),
            1 + world.place.dir.list().unwrap().reserved.len()
        );
        world.assert_clean();
    }
}
