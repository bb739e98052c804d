//! A [`Renamed`] says that a directory has another name, with all that was in it: one fact about a whole subtree. Whoever
//! knows the subtree as it was computes from it every record that the rename made.

use super::entry::Entry;
use super::path::RelPath;
use super::version::{Lineage, ReplicaId, Sequence, Version};
use serde::{Deserialize, Serialize};

/// A directory that was renamed on some replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    /// Its name before.
    pub from: RelPath,
    /// Its name now.
    pub to: RelPath,
    /// The replica on which it was renamed.
    pub by: ReplicaId,
    /// That replica's counter for what stands at `to`. In the order of a walk, each path below has the next.
    pub first: Sequence,
    /// Likewise for the tombstones at and below `from`.
    pub gone: Sequence,
    /// How many paths stood at and below `from`.
    pub count: u64,
    /// What stood there: see [`Subtree`].
    pub digest: [u8; 32],
}

impl Renamed {
    /// Returns whether the numbers make sense: a peer may have made them up.
    pub fn is_sane(&self) -> bool {
        let end = |first: Sequence| first.0.checked_add(self.count);
        let apart = !self.from.starts_with(&self.to) && !self.to.starts_with(&self.from);
        self.first.0 > 0
            && self.gone.0 > 0
            && self.count > 0
            && apart
            && end(self.first).is_some()
            && end(self.gone).is_some()
    }

    /// Returns the new name of a path at or below `from`; `None` for any other, and for one that would be too long.
    pub fn moved(&self, path: &RelPath) -> Option<RelPath> {
        path.rebase(&self.from, &self.to)
    }

    /// Returns the entry of the `n`th path under its new name, counted from 0, from the one that it had before. `there` is
    /// the tombstone of what stood under the new name at some time: the new one has seen that.
    #[must_use]
    pub fn stands(&self, n: u64, before: &Entry, there: Option<&Entry>) -> Entry {
        let version = Version::of(self.by, Sequence(self.first.0.saturating_add(n)));
        let entry = Entry {
            content_lineage: Lineage::new(version.clone()),
            attributes_lineage: Lineage::new(version.clone()),
            mtime_version: version,
            ..before.clone()
        };
        there.map_or_else(|| entry.clone(), |there| entry.joined_versions(there))
    }

    /// Returns the tombstone of the `n`th path under its old name.
    #[must_use]
    pub fn tombstone(&self, n: u64, before: &Entry) -> Entry {
        before.deleted(self.by, Sequence(self.gone.0.saturating_add(n)))
    }
}

/// Collects a subtree into a number of paths and a digest of what stands at them: path, content, the version of each
/// register, and those of a tombstone under the new name. Equal digests are equal subtrees: a version stands for one state.
#[derive(Debug)]
pub struct Subtree {
    top: usize,
    count: u64,
    hasher: Box<blake3::Hasher>,
}

impl Subtree {
    /// Starts at a directory.
    pub fn new(top: &RelPath) -> Subtree {
        Subtree { top: top.as_bytes().len(), count: 0, hasher: Box::default() }
    }

    /// Adds the next live path, in the order of a walk; `there` as in [`Renamed::stands`].
    pub fn add(&mut self, path: &RelPath, entry: &Entry, there: Option<&Entry>) {
        fn versions(entry: &Entry) -> (&Version, &Version, &Version) {
            (&entry.content_lineage.now, &entry.attributes_lineage.now, &entry.mtime_version)
        }
        self.count += 1;
        let below: &[u8] = path.as_bytes().get(self.top..).unwrap_or_default();
        let state = (below, &entry.content, versions(entry), there.map(versions));
        // Each part says how long it is, so that no two subtrees are the same bytes.
        let bytes = postcard::to_stdvec(&state).expect("serialising plain data into memory does not fail");
        self.hasher.update(&bytes);
    }

    /// Returns the number of paths, and the digest.
    pub fn finish(self) -> (u64, [u8; 32]) {
        (self.count, *self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::entry::{Attributes, Content, Digest, Timestamp};
    use crate::core::version::Relation;

    fn path(path: &str) -> RelPath {
        RelPath::new(path.as_bytes()).expect("a path")
    }

    fn renamed(from: &str, to: &str) -> Renamed {
        let (first, gone) = (Sequence(10), Sequence(20));
        Renamed { from: path(from), to: path(to), by: ReplicaId(1), first, gone, count: 3, digest: [0; 32] }
    }

    fn entry(replica: u64, counter: u64) -> Entry {
        let content = Content::File { size: 1, digest: Digest([7; 32]) };
        let (attributes, mtime) = (Attributes::default(), Timestamp::default());
        Entry::new(content, attributes, mtime, ReplicaId(replica), Sequence(counter))
    }

    #[test]
    fn what_is_below_goes_along_and_nothing_else() {
        let rename = renamed("a/b", "c");
        let moved = |p: &str| rename.moved(&path(p)).map(|p| p.to_string());
        assert_eq!(moved("a/b").as_deref(), Some("c"));
        assert_eq!(moved("a/b/x/y").as_deref(), Some("c/x/y"));
        assert_eq!((moved("a"), moved("a/bc"), moved("c")), (None, None, None));
    }

    #[test]
    fn numbers_that_make_no_sense_are_told() {
        assert!(renamed("a", "b").is_sane());
        assert!(!renamed("a", "a/b").is_sane(), "into itself");
        assert!(!renamed("a/b", "a").is_sane());
        assert!(!Renamed { count: 0, ..renamed("a", "b") }.is_sane());
        assert!(!Renamed { first: Sequence(0), ..renamed("a", "b") }.is_sane());
        assert!(!Renamed { gone: Sequence(u64::MAX), ..renamed("a", "b") }.is_sane());
    }

    #[test]
    fn both_ends_compute_the_same_from_the_same() {
        let rename = renamed("a", "b");
        let (here, there) = (entry(2, 5), entry(2, 5));
        assert_eq!(rename.stands(2, &here, None), rename.stands(2, &there, None));
        let tombstone = rename.tombstone(2, &here);
        assert_eq!(tombstone.content_lineage.relation(&here.content_lineage), Relation::Newer);
        assert_eq!(rename.stands(0, &here, None).counter(ReplicaId(1)), 10);
        let stood = entry(3, 7).deleted(ReplicaId(3), Sequence(8));
        let again = rename.stands(0, &here, Some(&stood));
        assert_eq!(again.content_lineage.relation(&stood.content_lineage), Relation::Newer);
        assert_eq!(tombstone.counter(ReplicaId(1)), 22);
    }

    #[test]
    fn a_subtree_is_told_from_every_other() {
        let digest = |top: &str, states: &[(&str, Entry)]| {
            let mut subtree = Subtree::new(&path(top));
            states.iter().for_each(|(at, entry)| subtree.add(&path(at), entry, None));
            subtree.finish()
        };
        let one = digest("a", &[("a", entry(1, 1)), ("a/x", entry(1, 2))]);
        assert_eq!(one, digest("b", &[("b", entry(1, 1)), ("b/x", entry(1, 2))]), "whatever its name");
        assert_ne!(one, digest("a", &[("a", entry(1, 1)), ("a/y", entry(1, 2))]));
        assert_ne!(one, digest("a", &[("a", entry(1, 1)), ("a/x", entry(1, 3))]));
        assert_ne!(one, digest("a", &[("a", entry(1, 1))]));
        let mut over = Subtree::new(&path("a"));
        over.add(&path("a"), &entry(1, 1), Some(&entry(3, 1)));
        over.add(&path("a/x"), &entry(1, 2), None);
        assert_ne!(one, over.finish(), "something stood under the new name");
    }
}
