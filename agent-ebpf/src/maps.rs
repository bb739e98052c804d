//! The maps, and the read-only globals that the agent fills in.

use crate::walk::Progress;
use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use vfsync_common::{
    CALLS, CacheKey, CacheValue, Call, Control, Offsets, RootKey, Settings, State, Touched,
    record::{Header, NAME_BYTES, PATH_BYTES},
};

/// Where the kernel's members lie.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::NONE;

/// Everything else that the agent decides before loading.
#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings {
    abi: 0,
    cookie_dev: 0,
    cookie_ino: 0,
    wake_above: 0,
    wake_pause: 0,
    scratch_each: 0,
    timestamps: 0,
    compat: 0,
    reserved: 0,
};

/// What each system call of this architecture does.
#[unsafe(no_mangle)]
static SYSTEM_CALLS: [Call; CALLS] = [Call { class: 0, op: 0, arg: 0, other: 0 }; CALLS];

/// Records for the agent. The agent sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// The watched directories, and their slot.
#[map]
pub static ROOTS: HashMap<RootKey, u32> = HashMap::with_max_entries(4096, 0);

/// The superblocks that hold watched directories, by device number.
#[map]
pub static SUPERBLOCKS: HashMap<u32, u32> = HashMap::with_max_entries(1024, 0);

/// Files reported or left out lately.
#[map]
pub static CACHE: LruHashMap<CacheKey, CacheValue> = LruHashMap::with_max_entries(65536, 0);

/// What the running path system calls have touched, by thread.
#[map]
pub static TASKS: HashMap<u32, Touched> = HashMap::with_max_entries(4096, 0);

/// What the agent tells the programs while they run; one element.
#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, 0);

/// The programs' memory; one element.
#[map]
pub static STATE: Array<State> = Array::with_max_entries(1, 0);

/// How many records were saved by coalescing, a CPU.
#[map]
pub static COALESCED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Where records are put together: one element for all programs, or one for each where programs can interleave.
#[map]
pub static SCRATCH: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

/// When a record about a watched directory was last lost because the ring was full, in nanoseconds, by slot.
#[map]
pub static LOST: HashMap<u32, u64> = HashMap::with_max_entries(4096, 0);

/// Which scratch records are in use by programs that share them, by CPU and number: see [`crate::ring::claim`]. The
/// agent sets the size.
#[map]
pub static CLAIMS: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

/// A record being put together.
#[repr(C)]
pub struct Record {
    /// Its header.
    pub header: Header,
    /// Its two paths, and room for the name that is found to be too much.
    pub body: [u8; 2 * PATH_BYTES + NAME_BYTES],
    /// Where the walk is that fills the body. Not sent.
    pub progress: Progress,
}

/// Returns one field of the offsets.
macro_rules! offset {
    ($field:ident $([$index:literal])?) => {
        $crate::maps::field(
            // SAFETY: `field` passes a pointer to a live static.
            |o| unsafe { &raw const (*o).$field $([$index])? },
        )
    };
}
pub(crate) use offset;

/// Reads a field of [`OFFSETS`]; use the macro of the same name.
#[inline(always)]
pub fn field(field: impl Fn(*const Offsets) -> *const u32) -> u32 {
    // SAFETY: the pointer is to a field of a live static. Volatile, because the agent changes the value after the
    // compiler has seen it.
    unsafe { core::ptr::read_volatile(field(&raw const OFFSETS)) }
}

/// Returns the settings.
#[inline(always)]
pub fn settings() -> Settings {
    // SAFETY: a live static; volatile as above.
    unsafe { core::ptr::read_volatile(&raw const SETTINGS) }
}

/// Returns what the system call with this number does.
#[inline(always)]
pub fn system_call(number: u64) -> Call {
    if number >= CALLS as u64 {
        return Call { class: 0, op: 0, arg: 0, other: 0 };
    }
    // SAFETY: the index was checked; volatile as above.
    unsafe { core::ptr::read_volatile((&raw const SYSTEM_CALLS).cast::<Call>().add(number as usize)) }
}

/// Returns the programs' memory.
#[inline(always)]
pub fn state() -> Option<*mut State> {
    STATE.get_ptr_mut(0)
}

/// Returns what the agent wants now.
#[inline(always)]
pub fn control() -> Control {
    // SAFETY: two aligned words of a map's element, which the agent writes as a whole.
    CONTROL.get_ptr(0).map_or(Control { filter: 0, learn: 0 }, |control| unsafe { control.read_volatile() })
}
