//! The fanotify tier: the kernel notifies of every change on the marked file systems, after it has happened, and this
//! end looks which of them lie below a root. It takes no eBPF, but the rights of an administrator, and every change on
//! those file systems wakes it.
//!
//! A notice names a directory by its handle, which is looked up when the notice is read. So a path is where the
//! directory is by then. That is sound: whatever was renamed in between has a notice of its own behind this one, and
//! is looked at as a whole.

mod decode;
mod facts;
mod place;

use super::{
    assemble::Assembler,
    cookie::Cookie,
    decode::{Place, Record},
    event::{Event, Loss},
    roots::Watched,
    source::Drained,
};
use crate::core::path::RelPath;
use decode::{DirId, Named, Notice, decode};
use facts::Facts;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use place::{Anchors, DirPlace};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsStr,
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::Arc,
};
use vfsync_common::record::{Op, flag};

/// How many reads one drain does, so that a batch has a bound.
const READS: usize = 256;
/// Room for one read: a few hundred notices.
const BUFFER: usize = 64 << 10;
/// How many directories are remembered.
const PLACES: usize = 65_536;

/// The notifications, with what this end remembers beside them.
pub struct FanotifySource {
    group: Fanotify,
    /// What notices of renames there are: one with both names since Linux 5.17.
    renames: MaskFlags,
    assembler: Assembler,
    watched: BTreeMap<u32, Watched>,
    /// The file system of each watched directory, as notices name it.
    file_systems: BTreeMap<u32, u64>,
    next_slot: u32,
    roots: usize,
    leave_out_own: bool,
    /// Where directories were found to be.
    places: HashMap<DirId, DirPlace>,
    /// What barriers are asked from.
    pub cookie: Arc<Cookie>,
    /// The number of the last barrier that was reached.
    pub reached: u64,
    /// How often the queue was full.
    pub overflows: u64,
}

impl FanotifySource {
    /// Asks the kernel for notifications, for so many roots.
    pub fn open(roots: usize) -> Result<FanotifySource, String> {
        // Which directory, and which name in it: Linux 5.9.
        let named = InitFlags::from_bits_retain(libc::FAN_REPORT_DFID_NAME);
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE
            | named;
        let group = Fanotify::init(flags, EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC)
            .map_err(|e| format!("the kernel gives no notifications: {}", e.desc()))?;
        let cookie = Cookie::create().map_err(|e| format!("cannot create the cookie: {e}"))?;
        Ok(FanotifySource {
            group,
            renames: MaskFlags::FAN_RENAME,
            assembler: Assembler::default(),
            watched: BTreeMap::new(),
            file_systems: BTreeMap::new(),
            next_slot: 0,
            roots,
            leave_out_own: false,
            places: HashMap::new(),
            cookie: Arc::new(cookie),
            reached: 0,
            overflows: 0,
        })
    }

    /// Watches these directories, and no longer those that were watched before. Those that cannot be are returned with
    /// the reason.
    pub fn watch(&mut self, plan: Vec<Watched>) -> Vec<(Watched, String)> {
        let mut failed = Vec::new();
        let (mut added, mut file_systems) = (BTreeMap::new(), BTreeMap::new());
        for watched in plan {
            match self.mark(&watched.path) {
                Ok(file_system) => {
                    file_systems.insert(self.next_slot, file_system);
                    added.insert(self.next_slot, watched);
                    self.next_slot += 1;
                }
                Err(why) => failed.push((watched, why)),
            }
        }
        // What is marked and not watched any more is read and left out, until its file system is unmounted.
        self.assembler.set_watched(added.clone());
        self.watched = added;
        self.file_systems = file_systems;
        self.places.clear();
        failed
    }

