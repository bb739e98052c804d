//! The matrix: what capture reports on every kernel, in every preemption mode, by every tier, on every file system. One
//! guest looks at all that one kernel has.

use std::{fmt::Write as _, fs, path::PathBuf, time::Duration, time::Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    build,
    coverage::{self, Cell, Table, Word},
    kernel::Kernel,
    place,
    setup::say,
    vm::{self, Disk, Finished, Preempt, Vm},
};

/// What a guest looks at.
#[derive(Clone, Debug)]
pub struct Look {
    /// The kernel.
    pub kernel: Kernel,
    /// The preemption mode; none: the kernel's own.
    pub preempt: Option<Preempt>,
    /// The tiers.
    pub tiers: Vec<&'static str>,
    /// Whether every operation is performed.
    pub coverage: bool,
    /// Whether they are performed by way of the kernel's own NFS server too, which takes as long as all the rest.
    pub nfs: bool,
    /// How many rounds a storm has; 0: there is none.
    pub rounds: u32,
    /// How many seconds a foreign workload has, twice; 0: there is none.
    pub stress: u32,
}

/// What a guest has told.
#[derive(Debug)]
pub struct Told {
    /// Every cell.
    pub cells: Vec<(Cell, Word)>,
    /// What `vfsync doctor` says on each of the file systems.
    pub doctor: String,
    /// A line for each storm and each foreign workload.
    pub storms: Vec<Storm>,
    /// All of it.
    pub output: String,
}

/// What became of the changes of a storm, or of the paths that differ after a foreign workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storm {
    /// The tier; `stress-ng, ` stands before it where that was the workload.
    pub name: String,
    /// How many there were.
    pub changes: u64,
    /// How many were not reported, with a loss announced.
    pub announced: u64,
    /// How many were not reported, without a word.
    pub silent: u64,
}

/// Returns the tiers that a kernel has to have in a preemption mode. The kernel's own mode is voluntary before 6.13, and
/// lazy from then on.
pub fn tiers(kernel: Kernel, preempt: Option<Preempt>) -> Vec<&'static str> {
    let preempted = kernel == Kernel::Sid || matches!(preempt, Some(Preempt::Full | Preempt::Lazy));
    match (kernel, preempted) {
        // Where programs are preempted, trampolines lose events.
        (Kernel::Sid, _) => vec!["kprobe", "tracepoint", "fanotify"],
        (_, true) => vec!["kprobe", "fanotify"],
        (_, false) => vec!["kprobe", "fentry", "fanotify"],
    }
}

/// Returns the preemption modes that a kernel can be booted with beside its own.
pub fn modes(kernel: Kernel) -> &'static [Preempt] {
    match kernel {
        // It was built for one.
        Kernel::V5_10 => &[],
        Kernel::V6_1 | Kernel::V6_12 => &[Preempt::None, Preempt::Full],
        Kernel::Sid => &[Preempt::Full],
    }
}

impl Look {
    /// Boots the guest.
    ///
    /// # Errors
    /// It did not come to its end, or something in it could not look.
    pub fn run(&self, vfsync: PathBuf) -> Result<Told> {
        let programs = vm::build_static("vfsync-tests")?;
        let program = |name: &str| (programs.with_file_name(name), format!("/bin/{name}"));
        let mut files = ["capture-check", "storm-check", "stress-check", "nfs-mount"].map(program).to_vec();
        if self.stress > 0 {
            files.extend(vm::stress_ng_for_guests()?);
        }
        let vm = Vm {
            preempt: self.preempt,
            disks: vec![Disk::Ext4, Disk::Xfs, Disk::Btrfs],
            vfsync: Some(vfsync),
            files,
            limit: Duration::from_secs(1800),
            ..Vm::new(self.kernel)
        };
        let finished = vm.run(&self.script())?;
        let told = told(&finished);
        if finished.code != 0 {
            bail!(
                "it ended with {}:\n{}\nits console:\n{}",
                finished.code,
                finished.output,
                finished.console
            );
        }
        Ok(told)
    }

