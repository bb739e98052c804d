//! What the deletion of a directory, or its replacement by something else, means for what lies below it: it goes as a
//! whole or not at all.

use super::entry::{Content, Entry};
use super::reconcile::{Above, Decision, Policy, Preference, Side, reconcile};

/// What to do with a directory that the peer no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Everything below goes, and then the directory.
    Whole,
    /// Something below was never seen by the peer that deleted: nothing goes.
    Conflict,
    /// The local state wins by policy: everything that stands gets a resolution.
    Win,
    /// The peer's state wins by policy: it writes the resolution.
    Yield,
    /// An option forbids that something below goes: which.
    Refuse(&'static str),
}

/// Judges one path below the directory: `local` stands here, `remote` is what the peer offers for it, if anything.
/// `becomes` is what the peer has in place of the directory.
///
/// The whole is the worst of its parts; [`Removal::Whole`] only if every part says so.
pub fn judge_below(local: &Entry, remote: Option<&Entry>, becomes: &Content, policy: &Policy) -> Removal {
    if !local.content.is_live() {
        return Removal::Whole;
    }
    let decision = remote.map(|r| reconcile(Some(local), r, Above::Live, policy));
    match decision {
        Some(Decision::Take(entry, _)) if !entry.content.is_live() => Removal::Whole,
        Some(Decision::Refuse(option)) => Removal::Refuse(option),
        _ => match policy.force.or(policy.prefer) {
            Some(Preference::Side(Side::Local) | Preference::Newer | Preference::Older) => Removal::Win,
            Some(Preference::Side(Side::Remote)) => Removal::Yield,
            // To bring back what a stranger deleted costs nothing; what it put in the place would be lost.
            None if policy.first_meeting && !becomes.is_live() => Removal::Win,
            None => Removal::Conflict,
        },
    }
}

/// Joins the judgements of two parts.
#[must_use]
pub fn worse(a: Removal, b: Removal) -> Removal {
    let rank = |r| match r {
        Removal::Whole => 0,
        Removal::Yield => 1,
        Removal::Win => 2,
        Removal::Refuse(_) => 3,
        Removal::Conflict => 4,
    };
    if rank(a) >= rank(b) { a } else { b }
}
