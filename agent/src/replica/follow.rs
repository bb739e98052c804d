//! Following a replica: what capture hints at becomes dirty paths, and dirty paths are scanned when they are due.

use super::Replica;
use super::scan::{Look, ScanError, ScanReport};
use super::{Problem, Severity};
use crate::archive::ArchiveError;
use crate::capture::{Event, EventKind};
use crate::core::dirty::DirtySet;
use crate::core::path::RelPath;
use crate::core::version::Sequence;
use crate::fs::WriterCheck;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

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
/// How often everything is looked at where capture sees nothing, or not what others do.
const RESCAN: Duration = Duration::from_secs(60);
/// After a look at everything, how many times as long as it took the next one waits that a loss asks for: where losses
/// follow one another, most of the time is for something else.
const BREATHER: u32 = 4;
/// After a look at everything that the clock asked for, how many times as long as it took the next one waits at least.
const RARELY: u32 = 50;

/// How often what changes under the looks of [`Hint::Settle`] is looked at again.
const SETTLING: u32 = 5;
/// So many problems are kept in mind.
const MOST_PROBLEMS: usize = 10_000;

/// What following goes by.
#[derive(Debug)]
pub enum Hint {
    /// Capture has seen something below this root.
    Events {
        /// What.
        events: Vec<Event>,
        /// The room that they take in the queue, where it is bounded.
        room: Option<OwnedSemaphorePermit>,
    },
    /// What capture sees from now on.
    Coverage(Coverage),
    /// Look at everything that waits to be looked at, and tell.
    Settle(oneshot::Sender<Settled>),
}

/// What capture sees of a replica, and what has to be done about the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// Everything.
    Whole,
    /// Not everything, for this reason.
    Partly {
        /// Why.
        why: String,
        /// How often everything is looked at for that.
        every: Duration,
        /// Any change may be among what is missed, not only what programs rarely do.
        anything: bool,
    },
    /// Nothing, or not what others do, for this reason: everything is looked at once a minute.
    Blind(String),
}

/// The archive tells what was there when it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Up to this number.
    pub head: Sequence,
    /// Except here: it could not be read, or did not keep still.
    pub left: Vec<(RelPath, String)>,
}

/// What can be told of a replica that is followed.
#[derive(Debug, Default)]
pub struct Facts {
    /// Hints that came.
    pub events: AtomicU64,
    /// Times when hints were lost.
    pub lost: AtomicU64,
    /// Looks at everything, because of a loss or because nothing captures.
    pub rescans: AtomicU64,
    /// Paths that wait to be looked at.
    pub waiting: AtomicU64,
    problems: Mutex<BTreeMap<RelPath, Problem>>,
}

impl Facts {
    fn problems_mut(&self) -> MutexGuard<'_, BTreeMap<RelPath, Problem>> {
        self.problems.lock().expect("no thread panics with this locked")
    }

    /// Returns what the last look at each path could not deal with.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems_mut().values().cloned().collect()
    }

    /// Returns whether the last look at a path could not deal with it, and that is kept in mind.
    pub fn stands(&self, path: &RelPath) -> bool {
        self.problems_mut().contains_key(path)
    }

    /// Takes the problems of a look at everything.
    pub fn looked_at_everything(&self, report: &ScanReport) {
        self.problems_mut().clear();
        self.found(report);
    }

    fn looked_at(&self, looks: &BTreeMap<RelPath, Look>, report: &ScanReport) {
        {
            let mut problems = self.problems_mut();
            if !problems.is_empty() {
                let seen = |path: &RelPath| {
                    looks.contains_key(path)
                        || path.ancestors().any(|above| looks.get(&above).is_some_and(|look| look.recursive))
                };
                problems.retain(|path, _| !seen(path));
            }
        }
        self.found(report);
    }

    fn found(&self, report: &ScanReport) {
        let mut problems = self.problems_mut();
        for problem in &report.problems {
            if problems.len() < MOST_PROBLEMS || problems.contains_key(&problem.path) {
                problems.insert(problem.path.clone(), problem.clone());
            }
        }
    }
}

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
    /// Capture broke, for this reason; everything is looked at periodically from now on.
    CaptureLost(String),
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

