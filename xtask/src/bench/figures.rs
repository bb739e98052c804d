//! The figures: what each of them measures, and its goal.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    stage::{Contestant, Stage, timed},
    table::{Cell, Row},
};
use crate::{
    exec,
    setup::say,
    sshd,
    tree::{self, Look},
};

/// How long to wait for one change.
const LIMIT: Duration = Duration::from_secs(60);

/// The tree to an empty replica. Others than those who go on with it are only measured if `all` are wanted.
pub fn first_sync(stage: &Stage, all: bool) -> Result<Option<Row>> {
    use Contestant::{Lsyncd, Rsync, Tar, Unison, Vfsync};
    let mut cells = Vec::new();
    // Everyone finds the tree in the cache.
    timed(read_all(&stage.tree()))?;
    for contestant in [Vfsync, Unison, Rsync, Tar] {
        if contestant == Tar && !all {
            continue;
        }
        say(format_args!("bench: first-sync, {}", contestant.name()));
        stage.empty_replica(contestant)?;
        let value = measure(stage, contestant);
        cells.push(cell(contestant, value));
    }
    stage.empty_replica(Lsyncd)?;
    let mut row = Row {
        figure: "first-sync".into(),
        unit: "s",
        cells,
        base: "rsync",
        goal: "≤ rsync".into(),
        met: false,
    };
    row.met = at_most(row.value("vfsync"), row.value("rsync"));
    Ok(Some(row))
}

/// A pass over two equal replicas.
pub fn no_change(stage: &Stage) -> Result<Row> {
    use Contestant::{Find, Rsync, Unison, Vfsync};
    let mut cells = Vec::new();
    for contestant in [Vfsync, Unison, Rsync, Find] {
        say(format_args!("bench: no-change, {}", contestant.name()));
        // The first one puts everything in the cache.
        let value = measure(stage, contestant).and_then(|_| measure(stage, contestant));
        cells.push(cell(contestant, value));
    }
    let mut row = Row {
        figure: "no-change".into(),
        unit: "s",
        cells,
        base: "find",
        goal: "≤ 2 × find".into(),
        met: false,
    };
    row.met = at_most(row.value("vfsync"), row.value("find").map(|find| find * 2.0));
    Ok(row)
}

/// A pass that finds one changed file.
pub fn one_change(stage: &Stage) -> Result<Row> {
    use Contestant::{Rsync, Unison, Vfsync};
    let changed = stage.tree().join("part-000/file-000000.txt");
    let mut cells = Vec::new();
    for contestant in [Vfsync, Unison, Rsync] {
        say(format_args!("bench: one-change, {}", contestant.name()));
        fs::write(&changed, format!("changed for {}\n", contestant.name()))
            .with_context(|| format!("cannot write {}", changed.display()))?;
        let value = measure(stage, contestant);
        cells.push(cell(contestant, value));
    }
    let mut row = Row {
        figure: "one-change, a pass".into(),
        unit: "s",
        cells,
        base: "rsync",
        goal: "≤ rsync".into(),
        met: false,
    };
    row.met = at_most(row.value("vfsync"), row.value("rsync"));
    Ok(row)
}

/// Latency while following, and the processor time of a change.
pub fn live(stage: &Stage, latency: bool, one_change: bool) -> Result<Vec<Row>> {
    use Contestant::{Loop, Lsyncd, Vfsync};
    let (mut median, mut late, mut cpu) = (Vec::new(), Vec::new(), Vec::new());
    for contestant in [Vfsync, Lsyncd, Loop] {
        if contestant != Vfsync && !latency {
            continue;
        }
        say(format_args!("bench: latency, {}", contestant.name()));
        // Peers take about a second each time: fewer will do.
        let count = if contestant == Vfsync { 200 } else { 20 };
        let measured = follow(stage, contestant, count);
        let part = |pick: fn(&Followed) -> f64| match &measured {
            Ok(followed) => Ok(pick(followed)),
            Err(error) => Err(format!("{error:#}")),
        };
        median.push(Cell { name: contestant.name(), value: part(|f| f.percentile(50)) });
        late.push(Cell { name: contestant.name(), value: part(|f| f.percentile(99)) });
        if contestant == Vfsync {
            cpu.push(Cell { name: contestant.name(), value: part(|f| f.cpu_ms) });
        }
    }
    let row = |figure: &str, cells: Vec<Cell>, limit: f64| {
        let met = matches!(cells[0].value, Ok(value) if value <= limit);
        Row {
            figure: figure.into(),
            unit: "ms",
            cells,
            base: "lsyncd",
            goal: format!("≤ {limit:.0} ms"),
            met,
        }
    };
    let mut rows = Vec::new();
    if latency {
        rows.push(row("latency, p50", median, 10.0));
        rows.push(row("latency, p99", late, 40.0));
    }
    if one_change {
        rows.push(row("one change while live, CPU of both sides", cpu, 20.0));
    }
    Ok(rows)
}

/// From the start of a watch to its first event.
pub fn attach(stage: &Stage) -> Result<Row> {
    let mut cells = Vec::new();
    for contestant in [Contestant::Vfsync, Contestant::Inotifywait] {
        say(format_args!("bench: attach, {}", contestant.name()));
        let command = stage.watch(contestant).expect("both watch");
        cells.push(cell(contestant, first_event(stage, command)));
    }
    let met = matches!(cells[0].value, Ok(value) if value <= 100.0);
    Ok(Row {
        figure: "attach".into(),
        unit: "ms",
        cells,
        base: "inotifywait -r",
        goal: "≤ 100 ms".into(),
        met,
    })
}

