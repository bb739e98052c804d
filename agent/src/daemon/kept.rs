//! A [`Kept`] replica is one that this process owns and follows: opened once, looked at, followed by the shared capture,
//! and lent to every link. What goes wrong with it halts its links, and no others.

use super::News;
use super::hub::{Hub, Wish};
use super::said::Said;
use crate::archive::ArchiveError;
use crate::core::filter::Filter;
use crate::core::version::ReplicaId;
use crate::options::ReplicaOptions;
use crate::replica::follow::{Facts, FollowError, Followed, Settled, follow};
use crate::replica::scan::{ScanError, ScanReport};
use crate::replica::{OpenError, Replica};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// When a replica that cannot be had is tried again: at first, and at the latest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long the work at hand may take before a replica is let go.
const LETTING_GO: Duration = Duration::from_secs(60);

/// How far a replica is.
#[derive(Clone)]
pub enum Stage {
    /// It is being opened.
    Opening,
    /// It is open, and everything is looked at.
    Scanning(Arc<Replica>),
    /// It is open, and its archive is kept in step with the tree.
    Following(Arc<Replica>),
    /// It cannot be had now, and is tried again by itself.
    Waiting {
        /// Why.
        why: String,
    },
    /// A guard refuses to go on without a person's word.
    Halted {
        /// Why.
        why: String,
        /// So many deletions were shown; `resume` approves just these.
        deletions: u64,
    },
    /// A person has paused it.
    Paused,
    /// It is not kept any more.
    Closed,
}

impl Stage {
    /// Returns the replica, if it is open.
    pub fn replica(&self) -> Option<&Arc<Replica>> {
        match self {
            Stage::Scanning(replica) | Stage::Following(replica) => Some(replica),
            Stage::Opening | Stage::Waiting { .. } | Stage::Halted { .. } | Stage::Paused | Stage::Closed => {
                None
            }
        }
    }

    /// Returns the stage as one word.
    pub fn word(&self) -> &'static str {
        match self {
            Stage::Opening => "opening",
            Stage::Scanning(_) => "scanning",
            Stage::Following(_) => "following",
            Stage::Waiting { .. } => "waiting",
            Stage::Halted { .. } => "halted",
            Stage::Paused => "paused",
            Stage::Closed => "closed",
        }
    }

    /// Returns how many deletions a person can approve, where a guard has halted.
    pub fn deletions(&self) -> Option<u64> {
        match self {
            Stage::Halted { deletions, .. } => Some(*deletions),
            Stage::Opening
            | Stage::Scanning(_)
            | Stage::Following(_)
            | Stage::Waiting { .. }
            | Stage::Paused
            | Stage::Closed => None,
        }
    }

    /// Returns why it is not open, where there is a reason.
    pub fn why(&self) -> Option<&str> {
        match self {
            Stage::Waiting { why } | Stage::Halted { why, .. } => Some(why),
            Stage::Opening | Stage::Scanning(_) | Stage::Following(_) | Stage::Paused | Stage::Closed => None,
        }
    }
}

/// How a replica is to be kept.
#[derive(Clone, PartialEq)]
pub struct Care {
    /// Where archives lie.
    pub state_dir: PathBuf,
    /// How.
    pub options: ReplicaOptions,
    /// What every link of it leaves out.
    pub ignore: (Vec<crate::core::filter::Pathspec>, Vec<crate::core::filter::Pathspec>),
}

enum Order {
    Pause,
    Resume { deletions: u64 },
    Close,
}

/// A replica that this process owns.
pub struct Kept {
    /// Its root, without symbolic links where that could be told.
    pub root: PathBuf,
    /// How it is kept.
    pub care: Care,
    /// What can be told of it.
    pub facts: Arc<Facts>,
    stage: watch::Sender<(Stage, SystemTime)>,
    /// Since when it cannot be had, whatever is tried meanwhile.
    lapsed: std::sync::Mutex<Option<SystemTime>>,
    orders: mpsc::UnboundedSender<Order>,
    hub: Hub,
    /// How its root is watched.
    said: std::sync::Mutex<String>,
    scans: AtomicU64,
    paused: AtomicBool,
    /// How many deletions each peer was shown, where a guard has halted.
    shown: std::sync::Mutex<BTreeMap<ReplicaId, u64>>,
}

