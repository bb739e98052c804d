//! A [`Sample`] is what two daemons take at one moment.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::exec;

/// What a daemon says of itself.
#[derive(Debug)]
pub struct Status {
    links: Vec<Value>,
    replicas: Vec<Value>,
}

impl Status {
    /// Asks the daemon that has its archives there.
    pub fn ask(binary: &Path, state: &Path) -> Result<Self> {
        let mut command = Command::new(binary);
        let text = exec::read(command.args(["status", "--json"]).env("VFSYNC_STATE_DIR", state));
        let mut status = Self { links: Vec::new(), replicas: Vec::new() };
        // It may only just have been started: nobody answers then.
        for line in text.unwrap_or_default().lines() {
            let line: Value = serde_json::from_str(line).context("a status that is no JSON")?;
            match line["event"].as_str() {
                Some("link") => status.links.push(line),
                Some("replica") => status.replicas.push(line),
                _ => {}
            }
        }
        Ok(status)
    }

    /// Returns what waits: paths to be looked at, entries to be offered or answered, or to be taken.
    fn backlog(&self) -> u64 {
        let sum =
            |lines: &[Value], key: &str| lines.iter().filter_map(|line| line[key].as_u64()).sum::<u64>();
        sum(&self.replicas, "waiting") + sum(&self.links, "backlog") + sum(&self.links, "incoming")
    }

    fn live(&self) -> usize {
        self.links.iter().filter(|link| link["state"] == "live").count()
    }

    /// Returns whether there is one link, and nothing waits.
    pub fn is_at_rest(&self) -> bool {
        self.live() == 1 && self.backlog() == 0
    }
}

/// What two daemons take.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Since the beginning.
    pub at: Duration,
    changes: u64,
    /// Resident memory of each, in KiB.
    memory: [u64; 2],
    /// Open descriptors of each.
    descriptors: [u64; 2],
    threads: [u64; 2],
    /// What waits at both.
    backlog: u64,
    /// How many links are live at each.
    live: [usize; 2],
    /// Both logs together, in bytes.
    log: u64,
    /// Both archives, in bytes on the disk.
    archives: u64,
}

/// The figures of a sample, by their names.
pub type Figure = (&'static str, fn(&Sample) -> f64);

/// What is compared between the beginning and the end.
pub const FIGURES: [Figure; 7] = [
    ("memory of the first daemon, MiB", |s| s.memory(0)),
    ("memory of the second daemon, MiB", |s| s.memory(1)),
    ("descriptors of the first daemon", |s| s.descriptors(0)),
    ("descriptors of the second daemon", |s| s.descriptors(1)),
    ("backlog", Sample::backlog),
    ("logs, KiB", Sample::log),
    ("archives, MiB", Sample::archives),
];

impl Sample {
    /// The heads of its columns.
    pub const HEADS: &str = "seconds,changes,rss_kib_0,rss_kib_1,fds_0,fds_1,threads_0,threads_1,backlog,live_0,live_1,\
                             log_bytes,archive_bytes";

    /// Takes one.
    pub fn take(
        at: Duration,
        changes: u64,
        pids: [u32; 2],
        status: &[Status; 2],
        logs: &[PathBuf; 2],
        states: &[PathBuf; 2],
    ) -> Result<Self> {
        let length = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
        let [first, second] = [Process::read(pids[0])?, Process::read(pids[1])?];
        Ok(Self {
            at,
            changes,
            memory: [first.memory, second.memory],
            descriptors: [first.descriptors, second.descriptors],
            threads: [first.threads, second.threads],
            backlog: status.iter().map(Status::backlog).sum(),
            live: [status[0].live(), status[1].live()],
            log: logs.iter().map(length).sum(),
            archives: states.iter().map(|state| blocks(state)).sum(),
        })
    }

    /// Resident memory of one, in MiB.
    pub fn memory(&self, host: usize) -> f64 {
        self.memory[host] as f64 / 1024.0
    }

    /// Open descriptors of one.
    pub fn descriptors(&self, host: usize) -> f64 {
        self.descriptors[host] as f64
    }

    /// What waits at both.
    pub fn backlog(&self) -> f64 {
        self.backlog as f64
    }

    /// Both logs together, in KiB.
    pub fn log(&self) -> f64 {
        self.log as f64 / 1024.0
    }

    /// Both archives, in MiB on the disk.
    pub fn archives(&self) -> f64 {
        self.archives as f64 / (1 << 20) as f64
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m0, m1] = self.memory;
        let [d0, d1] = self.descriptors;
        let [t0, t1] = self.threads;
        let [l0, l1] = self.live;
        let (seconds, changes, backlog) = (self.at.as_secs(), self.changes, self.backlog);
        let (log, archives) = (self.log, self.archives);
        write!(f, "{seconds},{changes},{m0},{m1},{d0},{d1},{t0},{t1},{backlog},{l0},{l1},{log},{archives}")
    }
}

/// Returns a quarter of the samples, counted from 0.
pub fn quarter(samples: &[Sample], number: usize) -> &[Sample] {
    &samples[samples.len() * number / 4..samples.len() * (number + 1) / 4]
}

/// What the kernel tells of a process.
struct Process {
    memory: u64,
    threads: u64,
    descriptors: u64,
}

impl Process {
    fn read(pid: u32) -> Result<Self> {
        let place = PathBuf::from(format!("/proc/{pid}"));
        let status = fs::read_to_string(place.join("status")).context("a daemon is gone")?;
        let number = |key: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        };
        let descriptors = fs::read_dir(place.join("fd")).context("a daemon is gone")?.count() as u64;
        let (memory, threads) = (number("VmRSS:").unwrap_or(0), number("Threads:").unwrap_or(0));
        ensure!(memory > 0 && descriptors > 0, "a daemon is gone");
        Ok(Self { memory, threads, descriptors })
    }
}

/// Returns how many bytes the files below a folder take on the disk.
fn blocks(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => blocks(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_threads_and_descriptors() {
        let this = Process::read(std::process::id()).unwrap();
        assert!(this.memory > 100 && this.threads > 0 && this.descriptors > 2);
        assert!(Process::read(u32::MAX).is_err());
    }

    #[test]
    fn a_row_has_as_many_columns_as_there_are_heads() {
        let sample = Sample {
            at: Duration::from_secs(5),
            changes: 1,
            memory: [2, 3],
            descriptors: [4, 5],
            threads: [6, 7],
            backlog: 8,
            live: [1, 1],
            log: 9,
            archives: 10,
        };
        let row = sample.to_string();
        assert_eq!(row, "5,1,2,3,4,5,6,7,8,1,1,9,10");
        assert_eq!(row.split(',').count(), Sample::HEADS.split(',').count());
        let samples = vec![sample; 8];
        assert_eq!(quarter(&samples, 3).len(), 2);
    }
}
