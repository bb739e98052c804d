//! The figures: what each of them measures, and its goal.

use std::{
    fs, io,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};

use super::{
    following::{Followed, first_event, follow},
    memory::Peak,
    stage::{Contestant, Stage, timed},
    table::{Cell, Row},
};
use crate::{
    setup::say,
    tree::{self, Look},
};

/// The tree to an empty replica. Others than those who go on with it are only measured if `all` are wanted.
pub fn first_sync(stage: &Stage, all: bool) -> Result<Vec<Row>> {
    use Contestant::{Lsyncd, Rsync, Tar, Unison, Vfsync};
    let (mut cells, mut memory) = (Vec::new(), Vec::new());
    // Everyone finds the tree in the cache.
    timed(read_all(&stage.tree()))?;
    for contestant in [Vfsync, Unison, Rsync, Tar] {
        if contestant == Tar && !all {
            continue;
        }
        say(format_args!("bench: first-sync, {}", contestant.name()));
        stage.empty_replica(contestant)?;
        add(&mut cells, &mut memory, contestant, measure_with_memory(stage, contestant));
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
    Ok(vec![row, memory_row("first-sync", memory, 150.0)])
}

fn add(times: &mut Vec<Cell>, memory: &mut Vec<Cell>, contestant: Contestant, measured: Result<(f64, f64)>) {
    let (took, megabytes) = match measured {
        Ok((took, megabytes)) => (Ok(took), Ok(megabytes)),
        Err(error) => (Err(error), Err(anyhow::anyhow!("not measured"))),
    };
    times.push(cell(contestant, took));
    if !matches!(contestant, Contestant::Tar | Contestant::Find) {
        memory.push(cell(contestant, megabytes));
    }
}

fn memory_row(figure: &str, cells: Vec<Cell>, limit: f64) -> Row {
    let met = matches!(cells[0].value, Ok(value) if value <= limit);
    let (unit, goal) = ("MB", format!("≤ {limit:.0} MB"));
    Row { figure: format!("{figure}: memory of a process at most"), unit, cells, base: "unison", goal, met }
}

/// A pass over two equal replicas.
pub fn no_change(stage: &Stage) -> Result<Vec<Row>> {
    use Contestant::{Find, Rsync, Unison, Vfsync};
    let (mut cells, mut memory) = (Vec::new(), Vec::new());
    for contestant in [Vfsync, Unison, Rsync, Find] {
        say(format_args!("bench: no-change, {}", contestant.name()));
        // The first one puts everything in the cache.
        let value = measure(stage, contestant).and_then(|_| measure_with_memory(stage, contestant));
        add(&mut cells, &mut memory, contestant, value);
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
    Ok(vec![row, memory_row("no-change", memory, 100.0)])
}

/// A pass that finds one changed file.
pub fn one_change(stage: &Stage) -> Result<Row> {
    use Contestant::{Rsync, Unison, Vfsync};
    let changed = stage.tree().join("part-000/file-000000.txt");
    let mut cells = Vec::new();
    for contestant in [Vfsync, Unison, Rsync] {
        say(format_args!("bench: one-change, {}", contestant.name()));
        change(&changed, contestant).with_context(|| format!("cannot write {}", changed.display()))?;
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

/// Changes a file, at a whole second.
fn change(path: &Path, contestant: Contestant) -> io::Result<()> {
    fs::write(path, format!("changed for {}\n", contestant.name()))?;
    at_a_whole_second(path)
}

/// Makes a file one of this second: finer times are not kept by all of the peers.
pub fn at_a_whole_second(path: &Path) -> io::Result<()> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    fs::File::open(path)?.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs()))
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

/// As [`measure`], with the most memory that a process of it took, in megabytes.
fn measure_with_memory(stage: &Stage, contestant: Contestant) -> Result<(f64, f64)> {
    let watching = Peak::watch(stage.program(contestant));
    let took = measure(stage, contestant)?;
    Ok((took, watching.megabytes()))
}

/// Runs a pass to its end, which must leave a complete copy, and returns the seconds that it took.
pub fn measure(stage: &Stage, contestant: Contestant) -> Result<f64> {
    let took = timed(stage.pass(contestant).context("it has no pass")?)?;
    if contestant != Contestant::Find {
        complete(stage, contestant)?;
    }
    Ok(took)
}

/// Returns a contestant's cell.
pub fn cell(contestant: Contestant, value: Result<f64>) -> Cell {
    Cell { name: contestant.name(), value: value.map_err(|error| format!("{error:#}")) }
}

/// Returns whether a value is there and reaches a goal that is there.
pub fn at_most(ours: Option<f64>, limit: Option<f64>) -> bool {
    matches!((ours, limit), (Some(ours), Some(limit)) if ours <= limit)
}

fn read_all(tree: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "tar -C \"$0\" -cf - . | wc -c"]).arg(tree);
    command
}

/// Checks that a pass left a complete copy: who leaves something out is faster.
pub fn complete(stage: &Stage, contestant: Contestant) -> Result<()> {
    let (tree, replica) = (stage.tree(), stage.replica(contestant));
    let differences =
        tree::differences(&tree::read(&tree, Look::Attributes)?, &tree::read(&replica, Look::Attributes)?);
    let few: Vec<&str> = differences.iter().take(5).map(String::as_str).collect();
    ensure!(differences.is_empty(), "{} differences, such as {}", differences.len(), few.join("; "));
    Ok(())
}
