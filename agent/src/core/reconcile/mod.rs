//! [`reconcile`] decides what one replica does with an entry that a peer offers. It is a pure function: no I/O, no
//! clock. Both ends run it on each other's offers, and the decisions of the two fit together:
//!
//! - where one side is newer, the other takes its state;
//! - where the states are equal, both join the versions;
//! - where they are concurrent, it is a conflict, unless a policy names a winner: then the winner's side, and only
//!   that, writes the resolution ([`Decision::Win`]), and the other waits for it ([`Decision::Yield`]).

mod choice;
mod rules;

pub use choice::{Choice, Choices, Chosen};
pub use rules::Rules;

use super::entry::{AttributeMask, Attributes, Content, Entry, Timestamp};
use super::extended::Extended;
use super::version::{Lineage, Relation, Version};
use serde::{Deserialize, Serialize};

/// One end of a link, seen from where the decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The replica that decides.
    Local,
    /// The peer.
    Remote,
}

impl Side {
    /// Returns the other end.
    #[must_use]
    pub fn flipped(self) -> Side {
        match self {
            Side::Local => Side::Remote,
            Side::Remote => Side::Local,
        }
    }
}

/// Who wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// One end.
    Side(Side),
    /// The state with the later mtime; equal mtimes stay as they are.
    Newer,
    /// The state with the earlier mtime; equal mtimes stay as they are.
    Older,
}

impl Preference {
    /// Returns the preference as the other end has to see it.
    #[must_use]
    pub fn flipped(self) -> Preference {
        match self {
            Preference::Side(side) => Preference::Side(side.flipped()),
            other => other,
        }
    }
}

/// What may not be done to the local replica over this link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forbidden {
    /// `nocreation`.
    pub creation: bool,
    /// `noupdate` (also forbids deletions, as in Unison).
    pub update: bool,
    /// `nodeletion`.
    pub deletion: bool,
}

/// How a link reconciles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Carry mtimes over.
    pub times: bool,
    /// Which attributes are carried over.
    pub mask: AttributeMask,
    /// Who wins a conflict.
    pub prefer: Option<Preference>,
    /// Who wins every difference.
    pub force: Option<Preference>,
    /// The two replicas never met: a deletion here says nothing about what stands there.
    pub first_meeting: bool,
    /// What may not be done here.
    pub forbidden: Forbidden,
}

impl Policy {
    /// Returns the policy that carries `mask` and nothing else, and resolves nothing.
    pub fn plain(mask: AttributeMask) -> Policy {
        Policy {
            times: false,
            mask,
            prefer: None,
            force: None,
            first_meeting: false,
            forbidden: Forbidden::default(),
        }
    }
}

/// What stands above the path in the local replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Above {
    /// A directory that stands, and no conflict above.
    Live,
    /// The directory is deleted here, or something else stands in its place.
    Gone,
    /// A directory above is in conflict: nothing below it is deleted.
    Conflict,
}

/// Which registers differ on the disk from what they shall be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// Kind, bytes or target.
    pub content: bool,
    /// Mode, owner or group.
    pub attributes: bool,
    /// Modification time.
    pub mtime: bool,
}

/// What to do with an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the local state is the same or newer.
    Keep,
    /// The archive gets this entry; the disk is right as it is.
    Merge(Box<Entry>),
    /// The disk and the archive get this state.
    Take(Box<Entry>, Change),
    /// The local state wins by policy. The archive gets this entry with a new counter of its own in every register.
    Win(Box<Entry>),
    /// The local state loses by policy, or cannot be judged yet: the peer writes the resolution.
    Yield,
    /// `nocreation`, `noupdate` or `nodeletion` forbids it; the name of the option.
    Refuse(&'static str),
    /// Both changed, and nobody may choose.
    Conflict,
}

/// Decides what the local replica does with the entry that the peer offers for a path.
///
/// Deleting or replacing a *directory* is decided here for its own entry only; what lies below it is judged by
/// [`super::removal`].
pub fn reconcile(local: Option<&Entry>, remote: &Entry, above: Above, policy: &Policy) -> Decision {
    let decision = match local {
        None => meet_nothing(remote, above, policy),
        Some(local) => meet(local, remote, above, policy),
    };
    forbid(local, decision, policy.forbidden)
}

