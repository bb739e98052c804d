//! What one link synchronises: a [`Policy`] as it was asked for, and the [`LinkOptions`] of each link that it comes to.

use super::Options;
use crate::core::filter::Pathspec;
use crate::core::path::RelPath;
use serde::{Deserialize, Serialize};

/// What is synchronised, and who wins, before it is known which link it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Only these paths; empty means everything. None lies below another.
    pub paths: Vec<RelPath>,
    /// What is left out.
    pub ignore: Vec<Pathspec>,
    /// Exceptions to `ignore`.
    pub ignorenot: Vec<Pathspec>,
    /// Which attributes are synchronised.
    pub attributes: AttributeOptions,
    /// Whether content that the receiving root has elsewhere is copied there.
    pub copy_local: bool,
    /// What is compressed of what is sent.
    pub compress: Compress,
    /// How many bytes a second are sent each way at the most.
    pub bwlimit: Option<u64>,
    /// Who wins conflicts.
    pub prefer: Option<Preferred>,
    /// Who wins every difference.
    pub force: Option<Preferred>,
    /// What may not be done in each root, in the order of the roots.
    pub forbidden: Vec<Forbidden>,
    /// Who wins every difference at some paths.
    pub force_partial: Vec<(Pathspec, Preferred)>,
    /// Who wins conflicts at some paths.
    pub prefer_partial: Vec<(Pathspec, Preferred)>,
    /// What may not be done at some paths, and in which root.
    pub forbidden_partial: Vec<(Pathspec, usize, Forbidden)>,
    /// Files of so many bytes or more are left out.
    pub too_large: Option<u64>,
    /// What goes first.
    pub order: Order,
}

/// What goes first, of what is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Order {
    /// These.
    pub first: Vec<Pathspec>,
    /// These last.
    pub last: Vec<Pathspec>,
    /// What is new before what has changed.
    pub new_first: bool,
    /// Small files before large ones.
    pub by_size: bool,
}

/// Which attributes are synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeOptions {
    /// The permission bits, a mask.
    pub perms: u32,
    /// Whether owners are.
    pub owner: bool,
    /// Whether groups are.
    pub group: bool,
    /// Whether owners and groups go by number instead of by name.
    pub numeric_ids: bool,
    /// Whether modification times are.
    pub times: bool,
    /// Whether extended attributes are: those that [`super::ExtendedOptions`] names.
    pub xattrs: bool,
    /// Whether access lists are.
    pub acl: bool,
}

/// What is compressed of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compress {
    /// What gets smaller by it, while the connection is slow.
    Auto,
    /// Nothing.
    None,
    /// Everything that gets smaller by it, with Zstandard at this level (1 to 19).
    Zstd(u8),
}

/// Who wins, among all roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preferred {
    /// The root at this place in [`Options::roots`].
    Root(usize),
    /// The side with the newer modification time.
    Newer,
    /// The side with the older modification time.
    Older,
}

/// Who wins, on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// The first root.
    First,
    /// The second root.
    Second,
    /// The side with the newer modification time.
    Newer,
    /// The side with the older modification time.
    Older,
}

/// What may not be done in a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forbidden {
    /// Nothing may be created.
    pub creation: bool,
    /// Nothing may be deleted.
    pub deletion: bool,
    /// Nothing may be changed or deleted.
    pub update: bool,
}

/// What one link between two roots synchronises, and who wins. It travels to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOptions {
    /// Only these paths; empty means everything. None lies below another.
    pub paths: Vec<RelPath>,
    /// What is left out.
    pub ignore: Vec<Pathspec>,
    /// Exceptions to `ignore`.
    pub ignorenot: Vec<Pathspec>,
    /// Which attributes are synchronised.
    pub attributes: AttributeOptions,
    /// Whether content that the receiving root has elsewhere is copied there.
    pub copy_local: bool,
    /// What is compressed of what is sent.
    pub compress: Compress,
    /// How many bytes a second are sent each way at the most.
    pub bwlimit: Option<u64>,
    /// Who wins conflicts.
    pub prefer: Option<Preference>,
    /// Who wins every difference.
    pub force: Option<Preference>,
    /// What may not be done in the first root.
    pub forbidden_in_first: Forbidden,
    /// What may not be done in the second root.
    pub forbidden_in_second: Forbidden,
    /// Who wins every difference at some paths.
    pub force_partial: Vec<(Pathspec, Preference)>,
    /// Who wins conflicts at some paths.
    pub prefer_partial: Vec<(Pathspec, Preference)>,
    /// What may not be done in the first root at some paths.
    pub forbidden_in_first_partial: Vec<(Pathspec, Forbidden)>,
    /// What may not be done in the second root at some paths.
    pub forbidden_in_second_partial: Vec<(Pathspec, Forbidden)>,
    /// Files of so many bytes or more are left out.
    pub too_large: Option<u64>,
    /// What goes first.
    pub order: Order,
}

