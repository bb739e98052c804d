//! What capture reports on this machine, through `vfsync watch`. These tests need root and a kernel that loads
//! vfsync's programs; without either they say so and pass.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use vfsync_tests::{
    binary,
    mount::Mounted,
    operations::{self, Ground},
    stress,
    watching::{Outcome, Watching},
};
use xtask::{
    coverage::{self, Cell, Word},
    vm,
};

/// What works by way of the kernel's programs has to work by its notifications too.
const TIERS: [&str; 2] = ["ebpf", "fanotify"];

/// Starts `vfsync watch` with the best eBPF tier; `None` where this machine has none.
fn watching(paths: &[&Path]) -> Option<Watching> {
    watching_by("ebpf", paths)
}

/// Starts `vfsync watch` with a tier; `None` where this machine does not have it.
fn watching_by(tier: &str, paths: &[&Path]) -> Option<Watching> {
    match Watching::start(binary::vfsync(), tier, paths) {
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

fn every_operation_is_reported(tier: &str, memory: bool) {
    let place = place(memory);
    let ground = Ground::make(place.path()).unwrap();
    let Some(mut watching) = watching_by(tier, &[&ground.root]) else { return };
    let doctor = Command::new(binary::vfsync()).arg("doctor").arg(place.path()).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let all = operations::all();
    let mut printed = Vec::new();
    for (operation, outcome) in all.iter().zip(watching.demand(&ground, &all).unwrap()) {
        if let Outcome::NotPerformed(why) = &outcome {
            eprintln!("{} was not performed: {why}", operation.name);
        }
        // In these calls the tracepoints have the directory alone.
        let in_general =
            operation.name.starts_with("io_uring") || operation.name.ends_with("of a 32-bit program");
        assert!(outcome != Outcome::Listed || in_general, "{}: listed", operation.name);
        assert_ne!(outcome, Outcome::Lost, "{}", operation.name);
        let cell = Cell {
            tier: tier.to_owned(),
            file_system: place.path().display().to_string(),
            operation: operation.name.to_owned(),
        };
        printed.push((cell, Word::from(outcome)));
    }
    let unsaid = coverage::unsaid(&printed, &doctor);
    assert!(unsaid.is_empty(), "not seen, and doctor does not say so:\n{}", unsaid.join("\n"));
}

#[test]
fn every_operation_is_reported_in_memory() {
    TIERS.into_iter().for_each(|tier| every_operation_is_reported(tier, true));
}

#[test]
fn every_operation_is_reported_on_the_disk() {
    TIERS.into_iter().for_each(|tier| every_operation_is_reported(tier, false));
}

#[test]
fn what_happens_outside_is_not_reported() {
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        let Some(mut watching) = watching_by(tier, &[&ground.root]) else { continue };
        watching.sync(&ground).unwrap();
        fs::write(ground.outside.join("file"), "x").unwrap();
        fs::rename(ground.outside.join("file"), ground.outside.join("other")).unwrap();
        fs::remove_file(ground.outside.join("other")).unwrap();
        let seen = watching.sync(&ground).unwrap();
        assert!(seen.is_empty(), "{seen:?}");
    }
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
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        let Some(mut watching) = watching_by(tier, &[&ground.root]) else { continue };
        let path = ground.root.join("log");
        let mut file = fs::File::create(&path).unwrap();
        watching.sync(&ground).unwrap();
        for _ in 0..50 {
            file.write_all(b"line\n").unwrap();
            let seen = watching.sync(&ground).unwrap();
            assert!(seen.iter().any(|s| s.event == "write" && s.path == path), "{seen:?}");
        }
    }
}

/// Waits until a change at this path is reported under it, making another one each time until then.
fn is_watched_again(watching: &Watching, path: &Path) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut n = 0;
    while Instant::now() < deadline {
        n += 1;
        let file = path.join(format!("again-{n}"));
        fs::write(&file, "x").unwrap();
        while let Ok(seen) = watching.next(Duration::from_millis(200)) {
            if seen.path == file && seen.event == "create" {
                return true;
            }
        }
    }
    false
}

/// Waits for the word that everything has to be looked at.
fn everything_is_to_be_looked_at(watching: &Watching) -> bool {
    std::iter::from_fn(|| watching.next(Duration::from_secs(20)).ok()).any(|seen| seen.event == "overflow")
}

#[test]
fn a_root_that_is_replaced_is_watched_as_what_it_is_now() {
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        let Some(watching) = watching_by(tier, &[&ground.root]) else { continue };
        fs::rename(&ground.root, ground.outside.join("old")).unwrap();
        assert!(everything_is_to_be_looked_at(&watching));
        fs::create_dir(&ground.root).unwrap();
        assert!(everything_is_to_be_looked_at(&watching));
        assert!(is_watched_again(&watching, &ground.root));
    }
}