/// The peer has something of which nothing is known here.
fn meet_nothing(remote: &Entry, above: Above, policy: &Policy) -> Decision {
    if !remote.content.is_live() {
        return Decision::Keep;
    }
    let nothing = || {
        let mut tombstone = remote.clone();
        tombstone.content = Content::Deleted;
        tombstone.extended = Extended::default();
        Box::new(tombstone)
    };
    match (above, policy.force) {
        (_, Some(Preference::Side(Side::Local))) => Decision::Win(nothing()),
        (Above::Live | Above::Conflict, _) => Decision::Take(Box::new(adopted(remote, policy)), ALL_CHANGED),
        (Above::Gone, _) => match (policy.prefer.or(policy.force), policy.first_meeting) {
            (Some(Preference::Side(Side::Local)), _) => Decision::Win(nothing()),
            (Some(_), _) | (None, true) => Decision::Yield,
            (None, false) => Decision::Conflict,
        },
    }
}

const ALL_CHANGED: Change = Change { content: true, attributes: true, mtime: true };

/// Returns the remote entry as a replica takes it over that had nothing at the path.
fn adopted(remote: &Entry, policy: &Policy) -> Entry {
    let mut entry = remote.clone();
    entry.vouched = vouched(remote, policy);
    entry.extended = remote.extended.only(entry.vouched);
    entry
}

/// Returns what the remote entry says of the attributes to a replica that has nothing to compare with: what its version
/// vouches for, and whatever extended attributes it has, compared or not.
fn vouched(remote: &Entry, policy: &Policy) -> AttributeMask {
    remote.vouched.or(remote.extended.present()).and(policy.mask)
}

fn meet(local: &Entry, remote: &Entry, above: Above, policy: &Policy) -> Decision {
    if let Some(forced) = force(local, remote, policy) {
        return forced;
    }
    let relation = local.content_lineage.relation(&remote.content_lineage);
    let equal = local.content == remote.content;
    let content = match (relation, equal) {
        (Relation::Equal, true) => Register::Local(local.content_lineage.clone()),
        (Relation::Newer, _) => Register::Local(local.content_lineage.clone()),
        (Relation::Older, true) => {
            Register::Local(local.content_lineage.superseded_by(&remote.content_lineage))
        }
        (Relation::Older, false) => {
            Register::Remote(local.content_lineage.superseded_by(&remote.content_lineage))
        }
        (Relation::Concurrent, true) => {
            Register::Local(local.content_lineage.merged(&remote.content_lineage))
        }
        (Relation::Concurrent, false) if let Some(side) = made_anew(local, remote, policy) => match side {
            Side::Local => Register::Local(remote.content_lineage.superseded_by(&local.content_lineage)),
            Side::Remote => Register::Remote(local.content_lineage.superseded_by(&remote.content_lineage)),
        },
        (Relation::Equal | Relation::Concurrent, false) => return resolve(local, remote, policy),
    };
    let result = match content {
        Register::Local(lineage) if !local.content.is_live() => {
            Entry { content_lineage: lineage, ..local.clone() }
        }
        Register::Remote(lineage) if !remote.content.is_live() => {
            if above == Above::Conflict {
                return Decision::Conflict;
            }
            let extended = Extended::default();
            Entry { content: Content::Deleted, content_lineage: lineage, extended, ..local.clone() }
        }
        Register::Remote(_) if above == Above::Gone => {
            return if policy.first_meeting { Decision::Yield } else { Decision::Conflict };
        }
        Register::Local(lineage) => match beside(local, remote, policy, false) {
            Some(rest) => Entry { content_lineage: lineage, ..rest },
            None => return resolve(local, remote, policy),
        },
        Register::Remote(lineage) => match beside(local, remote, policy, true) {
            Some(rest) => Entry { content: remote.content.clone(), content_lineage: lineage, ..rest },
            None => return resolve(local, remote, policy),
        },
    };
    settle(local, result, policy)
}

/// A register's winner, with the lineage that the result gets.
enum Register {
    Local(Lineage),
    Remote(Lineage),
}

/// Returns the local entry with attributes and mtime reconciled; `None` where they are in conflict. `taken`: the
/// content comes from the peer.
fn beside(local: &Entry, remote: &Entry, policy: &Policy, taken: bool) -> Option<Entry> {
    let mut result = local.clone();
    if local.content.kind() != remote.content.kind() {
        // Another kind of thing: what the old one's mode was says nothing about the new one. Only where the content
        // is taken does the new kind come here.
        if taken {
            result.vouched = vouched(remote, policy);
            result.extended = Extended::default();
            result.overlay(remote, result.vouched);
            result.attributes_lineage = local.attributes_lineage.superseded_by(&remote.attributes_lineage);
            result.mtime = remote.mtime;
            result.mtime_version = local.mtime_version.join(&remote.mtime_version);
        }
        return Some(result);
    }
    if !matches!(local.content, Content::Symlink { .. }) {
        attributes(&mut result, local, remote, policy)?;
    }
    mtime(&mut result, local, remote, policy, taken);
    Some(result)
}

