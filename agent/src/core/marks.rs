//! [`Mark`]s tell whether an archive is still the one that its peers have met: each opening appends a random one, at the
//! number that the archive had reached. Peers remember them, and tell each other. An archive that lacks one that somebody
//! remembers is a copy: restored from a backup, or cloned with its machine.
//!
//! A copy may have made versions of its own since it parted from the original, with numbers that the original used for
//! something else. It takes a new replica id, and gives what it made since then new versions ([`restamped`]).

use super::entry::Entry;
use super::version::{Lineage, ReplicaId, Sequence, Version};
use serde::{Deserialize, Serialize};

/// One opening of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The openings before it.
    pub index: u64,
    /// The last number that the archive had given out.
    pub after: Sequence,
    /// What no other opening has.
    pub random: u64,
}

/// A mark that was seen, and how far the archive had come under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    /// The mark.
    pub mark: Mark,
    /// Numbers up to this one were seen before there was a later mark.
    pub reached: Sequence,
}

/// What somebody knows of the openings of a replica's archive.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Openings {
    /// In the order of the marks; of a replica with copies those of all of them.
    pub seen: Vec<Seen>,
    /// The opening that was met last, by whoever keeps this.
    pub met: Option<Mark>,
}

/// So many of the last marks are passed on; of those before only some.
const LAST: usize = 64;
/// What is known of so many replicas is passed on in one hello.
pub const PASSED_ON: usize = 64;
/// The most marks that a peer may send of one replica.
pub const MOST_MARKS: usize = 256;

impl Openings {
    /// Returns what an archive with these marks, which has reached `head`, says of itself.
    pub fn of(own: &[Mark], head: Sequence) -> Openings {
        let end = |at: usize| own.get(at + 1).map_or(head, |next| next.after);
        let all: Vec<Seen> =
            own.iter().enumerate().map(|(at, mark)| Seen { mark: *mark, reached: end(at) }).collect();
        Openings { seen: thinned(&all), met: None }
    }

    /// Adds what somebody else knows.
    pub fn learn(&mut self, other: &Openings) {
        self.seen.extend_from_slice(&other.seen);
        self.seen.sort_unstable();
        // Of two with the same mark the one that has come further is the later.
        self.seen.reverse();
        self.seen.dedup_by_key(|seen| seen.mark);
        self.seen.reverse();
        self.seen = thinned(&self.seen);
    }

    /// Adds what the replica itself says.
    pub fn meet(&mut self, said: &Openings) {
        self.learn(said);
        self.met = said.seen.last().map(|seen| seen.mark);
    }

    /// Adds that numbers up to this one have come from the opening that was met last.
    pub fn reach(&mut self, number: Sequence) {
        let Some(met) = self.met else { return };
        for seen in self.seen.iter_mut().filter(|seen| seen.mark == met) {
            seen.reached = seen.reached.max(number);
        }
    }

    /// Returns whether a peer kept to the bounds.
    pub fn is_sane(&self) -> bool {
        self.seen.len() <= MOST_MARKS && self.seen.windows(2).all(|w| w[0].mark < w[1].mark)
    }
}

/// Returns the last of them, and of those before ever fewer.
fn thinned(all: &[Seen]) -> Vec<Seen> {
    let from_end = |at: usize| all.len() - at;
    let kept = |&(at, _): &(usize, &Seen)| from_end(at) <= LAST || from_end(at).is_power_of_two();
    all.iter().enumerate().filter(kept).map(|(_, seen)| *seen).collect()
}

/// Returns up to which number the archive with the marks `own`, which has reached `head`, and the one that somebody knows
/// are the same, if they parted there.
pub fn parted(own: &[Mark], head: Sequence, known: &Openings) -> Option<Sequence> {
    let after = |next: Option<&Mark>| next.map_or(head, |next| next.after);
    let mut parted: Option<Sequence> = None;
    // Where the other was opened first that this one does not know of: it was a copy by then.
    let mut foreign: Option<Sequence> = None;
    // What was before the oldest mark that is kept nobody can judge.
    for seen in known.seen.iter().filter(|seen| own.first().is_some_and(|o| seen.mark.index >= o.index)) {
        match place(own, &seen.mark) {
            // Under this mark somebody has seen numbers that this archive gave out later, or never: a copy of a running
            // archive, which may have overtaken it since.
            Some(at) if seen.reached > after(own.get(at + 1)) => {
                let here = after(own.get(at + 1));
                parted = Some(parted.map_or(here, |other| other.min(here)));
            }
            Some(_) => {}
            None => {
                let opened = seen.mark.after;
                foreign = Some(foreign.map_or(opened, |other| other.min(opened)));
            }
        }
    }
    if let Some(opened) = foreign {
        let here = after(next_own(own, known).as_ref()).min(opened);
        parted = Some(parted.map_or(here, |other| other.min(here)));
    }
    parted
}

/// Returns up to which number an archive is certainly the same as the one that somebody knows, where it is known to be a
/// copy.
pub fn common(own: &[Mark], head: Sequence, known: &Openings) -> Sequence {
    parted(own, head, known).unwrap_or_else(|| next_own(own, known).map_or(head, |mark| mark.after))
}

/// Returns the first opening after the last that both know of.
fn next_own(own: &[Mark], known: &Openings) -> Option<Mark> {
    let last = known.seen.iter().filter_map(|seen| place(own, &seen.mark)).max();
    match last {
        Some(last) => own.get(last + 1).copied(),
        None if known.seen.is_empty() => own.last().copied(),
        None => own.first().copied(),
    }
}