/// Keeps the archive of a replica in step with its tree, until something fails. `facts` is what others may look at;
/// `first_look` tells what the look at everything that goes on beside found, once it is done: what that could not deal with
/// is looked at again.
///
/// # Errors
/// Always: why it ended.
pub async fn follow(
    replica: Arc<Replica>,
    hints: mpsc::Receiver<Hint>,
    facts: Arc<Facts>,
    tell: mpsc::UnboundedSender<Followed>,
    first_look: oneshot::Receiver<ScanReport>,
) -> Result<std::convert::Infallible, FollowError> {
    let mut following = Following {
        replica,
        facts,
        tell,
        dirty: DirtySet::default(),
        writers: Writers::new(),
        started: Instant::now(),
        rescan_at: Instant::now() + RESCAN,
        coverage: Coverage::Whole,
        rested: Duration::ZERO,
        first: true,
    };
    following.run(hints, first_look).await
}

/// A replica that is being followed.
struct Following {
    replica: Arc<Replica>,
    facts: Arc<Facts>,
    tell: mpsc::UnboundedSender<Followed>,
    dirty: DirtySet,
    writers: Writers,
    started: Instant,
    /// When the clock asks for the next look at everything, unless capture sees everything.
    rescan_at: Instant,
    coverage: Coverage,
    /// When a loss may have everything looked at again.
    rested: Duration,
    /// No hint has come yet.
    first: bool,
}

impl Following {
    fn clock(&self) -> Duration {
        self.started.elapsed()
    }

    async fn run(
        &mut self,
        mut hints: mpsc::Receiver<Hint>,
        mut first_look: oneshot::Receiver<ScanReport>,
    ) -> Result<std::convert::Infallible, FollowError> {
        let replica = self.replica.clone();
        let (mut open, mut looking) = (true, true);
        loop {
            let due = self.dirty.next_due().map(|due| self.started + due);
            let writers_due = self.writers.values().map(|(due, _)| *due).min();
            let mut asked = None;
            tokio::select! {
                hint = hints.recv(), if open => match hint {
                    // What has come meanwhile goes along: looking costs more than listening.
                    Some(hint) => asked = self.take_all(hint, &mut hints)?,
                    None => {
                        open = false;
                        if !matches!(self.coverage, Coverage::Blind(_)) {
                            self.coverage = Coverage::Blind("there is no capture".to_owned());
                            self.rescan_at = Instant::now() + RESCAN;
                        }
                    }
                },
                looked = &mut first_look, if looking => {
                    looking = false;
                    if let Ok(report) = looked {
                        let now = self.clock();
                        note(&mut self.dirty, &report, now);
                    }
                }
                suspects = replica.suspects() => self.take_suspects(suspects),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                () = sleep_until(self.started + writers_due.unwrap_or_default()), if writers_due.is_some() => {
                    let now = self.clock();
                    for path in still_written(&replica, &mut self.writers, now).await? {
                        self.dirty.add(path, written(), now, Duration::ZERO, PATIENCE);
                    }
                }
                () = sleep_until(self.rescan_at), if self.coverage != Coverage::Whole => match &self.coverage {
                    Coverage::Whole => {}
                    Coverage::Partly { why, .. } | Coverage::Blind(why) => self.dirty.everything(why),
                },
            }
            match asked {
                Some(tell) => {
                    let settled = self.settle().await?;
                    // Who asked may have gone.
                    let _ = tell.send(settled);
                }
                None => {
                    let now = self.clock();
                    let everything = self.dirty.take_everything(now);
                    let now_due = self.dirty.take_due(now);
                    self.look(everything, now_due).await?;
                }
            }
            self.facts.waiting.store(self.dirty.len() as u64, Ordering::Relaxed);
        }
    }