/// Why a replica is not kept for now.
#[derive(Debug, thiserror::Error)]
enum Lapse {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Filter(#[from] crate::core::filter::FilterError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error("a part of it failed: {0}")]
    Died(String),
}

impl Lapse {
    /// Returns how many deletions a guard wants approved.
    fn deletions(&self) -> Option<u64> {
        match self {
            Lapse::Scan(error) | Lapse::Follow(FollowError::Scan(error)) => error.deletions(),
            Lapse::Open(_) | Lapse::Filter(_) | Lapse::Follow(_) | Lapse::Died(_) => None,
        }
    }

    fn is_in_use(&self) -> bool {
        matches!(self, Lapse::Open(OpenError::Archive(ArchiveError::InUse { .. })))
    }
}

/// How a turn ended.
enum Turn {
    Lapsed(Lapse),
    Pause,
    Close,
}

impl Kept {
    /// Begins to keep a replica.
    pub fn start(
        root: PathBuf,
        mut care: Care,
        hub: Hub,
        tell: mpsc::UnboundedSender<News>,
    ) -> (Arc<Kept>, JoinHandle<()>) {
        let (orders, ordered) = mpsc::unbounded_channel();
        // It is for what is found at the start.
        let approved = care.options.confirm_deletes.take().unwrap_or(0);
        let kept = Arc::new(Kept {
            root,
            care,
            facts: Arc::default(),
            stage: watch::Sender::new((Stage::Opening, SystemTime::now())),
            lapsed: std::sync::Mutex::default(),
            orders,
            hub,
            said: std::sync::Mutex::default(),
            scans: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            shown: std::sync::Mutex::default(),
        });
        let task = tokio::spawn(
            Keeper { kept: kept.clone(), orders: ordered, tell, said: Said::default() }.run(approved),
        );
        (kept, task)
    }

    /// Returns what tells how far it is, whenever that changes.
    pub fn stages(&self) -> watch::Receiver<(Stage, SystemTime)> {
        self.stage.subscribe()
    }

    /// Returns how far it is, and since when.
    pub fn stage(&self) -> (Stage, SystemTime) {
        self.stage.borrow().clone()
    }

    /// Returns how its root is watched, for a person.
    pub fn said(&self) -> String {
        self.said.lock().expect("no thread panics with this locked").clone()
    }

    /// Returns how often everything was looked at because it was opened.
    pub fn scans(&self) -> u64 {
        self.scans.load(Ordering::Relaxed)
    }

    /// Lets go of it until it is resumed: nothing of the root is held open.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        let _ = self.orders.send(Order::Pause);
    }

    /// Goes on: after a pause; or after a guard has halted, with up to `deletions` approved, which are what it showed.
    pub fn resume(&self, deletions: u64) {
        self.paused.store(false, Ordering::SeqCst);
        let _ = self.orders.send(Order::Resume { deletions });
    }

    /// Returns whether a person wants it paused; it may still be about to let go.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Notes that a peer is shown so many deletions, because of which a guard has halted.
    pub fn show(&self, peer: ReplicaId, deletions: u64) {
        self.shown.lock().expect("no thread panics with this locked").insert(peer, deletions);
    }

    /// Returns whether a peer may let a guard go on that has halted because of so many deletions, when it approves so many:
    /// it was shown them, and no number counts that it was not shown.
    pub fn may_approve(&self, peer: ReplicaId, deletions: u64, approved: u64) -> bool {
        let shown = self.shown.lock().expect("no thread panics with this locked");
        shown.get(&peer).is_some_and(|shown| (deletions..=*shown).contains(&approved))
    }

    /// Lets go of it for good.
    pub fn close(&self) {
        let _ = self.orders.send(Order::Close);
    }

    /// Waits until the archive tells everything that happened below the root before this call. `None`: it is not followed.
    pub async fn settle(&self) -> Option<Settled> {
        self.hub.settle(&self.root).await
    }

