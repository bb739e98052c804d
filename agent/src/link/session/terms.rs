//! The terms of a session: what its options mean to one of its ends.

use crate::core::entry::AttributeMask;
use crate::core::filter::{Filter, FilterError, PathMap, Pathspec};
use crate::core::reconcile::{Forbidden, Policy, Preference, Rules, Side};
use crate::options::{self, LinkOptions, ReplicaOptions};

/// Turns the options of a link into the policy of one end, whose replica is looked at as `options` say.
pub(super) fn policy(
    link: &LinkOptions,
    options: &ReplicaOptions,
    is_first: bool,
    first_meeting: bool,
) -> Policy {
    let side = |preference| side_of(preference, is_first);
    let forbidden = if is_first { link.forbidden_in_first } else { link.forbidden_in_second };
    let attributes = &link.attributes;
    Policy {
        times: attributes.times,
        mask: AttributeMask {
            mode: (attributes.perms & 0o7777) as u16,
            owner: attributes.owner,
            group: attributes.group,
            xattrs: attributes.xattrs && options.extended.xattrs,
            acl: attributes.acl && options.extended.acl,
        },
        prefer: link.prefer.map(side),
        force: link.force.map(side),
        first_meeting,
        forbidden: as_forbidden(forbidden),
    }
}

/// Returns who wins, as one end sees it.
fn side_of(preference: options::Preference, is_first: bool) -> Preference {
    match preference {
        options::Preference::First => Preference::Side(if is_first { Side::Local } else { Side::Remote }),
        options::Preference::Second => Preference::Side(if is_first { Side::Remote } else { Side::Local }),
        options::Preference::Newer => Preference::Newer,
        options::Preference::Older => Preference::Older,
    }
}

fn as_forbidden(forbidden: options::Forbidden) -> Forbidden {
    Forbidden { creation: forbidden.creation, update: forbidden.update, deletion: forbidden.deletion }
}

/// Turns the options of a link into what holds for some paths at one end.
pub(super) fn rules(link: &LinkOptions, is_first: bool) -> Result<Rules, FilterError> {
    let preferences = |pairs: &[(Pathspec, options::Preference)]| {
        let pairs = pairs.iter().map(|(spec, preference)| (spec.clone(), side_of(*preference, is_first)));
        PathMap::new(pairs.collect(), false)
    };
    let forbidden =
        if is_first { &link.forbidden_in_first_partial } else { &link.forbidden_in_second_partial };
    let forbidden = forbidden.iter().map(|(spec, forbidden)| (spec.clone(), as_forbidden(*forbidden)));
    Ok(Rules {
        force: preferences(&link.force_partial)?,
        prefer: preferences(&link.prefer_partial)?,
        forbidden: PathMap::new(forbidden.collect(), false)?,
        too_large: link.too_large,
    })
}

/// Returns a number that stands for what a link leaves out of entries, or entries out of: with another one, what was dealt
/// with may not be dealt with.
pub(super) fn scope(link: &LinkOptions, options: &ReplicaOptions) -> u64 {
    let attributes = &link.attributes;
    let parts = (&link.ignore, &link.ignorenot, attributes, options.links, options.extended.number());
    let bytes = postcard::to_stdvec(&parts).expect("options can be encoded: they are sent, too");
    let hash = blake3::hash(&bytes);
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("a hash is longer than 8 bytes"))
}

/// Returns what a scan leaves out under the options of a link.
pub fn scan_filter(link: &LinkOptions) -> Result<Filter, FilterError> {
    Filter::new(&link.ignore, &link.ignorenot, false)
}
