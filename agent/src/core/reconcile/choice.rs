//! [`Choices`] are what a person has chosen, item by item, after a plan was shown: each holds for one path, or for all
//! below it too, and for the states that were shown.

use super::{Policy, Preference, Side};
use crate::core::entry::Entry;
use crate::core::path::RelPath;
use crate::core::version::{ReplicaId, Sequence};
use std::collections::BTreeMap;

/// What a person wants at a path, seen from one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    Skip,
    /// This side wins the conflict.
    Settle(Side),
    /// This side's state is to be on both, whatever was proposed.
    Impose(Side),
}

/// One choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    /// What.
    pub choice: Choice,
    /// Also for everything below the path.
    pub below: bool,
}

/// What was chosen after a plan.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    by_path: BTreeMap<RelPath, Chosen>,
    /// The bytes of all paths together.
    size: usize,
    /// The last number of this replica, and of the peer, that the plan knew.
    own: Sequence,
    peers: Sequence,
}

impl Choices {
    /// Notes a choice.
    pub fn insert(&mut self, path: RelPath, chosen: Chosen) {
        let length = path.as_bytes().len();
        if self.by_path.insert(path, chosen).is_none() {
            self.size += length;
        }
    }

    /// Returns how long the paths are together, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.by_path.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    /// Notes what this replica offered in the plan.
    pub fn planned(&mut self, through: Sequence) {
        self.own = through;
    }

    /// Notes what the peer offered in the plan.
    pub fn peer_planned(&mut self, through: Sequence) {
        self.peers = through;
    }

    /// Returns what was chosen at a path: there, or else at the nearest directory above that speaks for what is in it.
    pub fn at(&self, path: &RelPath) -> Option<Choice> {
        if self.by_path.is_empty() {
            return None;
        }
        let here = self.by_path.get(path);
        let above = || path.ancestors().find_map(|dir| self.by_path.get(&dir).filter(|chosen| chosen.below));
        here.or_else(above).map(|chosen| chosen.choice)
    }

    /// Returns whether the states are still those that were shown, as far as the choice would do away with them. The
    /// winner may have a new number: that of the resolution.
    pub fn knows(
        &self,
        choice: Choice,
        local: Option<&Entry>,
        remote: Option<&Entry>,
        ids: (ReplicaId, ReplicaId),
    ) -> bool {
        let (own, peer) = ids;
        let local_is_known = local.is_none_or(|entry| entry.counter(own) <= self.own.0);
        let remote_is_known = remote.is_none_or(|entry| entry.counter(peer) <= self.peers.0);
        match choice {
            Choice::Skip => true,
            Choice::Settle(Side::Remote) | Choice::Impose(Side::Remote) => local_is_known,
            Choice::Settle(Side::Local) | Choice::Impose(Side::Local) => local_is_known && remote_is_known,
        }
    }
}

impl Choice {
    /// Returns the policy under which the choice comes about.
    pub fn over(self, policy: Policy) -> Policy {
        match self {
            Choice::Skip => policy,
            Choice::Settle(side) => Policy { prefer: Some(Preference::Side(side)), force: None, ..policy },
            Choice::Impose(side) => Policy { force: Some(Preference::Side(side)), ..policy },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::entry::{Attributes, Content, Timestamp};

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_choice_holds_for_its_path_and_that_of_a_directory_for_what_is_in_it() {
        let mut choices = Choices::default();
        assert_eq!(choices.at(&path("d/e/f")), None);
        let settle = Choice::Settle(Side::Local);
        choices.insert(path("d"), Chosen { choice: settle, below: true });
        choices.insert(path("d/e"), Chosen { choice: Choice::Skip, below: false });
        assert_eq!(choices.at(&path("d/e")), Some(Choice::Skip));
        assert_eq!((choices.at(&path("d/e/f")), choices.at(&path("d"))), (Some(settle), Some(settle)));
        assert_eq!(choices.at(&path("d-e")), None);
    }

    #[test]
    fn a_choice_is_about_the_states_that_were_shown() {
        let (own, peer) = (ReplicaId(1), ReplicaId(2));
        let entry = |replica, n| {
            let (content, at) = (Content::Dir, Timestamp::default());
            Entry::new(content, Attributes::default(), at, replica, Sequence(n))
        };
        let mut choices = Choices::default();
        choices.planned(Sequence(10));
        choices.peer_planned(Sequence(20));
        let knows = |side, mine, theirs| {
            let (local, remote) = (entry(own, mine), entry(peer, theirs));
            choices.knows(Choice::Impose(side), Some(&local), Some(&remote), (own, peer))
        };
        assert!(knows(Side::Local, 10, 20) && knows(Side::Remote, 10, 20));
        // Edited here since.
        assert!(!knows(Side::Remote, 11, 20) && !knows(Side::Local, 11, 20));
        // Edited there since: what was chosen does not do away with it; as the winner's it is the resolution.
        assert!(!knows(Side::Local, 10, 21) && knows(Side::Remote, 10, 21));
    }
}
