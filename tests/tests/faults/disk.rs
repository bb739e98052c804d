//! A full disk at the receiver.

use std::sync::Arc;

use vfsync_tests::{Link, Pair, assert_same, mount::SmallDisk, sshd::TestSshd};

const MIB: u64 = 1024 * 1024;

/// A pair whose second tree has little room. The sshd sees only what was mounted before it.
fn pair_on(disk: &SmallDisk, over_ssh: bool) -> Pair {
    let link = if over_ssh { Link::Ssh(Arc::new(TestSshd::own())) } else { Link::Local };
    Pair::over(link).with_second(disk.tree())
}

fn new_files_that_do_not_fit(over_ssh: bool) {
    let disk = SmallDisk::new(2 * MIB);
    let pair = pair_on(&disk, over_ssh);
    pair.second.file("precious", "there before");
    for n in 0..40 {
        pair.first.file(format!("f{n:02}"), vec![n; 100_000]);
    }
    let pass = pair.sync().arg("--json").run();
    pass.code(2).tells("space");
    assert!(pass.summary()["failed"].as_u64() > Some(0), "{pass}");
    assert_eq!(pair.second.text("precious"), "there before");
    assert_eq!(pair.first.names().iter().filter(|name| name.starts_with('f')).count(), 40);
    // What arrived is whole.
    for name in pair.second.names().iter().filter(|name| name.starts_with('f')) {
        assert_eq!(pair.second.read(name), pair.first.read(name), "{name}");
    }
    disk.resize(20 * MIB);
    pair.sync().run().code(0);
    assert_same(&pair.first, &pair.second);
}

fn a_new_version_that_does_not_fit(over_ssh: bool) {
    let disk = SmallDisk::new(2 * MIB);
    let pair = pair_on(&disk, over_ssh);
    pair.first.file("f", vec![b'1'; 1_200_000]);
    pair.in_step();
    pair.first.file("f", vec![b'2'; 1_400_000]).file("small", "fits");
    pair.sync().run().code(2).tells("space");
    assert_eq!(pair.second.read("f"), vec![b'1'; 1_200_000]);
    disk.resize(20 * MIB);
    pair.sync().run().code(0);
    assert_same(&pair.first, &pair.second);
    assert_eq!(pair.second.read("f").len(), 1_400_000);
}

#[test]
fn new_files_that_do_not_fit_fail_and_go_over_later_between_local_trees() {
    new_files_that_do_not_fit(false);
}

#[test]
fn new_files_that_do_not_fit_fail_and_go_over_later_over_ssh() {
    new_files_that_do_not_fit(true);
}

#[test]
fn live_takes_what_did_not_fit_as_soon_as_there_is_room() {
    let disk = SmallDisk::new(2 * MIB);
    let pair = pair_on(&disk, false);
    let mut live = pair.live();
    for n in 0..40 {
        pair.first.file(format!("f{n:02}"), vec![n; 100_000]);
    }
    live.prints("space");
    disk.resize(20 * MIB);
    live.carries();
    live.interrupt().code(0);
}

#[test]
fn a_new_version_that_does_not_fit_leaves_the_old_one_between_local_trees() {
    a_new_version_that_does_not_fit(false);
}

#[test]
fn a_new_version_that_does_not_fit_leaves_the_old_one_over_ssh() {
    a_new_version_that_does_not_fit(true);
}
