//! How often a large file is read to carry a change of it over, as the kernel is asked for its bytes.

use std::{collections::HashMap, fs, path::Path};
use vfsync_tests::{Pair, assert_same};

const SIZE: usize = 24_000_000;

/// Runs a pass with the far end under strace, and returns how many bytes it has read from files in the tree.
fn read_by_the_far_end(pair: &Pair) -> u64 {
    let out = pair.home().path("calls");
    let strace = xtask::tracer::strace().expect("`cargo xtask setup` brings it");
    let traced = format!(
        "{} -f -y -s 0 -e trace=read,pread64,readv,preadv,copy_file_range,sendfile -o {} {}",
        strace.display(),
        out.display(),
        pair.server_command()
    );
    pair.sync().args(["-servercmd", &traced]).run().code(0);
    assert_same(&pair.first, &pair.second);
    count(&fs::read_to_string(&out).expect("strace has written something"), pair.second.root())
}

fn count(calls: &str, root: &Path) -> u64 {
    let below = format!("<{}/", root.display());
    let mut under_way: HashMap<&str, bool> = HashMap::new();
    let mut bytes = 0;
    for line in calls.lines() {
        let (pid, rest) = line.split_once(' ').unwrap_or_default();
        let is_ours = match rest.trim_start().starts_with("<...") {
            true => under_way.remove(pid).unwrap_or_default(),
            false => rest.contains(&below),
        };
        if rest.ends_with("<unfinished ...>") {
            under_way.insert(pid, is_ours);
            continue;
        }
        let result = rest.rsplit_once(" = ").and_then(|(_, result)| result.trim().parse::<u64>().ok());
        if is_ours {
            bytes += result.unwrap_or_default();
        }
    }
    bytes
}

/// A large file with a few bytes changed inside.
fn changed(content: &[u8]) -> Vec<u8> {
    let mut changed = content.to_vec();
    changed[SIZE / 2..SIZE / 2 + 100].fill(b'!');
    changed
}

fn noise() -> Vec<u8> {
    let mut state = 1u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..SIZE).map(next).collect()
}

#[test]
fn the_end_that_has_the_change_reads_the_file_once() {
    let pair = Pair::over_ssh();
    let content = noise();
    pair.first.file("f", &content);
    pair.in_step();
    pair.second.file("f", changed(&content));
    let read = read_by_the_far_end(&pair);
    let size = SIZE as u64;
    assert!(read >= size, "{read} bytes: strace has missed something");
    assert!(read < size + size / 50, "{read} bytes were read of a file of {size}");
}

#[test]
fn the_end_that_takes_the_change_reads_the_file_to_cut_it_and_what_it_copies() {
    let pair = Pair::over_ssh();
    let content = noise();
    pair.first.file("f", &content);
    pair.in_step();
    // Its stamp has come to be trusted.
    pair.sync().run().code(0);
    pair.first.file("f", changed(&content));
    let read = read_by_the_far_end(&pair);
    let size = SIZE as u64;
    assert!(read >= size, "{read} bytes: strace has missed something");
    assert!(read < 2 * size + size / 50, "{read} bytes were read of a file of {size}");
}
