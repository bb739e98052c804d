//! A [`Live`] is a `vfsync live` that runs while a test changes its trees.

use std::ffi::OsStr;

use rustix::process::Signal;

use crate::{Compare, LIMIT, Outcome, Pair, Running, Tree, snapshot::shortened, wait_for, wait_for_up_to};

/// A running `vfsync live`.
pub struct Live {
    running: Running,
    first: Tree,
    second: Tree,
}

impl Live {
    /// Starts it on both roots of a pair with these options, and waits until both trees are the same.
    pub fn start(pair: &Pair, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Live {
        let running = pair.command("live").arg("--json").args(args).start();
        Live::of(running, pair)
    }

    /// Starts it on the roots of a pair, which need not become the same.
    pub fn of_unequal(pair: &Pair) -> Live {
        let running = pair.command("live").arg("--json").start();
        Live { running, first: pair.first.clone(), second: pair.second.clone() }
    }

    /// Takes over a `vfsync live` that was started, and waits until both trees are the same.
    pub fn of(running: Running, pair: &Pair) -> Live {
        let mut live = Live { running, first: pair.first.clone(), second: pair.second.clone() };
        live.carries();
        live
    }

    /// Waits until both trees are the same, and panics with their differences if they do not become so.
    #[track_caller]
    pub fn carries(&mut self) -> &mut Live {
        let mut differences = Vec::new();
        let same = wait_for_up_to(LIMIT, || {
            assert!(self.running.is_running(), "vfsync live has ended:\n{}", self.running.stderr());
            differences = self.first.snapshot().differences(&self.second.snapshot(), Compare::default());
            differences.is_empty().then_some(())
        });
        if same.is_none() {
            panic!(
                "not carried over in {} s:\n{}standard output ends with: {}\nstandard error: {}",
                LIMIT.as_secs(),
                shortened(&differences),
                last_lines(&self.running.stdout(), 30),
                self.running.stderr()
            );
        }
        self
    }

    /// Waits until it has printed a line on standard output that holds some words.
    #[track_caller]
    pub fn prints(&mut self, words: &str) -> &mut Live {
        wait_for(&format!("a line with {words:?}"), || self.running.stdout().contains(words).then_some(()));
        self
    }

    /// Returns the process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Interrupts it as Ctrl-C does and waits for its end.
    pub fn interrupt(self) -> Outcome {
        self.running.signal(Signal::INT);
        self.running.end()
    }
}

fn last_lines(text: &str, n: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}