fn place(own: &[Mark], mark: &Mark) -> Option<usize> {
    own.binary_search_by_key(&mark.index, |o| o.index).ok().filter(|&at| own[at] == *mark)
}

/// Returns an entry of a copy under its new id: what `old` made after `common` was made by `new`. `None`: it has nothing
/// of that.
pub fn restamped(
    entry: &Entry,
    old: ReplicaId,
    common: Sequence,
    new: ReplicaId,
    counter: Sequence,
) -> Option<Entry> {
    let is_own = |version: &Version| version.counter(old) > common.0;
    let version = |version: &Version| match is_own(version) {
        true => version.cut(old, common).bumped(new, counter),
        false => version.clone(),
    };
    let lineage = |lineage: &Lineage| Lineage {
        now: version(&lineage.now),
        same: lineage.same.iter().filter(|same| !is_own(same)).cloned().collect(),
    };
    let restamped = Entry {
        content_lineage: lineage(&entry.content_lineage),
        attributes_lineage: lineage(&entry.attributes_lineage),
        mtime_version: version(&entry.mtime_version),
        ..entry.clone()
    };
    (restamped != *entry).then_some(restamped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(index: u64, after: u64, random: u64) -> Mark {
        Mark { index, after: Sequence(after), random }
    }

    #[test]
    fn an_archive_that_goes_on_has_not_parted() {
        let own = [mark(0, 0, 7), mark(1, 10, 8), mark(2, 30, 9)];
        for n in 1..=3 {
            let reached = own.get(n).map_or(40, |m| m.after.0);
            let known = Openings::of(&own[..n], Sequence(reached));
            assert_eq!(parted(&own, Sequence(40), &known), None, "{n}");
        }
    }

    #[test]
    fn a_restored_archive_parts_where_it_was_opened() {
        // The original was opened at 30; the copy, of the state at 20, as well.
        let original = Openings::of(&[mark(0, 0, 7), mark(1, 10, 8), mark(2, 30, 9)], Sequence(50));
        let copy = [mark(0, 0, 7), mark(1, 10, 8), mark(2, 20, 99)];
        assert_eq!(parted(&copy, Sequence(25), &original), Some(Sequence(20)));
        assert_eq!(parted(&copy, Sequence(90), &original), Some(Sequence(20)));
        // Not opened for long enough to make a mark.
        assert_eq!(parted(&copy[..2], Sequence(20), &original), Some(Sequence(20)));
    }

    #[test]
    fn a_copy_that_has_overtaken_its_original_is_recognised() {
        // A copy of a running original: both have the same marks, but for the copy's own opening.
        let mut known = Openings::of(&[mark(0, 0, 7)], Sequence(50));
        let copy = [mark(0, 0, 7), mark(1, 30, 99)];
        assert_eq!(parted(&copy, Sequence(80), &known), Some(Sequence(30)));
        let later = [mark(0, 0, 7), mark(1, 50, 99)];
        assert_eq!(parted(&later, Sequence(80), &known), None);
        // Also by who has heard of the copy before it met it.
        known.learn(&Openings::of(&copy, Sequence(80)));
        assert_eq!(parted(&copy, Sequence(80), &known), Some(Sequence(30)));
        // And the original finds out that there is a copy.
        assert_eq!(parted(&[mark(0, 0, 7)], Sequence(50), &known), Some(Sequence(30)));
    }

    #[test]
    fn what_has_come_since_the_greeting_counts() {
        let original = [mark(0, 0, 7)];
        let mut known = Openings::default();
        known.meet(&Openings::of(&original, Sequence(0)));
        known.reach(Sequence(50));
        assert_eq!(parted(&original, Sequence(60), &known), None);
        let copy = [mark(0, 0, 7), mark(1, 30, 99)];
        assert_eq!(parted(&copy, Sequence(80), &known), Some(Sequence(30)));
    }

    #[test]
    fn what_was_made_since_is_made_by_the_new_replica() {
        use crate::core::entry::{Attributes, Content, Timestamp};
        let (old, new, other) = (ReplicaId(1), ReplicaId(2), ReplicaId(3));
        let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
        let base = Entry::new(Content::Dir, attributes, Timestamp::default(), old, Sequence(5));
        assert_eq!(restamped(&base, old, Sequence(5), new, Sequence(9)), None);
        let theirs = base.bumped(other, Sequence(4));
        let edited = theirs.bumped(old, Sequence(7));
        let again = restamped(&edited, old, Sequence(5), new, Sequence(9)).unwrap();
        assert_eq!((again.counter(old), again.counter(new), again.counter(other)), (5, 9, 4));
        assert!(again.content_lineage.now.covers(&theirs.content_lineage.now));
    }

    #[test]
    fn what_is_passed_on_is_bounded_and_keeps_the_last() {
        let all: Vec<Mark> = (0..10_000).map(|n| mark(n, n, n)).collect();
        let some = Openings::of(&all, Sequence(10_000));
        let is_last = |openings: &Openings| {
            openings.seen.len() < 100
                && openings.seen.iter().rev().zip(all.iter().rev()).take(LAST).all(|(s, m)| s.mark == *m)
        };
        assert!(is_last(&some));
        let mut learned = Openings::default();
        for until in (100..=all.len()).step_by(100) {
            learned.learn(&Openings::of(&all[..until], Sequence(until as u64)));
        }
        assert!(learned.is_sane() && is_last(&learned), "{}", learned.seen.len());
    }
}
