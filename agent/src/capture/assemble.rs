//! From records to events: pairs up the two halves of a rename, finds the roots that a path lies in, and turns what
//! cannot be told exactly into something wider. Pure.

use super::{
    decode::{Place, Record},
    event::{Event, EventKind, Loss},
    roots::{Home, Watched},
};
use crate::{
    core::path::{Name, RelPath},
    fs::is_reserved as is_reserved_name,
};
use std::collections::{BTreeMap, HashMap};
use vfsync_common::record::{Op, flag};

/// How many halves of renames are kept.
const HALVES: usize = 4096;

const S_IFMT: u16 = 0o170000;
const S_IFDIR: u16 = 0o040000;

/// An inode, as records identify it.
type Key = (u64, u32, u32, u64);

/// Turns records into events, and remembers the first halves of renames.
#[derive(Default)]
pub struct Assembler {
    watched: BTreeMap<u32, Watched>,
    moving: HashMap<Key, Place>,
}

impl Assembler {
    /// Takes the watched directories by slot.
    pub fn set_watched(&mut self, watched: BTreeMap<u32, Watched>) {
        self.watched = watched;
    }

    /// Adds the events of one record. Barriers are not for here.
    pub fn add(&mut self, record: Record, events: &mut Vec<Event>) {
        let key = (record.cookie, record.dev, record.generation, record.ino);
        match record.op {
            Op::Barrier => {}
            Op::Moving => {
                if self.moving.len() >= HALVES {
                    // Directories that were renamed in leave a half each, which nobody fetches.
                    self.moving.clear();
                }
                self.moving.insert(key, record.place);
            }
            Op::Moved => {
                let from = self.moving.remove(&key).unwrap_or(Place::Outside);
                let to = record.place.clone();
                self.rename(&record, from, to, EventKind::Rename, events);
            }
            Op::Rename if record.flags & flag::NAME != 0 => {
                // One of the names of a rename, in one of its directories: anything may be there now.
                let before = events.len();
                self.plain(&record, events);
                events[before..].iter_mut().for_each(|event| event.recursive = true);
            }
            Op::Rename => {
                let kind =
                    if record.flags & flag::EXCHANGE != 0 { EventKind::Exchange } else { EventKind::Rename };
                let (from, to) = (record.place.clone(), record.to.clone());
                self.rename(&record, from, to, kind, events);
            }
            _ => self.plain(&record, events),
        }
    }

    fn plain(&self, record: &Record, events: &mut Vec<Event>) {
        let (kind, is_dir) = match kind_of(record) {
            Some(kind) => kind,
            None => return,
        };
        // A name that the kernel's record does not hold: the whole directory.
        let named = record.flags & flag::NAME != 0;
        let name = match (&record.name, named) {
            (Some(name), true) => match Name::new(name) {
                Ok(name) => Some(name),
                Err(_) => return self.event(record, &record.place, EventKind::List, true, events),
            },
            (None, true) => return self.event(record, &record.place, EventKind::List, true, events),
            (_, false) => None,
        };
        match (&record.place, name) {
            (Place::Inside(slot, path), Some(name)) => match path.join(&name) {
                Ok(path) => self.event(record, &Place::Inside(*slot, path), kind, is_dir, events),
                Err(_) => self.event(record, &Place::Deep(*slot), kind, is_dir, events),
            },
            (place, _) => self.event(record, place, kind, is_dir, events),
        }
    }

    /// Adds one event for each home of a place.
    fn event(&self, record: &Record, place: &Place, kind: EventKind, is_dir: bool, events: &mut Vec<Event>) {
        match place {
            Place::Inside(slot, path) => {
                for home in self.homes(*slot) {
                    match path.rebase(&RelPath::root(), &home.at) {
                        Some(path) if !is_reserved(&path) => {
                            events.push(event_of(record, home.root, kind, path, is_dir));
                        }
                        Some(_) => {}
                        None => events.push(Event::lost(home.root, Loss::Path)),
                    }
                }
            }
            Place::Deep(slot) => {
                events.extend(self.homes(*slot).iter().map(|home| Event::lost(home.root, Loss::Path)));
            }
            // A file with other names: some root may hold one of them.
            Place::Outside if record.flags & flag::LINKED != 0 => {
                for root in self.roots_of(record.dev) {
                    events.push(event_of(record, root, EventKind::Elsewhere, RelPath::root(), false));
                }
            }
            Place::Outside => {}
            Place::Unknown => {
                events
                    .extend(self.roots_of(record.dev).into_iter().map(|root| Event::lost(root, Loss::Path)));
            }
        }
    }

