use super::*;
use crate::core::entry::{
    AttributeMask, Attributes, Content, Digest, Entry, Record, Shown, Stamp, Timestamp,
};
use crate::core::extended::{Acl, Acls, Extended, ShownExtended, Xattrs};
use crate::core::version::{ReplicaId, Sequence};
use std::path::Path;

const ROOT: RootIdentity = RootIdentity { file_system: 1, inode: 2, born: 3 };

fn path(s: &str) -> RelPath {
    RelPath::new(s.as_bytes()).unwrap()
}

fn open(state: &Path) -> (Archive, Opened) {
    Archive::open(state, Path::new("/r"), ROOT).unwrap()
}

fn record(writer: &mut Writer<'_>, content: Content) -> Record {
    let sequence = writer.next_sequence();
    let attributes = Attributes { mode: 0o644, uid: 1000, gid: 1000 };
    let mtime = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
    let stamp = Stamp { dev: 2049, ino: 1_234_567, ctime: mtime, mtime, size: 2048 };
    Record {
        entry: Entry::new(content, attributes, mtime, writer.replica(), sequence),
        shown: Some(Shown { stamp: Some(stamp), mtime, attributes, extended: None }),
        sequence,
        from: None,
        computed: false,
        remainder: false,
    }
}

fn file() -> Content {
    Content::File { size: 2048, digest: Digest([7; 32]) }
}

