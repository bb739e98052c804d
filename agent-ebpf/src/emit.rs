//! From an operation on a name or an inode to a record in the ring: is it ours, is it in a watched directory, is it
//! already told, reserve, fill, submit. Every way to lose one counts its cause.

use crate::{
    kernel::{Dentry, Facts, Inode, Superblock},
    maps::{CACHE, COALESCED, EVENTS, ROOTS, Record, SCRATCH, SUPERBLOCKS, control, settings, state},
    walk::{Gate, Walked, walk},
};
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_CONS_POS, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, BPF_RB_PROD_POS},
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns,
        generated::{bpf_get_current_comm, bpf_ringbuf_output},
    },
};
use core::hint::black_box;
use vfsync_common::{
    ABI, CACHE_OUTSIDE, CacheKey, CacheValue, Losses, RootKey,
    record::{Header, Op, RECORD_BYTES, ROOT_OUTSIDE, flag},
};

/// Why a record did not get out.
#[derive(Clone, Copy)]
pub enum Loss {
    /// The ring was full.
    Ring,
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
            Loss::Scratch => &raw mut (*lost).scratch,
            Loss::Walk => &raw mut (*lost).walk,
            Loss::Tasks => &raw mut (*lost).tasks,
        };
        counter.write_volatile(counter.read_volatile() + 1);
        (&raw mut (*lost).at).write_volatile(bpf_ktime_get_ns());
    }
}

/// Notes that cached paths may have changed.
#[inline(always)]
pub fn namespace_changed() {
    if let Some(state) = state() {
        // SAFETY: an aligned word of the map's element; any value but the last one will do.
        unsafe { (&raw mut (*state).namespace).write_volatile(bpf_ktime_get_ns()) };
    }
}

/// Returns whether the running task is the agent, and its changes are to be left out.
#[inline(always)]
fn is_agent() -> bool {
    let Some(state) = state() else { return false };
    // SAFETY: an aligned word of a map's element.
    let agent = unsafe { (&raw const (*state).agent).read_volatile() };
    agent == (bpf_get_current_pid_tgid() >> 32) as u32 && control().filter != 0
}

/// Lets pass what happens on a superblock with watched directories, and not by the agent.
#[inline(always)]
pub fn gate(superblock: Superblock) -> Option<Gate> {
    let dev = superblock.dev()?;
    // SAFETY: only whether there is a value is of interest.
    unsafe { SUPERBLOCKS.get(dev) }?;
    (!is_agent()).then(|| Gate { dev, top: superblock.root() })
}

/// Learns a watched directory if the agent's thread is listing it for that.
#[inline(always)]
pub fn learn(inode: Inode) {
    let learn = control().learn;
    if learn == 0 {
        return;
    }
    let Some(state) = state() else { return };
    // SAFETY: aligned words of the map's element.
    let (agent, thread) = unsafe { ((*state).agent, (*state).thread) };
    if bpf_get_current_pid_tgid() != u64::from(agent) << 32 | u64::from(thread) {
        return;
    }
    let (Some(facts), Some(dev)) = (inode.facts(), inode.superblock().and_then(Superblock::dev)) else {
        return;
    };
    let key = RootKey { ino: facts.ino, dev, generation: facts.generation };
    if facts.is_dir() && SUPERBLOCKS.insert(dev, 1, 0).is_ok() {
        // The agent looks whether it is there.
        let _ = ROOTS.insert(key, learn - 1, 0);
    }
}

/// Reports a barrier if the inode is the agent's cookie. Stands before everything else, so that it is never filtered.
#[inline(always)]
pub fn barrier(slot: u32, inode: Inode) -> bool {
    let settings = settings();
    if inode.ino() != Some(settings.cookie_ino) {
        return false;
    }
    let Some(dev) = inode.superblock().and_then(Superblock::dev) else { return false };
    if dev != settings.cookie_dev {
        return false;
    }
    let Some(state) = state() else { return true };
    let Some(record) = begin(slot, Op::Barrier as u8, 0, &Facts::NONE, dev) else { return true };
    // SAFETY: the map's element and the scratch record are live; the agent writes its cookie from one thread at a
    // time, so that nobody else changes `barriers` meanwhile.
    unsafe {
        let task = bpf_get_current_pid_tgid();
        (*state).agent = (task >> 32) as u32;
        (*state).thread = task as u32;
        (*state).barriers += 1;
        (*record).header.cookie = (*state).barriers;
        (&raw mut (*record).body).cast::<Losses>().write_unaligned((*state).lost);
        (*record).header.path_len = size_of::<Losses>() as u16;
    }
    send(record, true);
    true
}

/// Reports that the inode behind `dentry` changed, unless an unread record says so already.
#[inline(always)]
pub fn changed(slot: u32, op: Op, dentry: Dentry, inode: Inode, flags: u16) {
    let Some(superblock) = inode.superblock() else { return };
    let Some(gate) = gate(superblock) else { return };
    changed_in(slot, &gate, op, dentry, inode, flags);
}

