//! What goes over the road: changed parts of a large file, many small files far away, a renamed folder, and changes without
//! end.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufWriter, Write},
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::{
    figures::{at_a_whole_second, at_most, cell, complete, measure},
    following::{Follower, await_arrival, until_equal},
    grow,
    stage::{Contestant, Stage, timed},
    table::{Cell, Row},
};
use crate::setup::say;

/// How long the large file is, in bytes, times the scale.
const LARGE: f64 = (1u64 << 30) as f64;
/// How long a byte takes from host to host, one way, where they are far from each other.
const FAR: Duration = Duration::from_millis(50);
/// How many operations a second there are without end, and for how long.
const PACE: u32 = 10_000;
const CHURN: Duration = Duration::from_secs(20);
/// How long what was changed may take to get there.
const LIMIT: Duration = Duration::from_secs(600);

/// Changes a file.
type Change = fn(&Path) -> Result<()>;

/// Bytes that go over and seconds that it takes when a little of a large file has changed.
pub fn delta(folder: &Path, binary: &Path, scale: f64) -> Result<Vec<Row>> {
    use Contestant::{Rsync, Unison, Vfsync};
    let stage = Stage::with_road(folder, binary, Duration::ZERO)?;
    let large = stage.tree().join("large");
    fill(&large, (LARGE * scale) as u64)?;
    at_a_whole_second(&large).context("cannot set a time")?;
    for contestant in [Vfsync, Unison, Rsync] {
        say(format_args!("bench: delta, {}: the whole file first", contestant.name()));
        stage.empty_replica(contestant)?;
        measure(&stage, contestant)?;
    }
    let changes: [(&str, Change); 3] =
        [("4 KiB inside", inside), ("10 bytes before", before), ("1 KiB behind", behind)];
    let mut rows = Vec::new();
    for (name, change) in changes {
        change(&large).with_context(|| format!("cannot change {}", large.display()))?;
        at_a_whole_second(&large).context("cannot set a time")?;
        let (mut sent, mut took) = (Vec::new(), Vec::new());
        for contestant in [Vfsync, Unison, Rsync] {
            say(format_args!("bench: delta, {name}, {}", contestant.name()));
            let sent_before = stage.bytes();
            took.push(cell(contestant, measure(&stage, contestant)));
            let megabytes = (stage.bytes() - sent_before) as f64 / 1e6;
            sent.push(Cell { name: contestant.name(), value: Ok(megabytes) });
        }
        let mut row = Row {
            figure: format!("delta, {name}: on the wire"),
            unit: "MB",
            cells: sent,
            base: "rsync",
            goal: "≤ 1 MB".into(),
            met: false,
        };
        row.met = at_most(row.value("vfsync"), Some(1.0));
        rows.push(row);
        let mut row = Row {
            figure: format!("delta, {name}"),
            unit: "s",
            cells: took,
            base: "rsync",
            goal: "≤ rsync".into(),
            met: false,
        };
        row.met = at_most(row.value("vfsync"), row.value("rsync"));
        rows.push(row);
    }
    Ok(rows)
}

fn fill(path: &Path, bytes: u64) -> Result<()> {
    let mut rng = Rng::with_seed(3);
    let mut file =
        BufWriter::new(File::create(path).with_context(|| format!("cannot create {}", path.display()))?);
    let mut piece = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        rng.fill(&mut piece);
        let length = left.min(piece.len() as u64);
        file.write_all(&piece[..length as usize])
            .with_context(|| format!("cannot write {}", path.display()))?;
        left -= length;
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}

fn inside(path: &Path) -> Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let middle = file.metadata()?.len() / 2;
    Ok(file.write_all_at(&[b'x'; 4096], middle)?)
}

fn before(path: &Path) -> Result<()> {
    let longer = path.with_extension("longer");
    let mut file = File::create(&longer)?;
    file.write_all(b"ten bytes\n")?;
    std::io::copy(&mut File::open(path)?, &mut file)?;
    Ok(fs::rename(longer, path)?)
}

fn behind(path: &Path) -> Result<()> {
    Ok(OpenOptions::new().append(true).open(path)?.write_all(&[b'y'; 1024])?)
}

/// Many small files to an empty replica far away.
pub fn far(folder: &Path, binary: &Path, scale: f64) -> Result<Row> {
    use Contestant::{Rsync, Tar, Vfsync};
    let stage = Stage::with_road(folder, binary, FAR)?;
    grow::even(&stage.tree(), grow::scaled(10_000, scale), grow::scaled(100, scale), 1024)?;
    let mut cells = Vec::new();
    for contestant in [Vfsync, Rsync, Tar] {
        say(format_args!("bench: far, {}", contestant.name()));
        stage.empty_replica(contestant)?;
        cells.push(cell(contestant, measure(&stage, contestant)));
    }
    let mut row = Row {
        figure: "far: 10,000 files, 100 ms there and back".into(),
        unit: "s",
        cells,
        base: "tar | ssh tar",
        goal: "≤ tar + 3 s".into(),
        met: false,
    };
    row.met = at_most(row.value("vfsync"), row.value("tar | ssh tar").map(|tar| tar + 3.0));
    Ok(row)
}

