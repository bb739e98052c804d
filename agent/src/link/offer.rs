//! The offerer: sends every entry above the number that the peer has dealt with, a batch at a time, in the order of a
//! walk, so that directories go before what is in them, and deletions last ([`crate::core::order`]).

use super::credit::Closed;
use super::{BATCH_COST, Sent, Shared};
use crate::archive::{ArchiveError, Snapshot};
use crate::core::entry::{AttributeMask, Content, Record};
use crate::core::order::{Phase, Phases};
use crate::core::path::RelPath;
use crate::core::renamed::Renamed;
use crate::core::version::Sequence;

use crate::fs::{Dir, read_from};
use crate::replica::Recorded;
use crate::wire::{Batch, Message, Offer, OfferNumber};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A file up to this size goes along with its offer, in bytes.
const INLINE: u64 = 64 << 10;
/// A file up to this size is sent even if the peer is likely to have its bytes elsewhere, in bytes: to say where costs
/// as much, and to copy them there more.
const HINTED: u64 = 256;
/// A frame of offers is sent when it has grown to this, in bytes.
const FRAME: u64 = 256 << 10;
/// With more renames in a batch than this, those of small directories go path by path: the disk is waited for once then, and
/// else for each.
const MANY_RENAMES: usize = 16;
/// So many paths are in a directory that is not small.
const LARGE: u64 = 256;
/// What a rename counts against the window beside its names, in bytes.
const RENAME_COST: u64 = 512;
/// Up to so many changed entries are sorted in memory; beyond that the archive is walked.
const SORTED: usize = 100_000;

/// So many batches are sent in one pass at the most. Each resolution takes one; trees in which programs keep writing to
/// what the other end writes too could go on for ever.
const ROUNDS: u32 = 16;

/// What the offerer goes by.
pub(super) struct Offerer {
    /// Everything up to here the peer has dealt with, or is offered.
    through: Sequence,
    /// The peer has nothing: content goes along with everything.
    peer_is_empty: bool,
    /// Content goes along with what changed.
    inline: bool,
    /// Records that the peer computes for itself are sent all the same: it is not known whether it did.
    first: bool,
    next: u64,
    /// How many batches with offers went out.
    batches: u32,
    /// The last batch said up to here; what was skipped since needs no hurry.
    said: Sequence,
    /// The view that a plan was made from, to be carried out just so.
    pub(super) planned: Option<(Snapshot, Sequence, Sequence)>,
}

/// So many offers may wait for an answer whatever the archive holds.
const UNANSWERED: u64 = 200_000;

/// Why offering ended.
pub(super) enum OfferError {
    Closed,
    Archive(ArchiveError),
    /// The peer takes offers, and does not answer them.
    Unanswered,
}

impl From<Closed> for OfferError {
    fn from(_: Closed) -> OfferError {
        OfferError::Closed
    }
}

impl From<ArchiveError> for OfferError {
    fn from(error: ArchiveError) -> OfferError {
        OfferError::Archive(error)
    }
}

/// A frame of offers that is being filled.
#[derive(Default)]
struct Outgoing {
    offers: Vec<Offer>,
    size: u64,
    /// The directory of the last file that was read: the next one is likely to lie there, too.
    dir: Option<Dir>,
}

impl Outgoing {
    fn send(&mut self, shared: &Shared) -> Result<(), Closed> {
        self.size = 0;
        match std::mem::take(&mut self.offers) {
            empty if empty.is_empty() => Ok(()),
            offers => shared.send(&Message::Offers(offers)),
        }
    }
}

impl Offerer {
    /// `after` is what the peer says it has dealt with; `None`: the two never met.
    pub(super) fn new(after: Option<Sequence>, peer_is_empty: bool) -> Offerer {
        Offerer {
            through: after.unwrap_or_default(),
            peer_is_empty,
            // Two trees that meet for the first time have most contents in common.
            inline: peer_is_empty || after.is_some(),
            first: true,
            next: 0,
            batches: 0,
            said: Sequence(0),
            planned: None,
        }
    }

    /// Returns whether the peer's position is behind, by entries that it need not have.
    pub(super) fn lags(&self) -> bool {
        self.said < self.through && !self.first
    }

