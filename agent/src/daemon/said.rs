//! What was [`Said`] of the problems of a replica: a path that cannot be read is tried every few seconds, and a log that
//! says so each time hides everything else.

use crate::core::path::RelPath;
use crate::replica::Problem;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What stands is said again after so long.
const AGAIN: Duration = Duration::from_secs(3600);

/// The problems that stand and were said, each with why and when.
#[derive(Debug, Default)]
pub struct Said {
    problems: BTreeMap<RelPath, (String, Instant)>,
}

impl Said {
    /// Returns what is to be said of what a look found: what is new, or another reason, or was said long ago. `stands`
    /// tells whether a problem is still kept in mind; those beyond what is kept are counted, and not said.
    pub fn anew<'p>(
        &mut self,
        found: &'p [Problem],
        stands: impl Fn(&RelPath) -> bool,
        now: Instant,
    ) -> Vec<&'p Problem> {
        self.problems.retain(|path, _| stands(path));
        let is_new = |problem: &&Problem| {
            let said = self.problems.get(&problem.path);
            if said.is_some_and(|(why, then)| *why == problem.why && now.duration_since(*then) < AGAIN)
                || !stands(&problem.path)
            {
                return false;
            }
            self.problems.insert(problem.path.clone(), (problem.why.clone(), now));
            true
        };
        found.iter().filter(is_new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Severity;

    #[test]
    fn a_problem_is_said_when_it_is_new_and_then_once_an_hour() {
        let problem = |why: &str| {
            let path = RelPath::new(b"d/f").unwrap();
            [Problem { path, severity: Severity::Failed, why: why.to_owned() }]
        };
        let (mut said, start) = (Said::default(), Instant::now());
        let mut count = |found: &[Problem], stands: bool, seconds: u64| {
            said.anew(found, |_| stands, start + Duration::from_secs(seconds)).len()
        };
        let times = (0..17_280).map(|n| count(&problem("no"), true, n * 5)).sum::<usize>();
        assert_eq!(times, 24);
        let day = 86_400;
        // For another reason; after it was gone for a while; and one that nobody keeps in mind.
        assert_eq!(count(&problem("never"), true, day), 1);
        assert_eq!((count(&[], false, day + 5), count(&problem("never"), true, day + 10)), (0, 1));
        assert_eq!(count(&problem("other"), false, day + 15), 0);
    }
}
