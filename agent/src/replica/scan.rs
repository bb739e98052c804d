//! A scan compares the disk with the archive and writes what differs: the whole tree ([`Replica::scan_all`]), or
//! just what capture hinted at ([`Replica::scan_dirty`]).
//!
//! Directories are read in parallel; each directory's sorted names are merged with its range of the archive, so the
//! whole tree is never held in memory. What cannot be read is neither unchanged nor deleted: it becomes a
//! [`Problem`], and its record stays. Deletions are written last, after [`Guard`] has seen how many there are.
//!
//! A hint may come before its change. So no name is looked at before the changes of names that are under way in its
//! directory are done ([`Dir::wait_for_changes`]), nor of its attributes ([`Dir::wait_for_attributes`]): what was looked at
//! too early would not be hinted at again.

use super::apply::dir_stamp;
use super::findings::{Finding, Problem, Seen, Severity, What, Written};
use super::open::{boot_id, identity};
use super::renames::Found;
use super::restless::PutOff;
use super::{OpenError, Replica, Stage};
use crate::archive::{ArchiveError, Durable, Snapshot};
pub use crate::core::dirty::Look;
use crate::core::entry::{Content, Kind, Record, Stamp};
use crate::core::extended::ShownExtended;
use crate::core::guard::{self, Guard, Spate};
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, FileKind, FileSystem, Meta, WriterCheck, extended, now, read_from};
use crate::options::{FastCheck, SymbolicLinks};
use rayon::{Scope, ThreadPool};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// How many findings go into one transaction.
const BATCH: usize = 8192;
/// How many findings wait for the writer before the scanning threads do.
const QUEUE: usize = 4096;
/// How many directories are open at most for threads that will list them.
const MOST_HELD: usize = 256;
/// So many of the paths that alarm a guard are named.
const SHOWN: usize = 1000;
/// How many milliseconds a scan of everything waits before it looks again at what changed under it, time after time.
const AGAIN: [u64; 5] = [50, 100, 200, 400, 800];

/// Why a scan ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The root cannot be read any more.
    #[error("cannot read the root {root}: nothing is taken for deleted; mount it or mend it and try again")]
    Root {
        /// The root.
        root: std::path::PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The root's path leads to another directory than when it was opened.
    #[error(
        "{0} is another directory now than at the start: halted; start vfsync again to follow the new one"
    )]
    RootReplaced(std::path::PathBuf),
    /// Too much would be deleted.
    #[error("{root}: {guard}")]
    Guard {
        /// The root.
        root: std::path::PathBuf,
        /// What is alarming.
        guard: Guard,
        /// The first of the paths that would go.
        paths: Vec<RelPath>,
    },
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The replica cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl ScanError {
    /// Returns how many deletions a person can approve, where a guard has halted because of them.
    pub fn deletions(&self) -> Option<u64> {
        let ScanError::Guard { guard, .. } = self else { return None };
        match guard {
            Guard::RootEmptied { entries, .. } | Guard::RootReplaced { entries } => Some(*entries),
            Guard::TooManyDeletions { deletions, .. } => Some(*deletions),
            // There is nothing to approve: it goes on when the file system is back.
            Guard::NotMounted { .. } => None,
        }
    }
}

/// What a scan did.
#[derive(Debug, Default, Clone)]
pub struct ScanReport {
    /// Paths that were looked at.
    pub looked: u64,
    /// Entries that changed.
    pub changed: u64,
    /// Bytes that were hashed.
    pub hashed: u64,
    /// What could not be dealt with.
    pub problems: Vec<Problem>,
    /// Paths that changed while they were looked at: to be looked at again.
    pub again: Vec<RelPath>,
    /// Files that grow all the time, and were taken as they were a moment ago.
    pub grows: Vec<RelPath>,
    /// What stands in place of a directory, or is one under another name: still to be looked at, when what was renamed is
    /// known.
    pub renamed: Vec<RelPath>,
    /// How long the archive took.
    pub noting: Duration,
}

impl ScanReport {
    /// Adds what a further look did.
    pub fn add(&mut self, more: ScanReport) {
        self.looked += more.looked;
        self.changed += more.changed;
        self.hashed += more.hashed;
        self.problems.extend(more.problems);
        self.problems.sort_by(|a, b| a.path.cmp(&b.path));
        self.problems.dedup();
        self.again.extend(more.again);
        self.grows.extend(more.grows);
        self.renamed.extend(more.renamed);
    }

    fn take(&mut self, written: Written) {
        self.changed += written.changed;
        self.again.extend(written.again);
    }
}

/// How a scanning thread says what it saw.
enum Report {
    Finding(Finding),
    /// Held back until the guard has seen all of them.
    Deletion(Finding),
    /// All that the archive has below this is gone. Held back likewise.
    GoneBelow(RelPath),
    Problem(Problem),
    Again(RelPath),
    Grows(RelPath),
    /// A directory that the archive has elsewhere.
    Renamed(Found),
    /// Something in place of a directory, which may be elsewhere: looked at when that is known.
    Replaced(RelPath),
    Fatal(ArchiveError),
}