fn attributes(result: &mut Entry, local: &Entry, remote: &Entry, policy: &Policy) -> Option<()> {
    let common = policy.mask.and(local.vouched).and(remote.vouched);
    let equal = local.same_attributes(remote, common);
    let (mine, theirs) = (&local.attributes_lineage, &remote.attributes_lineage);
    match (mine.relation(theirs), equal) {
        (Relation::Newer, _) => {}
        (Relation::Older, _) => {
            let taken = remote.vouched.and(policy.mask);
            result.overlay(remote, taken);
            // Of these the newer version tells nothing, and nobody else will.
            let untold = policy.mask.and(AttributeMask::EXTENDED).without(taken);
            let united = local.extended.never_compared(&remote.extended, later(local.mtime, remote.mtime));
            result.extended = result.extended.overlaid(&united, untold.without(local.vouched));
            result.vouched = taken.or(untold);
            result.attributes_lineage = mine.superseded_by(theirs);
        }
        (Relation::Concurrent, true) => {
            result.attributes_lineage = mine.merged(theirs);
            result.vouched = common;
            never_compared(result, local, remote, policy, common);
        }
        (Relation::Equal, true) => never_compared(result, local, remote, policy, common),
        (Relation::Equal | Relation::Concurrent, false) => return None,
    }
    Some(())
}

/// An option was widened since the versions were made. What one side vouches for, the other takes: it came to this
/// version over a link that left it out. What neither vouches for was never compared: the side whose file is newer by
/// mtime wins, and where both are of the same time what grants less, the same on both sides. Extended attributes and
/// access lists are united: see [`Extended::never_compared`].
fn never_compared(result: &mut Entry, local: &Entry, remote: &Entry, policy: &Policy, common: AttributeMask) {
    let wanted = policy.mask;
    if wanted == common || !(local.content.is_live() && remote.content.is_live()) {
        return;
    }
    let theirs = remote.vouched.and(wanted).without(local.vouched);
    result.overlay(remote, theirs);
    let nobodys = wanted.without(local.vouched).without(remote.vouched);
    let later = later(local.mtime, remote.mtime);
    let decided = match later {
        Some(Side::Local) => local.attributes,
        Some(Side::Remote) => remote.attributes,
        None => Attributes {
            mode: local.attributes.mode & remote.attributes.mode,
            uid: local.attributes.uid.min(remote.attributes.uid),
            gid: local.attributes.gid.min(remote.attributes.gid),
        },
    };
    result.attributes = result.attributes.overlaid(&decided, nobodys);
    let united = local.extended.never_compared(&remote.extended, later);
    result.extended = result.extended.overlaid(&united, nobodys);
    result.vouched = wanted;
}

fn mtime(result: &mut Entry, local: &Entry, remote: &Entry, policy: &Policy, taken: bool) {
    if local.content.is_dir() || remote.content.is_dir() {
        if policy.times {
            result.mtime = local.mtime.max(remote.mtime);
        }
        return;
    }
    if !policy.times {
        if taken {
            result.mtime = remote.mtime;
            result.mtime_version = local.mtime_version.join(&remote.mtime_version);
        }
        return;
    }
    match local.mtime_version.relation(&remote.mtime_version) {
        Relation::Newer => {}
        Relation::Older => {
            result.mtime = remote.mtime;
            result.mtime_version = remote.mtime_version.clone();
        }
        Relation::Equal | Relation::Concurrent => {
            result.mtime = local.mtime.max(remote.mtime);
            result.mtime_version = local.mtime_version.join(&remote.mtime_version);
        }
    }
}

/// Compares the result with what is here: nothing, the archive alone, or the disk too.
fn settle(local: &Entry, result: Entry, policy: &Policy) -> Decision {
    if result == *local {
        return Decision::Keep;
    }
    let live = result.content.is_live();
    let change = Change {
        content: result.content != local.content,
        attributes: live && !local.same_attributes(&result, policy.mask),
        mtime: live && policy.times && result.mtime != local.mtime,
    };
    if change == Change::default() {
        Decision::Merge(Box::new(result))
    } else {
        Decision::Take(Box::new(result), change)
    }
}

/// Applies `prefer` to a conflict.
fn resolve(local: &Entry, remote: &Entry, policy: &Policy) -> Decision {
    let one_deleted = local.content.is_live() != remote.content.is_live();
    let preference = match policy.prefer.or(policy.force) {
        None if policy.first_meeting && one_deleted => Some(Preference::Newer),
        preference => preference,
    };
    match preference.and_then(|p| winner(local, remote, p)) {
        Some(Side::Local) => Decision::Win(Box::new(local.joined_versions(remote))),
        Some(Side::Remote) => Decision::Yield,
        None => Decision::Conflict,
    }
}

