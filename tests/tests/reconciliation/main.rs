//! What one pass does with each pair of changes: the table of reconciliation, both ways round, between local trees
//! one case at a time and over ssh all at once.

mod cases;

use cases::{Case, Then};
use vfsync_tests::{Compare, Pair, Tree, assert_same};

/// Where a case takes place: the tree that it calls first, and the other.
struct Place {
    first: Tree,
    second: Tree,
    /// The path of both, to be put before the paths that a case names.
    prefix: String,
}

impl Place {
    fn of(pair: &Pair, mirrored: bool, prefix: &str) -> Place {
        let (first, second) =
            if mirrored { (&pair.second, &pair.first) } else { (&pair.first, &pair.second) };
        let below = |tree: &Tree| Tree::new(tree.path(prefix));
        Place { first: below(first), second: below(second), prefix: prefix.to_owned() }
    }

    fn prepare(&self, case: &Case) {
        (case.before)(&self.first);
    }

    fn change(&self, case: &Case) {
        (case.first)(&self.first);
        (case.second)(&self.second);
    }

    /// Returns the paths for which the case is to be reported as a conflict.
    fn conflicts(&self, case: &Case) -> Vec<String> {
        match case.then {
            Then::Same(_) => Vec::new(),
            Then::Skipped(paths) | Then::Partly(paths, _) => {
                paths.iter().map(|path| format!("{}{path}", self.prefix)).collect()
            }
        }
    }

    /// Checks the trees after a pass. `left` is how the changes had left them.
    fn check(&self, case: &Case, left: &Left) {
        let Place { first, second, .. } = self;
        match case.then {
            Then::Same(check) => {
                assert_same(first, second);
                check(first);
                check(second);
            }
            Then::Skipped(_) => {
                for (tree, left) in [(first, &left.first), (second, &left.second)] {
                    let differences = left.differences(&tree.snapshot(), Compare::default());
                    assert!(differences.is_empty(), "a skipped path was changed: {differences:?}");
                }
            }
            Then::Partly(_, check) => check(first, second),
        }
    }

    fn left(&self) -> Left {
        Left { first: self.first.snapshot(), second: self.second.snapshot() }
    }
}

/// The trees of a case as its changes left them.
struct Left {
    first: vfsync_tests::Snapshot,
    second: vfsync_tests::Snapshot,
}

fn check_between_local_trees(case: &Case, mirrored: bool) {
    let pair = Pair::local();
    // Beside the case, so that no case empties a root.
    pair.first.file("bystander", "");
    let place = Place::of(&pair, mirrored, "case/");
    place.prepare(case);
    pair.in_step();
    place.change(case);
    let left = place.left();
    let code = if place.conflicts(case).is_empty() { 0 } else { 1 };

    let pass = pair.sync().arg("--json").run();
    pass.code(code);
    assert_eq!(pass.conflicts(), place.conflicts(case), "{pass}");
    place.check(case, &left);

    // Again: nothing is done, the same is reported.
    let again = pair.sync().arg("--json").run();
    again.code(code);
    assert_eq!(again.conflicts(), place.conflicts(case), "{again}");
    assert_eq!(again.summary()["transferred"], 0, "{again}");
    place.check(case, &left);
}

#[test]
fn every_case_at_once_over_ssh() {
    let pair = Pair::over_ssh();
    let places: Vec<(&Case, Place)> = Case::all()
        .flat_map(|case| [(case, false), (case, true)])
        .map(|(case, mirrored)| {
            let side = if mirrored { "mirrored" } else { "straight" };
            let place = Place::of(&pair, mirrored, &format!("{}/{side}/", case.name));
            (case, place)
        })
        .collect();
    for (case, place) in &places {
        place.prepare(case);
    }
    pair.in_step();
    for (case, place) in &places {
        place.change(case);
    }
    let left: Vec<Left> = places.iter().map(|(_, place)| place.left()).collect();
    let mut conflicts: Vec<String> = places.iter().flat_map(|(case, place)| place.conflicts(case)).collect();
    conflicts.sort();

    for _ in 0..2 {
        let pass = pair.sync().args(["--json", "-confirm-deletes", "1000"]).run();
        pass.code(1);
        assert_eq!(pass.conflicts(), conflicts, "{pass}");
        for ((case, place), left) in places.iter().zip(&left) {
            eprintln!("{}", place.prefix);
            place.check(case, left);
        }
    }
}