    /// Sends what is new and what the peer asks for again. Blocks. A batch without a single offer is only sent with
    /// `flush`.
    pub(super) fn batch(
        &mut self,
        shared: &Shared,
        again: BTreeMap<RelPath, bool>,
        flush: bool,
    ) -> Result<(), OfferError> {
        if self.batches >= ROUNDS && !shared.live.load(Ordering::Relaxed) {
            shared.considered.store(u64::MAX, Ordering::SeqCst);
            return Ok(());
        }
        if shared.is_plan() && self.planned.is_some() {
            // What changes after the plan was made is not part of it.
            return Ok(());
        }
        let (snapshot, after, through) = match self.planned.take() {
            // A plan is carried out from the view that it was made from.
            Some(planned) if !shared.is_plan() => planned,
            _ => {
                let snapshot = shared.replica.archive.read()?;
                let head = snapshot.head()?;
                shared.replica.archive.make_durable(head)?;
                (snapshot, self.through, head)
            }
        };
        if through <= after && again.is_empty() && !self.first && !flush {
            shared.considered.fetch_max(through.0, Ordering::SeqCst);
            return Ok(());
        }
        shared.offered_through.fetch_max(through.0, Ordering::SeqCst);
        let numbered = self.next;
        let mut frame = Outgoing::default();
        self.walk(shared, &snapshot, after, through, &again, &mut frame)?;
        frame.send(shared)?;
        if self.next > numbered || self.first || flush {
            shared.idle.activity.fetch_add(1, Ordering::SeqCst);
            shared.offer_credit.take(BATCH_COST)?;
            shared.send(&Message::Batch(Batch { through }))?;
            self.said = through;
            self.batches += 1;
        }
        if shared.is_plan() {
            self.planned = Some((snapshot, after, through));
            shared.choices.write().expect("no thread panics with this locked").planned(through);
            shared.offered_through.store(after.0, Ordering::SeqCst);
        } else {
            self.through = through;
            shared.considered.fetch_max(through.0, Ordering::SeqCst);
            self.first = false;
            self.peer_is_empty = false;
            self.inline = true;
        }
        Ok(())
    }

    /// Sends every path of the batch: what stands and then what is gone, each in the order of a walk.
    fn walk(
        &mut self,
        shared: &Shared,
        snapshot: &Snapshot,
        after: Sequence,
        through: Sequence,
        again: &BTreeMap<RelPath, bool>,
        frame: &mut Outgoing,
    ) -> Result<(), OfferError> {
        let renames = self.renames(shared, snapshot, after, through)?;
        let changed = snapshot.since_but(after, SORTED + 1, &numbers(&renames))?;
        let names = renames.iter().flat_map(|r| [&r.renamed.from, &r.renamed.to]);
        self.look_for_open(shared, changed.iter().map(|(_, path)| path).chain(names))?;
        if changed.len() > SORTED || again.contains_key(&RelPath::root()) {
            // So many that sorting them would grow with the tree: the archive is in order already.
            for part in [Phase::Stands, Phase::Gone] {
                let mut phases = Phases::default();
                for row in snapshot.below(&RelPath::root())? {
                    let (path, record) = row?;
                    let asked = is_asked(again, &path);
                    if (record.sequence > after && record.sequence <= through || asked)
                        && phases.of(&path, &record.entry.content) == part
                    {
                        self.emit(shared, frame, &path, &record, asked && record.sequence <= after)?;
                    }
                }
            }
            return Ok(());
        }
        let mut paths: BTreeMap<RelPath, bool> = BTreeMap::new();
        for (path, recursive) in again {
            paths.insert(path.clone(), true);
            if *recursive {
                for row in snapshot.below(path)? {
                    paths.insert(row?.0, true);
                }
            }
        }
        for (sequence, path) in changed {
            if sequence <= through {
                paths.insert(path, false);
            }
        }
        for recorded in &renames {
            // The directory that it comes into may be a new one.
            for above in recorded
                .renamed
                .to
                .ancestors()
                .filter(|above| !above.is_root())
                .collect::<Vec<_>>()
                .iter()
                .rev()
            {
                if let Some(record) =
                    paths.contains_key(above).then(|| snapshot.get(above)).transpose()?.flatten()
                    && record.entry.content.is_dir()
                {
                    let asked = paths.remove(above).unwrap_or_default();
                    self.emit(shared, frame, above, &record, asked)?;
                }
            }
            self.emit_rename(shared, frame, snapshot, recorded)?;
        }
        let (mut phases, mut gone) = (Phases::default(), Vec::new());
        for (path, asked) in paths {
            let Some(record) = snapshot.get(&path)? else { continue };
            match phases.of(&path, &record.entry.content) {
                Phase::Stands => self.emit(shared, frame, &path, &record, asked)?,
                Phase::Gone => gone.push((path, asked)),
            }
        }
        for (path, asked) in gone {
            if let Some(record) = snapshot.get(&path)? {
                self.emit(shared, frame, &path, &record, asked)?;
            }
        }
        Ok(())
    }

