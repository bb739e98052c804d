//! The opening of a session: who is there, and whether there can be one. Only here the two ends differ.

use super::life::{capabilities, capabilities_of, pings, renames, takes_otherwise};
use super::parts::{Ends, Streams, run};
use super::terms::scan_filter;
use super::{Control, LinkError, Session, Setup};
use crate::core::version::ReplicaId;
use crate::link::Event;
use crate::link::streams::{Counters, Frames, OUT_QUEUE, write};
use crate::replica::Replica;
use crate::transport::{Connection, Writer};
use crate::wire::{Frame, Hello, Message, Welcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// So many messages for the driver wait at most: while it scans, or asks a person, the peer has to wait with more.
const CONTROL_QUEUE: usize = 16;

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
        capabilities: capabilities_of(setup.lasts),
    };
    let hello = crate::wire::encode_message(&Message::Hello(Box::new(hello)));
    out.send(hello).await.map_err(|_| LinkError::Closed)?;
    let welcome = match frames.next().await? {
        Some(Frame::Message(Message::Welcome(welcome))) => *welcome,
        Some(Frame::Message(Message::Refuse(why))) => return Err(LinkError::Refused(why)),
        Some(Frame::Message(Message::Linked(replica))) => return Err(LinkError::Linked(replica)),
        Some(Frame::Message(Message::Otherwise(peer, why))) => {
            return Err(LinkError::Otherwise { peer, why });
        }
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
        renames: renames(&welcome.capabilities),
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

    /// Says that this replica is configured otherwise for its link with the one that asks, and ends this session.
    pub async fn otherwise(self, replica: ReplicaId, why: String) {
        let last = match takes_otherwise(&self.hello.capabilities) {
            true => Message::Otherwise(replica, why),
            false => Message::Refuse(why),
        };
        self.close(last).await;
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
            renames: renames(&hello.capabilities),
            filter,
            events,
        };
        let streams = Streams { frames, out, control_in, control, counters, tasks };
        run(ends, streams, hello.root)
    }
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
