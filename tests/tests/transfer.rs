//! How content gets to the other side: what has to be sent, and what is there already.

use serde_json::Value;
use vfsync_tests::{Outcome, assert_same, over_both_links, terminal::Terminal, wait_for};

/// Bytes that nothing makes smaller, the same each time.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for piece in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        piece.copy_from_slice(&state.to_le_bytes()[..piece.len()]);
    }
    bytes
}

/// Returns the bytes that a pass sent, both ways.
#[track_caller]
fn bytes(pass: &Outcome) -> u64 {
    let summary = pass.code(0).summary();
    let count = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap();
    count("bytes_sent") + count("bytes_received")
}

over_both_links! {
    fn a_renamed_file_is_not_sent_again(pair) {
        pair.first.file("large", noise(1, 3_000_000)).file("small", noise(2, 20_000)).file("d/f", "");
        pair.in_step();
        pair.first.rename("large", "d/large").rename("small", "a-small");
        let sent = bytes(&pair.sync().arg("--json").run());
        assert_same(&pair.first, &pair.second);
        assert!(sent < 10_000, "{sent} bytes for two renames");
        // The other way, where the new names come after the old ones in the order of a walk.
        pair.second.rename("d/large", "large").rename("a-small", "z-small");
        let sent = bytes(&pair.sync().arg("--json").run());
        assert_same(&pair.first, &pair.second);
        assert!(sent < 10_000, "{sent} bytes for two renames");
    }

    fn a_renamed_directory_is_not_sent_again(pair) {
        // More than are dealt with at once, so that some are gone under their old names before others are asked for.
        for n in 0..45 {
            for m in 0..100 {
                pair.first.file(format!("m/{n}/{m}"), noise(n * 100 + m, 2000));
            }
        }
        pair.in_step();
        pair.first.rename("m", "z");
        let sent = bytes(&pair.sync().args(["--json", "-max-delete", "100%"]).run());
        assert_same(&pair.first, &pair.second);
        assert!(sent < 3_000_000, "{sent} bytes for a directory that was renamed, with 9,000,000 in it");
    }

    fn a_copy_of_a_large_file_is_made_there(pair) {
        pair.first.file("f", noise(3, 2_000_000));
        pair.in_step();
        pair.first.file("copies/1", noise(3, 2_000_000)).file("g", noise(3, 2_000_000));
        let sent = bytes(&pair.sync().arg("--json").run());
        assert_same(&pair.first, &pair.second);
        assert!(sent < 10_000, "{sent} bytes for two copies");
    }

    fn without_xferbycopying_everything_is_sent(pair) {
        pair.first.file("f", noise(4, 1_000_000));
        pair.in_step();
        pair.first.rename("f", "g");
        let sent = bytes(&pair.sync().args(["--json", "-xferbycopying", "false"]).run());
        assert_same(&pair.first, &pair.second);
        assert!(sent > 1_000_000, "{sent} bytes");
    }

    /// What stands under the old name is no longer what the archive says: it must not be taken for it.
    fn a_source_that_was_changed_unseen_is_not_used(pair) {
        pair.first.file("f", noise(5, 500_000));
        pair.in_step();
        pair.first.rename("f", "g");
        let mut changed = noise(5, 500_000);
        changed[250_000] ^= 1;
        // Edited while the pass runs would look the same: the scan of this side does not come to the file.
        pair.second.file("f", changed.clone());
        pair.sync().args(["-path", "g"]).run().code(0);
        assert_eq!(pair.second.read("g"), noise(5, 500_000));
        assert_eq!(pair.second.read("f"), changed);
    }

    fn of_a_changed_large_file_only_what_changed_is_sent(pair) {
        let old = noise(10, 20_000_000);
        pair.first.file("f", &old);
        pair.in_step();
        let inserted = [b"0123456789", &old[..]].concat();
        let mut inside = inserted.clone();
        inside[7_000_000..7_004_096].fill(b'x');
        let appended = [&inside[..], &[b'y'; 1024]].concat();
        let cut = appended[..15_000_000].to_vec();
        for (what, new) in [("prepended", inserted), ("inside", inside), ("appended", appended), ("cut", cut)] {
            pair.first.file("f", &new);
            let sent = bytes(&pair.sync().arg("--json").run());
            assert!(pair.second.read("f") == new, "{what}");
            assert!(sent < 400_000, "{sent} bytes, {what}");
            assert_same(&pair.first, &pair.second);
        }
    }

    fn a_large_file_that_became_another_one_is_sent(pair) {
        pair.first.file("f", noise(11, 2_000_000));
        pair.in_step();
        pair.first.file("f", noise(12, 2_500_000));
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
        // One side empty, or nearly.
        pair.first.file("f", "");
        pair.sync().run().code(0);
        pair.first.file("f", vec![0; 3_000_000]);
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    fn what_is_compressed_arrives_as_it_was(pair) {
        pair.first.file("text", "the same line over and over\n".repeat(100_000)).file("noise", noise(13, 3_000_000));
        for n in 0..300 {
            pair.first.file(format!("d/{n}"), format!("small file number {n}\n").repeat(50));
        }
        let sent = bytes(&pair.sync().args(["--json", "-compress", "zstd:5"]).run());
        assert_same(&pair.first, &pair.second);
        assert!(sent < 3_300_000, "{sent} bytes, of which 3,000,000 cannot be compressed");
    }

    fn holes_stay_holes_and_cost_nothing(pair) {
        use std::os::unix::{fs::FileExt, fs::MetadataExt};
        let file = std::fs::File::create(pair.first.path("sparse")).unwrap();
        file.set_len(50_000_000).unwrap();
        file.write_all_at(b"something", 20_000_000).unwrap();
        pair.first.file("zeros", vec![0; 1_000_000]);
        let sent = bytes(&pair.sync().arg("--json").run());
        assert_same(&pair.first, &pair.second);
        assert!(sent < 200_000, "{sent} bytes");
        let blocks = pair.second.meta("sparse").blocks() + pair.second.meta("zeros").blocks();
        assert!(blocks * 512 < 500_000, "{} bytes on the disk", blocks * 512);
    }

    fn bwlimit_bounds_the_rate(pair) {
        pair.first.file("f", noise(14, 2_000_000));
        let began = std::time::Instant::now();
        pair.sync().args(["-bwlimit", "1M"]).run().code(0);
        assert_same(&pair.first, &pair.second);
        let took = began.elapsed().as_secs_f64();
        assert!(took > 1.5, "2,000,000 bytes at 1 MiB a second in {took} s");
    }

    fn exchanged_files_are_exchanged_there(pair) {
        pair.first.file("a", noise(6, 300_000)).file("b", noise(7, 300_000));
        pair.in_step();
        pair.first.rename("a", "c").rename("b", "a").rename("c", "b");
        let sent = bytes(&pair.sync().arg("--json").run());
        assert_same(&pair.first, &pair.second);
        assert!(sent < 10_000, "{sent} bytes for an exchange");
    }
}

#[test]
fn a_rename_while_live_is_not_sent_again() {
    let pair = vfsync_tests::Pair::over_ssh();
    pair.first.file("d/large", noise(8, 3_000_000)).file("d/small", noise(9, 3_000));
    let mut live = pair.live();
    pair.first.rename("d", "e");
    live.carries();
    pair.first.rename("e/large", "large");
    live.carries();
}

/// A log that somebody writes to all the time is never quiet: what it was a moment ago goes over.
#[test]
fn a_log_that_grows_all_the_time_is_carried_over_as_it_grows() {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};
    let pair = vfsync_tests::Pair::over_ssh();
    pair.first.file("log", noise(15, 3_000_000)).file("other", "");
    let _live = pair.live();
    let stop = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            let mut log = std::fs::OpenOptions::new().append(true).open(pair.first.path("log")).unwrap();
            while !stop.load(Ordering::Relaxed) {
                log.write_all(b"one more line\n".repeat(20).as_slice()).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        let there = || std::fs::read(pair.second.path("log")).unwrap_or_default();
        let grown = vfsync_tests::wait_for_up_to(vfsync_tests::LIMIT, || {
            let (before, now) = (there(), pair.first.read("log"));
            assert!(now.starts_with(&before), "a mixture of {} bytes", before.len());
            (before.len() > 3_100_000).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        assert!(grown.is_some(), "the other side still has {} bytes", there().len());
    });
}

#[test]
fn a_terminal_shows_how_far_it_has_come_and_nothing_else_does() {
    let pair = vfsync_tests::Pair::over_ssh();
    pair.first.file("f", noise(16, 2_000_000));
    let sync = || pair.sync().args(["-bwlimit", "1M"]);
    let mut terminal = Terminal::start(sync());
    terminal.shows("paths looked at").shows("of 1 files").shows("left");
    terminal.end().code(0);
    pair.first.file("f", noise(17, 2_000_000));
    sync().run().code(0).tells_not("of 1 files");
    pair.first.file("f", noise(18, 2_000_000));
    let mut terminal = Terminal::start(sync().arg("-terse"));
    terminal.shows("f");
    assert!(!terminal.end().code(0).stdout.contains("of 1 files"));
}

/// Returns how many bytes a process has written to files that have no name.
fn unnamed(pid: i32) -> u64 {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let lengths = fds.filter_map(|fd| {
        let fd = fd.ok()?.path();
        let is_unnamed = std::fs::read_link(&fd).ok()?.to_string_lossy().ends_with("(deleted)");
        is_unnamed.then(|| std::fs::metadata(&fd).map_or(0, |meta| meta.len()))
    });
    lengths.max().unwrap_or(0)
}

#[test]
fn what_had_come_of_a_large_file_is_not_sent_again() {
    let pair = vfsync_tests::Pair::over_ssh();
    let content = noise(19, 20_000_000);
    pair.first.file("d/f", &content).file("other", "");
    let partials = || {
        let names = std::fs::read_dir(pair.second.path("d")).into_iter().flatten();
        names.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".part.")).count()
    };
    let mut pass = pair.sync().args(["-bwlimit", "4M"]).start();
    wait_for("half of it", || {
        let far = pair.far_ends();
        far.iter().any(|&pid| unnamed(pid) > 8_000_000).then_some(())
    });
    pass.kill();
    wait_for("what has come to be kept", || (partials() == 1).then_some(()));
    assert!(!pair.second.has("d/f"), "nothing partial has its name");
    wait_for("the far end to end", || pair.far_ends().is_empty().then_some(()));
    let sent = bytes(&pair.sync().arg("--json").run());
    assert!(sent < 13_000_000, "{sent} bytes");
    assert!(pair.second.read("d/f") == content);
    assert_eq!(partials(), 0);
    // One that nobody comes back for does not keep a directory that goes.
    pair.second.file("d/.vfsync.part.00112233445566778899aabbccddeeff", "old");
    pair.first.remove("d");
    pair.sync().run().code(0);
    assert!(!pair.second.has("d"));
}

/// The directory was opened when the content began to come, and what came was put into it where it was by then: outside of
/// the tree. Then it was missed in the tree, and deleted where it came from.
#[test]
fn a_file_does_not_follow_its_directory_out_of_the_tree() {
    let pair = vfsync_tests::Pair::over_ssh();
    pair.first.file("d/small", "1");
    pair.sync().run().code(0);
    let content = noise(23, 10_000_000);
    pair.first.file("d/big", &content);
    let pass = pair.sync().args(["-bwlimit", "4M"]).start();
    wait_for("some of it", || {
        let far = pair.far_ends();
        far.iter().any(|&pid| unnamed(pid) > 2_000_000).then_some(())
    });
    let moved = pair.second.path("").with_file_name("moved");
    std::fs::rename(pair.second.path("d"), &moved).unwrap();
    std::fs::create_dir(pair.second.path("d")).unwrap();
    pass.end();
    pair.sync().run().code(0);
    assert!(!moved.join("big").exists(), "it went to where its directory is now");
    assert!(pair.first.read("d/big") == content);
    assert_same(&pair.first, &pair.second);
}
