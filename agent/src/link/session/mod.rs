//! A session: its opening, the order of its parts, and its end. The end that dials drives: it says what to do, and asks
//! whether the other end has come to rest.

mod driver;
mod error;
mod life;
mod offering;
mod opening;
mod parts;
mod reading;
mod terms;

pub use driver::{Next, Session};
pub use error::LinkError;
#[cfg(test)]
pub(crate) use life::capabilities_of;
pub use life::is_lasting;
pub use opening::{Accepted, accept, initiate, nonce};
pub use terms::scan_filter;

use super::Event;
use crate::core::path::RelPath;
use crate::options::{LinkOptions, ReplicaOptions};
use crate::replica::Replica;
use crate::wire::Start;
use std::sync::Arc;
use tokio::sync::mpsc;

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
    /// Whether the link is to last, and not for one pass.
    pub lasts: bool,
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
