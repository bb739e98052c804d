//! Following a replica: what capture hints at becomes dirty paths, and dirty paths are scanned when they are due.

use super::Replica;
use super::scan::{Look, ScanError, ScanReport};
use crate::capture::{Capture, CaptureError, Event, EventKind};
use crate::core::dirty::DirtySet;
use crate::core::path::RelPath;
use crate::fs::WriterCheck;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long a file that is being written may rest before it is looked at; a file that was closed is looked at at once.
const QUIET: Duration = Duration::from_millis(20);
/// How long writes may follow one another before the file is looked at all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a path rests that changed while it was looked at.
const AGAIN: Duration = Duration::from_millis(50);
/// When a file that grows all the time is looked at again, at the latest.
const GROWS: Duration = Duration::from_secs(1);
/// After how long a path is looked at again that could not be read.
const TROUBLE: Duration = Duration::from_secs(5);
/// When a file is looked at again that somebody has open for writing, and after twice as long each time: stores to a
/// mapping are not always seen.
const WRITERS: Duration = Duration::from_secs(1);
/// But at least so often.
const WRITERS_AT_LEAST: Duration = Duration::from_secs(30);
/// So many such files are kept in mind; a store to a mapping of another one is found when it is closed.
const MOST_WRITERS: usize = 10_000;
/// How often everything is looked at where capture sees nothing, or not everything.
const RESCAN: Duration = Duration::from_secs(60);

/// What following tells.
#[derive(Debug)]
pub enum Followed {
    /// A scan of dirty paths, or of everything for this reason.
    Scanned {
        /// What it did.
        report: ScanReport,
        /// Why everything was looked at; `None` for dirty paths.
        rescan: Option<String>,
    },
    /// Capture broke; everything is looked at periodically from now on.
    CaptureLost(CaptureError),
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A scan failed or a guard halted.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// Nobody listens any more.
    #[error("the session has ended")]
    Done,
    /// A scanning thread died.
    #[error("the scan failed: {0}")]
    Died(String),
}

/// Keeps the archive of a replica in step with its tree, until something fails. `root` is the replica's place among the
/// roots of the capture.
///
/// # Errors
/// Always: why it ended.
pub async fn follow(
    replica: Arc<Replica>,
    mut capture: Option<Capture>,
    root: usize,
    tell: mpsc::UnboundedSender<Followed>,
) -> Result<std::convert::Infallible, FollowError> {
    let mut dirty = DirtySet::default();
    let mut writers = Writers::new();
    let started = Instant::now();
    let clock = || started.elapsed();
    let mut rescan_at = Instant::now() + RESCAN;
    loop {
        let due = dirty.next_due().map(|due| started + due);
        let writers_due = writers.values().map(|(due, _)| *due).min();
        let periodic = capture.is_none();
        tokio::select! {
            events = next(&mut capture) => match events {
                Ok(events) => hint(&replica, &mut dirty, &mut writers, &events, root, clock()),
                Err(error) => {
                    dirty.everything("capture has stopped working");
                    capture = None;
                    tell.send(Followed::CaptureLost(error)).map_err(|_| FollowError::Done)?;
                }
            },
            suspects = replica.suspects() => {
                suspects.into_iter().for_each(|p| dirty.add(p, written(), clock(), AGAIN, PATIENCE));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = sleep_until(started + writers_due.unwrap_or_default()), if writers_due.is_some() => {
                for path in still_written(&replica, &mut writers, clock()).await? {
                    dirty.add(path, written(), clock(), Duration::ZERO, PATIENCE);
                }
            }
            () = sleep_until(rescan_at), if periodic => dirty.everything("there is no capture"),
        }
        if let Some(why) = dirty.take_everything() {
            rescan_at = Instant::now() + RESCAN;
            let report = scan(&replica, |replica| replica.scan_all()).await?;
            note(&mut dirty, &report, clock());
            tell.send(Followed::Scanned { report, rescan: Some(why) }).map_err(|_| FollowError::Done)?;
            continue;
        }
        let now_due = dirty.take_due(clock());
        if !now_due.is_empty() {
            let report = scan(&replica, move |replica| replica.scan_dirty(&now_due)).await?;
            note(&mut dirty, &report, clock());
            tell.send(Followed::Scanned { report, rescan: None }).map_err(|_| FollowError::Done)?;
        }
    }
}

async fn next(capture: &mut Option<Capture>) -> Result<Vec<Event>, CaptureError> {
    match capture {
        Some(capture) => capture.next().await,
        None => std::future::pending().await,
    }
}

async fn scan(
    replica: &Arc<Replica>,
    work: impl FnOnce(&Replica) -> Result<ScanReport, ScanError> + Send + 'static,
) -> Result<ScanReport, FollowError> {
    let replica = replica.clone();
    let done = tokio::task::spawn_blocking(move || work(&replica)).await;
    Ok(done.map_err(|e| FollowError::Died(e.to_string()))??)
}

/// Files that somebody has open for writing: when each is looked at again, and how long that was put off.
type Writers = BTreeMap<RelPath, (Duration, Duration)>;

/// Returns the files whose time has come; the last time for those that nobody writes to any more.
async fn still_written(
    replica: &Arc<Replica>,
    writers: &mut Writers,
    now: Duration,
) -> Result<Vec<RelPath>, FollowError> {
    let due: Vec<RelPath> =
        writers.iter().filter(|(_, (due, _))| *due <= now).map(|(path, _)| path.clone()).collect();
    let replica = replica.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let ask = |path: RelPath| {
            let check = replica.writers_of(&path);
            (path, check)
        };
        due.into_iter().map(ask).collect::<Vec<_>>()
    });
    let asked = asked.await.map_err(|e| FollowError::Died(e.to_string()))?;
    let mut paths = Vec::with_capacity(asked.len());
    for (path, check) in asked {
        let waited = writers.get(&path).map_or(WRITERS, |(_, waited)| *waited);
        // Where it cannot be told, the file is looked at for a while.
        let done = check == WriterCheck::None || check == WriterCheck::Unknown && waited >= WRITERS_AT_LEAST;
        if done {
            writers.remove(&path);
        } else {
            let wait = (waited * 2).min(WRITERS_AT_LEAST);
            writers.insert(path.clone(), (now + wait, wait));
        }
        paths.push(path);
    }
    Ok(paths)
}

