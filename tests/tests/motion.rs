//! First passes over a tree that programs write to all the while. `VFSYNC_RUNS=50` makes that many of them; without it there
//! are a few.

use std::env;
use vfsync_tests::{Pair, Writer, assert_same};

const FEW: u64 = 2;

fn runs() -> u64 {
    let asked = env::var("VFSYNC_RUNS").ok();
    asked.map_or(FEW, |n| n.parse().expect("VFSYNC_RUNS is a number"))
}

#[test]
fn a_first_pass_over_a_tree_in_motion_ends_equal() {
    for run in 0..runs() {
        let pair = Pair::over_ssh();
        for n in 0..600 {
            pair.first.file(format!("calm/{}/{n}", n % 20), format!("{n} {}", "x".repeat(n * 7)));
        }
        pair.first.file("calm/large", vec![run as u8 + 1; 6_000_000]);
        let seeds = [2 * run + 1, 2 * run + 2];
        let writers = seeds.map(|seed| Writer::start(pair.first.below(format!("busy-{seed}")), seed));
        // It may have to leave out what never rested.
        let pass = pair.sync().run();
        assert!(matches!(pass.code, Some(0..=2)), "run {run}\n{pass}");
        let written = writers.map(Writer::stop);
        assert!(pair.second.has("calm/large"), "run {run}: what is calm went over\n{pass}");
        let last = pair.sync().run();
        last.code(0);
        assert_same(&pair.first, &pair.second);
        for (seed, written) in seeds.into_iter().zip(&written) {
            written.is_all_in(&pair.second.below(format!("busy-{seed}")));
        }
        if runs() > FEW {
            let operations: u64 = written.iter().map(|written| written.operations).sum();
            eprintln!(
                "run {run}: equal after {operations} operations beside it; the pass ended with {:?}",
                pass.code
            );
        }
    }
}
