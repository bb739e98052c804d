//! A talker is a running vfsync that prints JSON lines, each taken with the time at which it came.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{exec, sshd};

/// A running vfsync. It ends with the value.
pub struct Talker {
    child: Child,
    lines: Receiver<(Instant, Value)>,
    errors: PathBuf,
}

impl Talker {
    /// Starts the command, whose standard error goes to a file.
    pub fn start(mut command: Command, errors: &Path) -> Result<Self> {
        let file = File::create(errors).with_context(|| format!("cannot create {}", errors.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let line = exec::line(&command);
        let mut child = exec::spawn(command).with_context(|| format!("cannot start {line}"))?;
        let out = child.stdout.take().expect("the output is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let (now, Ok(line)) = (Instant::now(), line) else { break };
                // What is no JSON is shown as it is: it should not be there.
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send((now, value)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, lines, errors: errors.to_owned() })
    }

    /// Returns the next line, if one comes within the time.
    pub fn line(&self, within: Duration) -> Option<(Instant, Value)> {
        self.lines.recv_timeout(within).ok()
    }

    /// Returns the lines that are there already.
    pub fn lines(&self) -> Vec<(Instant, Value)> {
        self.lines.try_iter().collect()
    }

    /// Returns how it ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for vfsync")
    }

    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it wrote to standard error.
    pub fn errors(&self) -> String {
        fs::read(&self.errors).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        // First politely: a vfsync that is asked to end takes its ssh with it.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        sshd::end_group(&mut self.child);
    }
}