fn written() -> Look {
    Look { recursive: false, written: true }
}

/// Turns events into dirty paths.
fn hint(
    replica: &Replica,
    dirty: &mut DirtySet,
    writers: &mut Writers,
    events: &[Event],
    root: usize,
    now: Duration,
) {
    for event in events.iter().filter(|e| e.root == root) {
        let look = Look { recursive: event.recursive, written: false };
        let at_once = Duration::ZERO;
        match event.kind {
            EventKind::Lost(why) => dirty.everything(&why.to_string()),
            // Only the names that the file has in the tree, below: others' files with several names are many.
            EventKind::Elsewhere => {}
            EventKind::Write | EventKind::Truncate => {
                let rest = if event.closed { at_once } else { QUIET };
                dirty.add(event.path.clone(), written(), now, rest, PATIENCE);
            }
            EventKind::CloseWrite => {
                dirty.add(event.path.clone(), written(), now, at_once, PATIENCE);
            }
            EventKind::List => {
                let look = Look { recursive: true, written: false };
                dirty.add(event.path.clone(), look, now, at_once, PATIENCE);
            }
            EventKind::Rename | EventKind::Exchange => {
                let whole = Look { recursive: true, written: false };
                dirty.add(event.path.clone(), whole, now, at_once, PATIENCE);
                if let Some(to) = &event.to {
                    dirty.add(to.clone(), whole, now, at_once, PATIENCE);
                }
            }
            EventKind::Create
            | EventKind::Mkdir
            | EventKind::Mknod
            | EventKind::Symlink
            | EventKind::Link
            | EventKind::Delete
            | EventKind::Rmdir
            | EventKind::Attributes
            | EventKind::Xattr => {
                let open = event.kind == EventKind::Create && !event.closed && event.writers;
                dirty.add(event.path.clone(), look, now, if open { QUIET } else { at_once }, PATIENCE);
            }
        }
        if event.linked {
            for name in replica.names_of(event.inode) {
                dirty.add(name, written(), now, QUIET, PATIENCE);
            }
        }
        if event.writers && !event.closed && writers.len() < MOST_WRITERS {
            writers.entry(event.path.clone()).or_insert((now + WRITERS, WRITERS));
        }
    }
}

/// What a scan could not deal with stays dirty.
fn note(dirty: &mut DirtySet, report: &ScanReport, now: Duration) {
    for path in &report.again {
        dirty.add(path.clone(), Look { recursive: true, written: true }, now, AGAIN, PATIENCE);
    }
    for path in &report.grows {
        dirty.later(path.clone(), Look { recursive: false, written: true }, now + GROWS);
    }
    for problem in &report.problems {
        if problem.severity == super::Severity::Failed {
            let path: RelPath = problem.path.clone();
            dirty.later(path, Look { recursive: true, written: false }, now + TROUBLE);
        }
    }
}
