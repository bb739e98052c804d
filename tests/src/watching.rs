//! A [`Watching`] is a `vfsync watch --json` that runs; a [`Seen`] is what it has printed of one event.

use std::{
    io::{BufRead, BufReader},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use xtask::coverage::Word;

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

impl Seen {
    /// Tells whether it announces that something was lost in this tree: another one does not help it.
    pub fn is_loss_of(&self, ground: &Ground) -> bool {
        self.event == "overflow" && self.path == ground.root
    }
}

/// A `vfsync watch --json` that runs. It is killed when it is dropped.
pub struct Watching {
    child: Child,
    lines: Receiver<String>,
    markers: u32,
    parts: usize,
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
        let watching = Watching { child, lines, markers: 0, parts: 0 };
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
        // The text of a path that is no text tells several of them apart from nothing.
        let path = |name: &str| {
            use base64::{Engine, engine::general_purpose::STANDARD};
            let bytes = json[format!("{name}_bytes")].as_str().and_then(|coded| STANDARD.decode(coded).ok());
            let exact = bytes.map(|bytes| PathBuf::from(std::ffi::OsString::from_vec(bytes)));
            exact.or_else(|| text(name).map(PathBuf::from))
        };
        let seen = || {
            Some(Seen {
                event: text("event")?,
                path: path("path")?,
                to: path("to"),
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
    pub fn is_announced_as_lost(&self, ground: &Ground) -> bool {
        std::iter::from_fn(|| self.next(Duration::from_secs(1)).ok()).any(|seen| seen.is_loss_of(ground))
    }

    /// Performs operations and returns what became of each.
    ///
    /// Many are performed at a time, each with a tree of its own. What is not plainly seen then is performed once more, alone:
    /// that counts.
    ///
    /// # Errors
    /// The watch does not go on.
    pub fn demand(&mut self, ground: &Ground, operations: &[Operation]) -> Result<Vec<Outcome>, String> {
        self.demand_through(ground, ground, operations)
    }

    /// As [`Watching::demand`], with the operations performed at another place that leads to the same: a mount of what is
    /// watched by way of a network.
    ///
    /// # Errors
    /// The watch does not go on.
    pub fn demand_through(
        &mut self,
        ground: &Ground,
        through: &Ground,
        operations: &[Operation],
    ) -> Result<Vec<Outcome>, String> {
        /// So many that what they report fits into the ring by far.
        const AT_A_TIME: usize = 40;
        let mut all = Vec::new();
        for some in operations.chunks(AT_A_TIME) {
            let first = self.perform(ground, through, some)?;
            for (operation, outcome) in some.iter().zip(first) {
                all.push(match outcome {
                    Outcome::Seen | Outcome::NotPerformed(_) => outcome,
                    _ => self.perform(ground, through, &[*operation])?.remove(0),
                });
            }
        }
        Ok(all)
    }

    /// Performs operations at a time.
    fn perform(
        &mut self,
        ground: &Ground,
        through: &Ground,
        operations: &[Operation],
    ) -> Result<Vec<Outcome>, String> {
        // What an earlier one had to leave is not found by a later one.
        let first = self.parts;
        self.parts += operations.len();
        let parts_of = |ground: &Ground| -> Vec<_> {
            (first..self.parts).map(|number| ground.part(&format!("part-{number}"))).collect()
        };
        let (watched, parts) = (parts_of(ground), parts_of(through));
        let acts: Vec<_> = operations.iter().zip(&parts).map(|(o, part)| o.begin(part)).collect();
        self.sync(ground)?;
        look(&through.root);
        // What they keep open goes at the end: closing is an event too.
        let kept: Vec<_> = acts.into_iter().map(|act| act.and_then(|act| act())).collect();
        if through.root != ground.root {
            // A client keeps what was written until it has to send it.
            let sent = std::fs::File::open(&through.root).and_then(|dir| Ok(rustix::fs::syncfs(dir)?));
            sent.map_err(|e| format!("{}: {e}", through.root.display()))?;
        }
        let seen = self.sync(ground)?;
        let lost = seen.iter().any(|s| s.is_loss_of(ground));
        let mut outcomes = Vec::new();
        for ((operation, part), kept) in operations.iter().zip(&watched).zip(&kept) {
            outcomes.push(match kept {
                Err(error) => Outcome::NotPerformed(error.to_string()),
                Ok(_) => judge(operation, part, &seen),
            });
        }
        let misses = outcomes.iter().any(|outcome| matches!(outcome, Outcome::Missed(_)));
        if misses && (lost || self.is_announced_as_lost(ground)) {
            let lost = |outcome| if let Outcome::Missed(_) = outcome { Outcome::Lost } else { outcome };
            outcomes = outcomes.into_iter().map(lost).collect();
        }
        drop(kept);
        for part in &parts {
            part.clear().map_err(|e| format!("{}: {e}", part.root.display()))?;
        }
        Ok(outcomes)
    }
}

/// Tells what became of an operation that was performed here.
fn judge(operation: &Operation, ground: &Ground, seen: &[Seen]) -> Outcome {
    let here = |path: &Path| path.starts_with(&ground.root);
    let seen: Vec<_> =
        seen.iter().filter(|s| here(&s.path) || s.to.as_deref().is_some_and(here)).cloned().collect();
    let missing: Vec<_> =
        operation.expected.iter().filter(|e| !seen.iter().any(|s| fits(s, e, ground))).collect();
    match missing.as_slice() {
        [] if !operation.expected.is_empty() || seen.is_empty() => return Outcome::Seen,
        // Whoever looks at what is not there any more finds just that.
        [] if seen.iter().all(|s| s.path.symlink_metadata().is_err()) => return Outcome::Seen,
        [] => return Outcome::Missed(format!("nothing was to be seen, seen {:?}", shown(&seen))),
        missing if missing.iter().all(|expected| is_covered(&seen, expected, ground)) => {
            return Outcome::Listed;
        }
        _ => {}
    }
    let missing: Vec<_> = missing.iter().map(|e| format!("{} {}", e.events, e.path)).collect();
    Outcome::Missed(format!("missing {missing:?}, seen {:?}", shown(&seen)))
}

impl Drop for Watching {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl From<Outcome> for Word {
    fn from(outcome: Outcome) -> Word {
        match outcome {
            Outcome::Seen => Word::Seen,
            Outcome::Listed => Word::Listed,
            Outcome::Lost => Word::Lost,
            Outcome::Missed(why) => Word::Missed(why),
            Outcome::NotPerformed(_) => Word::Absent,
        }
    }
}

/// What became of an operation.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every event came.
    Seen,
    /// Some did not, but the directory was named that has to be listed.
    Listed,
    /// Some did not, which was announced.
    Lost,
    /// Some did not.
    Missed(String),
    /// This kernel or file system does not have the operation.
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

fn shown(seen: &[Seen]) -> Vec<String> {
    let to = |s: &Seen| s.to.as_deref().map(|p| format!(" -> {}", p.display())).unwrap_or_default();
    seen.iter().map(|s| format!("{} {}{}", s.event, s.path.display(), to(s))).collect()
}

/// Tells whether this is the event.
fn fits(seen: &Seen, expected: &Expected, ground: &Ground) -> bool {
    let path = below(ground, expected.path);
    let to_is = |path: &Path| seen.to.as_deref().is_some_and(|to| is_shown_as(to, path));
    if seen.tier == "fanotify" {
        // It tells that a name has changed, less often how; and of a directory that is gone when it is asked, no more
        // than that.
        let gone = seen.event == "rmdir" && path.starts_with(&seen.path);
        return gone || is_shown_as(&seen.path, &path) || to_is(&path);
    }
    let place = match expected.to {
        Some(to) => is_shown_as(&seen.path, &path) && to_is(&below(ground, to)),
        None => is_shown_as(&seen.path, &path) || to_is(&path),
    };
    place && expected.events.split('|').any(|event| event == seen.event)
}

/// Tells whether whoever acts on the events comes upon what was expected: each path has changed in some way, or its directory
/// is to be listed.
fn is_covered(seen: &[Seen], expected: &Expected, ground: &Ground) -> bool {
    let covered = |path: &str| {
        let path = below(ground, path);
        seen.iter().any(|s| {
            let of = |path: &Path| {
                is_shown_as(&s.path, path) || s.to.as_deref().is_some_and(|to| is_shown_as(to, path))
            };
            of(&path) || (s.event == "changed" && path.parent().is_some_and(of))
        })
    };
    covered(expected.path) && expected.to.is_none_or(covered)
}

/// Returns whether a path is shown as this one: what is expected is text, also of a name that is none.
fn is_shown_as(path: &Path, shown: &Path) -> bool {
    path == shown || path.to_string_lossy() == shown.to_string_lossy()
}

/// Returns a path below the root; the root itself for none.
fn below(ground: &Ground, path: &str) -> PathBuf {
    if path.is_empty() { ground.root.clone() } else { ground.root.join(path) }
}