    /// Takes a hint and those that wait behind it, up to a question; returns whom to answer.
    fn take_all(
        &mut self,
        first: Hint,
        hints: &mut mpsc::Receiver<Hint>,
    ) -> Result<Option<oneshot::Sender<Settled>>, FollowError> {
        let mut next = Some(first);
        while let Some(hint) = next {
            match hint {
                Hint::Settle(tell) => return Ok(Some(tell)),
                hint => self.take(hint)?,
            }
            next = hints.try_recv().ok();
        }
        Ok(None)
    }

    fn take(&mut self, hint: Hint) -> Result<(), FollowError> {
        let first = std::mem::replace(&mut self.first, false);
        match hint {
            Hint::Events { events, room } => {
                self.facts.events.fetch_add(events.len() as u64, Ordering::Relaxed);
                let lost = events.iter().filter(|e| matches!(e.kind, EventKind::Lost(_))).count();
                self.facts.lost.fetch_add(lost as u64, Ordering::Relaxed);
                let now = self.clock();
                for event in &events {
                    match event.kind {
                        EventKind::Lost(why) => {
                            self.dirty.everything_at(&why.to_string(), self.rested.max(now))
                        }
                        _ => take_event(&self.replica, &mut self.dirty, &mut self.writers, event, now),
                    }
                }
                drop(room);
            }
            Hint::Coverage(coverage) => self.cover(coverage, first)?,
            Hint::Settle(_) => {}
        }
        Ok(())
    }

    /// Takes what capture sees from now on.
    fn cover(&mut self, coverage: Coverage, first: bool) -> Result<(), FollowError> {
        if coverage == self.coverage {
            return Ok(());
        }
        match &coverage {
            Coverage::Whole => {}
            Coverage::Partly { every, .. } => self.rescan_at = Instant::now() + *every,
            Coverage::Blind(why) => {
                self.rescan_at = Instant::now() + RESCAN;
                // Whoever opened capture knows what it could do at first.
                if !first && !matches!(self.coverage, Coverage::Blind(_)) {
                    self.tell(Followed::CaptureLost(why.clone()))?;
                }
            }
        }
        self.coverage = coverage;
        Ok(())
    }

    /// Marks what a commit says may not be what the archive says.
    fn take_suspects(&mut self, suspects: BTreeMap<RelPath, bool>) {
        let now = self.clock();
        for (path, recursive) in suspects {
            let look = Look { recursive, written: !recursive, ..Look::default() };
            self.dirty.add(path, look, now, AGAIN, PATIENCE);
        }
    }

    fn tell(&self, what: Followed) -> Result<(), FollowError> {
        self.tell.send(what).map_err(|_| FollowError::Done)
    }

    /// Looks at everything, if there is a reason, and then at these paths, of which more is known than that they may have
    /// changed. Returns what changed while it was looked at.
    async fn look(
        &mut self,
        everything: Option<String>,
        paths: BTreeMap<RelPath, Look>,
    ) -> Result<Vec<RelPath>, FollowError> {
        if let Some(why) = everything {
            let begun = Instant::now();
            let mut report = scan(&self.replica, |replica| replica.scan_all_after_hints()).await?;
            if !paths.is_empty() {
                let more = scan(&self.replica, move |replica| replica.scan_dirty(&paths)).await?;
                report.add(more);
            }
            let took = begun.elapsed();
            self.rested = self.clock() + took * BREATHER;
            self.rescan_at = Instant::now()
                + match &self.coverage {
                    Coverage::Whole | Coverage::Blind(_) => RESCAN,
                    Coverage::Partly { every, .. } => (*every).max(took * RARELY),
                };
            self.facts.rescans.fetch_add(1, Ordering::Relaxed);
            self.facts.looked_at_everything(&report);
            return self.looked(report, Some(why));
        }
        if paths.is_empty() {
            return Ok(Vec::new());
        }
        let looks = paths.clone();
        let report = scan(&self.replica, move |replica| replica.scan_dirty(&paths)).await?;
        self.facts.looked_at(&looks, &report);
        self.looked(report, None)
    }

