//! The eBPF programs of one tier, loaded, attached, and taught what to watch.

use super::{
    calls,
    cookie::Cookie,
    decode::{DecodeError, Record, decode},
    hooks::{self, Attach},
    offsets,
    report::Tier,
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, FEntry, KProbe, Lsm, Program},
};
use aya_log::EbpfLogger;
use rustix::fs::Dir;
use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};
use vfsync_common::{ABI, CLAIMED, CLAIMED_FIRST, Control, Offsets, RootKey, Settings};

/// The programs, or nothing if this vfsync was built without them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/vfsync-ebpf.o"));

/// After a wake-up, how long a first record in an empty ring wakes nobody. The agent looks by itself for longer.
pub const WAKE_PAUSE_MS: u64 = 4;

/// So many threads load programs at most.
const MOST_THREADS: usize = 4;

/// How often a directory is listed for programs that do not see it.
const LESSONS: u32 = 20;

/// What is known of the kernel: parsed once, for all tiers that are tried, and given back afterwards.
pub struct Kernel {
    /// Our reader.
    pub btf: super::btf::Btf,
    /// The loader's.
    aya: aya::Btf,
    offsets: Offsets,
    /// Whether programs cannot interrupt each other.
    pub certain: bool,
    /// One for the first tier: making one parses the kernel's BTF, whatever it is given instead.
    loader: Mutex<Option<JoinHandle<EbpfLoader<'static>>>>,
}

impl Kernel {
    /// Reads what eBPF needs of this kernel, or says why there can be no eBPF.
    pub fn read(certain: bool) -> Result<Kernel, String> {
        if OBJECT.is_empty() {
            return Err(
                "this vfsync was built without the eBPF programs (cargo xtask build includes them)".into()
            );
        }
        let loader = Mutex::new(Some(thread::spawn(EbpfLoader::new)));
        let aya = thread::spawn(aya::Btf::from_sys_fs);
        let btf = super::btf::Btf::of_this_kernel(offsets::NAMES).map_err(describe)?;
        let offsets = offsets::resolve(&btf)?;
        let aya = joined(aya).map_err(describe)?;
        Ok(Kernel { btf, aya, offsets, certain, loader })
    }

    /// Returns a loader. The first one was made meanwhile; a second is seldom needed.
    fn loader(&self) -> EbpfLoader<'static> {
        let ready = self.loader.lock().expect("no thread panics with this locked").take();
        ready.map_or_else(EbpfLoader::new, joined)
    }
}

/// Waits for a thread; its panic goes on in this one.
fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Shows an error with what lies behind it.
pub fn describe(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    // A verifier's log is for the debug log.
    text.lines().next().unwrap_or_default().to_string()
}

/// The loaded programs of one tier.
pub struct Programs {
    // Dropping it detaches the programs.
    _ebpf: Ebpf,
    ring: RingBuf<MapData>,
    roots: HashMap<MapData, RootKey, u32>,
    control: Array<MapData, Control>,
    lost: HashMap<MapData, u32, u64>,
    coalesced: PerCpuArray<MapData, u64>,
    /// What barriers and teaching go through.
    pub cookie: Arc<Cookie>,
    descriptors: Vec<RawFd>,
    /// What a debug build's programs say of themselves.
    messages: Option<EbpfLogger<&'static dyn log::Log>>,
    filter: bool,
    /// Hooks that could not be attached, with the reason.
    pub missing: Vec<(String, String)>,
    /// Every security hook is an LSM program.
    pub lsm: bool,
}

