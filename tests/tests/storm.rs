//! Storms of changes that a live sync must survive, on this machine's own kernel. The same program runs in guests.

use std::{path::Path, process::Command};

use vfsync_tests::{binary, watching::Watching};

/// Runs `live-storm` with a tier and a ring of this size, at a small scale.
fn survives(tier: &str, ring: &str) {
    let place = tempfile::Builder::new().prefix("storm").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    if let Err(why) = Watching::start(binary::vfsync(), tier, &[place.path()]) {
        return eprintln!("not tested: {why}");
    }
    let out = Command::new(env!("CARGO_BIN_EXE_live-storm"))
        .args([binary::vfsync(), Path::new(tier), place.path()])
        .args([ring, "0.01"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}");
    eprintln!("{}", String::from_utf8_lossy(&out.stdout));
}

#[test]
fn a_storm_ends_with_equal_trees_even_if_the_ring_is_far_too_small() {
    survives("tracepoint", "64K");
}

#[test]
fn a_storm_ends_with_equal_trees_by_notifications() {
    survives("fanotify", "4M");
}

/// One capture serves them all, and a change in any of them comes from there.
#[test]
fn a_thousand_roots_are_watched_at_once() {
    const ROOTS: usize = 1000;
    let place = tempfile::Builder::new().prefix("roots").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let roots: Vec<_> = (0..ROOTS).map(|n| place.path().join(format!("root-{n}"))).collect();
    roots.iter().for_each(|root| std::fs::create_dir(root).unwrap());
    let paths: Vec<&Path> = roots.iter().map(|root| root.as_path()).collect();
    for tier in ["ebpf", "fanotify"] {
        let watching = match Watching::start(binary::vfsync(), tier, &paths) {
            Ok(watching) => watching,
            Err(why) => {
                eprintln!("not tested: {why}");
                continue;
            }
        };
        for root in &roots {
            std::fs::write(root.join(tier), "x").unwrap();
        }
        let mut missing: std::collections::BTreeSet<_> = roots.iter().map(|root| root.join(tier)).collect();
        while !missing.is_empty() {
            let seen = watching.next(vfsync_tests::LIMIT).unwrap_or_else(|why| {
                panic!("{tier}: {why}; {} roots told nothing", missing.len());
            });
            assert_ne!(seen.event, "overflow");
            missing.remove(&seen.path);
        }
    }
}