/// One scan under way.
struct Walk<'a> {
    replica: &'a Replica,
    snapshot: &'a Snapshot,
    out: crossbeam_channel::Sender<Report>,
    looked: AtomicU64,
    hashed: AtomicU64,
    racy: Duration,
    /// What a killed owner left in the tree is dealt with on the way.
    recovering: bool,
    /// Each look waits for the changes that are under way.
    waits: bool,
    /// How many directories are open for a thread that will list them.
    held: AtomicUsize,
    /// Directories that are taken for new ones, wherever the archive has them.
    new: &'a BTreeSet<RelPath>,
    /// The last answer of [`Walk::out_of_reach`]: for what is directly in this directory.
    mounts: Mutex<Option<(RelPath, Option<RelPath>)>>,
}

/// How much is looked at.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Everything.
    whole: bool,
    /// What a killed owner left in the tree is dealt with on the way.
    recovering: bool,
    /// Hints were lost that may have come before their change.
    waits: bool,
}

/// What a scan of hints has dealt with.
#[derive(Default)]
struct Hinted {
    /// Paths that were looked at.
    paths: BTreeSet<RelPath>,
    /// Directories in which every change that was hinted at is done.
    waited: BTreeSet<RelPath>,
}

impl Replica {
    /// Compares the whole tree with the archive, once. Blocks; not for a thread that serves others.
    ///
    /// # Errors
    /// When the root cannot be read, a guard halts, or the archive fails. Nothing is deleted from the archive then.
    pub fn scan_all(&self) -> Result<ScanReport, ScanError> {
        self.scan_whole(false)
    }

    /// As [`Replica::scan_all`], in place of hints: some may have come before their change, and each look waits for those
    /// that are under way.
    ///
    /// # Errors
    /// As for [`Replica::scan_all`].
    pub fn scan_all_after_hints(&self) -> Result<ScanReport, ScanError> {
        self.scan_whole(true)
    }

    fn scan_whole(&self, waits: bool) -> Result<ScanReport, ScanError> {
        self.look_for_mountpoints()?;
        self.look_for_root()?;
        self.look_for_former_root()?;
        let listing_root = self.dir.open_dir(&RelPath::root()).map_err(|source| self.root_error(source))?;
        let watch = self.busy.watch();
        let before = self.archive.read()?;
        let recovering = self.recovering.load(Ordering::Relaxed);
        let (extent, none) = (Extent { whole: true, recovering, waits }, BTreeSet::new());
        let mut report =
            self.run(|walk, scope| walk.directory(scope, listing_root, RelPath::root()), extent, &none)?;
        self.look_into_renamed(&mut report, recovering)?;
        if self.recovering.swap(false, Ordering::Relaxed) {
            self.forget_intents(&before)?;
            self.archive.note_recovered();
        }
        drop(before);
        report.again.extend(watch.end());
        let device = self.dir.self_stat().map_err(|source| self.root_error(source))?.stamp.dev;
        let snapshot = self.archive.read()?;
        let boot = boot_id();
        if snapshot.device()? != Some(device) || snapshot.boot()?.as_ref() != Some(&boot) {
            // Only now: from here on device numbers in the archive are those of this boot.
            self.archive.write(Durable::Later, |w| {
                w.set_device(device)?;
                w.set_boot(&boot)
            })?;
        }
        Ok(report)
    }

    /// Compares the whole tree with the archive, and looks again at what changed meanwhile, until it is quiet or a
    /// second and a half has passed. What is not quiet then is a problem. Blocks.
    ///
    /// # Errors
    /// As for [`Replica::scan_all`].
    pub fn scan_until_quiet(&self) -> Result<ScanReport, ScanError> {
        let mut report = self.scan_all()?;
        for wait in AGAIN {
            if report.again.is_empty() {
                return Ok(report);
            }
            std::thread::sleep(Duration::from_millis(wait));
            let again = Look { recursive: true, written: true, ..Look::default() };
            let dirty = std::mem::take(&mut report.again).into_iter().map(|path| (path, again)).collect();
            let more = self.scan_dirty(&dirty)?;
            report.looked += more.looked;
            report.changed += more.changed;
            report.hashed += more.hashed;
            report.problems.extend(more.problems);
            report.again = more.again;
        }
        let restless = std::mem::take(&mut report.again).into_iter().map(|path| Problem {
            path,
            severity: Severity::Failed,
            why: "changes all the time: it is taken over when it is quiet".to_owned(),
        });
        report.problems.extend(restless);
        report.problems.sort_by(|a, b| a.path.cmp(&b.path));
        report.problems.dedup();
        Ok(report)
    }

    /// Looks at what capture hinted at. Blocks.
    ///
    /// # Errors
    /// As for [`Replica::scan_all`].
    pub fn scan_dirty(&self, dirty: &BTreeMap<RelPath, Look>) -> Result<ScanReport, ScanError> {
        let watch = self.busy.watch();
        let extent = Extent { whole: false, recovering: false, waits: false };
        let mut report = self.run_hinted(dirty, extent, &BTreeSet::new())?;
        self.look_into_renamed(&mut report, false)?;
        report.again.extend(watch.end().into_iter().filter(|held| {
            held.is_root()
                || dirty.contains_key(held)
                || held.ancestors().any(|above| dirty.get(&above).is_some_and(|look| look.recursive))
        }));
        Ok(report)
    }

    /// Looks at what was hinted at, once.
    fn run_hinted(
        &self,
        dirty: &BTreeMap<RelPath, Look>,
        extent: Extent,
        new: &BTreeSet<RelPath>,
    ) -> Result<ScanReport, ScanError> {
        self.run(
            |walk, scope| {
                let mut covered: Option<&RelPath> = None;
                let mut hinted = Hinted::default();
                for (path, look) in dirty {
                    // In the order of a walk whatever lies below a recursive one follows it.
                    let more_is_known = look.written || look.attributes;
                    if !more_is_known && covered.is_some_and(|c| path.starts_with(c)) {
                        continue;
                    }
                    if walk.hinted(scope, path, *look, &mut hinted)
                        && !covered.is_some_and(|c| path.starts_with(c))
                    {
                        covered = Some(path);
                    }
                }
            },
            extent,
            new,
        )
    }