    /// Returns the renames of a batch that go as a whole, and those that came from the peer, which need not go.
    fn renames(
        &self,
        shared: &Shared,
        snapshot: &Snapshot,
        after: Sequence,
        through: Sequence,
    ) -> Result<Vec<Recorded>, ArchiveError> {
        let knows_the_tree = self.inline && !self.peer_is_empty;
        let as_a_whole = shared.renames && shared.copy_local && shared.paths.is_empty();
        let mut whole = Vec::new();
        if !knows_the_tree || !as_a_whole || shared.is_plan() {
            return Ok(whole);
        }
        for recorded in shared.replica.renames_between(after, through) {
            let Renamed { from, to, .. } = &recorded.renamed;
            if !shared.leaves_out(from) && !shared.leaves_out(to) && snapshot.get(to)?.is_some() {
                whole.push(recorded);
            }
        }
        if whole.len() > MANY_RENAMES {
            whole.retain(|recorded| recorded.renamed.count >= LARGE);
        }
        Ok(whole)
    }

    /// Says that a directory was renamed, after what goes before it.
    fn emit_rename(
        &mut self,
        shared: &Shared,
        frame: &mut Outgoing,
        snapshot: &Snapshot,
        recorded: &Recorded,
    ) -> Result<(), OfferError> {
        let renamed = &recorded.renamed;
        if recorded.peer == Some(shared.peer) {
            return Ok(());
        }
        frame.send(shared)?;
        shared.offer_credit.take(rename_cost(renamed))?;
        // It is there, as whoever calls this has seen; what stands there by now is told by itself.
        let Some(entry) = snapshot.get(&renamed.to)?.map(|record| record.entry) else { return Ok(()) };
        let (path, from) = (renamed.to.clone(), Some(renamed.from.clone()));
        let sent = Sent {
            path,
            entry,
            inline: None,
            sequence: Sequence(recorded.stands.start),
            from,
            at: Instant::now(),
        };
        shared.sent.lock().expect("no thread panics with this locked").insert(OfferNumber(self.next), sent);
        self.next += 1;
        shared.send(&Message::Renamed(Box::new(renamed.clone())))?;
        Ok(())
    }

    /// Puts a record into the frame, and sends the frame when it is full.
    fn emit(
        &mut self,
        shared: &Shared,
        frame: &mut Outgoing,
        path: &RelPath,
        record: &Record,
        again: bool,
    ) -> Result<(), OfferError> {
        let Some(offer) = self.offer(shared, frame, path, record, again) else { return Ok(()) };
        let cost = offer.cost();
        if frame.size + cost > FRAME {
            frame.send(shared)?;
        }
        if !shared.offer_credit.try_take(cost)? {
            // Before the credit is waited for: what is in the frame has to be on its way, or it is never given back.
            frame.send(shared)?;
            shared.offer_credit.take(cost)?;
        }
        let inline = offer.content.as_ref().map(|content| content.len() as u64);
        if let Some(bytes) = inline {
            shared.replica.tally.expect(1, bytes);
        }
        let sequence = record.sequence;
        let (path, entry) = (offer.path.clone(), offer.entry.clone());
        let sent = Sent { path, entry, inline, sequence, from: None, at: Instant::now() };
        let unanswered = {
            let mut all = shared.sent.lock().expect("no thread panics with this locked");
            all.insert(OfferNumber(self.next), sent);
            all.len() as u64
        };
        // Of a directory that goes every path waits for the last: there can be as many as there are records.
        if unanswered > UNANSWERED && unanswered > shared.replica.archive.read()?.records()? {
            return Err(OfferError::Unanswered);
        }
        self.next += 1;
        frame.size += cost;
        frame.offers.push(offer);
        Ok(())
    }