fn put(archive: &Archive, paths: &[&str]) {
    archive
        .write(Durable::Yes, |w| {
            for p in paths {
                let record = record(w, file());
                w.put(&path(p), &record)?;
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn children_are_found_without_what_lies_below_them() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    put(&archive, &["a", "a/x", "a/x/1", "a/x/2", "a/y", "a-b", "b", "b/z"]);
    let snapshot = archive.read().unwrap();
    let names = |dir: RelPath| -> Vec<String> {
        snapshot.children(&dir).unwrap().into_iter().map(|(p, _)| p.to_string()).collect()
    };
    assert_eq!(names(RelPath::root()), ["a", "a-b", "b"]);
    assert_eq!(names(path("a")), ["a/x", "a/y"]);
    assert_eq!(names(path("b/z")), [""; 0]);
    let below: Vec<String> =
        snapshot.below(&path("a")).unwrap().map(|row| row.unwrap().0.to_string()).collect();
    assert_eq!(below, ["a/x", "a/x/1", "a/x/2", "a/y"]);
}

#[test]
fn records_survive_a_restart_and_sequences_are_never_used_again() {
    let state = tempfile::tempdir().unwrap();
    let (archive, opened) = open(state.path());
    assert_eq!(opened, Opened::New);
    put(&archive, &["a", "b"]);
    archive.write(Durable::Yes, |w| w.remove(&path("b"))).unwrap();
    let (id, before) = (archive.replica(), archive.read().unwrap().get(&path("a")).unwrap());
    // The tree has not been looked at since the archive was made: the next owner has to.
    archive.close().unwrap();
    let (archive, opened) = open(state.path());
    assert_eq!(opened, Opened::Existing { clean: false });
    archive.note_recovered();
    archive.close().unwrap();

    let (archive, opened) = open(state.path());
    assert_eq!(opened, Opened::Existing { clean: true });
    assert_eq!(archive.replica(), id);
    let snapshot = archive.read().unwrap();
    assert_eq!(snapshot.get(&path("a")).unwrap(), before);
    assert_eq!((snapshot.head().unwrap(), snapshot.live().unwrap()), (Sequence(2), 1));
    put(&archive, &["c"]);
    assert_eq!(archive.read().unwrap().get(&path("c")).unwrap().unwrap().sequence, Sequence(3));
    drop(archive);
    assert_eq!(open(state.path()).1, Opened::Existing { clean: false });
}

#[test]
fn a_failed_transaction_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    put(&archive, &["a"]);
    let stranger = ReplicaId(42);
    let failed: Result<(), _> = archive.write(Durable::Yes, |w| {
        let mut record = record(w, file());
        record.from = Some(stranger);
        w.put(&path("b"), &record)?;
        Err(ArchiveError::Damaged("made up"))
    });
    assert!(failed.is_err());
    assert_eq!(archive.read().unwrap().get(&path("b")).unwrap(), None);
    // The stranger's id is interned anew and stored.
    archive
        .write(Durable::Yes, |w| {
            let mut record = record(w, Content::Deleted);
            record.from = Some(stranger);
            w.put(&path("c"), &record)
        })
        .unwrap();
    drop(archive);
    let (archive, _) = open(state.path());
    assert_eq!(archive.read().unwrap().get(&path("c")).unwrap().unwrap().from, Some(stranger));
}

#[test]
fn a_second_owner_is_refused_with_the_first_ones_pid() {
    let state = tempfile::tempdir().unwrap();
    let _first = open(state.path());
    let Err(error) = Archive::open(state.path(), Path::new("/r"), ROOT) else { panic!("two owners") };
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
}

#[test]
fn a_damaged_archive_is_set_aside_and_kept() {
    for damage in [&b"not a database at all"[..], &[0u8; 10_000][..]] {
        let state = tempfile::tempdir().unwrap();
        let (archive, _) = open(state.path());
        let (id, file) = (archive.replica(), archive.folder().join("archive.redb"));
        put(&archive, &["a"]);
        archive.close().unwrap();
        std::fs::write(&file, damage).unwrap();
        let (archive, opened) = open(state.path());
        let Opened::SetAside(aside) = opened else { panic!("{opened:?}") };
        assert_eq!(std::fs::read(aside).unwrap(), damage);
        assert_ne!(archive.replica(), id);
        assert_eq!(archive.read().unwrap().live().unwrap(), 0);
    }
}

#[test]
fn flipped_bytes_are_found_when_the_archive_is_opened() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    let names: Vec<String> = (0..2000).map(|i| format!("d/{i}")).collect();
    put(&archive, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let file = archive.folder().join("archive.redb");
    archive.close().unwrap();
    let good = std::fs::read(&file).unwrap();
    let marker = good.windows(32).position(|w| w == [7; 32]).expect("a digest stands in the file");
    let mut bad = good.clone();
    for at in (marker..good.len()).step_by(997) {
        bad[at] ^= 0xff;
    }
    std::fs::write(&file, bad).unwrap();
    let (archive, opened) = open(state.path());
    assert!(matches!(opened, Opened::SetAside(_)), "{opened:?}");
    assert_eq!(archive.read().unwrap().live().unwrap(), 0);
}

#[test]
fn positions_open_paths_and_intents_are_kept_by_peer() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    let (x, y) = (ReplicaId(1), ReplicaId(u64::MAX));
    let failed = Open { reason: OpenReason::Failed("no space".into()), recursive: false };
    archive
        .write(Durable::Yes, |w| {
            w.set_position(x, Sequence(5), 7)?;
            w.set_open(x, &path("a"), &failed)?;
            w.set_open(y, &path("b"), &failed)?;
            w.set_open(y, &path("c"), &failed)?;
            w.close_open(y, &path("c"))
        })
        .unwrap();
    let snapshot = archive.read().unwrap();
    assert_eq!(snapshot.position(x).unwrap(), Some(Sequence(5)));
    assert_eq!(snapshot.position(y).unwrap(), None);
    let of = |peer| -> Vec<String> {
        snapshot.open(peer).unwrap().map(|row| row.unwrap().0.to_string()).collect()
    };
    assert_eq!((of(x), of(y)), (vec!["a".to_owned()], vec!["b".to_owned()]));
}

#[test]
fn a_file_costs_less_than_300_bytes() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    let n = 50_000;
    archive
        .write(Durable::Yes, |w| {
            for i in 0..n {
                let record = record(w, file());
                w.put(&path(&format!("some/directory/of/mine/{i:012}")), &record)?;
            }
            Ok(())
        })
        .unwrap();
    let file = archive.folder().join("archive.redb");
    archive.close().unwrap();
    use std::os::unix::fs::MetadataExt;
    let size = std::fs::metadata(file).unwrap().blocks() * 512;
    assert!(size / n < 300, "{} bytes a file", size / n);
}

fn large(n: u8) -> Content {
    Content::File { size: INDEXED + 1, digest: Digest([n; 32]) }
}

#[test]
fn large_files_are_found_by_their_content_as_long_as_it_stands() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    let put = |p: &str, content: Content| {
        archive.write(Durable::Yes, |w| {
            let record = record(w, content);
            w.put(&path(p), &record)
        })
    };
    for (p, content) in [("a", large(1)), ("b", large(2)), ("c", large(1)), ("small", file())] {
        put(p, content).unwrap();
    }
    let holders = |n: u8| archive.read().unwrap().with_content(&Digest([n; 32]), 9).unwrap();
    assert_eq!((holders(1), holders(7)), (vec![path("a"), path("c")], vec![]));
    put("a", large(2)).unwrap();
    archive.write(Durable::Yes, |w| w.remove(&path("c"))).unwrap();
    assert_eq!((holders(1), holders(2)), (vec![], vec![path("b"), path("a")]));
    assert_eq!(archive.read().unwrap().with_content(&Digest([2; 32]), 1).unwrap().len(), 1);
}

