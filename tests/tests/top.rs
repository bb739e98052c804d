//! `vfsync top`, at a terminal.

use rustix::process::Signal;
use vfsync_tests::{Daemon, Pair, terminal::Terminal};

/// What a program says that gives the screen back as it was.
const RESTORED: &str = "\x1b[?1049l";

#[test]
fn it_shows_a_daemon_that_comes_and_goes_and_gives_the_terminal_back() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let mut top = Terminal::sized(pair.vfsync().arg("top"), 80, 24);
    // Words that are new on the screen are written as a whole; what stands between them may not be.
    top.shows("waited").shows("quits");
    let daemon = Daemon::of(&pair);
    top.shows("process").shows("following").shows("REPLICA").shows("live");
    for (columns, rows) in [(40, 12), (120, 40)] {
        top.forget().resize(columns, rows).shows("REPLICA").shows("quits");
    }
    daemon.stop().code(0);
    top.shows("ended");
    assert!(!top.screen().contains(RESTORED));
    top.presses("q");
    let outcome = top.end();
    outcome.code(0);
    assert!(outcome.stdout.contains(RESTORED), "the screen was not given back");
}

#[test]
fn a_signal_and_control_c_give_the_terminal_back_too() {
    let pair = Pair::local();
    let start = || {
        let mut top = Terminal::sized(pair.vfsync().arg("top"), 80, 24);
        top.shows("waited");
        top
    };
    let mut pressed = start();
    pressed.presses("x\x03");
    let told = start();
    told.signal(Signal::TERM);
    for top in [pressed, told] {
        let outcome = top.end();
        outcome.code(0);
        assert!(outcome.stdout.contains(RESTORED), "the screen was not given back");
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let pair = Pair::local();
    pair.vfsync().arg("top").run().code(3).says("draws on a terminal").says("vfsync status");
}
