//! Sessions with a far end that keeps to no protocol: what it must not be able to do.

use super::*;
use crate::core::entry::{Attributes, Content, Timestamp};
use crate::core::filter::Filter as Patterns;
use crate::core::renamed::Renamed;
use crate::environment::Environment;
use crate::link::session::Session;
use crate::options::{LinkOptions, Options, Origin, ReplicaOptions, RootsWanted, Setting};
use crate::transport::local;
use crate::wire::{Batch, Frame, Offer, Owners, Start, Welcome, decode, encode_message};
use futures_util::{SinkExt, StreamExt};
use std::path::PathBuf;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

const THEM: ReplicaId = ReplicaId(7);

/// A replica with one file, `mine`, that has dialled a far end which the test plays.
struct World {
    session: Session,
    replica: Arc<Replica>,
    from: FramedRead<crate::transport::Reader, LengthDelimitedCodec>,
    to: FramedWrite<crate::transport::Writer, LengthDelimitedCodec>,
    tree: PathBuf,
    _home: tempfile::TempDir,
}

/// What holds where no option is given.
fn link() -> LinkOptions {
    let root = |root: &str| Setting::new("root", root.as_bytes(), Origin::CommandLine).unwrap();
    let environment = Environment { state_dir: Some("/state".into()), ..Environment::default() };
    let settings = [root("/here"), root("ssh://host//there")];
    Options::from_settings(&settings, RootsWanted::Star, &environment).unwrap().link(1)
}

async fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("mine"), "mine").unwrap();
    let state = home.path().join("state");
    let replica = Replica::open(&tree, &state, ReplicaOptions::default(), Patterns::default()).unwrap();
    let replica = Arc::new(replica);
    replica.scan_all().unwrap();
    let (here, there) = local::pair("here", "there");
    let codec = || LengthDelimitedCodec::builder().max_frame_length(crate::wire::MAX_FRAME).new_codec();
    let mut from = FramedRead::new(there.reader, codec());
    let mut to = FramedWrite::new(there.writer, codec());
    let setup = Setup {
        replica: replica.clone(),
        link: link(),
        options: ReplicaOptions::default(),
        local_is_first: true,
        lasts: false,
        remote_root: b"/there".to_vec(),
        peer_name: "there".to_owned(),
        events: mpsc::unbounded_channel().0,
    };
    let opening = tokio::spawn(initiate(here, setup));
    let hello = decode(from.next().await.unwrap().unwrap().freeze()).unwrap();
    assert!(matches!(hello, Frame::Message(Message::Hello(_))));
    let welcome = Welcome {
        replica: THEM,
        nonce: 1,
        root: b"/there".to_vec(),
        notices: Vec::new(),
        capabilities: Vec::new(),
    };
    to.send(encode_message(&Message::Welcome(Box::new(welcome)))).await.unwrap();
    let session = opening.await.unwrap().unwrap();
    World { session, replica, from, to, tree, _home: home }
}

impl World {
    async fn says(&mut self, message: Message) {
        // It may have been cut off already.
        let _ = self.to.send(encode_message(&message)).await;
    }

