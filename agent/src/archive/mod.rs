//! The [`Archive`] is what one replica knows: for each path the last known state and its version, durable and with one
//! owner. Nothing else remembers anything between two runs.
//!
//! It is one redb database. Its tables and their encoding are described in `docs/format/archive.md`.
//!
//! Invariant: a sequence number is never used twice, and whatever carries one leaves the process only after a durable
//! commit ([`Archive::write`] with [`Durable::Yes`]).

mod codec;
mod open;
mod snapshot;
mod writer;

pub use codec::{Disputed, Intent, Open, OpenReason, RenameIntent};
pub use open::{Archive, ArchiveError, Durable, Opened, RootIdentity};
pub use snapshot::Snapshot;
pub use writer::Writer;

use crate::core::entry::{Content, Digest, Record};
use crate::core::path::RelPath;
use crate::core::version::Sequence;
use redb::TableDefinition;

/// Path key → record.
const ENTRIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");
/// Sequence number → path key.
const SEQUENCES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("sequences");
/// Interned number → replica id.
const REPLICAS: TableDefinition<'static, u32, u64> = TableDefinition::new("replicas");
/// Name → value: see `docs/format/archive.md`.
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// Peer's replica id → the sequence number of the peer up to which everything is dealt with.
const POSITIONS: TableDefinition<'static, u64, u64> = TableDefinition::new("positions");
/// Peer's replica id → what the position was reached with: see [`Writer::set_position`].
const SCOPES: TableDefinition<'static, u64, u64> = TableDefinition::new("scopes");
/// (Peer's replica id, path key) → why the path is open beyond the position.
const OPEN: TableDefinition<'static, (u64, &[u8]), &[u8]> = TableDefinition::new("open");
/// (Peer's replica id, path key) → what the peer has there, for a path in conflict.
const DISPUTED: TableDefinition<'static, (u64, &[u8]), &[u8]> = TableDefinition::new("disputed");
/// Peer's replica id → its root as a person would name it.
const PEERS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("peers");
/// Path key → what is about to be put there.
const INTENTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("intents");

/// Path key of a directory's new name → the rename that is about to give it to it.
const RENAMES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("renames");
/// Inode number → path key of the directory that has it. Only a hint: a number may be there on several file systems.
const DIRECTORIES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("directories");

/// (Start of a digest, sequence number of the record that has it) → nothing: where the files are that have it. Only of
/// files above [`INDEXED`].
const CONTENTS: TableDefinition<'static, (u64, u64), ()> = TableDefinition::new("contents");

/// Files above this size can be found by their content, in bytes. Smaller ones come along with their offers, and to
/// keep an index of all of them would cost every first scan as much writing as it saves rename.
const INDEXED: u64 = 64 << 10;

/// Returns the key under which a record's content is found; `None` if it is not.
fn content_key(content: &Content, sequence: Sequence) -> Option<(u64, u64)> {
    match content {
        Content::File { size, digest } if *size > INDEXED => Some((start_of(digest), sequence.0)),
        Content::File { .. } | Content::Deleted | Content::Dir | Content::Symlink { .. } => None,
    }
}

/// Returns the inode number under which a record's directory is found; `None` if it is none.
fn directory_key(record: &Record) -> Option<u64> {
    let shown = record.shown.as_ref().filter(|_| record.entry.content.is_dir())?;
    shown.stamp.map(|stamp| stamp.ino)
}

fn start_of(digest: &Digest) -> u64 {
    u64::from_be_bytes(*digest.0.first_chunk().expect("a digest is longer"))
}

/// Returns the key of a path: its bytes with `/` as NUL, so that byte order is the order of a sorted walk.
fn key(path: &RelPath) -> Vec<u8> {
    path.as_bytes().iter().map(|&b| if b == b'/' { 0 } else { b }).collect()
}

/// Returns the path of a key; `None` if the database holds what is no path.
fn path(key: &[u8]) -> Option<RelPath> {
    let bytes: Vec<u8> = key.iter().map(|&b| if b == 0 { b'/' } else { b }).collect();
    RelPath::try_from(bytes).ok()
}

/// Returns the range of keys strictly below a directory: from (inclusive), to (exclusive; `None` is the end).
fn below(dir: &RelPath) -> (Vec<u8>, Option<Vec<u8>>) {
    if dir.is_root() {
        // The root's own key is empty; every other key is greater.
        return (vec![1], None);
    }
    let mut from = key(dir);
    let mut to = from.clone();
    from.push(0);
    to.push(1);
    (from, Some(to))
}

#[cfg(test)]
mod tests;
