//! Programs that write while a pass runs.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use vfsync_tests::{Writer, assert_same, over_both_links};

over_both_links! {
    /// Two trees that were never in step, with a program at work in each.
    fn a_first_pass_with_writers_on_both_sides_is_equal_after_a_quiet_pass(pair) {
        for n in 0..1500 {
            pair.first.file(format!("mine/{}/{n}", n % 10), format!("mine {n}"));
            pair.second.file(format!("yours/{}/{n}", n % 10), format!("yours {n}"));
            pair.first.file(format!("both/{}/{n}", n % 10), format!("both {n}"));
            pair.second.file(format!("both/{}/{n}", n % 10), format!("both {n}"));
        }
        let writers = [
            Writer::start(pair.first.below("at-first"), 1),
            Writer::start(pair.second.below("at-second"), 2),
        ];
        for _ in 0..4 {
            let pass = pair.sync().run();
            assert!(matches!(pass.code, Some(0..=2)), "{pass}");
        }
        let [at_first, at_second] = writers.map(Writer::stop);
        let quiet = pair.sync().run();
        quiet.code(0);
        assert_same(&pair.first, &pair.second);
        assert!(at_first.operations > 100 && at_second.operations > 100, "the writers hardly wrote");
        for tree in [&pair.first, &pair.second] {
            at_first.is_all_in(&tree.below("at-first"));
            at_second.is_all_in(&tree.below("at-second"));
            assert_eq!(tree.text("both/7/7"), "both 7");
        }
    }

    fn a_log_that_grows_all_the_time_is_whole_in_the_end(pair) {
        pair.first.file("log", "");
        let stop = Arc::new(AtomicBool::new(false));
        let (tree, stopped) = (pair.first.clone(), Arc::clone(&stop));
        let writer = std::thread::spawn(move || {
            let mut lines = 0;
            while !stopped.load(Ordering::Relaxed) {
                tree.append("log", format!("line {lines}\n"));
                lines += 1;
                std::thread::sleep(std::time::Duration::from_micros(300));
            }
            lines
        });
        for _ in 0..5 {
            let pass = pair.sync().run();
            assert!(matches!(pass.code, Some(0..=2)), "{pass}");
        }
        stop.store(true, Ordering::Relaxed);
        let lines: usize = writer.join().unwrap();
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
        assert_eq!(pair.second.text("log").lines().count(), lines);
    }

    /// What is written at the second root while the first one's version comes in must stay there: it is newer than
    /// what came, or a conflict with it.
    fn a_file_written_while_its_new_version_comes_in_is_not_lost(pair) {
        const FILES: usize = 300;
        let name = |n: usize| format!("f{n:03}");
        for n in 0..FILES {
            pair.first.file(name(n), "old");
        }
        pair.in_step();
        for n in 0..FILES {
            pair.first.file(name(n), format!("mine {n}"));
        }
        let tree = pair.second.clone();
        let pass = pair.sync().start();
        let writer = std::thread::spawn(move || {
            // As soon as the first has come in, through the rest in the same order and in the opposite one.
            vfsync_tests::wait_for("the first file to come in", || (tree.text(name(0)) != "old").then_some(()));
            for n in 0..FILES {
                let n = if n % 2 == 0 { n } else { FILES - n };
                let yours = format!("yours {n}");
                if n % 4 < 2 {
                    tree.file(name(n), yours);
                } else {
                    // Not in the tree until it is whole.
                    tree.file("../aside", yours).rename("../aside", name(n));
                }
            }
        });
        let outcome = pass.end();
        assert!(matches!(outcome.code, Some(0..=2)), "{outcome}");
        writer.join().unwrap();
        for _ in 0..2 {
            pair.sync().run();
            for n in 0..FILES {
                let there = pair.second.text(name(n));
                assert_eq!(there, format!("yours {n}"), "what was written last at the second root is gone");
                let here = pair.first.text(name(n));
                assert!(here == there || here == format!("mine {n}"), "{here}");
            }
        }
    }
}