    fn looked(&mut self, report: ScanReport, rescan: Option<String>) -> Result<Vec<RelPath>, FollowError> {
        let now = self.clock();
        note(&mut self.dirty, &report, now);
        let again = report.again.clone();
        self.tell(Followed::Scanned { report, rescan })?;
        Ok(again)
    }

    /// Looks at everything that waits, however short it has rested.
    async fn settle(&mut self) -> Result<Settled, FollowError> {
        match &self.coverage {
            Coverage::Whole | Coverage::Partly { anything: false, .. } => {}
            Coverage::Partly { why, .. } | Coverage::Blind(why) => self.dirty.everything(why),
        }
        let mut restless = Vec::new();
        for attempt in 0..=SETTLING {
            self.take_suspects(self.replica.take_suspects());
            let everything = self.dirty.take_everything(Duration::MAX);
            let waiting = self.dirty.take_due(Duration::MAX);
            restless = self.look(everything, waiting).await?;
            if restless.is_empty() {
                break;
            }
            if attempt < SETTLING {
                sleep(AGAIN).await;
            }
        }
        let why = || "changes all the time".to_owned();
        let mut left: Vec<(RelPath, String)> = restless.into_iter().map(|path| (path, why())).collect();
        let failed = self.facts.problems().into_iter().filter(|p| p.severity == Severity::Failed);
        left.extend(failed.map(|problem| (problem.path, problem.why)));
        let head = self.replica.archive.read().and_then(|snapshot| snapshot.head());
        let head = head.map_err(|error: ArchiveError| FollowError::Scan(ScanError::Archive(error)))?;
        Ok(Settled { head, left })
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
        let ask = |was: RelPath| {
            // Of a rename that came from a peer no event says anything.
            let path = replica.name_now(&was)?;
            let check = match replica.writers_of(&path) {
                // It may be under way to its new name: nothing is known of it at this moment.
                WriterCheck::None if replica.busy.is_busy(&was) => WriterCheck::Open,
                check => check,
            };
            Ok((was, path, check))
        };
        due.into_iter().map(ask).collect::<Result<Vec<_>, ArchiveError>>()
    });
    let asked = asked.await.map_err(|e| FollowError::Died(e.to_string()))?;
    let asked = asked.map_err(|error| FollowError::Scan(ScanError::Archive(error)))?;
    let mut paths = Vec::with_capacity(asked.len());
    for (was, path, check) in asked {
        if was != path
            && let Some(when) = writers.remove(&was)
        {
            writers.insert(path.clone(), when);
        }
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
    Look { recursive: false, written: true, ..Look::default() }
}

