//! An [`Event`] is what a link tells the person who runs it.

use crate::core::entry::{Content, Entry, Kind};
use crate::core::path::RelPath;
use crate::core::reconcile::{Policy, Preference, Side};
use crate::replica::Problem;
use crate::wire::{Action, Verdict};

/// How a change ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It is done but for this.
    Partly(String),
    /// An option forbids it, or it has to wait.
    Skipped(String),
    /// It did not work.
    Failed(String),
}

/// Something that a link did or could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A path of one side was changed, or should have been.
    Change {
        /// Where.
        path: RelPath,
        /// Where it was, if it was renamed.
        from: Option<RelPath>,
        /// What stands there afterwards, or stood there before it was deleted.
        kind: Kind,
        /// What was done.
        action: Action,
        /// Whose tree it was done to.
        side: Side,
        /// How it ended.
        outcome: Outcome,
    },
    /// Both sides changed a path.
    Conflict {
        /// Where; a directory for all that is in it.
        path: RelPath,
        /// What stands here, for a person.
        local: String,
        /// What stands at the peer.
        remote: String,
    },
    /// A path that a scan could not deal with.
    Problem {
        /// On whose tree.
        side: Side,
        /// What.
        problem: Problem,
    },
    /// Something that a person should know.
    Notice(String),
}

/// Says what an entry is, for a person.
pub fn describe(entry: Option<&Entry>) -> String {
    match entry.map(|e| &e.content) {
        None => "absent".to_owned(),
        Some(Content::Deleted) => "deleted".to_owned(),
        Some(Content::Dir) => "directory".to_owned(),
        Some(Content::File { size: 1, .. }) => "file, 1 byte".to_owned(),
        Some(Content::File { size, .. }) => format!("file, {size} bytes"),
        Some(Content::Symlink { target }) => format!("symlink to {}", target.escape_ascii()),
    }
}

/// Says what two entries in conflict are, for a person: also what differs where the content does not, and why a
/// preference does not decide.
pub fn describe_both(here: Option<&Entry>, there: &Entry, policy: &Policy) -> (String, String) {
    let (mut mine, mut theirs) = (describe(here), describe(Some(there)));
    let Some(here) = here else { return (mine, theirs) };
    let both_stand = here.content.is_live() && there.content.is_live();
    if both_stand && here.content == there.content {
        for (text, entry) in [(&mut mine, here), (&mut theirs, there)] {
            let other = if std::ptr::eq(entry, here) { there } else { here };
            let own = &entry.attributes;
            if (own.mode ^ other.attributes.mode) & policy.mask.mode != 0 {
                text.push_str(&format!(", mode {:04o}", own.mode));
            }
            if policy.mask.owner && own.uid != other.attributes.uid {
                text.push_str(&format!(", owner {}", own.uid));
            }
            if policy.mask.group && own.gid != other.attributes.gid {
                text.push_str(&format!(", group {}", own.gid));
            }
            if policy.mask.xattrs && entry.extended.xattrs != other.extended.xattrs {
                let names = entry.extended.xattrs.iter().map(|(name, _)| name.escape_ascii().to_string());
                let names = names.collect::<Vec<_>>().join(" ");
                text.push_str(&format!(", extended attributes: {}", or_none(&names)));
            }
            if policy.mask.acl && entry.extended.acls != other.extended.acls {
                let has = if entry.extended.acls.is_empty() { "no" } else { "an" };
                text.push_str(&format!(", {has} access list"));
            }
        }
    }
    let by_time = matches!(policy.prefer.or(policy.force), Some(Preference::Newer | Preference::Older));
    if both_stand && by_time && here.mtime == there.mtime {
        theirs.push_str(", of the same mtime: neither is newer");
    }
    (mine, theirs)
}

fn or_none(names: &str) -> &str {
    if names.is_empty() { "none" } else { names }
}

/// Returns that a directory was renamed.
pub(super) fn of_rename(from: &RelPath, to: &RelPath, side: Side) -> Event {
    let (path, from) = (to.clone(), Some(from.clone()));
    Event::Change { path, from, kind: Kind::Dir, action: Action::Rename, side, outcome: Outcome::Done }
}

/// Returns what a verdict over the entry `offered` at `path` means to a person; `None` for what is nothing new.
/// In a `plan`, what would be done counts as new.
/// `side` is the receiver's; `here` is what stood there, where it is known.
pub(super) fn of_verdict(
    path: &RelPath,
    offered: &Entry,
    here: Option<&Entry>,
    verdict: Verdict,
    side: Side,
    plan: bool,
) -> Option<Event> {
    let kind = offered.content.kind().or_else(|| here.and_then(|e| e.content.kind())).unwrap_or(Kind::File);
    let change =
        |action, outcome| Some(Event::Change { path: path.clone(), from: None, kind, action, side, outcome });
    let wanted = match (here.map(|e| e.content.is_live()), offered.content.is_live()) {
        (_, false) => Action::Delete,
        (Some(true), true) => Action::Update,
        (_, true) => Action::Create,
    };
    match verdict {
        // The other side takes over what stands here, and tells of it when it does; in a plan it does not come to that.
        Verdict::Won(stands) if plan => {
            let (theirs, side) = (offered.content.kind(), side.flipped());
            let action = match (theirs, stands) {
                (None, None) => return None,
                (Some(_), None) => Action::Delete,
                (None, Some(_)) => Action::Create,
                (Some(_), Some(_)) => Action::Update,
            };
            let kind = stands.or(theirs)?;
            Some(Event::Change { path: path.clone(), from: None, kind, action, side, outcome: Outcome::Done })
        }
        Verdict::Have | Verdict::Won(_) | Verdict::Waits => None,
        Verdict::Took(action) => change(action, Outcome::Done),
        Verdict::TookPartly(action, why) => change(action, Outcome::Partly(why)),
        Verdict::Forbidden(option) => change(wanted, Outcome::Skipped(format!("forbidden by {option}"))),
        Verdict::Failed(why) => change(wanted, Outcome::Failed(why)),
        Verdict::Conflict { here, there, at } => {
            let (local, remote) = match side {
                Side::Local => (here, there),
                Side::Remote => (there, here),
            };
            Some(Event::Conflict { path: at, local, remote })
        }
    }
}