    /// Looks into the directories that were found under another name: with their records under the new one nothing has to be
    /// read again but what changed as well. There may be more such in them.
    fn look_into_renamed(&self, report: &mut ScanReport, recovering: bool) -> Result<(), ScanError> {
        let mut new = BTreeSet::new();
        while !report.renamed.is_empty() {
            let found = std::mem::take(&mut report.renamed);
            let look = Look { recursive: true, ..Look::default() };
            let dirty = found.iter().map(|path| (path.clone(), look)).collect();
            // Each is taken for renamed once: what it is, is known after that.
            new.extend(found);
            let more = self.run_hinted(&dirty, Extent { whole: false, recovering, waits: false }, &new)?;
            report.looked += more.looked;
            report.changed += more.changed;
            report.hashed += more.hashed;
            report.problems.extend(more.problems);
            report.problems.sort_by(|a, b| a.path.cmp(&b.path));
            report.again.extend(more.again);
            report.grows.extend(more.grows);
            report.renamed = more.renamed;
        }
        Ok(())
    }

    /// Halts where a path that must be there is not.
    fn look_for_mountpoints(&self) -> Result<(), ScanError> {
        for path in &self.options.mountpoints {
            let Some((parent, name)) = path.split() else { continue };
            let seen = self.dir.open_dir(&parent).and_then(|dir| dir.stat(&name));
            if !matches!(seen, Ok(Some(_))) {
                let guard = Guard::NotMounted { path: path.clone() };
                return Err(ScanError::Guard { root: self.root.clone(), guard, paths: Vec::new() });
            }
        }
        Ok(())
    }

    /// Halts where the root's path leads to another directory by now: what happens in the one that was opened is nobody's
    /// business any more.
    fn look_for_root(&self) -> Result<(), ScanError> {
        let now = Dir::open_root(&self.root).and_then(|dir| identity(&dir));
        let now = now.map_err(|source| self.root_error(source))?;
        let opened = identity(&self.dir).map_err(|source| self.root_error(source))?;
        if now == opened { Ok(()) } else { Err(ScanError::RootReplaced(self.root.clone())) }
    }

    /// Halts where the root is empty and another directory stood in its place that was not: most likely a file system is not
    /// mounted, and what the peers have would be written below it.
    fn look_for_former_root(&self) -> Result<(), ScanError> {
        let limit = self.max_delete();
        let Some(entries) = self.former.filter(|&entries| limit.emptied_root && entries > limit.approved)
        else {
            return Ok(());
        };
        let nothing_known = self.archive.read()?.records()? == 0;
        let listing = self.dir.list().map_err(|source| self.root_error(source))?;
        if nothing_known && listing.entries.is_empty() && listing.unusable.is_empty() {
            let guard = Guard::RootReplaced { entries };
            return Err(ScanError::Guard { root: self.root.clone(), guard, paths: Vec::new() });
        }
        Ok(())
    }

    fn root_error(&self, source: io::Error) -> ScanError {
        ScanError::Root { root: self.root.clone(), source }
    }