/// Returns whether a peer that offered `remote` has to hear of `local`, which is newer: it may have seen it once and not
/// kept it, as those do with tombstones of what they never had.
pub fn is_news(local: &Entry, remote: &Entry) -> bool {
    local.content != remote.content
        && local.content_lineage.relation(&remote.content_lineage) == Relation::Newer
}

/// Returns the side that made a path anew which the other had and deleted, if neither had heard of the other's.
///
/// Those who never had a file keep no tombstone of it, so this is no conflict between two people. What stands wins, and
/// nobody loses anything. Both sides come to the same by themselves, and the one that made it may never hear of the
/// tombstone: so nobody has to write a resolution.
fn made_anew(local: &Entry, remote: &Entry, policy: &Policy) -> Option<Side> {
    let stands = match (local.content.is_live(), remote.content.is_live()) {
        (true, false) => Side::Local,
        (false, true) => Side::Remote,
        (true, true) | (false, false) => return None,
    };
    let theirs = &remote.content_lineage.now;
    let strangers =
        local.content_lineage.now.pairs().iter().all(|&(replica, _)| theirs.counter(replica) == 0);
    let wanted = policy.prefer.or(policy.force).map_or(Some(stands), |p| winner(local, remote, p));
    (strangers && wanted == Some(stands)).then_some(stands)
}

/// Returns who wins a conflict under a preference; `None` where it does not choose.
pub fn winner(local: &Entry, remote: &Entry, preference: Preference) -> Option<Side> {
    match (preference, local.content.is_live(), remote.content.is_live()) {
        (Preference::Side(side), ..) => Some(side),
        // A deletion has no mtime. What stands wins, whichever way the preference looks.
        (_, true, false) => Some(Side::Local),
        (_, false, true) => Some(Side::Remote),
        (Preference::Newer, ..) => later(local.mtime, remote.mtime),
        (Preference::Older, ..) => later(remote.mtime, local.mtime),
    }
}

fn later(local: Timestamp, remote: Timestamp) -> Option<Side> {
    match local.cmp(&remote) {
        std::cmp::Ordering::Greater => Some(Side::Local),
        std::cmp::Ordering::Less => Some(Side::Remote),
        std::cmp::Ordering::Equal => None,
    }
}

/// Applies `force`: every difference goes to the winner's state.
fn force(local: &Entry, remote: &Entry, policy: &Policy) -> Option<Decision> {
    let preference = policy.force?;
    if !differ(local, remote, policy) {
        return None;
    }
    let relation = local.content_lineage.relation(&remote.content_lineage);
    let ordered = !matches!(relation, Relation::Concurrent);
    if !matches!(preference, Preference::Side(_))
        && ordered
        && local.content.is_live() != remote.content.is_live()
    {
        return None;
    }
    match winner(local, remote, preference)? {
        Side::Local => Some(Decision::Win(Box::new(local.joined_versions(remote)))),
        Side::Remote if local_is_behind(local, remote) => None,
        Side::Remote => Some(Decision::Yield),
    }
}

/// Returns whether the states differ where this link looks.
fn differ(local: &Entry, remote: &Entry, policy: &Policy) -> bool {
    local.content != remote.content
        || (local.content.is_live()
            && !matches!(local.content, Content::Symlink { .. })
            && (!local.same_attributes(remote, policy.mask)
                || (policy.times && !local.content.is_dir() && local.mtime != remote.mtime)))
}

fn local_is_behind(local: &Entry, remote: &Entry) -> bool {
    let behind = |r| matches!(r, Relation::Older | Relation::Equal);
    behind(local.content_lineage.relation(&remote.content_lineage))
        && behind(local.attributes_lineage.relation(&remote.attributes_lineage))
        && behind(Version::relation(&local.mtime_version, &remote.mtime_version))
}

fn forbid(local: Option<&Entry>, decision: Decision, forbidden: Forbidden) -> Decision {
    let Decision::Take(entry, change) = &decision else { return decision };
    let was_live = local.is_some_and(|l| l.content.is_live());
    let option = match (was_live, entry.content.is_live()) {
        (false, true) if forbidden.creation => "nocreation",
        (true, false) if forbidden.deletion => "nodeletion",
        (true, _) if forbidden.update && *change != Change::default() => "noupdate",
        _ => return decision,
    };
    Decision::Refuse(option)
}

/// Returns the attributes that a new file of the entry gets: what is vouched for, and for the rest `default`.
pub fn initial_attributes(entry: &Entry, default: Attributes) -> Attributes {
    default.overlaid(&entry.attributes, entry.vouched)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