impl Programs {
    /// Loads and attaches the programs of a tier. Optional hooks may be missing; without the others there is a reason.
    pub fn load(tier: Tier, kernel: &Kernel, ring_bytes: u32) -> Result<Programs, String> {
        if tier == Tier::Kprobe && !has_kprobes() {
            return Err("this kernel has no kprobes".into());
        }
        // Only where programs can be preempted: elsewhere a kprobe misses nothing, and costs less.
        let lsm = !kernel.certain && has_bpf_lsm();
        let attachments = hooks::of_tier(tier, &kernel.btf, lsm)?;
        let cookie = Cookie::create().map_err(|e| format!("cannot create the cookie: {e}"))?;
        let settings = Settings {
            abi: u32::from(ABI),
            cookie_dev: cookie.dev,
            cookie_ino: cookie.ino,
            wake_above: u64::from(ring_bytes / 4),
            wake_pause: WAKE_PAUSE_MS * 1_000_000,
            scratch_each: u32::from(!kernel.certain),
            timestamps: u32::from(
                tier == Tier::Tracepoint && kernel.btf.tracepoint("ctime_ns_xchg").is_some(),
            ),
            compat: offsets::compat_bit(),
            reserved: 0,
        };
        let calls = calls::table();
        let level = message_level();
        let mut loader: EbpfLoader<'_> = kernel.loader();
        let mut ebpf = loader
            .btf(Some(&kernel.aya))
            .override_global("OFFSETS", &kernel.offsets, true)
            .override_global("SETTINGS", &settings, true)
            .override_global("SYSTEM_CALLS", &calls[..], true)
            // Only a debug build has it.
            .override_global(aya_log::LEVEL, &level, false)
            .map_max_entries("EVENTS", ring_bytes)
            .map_max_entries("SCRATCH", if kernel.certain { 1 } else { CLAIMED_FIRST + CLAIMED })
            .map_max_entries("CLAIMS", if kernel.certain { 1 } else { processors() * CLAIMED })
            .load(OBJECT)
            .map_err(describe)?;
        let messages = match EbpfLogger::init(&mut ebpf) {
            Ok(messages) => Some(messages),
            Err(aya_log::Error::MapNotFound) => None,
            Err(error) => return Err(describe(error)),
        };
        let mut missing = Vec::new();
        let mut descriptors = Vec::new();
        let mut all_lsm = lsm;
        for (attachment, attached) in attach_all(&mut ebpf, attachments, &kernel.aya) {
            all_lsm &= !attachment.fell_back;
            match attached {
                Ok(descriptor) => descriptors.push(descriptor),
                Err(why) if attachment.optional => missing.push((attachment.function.to_string(), why)),
                Err(why) => return Err(format!("{}: {why}", attachment.function)),
            }
        }
        let mut map =
            |name: &str| ebpf.take_map(name).ok_or_else(|| format!("the eBPF object has no map {name}"));
        Ok(Programs {
            ring: RingBuf::try_from(map("EVENTS")?).map_err(describe)?,
            roots: HashMap::try_from(map("ROOTS")?).map_err(describe)?,
            control: Array::try_from(map("CONTROL")?).map_err(describe)?,
            lost: HashMap::try_from(map("LOST")?).map_err(describe)?,
            coalesced: PerCpuArray::try_from(map("COALESCED")?).map_err(describe)?,
            cookie: Arc::new(cookie),
            descriptors,
            messages,
            filter: false,
            missing,
            lsm: all_lsm && tier == Tier::Kprobe,
            _ebpf: ebpf,
        })
    }

    /// Teaches the programs a directory: they see this thread list it. A kernel that is preempted may skip them, so
    /// that it is tried some times.
    pub fn teach(&mut self, slot: u32, path: &Path) -> Result<(), String> {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
        for _ in 0..LESSONS {
            self.list(slot, &dir).map_err(|e| format!("cannot list {}: {e}", path.display()))?;
            if self.taught().any(|(_, at)| at == slot) {
                return Ok(());
            }
        }
        Err("the programs do not see a directory being listed".into())
    }

    /// Lists a directory while the programs look.
    fn list(&mut self, slot: u32, dir: &OwnedFd) -> Result<(), String> {
        let filter = u32::from(self.filter);
        let control = &mut self.control;
        let listed = self.cookie.with_thread(|| -> Result<(), String> {
            control.set(0, Control { filter, learn: slot + 1 }, 0).map_err(describe)?;
            let list = Dir::read_from(dir).map(|mut entries| entries.read().map(|entry| entry.is_ok()));
            control.set(0, Control { filter, learn: 0 }, 0).map_err(describe)?;
            list.map(|_| ()).map_err(|e| e.to_string())
        });
        listed.map_err(|e| format!("the cookie: {e}"))?
    }

