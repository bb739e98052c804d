//! The file system as vfsync uses it: everything relative to an open directory ([`Dir`]), so that no symlink that is
//! swapped in meanwhile leads out of a replica. The only module that opens, lists, renames, links and syncs.
//!
//! This half looks and syncs; [`crate::replica::commit`] builds on it what changes a tree.

pub(crate) mod attributes;
mod beneath;
mod capabilities;
pub(crate) mod change;
mod dir;
pub(crate) mod extended;
mod handle;
mod hash;
mod lease;
mod list;
mod meta;
mod reserved;

pub(crate) use capabilities::PROBE_CLASS;
pub use capabilities::{Capabilities, FileSystem, Leases};
pub use dir::Dir;
pub use handle::open_handle;
pub use hash::{Hashed, hash_file, hash_start, read_file, read_from, read_start};
pub use lease::{LeaseRefused, ReadLease, WriterCheck, has_writer};
pub use list::{Listed, Listing};
pub use meta::{FileKind, Meta, now};
pub use reserved::{RESERVED_PREFIX, is_reserved, temporary_name};

#[cfg(test)]
pub(crate) mod tests;
