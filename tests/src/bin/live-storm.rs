//! `live-storm VFSYNC TIER DIR RING SCALE [COMMAND…]`: a live sync between two trees in DIR while changes come as fast as
//! they can: writers in folders that are renamed under them, creates, deletes in their thousands, an agent that is
//! stopped in the middle of it. Or, in their place, what COMMAND does in the tree (its last argument is the tree).
//!
//! Afterwards the two trees are equal, and so was the archive the disk: what it had missed would be missing there. And
//! nothing but a loss that was announced has had everything looked at. The exit code is 1 if it is otherwise.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use vfsync_tests::{Compare, Snapshot};

const WRITERS: usize = 8;
/// At scale 1: as many creates and deletes as the storms of capture were described with.
const CREATES: usize = 200_000;
const DELETES: usize = 50_000;
/// How long the two trees may take to become equal. On an emulated processor programs take their time.
const LIMIT: Duration = Duration::from_secs(900);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vfsync, tier, dir, ring, scale, command @ ..] = args.as_slice() else {
        eprintln!("usage: live-storm VFSYNC TIER DIR RING SCALE [COMMAND...]");
        return ExitCode::from(2);
    };
    let scale = scale.parse().unwrap_or(1.0);
    match storm(Path::new(vfsync), tier, Path::new(dir), ring, scale, command) {
        Ok(told) => {
            println!("{tier} with a ring of {ring}: equal; {told}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{tier} with a ring of {ring}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn storm(
    vfsync: &Path,
    tier: &str,
    dir: &Path,
    ring: &str,
    scale: f64,
    command: &[String],
) -> Result<String, String> {
    let said = |e: std::io::Error| e.to_string();
    let (first, second, state) = (dir.join("first"), dir.join("second"), dir.join("state"));
    for place in [&first, &second, &state] {
        fs::create_dir_all(place).map_err(said)?;
    }
    fs::write(first.join("stays"), "x").map_err(said)?;
    let agent = Agent::start(vfsync, tier, ring, &first, &second, &state)?;
    let began = Instant::now();
    match command {
        [] => changes(&first, scale, &agent).map_err(said)?,
        [program, args @ ..] => {
            let status = Command::new(program).args(args).arg(&first).stdout(Stdio::null()).status();
            let status = status.map_err(|e| format!("cannot run {program}: {e}"))?;
            println!("{program} ended with {status}");
        }
    }
    let took = began.elapsed();
    agent.until_equal(&first, &second)?;
    let told = agent.told(&first)?;
    agent.end()?;
    if told.rescans > 0 && told.lost == 0 {
        return Err(format!(
            "everything was looked at {} times, and nothing was said to be lost",
            told.rescans
        ));
    }
    let Told { events, lost, rescans } = told;
    let entries = Snapshot::of(&first).len();
    let took = took.as_secs_f64();
    Ok(format!(
        "{took:.0} s of changes, {entries} entries left, {events} events, {lost} losses announced, {rescans} looks at everything"
    ))
}

/// The changes, each in a folder of its own kind, all at once.
fn changes(root: &Path, scale: f64, agent: &Agent) -> std::io::Result<()> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of files")]
    let scaled = |n: usize| ((n as f64 * scale) as usize).max(100);
    let deleted = root.join("deleted");
    fs::create_dir_all(&deleted)?;
    for n in 0..scaled(DELETES) {
        fs::write(deleted.join(n.to_string()), "")?;
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let (dir, over) = (root.join(format!("writer-{n}")), &over);
                scope.spawn(move || write_in_moving_folders(&dir, over))
            })
            .collect();
        let creates = scope.spawn(|| {
            for n in 0..scaled(CREATES) {
                let dir = root.join("created").join((n / 1000).to_string());
                if n % 1000 == 0 {
                    fs::create_dir_all(&dir)?;
                }
                fs::write(dir.join(n.to_string()), n.to_string())?;
            }
            std::io::Result::Ok(())
        });
        let deletes = scope.spawn(|| fs::remove_dir_all(&deleted));
        // In the middle of it.
        agent.signal(Signal::STOP);
        thread::sleep(Duration::from_millis(500));
        agent.signal(Signal::CONT);
        let ended = [creates, deletes].map(|thread| thread.join().expect("no thread panics"));
        over.store(true, Ordering::Relaxed);
        let written = writers.into_iter().map(|thread| thread.join().expect("no thread panics"));
        written.chain(ended).collect()
    })
}