    fn rename(&self, record: &Record, from: Place, to: Place, kind: EventKind, events: &mut Vec<Event>) {
        let is_dir = record.mode & S_IFMT == S_IFDIR;
        let exchange = kind == EventKind::Exchange;
        let (old, new) = (self.found(record, &from, events), self.found(record, &to, events));
        let mut left = new.clone();
        for (root, path) in old {
            if path.is_root() {
                // What the root's path leads to now is for others to find out.
                events.push(Event::lost(root, Loss::RootChanged));
                continue;
            }
            // The same root first: there it is a rename. In another one it goes.
            let partner = left.iter().position(|(other, _)| *other == root).map(|at| left.remove(at));
            match partner {
                Some((_, target)) => match (is_reserved(&path), is_reserved(&target)) {
                    (true, true) => {}
                    (true, false) => events.push(arrived(record, root, target, is_dir)),
                    (false, true) => events.push(departed(record, root, path, is_dir, exchange)),
                    (false, false) => events.push(Event {
                        to: Some(target),
                        recursive: is_dir || exchange,
                        ..event_of(record, root, kind, path, is_dir)
                    }),
                },
                None if is_reserved(&path) => {}
                None => events.push(departed(record, root, path, is_dir, exchange)),
            }
        }
        let arrivals = left.into_iter().filter(|(_, path)| !is_reserved(path));
        events.extend(arrivals.map(|(root, path)| arrived(record, root, path, is_dir)));
    }

    /// Returns the roots and paths of one side of a rename; adds what cannot be told.
    fn found(&self, record: &Record, place: &Place, events: &mut Vec<Event>) -> Vec<(usize, RelPath)> {
        let Place::Inside(slot, path) = place else {
            // Outside has nothing to say for a rename, whatever other names the inode has.
            if *place != Place::Outside {
                self.event(record, place, EventKind::List, true, events);
            }
            return Vec::new();
        };
        let homes = self.homes(*slot).iter();
        homes.filter_map(|home| Some((home.root, path.rebase(&RelPath::root(), &home.at)?))).collect()
    }

    fn homes(&self, slot: u32) -> &[Home] {
        self.watched.get(&slot).map_or(&[], |watched| &watched.homes)
    }

    fn roots_of(&self, dev: u32) -> Vec<usize> {
        let homes = self.watched.values().filter(|w| w.dev == dev).flat_map(|w| &w.homes);
        let mut roots: Vec<usize> = homes.map(|home| home.root).collect();
        roots.sort_unstable();
        roots.dedup();
        roots
    }
}

/// Returns whether a component of the path is a name of vfsync's own.
fn is_reserved(path: &RelPath) -> bool {
    path.components().any(is_reserved_name)
}

/// Something was moved to this path from where nobody watches.
fn arrived(record: &Record, root: usize, path: RelPath, is_dir: bool) -> Event {
    let kind = if is_dir { EventKind::Mkdir } else { EventKind::Create };
    Event { recursive: is_dir, ..event_of(record, root, kind, path, is_dir) }
}

/// Something was moved away from this path to where nobody watches; in an exchange something else came.
fn departed(record: &Record, root: usize, path: RelPath, is_dir: bool, exchange: bool) -> Event {
    if exchange {
        return Event { recursive: true, ..event_of(record, root, EventKind::Create, path, false) };
    }
    let kind = if is_dir { EventKind::Rmdir } else { EventKind::Delete };
    event_of(record, root, kind, path, is_dir)
}

fn event_of(record: &Record, root: usize, kind: EventKind, path: RelPath, is_dir: bool) -> Event {
    let writers = record.flags & (flag::WRITERS | flag::MAPPED) != 0;
    Event {
        is_dir,
        closed: kind == EventKind::CloseWrite && !writers,
        writers,
        linked: record.flags & flag::LINKED != 0,
        inode: if record.flags & flag::NAME != 0 { 0 } else { record.ino },
        pid: record.tgid,
        comm: record.comm.clone(),
        ..Event::new(root, kind, path)
    }
}

/// Returns what a record of one path means, and whether the path is a directory's.
fn kind_of(record: &Record) -> Option<(EventKind, bool)> {
    let is_dir = record.mode & S_IFMT == S_IFDIR;
    Some(match record.op {
        Op::Write => (EventKind::Write, false),
        Op::Close => (EventKind::CloseWrite, false),
        Op::Create => (EventKind::Create, false),
        Op::Mkdir => (EventKind::Mkdir, true),
        Op::Mknod => (EventKind::Mknod, false),
        Op::Symlink => (EventKind::Symlink, false),
        Op::Link => (EventKind::Link, false),
        Op::Unlink if record.flags & flag::NAME != 0 => (EventKind::Delete, false),
        // `unlinkat` removes directories too.
        Op::Unlink if is_dir => (EventKind::Rmdir, true),
        Op::Unlink => (EventKind::Delete, false),
        Op::Rmdir => (EventKind::Rmdir, true),
        Op::Truncate => (EventKind::Truncate, false),
        Op::Attributes => (EventKind::Attributes, is_dir),
        Op::Xattr => (EventKind::Xattr, is_dir),
        Op::Directory => (EventKind::List, true),
        Op::Rename if record.flags & flag::NAME != 0 => (EventKind::List, false),
        Op::Rename | Op::Moving | Op::Moved | Op::Barrier => return None,
    })
}

#[cfg(test)]
mod tests;