    /// Makes the programs forget what was taught under slots that `keep` refuses.
    pub fn forget(&mut self, keep: impl Fn(u32) -> bool) {
        let gone: Vec<RootKey> = self.taught().filter(|(_, slot)| !keep(*slot)).map(|(key, _)| key).collect();
        for key in gone {
            if let Err(error) = self.roots.remove(&key) {
                tracing::debug!(why = %error, "a watched directory was not forgotten");
            }
        }
        // What was lost under them is known, or will be taken for lost everywhere.
        for slot in self.lost.keys().filter_map(Result::ok).filter(|slot| !keep(*slot)).collect::<Vec<_>>() {
            let _ = self.lost.remove(&slot);
        }
    }

    /// Returns when records were last lost for want of room, in nanoseconds of the kernel's clock, by slot.
    pub fn lost_by_slot(&self) -> std::collections::HashMap<u32, u64> {
        self.lost.iter().filter_map(Result::ok).collect()
    }

    fn taught(&self) -> impl Iterator<Item = (RootKey, u32)> {
        self.roots.iter().filter_map(Result::ok)
    }

    /// Leaves this process' own changes out from now on, or no longer.
    pub fn set_filter(&mut self, filter: bool) -> Result<(), String> {
        self.filter = filter;
        self.control.set(0, Control { filter: u32::from(filter), learn: 0 }, 0).map_err(describe)
    }

    /// Passes on what the programs have said of themselves.
    pub fn log(&mut self) {
        if let Some(messages) = &mut self.messages {
            messages.flush();
        }
    }

    /// Returns a descriptor that becomes readable when the programs say something of themselves; none if they never
    /// do.
    pub fn logs(&self) -> std::io::Result<Option<OwnedFd>> {
        self.messages.as_ref().map(|messages| messages.as_fd().try_clone_to_owned()).transpose()
    }

    /// Takes up to `limit` records out of the ring.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(Result<Record, DecodeError>)) -> usize {
        let mut count = 0;
        while count < limit
            && let Some(item) = self.ring.next()
        {
            take(decode(&item));
            count += 1;
        }
        count
    }

    /// Returns a descriptor that becomes readable when the programs wake the reader.
    pub fn readable(&self) -> std::io::Result<OwnedFd> {
        self.ring.as_fd().try_clone_to_owned()
    }

    /// Returns how often the kernel has skipped a program because one of the kind was running already.
    pub fn misses(&self) -> u64 {
        let of_program = |fd: &RawFd| {
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse::<u64>().ok())
        };
        self.descriptors.iter().filter_map(of_program).sum()
    }

    /// Returns how many records were saved by coalescing.
    pub fn coalesced(&self) -> u64 {
        self.coalesced.get(&0, 0).map_or(0, |counts| counts.iter().sum())
    }
}

/// Returns down to which level the programs of a debug build have something to say: what nobody reads is not written.
fn message_level() -> u8 {
    let wanted = tracing::level_filters::LevelFilter::current().into_level();
    wanted.map_or(0, |level| match level {
        tracing::Level::ERROR => aya_log::Level::Error as u8,
        tracing::Level::WARN => aya_log::Level::Warn as u8,
        tracing::Level::INFO => aya_log::Level::Info as u8,
        tracing::Level::DEBUG => aya_log::Level::Debug as u8,
        tracing::Level::TRACE => aya_log::Level::Trace as u8,
    })
}

/// Returns whether the kernel has kprobes: as a perf source, or in tracefs on older kernels.
fn has_kprobes() -> bool {
    [
        "/sys/bus/event_source/devices/kprobe",
        "/sys/kernel/tracing/kprobe_events",
        "/sys/kernel/debug/tracing/kprobe_events",
    ]
    .iter()
    .any(|path| Path::new(path).exists())
}

/// Returns whether the kernel runs BPF LSM programs: others load and attach them all the same, and never call them.
fn has_bpf_lsm() -> bool {
    let active = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    active.trim().split(',').any(|name| name == "bpf")
}

/// Returns how many processors there can be: as many as the kernel has room for in its tables by processor.
fn processors() -> u32 {
    aya::util::nr_cpus().ok().and_then(|n| u32::try_from(n).ok()).unwrap_or(4096)
}

