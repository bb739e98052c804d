//! Who comes to a file after it has lost its name.

use super::races::writer_at;
use super::*;
use std::time::Duration;

#[test]
fn who_opens_a_displaced_file_in_the_last_moment_is_not_forgotten() {
    for world in worlds().into_iter().filter(World::trusts_leases) {
        world.place.write("f", "old");
        // It has found the file by its name before the exchange, and comes to its open only now.
        let old = fs::File::open(world.path("f")).unwrap();
        let published = world.replace("f", "ours").unwrap();
        let found = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&old));
        let done = writer_at("settle", found.into(), "+theirs");
        let displaced = published.displaced.unwrap();
        let backup = world.committer.settle(displaced, Duration::from_secs(10)).unwrap();
        done.recv().unwrap();
        let kept = world.committer.backup_path(&backup.unwrap()).unwrap();
        assert_eq!(fs::read_to_string(kept).unwrap(), "old+theirs");
        assert_eq!(world.place.read("f"), "ours");
    }
}

#[test]
fn nor_if_nobody_settles_it() {
    for world in worlds().into_iter().filter(World::trusts_leases) {
        world.place.write("f", "old");
        let old = fs::File::open(world.path("f")).unwrap();
        let published = world.replace("f", "ours").unwrap();
        let found = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&old));
        let done = writer_at("dropped", found.into(), "+theirs");
        checkpoint("dropped");
        drop(published);
        done.recv().unwrap();
        let end = std::time::Instant::now() + Duration::from_secs(20);
        while !world.contents().contains(&"old+theirs".to_owned()) {
            assert!(std::time::Instant::now() < end);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
