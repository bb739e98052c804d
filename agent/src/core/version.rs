//! A [`Version`] says what a state has seen: a version vector, replica id → counter. Of two versions one is newer,
//! or they are equal, or they are concurrent; nothing else orders two states.
//!
//! The comparison is the one of Parker et al., "Detection of Mutual Inconsistency in Distributed Systems" (1983).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Names a replica: a random number, new whenever its archive is new. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaId(pub u64);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A number that grows with every write to one replica's archive and is never used twice. It is also the counter
/// that a replica puts into the versions it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Sequence(pub u64);

/// How the versions of two states relate, seen from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Both have seen the same.
    Equal,
    /// The first has seen all that the second has, and more.
    Newer,
    /// The second has seen all that the first has, and more.
    Older,
    /// Each has seen something that the other has not.
    Concurrent,
}

/// A version vector. The empty one is older than every other and belongs to what was never seen.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<(ReplicaId, u64)>", into = "Vec<(ReplicaId, u64)>")]
pub struct Version(Vec<(ReplicaId, u64)>);

/// The most replicas that one version may name: far more than any site links, and a bound on what a peer can send.
pub const MAX_REPLICAS: usize = 4096;

/// Why a list of pairs is not a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version's replica ids are not in strict order, a counter is 0, or there are too many")]
pub struct VersionError;

impl Version {
    /// Returns the version that has seen just this.
    pub fn of(replica: ReplicaId, counter: Sequence) -> Version {
        Version(vec![(replica, counter.0)])
    }

    /// Returns what it takes in memory, in bytes.
    pub fn size(&self) -> usize {
        size_of_val(&self.0[..])
    }

    /// Returns whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the pairs in the order of the ids.
    pub fn pairs(&self) -> &[(ReplicaId, u64)] {
        &self.0
    }

    /// Returns what of `replica` was seen; 0 is nothing.
    pub fn counter(&self, replica: ReplicaId) -> u64 {
        self.0.binary_search_by_key(&replica, |p| p.0).map_or(0, |at| self.0[at].1)
    }

    /// Returns whether `self` has seen all that `other` has.
    pub fn covers(&self, other: &Version) -> bool {
        other.0.iter().all(|&(id, n)| self.counter(id) >= n)
    }

    /// Compares what the two have seen.
    pub fn relation(&self, other: &Version) -> Relation {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Relation::Equal,
            (true, false) => Relation::Newer,
            (false, true) => Relation::Older,
            (false, false) => Relation::Concurrent,
        }
    }

    /// Returns the least version that covers both.
    #[must_use]
    pub fn join(&self, other: &Version) -> Version {
        let mut out = Vec::with_capacity(self.0.len() + other.0.len());
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        loop {
            match (a.peek(), b.peek()) {
                (Some(&&(i, n)), Some(&&(j, m))) if i == j => {
                    out.push((i, n.max(m)));
                    a.next();
                    b.next();
                }
                (Some(&&(i, n)), Some(&&(j, _))) if i < j => {
                    out.push((i, n));
                    a.next();
                }
                (Some(&&pair), None) => {
                    out.push(pair);
                    a.next();
                }
                (_, Some(&&pair)) => {
                    out.push(pair);
                    b.next();
                }
                (None, None) => return Version(out),
            }
        }
    }

    /// Returns this version after `replica` made a change with its counter at `counter`.
    #[must_use]
    pub fn bumped(&self, replica: ReplicaId, counter: Sequence) -> Version {
        self.join(&Version::of(replica, counter))
    }
}

/// The version of one register together with the versions that carried the same state when they were joined into it.
///
/// Two replicas that hold equal states with concurrent versions join them, each for itself. Until both have done so,
/// an edit on one of them follows only its own old version; because the joined versions are remembered, it still
/// counts as newer and not as a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// The version of the state.
    pub now: Version,
    /// Versions below `now` that had the same state. Empty after an edit.
    pub same: Vec<Version>,
}

/// The most joined versions that are remembered. Forgetting one can make a later edit a conflict, never lose one.
pub const MAX_SAME: usize = 16;

impl Lineage {
    /// Returns the lineage of a state that was never joined with another.
    pub fn new(now: Version) -> Lineage {
        Lineage { now, same: Vec::new() }
    }

    /// Compares two lineages; a state that is strictly newer than one that was joined into the other is newer.
    pub fn relation(&self, other: &Lineage) -> Relation {
        let follows =
            |a: &Lineage, b: &Lineage| b.same.iter().any(|old| a.now.relation(old) == Relation::Newer);
        match self.now.relation(&other.now) {
            Relation::Concurrent => match (follows(self, other), follows(other, self)) {
                (true, false) => Relation::Newer,
                (false, true) => Relation::Older,
                (true, true) | (false, false) => Relation::Concurrent,
            },
            ordered => ordered,
        }
    }