/// Runs a pass to its end, which must leave a complete copy, and returns the seconds that it took.
fn measure(stage: &Stage, contestant: Contestant) -> Result<f64> {
    let took = timed(stage.pass(contestant).context("it has no pass")?)?;
    if contestant != Contestant::Find {
        complete(stage, contestant)?;
    }
    Ok(took)
}

fn cell(contestant: Contestant, value: Result<f64>) -> Cell {
    Cell { name: contestant.name(), value: value.map_err(|error| format!("{error:#}")) }
}

fn at_most(ours: Option<f64>, limit: Option<f64>) -> bool {
    matches!((ours, limit), (Some(ours), Some(limit)) if ours <= limit)
}

fn read_all(tree: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "tar -C \"$0\" -cf - . | wc -c"]).arg(tree);
    command
}

/// Checks that a pass left a complete copy: who leaves something out is faster.
fn complete(stage: &Stage, contestant: Contestant) -> Result<()> {
    let (tree, replica) = (stage.tree(), stage.replica(contestant));
    let differences =
        tree::differences(&tree::read(&tree, Look::Attributes)?, &tree::read(&replica, Look::Attributes)?);
    let few: Vec<&str> = differences.iter().take(5).map(String::as_str).collect();
    ensure!(differences.is_empty(), "{} differences, such as {}", differences.len(), few.join("; "));
    Ok(())
}

/// A running follower. It ends with the value.
struct Follower(Child);

impl Follower {
    fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let log = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let again = log.try_clone().context("cannot share a file")?;
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        Ok(Self(exec::spawn(command).context("cannot start a follower")?))
    }

    fn alive(&mut self) -> Result<()> {
        let ended = self.0.try_wait().context("cannot wait for a follower")?;
        if let Some(status) = ended { bail!("it ended with {status}") } else { Ok(()) }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        sshd::end_group(&mut self.0);
    }
}

/// What was measured of a follower.
struct Followed {
    /// Milliseconds, sorted.
    times: Vec<f64>,
    cpu_ms: f64,
}

impl Followed {
    fn percentile(&self, percent: usize) -> f64 {
        self.times[(self.times.len() * percent / 100).min(self.times.len() - 1)]
    }
}

fn follow(stage: &Stage, contestant: Contestant, count: usize) -> Result<Followed> {
    let command = stage.follow(contestant)?.context("it does not follow")?;
    let log = stage.path(&format!("{contestant:?}.log"));
    let folder = format!("latency-{contestant:?}");
    let (from, to) = (stage.tree().join(&folder), stage.replica(contestant).join(&folder));
    let mut follower = Follower::start(command, log.clone())?;
    fs::create_dir_all(&from).with_context(|| format!("cannot create {}", from.display()))?;
    let said = || format!("it says:\n{}", fs::read_to_string(&log).unwrap_or_default());
    // The first pass may take long.
    arrival(&from, &to, "ready", LIMIT * 10, &mut follower).with_context(said)?;
    thread::sleep(Duration::from_secs(1));
    let before = cpu(stage.binary());
    let mut times = Vec::new();
    for number in 0..count {
        let took =
            arrival(&from, &to, &format!("file-{number:04}"), LIMIT, &mut follower).with_context(said)?;
        times.push(took.as_secs_f64() * 1e3);
        thread::sleep(Duration::from_millis(20));
    }
    let cpu_ms = cpu(stage.binary()).saturating_sub(before).as_secs_f64() * 1e3 / count as f64;
    times.sort_by(f64::total_cmp);
    Ok(Followed { times, cpu_ms })
}

/// Makes a file of 1 KiB and waits until it is complete on the other side.
fn arrival(from: &Path, to: &Path, name: &str, limit: Duration, follower: &mut Follower) -> Result<Duration> {
    let content = name.as_bytes().repeat(1024 / name.len() + 1)[..1024].to_vec();
    fs::write(from.join(name), &content).with_context(|| format!("cannot write {name}"))?;
    let (start, to) = (Instant::now(), to.join(name));
    loop {
        if fs::read(&to).is_ok_and(|there| there == content) {
            return Ok(start.elapsed());
        }
        follower.alive()?;
        ensure!(start.elapsed() < limit, "{name} did not arrive within {} s", limit.as_secs());
        thread::sleep(Duration::from_micros(100));
    }
}

/// Returns the processor time of every process that runs a binary.
fn cpu(binary: &Path) -> Duration {
    let mut total = 0;
    let Ok(processes) = fs::read_dir("/proc") else { return Duration::ZERO };
    for process in processes.flatten().map(|entry| entry.path()) {
        if fs::read_link(process.join("exe")).is_ok_and(|exe| exe == binary) {
            let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
            total += threads
                .filter_map(|thread| {
                    let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
                    text.split(' ').next()?.parse::<u64>().ok()
                })
                .sum::<u64>();
        }
    }
    Duration::from_nanos(total)
}

/// Starts a watch and writes to one file until the watch says something; milliseconds until then.
fn first_event(stage: &Stage, command: Command) -> Result<f64> {
    let log = stage.path("watch.log");
    let touched = stage.tree().join("part-000/touched");
    let start = Instant::now();
    let mut follower = Follower::start(command, log.clone())?;
    loop {
        fs::write(&touched, "x").with_context(|| format!("cannot write {}", touched.display()))?;
        if fs::read_to_string(&log).is_ok_and(|said| said.contains("touched")) {
            return Ok(start.elapsed().as_secs_f64() * 1e3);
        }
        let said = || fs::read_to_string(&log).unwrap_or_default();
        follower.alive().with_context(|| format!("it says: {}", said()))?;
        ensure!(start.elapsed() < LIMIT, "no event came; it says: {}", said());
        thread::sleep(Duration::from_millis(1));
    }
}
