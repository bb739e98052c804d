//! The parts that a session starts: reader, writer, offerer, receiver, pumps, and what looks after them.

use super::life::{alive, deciding, retrying};
use super::offering::offering;
use super::reading::{Parts, reading, rolled_back};
use super::terms::{policy, rules, scope};
use super::{Control, LinkError, Session};
use crate::core::filter::Filter;
use crate::core::version::ReplicaId;
use crate::link::compress::Compression;
use crate::link::content::{ToPumps, pump};
use crate::link::credit::{Credit, DATA_WINDOW, OFFER_WINDOW};
use crate::link::open_set::OpenSet;
use crate::link::order::Sorter;
use crate::link::receive::{ReceiveError, Receiver, sign};
use crate::link::streams::{Allowance, Counters, Frames};
use crate::link::{Again, Event, Idle, Shared};
use crate::options::LinkOptions;
use crate::replica::Replica;
use crate::replica::apply::{Applier, Subtrees};
use crate::wire::Message;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What both ends of a session are made of.
pub(super) struct Ends {
    pub replica: Arc<Replica>,
    pub peer: ReplicaId,
    pub peer_name: String,
    pub link: LinkOptions,
    pub dials: bool,
    pub is_first: bool,
    /// Whether the peer says now and then that it is there.
    pub pings: bool,
    /// Whether the peer takes renames as a whole.
    pub renames: bool,
    pub filter: Filter,
    pub events: mpsc::UnboundedSender<Event>,
}

pub(super) struct Streams {
    pub frames: Frames,
    pub out: mpsc::Sender<bytes::Bytes>,
    pub control_in: mpsc::Sender<Control>,
    pub control: mpsc::Receiver<Control>,
    pub counters: Arc<Counters>,
    pub tasks: JoinSet<()>,
}

/// Starts the parts of a session.
pub(super) fn run(ends: Ends, streams: Streams, remote_root: Vec<u8>) -> Result<Session, LinkError> {
    let Ends { replica, peer, peer_name, link, dials, is_first, pings, renames, filter, events } = ends;
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
        renames,
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
        subtrees: Subtrees::default(),
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