#[test]
fn an_archive_without_an_index_of_contents_gets_one() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    archive
        .write(Durable::Yes, |w| {
            let record = record(w, large(1));
            w.put(&path("a"), &record)
        })
        .unwrap();
    let file = archive.folder().join("archive.redb");
    archive.close().unwrap();
    // As the version before had left it.
    let db = redb::Database::open(file).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.delete_table(CONTENTS).unwrap();
    transaction.open_table(META).unwrap().remove("contents").unwrap();
    transaction.commit().unwrap();
    drop(db);
    let (archive, opened) = open(state.path());
    assert!(matches!(opened, Opened::Existing { .. }));
    assert_eq!(archive.read().unwrap().with_content(&Digest([1; 32]), 9).unwrap(), [path("a")]);
}

/// One extended attribute, and an access list.
fn some_extended(value: &str) -> Extended {
    let xattrs = Xattrs::new(&std::collections::BTreeMap::from([("user.a", value)])).unwrap();
    Extended { xattrs, acls: Acls::new(Some(Acl::of_mode(0o640).with_mode(0o660)), None) }
}

#[test]
fn extended_attributes_are_kept_and_what_other_options_told_of_them_is_vouched_for_no_longer() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    let put = |p: &str, intended: Extended, shown: Extended| {
        archive.write(Durable::Yes, |w| {
            let mut record = record(w, file());
            record.entry.extended = intended;
            record.entry.vouched = AttributeMask { xattrs: true, acl: true, ..AttributeMask::ALL };
            record.shown.as_mut().unwrap().extended = Some(ShownExtended { value: shown, racy: true });
            w.put(&path(p), &record)?;
            Ok(record)
        })
    };
    let same = put("a", some_extended("1"), some_extended("1")).unwrap();
    let other = put("b", some_extended("1"), Extended::default()).unwrap();
    let get = |p| archive.read().unwrap().get(&path(p)).unwrap().unwrap();
    assert_eq!((get("a"), get("b")), (same, other));
    assert_eq!(archive.read().unwrap().extended().unwrap(), 0);

    archive.write(Durable::Yes, |w| w.set_extended(7)).unwrap();
    let after = get("b");
    assert_eq!((after.entry.vouched, after.shown.unwrap().extended), (AttributeMask::ALL, None));
    assert_eq!((after.entry.extended, after.sequence), (some_extended("1"), Sequence(2)));
    assert_eq!(archive.read().unwrap().extended().unwrap(), 7);
}

#[test]
fn an_archive_of_the_schema_before_is_read_as_it_is() {
    let state = tempfile::tempdir().unwrap();
    let (archive, _) = open(state.path());
    put(&archive, &["a"]);
    let before = archive.read().unwrap().get(&path("a")).unwrap();
    let entry = before.clone().unwrap().entry;
    let file = archive.folder().join("archive.redb");
    archive.close().unwrap();
    // An entry as it was within other values.
    let vouched = (entry.vouched.mode, entry.vouched.owner, entry.vouched.group);
    let old = (
        &entry.content,
        &entry.content_lineage,
        entry.attributes,
        vouched,
        &entry.attributes_lineage,
        entry.mtime,
        &entry.mtime_version,
    );
    let intent = postcard::to_extend(&(&old, Some(ReplicaId(9))), vec![1]).unwrap();
    let disputed = postcard::to_extend(&(&old, path("a"), Some(Sequence(3))), vec![1]).unwrap();
    let db = redb::Database::open(file).unwrap();
    let transaction = db.begin_write().unwrap();
    transaction.open_table(META).unwrap().insert("schema", &1u32.to_be_bytes()[..]).unwrap();
    transaction.open_table(INTENTS).unwrap().insert(&b"a"[..], &intent[..]).unwrap();
    transaction.open_table(DISPUTED).unwrap().insert((5, &b"a"[..]), &disputed[..]).unwrap();
    transaction.commit().unwrap();
    drop(db);

    let (archive, opened) = open(state.path());
    assert!(matches!(opened, Opened::Existing { .. }));
    let snapshot = archive.read().unwrap();
    assert_eq!(snapshot.get(&path("a")).unwrap(), before);
    let intent = snapshot.intent(&path("a")).unwrap().unwrap();
    assert_eq!(intent, Intent { entry: entry.clone(), from: Some(ReplicaId(9)) });
    let disputed = snapshot.disputed(ReplicaId(5), &path("a")).unwrap().unwrap();
    assert_eq!(disputed, Disputed { theirs: entry, at: path("a"), keep_theirs: Some(Sequence(3)) });
}