impl Options {
    /// Returns the options of a command for the first root and `roots[peer]` alone.
    pub fn pair(&self, peer: usize) -> Options {
        let of_pair = |preferred: Option<Preferred>| match preferred? {
            Preferred::Root(0) => Some(Preferred::Root(0)),
            Preferred::Root(root) => (root == peer).then_some(Preferred::Root(1)),
            Preferred::Newer => Some(Preferred::Newer),
            Preferred::Older => Some(Preferred::Older),
        };
        let mut pair = self.clone();
        pair.roots = vec![self.roots[0].clone(), self.roots[peer].clone()];
        pair.policy.prefer = of_pair(self.policy.prefer);
        pair.policy.force = of_pair(self.policy.force);
        let forbidden = |root: usize| self.policy.forbidden.get(root).copied().unwrap_or_default();
        pair.policy.forbidden = vec![forbidden(0), forbidden(peer)];
        pair
    }

    /// Returns what holds for the link between the first root and `roots[peer]`.
    pub fn link(&self, peer: usize) -> LinkOptions {
        let here = |preferred: Preferred| match preferred {
            Preferred::Root(0) => Some(Preference::First),
            Preferred::Root(root) => (root == peer).then_some(Preference::Second),
            Preferred::Newer => Some(Preference::Newer),
            Preferred::Older => Some(Preference::Older),
        };
        let on_this_link = |preferred: Option<Preferred>| here(preferred?);
        let partial = |pairs: &[(Pathspec, Preferred)]| {
            let pairs = pairs.iter().filter_map(|(spec, preferred)| Some((spec.clone(), here(*preferred)?)));
            pairs.collect::<Vec<_>>()
        };
        let forbidden_partial = |root: usize| {
            let all = self.policy.forbidden_partial.iter().filter(|(_, at, _)| *at == root);
            all.map(|(spec, _, forbidden)| (spec.clone(), *forbidden)).collect::<Vec<_>>()
        };
        let forbidden = |root: usize| self.policy.forbidden.get(root).copied().unwrap_or_default();
        LinkOptions {
            paths: self.policy.paths.clone(),
            ignore: self.policy.ignore.clone(),
            ignorenot: self.policy.ignorenot.clone(),
            attributes: self.policy.attributes,
            copy_local: self.policy.copy_local,
            compress: self.policy.compress,
            bwlimit: self.policy.bwlimit,
            prefer: on_this_link(self.policy.prefer),
            force: on_this_link(self.policy.force),
            forbidden_in_first: forbidden(0),
            forbidden_in_second: forbidden(peer),
            force_partial: partial(&self.policy.force_partial),
            prefer_partial: partial(&self.policy.prefer_partial),
            forbidden_in_first_partial: forbidden_partial(0),
            forbidden_in_second_partial: forbidden_partial(peer),
            too_large: self.policy.too_large,
            order: self.policy.order.clone(),
        }
    }
}

impl LinkOptions {
    /// Returns whether what is deleted in one of the two roots may be deleted in the other.
    pub fn passes_deletions_on(&self, from_first: bool) -> bool {
        let (there, other) = match from_first {
            true => (self.forbidden_in_second, Preference::Second),
            false => (self.forbidden_in_first, Preference::First),
        };
        // A forced root has what it has, and gives it back.
        !there.deletion && !there.update && self.force != Some(other)
    }
}
