use super::*;

#[test]
fn every_kind_gives_way_to_every_other() {
    for world in worlds() {
        let stage = |kind| match kind {
            Kind::File => world.staged("x", "file"),
            Kind::Dir => world.committer.stage_dir(&world.place.dir, &name("x")).unwrap(),
            Kind::Symlink => world.committer.stage_symlink(&world.place.dir, &name("x"), b"target").unwrap(),
        };
        let kinds = [Kind::File, Kind::Dir, Kind::Symlink];
        for from in kinds {
            for to in kinds {
                world.committer.create(stage(from)).unwrap();
                let expected = world.seen("x");
                world.committer.replace(stage(to), &expected, Writers::Wait).unwrap();
                let now = world.place.dir.stat(&name("x")).unwrap().unwrap();
                assert_eq!(now.kind.synchronised(), Some(to));
                world.assert_clean();
                world.remove("x").unwrap();
                assert_eq!(world.place.dir.any_name().unwrap(), None);
            }
        }
    }
}

#[test]
fn a_directory_that_holds_something_stays() {
    for world in worlds() {
        fs::create_dir(world.path("d")).unwrap();
        world.place.write("d/.hidden", "precious");
        let ino = world.stamp("d").ino;
        let holds = |result| match result {
            Err(CommitError::NotEmpty { holds, .. }) => holds,
            other => panic!("{other:?}"),
        };
        let hidden = name(".hidden");
        assert_eq!(holds(world.replace("d", "file").map(drop)), hidden);
        assert_eq!(holds(world.committer.remove_dir(&world.place.dir, &name("d"), ino)), hidden);
        assert_eq!(world.place.read("d/.hidden"), "precious");
        world.assert_clean();
        assert_stale(world.committer.remove_dir(&world.place.dir, &name("d"), ino + 1));
        fs::remove_file(world.path("d/.hidden")).unwrap();
        world.committer.remove_dir(&world.place.dir, &name("d"), ino).unwrap();
        assert_stale(world.committer.remove_dir(&world.place.dir, &name("d"), ino));
    }
}

#[test]
fn directories_and_symlinks_are_made_in_one_step() {
    for world in worlds() {
        let dir = &world.place.dir;
        let mtime = Timestamp { seconds: 1_500_000_000, nanoseconds: 0 };
        let wanted = Wanted { mode: Some(0o2751), mtime: Some(mtime), ..Wanted::default() };
        let (made, published, refused) = world.committer.make_dir(dir, &name("d"), &wanted).unwrap();
        assert!(refused.is_nothing());
        assert_eq!(published.meta.attributes.mode, 0o2751);
        assert_eq!(made.path(), &crate::fs::tests::path("d"));
        assert!(made.self_stat().unwrap().same_inode(&published.meta));
        assert_stale(world.committer.make_dir(dir, &name("d"), &wanted));
        let (published, _) = world.committer.make_symlink(dir, &name("l"), b"a\xffb", &wanted).unwrap();
        assert_eq!(published.meta.kind, FileKind::Symlink);
        assert_eq!(published.stamp.unwrap().mtime, mtime);
        assert_eq!(&*dir.read_link(&name("l")).unwrap(), b"a\xffb");
        assert_stale(world.committer.make_symlink(dir, &name("l"), b"x", &wanted));
        world.assert_clean();
    }
}

#[test]
fn a_rename_moves_and_never_replaces() {
    for world in worlds() {
        fs::create_dir(world.path("d")).unwrap();
        world.place.write("f", "1");
        world.place.write("d/g", "2");
        let (root, below) = (&world.place.dir, world.place.dir.open_child_dir(&name("d")).unwrap());
        let rename = |n: &str| world.committer.rename(root, &name("f"), &below, &name(n), &world.seen("f"));
        assert_stale(rename("g"));
        assert_eq!((world.place.read("f"), world.place.read("d/g")), ("1".into(), "2".into()));
        let published = rename("h").unwrap();
        let now = below.stat(&name("h")).unwrap().unwrap();
        assert_eq!(published.stamp, Some(now.stamp));
        let expected = Expected::Dir { ino: world.stamp("d").ino };
        world.committer.rename(root, &name("d"), root, &name("e"), &expected).unwrap();
        assert_eq!(world.place.read("e/h"), "1");
        let into_itself = root.open_child_dir(&name("e")).unwrap();
        let result = world.committer.rename(root, &name("e"), &into_itself, &name("x"), &expected);
        assert!(matches!(result, Err(CommitError::Io { .. })), "{result:?}");
        assert_eq!(world.place.read("e/h"), "1");
        assert_eq!(into_itself.stat(&name("x")).unwrap(), None);
    }
}