    /// Runs the work on the scanning threads and writes what they report.
    fn run<'a>(
        &'a self,
        work: impl for<'s> FnOnce(&'s Walk<'s>, &Scope<'s>) + Send,
        extent: Extent,
        new: &'a BTreeSet<RelPath>,
    ) -> Result<ScanReport, ScanError> {
        let began = Instant::now();
        let snapshot = self.archive.read()?;
        let (out, reports) = crossbeam_channel::bounded(QUEUE);
        let walk = Walk {
            replica: self,
            snapshot: &snapshot,
            out,
            looked: AtomicU64::new(0),
            hashed: AtomicU64::new(0),
            racy: self.capabilities.racy_window(),
            recovering: extent.recovering,
            waits: extent.waits,
            held: AtomicUsize::new(0),
            new,
            mounts: Mutex::default(),
        };
        let mut report = ScanReport::default();
        let result = std::thread::scope(|threads| {
            // The collector owns the receiver: should it fail, the scanning threads do not wait for it.
            let (into, known) = (&mut report, &snapshot);
            let collector = threads.spawn(move || self.collect(reports, into, extent.whole, known));
            pool(self.options.max_threads).scope(|scope| work(&walk, scope));
            let (looked, hashed) = (walk.looked.load(Ordering::Relaxed), walk.hashed.load(Ordering::Relaxed));
            drop(walk);
            let result = collector.join().expect("the collector does not panic");
            result.map(|()| (looked, hashed))
        });
        let (looked, hashed) = result?;
        if !extent.whole {
            let look = began.elapsed().saturating_sub(report.noting);
            self.times.add(Stage::Look, look);
            self.times.add(Stage::Note, report.noting);
            tracing::debug!(n = looked, ?look, note = ?report.noting, "looked at what was hinted at");
        }
        report.looked = looked;
        report.hashed = hashed;
        Ok(report)
    }

    /// Takes the reports of the scanning threads until the last of them is done.
    fn collect(
        &self,
        reports: crossbeam_channel::Receiver<Report>,
        into: &mut ScanReport,
        whole: bool,
        snapshot: &Snapshot,
    ) -> Result<(), ScanError> {
        let mut batch = Vec::new();
        let mut deletions: Vec<Finding> = Vec::new();
        let (mut renamed, mut gone_below) = (Vec::new(), Vec::new());
        let mut failure = None;
        for report in reports {
            match report {
                Report::Finding(finding) => batch.push(finding),
                Report::Deletion(finding) => deletions.push(finding),
                Report::GoneBelow(path) => gone_below.push(path),
                Report::Problem(problem) => into.problems.push(problem),
                Report::Again(path) => into.again.push(path),
                Report::Grows(path) => into.grows.push(path),
                Report::Renamed(found) => renamed.push(found),
                Report::Replaced(path) => into.renamed.push(path),
                // The threads are drained to the end, so that none blocks on a full queue.
                Report::Fatal(error) => failure = Some(error),
            }
            if batch.len() >= BATCH && failure.is_none() {
                self.store(&batch, Durable::Later, into)?;
                batch.clear();
            }
        }
        if let Some(error) = failure {
            return Err(error.into());
        }
        // What comes behind makes it durable along with itself, if anything comes.
        let mut owed = false;
        if !batch.is_empty() || into.changed > 0 {
            owed = !deletions.is_empty() || !gone_below.is_empty();
            self.store(&batch, if owed { Durable::Later } else { Durable::Yes }, into)?;
        }
        if !renamed.is_empty() {
            // As with deletions: what is gone from a path that must be there is not gone elsewhere.
            self.look_for_mountpoints()?;
            let (taken, left) = self.take_renames(renamed, snapshot.head()?)?;
            // What was not there a while ago may be back.
            let back: Vec<&RelPath> = left
                .iter()
                .filter(|found| self.stands_at(&found.from, &found.meta))
                .map(|found| &found.from)
                .collect();
            // What was there is elsewhere now.
            let stays = |path: &RelPath| {
                let mut names = taken.iter().map(|found| &found.from).chain(back.iter().copied());
                names.any(|from| path.starts_with(from))
            };
            deletions.retain(|gone| !stays(&gone.path));
            gone_below.retain(|path| !stays(path));
            into.again.extend(back.into_iter().cloned());
            into.changed += taken.len() as u64;
            into.renamed.extend(taken.into_iter().chain(left).map(|found| found.to));
        }
        for path in gone_below {
            for row in snapshot.below(&path)? {
                let (path, record) = row?;
                if record.entry.content.is_live() {
                    let compared = Some(record.sequence);
                    deletions.push(Finding { path, compared, what: What::Gone });
                }
            }
        }
        if !deletions.is_empty() {
            self.store_deletions(&deletions, into, whole)?;
        } else if owed {
            self.store(&[], Durable::Yes, into)?;
        }
        into.problems.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(())
    }

    fn store(&self, batch: &[Finding], durable: Durable, into: &mut ScanReport) -> Result<(), ArchiveError> {
        let began = Instant::now();
        into.take(self.write_findings(batch, durable)?);
        into.noting += began.elapsed();
        if durable == Durable::Yes {
            self.announce(self.archive.read()?.head()?);
        }
        Ok(())
    }

    /// Writes deletions unless they are alarming. Judged is what is written: of what the scan missed, the peer may have
    /// deleted a part meanwhile.
    fn store_deletions(
        &self,
        deletions: &[Finding],
        into: &mut ScanReport,
        whole: bool,
    ) -> Result<(), ScanError> {
        self.look_for_mountpoints()?;
        let began = Instant::now();
        let written = self.archive.write_or(Durable::Yes, |w| {
            let live = w.live();
            let written = self.write_each(deletions, w)?;
            self.guard(written.changed, live, whole, deletions)?;
            Ok::<_, ScanError>(written)
        })?;
        into.noting += began.elapsed();
        self.spate().note(written.changed, self.started.elapsed());
        into.take(written);
        self.announce(self.archive.read()?.head()?);
        Ok(())
    }

    /// Halts where too many of the entries that stood would be deleted.
    fn guard(&self, deletions: u64, live: u64, whole: bool, found: &[Finding]) -> Result<(), ScanError> {
        // What no link passes on does no harm.
        if deletions == 0 || self.options.deletions_stay {
            return Ok(());
        }
        let halt = |guard| {
            let mut paths: Vec<RelPath> = found.iter().map(|finding| finding.path.clone()).collect();
            paths.sort();
            paths.truncate(SHOWN);
            Err(ScanError::Guard { root: self.root.clone(), guard, paths })
        };
        let limit = &self.max_delete();
        // Deletions that follow one another count together, however many scans they were found by.
        let (passed_on, stood) = self.spate().before(live, self.started.elapsed());
        let all = passed_on + deletions;
        if limit.emptied_root && (whole || all > 1) && all > limit.approved {
            let listing = self.dir.list().map_err(|source| self.root_error(source))?;
            if listing.entries.is_empty() && live > 0 {
                return halt(Guard::RootEmptied { entries: stood, passed_on });
            }
        }
        if let Some(allowed) = guard::too_many(all, stood, limit) {
            return halt(Guard::TooManyDeletions { deletions: all, entries: stood, allowed, passed_on });
        }
        Ok(())
    }

    fn spate(&self) -> MutexGuard<'_, Spate> {
        self.spate.lock().expect("no thread panics with this locked")
    }
}