    /// Returns the name of what is looked at.
    pub fn name(&self) -> String {
        let mode = self.preempt.and_then(|mode| mode.to_possible_value());
        format!("{} {}", self.kernel, mode.as_ref().map_or("its own mode", |mode| mode.get_name()))
    }

    fn script(&self) -> String {
        let mut script = String::from(MOUNTS);
        if self.coverage && self.nfs {
            script += "nfs-mount /mnt/ext4/nfs /mnt/nfs || exit 9\n";
        }
        for tier in &self.tiers {
            if self.coverage {
                let place = |name: &&str| match *name {
                    // What the clients of the kernel's own server do is looked at on what it exports.
                    "nfsd" => format!("nfsd=/mnt/ext4/nfs/{tier}@/mnt/nfs/{tier}"),
                    name => format!("{name}=/mnt/{name}/{tier}"),
                };
                let wanted = coverage::FILE_SYSTEMS.iter().filter(|name| self.nfs || **name != "nfsd");
                let grounds: Vec<String> = wanted.map(place).collect();
                // Writing to a String cannot fail.
                let _ = writeln!(script, "capture-check vfsync {tier} {} || exit 9", grounds.join(" "));
            }
            // What fanotify tells comes from a queue that takes all.
            if self.rounds > 0 && *tier != "fanotify" {
                let place = format!("/mnt/ext4/storm-{tier}");
                // It tells by its exit code as well whether a change was lost in silence, which is for us to judge.
                let _ = writeln!(
                    script,
                    "storm-check vfsync {tier} {place} {}; [ $? -lt 2 ] || exit 9",
                    self.rounds
                );
            }
        }
        for tier in self.tiers.iter().filter(|_| self.stress > 0) {
            let place = format!("/mnt/ext4/stress-{tier}");
            let _ = writeln!(
                script,
                "stress-check vfsync {tier} {place} /bin/stress-ng {}; [ $? -lt 2 ] || exit 9",
                self.stress
            );
        }
        if self.coverage {
            let _ = writeln!(script, "for fs in tmpfs ext4; do vfsync doctor /mnt/$fs; done");
        }
        script + "true\n"
    }
}

/// What a guest mounts first. The pages of the one in memory are huge where the kernel has such.
const MOUNTS: &str = "
modprobe -q loop
mkdir -p /mnt/ext4/lower /mnt/ext4/upper /mnt/ext4/work /mnt/overlay /mnt/tmpfs || exit 9
mount -t overlay -o lowerdir=/mnt/ext4/lower,upperdir=/mnt/ext4/upper,workdir=/mnt/ext4/work o /mnt/overlay || exit 9
mount -t tmpfs -o huge=always tmpfs /mnt/tmpfs || mount -t tmpfs tmpfs /mnt/tmpfs || exit 9
";

fn told(finished: &Finished) -> Told {
    let output = finished.output.clone();
    let doctor = output.lines().filter(|line| line.contains("does not see")).collect::<Vec<_>>().join("\n");
    let storms = output.lines().filter_map(storm).collect();
    Told { cells: coverage::printed(&output), doctor, storms, output }
}

/// Reads `kprobe: 9600 changes, 0 lost and announced, 0 lost in silence`.
fn storm(line: &str) -> Option<Storm> {
    let (name, rest) = line.trim().split_once(": ")?;
    let mut numbers = rest
        .split(", ")
        .zip(["changes", "lost and announced", "lost in silence"])
        .map(|(part, words)| part.strip_suffix(words)?.trim().parse::<u64>().ok());
    let mut number = || numbers.next().flatten();
    Some(Storm { name: name.to_owned(), changes: number()?, announced: number()?, silent: number()? })
}

/// Returns the path of the table.
pub fn table() -> PathBuf {
    place::workspace().join("tests/coverage.txt")
}

/// Reads the table.
pub fn read_table() -> Result<Table> {
    let path = table();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Table::parse(&text).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
}

