//! The source of events that the eBPF tiers share: drains the ring, follows barriers, and turns every sign of loss into
//! "look at everything".

use super::{
    assemble::Assembler,
    event::{Event, Loss},
    mounts,
    programs::Programs,
    roots::Watched,
};
use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use vfsync_common::{Losses, record::Op};

/// How many records one drain takes, so that a batch has a bound.
const BATCH: usize = 65_536;
/// How long a barrier may take before the programs count as broken.
pub const BARRIER_TIMEOUT: Duration = Duration::from_secs(10);

/// Which directory a path leads to: device and inode number.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().filter(|found| found.is_dir()).map(|found| (found.dev(), found.ino()))
}

/// What a drain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// How many records there were, barriers aside.
    pub records: usize,
}

/// The programs with what the agent remembers beside them.
pub struct EbpfSource {
    /// The programs.
    pub programs: Programs,
    assembler: Assembler,
    watched: BTreeMap<u32, Watched>,
    next_slot: u32,
    /// The directory that each root's path leads to.
    identities: Vec<Option<Identity>>,
    losses: Losses,
    misses: u64,
    /// The number of the last barrier that came back.
    pub reached: u64,
}

impl EbpfSource {
    /// Wraps loaded programs, for these roots.
    pub fn new(programs: Programs, roots: &[PathBuf]) -> EbpfSource {
        EbpfSource {
            programs,
            assembler: Assembler::default(),
            watched: BTreeMap::new(),
            next_slot: 0,
            identities: roots.iter().map(|root| identity(root)).collect(),
            losses: Losses::default(),
            misses: 0,
            reached: 0,
        }
    }

    /// Watches these directories, and no longer those that were watched before. What is known under the old slots is
    /// understood until the next call. Directories that cannot be opened are returned with the reason.
    pub fn watch(&mut self, plan: Vec<Watched>) -> Vec<(Watched, String)> {
        let first = self.next_slot;
        let mut failed = Vec::new();
        let mut added = BTreeMap::new();
        for watched in plan {
            let slot = self.next_slot;
            match self.programs.teach(slot, &watched.path) {
                Ok(()) => {
                    added.insert(slot, watched);
                    self.next_slot += 1;
                }
                Err(why) => failed.push((watched, why)),
            }
        }
        // New keys first, old ones afterwards: nothing goes unwatched in between.
        self.programs.forget(|slot| slot >= first);
        self.watched.extend(added.clone());
        self.assembler.set_watched(self.watched.clone());
        self.watched = added;
        failed
    }

    /// Takes what is in the ring.
    pub fn drain(&mut self, events: &mut Vec<Event>) -> Drained {
        let mut drained = Drained::default();
        self.programs.log();
        let (mut losses, mut reached, mut garbled) = (None, self.reached, false);
        let assembler = &mut self.assembler;
        self.programs.drain(BATCH, |record| match record {
            Ok(record) if record.op == Op::Barrier => {
                losses = record.losses;
                reached = reached.max(record.cookie);
            }
            Ok(record) => {
                drained.records += 1;
                assembler.add(record, events);
            }
            Err(error) => {
                drained.records += 1;
                tracing::warn!(why = %error, "a record of the eBPF programs made no sense");
                garbled = true;
            }
        });
        if std::mem::replace(&mut self.reached, reached) != reached {
            // Who asked for the barrier must hear of losses before it.
            self.check_misses(events);
        }
        if garbled {
            self.lost(Loss::Garbled, events);
        }
        if let Some(now) = losses {
            self.compare(now, events);
        }
        drained
    }

    /// Reports what was lost since the last barrier.
    fn compare(&mut self, now: Losses, events: &mut Vec<Event>) {
        let before = std::mem::replace(&mut self.losses, now);
        if now == before {
            return;
        }
        let causes = [
            (now.ring != before.ring, Loss::RingFull),
            (now.scratch != before.scratch, Loss::Scratch),
            (now.walk != before.walk, Loss::Path),
            (now.tasks != before.tasks, Loss::Tasks),
        ];
        let mut any = false;
        for (changed, cause) in causes {
            if changed {
                any = true;
                self.lost(cause, events);
            }
        }
        if !any {
            // Two counted at once; the time tells.
            self.lost(Loss::RingFull, events);
        }
    }

    /// Reports programs that were skipped since the last call.
    fn check_misses(&mut self, events: &mut Vec<Event>) {
        let now = self.programs.misses();
        if std::mem::replace(&mut self.misses, now) != now {
            self.lost(Loss::Skipped, events);
        }
    }

    fn lost(&self, why: Loss, events: &mut Vec<Event>) {
        events.extend((0..self.identities.len()).map(|root| Event::lost(root, why)));
    }

    /// Returns what was lost in total, by cause, as of the last barrier and the last check.
    pub fn losses(&self) -> (Losses, u64) {
        (self.losses, self.misses)
    }

    /// Waits until everything up to now has come, and returns it.
    pub fn sync(&mut self) -> Result<Vec<Event>, String> {
        let number = self.programs.cookie.write().map_err(|e| format!("cannot write the cookie: {e}"))?;
        let deadline = Instant::now() + BARRIER_TIMEOUT;
        let mut events = Vec::new();
        loop {
            self.drain(&mut events);
            if self.reached >= number {
                return Ok(events);
            }
            if Instant::now() > deadline {
                return Err("the programs are attached but report nothing".into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Looks whether the paths of the roots lead to other directories than before: one that was renamed, or whose
    /// parent was, is watched no longer; what is there now is, and is to be looked at.
    pub fn check_roots(&mut self, roots: &[PathBuf], events: &mut Vec<Event>) -> std::io::Result<()> {
        // Before the programs learn it: what comes between is found the next time.
        let now: Vec<Option<Identity>> = roots.iter().map(|root| identity(root)).collect();
        if now == self.identities {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.identities, now);
        let plan = super::roots::plan(roots, &mounts::read()?);
        for (watched, why) in self.watch(plan) {
            tracing::warn!(path = %watched.path.display(), why, "a directory cannot be watched");
        }
        for (root, identity) in self.identities.iter().enumerate() {
            if before.get(root) != Some(identity) {
                events.push(Event::lost(root, Loss::RootChanged));
            }
        }
        Ok(())
    }

    /// Looks at the mounts again after they have changed, and reports what appeared or went.
    pub fn remount(&mut self, roots: &[PathBuf], events: &mut Vec<Event>) -> std::io::Result<()> {
        let plan = super::roots::plan(roots, &mounts::read()?);
        let before: Vec<Watched> = self.watched.values().cloned().collect();
        if plan == before {
            return Ok(());
        }
        for (watched, why) in self.watch(plan.clone()) {
            tracing::warn!(path = %watched.path.display(), why, "a mounted directory cannot be watched");
            events.extend(watched.homes.iter().map(|home| Event::lost(home.root, Loss::RootChanged)));
        }
        let changed =
            plan.iter().filter(|w| !before.contains(w)).chain(before.iter().filter(|w| !plan.contains(w)));
        for watched in changed {
            for home in &watched.homes {
                events.push(Event {
                    is_dir: true,
                    recursive: true,
                    ..Event::new(home.root, super::event::EventKind::List, home.at.clone())
                });
            }
        }
        Ok(())
    }
}