/// Turns an event into dirty paths.
fn take_event(replica: &Replica, dirty: &mut DirtySet, writers: &mut Writers, event: &Event, now: Duration) {
    let look = Look { recursive: event.recursive, ..Look::default() };
    let at_once = Duration::ZERO;
    match event.kind {
        // It concerns no path.
        EventKind::Lost(_) => {}
        // Only the names that the file has in the tree, below: others' files with several names are many.
        EventKind::Elsewhere => {}
        EventKind::Write | EventKind::Truncate => {
            let rest = if event.closed { at_once } else { QUIET };
            dirty.add(event.path.clone(), written(), now, rest, PATIENCE);
        }
        EventKind::CloseWrite => {
            if event.closed {
                // Nobody can store to it unseen any more: a second look would find what the first does.
                writers.remove(&event.path);
            }
            dirty.add(event.path.clone(), written(), now, at_once, PATIENCE);
        }
        EventKind::List => {
            let look = Look { recursive: true, written: false, ..Look::default() };
            dirty.add(event.path.clone(), look, now, at_once, PATIENCE);
        }
        EventKind::Rename | EventKind::Exchange => {
            let whole = Look { recursive: true, written: false, ..Look::default() };
            dirty.add(event.path.clone(), whole, now, at_once, PATIENCE);
            if let Some(to) = &event.to {
                dirty.add(to.clone(), whole, now, at_once, PATIENCE);
                take_along(writers, &event.path, to, event.kind == EventKind::Exchange);
            }
        }
        EventKind::Create
        | EventKind::Mkdir
        | EventKind::Mknod
        | EventKind::Symlink
        | EventKind::Link
        | EventKind::Delete
        | EventKind::Rmdir => {
            let open = event.kind == EventKind::Create && !event.closed && event.writers;
            dirty.add(event.path.clone(), look, now, if open { QUIET } else { at_once }, PATIENCE);
        }
        EventKind::Attributes | EventKind::Xattr => {
            let look = Look { attributes: true, ..look };
            dirty.add(event.path.clone(), look, now, at_once, PATIENCE);
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

/// Whoever has a file open for writing has it open under its new name; with `both`, the names have changed places.
fn take_along(writers: &mut Writers, from: &RelPath, to: &RelPath, both: bool) {
    let mut take = |top: &RelPath| -> Vec<_> {
        let below = writers.range(top.clone()..).take_while(|(path, _)| path.starts_with(top));
        let paths: Vec<RelPath> = below.map(|(path, _)| path.clone()).collect();
        paths.into_iter().filter_map(|path| writers.remove(&path).map(|when| (path, when))).collect()
    };
    let (there, back) = (take(from), if both { take(to) } else { Vec::new() });
    let there = there.into_iter().filter_map(|(path, when)| Some((path.rebase(from, to)?, when)));
    let back = back.into_iter().filter_map(|(path, when)| Some((path.rebase(to, from)?, when)));
    writers.extend(there.chain(back));
}

/// What a scan could not deal with stays dirty.
fn note(dirty: &mut DirtySet, report: &ScanReport, now: Duration) {
    for path in &report.again {
        dirty.add(
            path.clone(),
            Look { recursive: true, written: true, ..Look::default() },
            now,
            AGAIN,
            PATIENCE,
        );
    }
    for path in &report.grows {
        dirty.later(path.clone(), Look { recursive: false, written: true, ..Look::default() }, now + GROWS);
    }
    for problem in &report.problems {
        if problem.severity == Severity::Failed {
            let path: RelPath = problem.path.clone();
            dirty.later(path, Look { recursive: true, written: false, ..Look::default() }, now + TROUBLE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_writes_is_known_under_the_new_name() {
        let path = |path: &str| RelPath::new(path.as_bytes()).unwrap();
        let at = |seconds| (Duration::from_secs(seconds), WRITERS);
        let names = |writers: &Writers| -> Vec<(String, u64)> {
            writers.iter().map(|(path, (due, _))| (path.to_string(), due.as_secs())).collect()
        };
        let all = [("a", 1), ("a/x", 2), ("ab", 3), ("b/x", 4)];
        let known = || -> Writers { all.iter().map(|&(name, due)| (path(name), at(due))).collect() };
        let mut writers = known();
        take_along(&mut writers, &path("a"), &path("c/d"), false);
        let expected = [("ab", 3), ("b/x", 4), ("c/d", 1), ("c/d/x", 2)];
        assert_eq!(names(&writers), expected.map(|(name, due)| (name.to_owned(), due)));
        let mut writers = known();
        take_along(&mut writers, &path("a"), &path("b"), true);
        let expected = [("a/x", 4), ("ab", 3), ("b", 1), ("b/x", 2)];
        assert_eq!(names(&writers), expected.map(|(name, due)| (name.to_owned(), due)));
    }
}