    /// Waits for a message that is looked for, and returns what it holds.
    async fn hears<T>(&mut self, mut is_it: impl FnMut(Message) -> Option<T>) -> T {
        let limit = std::time::Duration::from_secs(60);
        let hear = async {
            loop {
                let frame = decode(self.from.next().await.unwrap().unwrap().freeze()).unwrap();
                if let Frame::Message(message) = frame
                    && let Some(found) = is_it(message)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(limit, hear).await.expect("it is said")
    }

    /// Returns what the archive has as waited for, and whether with all below it.
    fn awaited(&self) -> Vec<(RelPath, bool)> {
        let snapshot = self.replica.archive.read().unwrap();
        let open = snapshot.open(THEM).unwrap();
        open.map(|row| row.unwrap()).map(|(path, open)| (path, open.recursive)).collect()
    }

    /// Waits until the session ends, and returns why.
    async fn ends(mut self) -> (LinkError, PathBuf, tempfile::TempDir) {
        let limit = std::time::Duration::from_secs(30);
        let why = tokio::time::timeout(limit, self.session.follow()).await.expect("it ends").unwrap_err();
        drop((self.from, self.to));
        self.session.end(false).await;
        (why, self.tree, self._home)
    }
}

/// Offers that delete what the dialling end has, newer than it.
fn deletion(replica: &Replica) -> Message {
    let record = replica.archive.read().unwrap().get(&RelPath::new(b"mine").unwrap()).unwrap().unwrap();
    let entry = record.entry.deleted(THEM, Sequence(1));
    let path = RelPath::new(b"mine").unwrap();
    let offer = Offer { path, entry, owners: Owners::default(), content: None, like: None, again: false };
    Message::Offers(vec![offer])
}

/// A person looks at a plan, or has asked for a dry run: the far end must not be able to have it carried out.
#[tokio::test(flavor = "multi_thread")]
async fn a_far_end_cannot_do_anything_before_it_is_told_to_or_tell_this_end_what_to_do() {
    for starts in [false, true] {
        let mut world = world().await;
        if starts {
            world.session.start(Start::Plan).await.unwrap();
            world.says(Message::Start(Start::Pass)).await;
        }
        let deletion = deletion(&world.replica);
        world.says(deletion).await;
        world.says(Message::Batch(Batch { through: Sequence(1) })).await;
        let (why, tree, _home) = world.ends().await;
        assert!(matches!(why, LinkError::Protocol(_)), "{why}");
        assert!(tree.join("mine").exists());
    }
}

/// A file of half the numbers there are, all zeros: hashing it would take a core for years, also after the session.
#[tokio::test(flavor = "multi_thread")]
async fn zeros_without_end_end_with_the_session() {
    let mut world = world().await;
    world.session.start(Start::Pass).await.unwrap();
    let content = Content::File { size: 1 << 62, digest: crate::core::entry::Digest([1; 32]) };
    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
    let entry = Entry::new(content, attributes, Timestamp::default(), THEM, Sequence(1));
    let path = RelPath::new(b"endless").unwrap();
    let offer = Offer { path, entry, owners: Owners::default(), content: None, like: None, again: false };
    world.says(Message::Offers(vec![offer])).await;
    world.says(Message::Batch(Batch { through: Sequence(1) })).await;
    loop {
        let frame = decode(world.from.next().await.unwrap().unwrap().freeze()).unwrap();
        if matches!(frame, Frame::Message(Message::Want(_))) {
            break;
        }
    }
    world.says(Message::Zeros { offer: OfferNumber(0), length: (1 << 62) - 1 }).await;
    world.says(Message::Bye).await;
    let replica = Arc::downgrade(&world.replica);
    let World { session, replica: own, from, to, _home, .. } = world;
    drop((from, to, own));
    session.end(false).await;
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while replica.strong_count() > 0 {
        assert!(std::time::Instant::now() < limit, "somebody still works for the session");
        tokio::task::yield_now().await;
    }
}

/// Each is kept until the offerer looks, and that waits while the far end gives it no room.
#[tokio::test(flavor = "multi_thread")]
async fn a_far_end_that_says_where_it_stands_without_end_is_cut_off() {
    let mut world = world().await;
    world.session.start(Start::Pass).await.unwrap();
    for _ in 0..200 {
        world.says(Message::Position { after: None, empty: false }).await;
    }
    let (why, _tree, _home) = world.ends().await;
    assert!(matches!(why, LinkError::Protocol(_)), "{why}");
}

/// A subtree that is waited for comes in many chunks, its directory first. If the link breaks after the first of them, the
/// note that it is waited for is all that brings the rest: the position is above it already.
#[tokio::test(flavor = "multi_thread")]
async fn a_subtree_is_waited_for_until_all_of_it_has_come() {
    let path = |path: String| RelPath::new(path.as_bytes()).unwrap();
    let mut world = world().await;
    world.session.start(Start::Pass).await.unwrap();
    let (from, to) = (path("a".to_owned()), path("b".to_owned()));
    let (first, gone) = (Sequence(10_000), Sequence(20_000));
    let renamed =
        Renamed { from: from.clone(), to: to.clone(), by: THEM, first, gone, count: 5001, digest: [0; 32] };
    world.says(Message::Renamed(Box::new(renamed))).await;
    world.says(Message::Batch(Batch { through: Sequence(30_000) })).await;
    let asked = world.hears(|message| match message {
        Message::Again(paths) => Some(paths),
        _ => None,
    });
    assert_eq!(asked.await, [(to.clone(), true), (from.clone(), true)]);
    world.hears(|message| matches!(message, Message::Done(_)).then_some(())).await;
    assert_eq!(world.awaited(), [(from.clone(), true), (to.clone(), true)]);
    let dir = |at: RelPath, n: u64| {
        let attributes = Attributes { mode: 0o755, uid: 0, gid: 0 };
        let entry = Entry::new(Content::Dir, attributes, Timestamp::default(), THEM, Sequence(10_000 + n));
        Offer { path: at, entry, owners: Owners::default(), content: None, like: None, again: true }
    };
    let mut offers: Vec<Offer> = vec![dir(to.clone(), 0)];
    offers.extend((1..=5000).map(|n| dir(path(format!("b/{n:04}")), n)));
    for some in offers.chunks(1000) {
        world.says(Message::Offers(some.to_vec())).await;
    }
    let mut answered = 0;
    while answered < 4096 {
        let verdicts = world.hears(|message| match message {
            Message::Verdicts(verdicts) => Some(verdicts.len()),
            _ => None,
        });
        answered += verdicts.await;
    }
    assert!(world.tree.join("b/0001").is_dir(), "its directory has come");
    assert_eq!(world.awaited(), [(from.clone(), true), (to, true)], "and the rest of it has not");
    world.says(Message::Batch(Batch { through: Sequence(30_000) })).await;
    world.hears(|message| matches!(message, Message::Done(_)).then_some(())).await;
    assert!(world.tree.join("b/5000").is_dir());
    assert_eq!(world.awaited(), [(from, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_notes_nothing_in_a_plan() {
    let mut world = world().await;
    world.session.start(Start::Plan).await.unwrap();
    let (from, to) = (RelPath::new(b"a").unwrap(), RelPath::new(b"b").unwrap());
    let (first, gone) = (Sequence(10), Sequence(20));
    let renamed = Renamed { from, to, by: THEM, first, gone, count: 5, digest: [0; 32] };
    world.says(Message::Renamed(Box::new(renamed))).await;
    let verdicts = world.hears(|message| match message {
        Message::Verdicts(verdicts) => Some(verdicts),
        _ => None,
    });
    assert_eq!(verdicts.await, [(OfferNumber(0), Verdict::Waits)]);
    assert_eq!(world.awaited(), []);
}
