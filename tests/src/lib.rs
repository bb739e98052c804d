//! What the end-to-end tests have in common: trees to build and compare, pairs of replicas, and vfsync run as a user
//! runs it.
//!
//! A test here sees what a user sees: trees, exit codes, what is printed. It starts with a [`Pair`], changes its
//! trees, runs a command and looks again. Helpers panic with the path or the output concerned, so that tests stay
//! short. Nothing waits for a time: only for a state, with a limit.

pub mod binary;
pub mod daemon;
pub mod hosts;
pub mod live;
pub mod machine;
pub mod mount;
pub mod operations;
pub mod outcome;
pub mod pair;
pub mod process;
pub mod run;
pub mod snapshot;
pub mod sshd;
pub mod stress;
pub mod terminal;
pub mod tree;
pub mod watching;
pub mod writer;

pub use daemon::Daemon;
pub use hosts::{Host, Network};
pub use live::Live;
pub use machine::Machine;
pub use outcome::Outcome;
pub use pair::{Link, Pair};
pub use run::{Running, Vfsync};
pub use snapshot::{Compare, Snapshot, assert_same, assert_same_with};
pub use tree::Tree;
pub use writer::Writer;

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a state may take to come about. Far more than it needs, on a busy machine too.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Waits until `state` returns something, and panics with `what` after [`LIMIT`]. For states that announce themselves
/// by no event, such as the contents of a tree.
#[track_caller]
pub fn wait_for<T>(what: &str, state: impl FnMut() -> Option<T>) -> T {
    match wait_for_up_to(LIMIT, state) {
        Some(reached) => reached,
        None => panic!("after {} s still waiting for {what}", LIMIT.as_secs()),
    }
}

/// Waits until `state` returns something, or `limit` is over.
pub fn wait_for_up_to<T>(limit: Duration, mut state: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(reached) = state() {
            return Some(reached);
        }
        if start.elapsed() > limit {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Makes two tests of one: between two local trees, and over ssh.
///
/// ```text
/// over_both_links! {
///     fn a_file_goes_over(pair) { … }
/// }
/// ```
#[macro_export]
macro_rules! over_both_links {
    ($($(#[$doc:meta])* fn $name:ident($pair:ident) $body:block)*) => {$(
        mod $name {
            use super::*;

            $(#[$doc])*
            fn check($pair: &$crate::Pair) $body

            #[test]
            fn between_local_trees() {
                check(&$crate::Pair::local());
            }

            #[test]
            fn over_ssh() {
                check(&$crate::Pair::over_ssh());
            }
        }
    )*};
}
