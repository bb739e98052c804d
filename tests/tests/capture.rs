//! What capture reports on this machine, through `vfsync watch`. These tests need root and a kernel that loads
//! vfsync's programs; without either they say so and pass.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use vfsync_tests::{
    binary,
    operations::{Ground, OPERATIONS},
    watching::{Outcome, Watching},
};

/// Starts `vfsync watch`; `None` where this machine has no capture.
fn watching(paths: &[&Path]) -> Option<Watching> {
    match Watching::start(binary::vfsync(), "ebpf", paths) {
        Ok(watching) => Some(watching),
        Err(why) => {
            eprintln!("not tested: {why}");
            None
        }
    }
}

/// Makes a place on the disk, or in memory.
fn place(memory: bool) -> tempfile::TempDir {
    let parent = if memory { Path::new("/dev/shm") } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    tempfile::Builder::new().prefix("capture").tempdir_in(parent).expect("a place can be made")
}

fn every_operation_is_reported(memory: bool) {
    let place = place(memory);
    let ground = Ground::make(place.path()).unwrap();
    let Some(mut watching) = watching(&[&ground.root]) else { return };
    let mut missed = Vec::new();
    for operation in OPERATIONS {
        match watching.demand(&ground, operation).unwrap() {
            Outcome::Seen => {}
            Outcome::Lost => missed.push(format!("{}: lost", operation.name)),
            Outcome::Missed(why) => missed.push(format!("{}: {why}", operation.name)),
            Outcome::NotPerformed(why) => eprintln!("{} was not performed: {why}", operation.name),
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_operation_is_reported_in_memory() {
    every_operation_is_reported(true);
}

#[test]
fn every_operation_is_reported_on_the_disk() {
    every_operation_is_reported(false);
}

#[test]
fn what_happens_outside_is_not_reported() {
    let place = place(false);
    let ground = Ground::make(place.path()).unwrap();
    let Some(mut watching) = watching(&[&ground.root]) else { return };
    watching.sync(&ground).unwrap();
    fs::write(ground.outside.join("file"), "x").unwrap();
    fs::rename(ground.outside.join("file"), ground.outside.join("other")).unwrap();
    fs::remove_file(ground.outside.join("other")).unwrap();
    let seen = watching.sync(&ground).unwrap();
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn a_lone_event_arrives_within_milliseconds() {
    let place = place(true);
    let ground = Ground::make(place.path()).unwrap();
    let Some(mut watching) = watching(&[&ground.root]) else { return };
    watching.sync(&ground).unwrap();
    let mut times: Vec<Duration> = (0..21)
        .map(|i| {
            // Quiet for longer than the reader lingers: it is asleep.
            std::thread::sleep(Duration::from_millis(30));
            let start = Instant::now();
            fs::create_dir(ground.root.join(format!("dir-{i}"))).unwrap();
            watching.next(Duration::from_secs(10)).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    // The median: this may be a busy machine, and the line goes through a pipe and two threads more.
    assert!(times[10] < Duration::from_millis(5), "{times:?}");
}

#[test]
fn every_one_of_ten_thousand_deletions_is_reported_or_announced_as_lost() {
    const FILES: usize = 10_000;
    let place = place(true);
    let ground = Ground::make(place.path()).unwrap();
    for i in 0..FILES {
        fs::write(ground.root.join(format!("{i}")), "").unwrap();
    }
    let Some(mut watching) = watching(&[&ground.root]) else { return };
    for i in 0..FILES {
        fs::remove_file(ground.root.join(format!("{i}"))).unwrap();
    }
    let seen = watching.sync(&ground).unwrap();
    let lost = seen.iter().any(|s| s.event == "overflow");
    let deleted = seen.iter().filter(|s| s.event == "delete").count();
    assert!(lost || deleted == FILES, "{deleted} of {FILES}");
}

#[test]
fn an_append_after_each_report_is_reported_again() {
    let place = place(false);
    let ground = Ground::make(place.path()).unwrap();
    let Some(mut watching) = watching(&[&ground.root]) else { return };
    let path = ground.root.join("log");
    let mut file = fs::File::create(&path).unwrap();
    watching.sync(&ground).unwrap();
    for _ in 0..50 {
        file.write_all(b"line\n").unwrap();
        let seen = watching.sync(&ground).unwrap();
        assert!(seen.iter().any(|s| s.event == "write" && s.path == path), "{seen:?}");
    }
}