/// Loads and attaches programs, in several threads: what takes time is the kernel's verification, which is done in the
/// caller's. Ends at the first that is refused and cannot be done without.
fn attach_all(
    ebpf: &mut Ebpf,
    attachments: Vec<Attach>,
    btf: &aya::Btf,
) -> Vec<(Attach, Result<RawFd, String>)> {
    let mut programs: std::collections::HashMap<&str, &mut Program> = ebpf.programs_mut().collect();
    let mut found = |name: &str| programs.remove(name);
    let with_programs = |a: Attach| (found(a.program), a.fallback.and_then(&mut found), a);
    let work: Vec<_> = attachments.into_iter().map(with_programs).collect();
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let work = Mutex::new(work.into_iter());
    let refused = AtomicBool::new(false);
    let take = || work.lock().expect("no thread panics with this locked").next();
    let attach_some = || {
        let mut done = Vec::new();
        while !refused.load(Ordering::Relaxed)
            && let Some((program, fallback, mut attachment)) = take()
        {
            let mut attached = match program {
                Some(program) => attach(program, &attachment, btf),
                None => Err(format!("no program {}", attachment.program)),
            };
            if let (Err(why), Some(fallback)) = (&attached, fallback) {
                tracing::warn!(
                    program = attachment.program,
                    why,
                    "a kprobe has to do in place of an LSM program"
                );
                attached = attach(fallback, &attachment, btf);
                attachment.fell_back = true;
            }
            refused.fetch_or(attached.is_err() && !attachment.optional, Ordering::Relaxed);
            done.push((attachment, attached));
        }
        done
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(attach_some)).collect();
        threads.into_iter().flat_map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    })
}

/// Loads and attaches one program, and returns its descriptor.
fn attach(program: &mut Program, attachment: &Attach, btf: &aya::Btf) -> Result<RawFd, String> {
    let function = attachment.function;
    let descriptor = match program {
        Program::KProbe(probe) => attach_kprobe(probe, function),
        Program::FEntry(probe) => attach_fentry(probe, function, btf),
        Program::BtfTracePoint(probe) => attach_tracepoint(probe, function, btf),
        Program::Lsm(probe) => attach_lsm(probe, attachment.lsm, btf),
        _ => Err(format!("{} is of another kind", attachment.program)),
    }?;
    if tracing::enabled!(tracing::Level::DEBUG)
        && let Ok(info) = program.info()
    {
        let n = info.verified_instruction_count();
        tracing::debug!(program = attachment.program, function, n, "attached; n instructions were verified");
    }
    Ok(descriptor)
}

fn attach_kprobe(probe: &mut KProbe, function: &str) -> Result<RawFd, String> {
    probe.load().map_err(explain)?;
    probe.attach(function, 0).map_err(explain)?;
    descriptor(probe.fd())
}

fn attach_fentry(probe: &mut FEntry, function: &str, btf: &aya::Btf) -> Result<RawFd, String> {
    probe.load(function, btf).map_err(explain)?;
    probe.attach().map_err(explain)?;
    descriptor(probe.fd())
}

fn attach_tracepoint(probe: &mut BtfTracePoint, function: &str, btf: &aya::Btf) -> Result<RawFd, String> {
    probe.load(function, btf).map_err(explain)?;
    probe.attach().map_err(explain)?;
    descriptor(probe.fd())
}

fn attach_lsm(probe: &mut Lsm, hook: &str, btf: &aya::Btf) -> Result<RawFd, String> {
    probe.load(hook, btf).map_err(explain)?;
    probe.attach().map_err(explain)?;
    descriptor(probe.fd())
}

fn descriptor(fd: Result<&aya::programs::ProgramFd, aya::programs::ProgramError>) -> Result<RawFd, String> {
    Ok(fd.map_err(describe)?.as_fd().as_raw_fd())
}

/// Shortens a load error to its reason; the verifier's log goes to the debug log.
fn explain(error: aya::programs::ProgramError) -> String {
    use aya::programs::ProgramError;
    match &error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!(why = %verifier_log, "the kernel refused a program");
            let last = verifier_log.to_string();
            let last = last
                .lines()
                .rev()
                .find(|l| !l.trim().is_empty() && !l.starts_with("processed"))
                .unwrap_or("");
            if last.is_empty() {
                format!("refused: {io_error}")
            } else {
                format!("refused: {io_error} ({last})")
            }
        }
        _ => describe(error),
    }
}
