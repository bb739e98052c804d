//! Followers: programs that keep two replicas the same, and how fast they are at it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::stage::{Contestant, Stage};
use crate::{
    exec, sshd,
    tree::{self, Look},
};

/// How long to wait for one change.
const LIMIT: Duration = Duration::from_secs(60);

/// A running follower. It ends with the value.
pub struct Follower(Child);

impl Follower {
    /// Starts it, with what it says in a file.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let log = fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let again = log.try_clone().context("cannot share a file")?;
        command.stdin(Stdio::null()).stdout(log).stderr(again);
        Ok(Self(exec::spawn(command).context("cannot start a follower")?))
    }

    /// Fails if it has ended.
    pub fn alive(&mut self) -> Result<()> {
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
pub struct Followed {
    /// Milliseconds, sorted.
    times: Vec<f64>,
    /// Processor time of a change, both sides together, in milliseconds.
    pub cpu_ms: f64,
}

impl Followed {
    /// Returns the latency, in milliseconds, that so many percent of the changes do not exceed.
    pub fn percentile(&self, percent: usize) -> f64 {
        self.times[(self.times.len() * percent / 100).min(self.times.len() - 1)]
    }
}

/// Starts a follower and measures so many changes.
pub fn follow(stage: &Stage, contestant: Contestant, count: usize) -> Result<Followed> {
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

/// Makes a file in the tree and waits until vfsync has carried it over.
pub fn await_arrival(stage: &Stage, name: &str, follower: &mut Follower) -> Result<Duration> {
    arrival(&stage.tree(), &stage.replica(Contestant::Vfsync), name, LIMIT * 10, follower)
}

/// Waits until the tree and vfsync's replica are equal.
pub fn until_equal(stage: &Stage, follower: &mut Follower, limit: Duration) -> Result<()> {
    let (tree, replica) = (stage.tree(), stage.replica(Contestant::Vfsync));
    let start = Instant::now();
    loop {
        let look = |root: &Path| tree::read(root, Look::Attributes);
        let differences = tree::differences(&look(&tree)?, &look(&replica)?);
        let Some(first) = differences.first() else { return Ok(()) };
        follower.alive()?;
        ensure!(
            start.elapsed() < limit,
            "after {} s there are {} differences, such as {first}",
            limit.as_secs(),
            differences.len()
        );
        thread::sleep(Duration::from_millis(50));
    }
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
pub fn first_event(stage: &Stage, command: Command) -> Result<f64> {
    let log = stage.path("watch.log");
    let start = Instant::now();
    let mut follower = Follower::start(command, log.clone())?;
    await_event(stage, &log, &mut follower)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Writes to one file until a watch says something of it.
pub fn await_event(stage: &Stage, log: &Path, follower: &mut Follower) -> Result<()> {
    let touched = stage.tree().join("part-000/touched");
    let start = Instant::now();
    loop {
        fs::write(&touched, "x").with_context(|| format!("cannot write {}", touched.display()))?;
        if fs::read_to_string(log).is_ok_and(|said| said.contains("touched")) {
            return Ok(());
        }
        let said = || fs::read_to_string(log).unwrap_or_default();
        follower.alive().with_context(|| format!("it says: {}", said()))?;
        ensure!(start.elapsed() < LIMIT, "no event came; it says: {}", said());
        thread::sleep(Duration::from_millis(1));
    }
}
