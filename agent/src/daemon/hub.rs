//! The [`Hub`] is the capture of a process, shared by all its replicas: it opens one capture for all roots, opens it anew
//! when a root comes or goes, and hands each replica what concerns it.
//!
//! No change is missed when it is opened anew: the new one is armed before the old one is emptied and closed.

use crate::capture::{Capture, CaptureError, CaptureRequest, Event, Loss, RARELY, Stats, Tier, TierReport};
use crate::options::CaptureChoice;
use crate::replica::follow::{Coverage, Hint};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

/// So many events wait for one replica at the most; beyond that it looks at everything.
const QUEUE: u32 = 100_000;
/// And so many batches.
const BATCHES: usize = 1024;
/// So many places of them are not for events.
const RESERVED: usize = 8;
/// How long further roots are waited for before capture is opened: those of a configuration come together.
const TOGETHER: Duration = Duration::from_millis(50);
/// When a replica that had no room for its events is told so.
const AGAIN: Duration = Duration::from_millis(100);
/// When capture that broke is opened again.
const REOPEN: Duration = Duration::from_secs(60);

/// A replica's share of the capture. Its root is watched until this is dropped.
pub struct Share {
    /// What is seen.
    pub hints: mpsc::Receiver<Hint>,
    /// How the root is watched, for a person.
    pub said: String,
}

/// How a root is to be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// By which tier.
    pub choice: CaptureChoice,
    /// With how many bytes of room for events, if not as many as usual. The largest that is wished for counts.
    pub ring: Option<u32>,
}

/// What can be told of the capture.
#[derive(Debug, Clone)]
pub struct CaptureFacts {
    /// The tier; `None` where everything is looked at once a minute.
    pub tier: Option<Tier>,
    /// Its counters.
    pub stats: Stats,
}

/// The capture of a process.
#[derive(Clone)]
pub struct Hub {
    requests: mpsc::UnboundedSender<Request>,
}

enum Request {
    Watch { root: PathBuf, wish: Wish, tell: oneshot::Sender<Share> },
    Facts(oneshot::Sender<CaptureFacts>),
    Settle { root: PathBuf, tell: oneshot::Sender<crate::replica::follow::Settled> },
}

impl Default for Hub {
    fn default() -> Hub {
        Hub::new()
    }
}

impl Hub {
    /// Starts the task that owns the capture. It ends with the last handle.
    pub fn new() -> Hub {
        let (requests, asked) = mpsc::unbounded_channel();
        tokio::spawn(Captor::default().run(asked));
        Hub { requests }
    }

    /// Begins to watch a root. When this returns, nothing that happens below it is missed.
    pub async fn watch(&self, root: &Path, wish: Wish) -> Share {
        let (tell, told) = oneshot::channel();
        let _ = self.requests.send(Request::Watch { root: root.to_owned(), wish, tell });
        match told.await {
            Ok(share) => share,
            Err(_) => {
                let (_, hints) = mpsc::channel(1);
                Share { hints, said: blind("the capturing task has ended") }
            }
        }
    }

    /// Returns what can be told of the capture; `None` if its task does not answer.
    pub async fn facts(&self) -> Option<CaptureFacts> {
        let (tell, told) = oneshot::channel();
        self.requests.send(Request::Facts(tell)).ok()?;
        told.await.ok()
    }

    /// Waits until the archive of a replica tells everything that happened below its root before this call. `None`: the
    /// replica is not followed any more.
    pub async fn settle(&self, root: &Path) -> Option<crate::replica::follow::Settled> {
        let (tell, told) = oneshot::channel();
        self.requests.send(Request::Settle { root: root.to_owned(), tell }).ok()?;
        told.await.ok()
    }
}

fn blind(why: &str) -> String {
    format!("no capture: {why}; everything is looked at once a minute")
}

/// A root that is watched.
struct Slot {
    root: PathBuf,
    wish: Wish,
    hints: mpsc::Sender<Hint>,
    room: Arc<Semaphore>,
    /// Something could not be handed over: it has to look at everything.
    lost: bool,
    /// Who waits for its share.
    awaited: Option<(oneshot::Sender<Share>, mpsc::Receiver<Hint>)>,
    /// What capture sees of it, as it was told.
    coverage: Coverage,
    said: String,
}

