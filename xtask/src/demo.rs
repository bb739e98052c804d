//! The demonstration: a live sync between two folders over ssh, with a change of each kind on either side, each shown
//! as it is captured and carried over.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    exec,
    pair::Pair,
    steps::{self, Side, Step},
    talker::Talker,
    tree::{self, Look},
};

/// How to run it.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The capture tier that vfsync has to take, or `auto`.
    pub capture: &'a str,
    /// How long the start and each change may take before the demonstration fails.
    pub limit: Duration,
}

/// Set when the user has had enough.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Runs it between two replicas.
pub fn run(pair: &Pair, plan: Plan<'_>) -> Result<ExitCode> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed)).context("cannot handle interrupts")?;
    println!("two replicas over a private sshd");
    println!("  A  {}", pair.first().display());
    println!("  B  {}", pair.second_root());
    let mut watch = start_watch(pair, plan)?;
    let mut live = start_live(pair, plan)?;
    println!();
    println!("     {:<40}  {:<56}  carried over", "operation", "captured");
    let mut failed = 0;
    let (mut steps, mut limit) = (steps::all(), plan.limit);
    if watch.is_none() {
        // Without capture vfsync looks once a minute: one change shows that as well as all would.
        steps.truncate(1);
        limit = limit.max(Duration::from_secs(150));
    }
    for step in steps {
        let seen = perform(pair, &step, watch.as_mut(), &mut live, limit)?;
        failed += usize::from(!seen.print(&step));
    }
    println!();
    let count = require_equal(pair)?;
    println!("both trees are equal: {count} entries compared by name, kind, content, mode, target and time");
    if failed > 0 {
        println!("{failed} changes were not captured or not carried over");
        return Ok(ExitCode::FAILURE);
    }
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        println!("going on until interrupted: change something in A or B");
        follow(&mut live)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts `vfsync watch` on both replicas and waits until it captures. None: this user cannot capture.
fn start_watch(pair: &Pair, plan: Plan<'_>) -> Result<Option<Talker>> {
    let mut command = exec::tied(pair.binary());
    command.args(["watch", "--json", "--capture", plan.capture]).arg(pair.first()).arg(pair.second());
    command.env("VFSYNC_STATE_DIR", pair.path("state-watch"));
    let mut watch = Talker::start(command, &pair.path("watch.err"))?;
    let start = Instant::now();
    while start.elapsed() < plan.limit && watch.ended()?.is_none() {
        check_interrupted()?;
        for (side, root) in [("A", pair.first()), ("B", pair.second())] {
            let path = root.join(format!("made-in-{side}.txt"));
            std::fs::write(&path, format!("there before the first pass, on {side}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some((_, event)) = watch.line(Duration::from_millis(500)) {
            println!("  capture: {}", event["tier"].as_str().unwrap_or("?"));
            return Ok(Some(watch));
        }
    }
    let why = watch.errors();
    let why = why.trim();
    ensure!(!rustix::process::getuid().is_root(), "vfsync watch captures nothing:\n{why}");
    println!("  capture: none as this user: {why}");
    println!("           only root may capture; to see it: sudo -E cargo xtask run");
    Ok(None)
}

/// Starts `vfsync live` and waits for the first pass.
fn start_live(pair: &Pair, plan: Plan<'_>) -> Result<Talker> {
    let start = Instant::now();
    let mut command = pair.vfsync("live", "-C");
    command.args(["--json", "--capture", plan.capture]);
    let mut live = Talker::start(command, &pair.path("live.err"))?;
    while !equal(pair)? {
        check_interrupted()?;
        alive(&mut live)?;
        ensure!(start.elapsed() < plan.limit, "the first pass does not end; vfsync says:\n{}", live.errors());
        thread::sleep(Duration::from_millis(5));
    }
    println!("  first pass: {:.0} ms, with the connection", start.elapsed().as_secs_f64() * 1e3);
    Ok(live)
}

fn alive(live: &mut Talker) -> Result<()> {
    if let Some(status) = live.ended()? {
        bail!("vfsync live ended with {status}:\n{}", live.errors());
    }
    Ok(())
}

fn check_interrupted() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// What was seen of a step.
#[derive(Default)]
struct Seen {
    tier: String,
    events: Vec<String>,
    captured: Option<Duration>,
    carried: Option<Duration>,
    watched: bool,
}

/// Makes a change and follows it.
fn perform(
    pair: &Pair,
    step: &Step,
    watch: Option<&mut Talker>,
    live: &mut Talker,
    limit: Duration,
) -> Result<Seen> {
    let root = match step.side {
        Side::A => pair.first(),
        Side::B => pair.second(),
    };
    let mut seen = Seen { watched: watch.is_some(), ..Seen::default() };
    if let Some(watch) = &watch {
        // Watch also sees what vfsync did in the step before, and events that follow closely may become one.
        while watch.line(Duration::from_millis(100)).is_some() {
            check_interrupted()?;
        }
    }
    live.lines();
    (step.act)(&root).with_context(|| format!("cannot {} in {}", step.what, root.display()))?;
    let start = Instant::now();
    while start.elapsed() < limit {
        check_interrupted()?;
        if let Some(watch) = &watch {
            for (at, event) in watch.lines() {
                seen.take(step, &root, at.saturating_duration_since(start), &event);
            }
        }
        if seen.carried.is_none() && equal(pair)? {
            seen.carried = Some(start.elapsed());
        }
        if seen.carried.is_some() && (seen.captured.is_some() || !seen.watched) {
            break;
        }
        alive(live)?;
        thread::sleep(Duration::from_micros(300));
    }
    Ok(seen)
}

impl Seen {
    /// Takes an event, if it is of the step.
    fn take(&mut self, step: &Step, root: &Path, after: Duration, event: &Value) {
        let paths = ["path", "to"].map(|key| event[key].as_str().map(Path::new));
        let ours = step.paths.iter().any(|path| paths.contains(&Some(&*root.join(path))));
        let Some(name) = event["event"].as_str().filter(|_| ours) else { return };
        self.captured.get_or_insert(after);
        self.tier = event["tier"].as_str().unwrap_or("?").to_owned();
        if !self.events.iter().any(|known| known == name) {
            self.events.push(name.to_owned());
        }
    }

    /// Prints a line; false: something is missing.
    fn print(&self, step: &Step) -> bool {
        let (from, to) = match step.side {
            Side::A => ("A", "B"),
            Side::B => ("B", "A"),
        };
        let time = |time: Option<Duration>| match time {
            Some(time) => format!("{:>7.1} ms", time.as_secs_f64() * 1e3),
            None => "     never".to_owned(),
        };
        let captured = match (self.watched, self.captured) {
            (false, _) => "–".to_owned(),
            (true, at) => format!("{} {}: {}", time(at), self.tier, self.events.join(", ")),
        };
        let good = self.carried.is_some() && (self.captured.is_some() || !self.watched);
        let mark = if good { "✓" } else { "✗" };
        println!("  {mark}  {from}  {:<37}  {captured:<56}  → {to} {}", step.what, time(self.carried));
        // The table grows as the changes happen, also into a pipe.
        let _ = io::stdout().flush();
        good
    }
}

fn equal(pair: &Pair) -> Result<bool> {
    Ok(tree::read(&pair.first(), Look::Contents)? == tree::read(&pair.second(), Look::Contents)?)
}

/// Compares both trees; the number of entries, or the differences.
fn require_equal(pair: &Pair) -> Result<usize> {
    let (first, second) =
        (tree::read(&pair.first(), Look::Contents)?, tree::read(&pair.second(), Look::Contents)?);
    let differences = tree::differences(&first, &second);
    ensure!(differences.is_empty(), "the trees differ:\n{}", differences.join("\n"));
    Ok(first.len())
}

/// Prints what live does until interrupted.
fn follow(live: &mut Talker) -> Result<()> {
    while !INTERRUPTED.load(Ordering::Relaxed) {
        alive(live)?;
        let Some((_, line)) = live.line(Duration::from_millis(100)) else { continue };
        let text = |key: &str| line[key].as_str().unwrap_or_default();
        match text("event") {
            "item" => {
                let arrow = if text("direction") == "to-first" { "B → A" } else { "A → B" };
                println!(
                    "  {arrow}  {:<7} {}  {} {}",
                    text("action"),
                    text("path"),
                    text("result"),
                    text("reason")
                );
            }
            "conflict" => {
                println!("  conflict  {}: {} in A, {} in B", text("path"), text("first"), text("second"))
            }
            _ => {}
        }
    }
    println!();
    Ok(())
}
