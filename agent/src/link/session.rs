//! A session: its opening, the order of its parts, and its end. The end that dials drives: it says what to do, and asks
//! whether the other end has come to rest.

use super::compress::Compression;
use super::content::{ToPumps, pump};
use super::credit::{Credit, DATA_WINDOW, OFFER_WINDOW};
use super::offer::{OfferError, Offerer};
use super::open_set::OpenSet;
use super::order::Sorter;
use super::receive::{MOST_RESOLVED, ReceiveError, Receiver, Task, sign};
use super::streams::{Allowance, Counters, Frames, OUT_QUEUE, write};
use super::{Again, BATCH_COST, Event, FRAME_COST, Gauge, Idle, Shared};
use crate::archive::ArchiveError;
use crate::core::entry::AttributeMask;
use crate::core::filter::{Filter, FilterError, PathMap, Pathspec};
use crate::core::path::RelPath;
use crate::core::reconcile::{Forbidden, Policy, Preference, Rules, Side};
use crate::core::version::{ReplicaId, Sequence};
use crate::options::{self, LinkOptions, ReplicaOptions};
use crate::replica::apply::Applier;
use crate::replica::scan::{ScanError, ScanReport};
use crate::replica::{Replica, Severity};
use crate::transport::{Connection, Writer};
use crate::wire::{self, Capability, Frame, Hello, MAX_FRAME, Message, Start, Welcome, WireError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

/// How long a position that only skipped entries would move may lag behind.
const LAZY_BATCH: Duration = Duration::from_secs(1);
/// What an end says that it does: to send [`Message::Ping`] now and then.
const PING: &str = "ping";
/// How often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// How long nothing may come from an end that does.
const SILENCE: Duration = Duration::from_secs(60);
/// While live, what failed is asked for again after so long, and then after twice as long each time.
const RETRY: Duration = Duration::from_secs(2);
/// But at least so often.
const RETRY_AT_LEAST: Duration = Duration::from_secs(300);
/// So many messages for the driver wait at most: while it scans, or asks a person, the peer has to wait with more.
const CONTROL_QUEUE: usize = 16;
/// So often the peer may say where it stands in one session: far more often than it has to.
const POSITIONS: u32 = 100;
/// So many bytes of paths the peer may ask for resolutions of at once.
const RESOLVED_BYTES: usize = 16 << 20;
/// How often both ends may stir each other up before a pass is given up. Every resolution takes one.
const ROUNDS: u32 = 100;

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] std::io::Error),
    /// The peer closed the connection.
    #[error("the far end closed the connection")]
    Closed,
    /// The peer sent what cannot be understood.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The peer does not keep to the protocol.
    #[error("the peer does not keep to the protocol: {0}")]
    Protocol(&'static str),
    /// The peer does not want the session.
    #[error("{0}")]
    Refused(String),
    /// A guard of the peer halted the link.
    #[error("{0}")]
    Halted(String),
    /// A guard of the peer halted the link, and a person can overrule it.
    #[error("{why}")]
    Guarded {
        /// Why.
        why: String,
        /// How many deletions that would approve.
        deletions: u64,
    },
    /// The peer has dialled, too, and that link stays.
    #[error("the two are linked already: the other end has dialled")]
    Linked(ReplicaId),
    /// Both ends are one replica.
    #[error("both roots are the same directory: give two different ones")]
    Same,
    /// The peer's archive is a copy of ours.
    #[error(
        "the far end's archive is a copy of this one (a cloned machine?): move the folder {0} away on one of \
         the two and try again; nothing is deleted by that"
    )]
    Clone(std::path::PathBuf),
    /// An archive is older than what the peer has seen of it.
    #[error(
        "the archive of {root} is older than what the other end has seen of it (restored from a backup, or a copied \
         machine?): move the folder {folder} away and try again; nothing is deleted by that"
    )]
    RolledBack {
        /// Its root.
        root: std::path::PathBuf,
        /// Its folder.
        folder: std::path::PathBuf,
    },
    /// The local archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A local scan failed, or a local guard halted.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The patterns of the two ends together cannot be used.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// Nothing comes to rest.
    #[error("the two ends do not come to rest: something keeps changing; try again")]
    Restless,
    /// A thread died.
    #[error("a part of the session failed: {0}")]
    Died(String),
}

impl LinkError {
    pub(super) fn broken(error: std::io::Error) -> LinkError {
        LinkError::Broken(error)
    }
}

/// Bytes that went each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// To the peer.
    pub sent: u64,
    /// From the peer.
    pub received: u64,
}

/// What the end that dials brings along.
pub struct Setup {
    /// Its replica.
    pub replica: Arc<Replica>,
    /// What to synchronise, and who wins.
    pub link: LinkOptions,
    /// How the far end keeps its replica.
    pub options: ReplicaOptions,
    /// Whether the local root is the first of the two.
    pub local_is_first: bool,
    /// The root at the far end.
    pub remote_root: Vec<u8>,
    /// How a person names it.
    pub peer_name: String,
    /// Where to tell what happens.
    pub events: mpsc::UnboundedSender<Event>,
}

/// What the reader tells the driver.
enum Control {
    Start(Start),
    Problems(Vec<(RelPath, bool, String)>),
    Settle(u64),
    Settled(u64),
    Halt(String),
    Guarded(String, u64),
    Capture(String),
    Bye,
    /// The session is over: by itself, or by an error of one of its parts.
    Ended(Result<(), LinkError>),
}