/// A folder of many files that gets another name, and changes without end: while following.
pub fn busy(folder: &Path, binary: &Path, scale: f64, rename: bool, churn: bool) -> Result<Vec<Row>> {
    let stage = Stage::with_road(folder, binary, Duration::ZERO)?;
    let here = stage.tree().join("here");
    if rename {
        grow::small(&here, scale)?;
    }
    stage.empty_replica(Contestant::Vfsync)?;
    say(format_args!("bench: the first pass"));
    measure(&stage, Contestant::Vfsync)?;
    let command = stage.follow(Contestant::Vfsync)?.context("it does not follow")?;
    let mut follower = Follower::start(command, stage.path("busy.log"))?;
    let said = || format!("it says:\n{}", fs::read_to_string(stage.path("busy.log")).unwrap_or_default());
    await_arrival(&stage, "ready", &mut follower).with_context(said)?;
    let mut rows = Vec::new();
    if rename {
        rows.extend(renamed(&stage, &mut follower).with_context(said)?);
    }
    if churn {
        rows.push(churned(&stage, &mut follower).with_context(said)?);
    }
    Ok(rows)
}

fn renamed(stage: &Stage, follower: &mut Follower) -> Result<Vec<Row>> {
    say(format_args!("bench: rename"));
    let (from, to) = (stage.tree().join("here"), stage.tree().join("there"));
    let bytes = stage.bytes();
    let start = Instant::now();
    fs::rename(&from, &to).with_context(|| format!("cannot rename {}", from.display()))?;
    let (gone, come) =
        (stage.replica(Contestant::Vfsync).join("here"), stage.replica(Contestant::Vfsync).join("there"));
    while gone.exists() || !come.exists() {
        follower.alive()?;
        ensure!(start.elapsed() < LIMIT, "the folder was not renamed within {} s", LIMIT.as_secs());
        thread::sleep(Duration::from_millis(5));
    }
    let took = start.elapsed().as_secs_f64();
    until_equal(stage, follower, LIMIT)?;
    complete(stage, Contestant::Vfsync)?;
    let megabytes = (stage.bytes() - bytes) as f64 / 1e6;
    let row = |figure: &str, unit, value, goal: &str, limit| Row {
        figure: figure.into(),
        unit,
        cells: vec![Cell { name: "vfsync", value: Ok(value) }],
        base: "",
        goal: goal.into(),
        met: value <= limit,
    };
    Ok(vec![
        row("rename of a folder of 100,000 files", "s", took, "≤ 2 s", 2.0),
        row("rename of a folder: on the wire", "MB", megabytes, "no content", 30.0),
    ])
}

/// Creates, writes, renames and deletes as the pace wants, and waits until the other side is the same.
fn churned(stage: &Stage, follower: &mut Follower) -> Result<Row> {
    say(format_args!("bench: churn"));
    let folder = stage.tree().join("churn");
    for number in 0..50 {
        let folder = folder.join(number.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut rng = Rng::with_seed(4);
    let start = Instant::now();
    let mut operations = 0u32;
    while start.elapsed() < CHURN {
        let path = folder.join(format!("{}/{}", rng.u32(0..50), rng.u32(0..200)));
        let other = folder.join(format!("{}/{}", rng.u32(0..50), rng.u32(0..200)));
        // What is not there cannot be renamed or deleted, and is no operation.
        let done = match rng.u32(0..10) {
            0..6 => fs::write(&path, path.as_os_str().as_encoded_bytes().repeat(20)).is_ok(),
            6..8 => fs::rename(&path, &other).is_ok(),
            _ => fs::remove_file(&path).is_ok(),
        };
        operations += u32::from(done);
        let due = start + Duration::from_secs(1) * operations / PACE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    until_equal(stage, follower, LIMIT)?;
    let value = f64::from(operations) / start.elapsed().as_secs_f64();
    Ok(Row {
        figure: format!("churn of {} s: operations a second", CHURN.as_secs()),
        unit: "/s",
        cells: vec![Cell { name: "vfsync", value: Ok(value) }],
        base: "",
        goal: "≥ 5,000/s".into(),
        met: value >= 5000.0,
    })
}

/// Two equal replicas that meet for the first time: nobody has an archive.
pub fn first_meet(stage: &Stage) -> Result<Row> {
    use Contestant::{Rsync, Unison, Vfsync};
    stage.forget()?;
    let mut cells = Vec::new();
    for contestant in [Vfsync, Unison] {
        say(format_args!("bench: first-meet, {}", contestant.name()));
        cells.push(cell(contestant, measure(stage, contestant)));
    }
    say(format_args!("bench: first-meet, rsync --checksum"));
    let mut command: Command = stage.pass(Rsync).context("it has no pass")?;
    command.arg("--checksum");
    cells.push(cell(Rsync, timed(command)));
    let mut row = Row {
        figure: "first-meet".into(),
        unit: "s",
        cells,
        base: "unison",
        goal: "≤ unison / 10".into(),
        met: false,
    };
    row.met = at_most(row.value("vfsync"), row.value("unison").map(|unison| unison / 10.0));
    Ok(row)
}
