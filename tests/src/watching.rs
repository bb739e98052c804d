//! A [`Watching`] is a `vfsync watch --json` that runs; a [`Seen`] is what it has printed of one event.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use crate::operations::{Expected, Ground, Operation};

/// How long an event may take. On an emulated processor programs take their time.
const LIMIT: Duration = Duration::from_secs(60);

/// How long the event of a marker may take before there is another one.
const MARKER_LIMIT: Duration = Duration::from_secs(10);

/// One event.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its name.
    pub event: String,
    /// Where.
    pub path: PathBuf,
    /// The new path of a rename.
    pub to: Option<PathBuf>,
    /// The process.
    pub pid: u32,
    /// The program's name.
    pub comm: String,
    /// The tier that reported it.
    pub tier: String,
}

/// A `vfsync watch --json` that runs. It is killed when it is dropped.
pub struct Watching {
    child: Child,
    lines: Receiver<String>,
    markers: u32,
}

impl Watching {
    /// Starts it, and waits until nothing can be missed any more.
    ///
    /// # Errors
    /// What it said instead.
    pub fn start(vfsync: &Path, capture: &str, paths: &[&Path]) -> Result<Watching, String> {
        Watching::start_with(vfsync, &["--capture", capture], paths)
    }

    /// As [`Watching::start`], with these arguments.
    ///
    /// # Errors
    /// What it said instead.
    pub fn start_with(vfsync: &Path, args: &[&str], paths: &[&Path]) -> Result<Watching, String> {
        let mut child = Command::new(vfsync)
            .args(["watch", "--json"])
            .args(args)
            .args(paths)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run {}: {e}", vfsync.display()))?;
        let errors = BufReader::new(child.stderr.take().expect("it is piped"));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let (said, saying) = channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                // Nobody listens after the first lines; the pipe must not fill up.
                let _ = said.send(line);
            }
        });
        let mut text = String::new();
        let watching = Watching { child, lines, markers: 0 };
        loop {
            match saying.recv_timeout(LIMIT) {
                Ok(line) if line.starts_with("watching") => return Ok(watching),
                Ok(line) => text = text + &line + "\n",
                Err(_) => return Err(text),
            }
        }
    }

    /// Returns the next event.
    ///
    /// # Errors
    /// None came in time, or the line makes no sense.
    pub fn next(&self, limit: Duration) -> Result<Seen, String> {
        let line = match self.lines.recv_timeout(limit) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => return Err("no event came in time".into()),
            Err(RecvTimeoutError::Disconnected) => return Err("vfsync watch has ended".into()),
        };
        let json: serde_json::Value = serde_json::from_str(&line).map_err(|e| format!("{line}: {e}"))?;
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let seen = || {
            Some(Seen {
                event: text("event")?,
                path: text("path")?.into(),
                to: text("to").map(PathBuf::from),
                pid: u32::try_from(json["pid"].as_u64()?).ok()?,
                comm: text("comm")?,
                tier: text("tier")?,
            })
        };
        seen().ok_or(line)
    }

    /// Returns every event up to now: makes a file in the tree and waits for its event; and another one if that does
    /// not come, as what tells of it may be lost like any other.
    ///
    /// # Errors
    /// None came.
    pub fn sync(&mut self, ground: &Ground) -> Result<Vec<Seen>, String> {
        let deadline = Instant::now() + LIMIT;
        let mut all = Vec::new();
        loop {
            self.markers += 1;
            let marker = ground.root.join(format!("marker-{}", self.markers));
            std::fs::File::create(&marker).map_err(|e| format!("{}: {e}", marker.display()))?;
            let again = Instant::now() + MARKER_LIMIT;
            loop {
                match self.next(again.saturating_duration_since(Instant::now())) {
                    Ok(seen) if seen.path == marker => return Ok(all),
                    Ok(seen) if seen.path.to_string_lossy().contains("/marker-") => {}
                    Ok(seen) => all.push(seen),
                    Err(why) if Instant::now() < again || Instant::now() > deadline => return Err(why),
                    Err(_) => break,
                }
            }
        }
    }

    /// Returns whether a loss is announced: what the kernel counts aside is asked for a moment later.
    pub fn is_announced_as_lost(&self) -> bool {
        std::iter::from_fn(|| self.next(Duration::from_secs(1)).ok()).any(|seen| seen.event == "overflow")
    }

    /// Performs an operation and returns what is wrong with the events that it gave.
    ///
    /// # Errors
    /// It could not be performed, or was not reported.
    pub fn demand(&mut self, ground: &Ground, operation: &Operation) -> Result<Outcome, String> {
        self.sync(ground)?;
        look(&ground.root);
        if let Err(error) = (operation.run)(ground) {
            return Ok(Outcome::NotPerformed(error.to_string()));
        }
        let seen = self.sync(ground)?;
        let missing: Vec<_> =
            operation.expected.iter().filter(|e| !seen.iter().any(|s| fits(s, e, ground))).collect();
        if missing.is_empty() && !seen.is_empty() {
            return Ok(Outcome::Seen);
        }
        if seen.iter().any(|s| s.event == "overflow") || self.is_announced_as_lost() {
            return Ok(Outcome::Lost);
        }
        let missing: Vec<_> = missing.iter().map(|e| format!("{} {}", e.events, e.path)).collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|s| format!("{} {} {}", s.event, s.path.display(), shown(s.to.as_deref())))
            .collect();
        Ok(Outcome::Missed(format!("missing {missing:?}, seen {seen:?}")))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What became of an operation.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every event came.
    Seen,
    /// Some did not, which was announced.
    Lost,
    /// Some did not.
    Missed(String),
    /// This file system does not have the operation.
    NotPerformed(String),
}

/// Looks at every file's times, as whoever acts on an event does: newer kernels renew a time that nobody has read only
/// with the next tick, and what changes a file by aio is seen by its time alone.
fn look(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // What has gone meanwhile has no times.
        if entry.metadata().is_ok_and(|found| found.is_dir()) {
            look(&entry.path());
        }
    }
}

fn shown(path: Option<&Path>) -> String {
    path.map(|p| format!("-> {}", p.display())).unwrap_or_default()
}

fn fits(seen: &Seen, expected: &Expected, ground: &Ground) -> bool {
    let at = |path: &str| ground.root.join(path);
    let path = at(expected.path);
    if seen.tier == "fanotify" {
        // It tells that a name has changed, less often how; and of a directory that is gone when it is asked, no more
        // than that.
        let gone = seen.event == "rmdir" && path.starts_with(&seen.path);
        return gone || seen.path == path || seen.to.as_ref() == Some(&path);
    }
    let place = match expected.to {
        Some(to) => seen.path == path && seen.to == Some(at(to)),
        None => seen.path == path || seen.to == Some(path),
    };
    place && expected.events.split('|').any(|event| event == seen.event)
}
