//! The messages. Both ends send the same ones, but for the opening: the end that dials says [`Hello`], and starts.

use crate::core::entry::{Content, Entry, Kind};
use crate::core::path::RelPath;
use crate::core::renamed::Renamed;
use crate::core::version::{ReplicaId, Sequence};
use crate::options::{LinkOptions, ReplicaOptions};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Something that an end can do beyond the first version of the protocol. Unknown ones are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability(pub String);

/// Where a root is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The kernel's boot id: equal only on one host.
    pub host: Vec<u8>,
    /// The root, made canonical, to show it.
    pub root: Vec<u8>,
    /// Device and inode of the root and of each directory above it, the root first. Paths would say less: two
    /// processes of one host can have two views of its file systems.
    pub inodes: Vec<(u64, u64)>,
}

/// Opens a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Who dials.
    pub replica: ReplicaId,
    /// A random number of the process: tells oneself from one's clone.
    pub nonce: u64,
    /// The host and root of the end that dials: what tells whether both ends are one directory.
    pub from: Whereabouts,
    /// The root at the far end, as the user wrote it: absolute, or relative to the login's home.
    pub root: Vec<u8>,
    /// Whether the end that dials has the first of the two roots.
    pub dials_from_first: bool,
    /// What to synchronise, and who wins.
    pub link: LinkOptions,
    /// How the far end keeps its replica.
    pub options: ReplicaOptions,
    /// What else this end can do.
    pub capabilities: Vec<Capability>,
}

/// Accepts a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// Who answers.
    pub replica: ReplicaId,
    /// As in [`Hello`].
    pub nonce: u64,
    /// The root, made canonical, to show it.
    pub root: Vec<u8>,
    /// What a person should know: an archive that was set aside, say.
    pub notices: Vec<String>,
    /// What else this end can do.
    pub capabilities: Vec<Capability>,
}

/// What the end that dials wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Scan, exchange offers, decide, change nothing.
    Plan,
    /// Carry out what the plan showed: the same offers, without a new scan.
    Execute,
    /// Scan and carry out.
    Pass,
    /// As `Pass`, and then follow what changes until the session ends.
    Live,
}

/// Numbers an offer within a session and a direction, from 0 upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OfferNumber(pub u64);

/// Names of the owner and the group, where the sender has them, and of those whom the access lists name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Owners {
    /// Of the user.
    pub user: Option<String>,
    /// Of the group.
    pub group: Option<String>,
    /// Of users on an access list, with their ids.
    pub listed_users: Vec<(u32, String)>,
    /// Of groups on an access list, likewise.
    pub listed_groups: Vec<(u32, String)>,
}

impl Owners {
    /// Returns what the names of access lists take in memory, in bytes.
    fn listed_size(&self) -> usize {
        let size = |(_, name): &(u32, String)| size_of::<(u32, String)>() + name.len();
        self.listed_users.iter().chain(&self.listed_groups).map(size).sum()
    }
}

/// One entry on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// Where.
    pub path: RelPath,
    /// What the sender has there.
    pub entry: Entry,
    /// Whose it is there.
    pub owners: Owners,
    /// The whole content of a small file, if the peer may lack it.
    pub content: Option<Bytes>,
    /// Where the receiver is likely to have a file with the same bytes. Only a hint.
    pub like: Option<RelPath>,
    /// The receiver asked for it again: it has dealt with it once, and left it open.
    pub again: bool,
}

impl Offer {
    /// Returns what the offer counts against the window, in bytes: about what it takes in memory.
    pub fn cost(&self) -> u64 {
        let content = self.content.as_ref().map_or(0, |c| c.len());
        let like = self.like.as_ref().map_or(0, |path| path.as_bytes().len());
        let target = match &self.entry.content {
            Content::Symlink { target } => target.len(),
            Content::Deleted | Content::Dir | Content::File { .. } => 0,
        };
        let names =
            [&self.owners.user, &self.owners.group].into_iter().flatten().map(String::len).sum::<usize>();
        let paths = self.path.as_bytes().len() + like;
        let variable = self.entry.variable_size() + self.owners.listed_size();
        (paths + target + names + content + variable + 512) as u64
    }
}

/// Closes a batch of offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Everything up to this number of the sender has now been offered.
    pub through: Sequence,
}

/// What an offer did to the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// Something stands where nothing stood.
    Create,
    /// Other content.
    Update,
    /// Nothing stands where something stood.
    Delete,
    /// Other attributes or another mtime.
    Props,
    /// It stands under another name.
    Rename,
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The state was here already, or a newer one is.
    Have,
    /// It is here now (in a plan: would be).
    Took(Action),
    /// As `Took`, but something of it could not be done: what.
    TookPartly(Action, String),
    /// Both changed. What stands at the receiver, and the path that is in conflict as a whole.
    Conflict {
        /// The receiver's state, for a person.
        here: String,
        /// The sender's state, for a person: what of it differs.
        there: String,
        /// The topmost path in conflict.
        at: RelPath,
    },
    /// The receiver's state won by policy.
    /// What stands here: the sender takes it, or has nothing afterwards.
    Won(Option<Kind>),
    /// It waits for something else that is on its way: its directory, or a resolution.
    Waits,
    /// An option forbids it: which.
    Forbidden(String),
    /// It did not work: why.
    Failed(String),
}