impl Slot {
    /// Hands over events, or notes that they are lost.
    fn give(&mut self, events: Vec<Event>) {
        if self.lost {
            return;
        }
        // The last places are for what must come through.
        let free = self.hints.capacity() > RESERVED;
        let room = u32::try_from(events.len()).ok().filter(|n| free && *n <= QUEUE);
        let room = room.and_then(|n| self.room.clone().try_acquire_many_owned(n).ok());
        self.lost = match room {
            None => true,
            Some(room) => self.hints.try_send(Hint::Events { events, room: Some(room) }).is_err(),
        };
    }

    /// Tells of what was lost, if there is room for it now.
    fn tell_loss(&mut self) {
        let events = vec![Event::lost(0, Loss::QueueFull)];
        if self.lost && self.hints.try_send(Hint::Events { events, room: None }).is_ok() {
            self.lost = false;
        }
    }

    /// Tells what capture sees of it, where that has changed; and of what was missed meanwhile.
    fn tell_coverage(&mut self, coverage: Coverage, said: String) {
        let new = self.awaited.is_some();
        if coverage != self.coverage {
            if matches!(self.coverage, Coverage::Blind(_)) && !new {
                self.lost = true;
            }
            // There is room for it, unless the replica has ended.
            let _ = self.hints.try_send(Hint::Coverage(coverage.clone()));
            self.tell_loss();
        }
        self.coverage = coverage;
        self.said = said;
        if let Some((tell, hints)) = self.awaited.take() {
            let _ = tell.send(Share { hints, said: self.said.clone() });
        }
    }
}

/// The task that owns the capture.
#[derive(Default)]
struct Captor {
    slots: Vec<Slot>,
    capture: Option<Capture>,
    /// The roots of the capture, in its order.
    captured: Vec<PathBuf>,
    /// Those of them, by index, that others change, too.
    remote: Vec<usize>,
    /// What it does not see, and how often everything is looked at for that.
    uncovered: Option<(String, Duration)>,
    /// Why there is no capture.
    why: Option<String>,
    reopen_at: Option<Instant>,
}

