use super::*;
use rustix::fs::XattrFlags;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn wanted(mode: u16) -> Wanted {
    Wanted { mode: Some(mode), ..Wanted::default() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_file_whose_mode_nobody_says_gets_the_default() {
    for world in worlds() {
        let staged = world.committer.stage_file(&world.place.dir, &name("f")).unwrap();
        assert_eq!(staged.meta().unwrap().attributes.mode, 0o600, "for nobody else at first");
        let published = world.committer.create(staged).unwrap();
        assert_eq!(published.meta.attributes.mode, 0o666 & !world.committer.umask);
        let parent = fs::Permissions::from_mode(0o2755);
        fs::set_permissions(&world.place.path, parent).unwrap();
        let made = world.committer.make_dir(&world.place.dir, &name("d"), &Wanted::default()).unwrap();
        assert_eq!(made.1.meta.attributes.mode, 0o2777 & !world.committer.umask, "inherited");
    }
}

#[test]
fn owner_mode_and_mtime_are_set_in_place() {
    for world in worlds() {
        world.place.write("f", "x");
        fs::create_dir(world.path("d")).unwrap();
        symlink("nowhere", world.path("l")).unwrap();
        let mtime = Some(Timestamp { seconds: -5, nanoseconds: 999_999_999 });
        let ids = if is_root() { (Some(12345), Some(54321)) } else { (None, None) };
        for path in ["f", "d", "l"] {
            let mtime = if path == "l" { Some(Timestamp { seconds: 7, nanoseconds: 0 }) } else { mtime };
            let wanted = Wanted { mode: Some(0o751), uid: ids.0, gid: ids.1, mtime, ..Wanted::default() };
            let expected = world.seen(path);
            let dir = &world.place.dir;
            let (published, refused) =
                world.committer.set_metadata(dir, &name(path), &expected, &wanted).unwrap();
            if mtime.unwrap().seconds >= 0 || published.meta.stamp.mtime == mtime.unwrap() {
                assert!(refused.is_nothing(), "{path}: {refused:?}");
            }
            let vouched = world.trusts_leases() || path != "f";
            assert_eq!(published.stamp, vouched.then(|| world.stamp(path)), "{path}");
            let now = fs::symlink_metadata(world.path(path)).unwrap();
            if path != "l" {
                assert_eq!(now.mode() & 0o7777, 0o751);
            }
            if is_root() {
                assert_eq!((now.uid(), now.gid()), (12345, 54321));
            }
        }
        assert_eq!(world.place.read("f"), "x");
    }
}

#[test]
fn a_set_id_bit_comes_only_with_its_owner() {
    for world in worlds() {
        let mut staged = world.committer.stage_file(&world.place.dir, &name("f")).unwrap();
        let refused = staged.set(&wanted(0o6755)).unwrap();
        assert!(refused.mode && !refused.uid);
        assert_eq!(staged.meta().unwrap().attributes.mode, 0o755);
        let ids = staged.meta().unwrap().attributes;
        let known = Wanted { uid: Some(ids.uid), gid: Some(ids.gid), ..wanted(0o6755) };
        assert!(staged.set(&known).unwrap().mode, "that it is ours says nothing of whose it was");
        assert_eq!(staged.meta().unwrap().attributes.mode, 0o755);
        let set_id = SetId { with_owner: true, with_group: true, here: 0 };
        let whole = Wanted { set_id, ..known.clone() };
        assert!(staged.set(&whole).unwrap().is_nothing());
        assert_eq!(staged.meta().unwrap().attributes.mode, 0o6755);
        let kept = SetId { here: 0o4000, ..SetId::default() };
        assert!(staged.set(&Wanted { set_id: kept, ..known }).unwrap().mode);
        assert_eq!(staged.meta().unwrap().attributes.mode, 0o4755);
    }
}

#[test]
fn an_owner_that_cannot_be_is_reported() {
    for world in worlds() {
        let mut staged = world.staged("f", "x");
        // The one id that the kernel takes for "leave it".
        let refused = staged.set(&Wanted { uid: Some(u32::MAX), ..wanted(0o4755) }).unwrap();
        assert!(refused.uid && refused.mode);
        assert_eq!(world.committer.create(staged).unwrap().meta.attributes.mode, 0o755);
    }
}

#[test]
fn a_new_mtime_never_hides_a_write() {
    for world in worlds() {
        world.place.write("f", "old");
        let mtime = Some(Timestamp { seconds: 1_600_000_000, nanoseconds: 0 });
        let date = Wanted { mtime, ..Wanted::default() };
        let writer = fs::OpenOptions::new().write(true).open(world.path("f")).unwrap();
        let set = |wanted: &Wanted| {
            let expected = world.seen("f");
            world.committer.set_metadata(&world.place.dir, &name("f"), &expected, wanted)
        };
        assert_busy(set(&date));
        set(&wanted(0o640)).unwrap();
        drop(writer);
        let path = world.path("f");
        let ino = world.stamp("f").ino;
        let (send, receive) = std::sync::mpsc::channel();
        at("metadata: held", move || {
            let path = path.clone();
            let started = send.clone();
            std::thread::spawn(move || {
                started.send(()).unwrap();
                fs::write(path, "new").unwrap();
                started.send(()).unwrap();
            });
            super::races::wait_for_a_breaking_lease(ino);
        });
        let (published, _) = set(&date).unwrap();
        assert_eq!(published.stamp, None, "somebody was about to write");
        receive.recv().unwrap();
        receive.recv().unwrap();
        assert_eq!(world.place.read("f"), "new");
    }
}

#[test]
fn extended_attributes_outlive_a_replacement() {
    for world in worlds() {
        world.place.write("f", "old");
        let file = fs::File::open(world.path("f")).unwrap();
        let set = |name: &str, value: &[u8]| rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty());
        if set("user.mine", b"value").is_err() {
            continue;
        }
        // An access list: owner rw-, user 12345 r--, group r--, mask r--, other ---.
        let list: Vec<u8> =
            [(1_u16, 6_u16, u32::MAX), (2, 4, 12345), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)]
                .iter()
                .flat_map(|(tag, perm, id)| {
                    [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
                })
                .collect();
        let list = [&2_u32.to_le_bytes()[..], &list].concat();
        let has_list = set("system.posix_acl_access", &list).is_ok();
        let capability = [1_u8, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let has_capability = set("security.capability", &capability).is_ok();
        let mut staged = world.staged("f", "new");
        staged.set(&wanted(0o600)).unwrap();
        let expected = world.seen("f");
        let published = world.committer.replace(staged, &expected, Writers::Wait).unwrap();
        assert_eq!(published.meta.attributes.mode, 0o600, "as it was set");
        let new = fs::File::open(world.path("f")).unwrap();
        let size = |name: &str| rustix::fs::fgetxattr_query(&new, name);
        assert_eq!(size("user.mine"), Ok(5));
        assert_eq!(size("system.posix_acl_access").is_ok(), has_list);
        assert!(size("security.capability").is_err(), "that was for the old bytes (had: {has_capability})");
        assert_eq!(published.stamp, Some(world.stamp("f")));
    }
}
