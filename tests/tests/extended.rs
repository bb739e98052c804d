//! Extended attributes and access lists.

use std::os::unix::fs::MetadataExt;
use vfsync_tests::{Live, Pair, Tree, assert_same, over_both_links, wait_for};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
const NOBODY: u32 = u32::MAX;

/// Returns the kernel's form of an access list: tag, permissions, id.
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, may, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(may.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// u::rw-, u:UID:rw-, g::---, m::MASK, o::---
fn list_with_user(uid: u32, mask: u16) -> Vec<u8> {
    list(&[(1, 6, NOBODY), (2, 6, uid), (4, 0, NOBODY), (0x10, mask, NOBODY), (0x20, 0, NOBODY)])
}

fn value(tree: &Tree, path: &str, name: &str) -> Option<String> {
    tree.xattr(path, name).map(|value| String::from_utf8(value).unwrap())
}

/// Returns the user whom the access list of a path names.
fn listed_user(tree: &Tree, path: &str) -> Option<u32> {
    let bytes = tree.xattr(path, ACCESS)?;
    let user = bytes[4..].chunks(8).find(|entry| entry[0] == 2)?;
    Some(u32::from_le_bytes(user[4..].try_into().unwrap()))
}

over_both_links! {
    fn extended_attributes_go_over_with_files_and_directories_and_change_and_go_away(pair) {
        pair.first.file("d/f", "content").set_xattr("d/f", "user.a", "1").set_xattr("d/f", "user.b", "2").set_xattr("d", "user.c", "3");
        pair.in_step_with(["-xattrs"]);
        assert_eq!(value(&pair.second, "d/f", "user.a").as_deref(), Some("1"));
        assert_eq!(value(&pair.second, "d/f", "user.b").as_deref(), Some("2"));
        assert_eq!(value(&pair.second, "d", "user.c").as_deref(), Some("3"));
        // Each side changes something of the same file.
        pair.second.set_xattr("d/f", "user.a", "new").remove_xattr("d/f", "user.b").remove_xattr("d", "user.c");
        pair.first.file("d/f", "other content");
        pair.in_step_with(["-xattrs"]);
        assert_same(&pair.first, &pair.second);
        for tree in [&pair.first, &pair.second] {
            assert_eq!(tree.text("d/f"), "other content");
            assert_eq!(value(tree, "d/f", "user.a").as_deref(), Some("new"));
            assert_eq!((value(tree, "d/f", "user.b"), value(tree, "d", "user.c")), (None, None));
        }
        // And it is at rest.
        let again = pair.sync().args(["-xattrs", "--json"]).run();
        again.code(0);
        assert_eq!(again.events("item").len(), 0, "{again}");
    }

    fn an_extended_attribute_travels_without_the_content_that_it_belongs_to(pair) {
        pair.first.file("f", vec![b'x'; 1_000_000]);
        pair.in_step_with(["-xattrs"]);
        let inode = pair.second.meta("f").ino();
        pair.first.set_xattr("f", "user.comment", "hello");
        let pass = pair.sync().args(["-xattrs", "--json"]).run();
        pass.code(0);
        assert_eq!(value(&pair.second, "f", "user.comment").as_deref(), Some("hello"));
        assert_eq!(pair.second.meta("f").ino(), inode);
        let items = pass.events("item");
        assert_eq!((items.len(), items[0]["action"].as_str()), (1, Some("props")), "{pass}");
        let summary = pass.summary();
        let bytes = summary["bytes_sent"].as_u64().unwrap() + summary["bytes_received"].as_u64().unwrap();
        assert!(bytes < 100_000, "{bytes} bytes for an attribute:\n{pass}");
    }

    fn one_attribute_changed_to_two_values_is_a_conflict_that_prefer_settles(pair) {
        pair.first.file("f", "content").set_xattr("f", "user.a", "old");
        pair.in_step_with(["-xattrs"]);
        pair.first.set_xattr("f", "user.a", "mine");
        pair.second.set_xattr("f", "user.a", "yours");
        let pass = pair.sync().args(["-xattrs", "--json"]).run();
        pass.code(1);
        assert_eq!(pass.conflicts(), ["f"]);
        let shown = &pass.events("conflict")[0];
        assert!(shown["first"].as_str().unwrap().contains("extended attributes"), "{pass}");
        pair.sync().args(["-xattrs", "-prefer", &pair.second_root()]).run().code(0);
        for tree in [&pair.first, &pair.second] {
            assert_eq!(value(tree, "f", "user.a").as_deref(), Some("yours"));
        }
    }

    fn without_xattrs_each_side_keeps_what_it_has_and_hands_it_on(pair) {
        pair.first.file("f", "1").set_xattr("f", "user.a", "mine");
        pair.in_step();
        assert_eq!(value(&pair.second, "f", "user.a"), None);
        pair.second.set_xattr("f", "user.b", "yours");
        pair.first.file("f", "another");
        pair.in_step();
        assert_same(&pair.first, &pair.second);
        assert_eq!(value(&pair.second, "f", "user.b").as_deref(), Some("yours"));
        assert_eq!(value(&pair.second, "f", "user.a"), None);
        // Wanted later, nothing is taken away on either side, and it is no conflict.
        pair.in_step_with(["-xattrs"]);
        for tree in [&pair.first, &pair.second] {
            assert_eq!(value(tree, "f", "user.a").as_deref(), Some("mine"));
            assert_eq!(value(tree, "f", "user.b").as_deref(), Some("yours"));
        }
        // From then on a removal is one.
        pair.first.remove_xattr("f", "user.b");
        pair.in_step_with(["-xattrs"]);
        assert_eq!(value(&pair.second, "f", "user.b"), None);
    }

    fn only_names_that_are_not_ignored_go_over_and_the_others_stay(pair) {
        pair.first.file("f", "1").set_xattr("f", "user.yes", "1").set_xattr("f", "user.no", "1");
        pair.first.set_xattr("f", "trusted.yes", "1").set_xattr("f", "trusted.no", "1");
        let args = ["-xattrs", "-xattrignore", "Path no", "-xattrignorenot", "Path !trusted.yes"];
        pair.in_step_with(args);
        let there = |name: &str| value(&pair.second, "f", name);
        assert_eq!((there("user.yes"), there("trusted.yes")), (Some("1".to_owned()), Some("1".to_owned())));
        assert_eq!((there("user.no"), there("trusted.no")), (None, None));
        pair.second.set_xattr("f", "user.no", "its own");
        pair.first.file("f", "2").set_xattr("f", "user.yes", "2");
        pair.in_step_with(args);
        assert_eq!((there("user.yes"), there("user.no")), (Some("2".to_owned()), Some("its own".to_owned())));
        assert_eq!(value(&pair.first, "f", "user.no").as_deref(), Some("1"));
    }

    fn a_capability_goes_over_only_when_it_is_named_and_with_its_owner(pair) {
        // cap_net_bind_service=ep, revision 2.
        let mut capability = vec![1, 0, 0, 2, 0, 4, 0, 0];
        capability.extend([0; 12]);
        pair.first.file("f", "program").chmod("f", 0o755).set_xattr("f", "security.capability", &capability);
        pair.in_step_with(["-xattrs"]);
        assert_eq!(pair.second.xattr("f", "security.capability"), None);
        let named = ["-xattrs", "-xattrignorenot", "Path !security.capability"];
        let pass = pair.sync().args(named).arg("--json").run();
        assert_eq!(pair.second.xattr("f", "security.capability"), None);
        pass.tells("extended attributes could not be set");
        pair.first.remove("f").file("g", "program").set_xattr("g", "security.capability", &capability);
        pair.sync().args(named).args(["-owner", "-numericids"]).run();
        assert_eq!(pair.second.xattr("g", "security.capability"), Some(capability));
    }

    fn access_lists_go_over_with_files_and_directories_beside_their_modes(pair) {
        pair.first.file("d/f", "content").chmod("d", 0o750);
        pair.first.set_xattr("d/f", ACCESS, list_with_user(12_345, 6));
        pair.first.set_xattr("d", DEFAULT, list_with_user(12_345, 7));
        let args = ["-acl", "-numericids", "-perms", "-1"];
        pair.in_step_with(args);
        for name in [ACCESS, DEFAULT] {
            let path = if name == ACCESS { "d/f" } else { "d" };
            assert_eq!(pair.second.xattr(path, name), pair.first.xattr(path, name), "{name}");
        }
        assert_same(&pair.first, &pair.second);
        // A list, and then a mode, which is also the mask of the list.
        pair.second.set_xattr("d/f", ACCESS, list_with_user(54_321, 6));
        pair.in_step_with(args);
        pair.first.chmod("d/f", 0o640);
        pair.in_step_with(args);
        assert_same(&pair.first, &pair.second);
        assert_eq!((listed_user(&pair.first, "d/f"), listed_user(&pair.second, "d/f")), (Some(54_321), Some(54_321)));
        assert_eq!(pair.second.mode("d/f"), 0o640);
        // What is made in the directory at the other end has its list by the system; it is as at this end all the same.
        pair.second.file("d/plain", "x").chmod("d/plain", 0o600).remove_xattr("d/plain", ACCESS);
        pair.first.remove_xattr("d", DEFAULT).remove_xattr("d/f", ACCESS).chmod("d/f", 0o600);
        pair.in_step_with(args);
        assert_same(&pair.first, &pair.second);
        for (path, name) in [("d", DEFAULT), ("d/f", ACCESS), ("d/plain", ACCESS)] {
            assert_eq!((pair.first.xattr(path, name), pair.second.xattr(path, name)), (None, None), "{path}");
        }
    }

    fn without_acl_what_takes_the_place_of_a_file_has_its_access_list(pair) {
        pair.first.file("f", "1").chmod("f", 0o640);
        pair.in_step();
        pair.second.set_xattr("f", ACCESS, list_with_user(12_345, 4));
        pair.first.file("f", "2");
        pair.in_step();
        assert_eq!((pair.second.text("f").as_str(), listed_user(&pair.second, "f")), ("2", Some(12_345)));
        assert_eq!(listed_user(&pair.first, "f"), None);
    }
}

#[test]
fn extended_attributes_are_followed_while_live() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let live = Live::start(&pair, ["-xattrs", "-acl", "-numericids"]);
    pair.second.set_xattr("f", "user.a", "1");
    wait_for("the attribute", || value(&pair.first, "f", "user.a"));
    pair.first.set_xattr("f", ACCESS, list_with_user(12_345, 6));
    wait_for("the list", || listed_user(&pair.second, "f").filter(|&user| user == 12_345));
    live.interrupt().code(0);
}

#[test]
fn a_file_system_without_extended_attributes_says_so_once_and_takes_nothing_away() {
    let room = tempfile::tempdir().unwrap();
    let disk = vfsync_tests::mount::Mounted::ramfs(room.path());
    let pair = Pair::local();
    let pair = pair.with_second(Tree::new(room.path().join("root")));
    pair.first.file("f", "content").set_xattr("f", "user.a", "1");
    let pass = pair.sync().args(["-xattrs", "--json"]).run();
    pass.tells("extended attributes could not be set");
    assert_eq!(pair.second.text("f"), "content");
    pair.in_step_with(["-xattrs"]);
    pair.second.file("f", "edited there");
    pair.sync().args(["-xattrs"]).run();
    assert_eq!(pair.first.text("f"), "edited there");
    assert_eq!(value(&pair.first, "f", "user.a").as_deref(), Some("1"));
    drop(disk);
}
