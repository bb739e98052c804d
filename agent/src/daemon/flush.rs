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
use crate::link::Gauge;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
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

impl FlushLine {
    fn failed(root: String, peer: String, why: String) -> FlushLine {
        let result = "failed".to_owned();
        FlushLine { root, peer, result, why: Some(why), left: Vec::new(), left_count: 0 }
    }
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
    let mut roots = HashMap::new();
    for (kept, at) in wanted {
        let site = site.clone();
        let root = kept.root.display().to_string();
        let task = tasks.spawn(async move { one(&site, &kept, &at, deadline).await });
        roots.insert(task.id(), root);
    }
    let mut lines = Vec::new();
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(of_one) => lines.extend(of_one),
            Err(error) => {
                let root = roots.remove(&error.id()).unwrap_or_default();
                lines.push(FlushLine::failed(root, String::new(), format!("flushing it failed: {error}")));
            }
        }
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
    let failed = |peer: &str, why: String| FlushLine::failed(root.clone(), peer.to_owned(), why);
    let Ok(Some(settled)) = timeout_at(deadline, settle(kept)).await else {
        let (stage, _) = kept.stage();
        let why = stage.why().map_or_else(|| format!("it is {}", stage.word()), ToOwned::to_owned);
        return vec![failed("", format!("what happened there is not known yet: {why}"))];
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
    let Ok(links) = timeout_at(deadline, links_of(site, &root)).await else {
        lines.push(failed("", "no link of it is there: nothing can be said of any peer".to_owned()));
        return lines;
    };
    let mut asked: Vec<Arc<LinkFacts>> = Vec::new();
    // Those that this end makes come first, and stand for what carries them.
    for facts in links {
        if asked.iter().any(|other| Arc::ptr_eq(other, &facts)) {
            continue;
        }
        let Ok((carrier, gauge)) = timeout_at(deadline, answered(site, &facts, settled.head)).await else {
            lines.push(failed(
                &facts.peer,
                format!("not everything was answered in time: {}", missing(&facts)),
            ));
            continue;
        };
        asked.push(carrier);
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

/// Returns the links of a root that have to answer; where there is none, one may be about to be made.
async fn links_of(site: &Site, root: &str) -> Vec<Arc<LinkFacts>> {
    loop {
        let mut links = site.all_links();
        links.retain(|facts| facts.root == root && !matches!(facts.state(), State::Itself | State::Closed));
        if !links.is_empty() {
            return links;
        }
        sleep(ASK).await;
    }
}

/// Waits until the peer has answered for everything up to a number, over this link or what carries it. One that is not
/// there is waited for.
async fn answered(site: &Site, facts: &Arc<LinkFacts>, through: Sequence) -> (Arc<LinkFacts>, Gauge) {
    loop {
        if let Some(carrier) = carrier(site, facts)
            && matches!(carrier.state(), State::Live | State::CatchingUp)
            && let Some(gauge) = carrier.gauge()
            && gauge.answered(through) == Some(true)
        {
            return (carrier, gauge);
        }
        sleep(ASK).await;
    }
}

/// Returns the link that carries what is to go over this one: itself, or the one that the other end has dialled instead, or
/// dialled again; `None` while that is not there.
fn carrier(site: &Site, facts: &Arc<LinkFacts>) -> Option<Arc<LinkFacts>> {
    match facts.state() {
        State::ByOtherEnd(peer) => site.answered_with(&facts.root, peer),
        State::Closed => site.answered_with(&facts.root, facts.replica()?),
        State::Waiting
        | State::Connecting
        | State::Scanning
        | State::CatchingUp
        | State::Live
        | State::Broken { .. }
        | State::Halted { .. }
        | State::Paused
        | State::Itself => Some(facts.clone()),
    }
}

/// Says why a link has not answered.
fn missing(facts: &LinkFacts) -> String {
    match facts.state() {
        State::ByOtherEnd(_) => "the link that the other end makes is not there, or not in step".to_owned(),
        state => state.why().map_or_else(|| format!("it is {}", state.word()), ToOwned::to_owned),
    }
}
