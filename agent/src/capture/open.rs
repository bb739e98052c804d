//! Opening capture: try the tiers, best first, until one passes its self-test on the file system of every root.

use super::{
    Capture, CaptureError, CaptureMode, CaptureReport, CaptureRequest, Preemption, Tier, TierReport,
    ebpf::EbpfSource,
    fanotify::FanotifySource,
    mounts::{self, Mount},
    programs::{Kernel, Programs},
    report::{self, Account},
    roots::{Home, Watched},
    selftest::{self, Ground},
    source::{Source, Surroundings},
};
use crate::core::path::RelPath;
use std::path::PathBuf;

/// How many file systems are tested at most: a thousand roots share a few.
const GROUNDS: usize = 8;

/// What all tiers are tried with.
struct Attempt {
    roots: Vec<PathBuf>,
    mounts: Vec<Mount>,
    preemption: Preemption,
    ring_bytes: u32,
    kernel: Result<Kernel, String>,
}

impl Attempt {
    fn new(roots: &[PathBuf], ring_bytes: u32, ebpf: bool) -> Result<Attempt, CaptureError> {
        let absolute = |path: &PathBuf| {
            let found =
                path.canonicalize().and_then(|p| if p.is_dir() { Ok(p) } else { Err(not_a_directory()) });
            found.map_err(|source| CaptureError::Root { path: path.clone(), source })
        };
        let preemption = Preemption::of_this_kernel();
        Ok(Attempt {
            roots: roots.iter().map(absolute).collect::<Result<_, _>>()?,
            mounts: mounts::read().map_err(|e| CaptureError::Broken(format!("/proc/self/mountinfo: {e}")))?,
            preemption,
            ring_bytes,
            kernel: if ebpf { Kernel::read(preemption.certain()) } else { Err("not asked for".into()) },
        })
    }

    /// Opens and tests one tier. The report says whether it is of use; the source is there if it is.
    fn tier(&self, tier: Tier) -> (TierReport, Option<Source>) {
        let (mut source, missing) = match self.source(tier) {
            Ok(opened) => opened,
            Err(why) => return (TierReport::refused(tier, why), None),
        };
        let lsm = matches!(&source, Source::Ebpf(source) if source.programs.lsm);
        let mut report = TierReport { missing, ..TierReport::refused(tier, "") };
        report.note_uncovered(Account {
            certain: self.preemption.certain(),
            counts_misses: counts_misses(),
            lsm,
        });
        report.refused = self.test(&mut source, &mut report).err();
        let usable = report.refused.is_none();
        (report, usable.then_some(source))
    }

    /// Opens a tier; also returns the hooks that this kernel does not give it.
    fn source(&self, tier: Tier) -> Result<(Source, Vec<(String, String)>), String> {
        let roots = self.roots.len();
        match (tier, &self.kernel) {
            (Tier::Scan, _) => Err("it has no events".into()),
            (Tier::Fanotify, _) => Ok((Source::Fanotify(Box::new(FanotifySource::open(roots)?)), Vec::new())),
            (Tier::Kprobe | Tier::Fentry | Tier::Tracepoint, Err(why)) => Err(why.clone()),
            (Tier::Kprobe | Tier::Fentry | Tier::Tracepoint, Ok(kernel)) => {
                let mut programs = Programs::load(tier, kernel, self.ring_bytes)?;
                let missing = std::mem::take(&mut programs.missing);
                Ok((Source::Ebpf(Box::new(EbpfSource::new(programs, roots))), missing))
            }
        }
    }

    /// Runs the self-test on the file system of every root.
    fn test(&self, source: &mut Source, report: &mut TierReport) -> Result<(), String> {
        source.sync()?;
        let mut tested: Vec<u32> = Vec::new();
        for root in &self.roots {
            let Some(mount) = mounts::of_path(&self.mounts, root) else { continue };
            let dev = mount.kernel_dev();
            if tested.contains(&dev) || tested.len() >= GROUNDS {
                continue;
            }
            tested.push(dev);
            let ground = match Ground::near(root, &self.roots) {
                Ok(ground) => ground,
                Err(why) => {
                    // A read-only or full file system cannot be tested, which is no fault of the tier.
                    report.uncovered.push(format!("not tested on {}: {why}", root.display()));
                    continue;
                }
            };
            let table = on_ground(source, &ground, dev)?;
            let verdict = selftest::verdict(&table);
            report.tested.extend(table);
            if let Some(why) = verdict {
                return Err(format!("{why} (on {}, {})", root.display(), mount.kind));
            }
        }
        Ok(())
    }
}