/// What the offerer is told.
enum Command {
    Begin {
        after: Option<Sequence>,
        empty: bool,
    },
    /// The local tree has been scanned: what the archive says can be offered.
    Scanned,
    /// Carry out what was planned.
    Execute,
}

/// One end of a session under way.
pub struct Session {
    shared: Arc<Shared>,
    control: mpsc::Receiver<Control>,
    commands: mpsc::UnboundedSender<Command>,
    counters: Arc<Counters>,
    tasks: JoinSet<()>,
    /// Waits for ever; it has to be ended.
    retrying: AbortHandle,
    deciding: AbortHandle,
    alive: AbortHandle,
    settle: u64,
    /// The root at the far end, as it calls itself.
    pub remote_root: Vec<u8>,
}

/// Turns the options of a link into the policy of one end, whose replica is looked at as `options` say.
fn policy(link: &LinkOptions, options: &ReplicaOptions, is_first: bool, first_meeting: bool) -> Policy {
    let side = |preference| side_of(preference, is_first);
    let forbidden = if is_first { link.forbidden_in_first } else { link.forbidden_in_second };
    let attributes = &link.attributes;
    Policy {
        times: attributes.times,
        mask: AttributeMask {
            mode: (attributes.perms & 0o7777) as u16,
            owner: attributes.owner,
            group: attributes.group,
            xattrs: attributes.xattrs && options.extended.xattrs,
            acl: attributes.acl && options.extended.acl,
        },
        prefer: link.prefer.map(side),
        force: link.force.map(side),
        first_meeting,
        forbidden: as_forbidden(forbidden),
    }
}

/// Returns who wins, as one end sees it.
fn side_of(preference: options::Preference, is_first: bool) -> Preference {
    match preference {
        options::Preference::First => Preference::Side(if is_first { Side::Local } else { Side::Remote }),
        options::Preference::Second => Preference::Side(if is_first { Side::Remote } else { Side::Local }),
        options::Preference::Newer => Preference::Newer,
        options::Preference::Older => Preference::Older,
    }
}

fn as_forbidden(forbidden: options::Forbidden) -> Forbidden {
    Forbidden { creation: forbidden.creation, update: forbidden.update, deletion: forbidden.deletion }
}

/// Turns the options of a link into what holds for some paths at one end.
fn rules(link: &LinkOptions, is_first: bool) -> Result<Rules, FilterError> {
    let preferences = |pairs: &[(Pathspec, options::Preference)]| {
        let pairs = pairs.iter().map(|(spec, preference)| (spec.clone(), side_of(*preference, is_first)));
        PathMap::new(pairs.collect(), false)
    };
    let forbidden =
        if is_first { &link.forbidden_in_first_partial } else { &link.forbidden_in_second_partial };
    let forbidden = forbidden.iter().map(|(spec, forbidden)| (spec.clone(), as_forbidden(*forbidden)));
    Ok(Rules {
        force: preferences(&link.force_partial)?,
        prefer: preferences(&link.prefer_partial)?,
        forbidden: PathMap::new(forbidden.collect(), false)?,
        too_large: link.too_large,
    })
}

/// Returns a number that stands for what a link leaves out of entries, or entries out of: with another one, what was dealt
/// with may not be dealt with.
fn scope(link: &LinkOptions, options: &ReplicaOptions) -> u64 {
    let attributes = &link.attributes;
    let parts = (&link.ignore, &link.ignorenot, attributes, options.links, options.extended.number());
    let bytes = postcard::to_stdvec(&parts).expect("options can be encoded: they are sent, too");
    let hash = blake3::hash(&bytes);
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("a hash is longer than 8 bytes"))
}

/// Returns what a scan leaves out under the options of a link.
pub fn scan_filter(link: &LinkOptions) -> Result<Filter, FilterError> {
    Filter::new(&link.ignore, &link.ignorenot, false)
}

/// A number that tells this process from every other.
pub fn nonce() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::OnceLock;
    static NONCE: OnceLock<u64> = OnceLock::new();
    *NONCE.get_or_init(|| RandomState::new().hash_one(std::process::id()))
}

/// Opens a session from the end that dials, on a connection whose greeting is done.
///
/// # Errors
/// When the peer refuses, or the connection breaks.
pub async fn initiate(connection: Connection, setup: Setup) -> Result<Session, LinkError> {
    let Connection { reader, writer, .. } = connection;
    let counters = Arc::new(Counters::default());
    let mut frames = Frames::new(reader, counters.clone());
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let mut tasks = JoinSet::new();
    let (control_in, control) = mpsc::channel(CONTROL_QUEUE);
    spawn_writer(&mut tasks, writer, queue, counters.clone(), control_in.clone());
    let hello = Hello {
        replica: setup.replica.id(),
        nonce: nonce(),
        from: setup.replica.whereabouts(),
        root: setup.remote_root,
        dials_from_first: setup.local_is_first,
        link: setup.link.clone(),
        options: setup.options,
        capabilities: capabilities(),
    };
    let hello = crate::wire::encode_message(&Message::Hello(Box::new(hello)));
    out.send(hello).await.map_err(|_| LinkError::Closed)?;
    let welcome = match frames.next().await? {
        Some(Frame::Message(Message::Welcome(welcome))) => *welcome,
        Some(Frame::Message(Message::Refuse(why))) => return Err(LinkError::Refused(why)),
        Some(Frame::Message(Message::Linked(replica))) => return Err(LinkError::Linked(replica)),
        Some(_) => return Err(LinkError::Protocol("no welcome")),
        None => return Err(LinkError::Closed),
    };
    if welcome.replica == setup.replica.id() {
        let folder = setup.replica.archive.folder().to_owned();
        return Err(if welcome.nonce == nonce() { LinkError::Same } else { LinkError::Clone(folder) });
    }
    for notice in welcome.notices {
        let _ = setup.events.send(Event::Notice(notice));
    }
    let filter = scan_filter(&setup.link)?;
    let ends = Ends {
        replica: setup.replica,
        peer: welcome.replica,
        peer_name: setup.peer_name,
        link: setup.link,
        dials: true,
        is_first: setup.local_is_first,
        pings: pings(&welcome.capabilities),
        filter,
        events: setup.events,
    };
    let streams = Streams { frames, out, control_in, control, counters, tasks };
    run(ends, streams, welcome.root)
}

