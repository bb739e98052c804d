//! Capture is the source of hints: "this path may have changed". Kernel programs report what happens below the roots;
//! the engine looks at the disk, which alone is true.
//!
//! What capture promises: every change below a root that happens after [`Capture::open`] has returned is hinted, or
//! the root gets [`EventKind::Lost`]. Hints can be late, doubled, too wide, or about things that then failed. They can
//! come *before* the change they are about (most hooks stand before the operation): who acts on one
//! - waits for the operations under way in the parent directory before it believes that a name is there or is not, or
//!   is what it was ([`crate::fs::Dir::wait_for_changes`]),
//! - lets a written file rest, unless the event says that it was closed, and looks again while it has writers,
//! - looks at everything below a directory that was moved.
//!
//! [`programs`] and [`ebpf`] are the eBPF tiers, [`fanotify`] is the one without; [`selftest`] decides which of them is believed.

mod alive;
mod assemble;
mod barrier;
pub mod btf;
mod calls;
mod cookie;
pub mod decode;
mod ebpf;
mod event;
mod fanotify;
mod hooks;
pub mod mounts;
pub mod offsets;
mod open;
mod preemption;
mod programs;
mod report;
mod roots;
mod selftest;
mod source;

pub use barrier::Barriers;
pub use event::{Event, EventKind, Loss};
pub use open::survey;
pub use preemption::Preemption;
pub use report::{CaptureMode, CaptureReport, RARELY, Seen, Tested, Tier, TierReport};

use alive::Alive;
use source::{BARRIER_AGAIN, Source, Surroundings};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::sleep,
};

/// How often the ring is looked at while events come.
const BUSY: Duration = Duration::from_millis(1);
/// The same while they come in large numbers: a few milliseconds more, and fewer, larger batches.
const STORM: Duration = Duration::from_millis(5);
/// How many records in one drain make a storm.
const STORM_RECORDS: usize = 512;
/// After the last event, how long it is looked at. Longer than the programs' own pause between wake-ups.
const LINGER: Duration = Duration::from_millis(programs::WAKE_PAUSE_MS + 4);
/// How often it is looked at in any case, in case that a wake-up was missed.
const IDLE: Duration = Duration::from_millis(500);
/// How often loss is asked for while events come.
const CHECK: Duration = Duration::from_millis(100);

/// What is wanted of capture.
#[derive(Debug, Clone)]
pub struct CaptureRequest {
    /// Which tier.
    pub mode: CaptureMode,
    /// The size of the ring buffer; a power of two, at least 64 KiB.
    pub ring_bytes: u32,
    /// Whether this process' own changes are left out.
    pub leave_out_own: bool,
}

impl Default for CaptureRequest {
    fn default() -> CaptureRequest {
        CaptureRequest { mode: CaptureMode::Auto, ring_bytes: 4 << 20, leave_out_own: true }
    }
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A root cannot be looked at.
    #[error("cannot watch {}", path.display())]
    Root {
        /// The root.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The tier that was asked for does not work here.
    #[error("capture = {mode} is not possible here: {why}; `vfsync doctor` shows what is")]
    Refused {
        /// What was asked for.
        mode: CaptureMode,
        /// Why not.
        why: String,
    },
    /// It worked and broke.
    #[error("capture has stopped working: {0}")]
    Broken(String),
}

/// Counters for `status` and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Events handed out.
    pub events: u64,
    /// Records that coalescing has saved.
    pub coalesced: u64,
    /// Losses, by cause: ring or queue full, no memory, path, tasks, skipped programs.
    pub lost: [u64; 5],
}

/// The capture of a process: one for all its roots.
pub struct Capture {
    /// None where only a scan finds changes.
    source: Option<Source>,
    surroundings: Surroundings,
    tier: Tier,
    pending: Vec<Event>,
    barriers: Barriers,
    mounts: Option<AsyncFd<File>>,
    readable: Option<AsyncFd<OwnedFd>>,
    messages: Option<AsyncFd<OwnedFd>>,
    /// When the paths of the roots were last looked at.
    looked: Instant,
    pace: Pace,
    events: u64,
}