/// Asks for the content of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// Which.
    pub offer: OfferNumber,
    /// What the receiver has that may have much in common with it: to be answered with a recipe over that.
    pub basis: Option<Basis>,
}

/// A file, cut into chunks where its content says (FastCDC of 2020, normalisation level 1: at least a quarter and at most
/// four times the average).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// How long a chunk is on average, in bytes: a power of two.
    pub average: u32,
    /// The chunks, from the start of the file.
    pub chunks: Vec<Chunk>,
}

/// One chunk of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// How many bytes.
    pub length: u32,
    /// The first 16 bytes of their BLAKE3 hash.
    pub hash: [u8; 16],
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// The first message of the end that dials.
    Hello(Box<Hello>),
    /// The first message of the end that answers.
    Welcome(Box<Welcome>),
    /// The session cannot be: why. The last message.
    Refuse(String),
    /// What to do now.
    Start(Start),
    /// Up to which of your numbers I have dealt with everything; `None`: we never met. `empty`: I have nothing at
    /// all, so send content along.
    Position {
        /// The number.
        after: Option<Sequence>,
        /// Nothing stands here.
        empty: bool,
    },
    /// Offer these again; true: with all that lies below.
    Again(Vec<(RelPath, bool)>),
    /// Entries, numbered on from the last.
    Offers(Vec<Offer>),
    /// A batch of offers is complete.
    Batch(Batch),
    /// Answers.
    Verdicts(Vec<(OfferNumber, Verdict)>),
    /// Everything up to this number of yours is dealt with, durably.
    Done(Sequence),
    /// Send content.
    Want(Vec<Want>),
    /// The next bytes of the content of an offer are these of the basis.
    Copy {
        /// Of which offer.
        offer: OfferNumber,
        /// Where they begin.
        from: u64,
        /// How many they are.
        length: u64,
    },
    /// The next bytes of the content of an offer are zeros.
    Zeros {
        /// Of which offer.
        offer: OfferNumber,
        /// How many.
        length: u64,
    },
    /// The content of an offer is complete (`true`), or could not be read as it was offered (`false`).
    DataEnd {
        /// Which.
        offer: OfferNumber,
        /// Whether all of it was sent.
        complete: bool,
    },
    /// So many more bytes of content may be sent.
    DataCredit(u64),
    /// So many more bytes of offers may be sent ([`Offer::cost`]).
    OfferCredit(u64),
    /// What the scan could not deal with: path, whether it failed (else it is left out), why.
    Problems(Vec<(RelPath, bool, String)>),
    /// Tell me when you have nothing left to offer and nothing waits. Numbered.
    Settle(u64),
    /// So it is, for the question with this number.
    Settled(u64),
    /// I halt: why. The last message.
    Halt(String),
    /// The end that dials is done. The last message.
    Bye,
    /// Still here.
    Ping,
    /// What the far end says of its capture, for a person.
    Capture(String),
    /// The session is not needed: there is one between the two replicas already, which this end has dialled. The last
    /// message.
    Linked(ReplicaId),
    /// As [`Message::Halt`], for a guard that a person can overrule: why, and how many deletions that would approve.
    Guarded(String, u64),
    /// A person has decided that of these conflicts your state is to be kept: write the resolution, if it is still the
    /// conflict that you know.
    Resolve(Vec<RelPath>),
    /// What a person has chosen after the plan, for the execution of it.
    Chosen(Vec<Chosen>),
    /// A directory has another name here, with all that was in it: in place of an offer for each path. Numbered as one.
    Renamed(Box<Renamed>),
    /// The session cannot be: this replica is configured otherwise for its link with the one that asks. Both ways of it. The
    /// last message; only to an end that names it among its capabilities.
    Otherwise(ReplicaId, String),
}

/// What a person has chosen at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Where.
    pub path: RelPath,
    /// What.
    pub choice: Choice,
    /// Also for everything below the path.
    pub below: bool,
}

/// What a person wants at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Choice {
    /// Nothing.
    Skip,
    /// This root wins the conflict.
    Settle(Winner),
    /// This root's state is to be on both, whatever was proposed.
    Impose(Winner),
}

/// A root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Winner {
    /// The first.
    First,
    /// The second.
    Second,
}

impl Message {
    /// Returns the two halves of a list that says the same when it comes in parts; `None`: it is no such list, or cannot
    /// be halved.
    pub(super) fn halves(&self) -> Option<[Message; 2]> {
        fn cut<T: Clone>(list: &[T], message: fn(Vec<T>) -> Message) -> Option<[Message; 2]> {
            let (first, second) = list.split_at(list.len() / 2);
            (!first.is_empty()).then(|| [message(first.to_vec()), message(second.to_vec())])
        }
        match self {
            Message::Again(paths) => cut(paths, Message::Again),
            Message::Verdicts(verdicts) => cut(verdicts, Message::Verdicts),
            Message::Want(wants) => cut(wants, Message::Want),
            Message::Problems(problems) => cut(problems, Message::Problems),
            Message::Resolve(paths) => cut(paths, Message::Resolve),
            Message::Chosen(chosen) => cut(chosen, Message::Chosen),
            // Offers are cut to size where they are made, the others are short.
            _ => None,
        }
    }
}