/// A session that was asked for and can be had.
pub struct Accepted {
    /// What was asked for.
    pub hello: Box<Hello>,
    frames: Frames,
    out: mpsc::Sender<bytes::Bytes>,
    control_in: mpsc::Sender<Control>,
    control: mpsc::Receiver<Control>,
    counters: Arc<Counters>,
    tasks: JoinSet<()>,
}

/// Reads what the end that dials asks for.
///
/// # Errors
/// When the connection breaks, or the first message is no hello.
pub async fn accept(connection: Connection) -> Result<Accepted, LinkError> {
    let Connection { reader, writer, .. } = connection;
    let counters = Arc::new(Counters::default());
    let mut frames = Frames::new(reader, counters.clone());
    let (out, queue) = mpsc::channel(OUT_QUEUE);
    let mut tasks = JoinSet::new();
    let (control_in, control) = mpsc::channel(CONTROL_QUEUE);
    spawn_writer(&mut tasks, writer, queue, counters.clone(), control_in.clone());
    match frames.next().await? {
        Some(Frame::Message(Message::Hello(hello))) => {
            Ok(Accepted { hello, frames, out, control_in, control, counters, tasks })
        }
        Some(_) => Err(LinkError::Protocol("no hello")),
        None => Err(LinkError::Closed),
    }
}

impl Accepted {
    /// Says why there can be no session, and ends it.
    pub async fn refuse(self, why: String) {
        self.close(Message::Refuse(why)).await;
    }

    /// Says that there is a session between this replica and the one that asks already, and ends this one.
    pub async fn linked(self, replica: ReplicaId) {
        self.close(Message::Linked(replica)).await;
    }

    async fn close(mut self, last: Message) {
        let _ = self.out.send(crate::wire::encode_message(&last)).await;
        drop((self.out, self.control_in));
        while self.tasks.join_next().await.is_some() {}
    }

    /// Hands the session over to another process, and carries its frames until one side ends.
    ///
    /// # Errors
    /// When one of the two connections breaks.
    pub async fn relay(self, to: Connection) -> Result<(), LinkError> {
        let Accepted { hello, mut frames, out, control_in, mut tasks, .. } = self;
        let counters = Arc::new(Counters::default());
        let (there, queue) = mpsc::channel(OUT_QUEUE);
        let mut writing = tokio::spawn(write(to.writer, queue, counters.clone()));
        let mut answers = Frames::new(to.reader, counters);
        let hello = crate::wire::encode_message(&Message::Hello(hello));
        there.send(hello).await.map_err(|_| LinkError::Closed)?;
        let inwards = async {
            while let Some(frame) = frames.next_raw().await? {
                there.send(frame).await.map_err(|_| LinkError::Closed)?;
            }
            Ok(())
        };
        let outwards = async {
            while let Some(frame) = answers.next_raw().await? {
                out.send(frame).await.map_err(|_| LinkError::Closed)?;
            }
            Ok(())
        };
        let result = tokio::select! {
            result = inwards => result,
            result = outwards => result,
            ended = &mut writing => ended.map_err(|e| LinkError::Died(e.to_string()))?,
        };
        // What is on its way still goes out.
        drop((there, out, control_in));
        let limit = Duration::from_secs(5);
        if !writing.is_finished() {
            let _ = tokio::time::timeout(limit, writing).await;
        }
        let _ = tokio::time::timeout(limit, async { while tasks.join_next().await.is_some() {} }).await;
        result
    }

