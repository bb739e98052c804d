//! File systems that lack something: the same promises, kept in other ways.

use super::*;
use crate::fs::change::lacking;
use std::os::unix::fs::symlink;

const POORER: [u8; 5] = [
    lacking::UNNAMED,
    lacking::EXCHANGE,
    lacking::UNNAMED | lacking::EXCHANGE | lacking::NOREPLACE,
    lacking::EXCHANGE | lacking::NOREPLACE,
    lacking::UNNAMED | lacking::EXCHANGE | lacking::NOREPLACE | lacking::LINKS,
];

fn each_poorer_world(test: impl Fn(&World)) {
    for lack in POORER {
        for world in worlds() {
            lacking::set(lack);
            test(&world);
            lacking::set(0);
            world.assert_clean();
        }
    }
}

#[test]
fn everything_works_without_what_is_lacking() {
    each_poorer_world(|world| {
        let dir = &world.place.dir;
        world.committer.create(world.staged("f", "1")).unwrap();
        assert_stale(world.committer.create(world.staged("f", "2")));
        let published = world.replace("f", "2").unwrap();
        assert_eq!(published.stamp, Some(world.stamp("f")));
        assert_eq!(world.place.read("f"), "2");
        world.committer.make_dir(dir, &name("d"), &Wanted::default()).unwrap();
        assert_stale(world.committer.make_dir(dir, &name("d"), &Wanted::default()));
        world.committer.make_symlink(dir, &name("l"), b"x", &Wanted::default()).unwrap();
        assert_stale(world.committer.make_symlink(dir, &name("l"), b"x", &Wanted::default()));
        world.replace("l", "3").unwrap();
        world.replace("d", "4").unwrap();
        assert_eq!((world.place.read("l"), world.place.read("d")), ("3".into(), "4".into()));
        let expected = world.seen("f");
        assert_stale(world.committer.rename(dir, &name("f"), dir, &name("d"), &expected));
        world.committer.rename(dir, &name("f"), dir, &name("g"), &expected).unwrap();
        for path in ["g", "l", "d"] {
            world.remove(path).unwrap();
        }
        assert_eq!(dir.any_name().unwrap(), None);
    });
}

#[test]
fn what_others_do_meanwhile_is_not_lost_there_either() {
    each_poorer_world(|world| {
        let changes = |path: PathBuf, content: &'static str| {
            move || {
                let new = path.with_extension("tmp");
                fs::write(&new, content).unwrap();
                fs::rename(new, &path).unwrap();
            }
        };
        world.place.write("f", "old");
        at("replace: held", changes(world.path("f"), "theirs"));
        assert_stale(world.replace("f", "ours"));
        assert_eq!(world.place.read("f"), "theirs");

        at("replace: held", changes(world.path("f"), "theirs2"));
        at("move back", changes(world.path("f"), "newest"));
        at("exchange back", changes(world.path("f"), "newest"));
        assert_stale(world.replace("f", "ours"));
        world.assert_kept(&["theirs2", "newest"]);

        let path = world.path("g");
        at("create: ready", move || fs::write(&path, "first").unwrap());
        assert_stale(world.committer.create(world.staged("g", "ours")));
        assert_eq!(world.place.read("g"), "first");

        symlink("x", world.path("l")).unwrap();
        at("remove: held", changes(world.path("l"), "a file now"));
        assert_stale(world.remove("l"));
        assert_eq!(world.place.read("l"), "a file now");
    });
}

#[test]
fn a_name_that_is_filled_while_the_old_file_is_aside_stands() {
    for world in worlds() {
        lacking::set(lacking::EXCHANGE);
        world.place.write("f", "old");
        let path = world.path("f");
        at("replace: moved aside", move || fs::write(&path, "theirs").unwrap());
        let backups = assert_stale(world.replace("f", "ours"));
        lacking::set(0);
        assert_eq!(world.place.read("f"), "theirs");
        assert_eq!(backups.len(), 1);
        world.assert_kept(&["old", "theirs"]);
        world.assert_clean();
    }
}