/// Looks at each of these kernels in each of its preemption modes, or in its own alone, prints what was found, and with `write` takes it into
/// the table. Fails where something has become worse.
pub fn all(kernels: &[Kernel], own_mode: bool, write: bool) -> Result<()> {
    let mut table = read_table()?;
    let mut troubles = Vec::new();
    let mut lines = Vec::new();
    for &kernel in kernels {
        let others = if own_mode { &[][..] } else { modes(kernel) };
        for preempt in std::iter::once(None).chain(others.iter().copied().map(Some)) {
            let look = Look {
                kernel,
                preempt,
                tiers: tiers(kernel, preempt),
                coverage: true,
                nfs: true,
                rounds: 10,
                stress: 10,
            };
            say(format_args!("matrix: {}", look.name()));
            let start = Instant::now();
            let told = match look.run(build::binary()) {
                Ok(told) => told,
                Err(error) => {
                    troubles.push(format!("{}: {error:#}", look.name()));
                    continue;
                }
            };
            let took = start.elapsed().as_secs();
            lines.extend(told.summary(&look).into_iter().map(|line| format!("{line} | {took} s")));
            let (worse, better) = table.differences(kernel, &told.cells);
            let mark = |lines: Vec<String>| lines.into_iter().map(|line| format!("{}: {line}", look.name()));
            if write && preempt.is_none() {
                table.take(kernel, &told.cells);
                mark(worse.clone()).for_each(|line| say(format_args!("taken: {line}")));
                say(format_args!("taken: {} that are better, and what is new", better.len()));
            } else {
                troubles.extend(mark(worse));
            }
            troubles.extend(mark(coverage::unsaid(&told.cells, &told.doctor)));
            troubles.extend(mark(told.silences(kernel, preempt)));
            if write {
                let path = self::table();
                fs::write(&path, table.to_string())
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
    }
    println!(
        "kernel, mode | tier | seen | directory named | announced | not seen | not performed | storm | took"
    );
    lines.iter().for_each(|line| println!("{line}"));
    if troubles.is_empty() { Ok(()) } else { bail!("{} faults:\n{}", troubles.len(), troubles.join("\n")) }
}

impl Told {
    /// Returns a line for each tier: how many cells are what.
    fn summary(&self, look: &Look) -> Vec<String> {
        let line = |tier: &&str| {
            let count = |wanted: fn(&Word) -> bool| {
                self.cells.iter().filter(|(cell, word)| cell.tier == **tier && wanted(word)).count()
            };
            let storm = self.storms.iter().find(|storm| storm.name == **tier);
            let storm = storm.map_or("–".to_owned(), |s| {
                format!("{} of {} announced, {} silent", s.announced, s.changes, s.silent)
            });
            let refused: Vec<&str> = self
                .cells
                .iter()
                .filter(|(cell, word)| cell.tier == **tier && matches!(word, Word::Refused(_)))
                .map(|(cell, _)| cell.file_system.as_str())
                .collect();
            let refused =
                if refused.is_empty() { String::new() } else { format!(" (not {})", refused.join(", ")) };
            format!(
                "{} | {tier}{refused} | {} | {} | {} | {} | {} | {storm}",
                look.name(),
                count(|word| *word == Word::Seen),
                count(|word| *word == Word::Listed),
                count(|word| *word == Word::Lost),
                count(|word| matches!(word, Word::Missed(_))),
                count(|word| *word == Word::Absent),
            )
        };
        look.tiers.iter().map(line).collect()
    }

    /// Returns what was lost in silence though the kernel gives what it takes to know.
    pub fn silences(&self, kernel: Kernel, preempt: Option<Preempt>) -> Vec<String> {
        // Before 6.7 a kernel does not count the kprobes that it skips where it is preempted: doctor says so.
        let unaccounted = kernel == Kernel::V6_1 && preempt == Some(Preempt::Full);
        let silent = self.storms.iter().filter(|storm| storm.silent > 0 && !unaccounted);
        silent
            .map(|s| format!("storm, {}: {} of {} changes lost in silence", s.name, s.silent, s.changes))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_storm_is_read() {
        let read = storm("kprobe: 9600 changes, 246 lost and announced, 7 lost in silence\r");
        let expected = Storm { name: "kprobe".into(), changes: 9600, announced: 246, silent: 7 };
        assert_eq!(read, Some(expected));
        assert_eq!(storm("kprobe: no such thing"), None);
    }
}