    /// Agrees to the session with this replica.
    ///
    /// # Errors
    /// When the connection breaks or the archive fails.
    pub async fn welcome(
        self,
        replica: Arc<Replica>,
        notices: Vec<String>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Result<Session, LinkError> {
        let Accepted { hello, frames, out, control_in, control, counters, tasks } = self;
        let root = replica.root.as_os_str().as_encoded_bytes().to_vec();
        let welcome =
            Welcome { replica: replica.id(), nonce: nonce(), root, notices, capabilities: capabilities() };
        let welcome = crate::wire::encode_message(&Message::Welcome(Box::new(welcome)));
        out.send(welcome).await.map_err(|_| LinkError::Closed)?;
        let filter = scan_filter(&hello.link)?;
        let ends = Ends {
            replica,
            peer: hello.replica,
            peer_name: String::from_utf8_lossy(&hello.from.root).into_owned(),
            link: hello.link,
            dials: false,
            is_first: !hello.dials_from_first,
            pings: pings(&hello.capabilities),
            filter,
            events,
        };
        let streams = Streams { frames, out, control_in, control, counters, tasks };
        run(ends, streams, hello.root)
    }
}

/// What both ends of a session are made of.
struct Ends {
    replica: Arc<Replica>,
    peer: ReplicaId,
    peer_name: String,
    link: LinkOptions,
    dials: bool,
    is_first: bool,
    /// Whether the peer says now and then that it is there.
    pings: bool,
    filter: Filter,
    events: mpsc::UnboundedSender<Event>,
}

struct Streams {
    frames: Frames,
    out: mpsc::Sender<bytes::Bytes>,
    control_in: mpsc::Sender<Control>,
    control: mpsc::Receiver<Control>,
    counters: Arc<Counters>,
    tasks: JoinSet<()>,
}

fn spawn_writer(
    tasks: &mut JoinSet<()>,
    writer: Writer,
    queue: mpsc::Receiver<bytes::Bytes>,
    counters: Arc<Counters>,
    control: mpsc::Sender<Control>,
) {
    tasks.spawn(async move {
        if let Err(error) = write(writer, queue, counters).await {
            let _ = control.send(Control::Ended(Err(error))).await;
        }
    });
}

/// Starts the parts of a session.
fn run(ends: Ends, streams: Streams, remote_root: Vec<u8>) -> Result<Session, LinkError> {
    let Ends { replica, peer, peer_name, link, dials, is_first, pings, filter, events } = ends;
    let Streams { frames, out, control_in, control, counters, mut tasks } = streams;
    let snapshot = replica.archive.read()?;
    let first_meeting = snapshot.position(peer)?.is_none();
    let filter = filter.without(replica.own.as_ref());
    let scope = scope(&link, &replica.options);
    counters.limit.store(link.bwlimit.unwrap_or(0), Ordering::Relaxed);
    if snapshot.peer_name(peer)?.as_ref() != Some(&peer_name) {
        replica.archive.write(crate::archive::Durable::Later, |w| w.set_peer_name(peer, &peer_name))?;
    }
    let same_scope = snapshot.scope(peer)? == Some(scope);
    let policy = policy(&link, &replica.options, is_first, first_meeting);
    let shared = Arc::new(Shared {
        replica: replica.clone(),
        peer,
        policy,
        filter: filter.clone(),
        paths: link.paths.clone(),
        numeric_ids: link.attributes.numeric_ids,
        copy_local: link.copy_local,
        dials,
        started: AtomicBool::new(false),
        closed: AtomicBool::new(false),
        plan: AtomicBool::new(true),
        same_scope,
        open: RwLock::new(OpenSet::load(&snapshot, peer)?),
        live: AtomicBool::new(false),
        sent: Mutex::new(HashMap::new()),
        again: Again::default(),
        settling: AtomicBool::new(false),
        asked: Mutex::default(),
        bases: AtomicUsize::new(0),
        refused: Mutex::default(),
        offer_credit: Credit::new(OFFER_WINDOW),
        data_credit: Credit::new(DATA_WINDOW),
        offered_through: AtomicU64::new(0),
        settled: AtomicU64::new(u64::MAX),
        considered: AtomicU64::new(0),
        idle: Idle::default(),
        decided: Mutex::default(),
        resolutions: Mutex::default(),
        choices: Arc::default(),
        is_first,
        events,
        compression: Compression::new(link.compress, counters.clone()),
        out,
    });
    let decided = shared.decided()?.into_iter().map(|path| (path, false)).collect();
    *shared.decided.lock().expect("no thread panics with this locked") = decided;
    let applier = Applier {
        replica: replica.clone(),
        peer,
        policy,
        rules: rules(&link, is_first)?,
        choices: shared.choices.clone(),
        filter,
        paths: link.paths,
        numeric_ids: link.attributes.numeric_ids,
        copy_local: link.copy_local,
        scope,
    };
    let allowance = Allowance::default();
    let (signer, to_sign) = mpsc::unbounded_channel();
    let (given_offers, given_data) = (allowance.given_offers.clone(), allowance.given_data.clone());
    let sorter = Sorter::new(&link.order)?;
    let (commands, offerer_commands) = mpsc::unbounded_channel();
    let receiver = Receiver::new(shared.clone(), applier, sorter, signer, given_offers, given_data);
    let (to_receiver, receiver_tasks) = mpsc::unbounded_channel();
    let (to_pumps, small, large) = ToPumps::new();

    let (ended, receiving) = (control_in.clone(), shared.clone());
    tasks.spawn_blocking(move || {
        let failed = match receiver.run(receiver_tasks) {
            Ok(()) | Err(ReceiveError::Closed) => return,
            Err(ReceiveError::Archive(error)) => LinkError::Archive(error),
            Err(ReceiveError::Scan(error)) => LinkError::Scan(error),
            Err(ReceiveError::RolledBack) => {
                let error = rolled_back(&receiving.replica);
                let _ = receiving.send(&Message::Halt(error.to_string()));
                error
            }
        };
        let _ = ended.blocking_send(Control::Ended(Err(failed)));
    });
    let signing = shared.clone();
    tasks.spawn_blocking(move || {
        // As the pumps.
        let _ = sign(&signing, to_sign);
    });
    for wanted in [small, large] {
        let pumping = shared.clone();
        tasks.spawn_blocking(move || {
            // It ends when the session does; there is nothing to tell.
            let _ = pump(&pumping, wanted);
        });
    }
    tasks.spawn(offering(shared.clone(), offerer_commands, control_in.clone()));
    let retrying = tasks.spawn(retrying(shared.clone()));
    let alive = tasks.spawn(alive(shared.clone(), counters.clone(), control_in.clone(), pings));
    let deciding = tasks.spawn(deciding(shared.clone(), shared.replica.decided()));
    let parts = Parts { to_receiver, to_pumps, commands: commands.clone(), control: control_in };
    tasks.spawn(reading(shared.clone(), frames, parts, allowance));
    Ok(Session {
        shared,
        control,
        commands,
        counters,
        tasks,
        retrying,
        deciding,
        alive,
        settle: 0,
        remote_root,
    })
}

/// Where the reader hands messages to.
struct Parts {
    to_receiver: mpsc::UnboundedSender<Task>,
    to_pumps: ToPumps,
    commands: mpsc::UnboundedSender<Command>,
    control: mpsc::Sender<Control>,
}

/// Reads frames and hands them on, until the connection ends.
async fn reading(shared: Arc<Shared>, mut frames: Frames, parts: Parts, mut allowance: Allowance) {
    let counters = frames.counters();
    let ended = loop {
        match frames.next().await {
            Ok(Some(frame)) => {
                // Nothing follows a farewell. To wait for the end of the stream would be to wait for each other.
                let last =
                    matches!(frame, Frame::Message(Message::Bye | Message::Halt(_) | Message::Guarded(..)));
                match dispatch(&shared, frame, &parts, &mut allowance) {
                    Ok(None) => {}
                    // A driver that is gone has ended the session.
                    Ok(Some(control)) => {
                        counters.deaf.store(true, Ordering::Relaxed);
                        drop(parts.control.send(control).await);
                        counters.deaf.store(false, Ordering::Relaxed);
                    }
                    Err(error) => break Err(error),
                }
                if last {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    shared.close();
    let _ = parts.control.send(Control::Ended(ended)).await;
}

/// Hands a frame on. Returns what it tells the driver, if it is for that.
fn dispatch(
    shared: &Shared,
    frame: Frame,
    parts: &Parts,
    allowance: &mut Allowance,
) -> Result<Option<Control>, LinkError> {
    let to_receiver = |task| {
        shared.idle.receiving.fetch_add(1, Ordering::SeqCst);
        // A receiver that is gone has said why.
        let _ = parts.to_receiver.send(task);
    };
    let to_offerer = |command| {
        shared.idle.offering.store(true, Ordering::SeqCst);
        let _ = parts.commands.send(command);
    };
    let started = shared.started.load(Ordering::SeqCst);
    let message = match frame {
        Frame::Data(offer, bytes) => {
            allowance.data += bytes.len() as u64 + FRAME_COST;
            allowance.check()?;
            to_receiver(Task::Data(offer, bytes));
            return Ok(None);
        }
        Frame::Message(message) => message,
    };
    match message {
        // Only the end that dials says what is to be done, and perhaps a person is being asked about it: whatever came before
        // would be done before the answer.
        Message::Offers(_) | Message::Batch(_) | Message::Resolve(_) if !started => {
            return Err(LinkError::Protocol("it sends entries before it was said what to do"));
        }
        Message::Start(_) if shared.dials => {
            return Err(LinkError::Protocol("only the end that dials says what to do"));
        }
        Message::Offers(offers) => {
            allowance.offers += offers.iter().map(crate::wire::Offer::cost).sum::<u64>();
            allowance.check()?;
            to_receiver(Task::Offers(offers));
        }
        Message::Resolve(paths) => {
            let mut asked = shared.resolutions.lock().expect("no thread panics with this locked");
            let waiting = !asked.is_empty();
            asked.extend(paths.into_iter().filter(|path| !path.is_root()));
            let mut bytes: usize = asked.iter().map(|path| path.as_bytes().len()).sum();
            while asked.len() > MOST_RESOLVED || bytes > RESOLVED_BYTES {
                bytes -= asked.pop_last().map_or(bytes, |path| path.as_bytes().len());
            }
            if !waiting && !asked.is_empty() {
                to_receiver(Task::Resolve);
            }
        }
        Message::Chosen(_) if shared.dials => {
            return Err(LinkError::Protocol("it chooses for the end that dials"));
        }
        Message::Chosen(chosen) => {
            if shared.choose(chosen) {
                return Err(LinkError::Protocol("it chooses at more paths than anybody looks at"));
            }
        }
        Message::Batch(batch) => {
            if shared.is_plan() {
                let mut choices = shared.choices.write().expect("no thread panics with this locked");
                choices.peer_planned(batch.through);
            }
            allowance.offers += BATCH_COST;
            allowance.check()?;
            to_receiver(Task::Batch(batch.through));
        }
        Message::Copy { offer, from, length } => {
            allowance.data += FRAME_COST;
            allowance.check()?;
            to_receiver(Task::Copy { number: offer, from, length });
        }
        Message::Zeros { offer, length } => {
            allowance.data += FRAME_COST;
            allowance.check()?;
            to_receiver(Task::Zeros { number: offer, length });
        }
        Message::DataEnd { offer, complete } => {
            allowance.data += FRAME_COST;
            allowance.check()?;
            to_receiver(Task::DataEnd(offer, complete));
        }
        Message::Verdicts(verdicts) => {
            verdicts.into_iter().for_each(|(number, verdict)| shared.answered(number, verdict));
        }
        Message::Done(_) | Message::Ping => {}
        Message::OfferCredit(cost) => shared.offer_credit.give(cost),
        Message::DataCredit(bytes) => shared.data_credit.give(bytes),
        Message::Want(wants) => {
            for want in wants {
                parts.to_pumps.ask(shared, want).map_err(LinkError::Protocol)?;
            }
        }
        Message::Position { after, empty } => {
            // Once for each start. Each waits in the offerer's queue, which is not read while a batch waits for room.
            allowance.positions += 1;
            if allowance.positions > POSITIONS {
                return Err(LinkError::Protocol("it says over and over where it stands"));
            }
            to_offerer(Command::Begin { after, empty });
        }
        Message::Again(paths) => {
            shared.idle.offering.store(true, Ordering::SeqCst);
            shared.again.ask(paths);
        }
        Message::Start(start) => {
            // At once, and not by the driver: what follows in the stream is already meant so.
            shared.plan.store(start == Start::Plan, Ordering::SeqCst);
            shared.live.store(start == Start::Live, Ordering::SeqCst);
            shared.started.store(true, Ordering::SeqCst);
            // Until the first batch is out, this end is not at rest.
            shared.idle.offering.store(true, Ordering::SeqCst);
            return Ok(Some(Control::Start(start)));
        }
        Message::Problems(problems) => return Ok(Some(Control::Problems(problems))),
        Message::Settle(number) => {
            if shared.settling.swap(true, Ordering::SeqCst) {
                return Err(LinkError::Protocol("it asks to settle before it was answered"));
            }
            return Ok(Some(Control::Settle(number)));
        }
        Message::Settled(number) => return Ok(Some(Control::Settled(number))),
        Message::Halt(why) => return Ok(Some(Control::Halt(why))),
        Message::Guarded(why, deletions) => return Ok(Some(Control::Guarded(why, deletions))),
        Message::Capture(text) => return Ok(Some(Control::Capture(text))),
        Message::Bye => return Ok(Some(Control::Bye)),
        Message::Hello(_) | Message::Welcome(_) | Message::Refuse(_) | Message::Linked(_) => {
            return Err(LinkError::Protocol("it opens the session twice"));
        }
    }
    Ok(None)
}

/// Refuses a peer that has seen more of this archive than the archive knows: it is an old copy. Going on, it would give
/// the same numbers to other states, which the peer would take for what it has.
fn check_position(shared: &Shared, after: Option<Sequence>) -> Result<(), LinkError> {
    let head = shared.replica.archive.read()?.head()?;
    match after {
        Some(after) if after > head => Err(rolled_back(&shared.replica)),
        _ => Ok(()),
    }
}

fn rolled_back(replica: &Replica) -> LinkError {
    LinkError::RolledBack { root: replica.root.clone(), folder: replica.archive.folder().to_owned() }
}

/// What this end can do beyond the version of the protocol.
fn capabilities() -> Vec<Capability> {
    vec![Capability(PING.to_owned())]
}

/// Returns whether an end says now and then that it is there.
fn pings(capabilities: &[Capability]) -> bool {
    capabilities.iter().any(|capability| capability.0 == PING)
}

/// Says now and then that this end is there, and ends the session when nothing has come from the other for too long. Of a
/// host that vanished without a word, ssh tells the end that dialled, and nobody the one that answers.
async fn alive(shared: Arc<Shared>, counters: Arc<Counters>, control: mpsc::Sender<Control>, pings: bool) {
    let patience = patience(counters.limit.load(Ordering::Relaxed));
    let (mut heard, mut last) = (0, Instant::now());
    while !pings || last.elapsed() < patience {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        // Where others wait to be written, they are the sign.
        let ping = crate::wire::encode_message(&Message::Ping);
        if let Err(mpsc::error::TrySendError::Closed(_)) = shared.out.try_send(ping) {
            return;
        }
        let now = counters.heard.load(Ordering::Relaxed);
        // Whoever does not listen hears nothing.
        if now != heard || counters.deaf.load(Ordering::Relaxed) {
            (heard, last) = (now, Instant::now());
        }
    }
    let why = format!("nothing has come from the other host for {} s", last.elapsed().as_secs());
    shared.close();
    let _ = control.send(Control::Ended(Err(LinkError::Broken(std::io::Error::other(why))))).await;
}

/// Returns how long the other end may be silent that sends so many bytes a second at the most (0: any): behind a large frame
/// it has to wait until it may say something again.
fn patience(limit: u64) -> Duration {
    SILENCE + Duration::from_secs((MAX_FRAME as u64).checked_div(limit).unwrap_or(0))
}

/// Asks the peer, while both ends live, to offer again what failed here: a disk that was full may have room now, and a
/// file that somebody had open may be closed. A pass asks for all that is open at its start.
async fn retrying(shared: Arc<Shared>) {
    let mut wait = RETRY;
    let mut before = Vec::new();
    loop {
        tokio::time::sleep(wait).await;
        if !shared.live.load(Ordering::Relaxed) {
            continue;
        }
        let failed = shared.open.read().expect("no thread panics with this locked").failed();
        wait = if failed.is_empty() || failed != before { RETRY } else { (wait * 2).min(RETRY_AT_LEAST) };
        before.clone_from(&failed);
        for some in failed.chunks(1000) {
            if shared.send_async(&Message::Again(some.to_vec())).await.is_err() {
                return;
            }
        }
    }
}

/// Passes on what a person decides about conflicts while the session is under way. Ends with the session's queue.
async fn deciding(shared: Arc<Shared>, mut decided: watch::Receiver<u64>) {
    while decided.changed().await.is_ok() {
        let result = shared.reload_open().and_then(|()| shared.decided());
        match result {
            Ok(paths) if !paths.is_empty() && !shared.is_plan() => {
                if shared.send_async(&Message::Resolve(paths)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a decision about a conflict"),
        }
    }
}

/// Offers what is new, whenever there is something.
async fn offering(
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    control: mpsc::Sender<Control>,
) {
    let mut head = shared.replica.head();
    let mut offerer: Option<Offerer> = None;
    // Both have to be known: from where the peer wants it, and what there is.
    let mut position = None;
    let mut scanned = false;
    loop {
        let started = offerer.is_some();
        let lags = offerer.as_ref().is_some_and(Offerer::lags);
        let mut flush = false;
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Begin { after, empty }) => {
                    if let Err(error) = check_position(&shared, after) {
                        let _ = shared.send_async(&Message::Halt(error.to_string())).await;
                        let _ = control.send(Control::Ended(Err(error))).await;
                        return;
                    }
                    shared.settled.store(after.map_or(0, |after| after.0), Ordering::SeqCst);
                    position = Some((after, empty));
                }
                Some(Command::Scanned) => scanned = true,
                Some(Command::Execute) => {}
            },
            () = shared.again.asked.notified() => {}
            changed = head.changed(), if started => if changed.is_err() { return },
            () = tokio::time::sleep(LAZY_BATCH), if lags => flush = true,
        }
        if scanned && let Some((after, empty)) = position.take() {
            offerer = Some(Offerer::new(after, empty));
        }
        // What has come meanwhile goes along.
        if !commands.is_empty() {
            continue;
        }
        if let Some(mut working) = offerer.take() {
            head.mark_unchanged();
            let sharing = shared.clone();
            let ask = shared.again.take();
            let done = tokio::task::spawn_blocking(move || {
                let result = working.batch(&sharing, ask, flush);
                (working, result)
            });
            let failed = match done.await {
                Ok((working, Ok(()))) => {
                    offerer = Some(working);
                    None
                }
                Ok((_, Err(OfferError::Closed))) => return,
                Ok((_, Err(OfferError::Archive(error)))) => Some(LinkError::Archive(error)),
                Ok((_, Err(OfferError::Unanswered))) => {
                    Some(LinkError::Protocol("it takes offers and does not answer them"))
                }
                Err(error) => Some(LinkError::Died(error.to_string())),
            };
            if let Some(failed) = failed {
                let _ = control.send(Control::Ended(Err(failed))).await;
                return;
            }
        }
        let nothing_new = || commands.is_empty() && shared.again.is_empty();
        if nothing_new() && offerer.is_some() {
            shared.idle.offering.store(false, Ordering::SeqCst);
            // What came in between has set it, and will be dealt with.
            if !nothing_new() {
                shared.idle.offering.store(true, Ordering::SeqCst);
            }
        }
        shared.idle.stir();
    }
}

/// What a driver has to do next.
pub enum Next {
    /// The other end says what to do.
    Start(Start),
    /// The other end is done.
    Bye,
}

impl Session {
    /// Returns the bytes that went each way so far.
    pub fn totals(&self) -> Totals {
        Totals {
            sent: self.counters.sent.load(Ordering::Relaxed),
            received: self.counters.received.load(Ordering::Relaxed),
        }
    }

    /// Returns what tells how the session stands, as long as it lasts.
    pub fn gauge(&self) -> Gauge {
        Gauge::new(&self.shared, self.counters.clone())
    }

    /// Returns the replica at the other end.
    pub fn peer(&self) -> ReplicaId {
        self.shared.peer
    }

    /// Says what to do, from the end that dials.
    pub async fn start(&self, start: Start) -> Result<(), LinkError> {
        self.shared.plan.store(start == Start::Plan, Ordering::SeqCst);
        self.shared.live.store(start == Start::Live, Ordering::SeqCst);
        self.shared.started.store(true, Ordering::SeqCst);
        self.shared.idle.offering.store(true, Ordering::SeqCst);
        self.send(Message::Start(start)).await?;
        if start == Start::Execute {
            self.ask_for_resolutions().await?;
            self.execute();
        }
        Ok(())
    }

    /// Notes at both ends what a person has chosen about the plan, before it is carried out. At most [`super::CHOICES`].
    pub async fn choose(&self, chosen: Vec<wire::Chosen>) -> Result<(), LinkError> {
        if !chosen.is_empty() {
            self.send(Message::Chosen(chosen.clone())).await?;
            self.shared.choose(chosen);
        }
        Ok(())
    }

    /// Asks the peer to end the conflicts that a person has decided for its state.
    async fn ask_for_resolutions(&self) -> Result<(), LinkError> {
        match self.shared.decided()? {
            none if none.is_empty() => Ok(()),
            decided => self.send(Message::Resolve(decided)).await,
        }
    }

    fn execute(&self) {
        let _ = self.commands.send(Command::Execute);
    }

    async fn send(&self, message: Message) -> Result<(), LinkError> {
        self.shared.send_async(&message).await.map_err(|_| LinkError::Closed)
    }

    /// Tells the peer from where it has to offer, now that the local tree has been scanned.
    pub async fn scanned(&self) -> Result<(), LinkError> {
        let (after, empty) = {
            let snapshot = self.shared.replica.archive.read()?;
            // What was left out before may not be left out now.
            let position = snapshot.position(self.shared.peer)?.filter(|_| self.shared.same_scope);
            (position, snapshot.live()? == 0)
        };
        let wins = self.shared.policy.force == Some(Preference::Side(Side::Local));
        if empty
            && wins
            && self.shared.replica.options.confirm_big_delete
            && self.shared.replica.approved() == 0
        {
            let why = format!(
                "the root {} has nothing in it, and with force everything at the other end would be deleted: halted, nothing \
                 was done. Is a file system not mounted? If all of it shall go, say --confirm-deletes with their number",
                self.shared.replica.root.display()
            );
            self.halt(&why, None).await;
            return Err(LinkError::Halted(why));
        }
        if !self.shared.is_plan() {
            self.ask_for_resolutions().await?;
        }
        let _ = self.commands.send(Command::Scanned);
        let open = self.shared.open.read().expect("no thread panics with this locked").all();
        if !open.is_empty() {
            self.send(Message::Again(open)).await?;
        }
        self.send(Message::Position { after, empty }).await
    }

    /// Tells what a local scan could not deal with: the person at this end, or the peer.
    pub async fn report(&self, report: ScanReport, to_peer: bool) -> Result<(), LinkError> {
        if to_peer {
            let problems = report
                .problems
                .into_iter()
                .map(|p| (p.path, p.severity == Severity::Failed, p.why))
                .collect::<Vec<_>>();
            for some in problems.chunks(1000) {
                self.send(Message::Problems(some.to_vec())).await?;
            }
        } else {
            for problem in report.problems {
                self.shared.tell(Event::Problem { side: Side::Local, problem });
            }
        }
        Ok(())
    }

    /// Waits until both ends have nothing left to offer, to answer or to wait for.
    ///
    /// # Errors
    /// When the session ends first.
    pub async fn settle(&mut self) -> Result<(), LinkError> {
        for _ in 0..ROUNDS {
            self.until_idle().await?;
            let activity = self.shared.idle.activity.load(Ordering::SeqCst);
            self.settle += 1;
            self.send(Message::Settle(self.settle)).await?;
            loop {
                match self.next_control().await? {
                    Control::Settled(number) if number == self.settle => break,
                    other => self.aside(other).await?,
                }
            }
            self.until_idle().await?;
            if self.shared.idle.activity.load(Ordering::SeqCst) == activity {
                return Ok(());
            }
        }
        Err(LinkError::Restless)
    }

    async fn until_idle(&mut self) -> Result<(), LinkError> {
        loop {
            let shared = self.shared.clone();
            tokio::select! {
                () = shared.until_idle() => return Ok(()),
                control = self.next_control() => self.aside(control?).await?,
            }
        }
    }

    async fn next_control(&mut self) -> Result<Control, LinkError> {
        match self.control.recv().await {
            None => Err(LinkError::Closed),
            Some(Control::Ended(Ok(()))) => Err(LinkError::Closed),
            Some(Control::Ended(Err(error))) => Err(error),
            Some(control) => Ok(control),
        }
    }

    /// Deals with what comes beside what is waited for.
    async fn aside(&mut self, control: Control) -> Result<(), LinkError> {
        match control {
            Control::Problems(problems) => {
                for (path, failed, why) in problems {
                    let severity = if failed { Severity::Failed } else { Severity::Skipped };
                    let problem = crate::replica::Problem { path, severity, why };
                    self.shared.tell(Event::Problem { side: Side::Remote, problem });
                }
                Ok(())
            }
            Control::Settle(number) => {
                // Beside everything else: what it waits for needs this driver, too.
                let shared = self.shared.clone();
                self.tasks.spawn(async move {
                    shared.until_idle().await;
                    shared.settling.store(false, Ordering::SeqCst);
                    let _ = shared.send_async(&Message::Settled(number)).await;
                });
                Ok(())
            }
            Control::Halt(why) => Err(LinkError::Halted(why)),
            Control::Guarded(why, deletions) => Err(LinkError::Guarded { why, deletions }),
            Control::Capture(text) => {
                self.shared.tell(Event::Notice(text));
                Ok(())
            }
            Control::Settled(_) => Ok(()),
            Control::Start(_) | Control::Bye => Err(LinkError::Protocol("only the end that dials says that")),
            Control::Ended(Ok(())) => Err(LinkError::Closed),
            Control::Ended(Err(error)) => Err(error),
        }
    }

    /// Waits for what the end that dials wants next, from the end that answers.
    ///
    /// # Errors
    /// When the session ends otherwise than by a farewell.
    pub async fn next(&mut self) -> Result<Next, LinkError> {
        loop {
            match self.next_control().await? {
                Control::Start(start) => {
                    if start == Start::Execute {
                        self.ask_for_resolutions().await?;
                        self.execute();
                    }
                    return Ok(Next::Start(start));
                }
                Control::Bye => return Ok(Next::Bye),
                other => self.aside(other).await?,
            }
        }
    }

    /// Keeps the session going until it ends.
    ///
    /// # Errors
    /// Always: the reason why it ended.
    pub async fn follow(&mut self) -> Result<std::convert::Infallible, LinkError> {
        loop {
            let control = self.next_control().await?;
            self.aside(control).await?;
        }
    }

    /// Tells the peer that a local guard halts the link; `deletions`: a person can approve so many.
    pub async fn halt(&self, why: &str, deletions: Option<u64>) {
        let _ = match deletions {
            Some(deletions) => self.send(Message::Guarded(why.to_owned(), deletions)).await,
            None => self.send(Message::Halt(why.to_owned())).await,
        };
    }

    /// Tells the peer what its person should know of the local capture.
    pub async fn tell_capture(&self, text: String) {
        let _ = self.send(Message::Capture(text)).await;
    }

    /// Ends the session in the orderly way.
    pub async fn end(self, farewell: bool) {
        if farewell {
            let _ = self.send(Message::Bye).await;
        }
        self.shared.close();
        self.retrying.abort();
        self.deciding.abort();
        self.alive.abort();
        let Session { shared, mut tasks, commands, control, .. } = self;
        drop((shared, commands, control));
        // The reader waits for the peer, which closes its side when it has read the farewell.
        let limit = tokio::time::sleep(Duration::from_secs(5));
        tokio::pin!(limit);
        loop {
            tokio::select! {
                joined = tasks.join_next() => if joined.is_none() { return },
                () = &mut limit => return tasks.abort_all(),
            }
        }
    }
}