impl Captor {
    async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut anew: Option<Instant> = None;
        loop {
            let lost = self.slots.iter().any(|slot| slot.lost);
            let at = [anew, self.reopen_at].into_iter().flatten().min();
            tokio::select! {
                request = requests.recv() => match request {
                    None => return,
                    Some(Request::Facts(tell)) => {
                        let stats = self.capture.as_ref().map(Capture::stats).unwrap_or_default();
                        let tier = self.capture.as_ref().map(Capture::tier);
                        let _ = tell.send(CaptureFacts { tier, stats });
                    }
                    Some(Request::Watch { root, wish, tell }) => {
                        self.add(root, wish, tell);
                        anew = Some(Instant::now() + TOGETHER);
                    }
                    Some(Request::Settle { root, tell }) => self.settle(&root, tell).await,
                },
                seen = next(&mut self.capture) => match seen {
                    Ok(events) => {
                        self.hand_out(events);
                        self.look_for_remote();
                    }
                    Err(error) => self.broken(&error),
                },
                () = sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {
                    anew = None;
                    self.reopen_at = None;
                    self.open_anew().await;
                }
                () = sleep(AGAIN), if lost => self.slots.iter_mut().for_each(Slot::tell_loss),
                () = gone(&self.slots) => {
                    self.slots.retain(|slot| !slot.hints.is_closed());
                    anew = Some(Instant::now() + TOGETHER);
                }
            }
        }
    }

    fn add(&mut self, root: PathBuf, wish: Wish, tell: oneshot::Sender<Share>) {
        let (hints, share) = mpsc::channel(BATCHES);
        self.slots.push(Slot {
            root,
            wish,
            hints,
            room: Arc::new(Semaphore::new(QUEUE as usize)),
            lost: false,
            awaited: Some((tell, share)),
            coverage: Coverage::Whole,
            said: String::new(),
        });
    }

    /// Hands each event to the replicas that it concerns.
    fn hand_out(&mut self, events: Vec<Event>) {
        let Captor { slots, captured, .. } = self;
        // Nearly always all of them are of one root.
        let first = events.first().map(|event| event.root);
        if events.iter().all(|event| Some(event.root) == first) {
            if let Some(slot) = slot_of(slots, captured, first) {
                slot.give(events);
            }
            return;
        }
        let mut by_root: Vec<Vec<Event>> = vec![Vec::new(); captured.len()];
        for event in events {
            if let Some(of_root) = by_root.get_mut(event.root) {
                of_root.push(event);
            }
        }
        for (root, events) in by_root.into_iter().enumerate().filter(|(_, events)| !events.is_empty()) {
            if let Some(slot) = slot_of(slots, captured, Some(root)) {
                slot.give(events);
            }
        }
    }

    /// Opens capture for the roots that are to be watched now, and closes the one before.
    async fn open_anew(&mut self) {
        self.slots.retain(|slot| !slot.hints.is_closed() || slot.awaited.is_some());
        let mut wanted: Vec<PathBuf> = Vec::new();
        for slot in self.slots.iter().filter(|slot| slot.wish.choice != CaptureChoice::Scan) {
            wanted.push(slot.root.clone());
        }
        if wanted == self.captured && self.capture.is_some() {
            return self.tell_coverage();
        }
        let choice =
            self.slots.iter().map(|slot| slot.wish.choice).find(|choice| *choice != CaptureChoice::Scan);
        let ring = self.slots.iter().filter_map(|slot| slot.wish.ring).max();
        let opening = tokio::task::spawn_blocking(move || open(Wish { choice: choice?, ring }, wanted));
        tokio::pin!(opening);
        // The one that is there is emptied meanwhile.
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened.unwrap_or(None),
                seen = next(&mut self.capture) => match seen {
                    Ok(events) => self.hand_out(events),
                    Err(_) => self.capture = None,
                },
            }
        };
        self.empty().await;
        let Opened { capture, captured, why, uncovered } = opened.unwrap_or_default();
        if let Some(old) = std::mem::replace(&mut self.capture, capture) {
            tokio::task::spawn_blocking(move || drop(old));
        }
        self.captured = captured;
        self.remote = self.capture.as_ref().map(|capture| capture.remote().to_vec()).unwrap_or_default();
        self.uncovered = uncovered;
        self.reopen_at = why.is_some().then(|| Instant::now() + REOPEN);
        self.why = why;
        self.tell_coverage();
    }

    /// Tells who lies on another machine by now, or does no longer: something was mounted or unmounted.
    fn look_for_remote(&mut self) {
        let Some(capture) = self.capture.as_ref().filter(|capture| capture.remote() != self.remote) else {
            return;
        };
        self.remote = capture.remote().to_vec();
        self.tell_coverage();
    }

    /// Hands out what the capture has seen up to now.
    async fn empty(&mut self) {
        let Some(mut capture) = self.capture.take() else { return };
        let barriers = capture.barriers();
        let barrier = barriers.barrier();
        tokio::pin!(barrier);
        loop {
            tokio::select! {
                // It may break or time out: the new one is open already, and what the old one still had is lost.
                reached = &mut barrier => {
                    if reached.is_err() {
                        self.slots.iter_mut().for_each(|slot| slot.lost = true);
                    }
                    break;
                }
                seen = capture.next() => match seen {
                    Ok(events) => self.hand_out(events),
                    Err(_) => {
                        self.slots.iter_mut().for_each(|slot| slot.lost = true);
                        break;
                    }
                },
            }
        }
        self.capture = Some(capture);
    }

    /// Tells every replica what capture sees of it.
    fn tell_coverage(&mut self) {
        let tier = self.capture.as_ref().map(Capture::tier);
        let remote: Vec<&PathBuf> = self.remote.iter().filter_map(|&at| self.captured.get(at)).collect();
        for slot in &mut self.slots {
            let (coverage, said) = match (tier, &self.uncovered) {
                _ if slot.wish.choice == CaptureChoice::Scan => (
                    Coverage::Blind("capture is off".to_owned()),
                    "no capture: everything is looked at once a minute".to_owned(),
                ),
                (Some(tier), _) if remote.contains(&&slot.root) => {
                    let why = "its file system, or one that is mounted in it, changes from elsewhere, too"
                        .to_owned();
                    let said =
                        format!("capture by {tier}; everything is looked at once a minute as well: {why}");
                    (Coverage::Blind(why), said)
                }
                (Some(tier), uncovered) if self.captured.contains(&slot.root) => match uncovered {
                    Some((what, every)) => (
                        Coverage::Partly {
                            why: format!("{tier} does not see {what}"),
                            every: *every,
                            anything: *every < RARELY,
                        },
                        format!(
                            "capture by {tier}; everything is looked at every {} as well",
                            humantime::format_duration(*every)
                        ),
                    ),
                    None => (Coverage::Whole, format!("capture by {tier}")),
                },
                _ => {
                    let why = self.why.clone().unwrap_or_else(|| "this root cannot be watched".to_owned());
                    (Coverage::Blind(why.clone()), blind(&why))
                }
            };
            slot.tell_coverage(coverage, said);
        }
    }

    fn broken(&mut self, error: &CaptureError) {
        tracing::warn!(why = %error, "capture has stopped working");
        self.capture = None;
        self.captured.clear();
        self.reopen_at = Some(Instant::now() + REOPEN);
        self.slots.iter_mut().for_each(|slot| slot.lost = true);
        self.remote.clear();
        self.why = Some(error.to_string());
        self.tell_coverage();
        self.slots.iter_mut().for_each(Slot::tell_loss);
    }

    /// Asks a replica to look at everything that has been seen up to now.
    async fn settle(&mut self, root: &Path, tell: oneshot::Sender<crate::replica::follow::Settled>) {
        self.empty().await;
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.root == root) {
            let lost = std::mem::take(&mut slot.lost);
            let hints = slot.hints.clone();
            // Behind what is in the queue; the hub does not wait for it.
            tokio::spawn(async move {
                let events = vec![Event::lost(0, Loss::QueueFull)];
                if !lost || hints.send(Hint::Events { events, room: None }).await.is_ok() {
                    let _ = hints.send(Hint::Settle(tell)).await;
                }
            });
        }
    }
}