/// The threads that scan and prepare files, shared by all replicas: their work is waiting for the disk as much as hashing. The first
/// replica's `maxthreads` holds; a peer may have sent it, so it is bounded.
pub(super) fn pool(max_threads: Option<u32>) -> &'static ThreadPool {
    static POOL: OnceLock<ThreadPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let threads = match max_threads {
            Some(n) => (n as usize).clamp(1, 256),
            None => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 16),
        };
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("scan-{n}"))
            .build()
            .expect("a few threads can be started")
    })
}

impl<'a> Walk<'a> {
    fn say(&self, report: Report) {
        // The receiver is gone only when the collector failed; then nobody wants to know.
        let _ = self.out.send(report);
    }

    fn problem(&self, path: &RelPath, severity: Severity, why: impl Into<String>) {
        self.say(Report::Problem(Problem { path: path.clone(), severity, why: why.into() }));
    }

    /// Returns the value, or reports the failure of the archive.
    fn known<T>(&self, result: Result<T, ArchiveError>) -> Option<T> {
        result.map_err(|error| self.say(Report::Fatal(error))).ok()
    }

    /// Compares one directory's names with its range of the archive, and starts on its subdirectories.
    fn directory<'s>(&'s self, scope: &Scope<'s>, dir: Dir, path: RelPath) {
        let mut listing = dir.list();
        if self.recovering && listing.as_ref().is_ok_and(|l| !l.reserved.is_empty()) {
            let Some(told) = self.known(self.replica.recover(&dir, &path, self.snapshot)) else { return };
            told.into_iter().for_each(|why| self.problem(&path, Severity::Skipped, why));
            listing = dir.list();
        }
        let listing = match listing {
            Ok(listing) => listing,
            Err(e) => {
                return self.problem(&path, Severity::Failed, format!("cannot list the directory: {e}"));
            }
        };
        self.replica.expire_partials(&dir, &listing.reserved);
        for name in &listing.unusable {
            let why = format!("holds a name that vfsync cannot handle: {}", name.escape_ascii());
            self.problem(&path, Severity::Skipped, why);
        }
        let immutable = self.replica.immutable.has(&path);
        let Some(known) = self.known(self.snapshot.children(&path)) else { return };
        let mut known = known.into_iter().peekable();
        for listed in listing.entries {
            let Ok(child) = path.join(&listed.name) else {
                self.problem(&path, Severity::Skipped, "holds a path that is too long for vfsync");
                continue;
            };
            while let Some((gone, record)) = known.next_if(|(k, _)| *k < child) {
                self.absent(&dir, &gone, &record);
            }
            let record = known.next_if(|(k, _)| *k == child).map(|(_, record)| record);
            if self.replica.filter.ignores(&child) {
                continue;
            }
            // Once it is known, nobody asks it: a directory of which a child may come or go is looked into all the same.
            if immutable && let Some(known) = record.as_ref().filter(|r| r.entry.content.is_live()) {
                if known.entry.content.is_dir()
                    && let Ok(opened) = dir.open_child_dir(&listed.name)
                {
                    self.descend(scope, opened, child);
                }
                continue;
            }
            self.look(
                scope,
                &dir,
                &listed.name,
                child,
                record,
                Look { recursive: true, written: false, ..Look::default() },
            );
        }
        for (gone, record) in known {
            self.absent(&dir, &gone, &record);
        }
    }

    /// As [`Walk::unmounted`]; the answer for what is directly in one directory is found once.
    fn out_of_reach(&self, path: &RelPath) -> Option<RelPath> {
        let record = self.known(self.snapshot.get(path)).flatten();
        if record.is_some_and(|r| r.entry.content.is_dir()) {
            return self.unmounted(path);
        }
        let parent = path.parent()?;
        let mut mounts = self.mounts.lock().expect("no thread panics with this locked");
        if let Some((_, mount)) = mounts.as_ref().filter(|(dir, _)| *dir == parent) {
            return mount.clone();
        }
        let mount = self.unmounted(&parent);
        *mounts = Some((parent, mount.clone()));
        mount
    }

    /// Returns the directory, at or above a path that is not there, on which a file system was mounted that is not
    /// mounted now: what it held is out of reach, not deleted.
    ///
    /// A directory was a mount point if the archive has it on another device than the one above it. Device numbers may
    /// change with every boot, but those of one scan belong together.
    fn unmounted(&self, path: &RelPath) -> Option<RelPath> {
        let above = path.ancestors().filter(|p| !p.is_root());
        std::iter::once(path.clone()).chain(above).find(|dir| {
            let Some(parent) = dir.parent() else { return false };
            let (Some(was), Some(was_above)) = (self.device_of(dir), self.device_of(&parent)) else {
                return false;
            };
            was != was_above && {
                let device = |path| Some(self.replica.dir.open_dir(path).ok()?.self_stat().ok()?.stamp.dev);
                let now = device(dir);
                now.is_none() || now == device(&parent)
            }
        })
    }

    /// Returns the device that a directory was on when it was last looked at.
    fn device_of(&self, dir: &RelPath) -> Option<u64> {
        if dir.is_root() {
            return self.known(self.snapshot.device()).flatten();
        }
        let record = self.known(self.snapshot.get(dir)).flatten()?;
        let stamp = record.shown.as_ref().filter(|_| record.entry.content.is_dir())?.stamp?;
        Some(stamp.dev)
    }

    /// The archive knows a path that the listing did not show.
    fn absent(&self, dir: &Dir, path: &RelPath, record: &Record) {
        if !record.entry.content.is_live() || self.replica.filter.ignores(path) {
            return;
        }
        let Some(name) = path.name() else { return };
        match dir.stat(&name) {
            Ok(None) => self.gone(path, record),
            // It came, or came back, while the directory was read.
            Ok(Some(_)) => self.say(Report::Again(path.clone())),
            Err(e) => self.problem(path, Severity::Failed, format!("cannot look at it: {e}")),
        }
    }

    /// A path that stood is gone, and what was below it with it.
    fn gone(&self, path: &RelPath, record: &Record) {
        if let Some(mount) = self.out_of_reach(path) {
            let why = "a file system was mounted here, and is not now: nothing below is taken for deleted. Mount it, or \
                       delete the directory at the other end";
            return self.problem(&mount, Severity::Failed, why);
        }
        if record.entry.content.is_dir() {
            self.gone_below(path);
        }
        self.deletion(path, record);
    }

    /// What stood below a path that is gone is gone, unless it is elsewhere: that is known in the end.
    fn gone_below(&self, path: &RelPath) {
        self.say(Report::GoneBelow(path.clone()));
    }

    fn deletion(&self, path: &RelPath, record: &Record) {
        let compared = Some(record.sequence);
        self.say(Report::Deletion(Finding { path: path.clone(), compared, what: What::Gone }));
    }

    /// Looks at one name of an open directory.
    fn look<'s>(
        &'s self,
        scope: &Scope<'s>,
        dir: &Dir,
        name: &Name,
        path: RelPath,
        record: Option<Record>,
        look: Look,
    ) {
        self.looked.fetch_add(1, Ordering::Relaxed);
        self.replica.tally.look();
        let asks_others =
            matches!(self.replica.capabilities.file_system, FileSystem::Network(_) | FileSystem::Fuse);
        if (self.waits || look.attributes) && !asks_others {
            dir.wait_for_attributes(name);
        }
        let meta = match dir.stat(name) {
            Ok(Some(meta)) => meta,
            Ok(None) => {
                match record.filter(|r| r.entry.content.is_live()) {
                    Some(record) => self.gone(&path, &record),
                    // A commit may have recorded something below after the directory was found gone.
                    None if self.unmounted(&path).is_none() => self.gone_below(&path),
                    None => {}
                }
                return;
            }
            Err(e) => return self.problem(&path, Severity::Failed, format!("cannot look at it: {e}")),
        };
        if meta.kind == FileKind::File && meta.nlink > 1 {
            // A change through a name outside the tree is hinted with the inode alone.
            self.replica.note_linked(meta.stamp.ino, &path);
        }
        let live = record.as_ref().filter(|r| r.entry.content.is_live());
        let was_dir = live.is_some_and(|r| r.entry.content.is_dir());
        if was_dir && meta.kind != FileKind::Dir && !self.new.contains(&path) {
            return self.say(Report::Replaced(path));
        }
        let seen = match meta.kind {
            FileKind::Dir => {
                let opened = dir.open_child_dir(name);
                return self.look_at_dir(scope, opened, path, record, &meta, look);
            }
            FileKind::File => self.look_at_file(dir, name, &path, live, &meta, look),
            FileKind::Symlink if self.replica.options.links == SymbolicLinks::Synchronise => {
                self.look_at_link(dir, name, &path, &meta)
            }
            FileKind::Symlink => None,
            FileKind::Fifo | FileKind::Socket | FileKind::BlockDevice | FileKind::CharDevice => {
                let why = match meta.kind {
                    FileKind::Fifo => "is a named pipe: left out",
                    FileKind::Socket => "is a socket: left out",
                    _ => "is a device: left out",
                };
                self.problem(&path, Severity::Skipped, why);
                None
            }
        };
        let Some(seen) = seen else { return };
        if was_dir {
            self.gone_below(&path);
        }
        self.found(path, record.as_ref(), seen);
    }

    /// Reports what was seen if it differs from the record.
    fn found(&self, path: RelPath, record: Option<&Record>, seen: Seen) {
        let unchanged = record.is_some_and(|r| {
            r.entry.content == seen.content
                && r.shown.as_ref().is_some_and(|s| {
                    s.mtime == seen.mtime
                        && s.attributes == seen.attributes
                        && s.stamp == seen.stamp
                        && s.extended == seen.extended
                })
        });
        if !unchanged {
            let compared = record.map(|r| r.sequence);
            self.say(Report::Finding(Finding { path, compared, what: What::Stands(seen) }));
        }
    }

    fn look_at_dir<'s>(
        &'s self,
        scope: &Scope<'s>,
        opened: io::Result<Dir>,
        path: RelPath,
        record: Option<Record>,
        meta: &Meta,
        look: Look,
    ) {
        let opened = match opened {
            Ok(opened) => opened,
            Err(e) => {
                return self.problem(&path, Severity::Failed, format!("cannot open the directory: {e}"));
            }
        };
        if record.as_ref().is_some_and(|r| r.remainder) && self.holds_only_ignored(&opened, &path) {
            return;
        }
        let shown = record.as_ref().and_then(|r| r.shown.as_ref()).and_then(|s| s.stamp);
        // Another inode under the same name came by a rename, which hints at nothing below it.
        let known = record.as_ref().is_some_and(|r| r.entry.content.is_dir())
            && shown.is_some_and(|s| s.ino == meta.stamp.ino);
        let remains = record.as_ref().is_some_and(|r| r.remainder);
        if !known && !remains && !self.new.contains(&path) {
            let from = self.replica.renamed_from(self.snapshot, &path, &opened, meta);
            let Some(from) = self.known(from) else { return };
            if let Some(from) = from {
                return self.say(Report::Renamed(Found { from, to: path, meta: *meta }));
            }
            if record.as_ref().is_some_and(|r| r.entry.content.is_dir()) {
                return self.say(Report::Replaced(path));
            }
        }
        let stamp = dir_stamp(meta.stamp);
        // Looked at every time: its stamp does not tell of them.
        match extended::look(&opened, &self.replica.names) {
            Ok(value) => {
                let seen = Seen {
                    content: Content::Dir,
                    attributes: meta.attributes,
                    mtime: meta.stamp.mtime,
                    stamp: Some(stamp),
                    extended: value.map(|value| ShownExtended { value, racy: false }),
                };
                self.found(path.clone(), record.as_ref(), seen);
            }
            Err(e) => self.problem(&path, Severity::Failed, unreadable_extended(&e)),
        }
        if look.recursive || !known {
            self.descend(scope, opened, path);
        }
    }

    /// Starts on a directory. One that has hundreds of thousands in it must not take as many descriptors: what is
    /// waiting beyond some is closed, and opened again when its turn comes.
    fn descend<'s>(&'s self, scope: &Scope<'s>, opened: Dir, path: RelPath) {
        if self.held.fetch_add(1, Ordering::Relaxed) < MOST_HELD {
            return scope.spawn(move |scope| {
                self.directory(scope, opened, path);
                self.held.fetch_sub(1, Ordering::Relaxed);
            });
        }
        self.held.fetch_sub(1, Ordering::Relaxed);
        drop(opened);
        scope.spawn(move |scope| match self.replica.dir.open_dir(&path) {
            Ok(dir) => self.directory(scope, dir, path),
            // It went, or became something else: that is for another look.
            Err(e) if is_not_there(&e) => self.say(Report::Again(path)),
            Err(e) => self.problem(&path, Severity::Failed, format!("cannot open the directory: {e}")),
        });
    }

    /// Returns whether a directory that the peer deleted holds nothing that would make it a new one.
    fn holds_only_ignored(&self, dir: &Dir, path: &RelPath) -> bool {
        let Ok(listing) = dir.list() else { return true };
        listing.entries.iter().all(|listed| {
            let Ok(child) = path.join(&listed.name) else { return true };
            self.replica.filter.ignores(&child)
                || match (self.snapshot.get(&child), dir.open_child_dir(&listed.name)) {
                    (Ok(Some(record)), Ok(opened)) if record.remainder => {
                        self.holds_only_ignored(&opened, &child)
                    }
                    _ => false,
                }
        })
    }

    fn look_at_file(
        &self,
        dir: &Dir,
        name: &Name,
        path: &RelPath,
        live: Option<&Record>,
        meta: &Meta,
        look: Look,
    ) -> Option<Seen> {
        if let Some(record) = live
            && self.replica.options.fastcheck == FastCheck::Stamps
            && !look.written
            && self.is_untouched(record, meta)
        {
            return self.look_at_untouched(dir, name, path, record, meta);
        }
        let read = dir.open_file_and_look(name).and_then(|(file, meta)| {
            let hashed = match live.is_some_and(|was| is_for_a_recipe(was, &meta)) {
                true => self.replica.cuts.read(&file, meta)?,
                false => read_from(&file, meta, |_| Ok(()))?,
            };
            Ok((file, hashed))
        });
        let (file, hashed) = match read {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.say(Report::Again(path.clone()));
                return None;
            }
            Err(e) => {
                self.problem(path, Severity::Failed, format!("cannot read it: {e}"));
                return None;
            }
        };
        self.hashed.fetch_add(hashed.size, Ordering::Relaxed);
        self.replica.tally.hash(hashed.size);
        if hashed.changed {
            return self.changes(dir, name, path, &file);
        }
        self.replica.restless.quiet(path);
        // A store to a mapping may change the file and none of its times: while somebody can make one, no stamp vouches
        // for the content. A scan of everything meets too many files to ask for each.
        let open = look.written
            && dir.open_file(name).is_ok_and(|file| crate::fs::has_writer(file) == WriterCheck::Open);
        let racy = open || hashed.meta.is_racy(now(), self.racy);
        let extended = self.extended(&file, path, &hashed.meta)?;
        Some(Seen {
            content: Content::File { size: hashed.size, digest: hashed.digest },
            attributes: hashed.meta.attributes,
            mtime: hashed.meta.stamp.mtime,
            stamp: (!racy).then_some(hashed.meta.stamp),
            extended,
        })
    }

    /// Looks at the extended attributes of a file that is as its record says, where that is not enough to know them.
    fn look_at_untouched(
        &self,
        dir: &Dir,
        name: &Name,
        path: &RelPath,
        record: &Record,
        meta: &Meta,
    ) -> Option<Seen> {
        let shown = record.shown.as_ref()?;
        if !self.replica.names.any() || shown.extended.as_ref().is_some_and(|shown| !shown.racy) {
            return None;
        }
        let file = match dir.open_file_and_look(name) {
            Ok((file, now)) if now.stamp == meta.stamp => file,
            Ok(_) => {
                self.say(Report::Again(path.clone()));
                return None;
            }
            Err(e) => {
                self.problem(path, Severity::Failed, format!("cannot read it: {e}"));
                return None;
            }
        };
        Some(Seen {
            content: record.entry.content.clone(),
            attributes: meta.attributes,
            mtime: meta.stamp.mtime,
            stamp: shown.stamp,
            extended: self.extended(&file, path, meta)?,
        })
    }

    /// Looks at the extended attributes of a file, as far as they are wanted; `None` where they cannot be read, which is
    /// reported.
    fn extended(&self, file: &File, path: &RelPath, meta: &Meta) -> Option<Option<ShownExtended>> {
        let seen = extended::look_with(file, &self.replica.names, meta, self.racy);
        seen.map_err(|e| self.problem(path, Severity::Failed, unreadable_extended(&e))).ok()
    }

    /// A file changed while it was read.
    fn changes(&self, dir: &Dir, name: &Name, path: &RelPath, file: &File) -> Option<Seen> {
        match self.replica.restless.changed(dir, name, path) {
            PutOff::Again => self.say(Report::Again(path.clone())),
            PutOff::Report => {
                let why = "changes all the time: it is taken over when it is quiet";
                self.problem(path, Severity::Failed, why);
            }
            PutOff::Start(start) => {
                self.say(Report::Grows(path.clone()));
                return Some(Seen {
                    content: Content::File { size: start.size, digest: start.digest },
                    attributes: start.meta.attributes,
                    mtime: start.meta.stamp.mtime,
                    stamp: None,
                    extended: self.extended(file, path, &start.meta)?,
                });
            }
        }
        None
    }

    /// Returns whether the file on disk is still the one of the record.
    fn is_untouched(&self, record: &Record, meta: &Meta) -> bool {
        let Some(shown) = &record.shown else { return false };
        let same_dev = |s: Stamp| Stamp { dev: meta.stamp.dev, ..s };
        matches!(record.entry.content.kind(), Some(Kind::File))
            && shown.attributes == meta.attributes
            && shown.stamp.is_some_and(|s| {
                if self.replica.same_boot { s == meta.stamp } else { same_dev(s) == meta.stamp }
            })
    }

    fn look_at_link(&self, dir: &Dir, name: &Name, path: &RelPath, meta: &Meta) -> Option<Seen> {
        match dir.read_link(name) {
            Ok(target) => Some(Seen {
                content: Content::Symlink { target },
                attributes: meta.attributes,
                mtime: meta.stamp.mtime,
                stamp: Some(meta.stamp),
                extended: None,
            }),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {
                self.say(Report::Again(path.clone()));
                None
            }
            Err(e) => {
                self.problem(path, Severity::Failed, format!("cannot read the link: {e}"));
                None
            }
        }
    }

    /// Looks at a path that capture named. Returns whether everything below it was looked at too.
    fn hinted<'s>(&'s self, scope: &Scope<'s>, path: &RelPath, look: Look, hinted: &mut Hinted) -> bool {
        if !hinted.paths.insert(path.clone()) || self.replica.filter.ignores_at_or_above(path) {
            return false;
        }
        let Some((parent, name)) = path.split() else {
            if look.recursive {
                match self.replica.dir.open_dir(&RelPath::root()) {
                    Ok(root) => scope.spawn(move |scope| self.directory(scope, root, RelPath::root())),
                    Err(e) => self.problem(path, Severity::Failed, format!("cannot open the root: {e}")),
                }
            }
            return look.recursive;
        };
        let dir = match self.replica.dir.open_dir(&parent) {
            Ok(dir) => dir,
            Err(e) if is_not_there(&e) => {
                // The directory itself is gone or something else: that is what has to be looked at.
                return self.hinted(
                    scope,
                    &parent,
                    Look { recursive: true, written: false, ..Look::default() },
                    hinted,
                );
            }
            Err(e) => {
                self.problem(&parent, Severity::Failed, format!("cannot open the directory: {e}"));
                return false;
            }
        };
        if hinted.waited.insert(parent.clone()) {
            // Most programs stand before the operation, which may then wait, for a processor or the journal.
            dir.wait_for_changes();
        }
        if !parent.is_root() {
            let Some(above) = self.known(self.snapshot.get(&parent)) else { return false };
            if !above.is_some_and(|r| r.entry.content.is_dir()) {
                // Nobody has looked at the directory yet; it comes with all that is in it.
                return self.hinted(
                    scope,
                    &parent,
                    Look { recursive: true, written: false, ..Look::default() },
                    hinted,
                );
            }
        }
        let Some(record) = self.known(self.snapshot.get(path)) else { return false };
        let recursive = look.recursive || !record.as_ref().is_some_and(|r| r.entry.content.is_dir());
        self.look(scope, &dir, &name, path.clone(), record, look);
        recursive
    }
}

/// Returns whether a changed file is one that peers ask for as a recipe.
fn is_for_a_recipe(was: &Record, meta: &Meta) -> bool {
    let size = match was.entry.content {
        Content::File { size, .. } => size,
        Content::Deleted | Content::Dir | Content::Symlink { .. } => 0,
    };
    size.min(meta.stamp.size) >= super::apply::SMALLEST_DELTA
}

/// Says that extended attributes cannot be dealt with.
fn unreadable_extended(error: &io::Error) -> String {
    format!("cannot look at its extended attributes: {error}")
}

/// Returns whether a directory could not be opened because it is not there, or is no directory.
fn is_not_there(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

#[cfg(test)]
mod tests;
