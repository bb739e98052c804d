//! Lines for people. Paths are shown escaped: a file's name never acts on the terminal.

use super::{
    Action, Cause, ConflictReport, Direction, Item, ItemKind, ItemResult, Planned, Resolved, Summary,
};
use crate::core::escaped::Escaped;
use crate::core::path::RelPath;

/// Whether a line is dressed for a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dress {
    Plain,
    Colored,
}

/// What a line is about, which gives its colour.
#[derive(Clone, Copy)]
enum Tone {
    Good,
    Warning,
    Bad,
}

fn dress(dress: Dress, tone: Tone, text: &str) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Warning => "33",
        Tone::Bad => "31",
    };
    match dress {
        Dress::Plain => text.to_string(),
        Dress::Colored => format!("\x1b[{code}m{text}\x1b[0m"),
    }
}

fn arrow(direction: Direction) -> &'static str {
    match direction {
        Direction::ToFirst => "<----",
        Direction::ToSecond => "---->",
    }
}

fn kind_word(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::File => "file",
        ItemKind::Dir => "dir",
        ItemKind::Symlink => "symlink",
    }
}

/// What happened on the side that a change comes from.
fn change_words(action: Action, kind: ItemKind) -> String {
    match action {
        Action::Create => format!("new {}", kind_word(kind)),
        Action::Update => "changed".into(),
        Action::Delete => "deleted".into(),
        Action::Props => "props".into(),
        Action::Rename => "renamed".into(),
    }
}

fn place(path: &RelPath, from: &Option<RelPath>) -> String {
    match from {
        Some(from) => format!("{path} (was {from})"),
        None => path.to_string(),
    }
}

/// One line of two columns and an arrow between them, as Unison draws it.
fn row(first: &str, arrow: &str, second: &str, path: &str) -> String {
    format!("{first:<12} {arrow:<5} {second:<12} {path}")
}

fn change_row(
    path: &RelPath,
    from: &Option<RelPath>,
    kind: ItemKind,
    action: Action,
    direction: Direction,
) -> String {
    let words = change_words(action, kind);
    let (first, second) = match direction {
        Direction::ToFirst => ("", words.as_str()),
        Direction::ToSecond => (words.as_str(), ""),
    };
    row(first, arrow(direction), second, &place(path, from))
}

/// What stands in the root that was looked at: nothing goes from there.
fn look_row(item: &Item) -> String {
    let words = if item.result == ItemResult::Skipped { "left out" } else { "not read" };
    let (first, second) = match item.direction {
        Direction::ToFirst => ("", words),
        Direction::ToSecond => (words, ""),
    };
    row(first, "", second, &place(&item.path, &item.from))
}

pub(super) fn item(item: &Item, how: Dress) -> String {
    let row = match item.cause {
        Cause::Change => change_row(&item.path, &item.from, item.kind, item.action, item.direction),
        Cause::Look => look_row(item),
    };
    match item.result {
        ItemResult::Done => row,
        ItemResult::Failed => {
            format!("{row}  {}", dress(how, Tone::Bad, &with_reason("failed", &item.reason)))
        }
        ItemResult::Skipped => {
            format!("{row}  {}", dress(how, Tone::Warning, &with_reason("skipped", &item.reason)))
        }
    }
}

/// One change on a line of a change log: `create file to-second a/b`.
pub(super) fn change(item: &Item) -> String {
    let action = match item.action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Delete => "delete",
        Action::Props => "props",
        Action::Rename => "rename",
    };
    let direction = match item.direction {
        Direction::ToFirst => "to-first",
        Direction::ToSecond => "to-second",
    };
    format!("{action} {} {direction} {}", kind_word(item.kind), place(&item.path, &item.from))
}

fn with_reason(word: &str, reason: &str) -> String {
    if reason.is_empty() { word.to_string() } else { format!("{word}: {}", Escaped(reason.as_bytes())) }
}