/// As [`changed`], on a superblock that has passed.
#[inline(always)]
pub fn changed_in(slot: u32, gate: &Gate, op: Op, dentry: Dentry, inode: Inode, flags: u16) {
    let Some(facts) = inode.facts() else { return lose(Loss::Walk) };
    if facts.nlink == 0 {
        // Deleted but open, or not linked yet: it has no path. `link` will tell if it gets one.
        return;
    }
    let key = CacheKey {
        dentry: dentry.0,
        inode: inode.0,
        ino: facts.ino,
        generation: facts.generation,
        reserved: 0,
    };
    let bit = 1u32 << (op as u32);
    let namespace = match state() {
        // SAFETY: an element of a map, an aligned word of it.
        Some(state) => unsafe { (&raw const (*state).namespace).read_volatile() },
        None => return,
    };
    // What is unread now may be read the next moment, never the other way round: in doubt there is one record more.
    let read_up_to = EVENTS.query(u64::from(BPF_RB_CONS_POS));
    let mut told = CacheValue { position: 0, namespace, operations: 0, reserved: 0 };
    // SAFETY: the value is copied at once; it is only ever replaced as a whole.
    if let Some(&cached) = unsafe { CACHE.get(key) }
        && cached.namespace == namespace
    {
        if cached.operations & CACHE_OUTSIDE != 0 {
            if facts.nlink < 2 || facts.is_dir() {
                return;
            }
        } else if read_up_to <= cached.position {
            if cached.operations & bit != 0 && flags & flag::MAPPED == 0 {
                if let Some(counter) = COALESCED.get_ptr_mut(0) {
                    // SAFETY: the CPU's own element; a count that gets lost does no harm.
                    unsafe { *counter += 1 };
                }
                return;
            }
            told = cached;
        }
    }
    if told.operations == 0 {
        told.position = EVENTS.query(u64::from(BPF_RB_PROD_POS));
    }
    match one(slot, gate, op, dentry, &facts, flags) {
        Sent::Yes => told.operations |= bit,
        Sent::Outside => told.operations = CACHE_OUTSIDE,
        Sent::No => return,
    }
    let _ = CACHE.insert(key, told, 0);
}

/// Reports an operation on a name, always.
#[inline(always)]
pub fn named(slot: u32, op: Op, dentry: Dentry, flags: u16) {
    let facts = dentry.inode().and_then(Inode::facts).unwrap_or(Facts::NONE);
    named_as(slot, op, dentry, &facts, flags);
}

/// As [`named`], with what is known of the inode.
#[inline(always)]
pub fn named_as(slot: u32, op: Op, dentry: Dentry, facts: &Facts, flags: u16) {
    let Some(superblock) = dentry.superblock() else { return };
    let Some(gate) = gate(superblock) else { return };
    one(slot, &gate, op, dentry, facts, flags);
}

/// Reports that `old` gets the name of `new`.
#[inline(always)]
pub fn renamed(slot: u32, old: Dentry, new: Dentry, flags: u16) {
    let Some(superblock) = old.superblock() else { return };
    let Some(gate) = gate(superblock) else { return };
    let facts = old.inode().and_then(Inode::facts).unwrap_or(Facts::NONE);
    // Before the walks and the record: what is cached under the old path must not be believed by a write that comes
    // after it.
    namespace_changed();
    let Some(record) = begin(slot, Op::Rename as u8, flags, &facts, gate.dev) else { return };
    let from = walk(&gate, old, scratch(slot), 0);
    let to = walk(&gate, new, scratch(slot), from.len as usize);
    if from.root == ROOT_OUTSIDE && to.root == ROOT_OUTSIDE {
        return;
    }
    fill(record, &from);
    // SAFETY: the scratch record is this program's alone until it is sent.
    unsafe {
        (*record).header.to_len = to.len;
        (*record).header.to_root = to.root;
        if to.capped {
            (*record).header.flags |= flag::TO_CAPPED;
        }
    }
    send(record, false);
}

/// What became of a record.
pub enum Sent {
    /// It is in the ring.
    Yes,
    /// It was not for us.
    Outside,
    /// It is lost, and counted.
    No,
}

/// Walks, fills and sends a record with one path.
#[inline(always)]
pub fn one(slot: u32, gate: &Gate, op: Op, dentry: Dentry, facts: &Facts, flags: u16) -> Sent {
    let Some(record) = begin(slot, op as u8, flags, facts, gate.dev) else { return Sent::No };
    let path = walk(gate, dentry, scratch(slot), 0);
    // A file with several names may have one of them inside, whichever it was reached by. That matters for what the
    // file holds, not for what happens to another name.
    let holds = matches!(op, Op::Write | Op::Truncate | Op::Attributes | Op::Xattr);
    if path.root == ROOT_OUTSIDE && (!holds || facts.is_dir() || facts.nlink < 2) {
        return Sent::Outside;
    }
    fill(record, &path);
    if send(record, false) { Sent::Yes } else { Sent::No }
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
    if failed != 0 {
        lose(Loss::Ring);
    }
    failed == 0
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