/// How the ring is looked at just now.
struct Pace {
    /// When the last record came; `None` when asleep.
    busy_since: Option<Instant>,
    interval: Duration,
    checked: Instant,
    /// When all of this began.
    started: Instant,
    alive: Alive,
}

/// Makes a descriptor known to the runtime.
#[expect(
    deprecated,
    reason = "sound for a descriptor that its owner keeps open; the replacement is unsafe to call"
)]
fn registered<T: AsFd + AsRawFd>(owner: T, interest: Interest) -> std::io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, interest)
}

/// Waits until the programs of a debug build say something of themselves; others never do.
async fn said(
    messages: Option<&AsyncFd<OwnedFd>>,
) -> std::io::Result<tokio::io::unix::AsyncFdReadyGuard<'_, OwnedFd>> {
    match messages {
        Some(messages) => messages.readable().await,
        None => std::future::pending().await,
    }
}

impl Capture {
    /// Opens capture for these roots. From the moment this returns, nothing that happens below them is missed without
    /// a word. Blocks for the time of a self-test.
    pub fn open(
        request: &CaptureRequest,
        roots: &[PathBuf],
    ) -> Result<(Capture, CaptureReport), CaptureError> {
        open::open(request, roots)
    }

    fn new(source: Option<Source>, tier: Tier, surroundings: Surroundings) -> Capture {
        let cookie = source.as_ref().map(|source| Arc::clone(source.cookie()));
        Capture {
            source,
            surroundings,
            tier,
            pending: Vec::new(),
            barriers: Barriers::new(cookie),
            mounts: None,
            readable: None,
            messages: None,
            looked: Instant::now(),
            // Busy at first: what has come during the opening woke nobody.
            pace: Pace {
                busy_since: Some(Instant::now()),
                interval: BUSY,
                checked: Instant::now(),
                started: Instant::now(),
                alive: Alive::default(),
            },
            events: 0,
        }
    }

    /// Returns the tier in use.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Returns, by index, the roots of which others change a part without this kernel seeing it: what is mounted there
    /// is another machine's. May change with every call of [`Capture::next`].
    pub fn remote(&self) -> &[usize] {
        self.surroundings.remote()
    }

    /// Returns what barriers are asked from.
    pub fn barriers(&self) -> Barriers {
        self.barriers.clone()
    }

    /// Returns the counters.
    pub fn stats(&self) -> Stats {
        let (coalesced, lost) = match &self.source {
            Some(Source::Ebpf(source)) => {
                let (l, skipped) = source.losses();
                (source.programs.coalesced(), [l.ring + l.nowhere, l.scratch, l.walk, l.tasks, skipped])
            }
            Some(Source::Fanotify(source)) => (0, [source.overflows, 0, 0, 0, 0]),
            None => (0, [0; 5]),
        };
        Stats { events: self.events, coalesced, lost }
    }

    /// Waits for events and returns all there are. What happens after it has returned makes new events, so that
    /// who looks at the disk afterwards misses nothing. May be cancelled; nothing gets lost by that.
    pub async fn next(&mut self) -> Result<Vec<Event>, CaptureError> {
        self.settle();
        loop {
            self.drain()?;
            if !self.pending.is_empty() {
                self.events += self.pending.len() as u64;
                return Ok(std::mem::take(&mut self.pending));
            }
            self.settle();
            self.wait().await?;
        }
    }

