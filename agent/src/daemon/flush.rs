//! Flushing: everything that happened before a moment is on the peers, or it is said what is not, and why.
//!
//! First the archive has to tell what happened: capture is asked for a barrier, and what waits to be looked at is looked
//! at. Then each link has to have an answer for everything up to that number. What the peer did not take is told.

use super::control::{Ending, below};
use super::facts::{LinkFacts, State};
use super::kept::Kept;
use super::site::Site;
use super::status::{Trouble, trouble};
use crate::core::path::RelPath;
use crate::core::version::Sequence;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How often a link is asked whether it has its answers.
const ASK: Duration = Duration::from_millis(10);
/// So many paths are named that are not on the other side.
const NAMED: usize = 100;

/// What came of flushing to one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "flush")]
pub struct FlushLine {
    /// The root at this end.
    pub root: String,
    /// The root at the other end; empty for what this end could not look at.
    pub peer: String,
    /// `done`, `partly` or `failed`.
    pub result: String,
    /// Why, for the whole link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub why: Option<String>,
    /// What is not there.
    pub left: Vec<Trouble>,
    /// How much that is.
    pub left_count: u64,
}

/// Flushes everything, or what is at or below a path, and says how the command is to exit: 0 if all of it is on every
/// peer, 2 if some paths are not, 3 if that cannot be told of some peer.
pub(super) async fn flush(
    site: &Arc<Site>,
    path: Option<&Path>,
    limit: Duration,
) -> (Vec<FlushLine>, Ending) {
    let deadline =
        Instant::now().checked_add(limit).unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
    let mut wanted = Vec::new();
    for kept in site.replicas() {
        match path {
            None => wanted.push((kept, RelPath::root())),
            Some(path) => {
                if let Some(at) =
                    below(&kept.root, &super::kept::canonical(path)).or_else(|| below(&kept.root, path))
                {
                    wanted.push((kept, at));
                }
            }
        }
    }
    if wanted.is_empty() {
        let say = path.map(|path| format!("{} lies in no root that is kept here", path.display()));
        return (Vec::new(), Ending { exit: 3, say });
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (kept, at) in wanted {
        let site = site.clone();
        tasks.spawn(async move { one(&site, &kept, &at, deadline).await });
    }
    let mut lines = Vec::new();
    while let Some(done) = tasks.join_next().await {
        lines.extend(done.unwrap_or_default());
    }
    lines.sort_by(|a, b| (&a.root, &a.peer).cmp(&(&b.root, &b.peer)));
    let exit = match () {
        () if lines.iter().any(|line| line.result == "failed") => 3,
        () if lines.iter().any(|line| line.result == "partly") => 2,
        () => 0,
    };
    (lines, Ending { exit, say: None })
}

/// Flushes one replica.
async fn one(site: &Site, kept: &Kept, at: &RelPath, deadline: Instant) -> Vec<FlushLine> {
    let root = kept.root.display().to_string();
    let line = |peer: &str, result: &str, why: Option<String>, left: Vec<Trouble>| FlushLine {
        root: root.clone(),
        peer: peer.to_owned(),
        result: result.to_owned(),
        why,
        left_count: left.len() as u64,
        left: left.into_iter().take(NAMED).collect(),
    };
    let Ok(Some(settled)) = timeout_at(deadline, settle(kept)).await else {
        let (stage, _) = kept.stage();
        let why = stage.why().map_or_else(|| format!("it is {}", stage.word()), ToOwned::to_owned);
        return vec![line(
            "",
            "failed",
            Some(format!("what happened there is not known yet: {why}")),
            Vec::new(),
        )];
    };
    let mut lines = Vec::new();
    let unseen: Vec<Trouble> = settled
        .left
        .iter()
        .filter(|(path, _)| path.starts_with(at) || at.starts_with(path))
        .map(|(path, why)| trouble(path, why.clone(), "here"))
        .collect();
    if !unseen.is_empty() {
        lines.push(line("", "partly", Some("not looked at".to_owned()), unseen));
    }
    for facts in site.all_links().into_iter().filter(|facts| facts.root == root) {
        if matches!(facts.state(), State::Itself | State::ByOtherEnd | State::Closed) {
            continue;
        }
        let answered = timeout_at(deadline, answered(&facts, settled.head)).await.is_ok();
        let Some(gauge) = facts.gauge().filter(|_| answered) else {
            let state = facts.state();
            let why = state.why().map_or_else(|| format!("it is {}", state.word()), ToOwned::to_owned);
            let why = format!("not everything was answered in time: {why}");
            lines.push(line(&facts.peer, "failed", Some(why), Vec::new()));
            continue;
        };
        let left: Vec<Trouble> = gauge
            .refused()
            .into_iter()
            .filter(|(path, _)| path.starts_with(at) || at.starts_with(path))
            .map(|(path, why)| trouble(&path, why, "there"))
            .collect();
        let result = if left.is_empty() { "done" } else { "partly" };
        lines.push(line(&facts.peer, result, None, left));
    }
    lines
}

/// Waits until the archive tells what happened before this; a replica that is not followed yet is waited for.
async fn settle(kept: &Kept) -> Option<crate::replica::follow::Settled> {
    let mut stages = kept.stages();
    loop {
        let known = stages.wait_for(|(stage, _)| matches!(stage, super::kept::Stage::Following(_))).await;
        drop(known.ok()?);
        if let Some(settled) = kept.settle().await {
            return Some(settled);
        }
        sleep(ASK).await;
    }
}

/// Waits until the peer has answered for everything up to a number. A link that is not there is waited for.
async fn answered(facts: &LinkFacts, through: Sequence) {
    loop {
        let live = matches!(facts.state(), State::Live | State::CatchingUp);
        if live && facts.gauge().and_then(|gauge| gauge.answered(through)) == Some(true) {
            return;
        }
        sleep(ASK).await;
    }
}