    /// Marks the file system that a directory is on, and returns its number.
    fn mark(&mut self, path: &Path) -> Result<u64, String> {
        let here = File::open(path).map_err(|e| format!("cannot open {}: {e}", path.display()))?;
        let found = rustix::fs::fstatvfs(&here).map_err(|e| format!("no file system number: {e}"))?;
        let mark = |renames| {
            let mask = MaskFlags::FAN_CREATE
                | MaskFlags::FAN_DELETE
                | MaskFlags::FAN_MODIFY
                | MaskFlags::FAN_ATTRIB
                | MaskFlags::FAN_CLOSE_WRITE
                | MaskFlags::FAN_ONDIR
                | renames;
            let flags = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
            self.group.mark::<_, Path>(flags, mask, &here, Some(Path::new(".")))
        };
        let older = MaskFlags::FAN_MOVE;
        match mark(self.renames) {
            Err(nix::errno::Errno::EINVAL) if self.renames != older && mark(older).is_ok() => {
                self.renames = older;
            }
            Err(error) => return Err(format!("its file system cannot be marked: {}", error.desc())),
            Ok(()) => {}
        }
        Ok(found.f_fsid)
    }

    /// Leaves this process' own changes out from now on, or no longer.
    pub fn set_filter(&mut self, leave_out_own: bool) {
        self.leave_out_own = leave_out_own;
    }

    /// Returns a descriptor that becomes readable when there is something to read.
    pub fn readable(&self) -> std::io::Result<OwnedFd> {
        self.group.as_fd().try_clone_to_owned()
    }

    /// Forgets where directories are: mounts have changed.
    pub fn forget_places(&mut self) {
        self.places.clear();
    }

