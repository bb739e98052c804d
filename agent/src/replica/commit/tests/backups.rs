use super::*;
use std::time::Duration;

/// A world whose backups lie on another file system than its tree.
fn apart() -> Option<World> {
    let [tree, elsewhere] = <[Place; 2]>::try_from(places()).ok()?;
    let backups = elsewhere.path.join("backups");
    let committer = Committer::new(&backups).unwrap();
    // The folder of the backups goes with its place.
    std::mem::forget(elsewhere);
    Some(World { place: tree, committer, backups })
}

fn displace(world: &World, path: &str) -> (Backup, fs::File) {
    world.place.write(path, "old");
    let writer = fs::OpenOptions::new().append(true).open(world.path(path)).unwrap();
    let expected = world.seen(path);
    let published = world.committer.replace(world.staged(path, "new"), &expected, Writers::Displace);
    (published.unwrap().backup.unwrap(), writer)
}

fn later(seconds: i64) -> Timestamp {
    Timestamp { seconds: now().seconds + seconds, nanoseconds: 0 }
}

#[test]
fn backups_go_when_they_are_old_and_nobody_writes_to_them() {
    for world in worlds() {
        let (_, writer) = displace(&world, "f");
        let day = Duration::from_secs(86_400);
        assert_eq!(world.committer.expire_backups(later(10), day).unwrap(), 0, "too young");
        assert_eq!(world.committer.expire_backups(later(90_000), day).unwrap(), 0, "written to");
        drop(writer);
        assert_eq!(world.committer.expire_backups(later(90_000), day).unwrap(), 1);
        assert_eq!(world.backup_count(), 0);
    }
}

#[test]
fn on_another_file_system_a_backup_stays_beside_the_file() {
    let Some(world) = apart() else { return };
    let (backup, writer) = displace(&world, "f");
    let BackupPlace::Tree { path } = backup.place.clone() else { panic!("{backup:?}") };
    assert_eq!(world.committer.backup_path(&backup), None);
    assert_eq!(world.place.read(&path.to_string()), "old");
    world.assert_clean();
    let (day, dir) = (Duration::from_secs(86_400), &world.place.dir);
    assert_eq!(world.committer.expire_backups_in(dir, later(10), day).unwrap(), 0);
    assert_eq!(world.committer.expire_backups_in(dir, later(90_000), day).unwrap(), 0);
    drop(writer);
    assert_eq!(world.committer.expire_backups_in(dir, later(90_000), day).unwrap(), 1);
    assert_eq!(dir.list().unwrap().reserved, []);
    // A directory that holds something would be out of sight there: it is shown.
    let left = ".vfsync.tmp.0";
    fs::create_dir(world.path(left)).unwrap();
    world.place.write(&format!("{left}/x"), "precious");
    let fate = world.committer.examine_leftover(dir, &name(left), |_| LeftoverVerdict::Known).unwrap();
    let LeftoverFate::Shown(shown) = fate else { panic!("{fate:?}") };
    assert!(!crate::fs::is_reserved(shown.as_bytes()));
    world.assert_kept(&["precious", "new"]);
    fs::remove_dir_all(world.backups.parent().unwrap().parent().unwrap()).unwrap();
}

#[test]
fn the_folder_of_the_backups_is_private() {
    for world in worlds() {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&world.backups).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
    }
}
