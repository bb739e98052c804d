use super::*;
use crate::core::entry::Digest;
use std::os::unix::fs::symlink;

fn digest(content: &str) -> Digest {
    Digest(*blake3::hash(content.as_bytes()).as_bytes())
}

const LEFT: &str = ".vfsync.tmp.0123456789abcdef";

fn examine(world: &World, verdict: LeftoverVerdict) -> LeftoverFate {
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
        let examine = || world.committer.examine_leftover(&world.place.dir, &name(LEFT), known).unwrap();
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

/// A process killed at any step of a swap: what it leaves under a reserved name is either known or kept.
#[test]
fn a_kill_at_any_step_of_a_swap_loses_nothing() {
    for world in worlds() {
        for step in ["replace: held", "replace: exchanged"] {
            let _ = fs::remove_file(world.path("f"));
            world.place.write("f", "old");
            // The steps up to there, and then nothing more, not even what runs on drop.
            let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                at(step, || std::panic::resume_unwind(Box::new("killed")));
                let expected = world.seen("f");
                let staged = std::mem::ManuallyDrop::new(world.staged("f", "new"));
                let staged = std::mem::ManuallyDrop::into_inner(staged);
                world.committer.replace(staged, &expected, Writers::Wait)
            }));
            assert!(killed.is_err());
            world.assert_kept(&["old"]);
            for leftover in world.committer.leftovers(&world.place.dir).unwrap() {
                let judge =
                    |l: &Leftover| match [Some(digest("old")), Some(digest("new"))].contains(&l.digest) {
                        true => LeftoverVerdict::Known,
                        false => LeftoverVerdict::Unknown,
                    };
                let fate = world.committer.examine_leftover(&world.place.dir, &leftover, judge).unwrap();
                assert_eq!(fate, LeftoverFate::Removed);
            }
            let now = world.place.read("f");
            assert!(now == "old" || now == "new");
            world.assert_clean();
        }
    }
}
