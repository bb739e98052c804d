//! The cases: what was there, what each side does to it, and what one pass makes of that.

mod directories;
mod files;
mod renames;
mod symlinks;

use vfsync_tests::Tree;

/// What a pair of changes leads to. Each holds for the mirrored case too.
pub struct Case {
    /// The case in words.
    pub name: &'static str,
    /// What both sides have at the beginning.
    pub before: fn(&Tree),
    /// What happens on one side.
    pub first: fn(&Tree),
    /// What happens on the other.
    pub second: fn(&Tree),
    /// What becomes of it.
    pub then: Then,
}

/// What becomes of a pair of changes.
pub enum Then {
    /// Both sides are the same, and this holds for them. Exit code 0.
    Same(fn(&Tree)),
    /// These paths are conflicts, and both sides stay as they are. Exit code 1.
    Skipped(&'static [&'static str]),
    /// These paths are conflicts, and this holds for the sides. Exit code 1.
    Partly(&'static [&'static str], fn(&Tree, &Tree)),
}

impl Case {
    /// Returns all cases.
    pub fn all() -> impl Iterator<Item = &'static Case> {
        [files::CASES, directories::CASES, symlinks::CASES, renames::CASES].into_iter().flatten()
    }
}

fn nothing(_: &Tree) {}

/// Makes a list of cases, and two tests of each.
macro_rules! cases {
    ($($name:ident { $($field:ident: $value:expr,)* })*) => {
        /// The cases of this kind.
        pub const CASES: &[super::Case] = &[$(super::Case { name: stringify!($name), $($field: $value,)* }),*];

        $(mod $name {
            #[test]
            fn between_local_trees() {
                crate::check_between_local_trees(super::super::named(stringify!($name)), false);
            }

            #[test]
            fn between_local_trees_mirrored() {
                crate::check_between_local_trees(super::super::named(stringify!($name)), true);
            }
        })*
    };
}

use cases;

fn named(name: &str) -> &'static Case {
    Case::all().find(|case| case.name == name).expect("every case has its name")
}
