//! [`Rules`] are what holds for some paths only: `forcepartial`, `preferpartial`, `nodeletionpartial` and the like, and
//! `maxsizethreshold`. They make of the policy of a link the policy at one path.
//!
//! The order is Unison's: `force`, else `prefer`; then by path `forcepartial`, else `preferpartial`; then what forbids.

use super::{Decision, Forbidden, Policy, Preference};
use crate::core::entry::Content;
use crate::core::filter::PathMap;
use crate::core::path::RelPath;

/// What holds for some paths only, seen from one end of a link.
#[derive(Debug)]
pub struct Rules {
    /// `forcepartial`.
    pub force: PathMap<Preference>,
    /// `preferpartial`.
    pub prefer: PathMap<Preference>,
    /// `nocreationpartial`, `nodeletionpartial`, `noupdatepartial`: each match forbids something more here.
    pub forbidden: PathMap<Forbidden>,
    /// `maxsizethreshold`: a file of so many bytes or more is not taken.
    pub too_large: Option<u64>,
}

impl Rules {
    /// Returns the policy at a path.
    pub fn at(&self, path: &RelPath, policy: &Policy) -> Policy {
        let mut forbidden = policy.forbidden;
        for more in self.forbidden.all(path) {
            forbidden.creation |= more.creation;
            forbidden.update |= more.update;
            forbidden.deletion |= more.deletion;
        }
        Policy {
            force: self.force.get(path).copied().or(policy.force),
            prefer: self.prefer.get(path).copied().or(policy.prefer),
            forbidden,
            ..*policy
        }
    }

    /// Refuses to take a file that is too large.
    pub fn limit(&self, decision: Decision) -> Decision {
        let is_too_large = |content: &Content| match (content, self.too_large) {
            (Content::File { size, .. }, Some(limit)) => *size >= limit,
            (Content::File { .. } | Content::Dir | Content::Symlink { .. } | Content::Deleted, _) => false,
        };
        match decision {
            Decision::Take(entry, change) if change.content && is_too_large(&entry.content) => {
                Decision::Refuse("maxsizethreshold")
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::entry::AttributeMask;
    use crate::core::filter::Pathspec;
    use crate::core::reconcile::Side;

    fn map<T>(pairs: Vec<(&str, T)>) -> PathMap<T> {
        let parsed =
            pairs.into_iter().map(|(spec, value)| (Pathspec::parse(spec.as_bytes()).unwrap(), value));
        PathMap::new(parsed.collect(), false).unwrap()
    }

    #[test]
    fn a_path_has_the_policy_of_the_last_pattern_that_matches_it() {
        let none = Forbidden::default();
        let rules = Rules {
            force: map(vec![("Name *.lock", Preference::Newer)]),
            prefer: map(vec![
                ("BelowPath a", Preference::Side(Side::Local)),
                ("BelowPath a/b", Preference::Side(Side::Remote)),
            ]),
            forbidden: map(vec![
                ("BelowPath keep", Forbidden { deletion: true, ..none }),
                ("Path keep/it", Forbidden { update: true, ..none }),
            ]),
            too_large: None,
        };
        let policy = Policy { prefer: Some(Preference::Older), ..Policy::plain(AttributeMask::ALL) };
        let at = |path: &str| rules.at(&RelPath::new(path.as_bytes()).unwrap(), &policy);
        assert_eq!((at("x").prefer, at("x").force), (Some(Preference::Older), None));
        assert_eq!(at("a/x").prefer, Some(Preference::Side(Side::Local)));
        assert_eq!(at("a/b/x").prefer, Some(Preference::Side(Side::Remote)));
        assert_eq!(at("a/b/x.lock").force, Some(Preference::Newer));
        assert_eq!(at("keep/x").forbidden, Forbidden { deletion: true, ..none });
        assert_eq!(at("keep/it").forbidden, Forbidden { deletion: true, update: true, ..none });
        assert_eq!(at("x").forbidden, none);
    }
}