    /// Takes what is there, and asks for losses now and then.
    fn drain(&mut self) -> Result<(), CaptureError> {
        let Some(source) = &mut self.source else { return Ok(()) };
        let drained = source.drain(&mut self.pending);
        // A root may be moved away by its parent, of which no program tells. Another one that tells of it need not
        // be waited for.
        let told = self.pending.iter().any(|event| event.kind == EventKind::Lost(Loss::RootChanged));
        if told || self.looked.elapsed() >= IDLE {
            self.looked = Instant::now();
            let checked = self.surroundings.check_roots(source, &mut self.pending);
            checked.map_err(|e| CaptureError::Broken(format!("/proc/self/mountinfo: {e}")))?;
        }
        if drained.records > 0 {
            self.pace.interval = if drained.records > STORM_RECORDS { STORM } else { BUSY };
            self.pace.busy_since = Some(Instant::now());
        }
        let ending =
            drained.records == 0 && self.pace.busy_since.is_some_and(|since| since.elapsed() > LINGER);
        // A barrier may be lost like any other record: it is asked for again until one comes back, as nothing else
        // tells of losses, and as long as someone waits.
        let overdue =
            self.barriers.wait_beyond(source.reached()) && self.pace.checked.elapsed() > BARRIER_AGAIN;
        let now = self.pace.started.elapsed();
        let to_be_asked = self.pace.alive.is_due(now) && self.pace.checked.elapsed() > CHECK;
        if ending || overdue || to_be_asked || (drained.records > 0 && self.pace.checked.elapsed() > CHECK) {
            self.pace.checked = Instant::now();
            // The barrier brings the programs' counts of losses, behind everything they are about.
            let number =
                source.cookie().write().map_err(|e| CaptureError::Broken(format!("the cookie: {e}")))?;
            source.drain(&mut self.pending);
            let came_back = source.reached() >= number;
            if !self.pace.alive.note(came_back, now) {
                return Err(CaptureError::Broken("changes are no longer reported".into()));
            }
            if ending && came_back {
                self.pace.busy_since = None;
            }
        }
        Ok(())
    }

    /// Waits until it is worth looking at the ring again.
    async fn wait(&mut self) -> Result<(), CaptureError> {
        let broken = |e: std::io::Error| CaptureError::Broken(e.to_string());
        let Some(source) = &mut self.source else { return std::future::pending().await };
        if self.readable.is_none() {
            let descriptor = source.readable().map_err(broken)?;
            self.readable = Some(registered(descriptor, Interest::READABLE).map_err(broken)?);
            if let Source::Ebpf(source) = source
                && let Some(descriptor) = source.programs.logs().map_err(broken)?
            {
                self.messages = Some(registered(descriptor, Interest::READABLE).map_err(broken)?);
            }
        }
        if self.mounts.is_none() {
            let file = File::open("/proc/self/mountinfo").map_err(broken)?;
            self.mounts = Some(registered(file, Interest::PRIORITY).map_err(broken)?);
            // What has changed since the mounts were read, while it was not waited for.
            self.surroundings.remount(source, &mut self.pending).map_err(broken)?;
            if !self.pending.is_empty() {
                return Ok(());
            }
        }
        let cookie = Arc::clone(source.cookie());
        let (Some(readable), Some(mounts)) = (&self.readable, &self.mounts) else { return Ok(()) };
        let busy = self.pace.busy_since.is_some();
        tokio::select! {
            ready = readable.readable(), if !busy => {
                ready.map_err(broken)?.clear_ready();
                self.pace.busy_since = Some(Instant::now());
                self.pace.interval = BUSY;
            }
            // An empty queue of notifications has to be looked at; the programs wake the reader for a barrier, unless
            // it is lost.
            () = cookie.asked(), if !busy => {
                self.pace.busy_since = Some(Instant::now());
                self.pace.interval = BUSY;
            }
            ready = said(self.messages.as_ref()) => {
                ready.map_err(broken)?.clear_ready();
                if let Source::Ebpf(source) = source {
                    source.programs.log();
                }
            }
            ready = mounts.ready(Interest::PRIORITY) => {
                ready.map_err(broken)?.clear_ready();
                if let Source::Fanotify(source) = source {
                    source.forget_places();
                }
                self.surroundings.remount(source, &mut self.pending).map_err(broken)?;
            }
            () = sleep(if busy { self.pace.interval } else { IDLE }) => {}
        }
        Ok(())
    }

    /// Tells those who wait that their barrier was reached and everything before it handed out.
    fn settle(&mut self) {
        if let Some(source) = &self.source
            && self.pending.is_empty()
        {
            self.barriers.settle(source.reached());
        }
    }
}
