//! How everything stands, as lines of JSON: what `vfsync status --json` prints, and what the other faces of it show.

use super::facts::{LinkFacts, State};
use super::kept::Kept;
use super::site::Site;
use crate::archive::{ArchiveError, OpenReason};
use crate::core::path::RelPath;
use crate::link::describe;
use crate::replica::Severity;
use crate::replica::conflicts::Conflict;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// So many paths with trouble are named in one line; all of them are counted.
const NAMED: usize = 100;
/// So many of the paths within a conflict are named.
const PARTS: usize = 3;
/// So many conflicts are listed.
const MOST_CONFLICTS: usize = 10_000;

/// A line of the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Line {
    /// The process.
    Process(Process),
    /// One of its replicas.
    Replica(ReplicaLine),
    /// A link of one of them.
    Link(LinkLine),
}

/// The process that answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Its command: `daemon` or `live`.
    pub role: String,
    /// Its number.
    pub pid: u32,
    /// The version of vfsync.
    pub version: String,
    /// When it was started, as RFC 3339.
    pub since: String,
    /// How it learns of changes; `scan` where everything is looked at once a minute.
    pub tier: String,
    /// Events that capture handed out.
    pub events: u64,
    /// Records that coalescing has saved.
    pub coalesced: u64,
    /// Records that were lost; each loss is made good by a look at everything.
    pub lost: u64,
}

/// A path, and what is the matter with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// Where; lossy.
    pub path: String,
    /// The same in base64, if that loses something.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_bytes: Option<String>,
    /// What.
    pub why: String,
    /// At which end: `here` or `there`.
    pub at: String,
}

/// A replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReplicaLine {
    /// Its root.
    pub root: String,
    /// How far it is: `opening`, `scanning`, `following`, `waiting`, `halted`, `paused`, `closed`.
    pub state: String,
    /// Since when.
    pub since: String,
    /// Why it is not followed, where there is a reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// How many deletions `resume` would approve, where a guard has halted it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deletions: Option<u64>,
    /// How many entries stand in its archive.
    pub entries: u64,
    /// How its root is watched.
    pub capture: String,
    /// Events below its root.
    pub events: u64,
    /// Times when some of them were lost.
    pub lost: u64,
    /// Looks at everything because of that, or because nothing captures; the first is not counted.
    pub rescans: u64,
    /// Paths that wait to be looked at.
    pub waiting: u64,
    /// Conflicts that stand.
    pub conflicts: u64,
    /// Paths that could not be dealt with, as many as are named.
    pub problems: Vec<Trouble>,
    /// How many there are.
    pub problem_count: u64,
    /// How long the stages of changes took so far.
    #[serde(default)]
    pub stages: Vec<StageTime>,
}

/// A stage of a change's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which.
    pub stage: String,
    /// How often it was gone through.
    pub count: u64,
    /// How long that took together, in microseconds.
    pub micros: u64,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkLine {
    /// The name of its block; empty where the other end has dialled.
    pub block: String,
    /// The root at this end.
    pub root: String,
    /// The root at the other end.
    pub peer: String,
    /// Whether this end dials.
    pub dials: bool,
    /// `waiting`, `connecting`, `scanning`, `catching-up`, `live`, `broken`, `halted`, `paused`, `by-other-end`,
    /// `itself`, `closed`.
    pub state: String,
    /// Since when.
    pub since: String,
    /// Why it is not live, where there is a reason.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// How many deletions at the other end `resume` would approve, where a guard there has halted it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deletions: Option<u64>,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub again: Option<String>,
    /// Entries that are still to be offered, and offers without an answer.
    pub backlog: u64,
    /// What came from the peer and waits.
    pub incoming: u64,
    /// How often it was made.
    pub sessions: u64,
    /// Changes that it carried, both ways.
    pub carried: u64,
    /// The last of them, and when.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<Last>,
    /// Bytes to the peer, and from it.
    pub bytes_sent: u64,
    /// See there.
    pub bytes_received: u64,
    /// Bytes a second over the last ten seconds.
    pub rate_sent: u64,
    /// See there.
    pub rate_received: u64,
    /// Paths that one end could not take from the other, as many as are named.
    pub failures: Vec<Trouble>,
    /// How many there are.
    pub failure_count: u64,
}

