//! The source of events that the eBPF tiers share: drains the ring, follows barriers, and turns every sign of loss into
//! "look at everything".

use super::{
    assemble::Assembler,
    event::{Event, Loss},
    programs::Programs,
    roots::Watched,
    source::Drained,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use vfsync_common::{Losses, record::Op};

/// How many records one drain takes, so that a batch has a bound.
const BATCH: usize = 65_536;
/// The programs with what the agent remembers beside them.
pub struct EbpfSource {
    /// The programs.
    pub programs: Programs,
    assembler: Assembler,
    watched: BTreeMap<u32, Watched>,
    next_slot: u32,
    roots: usize,
    losses: Losses,
    /// When each slot last lost a record for want of room, as the programs say it.
    lost_at: HashMap<u32, u64>,
    misses: u64,
    /// The number of the last barrier that came back.
    pub reached: u64,
}

impl EbpfSource {
    /// Wraps loaded programs, for so many roots.
    pub fn new(programs: Programs, roots: usize) -> EbpfSource {
        EbpfSource {
            programs,
            assembler: Assembler::default(),
            watched: BTreeMap::new(),
            next_slot: 0,
            roots,
            losses: Losses::default(),
            lost_at: HashMap::new(),
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

    /// Reports what was lost since the last barrier, to those whom it concerns.
    fn compare(&mut self, now: Losses, events: &mut Vec<Event>) {
        let before = std::mem::replace(&mut self.losses, now);
        if now == before {
            return;
        }
        let causes = [
            (now.nowhere != before.nowhere, Loss::RingFull),
            (now.scratch != before.scratch, Loss::Scratch),
            (now.walk != before.walk, Loss::Path),
            (now.tasks != before.tasks, Loss::Tasks),
        ];
        let causes = causes.into_iter().filter_map(|(changed, cause)| changed.then_some(cause));
        let everywhere: Vec<Loss> = causes.collect();
        everywhere.iter().for_each(|&cause| self.lost(cause, events));
        let known = now.ring != before.ring && self.lost_in_known_roots(events);
        if everywhere.is_empty() && !known {
            // Two counted at once, and the time alone tells; or the kernel's list has gone.
            self.lost(Loss::RingFull, events);
        }
    }

    /// Reports the records that found no room, for the roots that they were about. Returns whether there were any.
    fn lost_in_known_roots(&mut self, events: &mut Vec<Event>) -> bool {
        let now = self.programs.lost_by_slot();
        let new = now.iter().filter(|(slot, at)| self.lost_at.get(slot) != Some(at));
        let mut roots = BTreeSet::new();
        let mut all = false;
        for (slot, _) in new {
            match self.watched.get(slot) {
                Some(watched) => roots.extend(watched.homes.iter().map(|home| home.root)),
                // Of before the last change of what is watched.
                None => all = true,
            }
        }
        self.lost_at = now;
        if all {
            self.lost(Loss::RingFull, events);
        }
        events.extend(roots.iter().filter(|_| !all).map(|&root| Event::lost(root, Loss::RingFull)));
        all || !roots.is_empty()
    }

    /// Reports programs that were skipped since the last call.
    fn check_misses(&mut self, events: &mut Vec<Event>) {
        let now = self.programs.misses();
        if std::mem::replace(&mut self.misses, now) != now {
            self.lost(Loss::Skipped, events);
        }
    }

    fn lost(&self, why: Loss, events: &mut Vec<Event>) {
        events.extend((0..self.roots).map(|root| Event::lost(root, why)));
    }

    /// Returns what was lost in total, by cause, as of the last barrier and the last check.
    pub fn losses(&self) -> (Losses, u64) {
        (self.losses, self.misses)
    }
}