/// Appends to a file, overwrites one and replaces one in a folder that gets another name all the time.
fn write_in_moving_folders(dir: &Path, over: &AtomicBool) -> std::io::Result<()> {
    let mut now: PathBuf = dir.join("0");
    fs::create_dir_all(&now)?;
    let mut log = fs::File::create(now.join("log"))?;
    for n in 1_u32.. {
        // On open descriptors and by name, before and after the folder's renaming.
        writeln!(log, "{n}")?;
        fs::write(now.join("overwritten"), format!("{n}"))?;
        fs::write(now.join("new"), format!("{n}"))?;
        let next = dir.join((n % 5).to_string());
        if n % 7 == 0 && next != now && !next.exists() {
            fs::rename(&now, &next)?;
            now = next;
        }
        fs::rename(now.join("new"), now.join("replaced"))?;
        writeln!(log, "{n} again")?;
        if over.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

/// A `vfsync live` that runs. It is killed when it is dropped.
struct Agent {
    child: Child,
    vfsync: PathBuf,
    state: PathBuf,
}

/// What it says of itself.
struct Told {
    events: u64,
    lost: u64,
    rescans: u64,
}

impl Agent {
    fn start(
        vfsync: &Path,
        tier: &str,
        ring: &str,
        first: &Path,
        second: &Path,
        state: &Path,
    ) -> Result<Agent, String> {
        let log = fs::File::create(state.join("output")).map_err(|e| e.to_string())?;
        let child = Command::new(vfsync)
            .args(["live", "-capture", tier, "-capture-ring", ring, "-max-delete", "100%", "-fsync", "none"])
            .args(["-xattrs", "-confirmbigdel=false", "-state-dir"])
            .args([state, first, second])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", vfsync.display()))?;
        let agent = Agent { child, vfsync: vfsync.to_owned(), state: state.to_owned() };
        agent.until_equal(first, second)?;
        let said = fs::read_to_string(state.join("output")).unwrap_or_default();
        if said.contains(&format!("capture by {tier}")) {
            Ok(agent)
        } else {
            Err(format!("another tier:\n{said}"))
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0)) {
            // If it has ended, what follows says so.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until the trees are equal.
    fn until_equal(&self, first: &Path, second: &Path) -> Result<(), String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = Snapshot::of(first).differences(&Snapshot::of(second), Compare::default());
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let said = fs::read_to_string(self.state.join("output")).unwrap_or_default();
                let said: Vec<&str> = said.lines().rev().take(20).collect();
                return Err(format!("not equal: {:#?}\nit said: {said:#?}", &left[..left.len().min(20)]));
            }
            thread::sleep(Duration::from_millis(300));
        }
    }

    /// Asks it for the counts of a root.
    fn told(&self, root: &Path) -> Result<Told, String> {
        let asked =
            Command::new(&self.vfsync).args(["status", "--json", "-state-dir"]).arg(&self.state).output();
        let text = String::from_utf8_lossy(&asked.map_err(|e| e.to_string())?.stdout).into_owned();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let root = root.to_string_lossy();
        let mut of_root = lines.filter(|line| line["event"] == "replica" && line["root"] == *root);
        let line = of_root.next().ok_or_else(|| format!("status tells nothing of {root}: {text}"))?;
        let count = |name: &str| line[name].as_u64().ok_or_else(|| format!("status has no {name}: {line}"));
        Ok(Told { events: count("events")?, lost: count("lost")?, rescans: count("rescans")? })
    }

    fn end(mut self) -> Result<(), String> {
        self.signal(Signal::TERM);
        let status = self.child.wait().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("vfsync live ended with {status}")) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
