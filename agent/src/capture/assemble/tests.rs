use super::*;

fn assembler() -> Assembler {
    let watched = |path: &str, dev, homes: &[(usize, &str)]| Watched {
        path: path.into(),
        mount: 0,
        dev,
        within: "/".into(),
        homes: homes
            .iter()
            .map(|(root, at)| Home { root: *root, at: RelPath::new(at.as_bytes()).unwrap() })
            .collect(),
    };
    let mut assembler = Assembler::default();
    assembler.set_watched(
        (0..)
            .zip([
                watched("/a", 1, &[(0, "")]),
                watched("/b", 2, &[(1, "")]),
                watched("/b/m", 3, &[(1, "m"), (2, "")]),
            ])
            .collect(),
    );
    assembler
}

fn inside(slot: u32, path: &str) -> Place {
    Place::Inside(slot, RelPath::new(path.as_bytes()).unwrap())
}

fn record(op: Op, place: Place) -> Record {
    Record {
        op,
        flags: 0,
        place,
        to: Place::Outside,
        name: None,
        ino: 12,
        dev: 1,
        generation: 0,
        mode: 0o100644,
        tgid: 1,
        cookie: 1,
        comm: b"sh".to_vec(),
        losses: None,
    }
}

/// Shows events as `root kind path -> to`.
fn shown(assembler: &mut Assembler, records: Vec<Record>) -> Vec<String> {
    let mut events = Vec::new();
    for record in records {
        assembler.add(record, &mut events);
    }
    events
        .iter()
        .map(|e| {
            let to = e.to.as_ref().map(|to| format!(" -> {to}")).unwrap_or_default();
            format!("{} {:?} {}{to}", e.root, e.kind, e.path)
        })
        .collect()
}

#[test]
fn a_path_below_a_mount_is_told_to_every_root_that_shows_it() {
    let shown = shown(&mut assembler(), vec![record(Op::Write, inside(2, "x/y"))]);
    assert_eq!(shown, ["1 Write m/x/y", "2 Write x/y"]);
}

#[test]
fn a_rename_between_roots_is_a_deletion_and_a_creation() {
    let rename = |from, to| Record { to, ..record(Op::Rename, from) };
    let mut a = assembler();
    assert_eq!(shown(&mut a, vec![rename(inside(0, "p"), inside(0, "q"))]), ["0 Rename p -> q"]);
    assert_eq!(shown(&mut a, vec![rename(inside(0, "p"), inside(1, "q"))]), ["0 Delete p", "1 Create q"]);
    assert_eq!(shown(&mut a, vec![rename(inside(0, "p"), Place::Outside)]), ["0 Delete p"]);
    assert_eq!(shown(&mut a, vec![rename(Place::Outside, inside(0, "p"))]), ["0 Create p"]);
    let exchange = Record { flags: flag::EXCHANGE, ..rename(inside(0, "p"), Place::Outside) };
    assert_eq!(shown(&mut a, vec![exchange]), ["0 Create p"]);
}

#[test]
fn a_rename_from_a_reserved_name_is_an_arrival() {
    let rename = |from: &str, to: &str| Record { to: inside(0, to), ..record(Op::Rename, inside(0, from)) };
    let mut a = assembler();
    assert_eq!(shown(&mut a, vec![rename(".vfsync.tmp.1", "q")]), ["0 Create q"]);
    assert_eq!(shown(&mut a, vec![rename("q", ".vfsync.tmp.1")]), ["0 Delete q"]);
    assert!(shown(&mut a, vec![record(Op::Write, inside(0, ".vfsync.tmp.1"))]).is_empty());
}

#[test]
fn a_root_that_is_renamed_is_said_to_be_changed() {
    let rename = Record { to: inside(0, "c"), mode: S_IFDIR, ..record(Op::Rename, inside(2, "")) };
    assert_eq!(shown(&mut assembler(), vec![rename]), ["1 Rmdir m", "2 Lost(RootChanged) .", "0 Mkdir c"]);
}

#[test]
fn the_two_halves_of_a_rename_meet() {
    let mut a = assembler();
    let halves = vec![
        record(Op::Moving, inside(0, "p")),
        Record { ino: 99, ..record(Op::Moving, inside(0, "d")) },
        record(Op::Moved, inside(0, "d/q")),
    ];
    assert_eq!(shown(&mut a, halves), ["0 Rename p -> d/q"]);
    assert_eq!(shown(&mut a, vec![record(Op::Moved, inside(0, "q"))]), ["0 Create q"]);
    let out = vec![record(Op::Moving, inside(0, "p")), record(Op::Moved, Place::Outside)];
    assert_eq!(shown(&mut a, out), ["0 Delete p"]);
}

#[test]
fn a_rename_that_is_known_by_its_names_alone_is_a_hint_for_each() {
    let named = |name: &str| Record {
        name: Some(name.as_bytes().to_vec()),
        flags: flag::NAME,
        mode: S_IFDIR,
        ..record(Op::Rename, inside(0, "d"))
    };
    let mut a = assembler();
    assert_eq!(shown(&mut a, vec![named("p"), named("q")]), ["0 List d/p", "0 List d/q"]);
    let mut events = Vec::new();
    a.add(named("p"), &mut events);
    assert!(events[0].recursive && !events[0].is_dir);
}

#[test]
fn what_cannot_be_told_is_everything() {
    let mut a = assembler();
    assert_eq!(shown(&mut a, vec![record(Op::Write, Place::Unknown)]), ["0 Lost(Path) ."]);
    assert_eq!(shown(&mut a, vec![record(Op::Write, Place::Deep(2))]), ["1 Lost(Path) .", "2 Lost(Path) ."]);
    let linked = Record { flags: flag::LINKED, ..record(Op::Write, Place::Outside) };
    assert_eq!(shown(&mut a, vec![linked]), ["0 Elsewhere ."]);
    let unnamed = Record { flags: flag::NAME, ..record(Op::Mkdir, inside(0, "d")) };
    assert_eq!(shown(&mut a, vec![unnamed]), ["0 List d"]);
}