#[test]
fn a_root_whose_parent_is_renamed_is_watched_where_its_path_leads() {
    for tier in TIERS {
        let place = place(false);
        let parent = place.path().join("parent");
        let ground = Ground::make(&parent).unwrap();
        let Some(watching) = watching_by(tier, &[&ground.root]) else { continue };
        fs::rename(&parent, place.path().join("other")).unwrap();
        Ground::make(&parent).unwrap();
        assert!(everything_is_to_be_looked_at(&watching));
        assert!(is_watched_again(&watching, &ground.root));
    }
}

#[test]
fn what_is_mounted_below_a_root_is_watched_until_it_goes() {
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        let point = ground.root.join("mounted");
        fs::create_dir(&point).unwrap();
        let Some(mut watching) = watching_by(tier, &[&ground.root]) else { continue };
        let mounted = Mounted::tmpfs(&point);
        assert!(is_watched_again(&watching, &point));
        drop(mounted);
        // The next event of the tree comes from below the mount point, on the root's own file system again.
        watching.sync(&ground).unwrap();
        assert!(is_watched_again(&watching, &point));
    }
}

#[test]
fn a_root_that_is_mounted_over_is_watched_as_what_is_seen_there() {
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        let Some(watching) = watching_by(tier, &[&ground.root]) else { continue };
        let mounted = Mounted::tmpfs(&ground.root);
        assert!(is_watched_again(&watching, &ground.root));
        drop(mounted);
        assert!(is_watched_again(&watching, &ground.root));
    }
}

#[test]
fn a_write_by_way_of_a_bind_mount_is_reported_below_the_root() {
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        let elsewhere = place.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let Some(mut watching) = watching_by(tier, &[&ground.root]) else { continue };
        let _mounted = Mounted::bind(&ground.root, &elsewhere);
        watching.sync(&ground).unwrap();
        fs::write(elsewhere.join("file"), "x").unwrap();
        let seen = watching.sync(&ground).unwrap();
        assert!(seen.iter().any(|s| s.event == "create" && s.path == ground.root.join("file")), "{seen:?}");
    }
}

#[test]
fn what_is_bound_below_a_root_is_reported_at_the_place_where_it_is_seen() {
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        let point = ground.root.join("bound");
        fs::create_dir(&point).unwrap();
        let Some(watching) = watching_by(tier, &[&ground.root]) else { continue };
        let _mounted = Mounted::bind(&ground.outside, &point);
        assert!(is_watched_again(&watching, &point));
        fs::write(ground.outside.join("by-its-other-path"), "x").unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let file = point.join("by-its-other-path");
        let seen =
            std::iter::from_fn(|| watching.next(deadline.saturating_duration_since(Instant::now())).ok());
        assert!(seen.into_iter().any(|seen| seen.event == "create" && seen.path == file), "{tier}");
    }
}

#[test]
fn what_changes_while_a_command_runs_is_for_the_next_one() {
    const FILES: usize = 2_000;
    let place = place(false);
    let ground = Ground::make(place.path()).unwrap();
    let (log, gate) = (place.path().join("log"), place.path().join("gate"));
    rustix::fs::mknodat(rustix::fs::CWD, &gate, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    // A command notes what it was given, then waits at the gate as long as there is one.
    let command = format!("cat >> {}; read line < {}", log.display(), gate.display());
    let args = ["--capture", "ebpf", "--exec", &command];
    let mut watching = match Watching::start_with(binary::vfsync(), &args, &[&ground.root]) {
        Ok(watching) => watching,
        Err(why) => return eprintln!("not tested: {why}"),
    };
    fs::write(ground.root.join("first"), "x").unwrap();
    // Opening it waits until the first command stands there.
    let mut first = fs::OpenOptions::new().write(true).open(&gate).unwrap();
    for i in 0..FILES {
        fs::write(ground.root.join(format!("file-{i}")), "x").unwrap();
    }
    // They are reported while it stands there.
    let seen = watching.sync(&ground).unwrap();
    let created = seen.iter().filter(|s| s.event == "create" && s.path != ground.root.join("first"));
    assert_eq!(created.count(), FILES);
    // No later command stands there.
    fs::remove_file(&gate).unwrap();
    first.write_all(b"go on\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let missing = || {
        let given = fs::read_to_string(&log).unwrap();
        (0..FILES).filter(|i| !given.contains(&format!("/file-{i}\n"))).count()
    };
    while missing() > 0 {
        assert!(Instant::now() < deadline, "{} of {FILES} are missing", missing());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn whatever_a_foreign_workload_does_is_reported_or_announced_as_lost() {
    let installed = || Some(PathBuf::from("/usr/bin/stress-ng")).filter(|path| path.exists());
    let Some(program) = vm::stress_ng().or_else(installed) else {
        return eprintln!("not tested: there is no stress-ng");
    };
    for tier in TIERS {
        let place = place(false);
        let ground = Ground::make(place.path()).unwrap();
        if watching_by(tier, &[&ground.root]).is_none() {
            continue;
        }
        let report = stress::run(binary::vfsync(), tier, &ground, &program, Duration::from_secs(3)).unwrap();
        eprintln!("{tier}: {report}");
        assert!(report.differing > 100, "{tier}: it has done little: {report}");
        assert!(report.silent.is_empty(), "{tier}: {report}: {:#?}", report.silent);
    }
}