    /// Where something changed here that the peer's side is open at, the peer is asked to offer it again.
    fn look_for_open<'p>(
        &self,
        shared: &Shared,
        changed: impl Iterator<Item = &'p RelPath>,
    ) -> Result<(), OfferError> {
        let mut ask = BTreeMap::new();
        {
            let open = shared.open.read().expect("no thread panics with this locked");
            for path in changed {
                ask.extend(open.touched_by(path));
            }
        }
        // At the start everything open is asked for anyway.
        if !ask.is_empty() && !self.first {
            shared.send(&Message::Again(ask.into_iter().collect()))?;
        }
        Ok(())
    }

    /// Makes the offer of a record; `None` if the peer need not have it.
    fn offer(
        &self,
        shared: &Shared,
        frame: &mut Outgoing,
        path: &RelPath,
        record: &Record,
        again: bool,
    ) -> Option<Offer> {
        let is_from_peer = record.from == Some(shared.peer) && !(record.computed && self.first);
        if path.is_root() || (is_from_peer && !again) || shared.leaves_out(path) {
            return None;
        }
        let mut entry = record.entry.clone();
        // What the link does not carry is nobody's business there.
        let carried = shared.policy.mask.or(AttributeMask::ALL);
        entry.vouched = entry.vouched.and(carried);
        entry.extended = entry.extended.only(carried);
        let like = match &entry.content {
            Content::File { digest, size } if *size > HINTED && shared.copy_local && !self.peer_is_empty => {
                shared.replica.lately_at(digest).filter(|path| !shared.leaves_out(path))
            }
            _ => None,
        };
        let content = match &entry.content {
            Content::File { size, .. }
                if *size <= INLINE && like.is_none() && !again && self.goes_along(shared, record) =>
            {
                read_inline(shared, &mut frame.dir, path, &entry.content)
            }
            _ => None,
        };
        let owners = shared.replica.owners_of(&entry, shared.numeric_ids, shared.policy.mask);
        Some(Offer { path: path.clone(), entry, owners, content, like, again })
    }

    /// Returns whether the peer is likely to lack the content of a record.
    fn goes_along(&self, shared: &Shared, record: &Record) -> bool {
        if self.peer_is_empty {
            return true;
        }
        let made_here = record.entry.content_lineage.now.counter(shared.replica.id()) == record.sequence.0;
        self.inline && (made_here || record.from.is_some_and(|from| from != shared.peer && !record.computed))
    }
}

/// Returns the numbers of the records that renames have made, in order.
fn numbers(renames: &[Recorded]) -> Vec<Range<u64>> {
    let mut numbers: Vec<_> = renames.iter().flat_map(|r| [r.stands.clone(), r.gone.clone()]).collect();
    numbers.sort_by_key(|range| range.start);
    numbers
}

/// Returns what a rename counts against the window, in bytes.
pub(super) fn rename_cost(renamed: &Renamed) -> u64 {
    (renamed.from.as_bytes().len() + renamed.to.as_bytes().len()) as u64 + RENAME_COST
}

fn is_asked(again: &BTreeMap<RelPath, bool>, path: &RelPath) -> bool {
    let mut above = path.parent();
    while let Some(dir) = above {
        if again.get(&dir) == Some(&true) {
            return true;
        }
        above = dir.parent();
    }
    again.contains_key(path)
}

/// Reads a small file that is about to be offered; `None` if it is no longer what the entry says. Then the peer asks for
/// it, and learns that there is something newer.
fn read_inline(shared: &Shared, last: &mut Option<Dir>, path: &RelPath, content: &Content) -> Option<Bytes> {
    let Content::File { size, digest } = content else { return None };
    let (parent, name) = path.split()?;
    // Should the directory have been renamed since: what counts is that the bytes are the ones that are offered.
    let dir = match last.take().filter(|dir| *dir.path() == parent) {
        Some(dir) => dir,
        None => shared.replica.dir.open_dir(&parent).ok()?,
    };
    let (file, meta) = last.insert(dir).open_file_and_look(&name).ok()?;
    let mut bytes = Vec::with_capacity(*size as usize);
    let hashed = read_from(&file, meta, |piece| {
        // The file may have grown since; what is kept is bounded by what it should be.
        if bytes.len() as u64 + piece.len() as u64 <= INLINE {
            bytes.extend_from_slice(piece);
        }
        Ok(())
    });
    let hashed = hashed.ok()?;
    (hashed.digest == *digest && hashed.size == *size && bytes.len() as u64 == *size).then(|| bytes.into())
}
