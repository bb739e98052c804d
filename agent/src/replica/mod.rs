//! A [`Replica`] is one directory tree of this host together with its archive. It turns what the disk shows into
//! records ([`scan`]), and what peers offer into changes of the tree ([`apply`]).
//!
//! Scans and commits of several links run at once. What keeps them apart is not a lock over the tree but the
//! archive: a finding of a scan counts only if the record that it was compared with is still the one in the archive,
//! and not while a commit holds the path ([`Busy`]).

pub mod apply;
mod busy;
pub mod commit;
pub mod conflicts;
mod cuts;
mod findings;
pub mod follow;
mod gone;
mod open;
pub mod owners;
mod ownership;
pub mod partial;
mod recover;
mod renames;
mod restless;
pub mod scan;
mod tally;
mod times;
mod versions;

pub use busy::{Busy, Held};
pub use findings::{Problem, Severity};
pub use open::{OpenError, Replica, boot_id, identity, inodes_up, is_wanted, known_roots, want};
pub(crate) use renames::Recorded;
pub use tally::{Count, Tally};
pub use times::{Stage, Times};
