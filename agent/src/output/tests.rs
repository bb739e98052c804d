use super::human::Dress;
use super::*;
use crate::options::Verbosity;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Standard output that nobody reads.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn style(json: bool, verbosity: Verbosity) -> Style {
    Style { verbosity, json, color: None }
}

/// Returns what comes out and what goes to standard error.
fn printed(style: Style, report: impl FnOnce(&Reporter)) -> (String, String) {
    let (out, err) = (Screen::default(), Screen::default());
    report(&Reporter::to(style, Dress::Plain, None, Box::new(out.clone()), Box::new(err.clone())));
    (out.text(), err.text())
}

fn item(path: &[u8], result: ItemResult) -> Item {
    Item {
        cause: Cause::Change,
        path: RelPath::new(path).unwrap(),
        from: None,
        kind: ItemKind::File,
        action: Action::Create,
        direction: Direction::ToSecond,
        result,
        reason: if result == ItemResult::Done { String::new() } else { "no space".into() },
    }
}

fn conflict(resolved: Resolved) -> ConflictReport {
    let path = RelPath::new(b"c").unwrap();
    ConflictReport { path, first: "changed".into(), second: "deleted".into(), resolved }
}

fn everything(r: &Reporter) {
    r.item(&item(b"a/b", ItemResult::Done));
    r.item(&item(b"x", ItemResult::Failed));
    r.item(&Item {
        from: Some(RelPath::new(b"old").unwrap()),
        action: Action::Rename,
        ..item(b"new", ItemResult::Done)
    });
    r.conflict(&conflict(Resolved::No));
    r.note("a note");
    let elapsed = Duration::from_millis(1500);
    r.summary(&Summary {
        transferred: 2,
        skipped: 1,
        failed: 1,
        bytes_sent: 2048,
        bytes_received: 10,
        elapsed,
    });
}

#[test]
fn json_lines_have_the_fields_of_the_contract() {
    let (out, err) = printed(style(true, Verbosity::Silent), everything);
    let expected = [
        r#"{"event":"item","path":"a/b","kind":"file","action":"create","direction":"to-second","result":"done","reason":""}"#,
        r#"{"event":"item","path":"x","kind":"file","action":"create","direction":"to-second","result":"failed","reason":"no space"}"#,
        r#"{"event":"item","path":"new","from":"old","kind":"file","action":"rename","direction":"to-second","result":"done","reason":""}"#,
        r#"{"event":"conflict","path":"c","first":"changed","second":"deleted","resolved":"no"}"#,
        r#"{"event":"summary","transferred":2,"skipped":1,"failed":1,"bytes_sent":2048,"bytes_received":10,"seconds":1.5}"#,
    ];
    for (line, expected) in out.lines().zip(expected) {
        let (start, time) = line.split_once(r#","time":""#).expect(line);
        assert_eq!(start, expected.strip_suffix('}').unwrap());
        humantime::parse_rfc3339(time.strip_suffix("\"}").unwrap()).expect(time);
    }
    assert_eq!((out.lines().count(), err.as_str()), (expected.len(), ""));
    let of_link = |r: &Reporter| everything(&r.of_link("ssh://h//a".into()));
    let (out, _) = printed(style(true, Verbosity::Silent), of_link);
    assert!(out.lines().all(|line| line.contains(r#","peer":"ssh://h//a","time":"#)), "{out}");
}

#[test]
fn a_path_that_is_not_utf8_stands_beside_its_bytes() {
    let (out, _) = printed(style(true, Verbosity::Normal), |r| r.item(&item(b"a\xff\x1b", ItemResult::Done)));
    let line: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["path"], "a\u{fffd}\u{1b}");
    assert_eq!(line["path_bytes"], "Yf8b");
    assert!(!out.contains('\x1b'));
}

#[test]
fn people_get_lines_with_arrows() {
    let (out, err) = printed(style(false, Verbosity::Normal), everything);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "new file     ---->              a/b");
    assert_eq!(lines[1], "new file     ---->              x  failed: no space");
    assert_eq!(lines[2], "renamed      ---->              new (was old)");
    assert_eq!(lines[3], "changed      <-?-> deleted      c  conflict, both left as they are");
    assert_eq!(lines[4], "2 items transferred, 1 skipped, 1 failed; 2.0 KiB sent, 10 B received in 1.50 s");
    assert_eq!(err, "a note\n");
}

#[test]
fn what_is_left_out_has_not_changed_and_is_no_trouble() {
    let pipe = Item {
        cause: Cause::Look,
        reason: "is a named pipe: left out".into(),
        ..item(b"p", ItemResult::Skipped)
    };
    let locked = Item { cause: Cause::Look, direction: Direction::ToFirst, ..item(b"l", ItemResult::Failed) };
    let both = |r: &Reporter| [&pipe, &locked].into_iter().for_each(|item| r.item(item));
    let (out, _) = printed(style(false, Verbosity::Normal), both);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "left out                        p  skipped: is a named pipe: left out");
    assert_eq!(lines[1], "                   not read     l  failed: no space");
    let (out, _) = printed(style(false, Verbosity::Silent), both);
    assert_eq!(out.lines().collect::<Vec<_>>(), &lines[1..]);
}

#[test]
fn silence_leaves_only_trouble() {
    let (out, err) = printed(style(false, Verbosity::Silent), everything);
    assert_eq!(out.lines().count(), 2, "{out}");
    assert_eq!(err, "");
    let (out, err) = printed(style(false, Verbosity::Terse), everything);
    assert_eq!((out.lines().count(), err.as_str()), (4, ""));
}

#[test]
fn names_do_not_act_on_the_terminal() {
    let (out, err) = printed(style(false, Verbosity::Normal), |r| {
        r.item(&Item { reason: "\x1b[2J".into(), ..item(b"a\x1b[2J\n", ItemResult::Failed) });
        r.error("\x1b[2J");
        r.note("\x1b[2J");
    });
    assert!(!out.contains('\x1b') && !err.contains('\x1b') && out.lines().count() == 1);
}

#[test]
fn a_plan_shows_both_sides_and_what_it_comes_to() {
    let change = |path: &[u8], action, direction| Planned::Change {
        path: RelPath::new(path).unwrap(),
        from: None,
        kind: ItemKind::Dir,
        action,
        direction,
    };
    let plan = [
        change(b"a", Action::Create, Direction::ToSecond),
        change(b"b", Action::Delete, Direction::ToFirst),
        Planned::Conflict(conflict(Resolved::No)),
        Planned::Conflict(conflict(Resolved::First)),
    ];
    let (out, _) = printed(style(false, Verbosity::Silent), |r| r.plan(&plan));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "new dir      ---->              a");
    assert_eq!(lines[1], "             <---- deleted      b");
    assert_eq!(
        lines[4],
        "1 to the second root, 1 to the first, 1 deletion among them; 1 conflict, left as they are"
    );
    let (json, people) = printed(style(true, Verbosity::Silent), |r| r.plan(&plan));
    assert!(json.starts_with(
        r#"{"event":"plan","path":"a","kind":"dir","action":"create","direction":"to-second","time":"#
    ));
    assert_eq!(people, out);
}