fn slot_of<'s>(slots: &'s mut [Slot], captured: &[PathBuf], root: Option<usize>) -> Option<&'s mut Slot> {
    let path = captured.get(root?)?;
    slots.iter_mut().find(|slot| slot.root == *path)
}

async fn next(capture: &mut Option<Capture>) -> Result<Vec<Event>, CaptureError> {
    match capture {
        Some(capture) => capture.next().await,
        None => std::future::pending().await,
    }
}

/// Waits until some replica does not want its share any more.
async fn gone(slots: &[Slot]) {
    if slots.is_empty() {
        return std::future::pending().await;
    }
    let closed = slots.iter().filter(|slot| slot.awaited.is_none()).map(|slot| Box::pin(slot.hints.closed()));
    let closed: Vec<_> = closed.collect();
    if closed.is_empty() {
        return std::future::pending().await;
    }
    futures_util::future::select_all(closed).await;
}

/// What came of opening capture.
#[derive(Default)]
struct Opened {
    capture: Option<Capture>,
    captured: Vec<PathBuf>,
    /// Why there is none.
    why: Option<String>,
    /// What it does not see, and how often everything is looked at for that.
    uncovered: Option<(String, Duration)>,
}

/// Opens capture for these roots, without those that cannot be watched. Blocks.
fn open(wish: Wish, mut roots: Vec<PathBuf>) -> Option<Opened> {
    loop {
        if roots.is_empty() {
            return Some(Opened::default());
        }
        let usual = CaptureRequest::default();
        let ring_bytes = wish.ring.unwrap_or(usual.ring_bytes);
        let request = CaptureRequest { mode: wish.choice.into(), ring_bytes, ..usual };
        match Capture::open(&request, &roots) {
            Ok((capture, report)) if capture.tier() != Tier::Scan => {
                let TierReport { look_every, uncovered, missing, .. } = report.chosen;
                let what = uncovered.into_iter().chain(missing.into_iter().map(|(hook, _)| hook));
                let what = what.collect::<Vec<_>>().join("; ");
                let uncovered = look_every.map(|every| (what, every));
                return Some(Opened { capture: Some(capture), captured: roots, why: None, uncovered });
            }
            Ok(_) => {
                let why = "none is possible here (vfsync doctor says why)".to_owned();
                return Some(Opened { why: Some(why), ..Opened::default() });
            }
            Err(CaptureError::Root { path, source }) if roots.contains(&path) => {
                tracing::warn!(path = %path.display(), why = %source, "a root cannot be watched");
                roots.retain(|root| *root != path);
            }
            Err(error) => {
                let why = format!("{:#}", anyhow::Error::new(error));
                return Some(Opened { why: Some(why), ..Opened::default() });
            }
        }
    }
}
