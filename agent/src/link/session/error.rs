//! Why a session ended: [`LinkError`].

use crate::archive::ArchiveError;
use crate::core::filter::FilterError;
use crate::core::version::ReplicaId;
use crate::replica::scan::ScanError;
use crate::wire::WireError;

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
    /// The peer has a link with this replica in its own configuration, with other options.
    #[error("{why}")]
    Otherwise {
        /// Who that is.
        peer: ReplicaId,
        /// In which options.
        why: String,
    },
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
    pub(in crate::link) fn broken(error: std::io::Error) -> LinkError {
        LinkError::Broken(error)
    }
}