/// Runs the self-test in one directory.
fn on_ground(source: &mut Source, ground: &Ground, dev: u32) -> Result<Vec<report::Tested>, String> {
    let watched = Watched {
        path: ground.path.clone(),
        mount: 0,
        dev,
        within: PathBuf::new(),
        homes: vec![Home { root: 0, at: RelPath::root() }],
    };
    if let Some((_, why)) = source.watch(vec![watched]).pop() {
        return Err(why);
    }
    let table = selftest::run(ground, || source.sync());
    source.watch(Vec::new());
    table
}

/// Returns whether this kernel counts the kprobe programs that it skips (Linux 6.7).
fn counts_misses() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

fn not_a_directory() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::NotADirectory)
}

/// Returns the tiers to try, best first.
fn candidates(mode: CaptureMode, preemption: Preemption) -> Vec<Tier> {
    // Trampolines lose events where programs can be preempted, up to most of them.
    let ebpf: &[Tier] = if preemption.certain() {
        &[Tier::Kprobe, Tier::Fentry, Tier::Tracepoint]
    } else {
        &[Tier::Kprobe, Tier::Tracepoint]
    };
    match mode {
        CaptureMode::Auto => ebpf.iter().copied().chain([Tier::Fanotify, Tier::Scan]).collect(),
        CaptureMode::Ebpf => ebpf.to_vec(),
        CaptureMode::Only(tier) => vec![tier],
    }
}

/// Opens capture: see [`Capture::open`].
pub fn open(request: &CaptureRequest, roots: &[PathBuf]) -> Result<(Capture, CaptureReport), CaptureError> {
    let tiers = candidates(request.mode, Preemption::of_this_kernel());
    let attempt = Attempt::new(roots, request.ring_bytes, tiers.iter().any(|t| t.is_ebpf()))?;
    let surroundings = Surroundings::new(attempt.roots.clone(), &attempt.mounts);
    let mut refused = Vec::new();
    for tier in tiers {
        let (report, source) = match tier {
            Tier::Scan => (scan_report(), None),
            _ => match attempt.tier(tier) {
                (report, Some(mut source)) => {
                    start(&mut source, &surroundings, request)?;
                    (report, Some(source))
                }
                (report, None) => {
                    let why = report.refused.as_deref().unwrap_or_default();
                    tracing::debug!(tier = tier.name(), why, "a capture tier was refused");
                    refused.push(report);
                    continue;
                }
            },
        };
        let report = CaptureReport { chosen: report, refused, preemption: attempt.preemption };
        return Ok((Capture::new(source, tier, surroundings), report));
    }
    let why = |r: &TierReport| format!("{}: {}", r.tier, r.refused.as_deref().unwrap_or_default());
    let why = refused.iter().map(why).collect::<Vec<_>>().join("; ");
    Err(CaptureError::Refused { mode: request.mode, why })
}

/// Begins to watch the roots.
fn start(
    source: &mut Source,
    surroundings: &Surroundings,
    request: &CaptureRequest,
) -> Result<(), CaptureError> {
    for (watched, why) in source.watch(surroundings.plan().to_vec()) {
        if surroundings.is_root(&watched.path) {
            let source = std::io::Error::other(why);
            return Err(CaptureError::Root { path: watched.path, source });
        }
        tracing::warn!(path = %watched.path.display(), why, "a mounted directory cannot be watched");
    }
    source.set_filter(request.leave_out_own).map_err(CaptureError::Broken)?;
    // What the self-test left in the ring is of no interest, but its losses are known from here on.
    source.sync().map_err(CaptureError::Broken)?;
    Ok(())
}

fn scan_report() -> TierReport {
    let mut report = TierReport { refused: None, ..TierReport::refused(Tier::Scan, "") };
    report.note_uncovered(Account { certain: true, counts_misses: true, lsm: false });
    report
}

/// Tries every tier on these roots, for `doctor`.
pub fn survey(roots: &[PathBuf]) -> Result<(Preemption, Vec<TierReport>), CaptureError> {
    let fallback = [PathBuf::from("/tmp")];
    let attempt = Attempt::new(if roots.is_empty() { &fallback } else { roots }, 1 << 20, true)?;
    let report = |tier| if tier == Tier::Scan { scan_report() } else { attempt.tier(tier).0 };
    Ok((attempt.preemption, Tier::ALL.into_iter().map(report).collect()))
}
