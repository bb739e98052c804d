//! What bad input gets: exit code 3, a message that says what to do, no panic, no harm.

mod connection;
mod roots;
mod trees;

use vfsync_tests::{Pair, Vfsync};

/// Nothing could be done.
const NOTHING: i32 = 3;

/// Asserts that a run failed with these words and left both trees as they were.
#[track_caller]
fn fails_without_harm(pair: &Pair, vfsync: Vfsync, words: &[&str]) {
    pair.first.file("f", "mine");
    pair.second.file("g", "yours");
    let before = (pair.first.snapshot(), pair.second.snapshot());
    let outcome = vfsync.run();
    outcome.code(NOTHING);
    for words in words {
        outcome.says(words);
    }
    assert_eq!((pair.first.snapshot(), pair.second.snapshot()), before);
}

#[test]
fn an_unknown_option_names_the_nearest_known_one() {
    let pair = Pair::local();
    let pass = pair.command("sync").args(["-batch", "-ignroe", "Name x"]);
    fails_without_harm(&pair, pass, &["ignroe", "ignore"]);
}

#[test]
fn one_root_is_not_enough() {
    let pair = Pair::local();
    let pass = pair.bare("sync").args(["-batch", &pair.first_root()]);
    fails_without_harm(&pair, pass, &["root"]);
}
