//! The line at the bottom of a terminal that says how far the work has come.

use crate::replica::Count;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A line at the bottom of the terminal. What is printed meanwhile is kept back and printed above it, some lines at a
/// time: to draw the line anew after each would take longer than the work.
pub(super) struct Progress {
    bar: ProgressBar,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Looking,
    Transferring,
}

impl Progress {
    /// Makes one on standard error, which is a terminal.
    pub(super) fn new() -> Progress {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(looking());
        Progress { bar, phase: Phase::Looking }
    }

    /// Prints above the line.
    pub(super) fn above(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }

    /// Shows how far it has come.
    pub(super) fn show(&mut self, count: &Count) {
        if count.due_files == 0 {
            let (looked, hashed) = (HumanCount(count.looked), HumanBytes(count.hashed));
            self.bar.set_message(format!("{looked} paths looked at, {hashed} read"));
            self.bar.tick();
            return;
        }
        if self.phase == Phase::Looking {
            self.phase = Phase::Transferring;
            self.bar.set_style(transferring());
            self.bar.set_length(count.due_bytes);
            // The rate is that of the transfer.
            self.bar.reset();
        }
        let (done, due) = (HumanCount(count.done_files), HumanCount(count.due_files));
        self.bar.set_message(format!("{done} of {due} files"));
        self.bar.set_length(count.due_bytes);
        self.bar.set_position(count.done_bytes);
    }

    /// Takes the line away.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}

fn looking() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is right")
}

fn transferring() -> ProgressStyle {
    let template = "{bar:20} {msg}, {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    ProgressStyle::with_template(template).expect("the template is right")
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::{InMemoryTerm, TermLike};

    #[test]
    fn the_line_says_what_is_done_and_goes_when_it_is_over() {
        let screen = InMemoryTerm::new(5, 100);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(looking());
        let mut progress = Progress { bar, phase: Phase::Looking };
        progress.show(&Count { looked: 12_345, hashed: 3 << 20, ..Count::default() });
        assert!(screen.contents().contains("12,345 paths looked at, 3.00 MiB read"), "{}", screen.contents());
        let count = Count {
            due_files: 4,
            due_bytes: 4 << 20,
            done_files: 1,
            done_bytes: 1 << 20,
            ..Count::default()
        };
        progress.show(&count);
        progress.bar.force_draw();
        let shown = screen.contents();
        assert!(shown.contains("1 of 4 files, 1.00 MiB of 4.00 MiB"), "{shown}");
        progress.above(|| screen.write_line("a line").unwrap());
        assert!(screen.contents().starts_with("a line\n"), "{}", screen.contents());
        progress.end();
        assert_eq!(screen.contents(), "a line");
    }
}
