//! What looks like a deletion, or like nothing at all, and is neither.

use std::{fs, path::Path};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vfsync_tests::{Pair, Running, assert_same, mount::Mounted, over_both_links, wait_for};

fn ended(running: &mut Running) {
    wait_for("vfsync to end", || (!running.is_running()).then_some(()));
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

over_both_links! {
    fn what_was_mounted_is_not_deleted_when_it_is_unmounted(pair) {
        pair.first.file("f", "1").dir("mnt");
        let mounted = Mounted::tmpfs(&pair.first.path("mnt"));
        for n in 0..20 {
            pair.first.file(format!("mnt/sub/{n}"), "precious");
        }
        pair.in_step();
        drop(mounted);
        pair.sync().run().code(2).tells("mounted");
        assert_eq!(pair.second.below("mnt").files(), 20);
        // The directory below it may be what is looked at first.
        pair.first.file("g", "2");
        pair.sync().run().code(2);
        assert_eq!(pair.second.below("mnt").files(), 20);
        assert!(pair.second.has("g"));
        let _again = Mounted::tmpfs(&pair.first.path("mnt"));
        for n in 0..20 {
            pair.first.file(format!("mnt/sub/{n}"), "precious");
        }
        pair.sync().run().code(0);
    }

    fn what_is_unmounted_while_live_is_not_deleted(pair) {
        pair.first.dir("mnt");
        let mounted = Mounted::tmpfs(&pair.first.path("mnt"));
        for n in 0..20 {
            pair.first.file(format!("mnt/sub/{n}"), "precious");
        }
        let mut live = pair.live();
        pair.first.file("mnt/sub/last", "written just before");
        drop(mounted);
        pair.first.file("mark", "");
        wait_for("the mark", || pair.second.has("mark").then_some(()));
        assert!(pair.second.below("mnt").files() >= 20);
        live.process().kill();
    }

    fn a_root_that_is_replaced_while_live_halts_it(pair) {
        pair.first.file("f", "1");
        let mut live = pair.live();
        let aside = pair.first.root().with_extension("old");
        fs::rename(pair.first.root(), &aside).unwrap();
        fs::create_dir(pair.first.root()).unwrap();
        ended(live.process());
        live.interrupt().code(3).tells("another directory now");
        assert_eq!(pair.second.text("f"), "1");
    }

    fn deletions_one_by_one_count_together(pair) {
        for n in 0..40 {
            pair.first.file(format!("{n}"), "");
        }
        let mut live = vfsync_tests::Live::start(pair, ["--max-delete", "10"]);
        for n in 0..10 {
            pair.first.remove(format!("{n}"));
            live.carries();
        }
        pair.first.remove("10");
        ended(live.process());
        live.interrupt().code(3).tells("11 of 40");
        assert_eq!(pair.second.files(), 30);
    }

    fn what_was_ignored_goes_over_when_it_is_no_longer(pair) {
        pair.first.file("f", "1").file("x.log", "1");
        pair.in_step_with(["-ignore", "Name *.log"]);
        assert!(!pair.second.has("x.log"));
        pair.in_step();
        assert_same(&pair.first, &pair.second);
    }

    fn the_state_inside_a_root_stays_there(pair) {
        pair.first.file("f", "1");
        for _ in 0..2 {
            pair.sync().env("VFSYNC_STATE_DIR", pair.first.path("state")).run().code(0);
        }
        assert!(pair.first.has("state") && !pair.second.has("state"));
    }

    fn a_store_to_a_mapping_that_nobody_sees_is_found(pair) {
        pair.first.file("db", vec![b'0'; 8192]);
        let mut live = pair.live();
        let path = pair.first.path("db");
        let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let flags = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of a file that has this size as long as it is mapped.
        let map = unsafe { mmap(std::ptr::null_mut(), 4096, flags, MapFlags::SHARED, &file, 0) }.unwrap();
        let store = |byte: u8| {
            // SAFETY: within the mapping, which nothing in this process refers to.
            unsafe { map.cast::<u8>().write_volatile(byte) }
        };
        store(b'1');
        live.carries();
        // The page is writable by now: no fault, no event, no new mtime.
        store(b'2');
        // SAFETY: the mapping of above, which is not used any more.
        unsafe { munmap(map, 4096) }.unwrap();
        drop(file);
        live.carries();
        assert_eq!(pair.second.read("db")[0], b'2');
    }
}

#[test]
fn an_archive_from_a_backup_halts_and_loses_nothing() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    pair.in_step();
    let (state, saved) = (pair.near_state(), pair.home().path("saved"));
    copy_dir(&state, &saved);
    for n in 2..5 {
        pair.first.file("f", format!("{n}"));
        pair.in_step();
    }
    fs::remove_dir_all(&state).unwrap();
    copy_dir(&saved, &state);
    pair.first.file("f", "written after the restore").file("g", "new");
    pair.sync().run().code(3).tells("restored from a backup");
    assert_eq!(
        (pair.first.text("f").as_str(), pair.second.text("f").as_str()),
        ("written after the restore", "4")
    );
    // As the message says.
    fs::remove_dir_all(&state).unwrap();
    pair.sync().run().code(1);
    assert_eq!(pair.second.text("g"), "new");
    assert_eq!(pair.first.text("f"), "written after the restore");
}
