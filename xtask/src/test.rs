//! The tests: of the units, from end to end, and in guests with kernels of their own.

use std::{
    fmt, fs,
    io::{BufRead, BufReader, IsTerminal},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{build, exec, kernel::Kernel, place, setup::say};

/// A kind of test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Of functions and modules; they need nothing but Rust.
    Unit,
    /// Of the binary, over a real sshd.
    EndToEnd,
    /// In QEMU, with kernels of their own.
    Vm,
}

/// Which tests.
#[derive(Clone, Debug)]
pub struct Selection {
    /// These kinds; empty: all.
    pub kinds: Vec<Kind>,
    /// The kernels for those in QEMU.
    pub kernels: Vec<Kernel>,
    /// Only those with this in their name.
    pub filter: Option<String>,
}

impl Selection {
    /// Tells whether a kind is wanted.
    pub fn wants(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// Runs the tests, each kind to its end, with the binary that [`build::dist`] left.
pub fn run(selection: &Selection) -> Result<()> {
    let mut tallies = Vec::new();
    for kind in [Kind::Unit, Kind::EndToEnd, Kind::Vm].into_iter().filter(|kind| selection.wants(*kind)) {
        let name = kind.to_possible_value().expect("every kind has a name").get_name().to_owned();
        say(format_args!("test: {name}"));
        let start = Instant::now();
        for mut command in commands(kind, selection)? {
            let (tally, succeeded) = watch(&mut command)?;
            tallies.push(Part { name: name.clone(), tally, succeeded, took: start.elapsed() });
        }
    }
    println!("\nsummary");
    let mut total = Tally::default();
    for part in &tallies {
        println!("  {part}");
        total.add(&part.tally);
        // A test program that does not build or that crashes has no tally, but it failed.
        total.failed += u64::from(!part.succeeded && part.tally.failed == 0);
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if tallies.iter().all(|part| part.succeeded) { Ok(()) } else { bail!("there were failures") }
}

/// Returns what to run for a kind of test.
fn commands(kind: Kind, selection: &Selection) -> Result<Vec<Command>> {
    let filter = selection.filter.iter();
    Ok(match kind {
        Kind::Unit => {
            let mut units = cargo();
            if has_nextest() {
                units.args(["nextest", "run", "--no-fail-fast"]).args(filter);
                let mut docs = cargo();
                docs.args(["test", "--doc"]).args(&selection.filter);
                vec![units, docs]
            } else {
                units.args(["test", "--no-fail-fast"]).args(filter);
                vec![units]
            }
        }
        Kind::EndToEnd => {
            let mut test = end_to_end();
            test.arg("--lib");
            for name in test_files()?.iter().filter(|name| *name != "vm") {
                test.args(["--test", name]);
            }
            test.args(filter);
            vec![test]
        }
        Kind::Vm => {
            let mut test = end_to_end();
            let kernels: Vec<&str> = selection.kernels.iter().map(|kernel| kernel.name()).collect();
            test.args(["--test", "vm"]).args(filter).env("VFSYNC_KERNELS", kernels.join(","));
            // A guest has two processors: more of them at a time only take longer.
            test.args(if has_nextest() { &["--test-threads", "1"][..] } else { &["--", "--test-threads=1"] });
            if test_files()?.iter().any(|name| name == "vm") { vec![test] } else { Vec::new() }
        }
    })
}

fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(place::workspace());
    if std::io::stdout().is_terminal() {
        // It goes through us, but a person reads it.
        cargo.env("CARGO_TERM_COLOR", "always");
    }
    cargo
}

/// Tells whether tests can be run by nextest: each in a process of its own.
fn has_nextest() -> bool {
    exec::read(Command::new("cargo").args(["nextest", "--version"])).is_ok()
}

fn end_to_end() -> Command {
    let mut cargo = cargo();
    if has_nextest() {
        // These tests wait for real programs with a limit; one that ran into it on a busy machine is tried once more,
        // and the summary says so.
        cargo.args(["nextest", "run", "--package", "vfsync-tests", "--no-fail-fast", "--retries", "1"]);
    } else {
        cargo.args(["test", "--package", "vfsync-tests", "--no-fail-fast"]);
    }
    cargo.env("VFSYNC_BIN", build::binary()).env("VFSYNC_TOOLS", place::tools());
    cargo
}

/// Returns the names of the end-to-end test programs.
fn test_files() -> Result<Vec<String>> {
    let folder = place::workspace().join("tests/tests");
    let mut names = Vec::new();
    // There may be none yet.
    for entry in fs::read_dir(&folder).into_iter().flatten() {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists() {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// How many tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

struct Part {
    name: String,
    tally: Tally,
    succeeded: bool,
    took: Duration,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.succeeded { "✓" } else { "✗" };
        let Tally { passed, failed, skipped } = self.tally;
        let took = self.took.as_secs_f64();
        write!(f, "{mark} {:<12} {passed} passed, {failed} failed, {skipped} skipped  {took:.1} s", self.name)
    }
}

/// Runs a test program with its output on ours, and counts.
fn watch(command: &mut Command) -> Result<(Tally, bool)> {
    let mut tally = Tally::default();
    let nextest = command.get_args().any(|arg| arg == "nextest");
    // nextest reports on standard error, cargo test on standard output.
    if nextest {
        command.stderr(Stdio::piped());
    } else {
        command.stdout(Stdio::piped());
    }
    let mut child = command.spawn().with_context(|| format!("cannot start {}", exec::line(command)))?;
    // nextest also prints what failed programs said, their own tallies among it.
    let tells = if nextest { "Summary [" } else { "test result:" };
    let mut count = |line: &str| {
        tally.add(&in_line(line, tells));
    };
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.context("cannot read the tests' output")?;
            println!("{line}");
            count(&line);
        }
    }
    if let Some(err) = child.stderr.take() {
        for line in BufReader::new(err).lines() {
            let line = line.context("cannot read the tests' output")?;
            eprintln!("{line}");
            count(&line);
        }
    }
    let status = child.wait().context("cannot wait for the tests")?;
    Ok((tally, status.success()))
}

/// Reads `test result: ok. 5 passed; 0 failed; 1 ignored; …`, or nextest's
/// `Summary [   0.1s] 8 tests run: 8 passed, 0 failed, 2 skipped`.
/// Only a line that starts with `tells` counts.
fn in_line(line: &str, tells: &str) -> Tally {
    let mut tally = Tally::default();
    // Colours end with the letter "m".
    let plain: String = line.split('\x1b').enumerate().map(without_colour).collect();
    let plain = plain.trim_start();
    if !plain.starts_with(tells) {
        return tally;
    }
    let words: Vec<&str> = plain.split([' ', ';', ',', ':']).filter(|word| !word.is_empty()).collect();
    for pair in words.windows(2) {
        let Ok(number) = pair[0].parse::<u64>() else { continue };
        match pair[1] {
            "passed" => tally.passed += number,
            "failed" => tally.failed += number,
            "ignored" | "skipped" => tally.skipped += number,
            _ => {}
        }
    }
    tally
}

fn without_colour((number, part): (usize, &str)) -> &str {
    if number == 0 { part } else { part.split_once('m').map_or("", |(_, rest)| rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_are_understood_in_colour_too() {
        let tally = |passed, failed, skipped| Tally { passed, failed, skipped };
        let plain =
            "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0s";
        assert_eq!(in_line(plain, "test result:"), tally(5, 2, 1));
        let colour =
            "test result: \x1b[32mok\x1b[0m. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(in_line(colour, "test result:"), tally(7, 0, 0));
        let nextest = "     \x1b[32;1mSummary\x1b[0m [   0.1s] 8 tests run: 8 passed, 2 skipped";
        assert_eq!(in_line(nextest, "Summary ["), tally(8, 0, 2));
        assert_eq!(in_line(plain, "Summary ["), tally(0, 0, 0));
        assert_eq!(in_line("5 passed", "test result:"), tally(0, 0, 0));
    }
}
