//! The way of a record into the ring: scratch memory to put it together, the decision to wake the reader, and the
//! counts of what did not get out.

use crate::{
    kernel::Facts,
    maps::{CLAIMS, EVENTS, LOST, Record, SCRATCH, settings, state},
    messages::{say_no_scratch, say_ring_full, say_sent},
    walk::Walked,
};
use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns,
        generated::{bpf_get_current_comm, bpf_ringbuf_output},
    },
};
use core::hint::black_box;
use vfsync_common::{
    ABI, CLAIMED, CLAIMED_FIRST,
    record::{Header, RECORD_BYTES, ROOT_OUTSIDE, ROOT_UNKNOWN, flag},
};

/// Why a record did not get out.
#[derive(Clone, Copy)]
pub enum Loss {
    /// The ring was full; who is concerned stands in [`LOST`].
    Ring,
    /// The ring was full, and who is concerned is not known.
    Nowhere,
    /// No scratch memory.
    Scratch,
    /// A path could not be followed.
    Walk,
    /// The table of tasks was full.
    Tasks,
}

/// Counts a loss.
#[inline(always)]
pub fn lose(cause: Loss) {
    let Some(state) = state() else { return };
    // SAFETY: the element of the map lives as long as the programs. Two CPUs may count one loss together, which is why
    // there is a time beside the counts.
    unsafe {
        let lost = &raw mut (*state).lost;
        let counter = match cause {
            Loss::Ring => &raw mut (*lost).ring,
            Loss::Nowhere => &raw mut (*lost).nowhere,
            Loss::Scratch => &raw mut (*lost).scratch,
            Loss::Walk => &raw mut (*lost).walk,
            Loss::Tasks => &raw mut (*lost).tasks,
        };
        counter.write_volatile(counter.read_volatile() + 1);
        (&raw mut (*lost).at).write_volatile(bpf_ktime_get_ns());
    }
}

/// The slot of a program that another run of itself may interrupt on the same CPU, because nothing keeps the kernel from
/// preempting it: it claims scratch memory for the time in which it puts a record together.
pub const SHARED: u32 = u32::MAX;

/// Returns the slot whose scratch record is this run's until [`release`]; counts a loss if there is none left.
#[inline(always)]
pub fn claim(slot: u32) -> Option<u32> {
    if slot != SHARED {
        return Some(slot);
    }
    // A program stays on its CPU. Of two runs that want one element, one finds it taken: adding is atomic.
    // SAFETY: always sound to call.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    for n in 0..CLAIMED {
        if CLAIMS.insert(cpu * CLAIMED + n, 1, u64::from(BPF_NOEXIST)).is_ok() {
            return Some(CLAIMED_FIRST + n);
        }
    }
    lose(Loss::Scratch);
    say_no_scratch(slot);
    None
}

/// Gives back what [`claim`] gave.
#[inline(always)]
pub fn release(slot: u32) {
    if slot >= CLAIMED_FIRST {
        // SAFETY: always sound to call.
        let cpu = unsafe { bpf_get_smp_processor_id() };
        // It is there: nobody else takes it away.
        let _ = CLAIMS.remove(cpu * CLAIMED + (slot - CLAIMED_FIRST));
    }
}

/// Returns which scratch record the program of this slot uses.
#[inline(always)]
pub fn scratch(slot: u32) -> u32 {
    if settings().scratch_each != 0 { slot } else { 0 }
}

/// Takes the scratch record and fills in its header.
#[inline(always)]
pub fn begin(slot: u32, op: u8, flags: u16, facts: &Facts, dev: u32) -> Option<*mut Record> {
    let Some(record) = SCRATCH.get_ptr_mut(scratch(slot)) else {
        lose(Loss::Scratch);
        say_no_scratch(slot);
        return None;
    };
    let task = bpf_get_current_pid_tgid();
    let header = Header {
        abi: ABI,
        op,
        flags: flags | facts.flags(),
        root: ROOT_OUTSIDE,
        ino: facts.ino,
        dev,
        generation: facts.generation,
        tgid: (task >> 32) as u32,
        mode: facts.mode,
        path_len: 0,
        to_len: 0,
        reserved: 0,
        to_root: ROOT_OUTSIDE,
        cookie: task & 0xffff_ffff,
        comm: [0; 16],
    };
    // SAFETY: the element is this program's alone: programs that can interleave have one each. The helper writes at
    // most the length that it is given.
    unsafe {
        (&raw mut (*record).header).write(header);
        let comm = &raw mut (*record).header.comm;
        bpf_get_current_comm(comm.cast(), size_of::<[u8; 16]>() as u32);
    }
    Some(record)
}

/// Notes where the first path ended.
#[inline(always)]
pub fn fill(record: *mut Record, path: &Walked) {
    // SAFETY: as in `begin`.
    unsafe {
        (*record).header.root = path.root;
        (*record).header.path_len = path.len;
        if path.capped {
            (*record).header.flags |= flag::CAPPED;
        }
    }
}

/// Puts the record into the ring, and wakes the reader if it may be asleep.
#[inline(always)]
pub fn send(record: *mut Record, urgent: bool) -> bool {
    // SAFETY: as in `begin`.
    let header = unsafe { &(*record).header };
    let len = size_of::<Header>() + header.path_len as usize + header.to_len as usize;
    let len = black_box(len as u64);
    if len > RECORD_BYTES as u64 {
        lose(Loss::Walk);
        return false;
    }
    let wake = if urgent || wakes(len) { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
    // SAFETY: the record is longer than RECORD_BYTES, and the length was checked.
    let failed = unsafe {
        bpf_ringbuf_output((&raw const EVENTS).cast_mut().cast(), record.cast(), len, u64::from(wake))
    };
    if failed == 0 {
        say_sent(u32::from(header.op), header.ino, len);
        return true;
    }
    lose(no_room(header));
    say_ring_full(u32::from(header.op), header.ino);
    false
}

/// Notes which watched directories a record was about that found no room. Before it is counted, so that whoever sees the
/// count finds them.
#[inline(always)]
fn no_room(header: &Header) -> Loss {
    // SAFETY: always sound to call.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut cause = Loss::Nowhere;
    for root in [header.root, header.to_root] {
        // A file with several names may have one in any of them, and what is not known may be anywhere.
        if root == ROOT_UNKNOWN || (root == ROOT_OUTSIDE && header.flags & flag::LINKED != 0) {
            return Loss::Nowhere;
        }
        if root != ROOT_OUTSIDE {
            if LOST.insert(root, now, 0).is_err() {
                return Loss::Nowhere;
            }
            cause = Loss::Ring;
        }
    }
    cause
}

/// Decides whether a record wakes the reader: the first one in an empty ring, unless the reader was woken a moment
/// ago and therefore looks by itself; and the one that crosses the threshold. Waking for every record would cost the
/// writer microseconds each.
#[inline(always)]
fn wakes(len: u64) -> bool {
    let settings = settings();
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    if waiting == 0 {
        let Some(state) = state() else { return true };
        // SAFETY: always sound to call.
        let now = unsafe { bpf_ktime_get_ns() };
        // SAFETY: an aligned word of the map's element; a race costs a wake-up more.
        unsafe {
            let woken = &raw mut (*state).woken;
            if now.wrapping_sub(woken.read_volatile()) < settings.wake_pause {
                return false;
            }
            woken.write_volatile(now);
        }
        return true;
    }
    waiting < settings.wake_above && waiting + len >= settings.wake_above
}
