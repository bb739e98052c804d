//! What capture says of itself: tiers, operations, reasons.

use super::preemption::Preemption;
use crate::options::CaptureChoice;
use std::{fmt, time::Duration};

/// A way to learn of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// eBPF programs on kprobes.
    Kprobe,
    /// eBPF programs on trampolines.
    Fentry,
    /// eBPF programs on tracepoints.
    Tracepoint,
    /// fanotify marks on file systems.
    Fanotify,
    /// None: only a scan finds changes.
    Scan,
}

impl Tier {
    /// Every tier, best first.
    pub const ALL: [Tier; 5] = [Tier::Kprobe, Tier::Fentry, Tier::Tracepoint, Tier::Fanotify, Tier::Scan];

    /// Returns the name, as in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Kprobe => "kprobe",
            Tier::Fentry => "fentry",
            Tier::Tracepoint => "tracepoint",
            Tier::Fanotify => "fanotify",
            Tier::Scan => "scan",
        }
    }

    /// Returns whether it is made of eBPF programs.
    pub fn is_ebpf(self) -> bool {
        matches!(self, Tier::Kprobe | Tier::Fentry | Tier::Tracepoint)
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The option `capture`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CaptureMode {
    /// The best tier that passes its self-test.
    #[default]
    Auto,
    /// The best eBPF tier, or an error.
    Ebpf,
    /// This tier, or an error.
    Only(Tier),
}

impl From<CaptureChoice> for CaptureMode {
    fn from(choice: CaptureChoice) -> CaptureMode {
        match choice {
            CaptureChoice::Auto => CaptureMode::Auto,
            CaptureChoice::Ebpf => CaptureMode::Ebpf,
            CaptureChoice::Kprobe => CaptureMode::Only(Tier::Kprobe),
            CaptureChoice::Fentry => CaptureMode::Only(Tier::Fentry),
            CaptureChoice::Tracepoint => CaptureMode::Only(Tier::Tracepoint),
            CaptureChoice::Fanotify => CaptureMode::Only(Tier::Fanotify),
            CaptureChoice::Scan => CaptureMode::Only(Tier::Scan),
        }
    }
}

impl fmt::Display for CaptureMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureMode::Auto => f.write_str("auto"),
            CaptureMode::Ebpf => f.write_str("ebpf"),
            CaptureMode::Only(tier) => tier.fmt(f),
        }
    }
}

/// What the self-test found of one operation on one file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It was performed and reported.
    Yes,
    /// It was performed and not reported.
    No,
    /// It could not be performed here.
    NotTested(String),
}

/// One line of the self-test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// The operation.
    pub operation: &'static str,
    /// What was found.
    pub seen: Seen,
}

/// What one tier can do on this machine, for these roots.
#[derive(Debug, Clone)]
pub struct TierReport {
    /// The tier.
    pub tier: Tier,
    /// Why it cannot be used; `None` if it can.
    pub refused: Option<String>,
    /// What was tested, operation by operation. Empty where it did not come to that.
    pub tested: Vec<Tested>,
    /// Hooks that this kernel does not give, with the reason.
    pub missing: Vec<(String, String)>,
    /// What it cannot see by its nature, or cannot account for.
    pub uncovered: Vec<String>,
    /// How often everything has to be looked at for that; `None` where what is not seen at once is seen later.
    pub look_every: Option<Duration>,
}

impl TierReport {
    /// Returns a report of a tier that cannot be used.
    pub fn refused(tier: Tier, why: impl Into<String>) -> TierReport {
        TierReport {
            tier,
            refused: Some(why.into()),
            tested: Vec::new(),
            missing: Vec::new(),
            uncovered: Vec::new(),
            look_every: None,
        }
    }

    /// Notes what it cannot see or account for, whatever the self-test says, and how that is found all the same.
    pub fn note_uncovered(&mut self, account: Account) {
        let mut add = |text: &str, every: Option<Duration>| {
            self.uncovered.push(text.to_string());
            self.look_every = [self.look_every, every].into_iter().flatten().min();
        };
        let Account { certain, counts_misses, lsm } = account;
        match self.tier {
            Tier::Kprobe if !certain && !counts_misses && lsm => add(
                "changes of extended attributes and access lists, chattr, stores to a mapping and closing, where this \
                 preemptible kernel skips a program without counting it (Linux 6.7 counts)",
                Some(OFTEN),
            ),
            Tier::Kprobe | Tier::Fentry if !certain && !counts_misses => add(
                "events that this preemptible kernel drops without counting them (Linux 6.7 counts)",
                Some(OFTEN),
            ),
            Tier::Fentry if !certain => {
                add("events that trampolines drop on a preemptible kernel (they are counted)", None);
            }
            Tier::Kprobe | Tier::Fentry => {}
            Tier::Tracepoint => {
                add("the end of a write by aio or a 32-bit program (its begin is seen)", Some(RARELY));
                add("closing by exit or close_range (the write is seen)", None);
            }
            Tier::Fanotify => {
                add("stores to a mapping, and writes by aio, until the file is closed", None);
                add("chattr, before Linux 7.2", Some(RARELY));
                add("writes of a loop device to its file, on newer kernels", Some(RARELY));
            }
            // It is told of by itself.
            Tier::Scan => add("everything between two scans", None),
        }
        if self.tier.is_ebpf() {
            add(
                "stores to a page of a mapping that is dirty already, on tmpfs to any that was read before, until it is \
                 closed, or until half a minute later",
                None,
            );
        }
        // A hook that this kernel does not give.
        if !self.missing.is_empty() {
            self.look_every = Some(OFTEN.min(self.look_every.unwrap_or(OFTEN)));
        }
    }
}

/// How often everything is looked at where a tier may miss anything.
const OFTEN: Duration = Duration::from_secs(600);
/// The same where it may miss what programs rarely do.
pub const RARELY: Duration = Duration::from_secs(3600);

/// What decides how far a tier can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The kernel never preempts a program.
    pub certain: bool,
    /// The kernel counts the kprobe programs that it skips.
    pub counts_misses: bool,
    /// The security hooks are LSM programs, which are never skipped.
    pub lsm: bool,
}

/// How capture was opened.
#[derive(Debug, Clone)]
pub struct CaptureReport {
    /// The tier in use, and what it was found to see.
    pub chosen: TierReport,
    /// The better ones that were tried, and why they are not in use.
    pub refused: Vec<TierReport>,
    /// The kernel's preemption mode.
    pub preemption: Preemption,
}

impl CaptureReport {
    /// Returns the tier in use.
    pub fn tier(&self) -> Tier {
        self.chosen.tier
    }
}