#[test]
fn a_reader_who_left_does_not_stop_the_work() {
    let err = Screen::default();
    let r = Reporter::to(
        style(true, Verbosity::Normal),
        Dress::Plain,
        None,
        Box::new(Closed),
        Box::new(err.clone()),
    );
    everything(&r);
    assert_eq!(err.text().matches("standard output").count(), 1);
}

#[test]
fn colours_only_where_asked() {
    let out = Screen::default();
    let r = Reporter::to(
        style(false, Verbosity::Normal),
        Dress::Colored,
        None,
        Box::new(out.clone()),
        Box::new(io::sink()),
    );
    r.item(&item(b"x", ItemResult::Failed));
    assert!(out.text().contains("\x1b[31mfailed: no space\x1b[0m"));
}

#[test]
fn the_log_file_is_appended_to() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/x.log");
    for _ in 0..2 {
        let log = LogFile::open(&path).unwrap();
        let sink = || Box::new(io::sink());
        let r = Reporter::to(style(false, Verbosity::Silent), Dress::Plain, Some(log), sink(), sink());
        r.start("/a <-> /b");
        everything(&r);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 14);
    let words: Vec<_> = text.lines().take(7).map(|l| l.split_whitespace().nth(1).unwrap()).collect();
    assert_eq!(words, ["[START]", "[END]", "[ERROR]", "[END]", "[CONFLICT]", "[NOTE]", "[DONE]"]);
}

#[test]
fn only_a_yes_is_a_yes() {
    for (typed, answer) in [
        ("y\n", Decided::Go(Vec::new())),
        ("YES\n", Decided::Go(Vec::new())),
        ("n\n", Decided::Nothing),
        ("\n", Decided::Nothing),
        ("", Decided::Nothing),
        ("yep\n", Decided::Nothing),
    ] {
        let asked = super::ask::ask(&[], false, Dress::Plain, &mut typed.as_bytes(), &mut io::sink());
        assert_eq!(asked.unwrap(), answer, "{typed:?}");
    }
}

#[test]
fn the_summary_says_how_to_exit() {
    let mut s = Summary::default();
    assert_eq!(s.exit_status(), ExitStatus::InStep);
    s.count(&item(b"a", ItemResult::Done));
    s.count_conflict(&conflict(Resolved::First));
    assert_eq!(s.exit_status(), ExitStatus::InStep);
    s.count_conflict(&conflict(Resolved::No));
    assert_eq!(s.exit_status(), ExitStatus::Skipped);
    s.count(&item(b"a", ItemResult::Failed));
    assert_eq!((s.exit_status(), s.transferred), (ExitStatus::Failed, 1));
}