pub(super) fn conflict(conflict: &ConflictReport, how: Dress) -> String {
    let (arrow, tone, outcome) = match conflict.resolved {
        Resolved::No => ("<-?->", Tone::Warning, "conflict, both left as they are"),
        Resolved::First => ("---->", Tone::Good, "conflict, the first root won"),
        Resolved::Second => ("<----", Tone::Good, "conflict, the second root won"),
        Resolved::Both => ("<--->", Tone::Good, "conflict, both are kept"),
        Resolved::Merged => ("<--->", Tone::Good, "conflict, merged"),
    };
    let (first, second) = (Escaped(conflict.first.as_bytes()), Escaped(conflict.second.as_bytes()));
    let row = row(&first.to_string(), arrow, &second.to_string(), &conflict.path.to_string());
    format!("{row}  {}", dress(how, tone, outcome))
}

pub(super) fn planned(planned: &Planned, how: Dress) -> String {
    match planned {
        Planned::Change { path, from, kind, action, direction } => {
            change_row(path, from, *kind, *action, *direction)
        }
        Planned::Conflict(report) => conflict(report, how),
    }
}

/// All that is known of an item.
pub(super) fn details(planned: &Planned) -> String {
    match planned {
        Planned::Change { path, kind, action, direction, .. } => {
            let root = match direction {
                Direction::ToFirst => "first",
                Direction::ToSecond => "second",
            };
            let what = match action {
                Action::Create => "is made",
                Action::Update => "gets other content",
                Action::Delete => "goes",
                Action::Props => "gets other attributes",
                Action::Rename => "gets another name",
            };
            format!("  {} {path}: {what} in the {root} root", kind_word(*kind))
        }
        Planned::Conflict(report) => {
            let (first, second) = (Escaped(report.first.as_bytes()), Escaped(report.second.as_bytes()));
            format!("  {}\n    first root:  {first}\n    second root: {second}", report.path)
        }
    }
}

/// What a plan comes to: `3 to the first, 5 to the second (2 deletions), 1 conflict`.
pub(super) fn plan_total(plan: &[Planned]) -> String {
    let count = |wanted: fn(&Planned) -> bool| plan.iter().filter(|p| wanted(p)).count();
    let to_first = count(|p| matches!(p, Planned::Change { direction: Direction::ToFirst, .. }));
    let to_second = count(|p| matches!(p, Planned::Change { direction: Direction::ToSecond, .. }));
    let deletions = count(|p| matches!(p, Planned::Change { action: Action::Delete, .. }));
    let conflicts = count(|p| matches!(p, Planned::Conflict(report) if report.resolved == Resolved::No));
    let mut total = format!("{to_second} to the second root, {to_first} to the first");
    if deletions > 0 {
        total.push_str(&format!(", {} among them", plural(deletions as u64, "deletion")));
    }
    if conflicts > 0 {
        total.push_str(&format!("; {}, left as they are", plural(conflicts as u64, "conflict")));
    }
    total
}

/// Says how many there are: `1 conflict`, `2 conflicts`.
pub fn plural(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

pub(super) fn summary(summary: &Summary, how: Dress) -> String {
    let seconds = summary.elapsed.as_secs_f64();
    if summary.transferred + summary.skipped + summary.failed == 0 {
        return format!("Nothing to do: everything is in step ({seconds:.2} s)");
    }
    let mut parts = vec![format!("{} transferred", plural(summary.transferred, "item"))];
    if summary.skipped > 0 {
        parts.push(dress(how, Tone::Warning, &format!("{} skipped", summary.skipped)));
    }
    if summary.failed > 0 {
        parts.push(dress(how, Tone::Bad, &format!("{} failed", summary.failed)));
    }
    let (sent, received) = (size(summary.bytes_sent), size(summary.bytes_received));
    format!("{}; {sent} sent, {received} received in {seconds:.2} s", parts.join(", "))
}

/// A number of bytes in the largest unit that leaves it above one.
pub fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scaled = bytes as f64;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{scaled:.1} {}", units[unit]) }
}