    /// Returns the lineage of a state that both sides hold.
    #[must_use]
    pub fn merged(&self, other: &Lineage) -> Lineage {
        let now = self.now.join(&other.now);
        let mut same: Vec<Version> = Vec::new();
        for version in [&self.now, &other.now].into_iter().chain(&self.same).chain(&other.same) {
            if *version != now && !version.is_empty() && !same.contains(version) && same.len() < MAX_SAME {
                same.push(version.clone());
            }
        }
        same.sort_by(|a, b| a.pairs().cmp(b.pairs()));
        Lineage { now, same }
    }

    /// Returns the lineage of `newer`'s state on a replica that held `self`: it covers both.
    #[must_use]
    pub fn superseded_by(&self, newer: &Lineage) -> Lineage {
        if newer.now.covers(&self.now) {
            return newer.clone();
        }
        let mut same = newer.same.clone();
        if same.len() < MAX_SAME && !same.contains(&newer.now) {
            same.push(newer.now.clone());
            same.sort_by(|a, b| a.pairs().cmp(b.pairs()));
        }
        Lineage { now: self.now.join(&newer.now), same }
    }

    /// Returns the lineage after `replica` made a new state that knows both.
    #[must_use]
    pub fn resolved(&self, other: &Lineage, replica: ReplicaId, counter: Sequence) -> Lineage {
        Lineage::new(self.now.join(&other.now).bumped(replica, counter))
    }

    /// Returns the lineage after `replica` made an edit.
    #[must_use]
    pub fn bumped(&self, replica: ReplicaId, counter: Sequence) -> Lineage {
        Lineage::new(self.now.bumped(replica, counter))
    }

    /// Returns what it takes in memory, in bytes.
    pub fn size(&self) -> usize {
        self.now.size() + self.same.iter().map(Version::size).sum::<usize>()
    }

    /// Returns whether a peer kept to the bounds.
    pub fn is_sane(&self) -> bool {
        self.same.len() <= MAX_SAME
    }
}

impl TryFrom<Vec<(ReplicaId, u64)>> for Version {
    type Error = VersionError;
    fn try_from(pairs: Vec<(ReplicaId, u64)>) -> Result<Version, VersionError> {
        let sorted = pairs.windows(2).all(|w| w[0].0 < w[1].0);
        if !sorted || pairs.len() > MAX_REPLICAS || pairs.iter().any(|&(_, n)| n == 0) {
            return Err(VersionError);
        }
        Ok(Version(pairs))
    }
}

impl From<Version> for Vec<(ReplicaId, u64)> {
    fn from(version: Version) -> Self {
        version.0
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(id, n)| (format!("{:x}", id.0), n))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version() -> impl Strategy<Value = Version> {
        proptest::collection::btree_map(1u64..5, 1u64..4, 0..4)
            .prop_map(|m| Version(m.into_iter().map(|(id, n)| (ReplicaId(id), n)).collect()))
    }

    proptest! {
        #[test]
        fn join_is_the_least_upper_bound(a in version(), b in version(), c in version()) {
            let j = a.join(&b);
            prop_assert!(j.covers(&a) && j.covers(&b));
            prop_assert_eq!(&j, &b.join(&a));
            if c.covers(&a) && c.covers(&b) {
                prop_assert!(c.covers(&j));
            }
        }

        #[test]
        fn relation_mirrors(a in version(), b in version()) {
            let mirrored = match b.relation(&a) {
                Relation::Newer => Relation::Older,
                Relation::Older => Relation::Newer,
                r => r,
            };
            prop_assert_eq!(a.relation(&b), mirrored);
            prop_assert_eq!(a.relation(&b) == Relation::Equal, a == b);
        }

        #[test]
        fn a_bump_is_newer(a in version(), id in 1u64..5) {
            let next = a.bumped(ReplicaId(id), Sequence(a.counter(ReplicaId(id)) + 1));
            prop_assert_eq!(next.relation(&a), Relation::Newer);
        }
    }

    #[test]
    fn an_edit_before_the_join_arrived_is_newer_on_both_sides() {
        let (a, b) = (ReplicaId(1), ReplicaId(2));
        let at_a = Lineage::new(Version::of(a, Sequence(1)));
        let at_b = Lineage::new(Version::of(b, Sequence(1)));
        let joined = at_a.merged(&at_b);
        assert_eq!(joined, at_b.merged(&at_a));
        let edited = at_b.bumped(b, Sequence(2));
        assert_eq!(edited.relation(&joined), Relation::Newer);
        assert_eq!(joined.relation(&edited), Relation::Older);
        let taken = joined.superseded_by(&edited);
        assert_eq!(taken.relation(&edited), Relation::Newer);
        assert_eq!(taken.relation(&joined), Relation::Newer);
        assert_eq!(at_a.bumped(a, Sequence(2)).relation(&edited), Relation::Concurrent);
    }

    #[test]
    fn what_a_peer_sends_is_checked() {
        let id = ReplicaId;
        assert!(Version::try_from(vec![(id(2), 1), (id(1), 1)]).is_err());
        assert!(Version::try_from(vec![(id(1), 1), (id(1), 2)]).is_err());
        assert!(Version::try_from(vec![(id(1), 0)]).is_err());
        assert!(Version::try_from(vec![(id(1), 1), (id(2), 9)]).is_ok());
    }
}