    fn set(&self, stage: Stage) {
        let now = SystemTime::now();
        let mut lapsed = self.lapsed.lock().expect("no thread panics with this locked");
        let since = match stage {
            // Trying again, and in vain, makes it no shorter.
            Stage::Waiting { .. } => *lapsed.get_or_insert(now),
            Stage::Opening => now,
            Stage::Scanning(_)
            | Stage::Following(_)
            | Stage::Halted { .. }
            | Stage::Paused
            | Stage::Closed => {
                *lapsed = None;
                now
            }
        };
        self.stage.send_replace((stage, since));
    }
}

/// The task that keeps it.
struct Keeper {
    kept: Arc<Kept>,
    orders: mpsc::UnboundedReceiver<Order>,
    tell: mpsc::UnboundedSender<News>,
    said: Said,
}

impl Keeper {
    async fn run(mut self, mut approved: u64) {
        let mut wait = AGAIN.0;
        loop {
            let began = Instant::now();
            let turn = self.turn(std::mem::take(&mut approved)).await;
            if began.elapsed() > AGAIN.1 {
                wait = AGAIN.0;
            }
            let lapse = match turn {
                Turn::Close => return self.kept.set(Stage::Closed),
                Turn::Pause => {
                    self.kept.set(Stage::Paused);
                    match self.until_resumed().await {
                        Some(_) => continue,
                        None => return self.kept.set(Stage::Closed),
                    }
                }
                Turn::Lapsed(lapse) => lapse,
            };
            let why = words(&lapse);
            if let Some(deletions) = lapse.deletions() {
                self.tell(News::Halted(why.clone()));
                self.kept.set(Stage::Halted { why, deletions });
                match self.until_resumed().await {
                    // Never more than what was shown.
                    Some(word) => approved = word.min(deletions),
                    None => return self.kept.set(Stage::Closed),
                }
                continue;
            }
            if lapse.is_in_use() {
                // A `vfsync serve` that has it gives it up, and its peer comes back through this process.
                let (root, state) = (self.kept.root.clone(), self.kept.care.state_dir.clone());
                let _ = tokio::task::spawn_blocking(move || crate::replica::want(&root, &state)).await;
            }
            self.tell(News::Lapsed(why.clone()));
            self.kept.set(Stage::Waiting { why });
            tokio::select! {
                () = sleep(wait) => {}
                order = self.orders.recv() => match order {
                    Some(Order::Resume { .. }) => {}
                    Some(Order::Pause) => {
                        self.kept.set(Stage::Paused);
                        if self.until_resumed().await.is_none() {
                            return self.kept.set(Stage::Closed);
                        }
                    }
                    Some(Order::Close) | None => return self.kept.set(Stage::Closed),
                },
            }
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    fn tell(&self, news: News) {
        let _ = self.tell.send(news);
    }

    /// Waits for the word to go on, and returns how many deletions it approves; `None`: it is to be closed.
    async fn until_resumed(&mut self) -> Option<u64> {
        let mut paused = false;
        loop {
            match self.orders.recv().await? {
                // What a pause has taken from sight is shown again first.
                Order::Resume { .. } if paused => return Some(0),
                Order::Resume { deletions } => return Some(deletions),
                Order::Pause => {
                    paused = true;
                    self.kept.set(Stage::Paused);
                }
                Order::Close => return None,
            }
        }
    }

    /// Opens the replica, and follows it until something ends that.
    async fn turn(&mut self, approved: u64) -> Turn {
        self.kept.set(Stage::Opening);
        // What was shown before this is no word about what is found now.
        self.kept.shown.lock().expect("no thread panics with this locked").clear();
        let (root, care) = (self.kept.root.clone(), self.kept.care.clone());
        let opening = tokio::task::spawn_blocking(move || {
            let filter = Filter::new(&care.ignore.0, &care.ignore.1, false)?;
            Ok::<_, Lapse>(Replica::open(&root, &care.state_dir, care.options, filter)?)
        });
        let replica = match opening.await {
            Ok(Ok(replica)) => Arc::new(replica),
            Ok(Err(lapse)) => return Turn::Lapsed(lapse),
            Err(error) => return Turn::Lapsed(Lapse::Died(error.to_string())),
        };
        for notice in crate::cmd::serve::notices(&replica) {
            self.tell(News::Note(notice));
        }
        self.kept.set(Stage::Scanning(replica.clone()));
        let turn = self.follow(&replica, approved).await;
        // Whoever has it lent gives it back when it sees this.
        self.kept.set(match &turn {
            Turn::Lapsed(lapse) => match lapse.deletions() {
                Some(deletions) => Stage::Halted { why: words(lapse), deletions },
                None => Stage::Waiting { why: words(lapse) },
            },
            Turn::Pause => Stage::Paused,
            Turn::Close => Stage::Closed,
        });
        let_go(replica).await;
        turn
    }

    async fn follow(&mut self, replica: &Arc<Replica>, approved: u64) -> Turn {
        // Armed before the scan: what changes during it is seen by one of the two.
        let options = &self.kept.care.options;
        let wish = Wish { choice: options.capture, ring: options.capture_ring };
        let share = self.kept.hub.watch(&self.kept.root, wish).await;
        self.tell(News::Note(format!("{}: {}", self.kept.root.display(), share.said)));
        *self.kept.said.lock().expect("no thread panics with this locked") = share.said;
        let (tell, mut followed) = mpsc::unbounded_channel();
        let facts = self.kept.facts.clone();
        let (looked, first_look) = oneshot::channel();
        let mut looked = Some(looked);
        let mut following = tokio::spawn(follow(replica.clone(), share.hints, facts, tell, first_look));
        let scanning = replica.clone();
        let mut scan = tokio::task::spawn_blocking(move || {
            scanning.approve(approved);
            let report = scanning.scan_until_quiet();
            scanning.end_of_approval();
            report
        });
        let mut scanned = false;
        let turn = loop {
            tokio::select! {
                report = &mut scan, if !scanned => match report {
                    Ok(Ok(report)) => {
                        scanned = true;
                        self.kept.scans.fetch_add(1, Ordering::Relaxed);
                        self.kept.facts.looked_at_everything(&report);
                        // One that has ended says why itself.
                        if let Some(looked) = looked.take() {
                            let _ = looked.send(report);
                        }
                        self.kept.set(Stage::Following(replica.clone()));
                    }
                    Ok(Err(error)) => break Turn::Lapsed(error.into()),
                    Err(error) => break Turn::Lapsed(Lapse::Died(error.to_string())),
                },
                ended = &mut following => break Turn::Lapsed(match ended {
                    Ok(Ok(never)) => match never {},
                    Ok(Err(error)) => error.into(),
                    Err(error) => Lapse::Died(error.to_string()),
                }),
                Some(happened) = followed.recv() => self.say(happened),
                order = self.orders.recv() => match order {
                    Some(Order::Resume { .. }) => {}
                    Some(Order::Pause) => break Turn::Pause,
                    Some(Order::Close) | None => break Turn::Close,
                },
            }
        };
        if !following.is_finished() {
            following.abort();
            // Waited for, so that the replica is released.
            let _ = following.await;
        }
        turn
    }

    /// Says what following found that a person should know.
    fn say(&mut self, happened: Followed) {
        let kept = self.kept.clone();
        let root = kept.root.display();
        match happened {
            Followed::CaptureLost(why) => {
                self.tell(News::Warning(format!(
                    "{root}: {why}; everything is looked at once a minute from now on"
                )));
            }
            Followed::Scanned { report, rescan } => {
                let ScanReport { changed, problems, .. } = report;
                if let Some(why) = rescan {
                    self.tell(News::Note(format!(
                        "{root}: looked at everything, because {why}: {changed} changed"
                    )));
                }
                let stands = |path: &_| kept.facts.stands(path);
                for problem in self.said.anew(&problems, stands, std::time::Instant::now()) {
                    self.tell(News::Note(format!("{}: {}", problem.path, problem.why)));
                }
            }
        }
    }
}

/// Returns an error with its causes on one line.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    crate::replica::apply::words(error)
}

/// Waits until nobody else has the replica, and closes its archive in the orderly way.
async fn let_go(replica: Arc<Replica>) {
    let deadline = Instant::now() + LETTING_GO;
    while Arc::strong_count(&replica) > 1 && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    let _ = tokio::task::spawn_blocking(move || crate::cmd::serve::close(replica)).await;
}

/// Returns a path without symbolic links, if it leads anywhere.
pub fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
