//! What capture costs those who write, and whether it keeps up with them.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::{
    following::{Follower, await_event},
    stage::{Contestant, Stage},
    table::{Cell, Row},
};
use crate::setup::say;

/// How many writes make one measurement, of which the best of some counts: the others were disturbed.
const WRITES: u64 = 200_000;
const ROUNDS: usize = 5;
/// How many files are made and deleted in the storm.
const FILES: usize = 50_000;
/// How long the storm's last event may take.
const LIMIT: Duration = Duration::from_secs(300);

/// A way of watching, or none.
struct Way {
    name: &'static str,
    command: Option<Command>,
}

/// Nanoseconds that a write of one byte takes: to a watched file, and to one on another file system.
pub fn write_cost(stage: &Stage) -> Result<Vec<Row>> {
    let folder = stage.tree().join("write-cost");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let file = folder.join("file");
    // Memory: a file system that nobody watches, and that every Linux has.
    let elsewhere =
        tempfile::NamedTempFile::new_in("/dev/shm").context("cannot create a file in /dev/shm")?;
    let (mut watched, mut unwatched) = (Vec::new(), Vec::new());
    for way in ways(stage) {
        say(format_args!("bench: write-cost, {}", way.name));
        let measured = with(stage, way.command, || Ok((pwrite(&file)?, pwrite(elsewhere.path())?)));
        let part = |pick: fn(&(f64, f64)) -> f64| match &measured {
            Ok(pair) => Ok(pick(pair)),
            Err(error) => Err(format!("{error:#}")),
        };
        watched.push(Cell { name: way.name, value: part(|pair| pair.0) });
        unwatched.push(Cell { name: way.name, value: part(|pair| pair.1) });
    }
    let row = |figure: &str, cells: Vec<Cell>, limit: f64| {
        let of = |name| cells.iter().find(|c| c.name == name).and_then(|c| c.value.as_ref().ok().copied());
        let met = matches!((of("vfsync"), of("untraced")), (Some(ours), Some(bare)) if ours - bare <= limit);
        let goal = format!("≤ untraced + {limit:.0} ns");
        Row { figure: figure.into(), unit: "ns", cells, base: "untraced", goal, met }
    };
    Ok(vec![
        row("write-cost, a watched file", watched, 100.0),
        row("write-cost, another file system", unwatched, 30.0),
    ])
}

/// Deletes files as fast as one can, and counts of how many deletions nothing was said, not even that something was
/// lost.
pub fn storm(stage: &Stage) -> Result<Row> {
    let mut cells = Vec::new();
    for way in ways(stage).into_iter().filter(|way| way.command.is_some()) {
        say(format_args!("bench: storm, {}", way.name));
        let value = rage(stage, way.command).map_err(|error| format!("{error:#}"));
        cells.push(Cell { name: way.name, value });
    }
    let met = matches!(cells[0].value, Ok(missing) if missing == 0.0);
    let goal = "none in silence".to_owned();
    Ok(Row {
        figure: format!("storm: of {FILES} deletions not told"),
        unit: "",
        cells,
        base: "inotifywait -r",
        goal,
        met,
    })
}

fn ways(stage: &Stage) -> Vec<Way> {
    let watch = |contestant, more: &[&str]| {
        stage.watch(contestant).map(|mut command| {
            command.args(more);
            command
        })
    };
    vec![
        Way { name: "vfsync", command: watch(Contestant::Vfsync, &[]) },
        Way { name: "untraced", command: None },
        Way { name: "vfsync by fanotify", command: watch(Contestant::Vfsync, &["--capture", "fanotify"]) },
        Way { name: "inotifywait -r", command: watch(Contestant::Inotifywait, &["-e", "modify,delete"]) },
    ]
}

/// Does some work while the tree is watched.
fn with<T>(stage: &Stage, command: Option<Command>, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let Some(command) = command else { return work() };
    let log = stage.path("watch.log");
    let mut follower = Follower::start(command, log.clone())?;
    await_event(stage, &log, &mut follower)?;
    work()
}

/// Returns the nanoseconds that one write takes.
fn pwrite(path: &Path) -> Result<f64> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..WRITES {
            file.write_at(b"x", 0).with_context(|| format!("cannot write {}", path.display()))?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / WRITES as f64);
    }
    Ok(best)
}

/// Returns how many deletions were neither told nor said to be lost.
fn rage(stage: &Stage, command: Option<Command>) -> Result<f64> {
    let folder = stage.tree().join("storm");
    let paths: Vec<PathBuf> = (0..FILES).map(|n| folder.join(format!("{}/doomed-{n}", n % 50))).collect();
    for path in &paths {
        let parent = path.parent().context("it has no parent")?;
        fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
        File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    let (log, last) = (stage.path("watch.log"), stage.tree().join("part-000/storm-is-over"));
    with(stage, command, || {
        for path in &paths {
            fs::remove_file(path).with_context(|| format!("cannot delete {}", path.display()))?;
        }
        let start = Instant::now();
        let said = loop {
            // Time and again: this event may be lost as well.
            fs::write(&last, "x").with_context(|| format!("cannot write {}", last.display()))?;
            let said = fs::read_to_string(&log).context("cannot read what the watch says")?;
            if said.contains("storm-is-over") {
                break said;
            }
            ensure!(
                start.elapsed() < LIMIT,
                "the end of the storm was not told within {} s",
                LIMIT.as_secs()
            );
            std::thread::sleep(Duration::from_millis(100));
        };
        let lines = said.lines().filter(|line| line.to_ascii_lowercase().contains("delete"));
        let told: HashSet<&str> = lines.filter_map(number_of).collect();
        let announced = said.contains("\"overflow\"") || said.contains("Q_OVERFLOW");
        Ok(if announced { 0.0 } else { (FILES - told.len().min(FILES)) as f64 })
    })
}

/// Returns the number in the name of the doomed file that a line is about.
fn number_of(line: &str) -> Option<&str> {
    let (_, rest) = line.rsplit_once("doomed-")?;
    Some(&rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())])
}
