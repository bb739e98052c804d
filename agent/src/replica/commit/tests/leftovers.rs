use super::*;
use crate::core::entry::Digest;
use crate::fs::change::lacking;
use std::os::unix::fs::symlink;

fn digest(content: &str) -> Digest {
    Digest(*blake3::hash(content.as_bytes()).as_bytes())
}

const LEFT: &str = ".vfsync.tmp.0123456789abcdef";

fn examine(world: &World, verdict: LeftoverVerdict) -> LeftoverFate {
    world.place.wait_for_writers(&name(LEFT));
    let fate = world.committer.examine_leftover(&world.place.dir, &name(LEFT), |_| verdict).unwrap();
    assert_eq!(world.committer.leftovers(&world.place.dir).unwrap(), [], "{fate:?}");
    fate
}

#[test]
fn a_leftover_goes_only_if_its_content_is_known() {
    for world in worlds() {
        world.place.write(LEFT, "known");
        assert_eq!(world.committer.leftovers(&world.place.dir).unwrap(), [name(LEFT)]);
        let known = |leftover: &Leftover| match leftover.digest == Some(digest("known")) {
            true => LeftoverVerdict::Known,
            false => LeftoverVerdict::Unknown,
        };
        let examine = || {
            world.place.wait_for_writers(&name(LEFT));
            world.committer.examine_leftover(&world.place.dir, &name(LEFT), known).unwrap()
        };
        assert_eq!(examine(), LeftoverFate::Removed);
        assert_eq!(examine(), LeftoverFate::Gone);
        world.place.write(LEFT, "the only copy");
        assert!(matches!(examine(), LeftoverFate::Kept(_)));
        world.assert_kept(&["the only copy"]);
        world.assert_clean();
    }
}

#[test]
fn a_leftover_that_somebody_writes_is_left_alone() {
    for world in worlds() {
        let _writer = fs::File::create(world.path(LEFT)).unwrap();
        let fate = world
            .committer
            .examine_leftover(&world.place.dir, &name(LEFT), |_| LeftoverVerdict::Known)
            .unwrap();
        assert_eq!(fate, LeftoverFate::InUse);
        assert!(world.path(LEFT).exists());
    }
}

#[test]
fn a_leftover_is_put_back_where_nothing_stands() {
    for world in worlds() {
        world.place.write(LEFT, "aside");
        assert_eq!(examine(&world, LeftoverVerdict::PutBack(name("f"))), LeftoverFate::PutBack);
        assert_eq!(world.place.read("f"), "aside");
        world.place.write(LEFT, "again");
        let fate = examine(&world, LeftoverVerdict::PutBack(name("f")));
        assert!(matches!(fate, LeftoverFate::Kept(_)));
        assert_eq!(world.place.read("f"), "aside");
        world.assert_kept(&["aside", "again"]);
    }
}

#[test]
fn a_leftover_directory_goes_only_when_it_is_empty() {
    for world in worlds() {
        fs::create_dir(world.path(LEFT)).unwrap();
        assert_eq!(examine(&world, LeftoverVerdict::Unknown), LeftoverFate::Removed);
        fs::create_dir(world.path(LEFT)).unwrap();
        world.place.write(&format!("{LEFT}/precious"), "precious");
        assert!(matches!(examine(&world, LeftoverVerdict::Known), LeftoverFate::Kept(_)));
        world.assert_kept(&["precious"]);
        symlink("target", world.path(LEFT)).unwrap();
        let judged = |leftover: &Leftover| {
            assert_eq!(leftover.target.as_deref(), Some(&b"target"[..]));
            LeftoverVerdict::Known
        };
        let fate = world.committer.examine_leftover(&world.place.dir, &name(LEFT), judged);
        assert_eq!(fate.unwrap(), LeftoverFate::Removed);
    }
}

#[test]
fn what_a_probe_left_goes_but_nothing_that_holds_bytes() {
    for world in worlds() {
        let probe = ".vfsync.probe.0123456789abcdef";
        fs::create_dir(world.path(probe)).unwrap();
        world.place.write(&format!("{probe}/a"), "");
        assert_eq!(world.committer.leftovers(&world.place.dir).unwrap(), [name(probe)]);
        let examine =
            || world.committer.examine_leftover(&world.place.dir, &name(probe), |_| LeftoverVerdict::Known);
        assert_eq!(examine().unwrap(), LeftoverFate::Removed);
        fs::create_dir(world.path(probe)).unwrap();
        world.place.write(&format!("{probe}/a"), "bytes");
        assert!(matches!(examine().unwrap(), LeftoverFate::Kept(_)));
        world.assert_kept(&["bytes"]);
    }
}

const FOLDER: &str = "VFSYNC_TEST_KILL_IN";
const STEP: &str = "VFSYNC_TEST_KILL_AT";

/// Not a test of its own: the process that the next one kills.
#[test]
#[ignore = "ends by a signal; run by another test"]
fn the_process_that_is_killed() {
    let (Ok(folder), Ok(step)) = (std::env::var(FOLDER), std::env::var(STEP)) else { return };
    let world = World::on(Place::at(std::path::Path::new(&folder)));
    let (what, step) = step.split_once('|').unwrap();
    let theirs = world.path("theirs");
    let f = world.path("f");
    match what {
        "without exchange" => lacking::set(lacking::EXCHANGE),
        "with a change" => at("replace: held", move || fs::rename(&theirs, &f).unwrap()),
        _ => {}
    }
    let die =
        || rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
    at(Box::leak(step.to_owned().into_boxed_str()), die);
    match what {
        "remove" => drop(world.remove("f")),
        _ => drop(world.replace("f", "new")),
    }
    panic!("it does not come to {step}");
}

/// A process killed at any step of a swap: what it leaves under a reserved name is either known, and goes, or is put
/// back or kept.
#[test]
fn a_kill_at_any_step_loses_nothing() {
    let steps = [
        "replace|replace: held",
        "replace|replace: exchanged",
        "remove|remove: held",
        "remove|moved aside",
        "without exchange|moved aside",
        "without exchange|replace: moved aside",
        "with a change|replace: exchanged",
        "with a change|exchange back",
    ];
    for world in worlds() {
        for step in steps {
            for path in ["f", "theirs"] {
                let _ = fs::remove_file(world.path(path));
            }
            world.place.write("f", "old");
            world.place.write("theirs", "theirs");
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["the_process_that_is_killed", "--ignored"])
                .env(FOLDER, world.place.path.parent().unwrap())
                .env(STEP, step)
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{step}");
            let changed = step.starts_with("with a change");
            world.assert_kept(if changed { &["theirs"] } else { &["old", "theirs"] });
            for leftover in world.committer.leftovers(&world.place.dir).unwrap() {
                let missing = !world.path("f").exists();
                let judge = |leftover: &Leftover| match leftover.digest {
                    Some(found) if found == digest("old") && missing => LeftoverVerdict::PutBack(name("f")),
                    Some(found) if found == digest("old") || found == digest("new") => LeftoverVerdict::Known,
                    _ => LeftoverVerdict::Unknown,
                };
                world.committer.examine_leftover(&world.place.dir, &leftover, judge).unwrap();
            }
            world.assert_clean();
            world.assert_kept(&["theirs"]);
            assert!(["old", "new", "theirs"].contains(&&*world.place.read("f")), "{step}");
        }
    }
}
