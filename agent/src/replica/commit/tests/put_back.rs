//! What others may do while a swap is taken back.

use super::races::overwrite_at;
use super::*;
use std::io::Write;
use std::sync::mpsc::channel;

#[test]
fn of_two_versions_within_one_swap_the_newer_stands_and_the_older_is_kept() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("replace: held", &world, "f", "first");
        overwrite_at("exchange back", &world, "f", "second");
        let backups = assert_stale(world.replace("f", "ours"));
        assert_eq!(world.place.read("f"), "second");
        assert_eq!(backups.len(), 1);
        let kept = world.committer.backup_path(&backups[0]).unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), "first");
        world.assert_clean();
    }
}

#[test]
fn a_third_version_is_not_lost_either() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("replace: held", &world, "f", "first");
        overwrite_at("exchange back", &world, "f", "second");
        overwrite_at("exchanged back", &world, "f", "third!");
        assert_stale(world.replace("f", "ours"));
        // "first" was at the name in plain sight when they put "third!" there.
        world.assert_kept(&["second", "third!"]);
        world.assert_clean();
    }
}

#[test]
fn what_was_written_to_our_file_before_it_went_is_kept() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("replace: held", &world, "f", "theirs");
        let path = world.path("f");
        at("exchange back", move || {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(b"+edit").unwrap();
        });
        assert_stale(world.replace("f", "ours"));
        world.assert_kept(&["theirs", "ours+edit"]);
        world.assert_clean();
    }
}

#[test]
fn whoever_has_our_file_open_for_writing_keeps_it() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("replace: held", &world, "f", "theirs");
        let path = world.path("f");
        let (send, receive) = channel();
        at("exchange back", move || {
            send.send(fs::OpenOptions::new().append(true).open(&path).unwrap()).unwrap();
        });
        assert_stale(world.replace("f", "ours"));
        receive.recv().unwrap().write_all(b"+later").unwrap();
        assert_eq!(world.place.read("f"), "theirs");
        world.assert_kept(&["theirs", "ours+later"]);
    }
}

#[test]
fn a_name_that_was_removed_in_between_gets_back_what_nobody_has_seen() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("replace: held", &world, "f", "theirs");
        let path = world.path("f");
        at("exchange back", move || fs::remove_file(&path).unwrap());
        assert_stale(world.replace("f", "ours"));
        assert_eq!(world.place.read("f"), "theirs");
        world.assert_clean();
    }
}

#[test]
fn a_name_that_was_filled_again_keeps_both() {
    for world in worlds() {
        world.place.write("f", "old");
        overwrite_at("remove: held", &world, "f", "theirs");
        let path = world.path("f");
        at("move back", move || fs::write(&path, "newest").unwrap());
        let backups = assert_stale(world.remove("f"));
        assert_eq!(world.place.read("f"), "newest");
        assert_eq!(backups.len(), 1);
        world.assert_kept(&["theirs", "newest"]);
        world.assert_clean();
    }
}