/// The last change that a link carried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// Where; lossy.
    pub path: String,
    /// When.
    pub time: String,
}

/// A conflict that stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "conflict")]
pub struct ConflictLine {
    /// The root at this end.
    pub root: String,
    /// Where below it; lossy.
    pub path: String,
    /// The same in base64, if that loses something.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path_bytes: Option<String>,
    /// The root that has something else there.
    pub peer: String,
    /// What stands here.
    pub here: String,
    /// What stands there.
    pub there: String,
    /// Whether a person has decided, and the other end is still to hear of it: `remote` or `no`.
    pub decided: String,
}

/// Returns a moment as text.
pub fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn lossy(path: &RelPath) -> (String, Option<String>) {
    match str::from_utf8(path.as_bytes()) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let lossy = String::from_utf8_lossy(path.as_bytes()).into_owned();
            (lossy, Some(BASE64_STANDARD.encode(path.as_bytes())))
        }
    }
}

pub(super) fn trouble(path: &RelPath, why: String, at: &str) -> Trouble {
    let (path, path_bytes) = lossy(path);
    Trouble { path, path_bytes, why, at: at.to_owned() }
}

/// Returns how everything stands: the process, its replicas, their links.
pub async fn lines(site: &Site) -> Vec<Line> {
    let facts = site.hub().facts().await;
    let stats = facts.as_ref().map(|facts| facts.stats).unwrap_or_default();
    let tier = facts.and_then(|facts| facts.tier);
    let mut lines = vec![Line::Process(Process {
        role: site.role.to_owned(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since: time(site.started()),
        tier: tier.map_or("scan", |tier| tier.name()).to_owned(),
        events: stats.events,
        coalesced: stats.coalesced,
        lost: stats.lost.iter().sum(),
    })];
    let (replicas, links) = (site.replicas(), site.all_links());
    let made = tokio::task::spawn_blocking(move || {
        let replicas = replicas.iter().map(|kept| Line::Replica(replica(kept)));
        replicas.chain(links.iter().map(|facts| Line::Link(link(facts)))).collect::<Vec<_>>()
    });
    lines.extend(made.await.unwrap_or_default());
    lines
}

fn replica(kept: &Kept) -> ReplicaLine {
    let (stage, since) = kept.stage();
    let (entries, conflicts) = stage.replica().map_or((0, 0), |replica| {
        let read = replica.archive.read();
        let counted = read.and_then(|snapshot| {
            let open = snapshot.all_open()?;
            let is_conflict =
                |row: &Result<_, ArchiveError>| matches!(row, Ok((_, _, open)) if is_conflict(open));
            let conflicts = open.filter(is_conflict).count() as u64;
            Ok((snapshot.live()?, conflicts))
        });
        counted.unwrap_or_default()
    });
    let problems = kept.facts.problems();
    let told = problems.iter().take(NAMED).map(|problem| {
        let why = match problem.severity {
            Severity::Skipped if !problem.why.ends_with("left out") => format!("left out: {}", problem.why),
            Severity::Skipped => problem.why.clone(),
            Severity::Failed => problem.why.clone(),
        };
        trouble(&problem.path, why, "here")
    });
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let deletions = stage.deletions();
    ReplicaLine {
        root: kept.root.display().to_string(),
        state: stage.word().to_owned(),
        since: time(since),
        why: stage.why().map(ToOwned::to_owned),
        deletions,
        entries,
        capture: kept.said(),
        events: count(&kept.facts.events),
        lost: count(&kept.facts.lost),
        rescans: count(&kept.facts.rescans),
        waiting: count(&kept.facts.waiting),
        conflicts,
        problems: told.collect(),
        problem_count: problems.len() as u64,
        stages: stage.replica().map(|replica| stages(&replica.times)).unwrap_or_default(),
    }
}

fn stages(times: &crate::replica::Times) -> Vec<StageTime> {
    let all = times.all().into_iter().filter(|(_, count, _)| *count > 0);
    all.map(|(stage, count, micros)| StageTime { stage: stage.to_owned(), count, micros }).collect()
}

fn is_conflict(open: &crate::archive::Open) -> bool {
    matches!(open.reason, OpenReason::Conflict)
}

fn link(facts: &LinkFacts) -> LinkLine {
    let numbers = facts.numbers();
    let gauge = facts.gauge();
    let backlog = gauge.as_ref().and_then(|gauge| gauge.backlog().ok().flatten()).unwrap_or_default();
    let (there, here) = gauge.map_or((Vec::new(), Vec::new()), |gauge| (gauge.refused(), gauge.left_open()));
    let failure_count = (there.len() + here.len()) as u64;
    let there = there.into_iter().map(|(path, why)| trouble(&path, why, "there"));
    let here = here.into_iter().map(|(path, why)| trouble(&path, why, "here"));
    let again = match &numbers.state {
        State::Broken { again, .. } => Some(time(*again)),
        _ => None,
    };
    LinkLine {
        deletions: numbers.state.deletions(),
        block: facts.block.clone(),
        root: facts.root.clone(),
        peer: facts.peer.clone(),
        dials: facts.dials,
        state: numbers.state.word().to_owned(),
        since: time(numbers.since),
        why: numbers.state.why().map(ToOwned::to_owned),
        again,
        backlog: backlog.unsent + backlog.unanswered,
        incoming: backlog.incoming,
        sessions: numbers.sessions,
        carried: numbers.carried,
        last: numbers.last.map(|(at, path)| Last { path: lossy(&path).0, time: time(at) }),
        bytes_sent: numbers.totals.sent,
        bytes_received: numbers.totals.received,
        rate_sent: numbers.rates.sent,
        rate_received: numbers.rates.received,
        failures: there.chain(here).take(NAMED).collect(),
        failure_count,
    }
}

/// Returns the conflicts that stand, as the archives have them.
pub async fn conflicts(site: &Site) -> Vec<ConflictLine> {
    let replicas = site.replicas();
    let found = tokio::task::spawn_blocking(move || {
        let of = |kept: &Arc<Kept>| {
            let (stage, _) = kept.stage();
            let conflicts = stage.replica().map(|replica| replica.conflicts());
            conflict_lines(&kept.root, &conflicts.and_then(Result::ok).unwrap_or_default())
        };
        replicas.iter().flat_map(of).collect()
    });
    found.await.unwrap_or_default()
}

/// Returns the lines of the conflicts of one replica.
pub fn conflict_lines(root: &Path, conflicts: &[Conflict]) -> Vec<ConflictLine> {
    let line = |conflict: &Conflict| {
        let (path, path_bytes) = lossy(&conflict.path);
        let unknown = || format!("a peer whose name is not known ({:016x})", conflict.peer.0);
        ConflictLine {
            root: root.display().to_string(),
            path,
            path_bytes,
            peer: conflict.peer_name.clone().unwrap_or_else(unknown),
            here: describe(conflict.local.as_ref()),
            there: there(conflict),
            decided: if conflict.keep_theirs { "remote" } else { "no" }.to_owned(),
        }
    };
    conflicts.iter().take(MOST_CONFLICTS).map(line).collect()
}

/// Says what the peer has; of a directory that was deleted here perhaps only what is new in it.
fn there(conflict: &Conflict) -> String {
    if let Some(entry) = &conflict.remote {
        return describe(Some(entry));
    }
    let named: Vec<String> = conflict.parts.iter().take(PARTS).map(ToString::to_string).collect();
    let more = if conflict.parts.len() > PARTS { ", ..." } else { "" };
    format!("changes that this side has not seen: {}{more}", named.join(", "))
}