    /// Reads what there is. A notice is queued before its system call returns, so that an empty queue is a barrier.
    pub fn drain(&mut self, events: &mut Vec<Event>) -> Drained {
        let mut drained = Drained::default();
        let asked = self.cookie.written();
        let mut anchors = Anchors::default();
        let mut buffer = vec![0; BUFFER];
        for _ in 0..READS {
            let count = match rustix::io::read(&self.group, &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => {
                    self.reached = asked;
                    return drained;
                }
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    // One notice could not be copied out; the next one may.
                    tracing::warn!(why = %error, "a notification of fanotify could not be read");
                    self.lost(Loss::Garbled, events);
                    return drained;
                }
            };
            let mut notices = Vec::new();
            if decode(&buffer[..count], |notice| notices.push(notice)).is_err() {
                self.lost(Loss::Garbled, events);
            }
            drained.records += notices.len();
            for notice in notices {
                self.add(&notice, &mut anchors, events);
            }
        }
        drained
    }

    fn lost(&self, why: Loss, events: &mut Vec<Event>) {
        events.extend((0..self.roots).map(|root| Event::lost(root, why)));
    }

    /// Adds the events of one notice.
    fn add(&mut self, notice: &Notice, anchors: &mut Anchors, events: &mut Vec<Event>) {
        let has = |bits: MaskFlags| notice.mask & bits.bits() != 0;
        if has(MaskFlags::FAN_Q_OVERFLOW) {
            self.overflows += 1;
            return self.lost(Loss::QueueFull, events);
        }
        let is_dir = has(MaskFlags::FAN_ONDIR);
        if is_dir && has(MaskFlags::FAN_RENAME | MaskFlags::FAN_MOVE | MaskFlags::FAN_DELETE) {
            self.places.clear();
        }
        if self.leave_out_own && notice.pid == std::process::id() {
            return;
        }
        let Some(at) = &notice.at else { return };
        let (place, facts) = self.locate(at, anchors);
        if let Some(from) = &notice.from {
            let (from, _) = self.locate(from, anchors);
            return self.send(Op::Rename, from, place, &facts.or_type(is_dir), notice.pid, events);
        }
        let facts = facts.or_type(is_dir);
        let steps = [
            (MaskFlags::FAN_MOVED_FROM, Op::Rename),
            (MaskFlags::FAN_MOVED_TO, Op::Rename),
            (MaskFlags::FAN_CREATE, facts.made()),
            (MaskFlags::FAN_MODIFY, Op::Write),
            (MaskFlags::FAN_ATTRIB, Op::Attributes),
            (MaskFlags::FAN_CLOSE_WRITE, Op::Close),
            (MaskFlags::FAN_DELETE, if is_dir { Op::Rmdir } else { Op::Unlink }),
        ];
        for (bit, op) in steps.into_iter().filter(|(bit, _)| has(*bit)) {
            let (from, to) = match bit {
                MaskFlags::FAN_MOVED_TO => (Place::Outside, place.clone()),
                _ => (place.clone(), Place::Outside),
            };
            self.send(op, from, to, &facts, notice.pid, events);
        }
    }

    fn send(&mut self, op: Op, place: Place, to: Place, facts: &Facts, pid: u32, events: &mut Vec<Event>) {
        let linked = facts.has_other_names();
        let holds = matches!(op, Op::Write | Op::Attributes | Op::Close);
        if place == Place::Outside && to == Place::Outside && !(linked && holds) {
            return;
        }
        // Who writes has it open; the notice of its closing says that this is over.
        let writers = if op == Op::Write { flag::WRITERS } else { 0 };
        let record = Record {
            op,
            flags: flag::DONE | writers | if linked { flag::LINKED } else { 0 },
            place,
            to,
            name: None,
            ino: facts.inode,
            dev: facts.dev,
            generation: 0,
            mode: facts.mode as u16,
            tgid: pid,
            cookie: 0,
            comm: comm(pid),
            losses: None,
        };
        self.assembler.add(record, events);
    }

    /// Finds out where a name is, and what is there now.
    fn locate(&mut self, named: &Named, anchors: &mut Anchors) -> (Place, Facts) {
        let place = match self.places.get(&named.dir) {
            Some(place) => place.clone(),
            None => {
                let place = anchors.find(&named.dir, &self.watched, &self.file_systems);
                if self.places.len() >= PLACES {
                    self.places.clear();
                }
                self.places.insert(named.dir.clone(), place.clone());
                place
            }
        };
        let (dev, dir) = match place {
            DirPlace::At(dev, dir) => (dev, dir),
            DirPlace::Gone => return (Place::Outside, Facts::default()),
            DirPlace::Unknown => {
                let dev = self.dev_of(named.dir.file_system);
                return (Place::Unknown, Facts { dev, ..Facts::default() });
            }
        };
        let within = if named.name == b"." { dir } else { dir.join(OsStr::from_bytes(&named.name)) };
        let of_this = self.watched.iter().filter(|(_, watched)| watched.dev == dev);
        let found = of_this
            .filter_map(|(slot, watched)| Some((slot, watched, within.strip_prefix(&watched.within).ok()?)))
            .min_by_key(|(_, _, rest)| rest.as_os_str().len());
        let seen = match found {
            Some((_, watched, rest)) => Some(watched.path.join(rest)),
            None => anchors.outside(named.dir.file_system, &within),
        };
        let facts = seen.map_or(Facts::default(), |path| Facts::of(&path));
        let place = match found {
            None => Place::Outside,
            Some((slot, _, rest)) => match RelPath::new(rest.as_os_str().as_bytes()) {
                Ok(path) => Place::Inside(*slot, path),
                Err(_) => Place::Deep(*slot),
            },
        };
        (place, Facts { dev, ..facts })
    }

    fn dev_of(&self, file_system: u64) -> u32 {
        let slot = self.file_systems.iter().find(|(_, number)| **number == file_system).map(|(slot, _)| slot);
        slot.and_then(|slot| self.watched.get(slot)).map_or(0, |watched| watched.dev)
    }
}

/// Returns the name of a process that may have ended.
fn comm(pid: u32) -> Vec<u8> {
    let mut comm = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    comm.truncate(comm.trim_ascii_end().len());
    comm
}
