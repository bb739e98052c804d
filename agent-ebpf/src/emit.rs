//! From an operation on a name or an inode to a record: is it on a watched file system and not ours, is it told
//! already, is it in a watched directory.

use crate::{
    kernel::{Dentry, Facts, File, Inode, Superblock},
    maps::{CACHE, COALESCED, EVENTS, ROOTS, SUPERBLOCKS, control, settings, state},
    messages::{say_barrier, say_coalesced, say_learnt, say_no_path},
    ring::{Loss, begin, claim, fill, lose, release, scratch, send},
    walk::{Gate, walk},
};
use aya_ebpf::{
    bindings::{BPF_RB_CONS_POS, BPF_RB_PROD_POS},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
};
use vfsync_common::{
    CACHE_OUTSIDE, CacheKey, CacheValue, Losses, RootKey,
    record::{Op, ROOT_OUTSIDE, flag},
};

/// How long after a rename nothing is noted as outside of every root, in nanoseconds.
const UNSETTLED: u64 = 2_000_000_000;

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
pub fn is_agent() -> bool {
    let Some(state) = state() else { return false };
    // SAFETY: an aligned word of a map's element.
    let agent = unsafe { (&raw const (*state).agent).read_volatile() };
    agent == (bpf_get_current_pid_tgid() >> 32) as u32 && control().filter != 0
}

/// Lets pass what happens on a superblock with watched directories, and not by the agent.
#[inline(always)]
pub fn gate(superblock: Superblock) -> Option<Gate> {
    watched(superblock).filter(|_| !is_agent())
}

/// Lets pass what happens on a superblock with watched directories.
#[inline(always)]
pub fn watched(superblock: Superblock) -> Option<Gate> {
    let dev = superblock.dev()?;
    // SAFETY: only whether there is a value is of interest.
    unsafe { SUPERBLOCKS.get(dev) }?;
    Some(Gate { dev, top: superblock.root() })
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
        say_learnt(learn - 1, dev, facts.ino);
    }
}

/// Reports a barrier if the inode is the agent's cookie. Stands before everything else, so that it is never filtered.
/// The position of the file is the barrier's number: a count of our own would be wrong for ever after the kernel has
/// skipped a program once.
#[inline(always)]
pub fn barrier(slot: u32, file: File, inode: Inode) -> bool {
    let settings = settings();
    if inode.ino() != Some(settings.cookie_ino) {
        return false;
    }
    let Some(dev) = inode.superblock().and_then(Superblock::dev) else { return false };
    if dev != settings.cookie_dev {
        return false;
    }
    let (Some(state), Some(number)) = (state(), file.position()) else { return true };
    let Some(slot) = claim(slot) else { return true };
    let Some(record) = begin(slot, Op::Barrier as u8, 0, &Facts::NONE, dev) else {
        release(slot);
        return true;
    };
    // SAFETY: the map's element and the scratch record are live; the agent writes its cookie from one thread at a
    // time.
    unsafe {
        let task = bpf_get_current_pid_tgid();
        (*state).agent = (task >> 32) as u32;
        (*state).thread = task as u32;
        (*record).header.cookie = number;
        (&raw mut (*record).body).cast::<Losses>().write_unaligned((*state).lost);
        (*record).header.path_len = size_of::<Losses>() as u16;
    }
    say_barrier(number);
    send(record, true);
    release(slot);
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
    let Some(facts) = inode.facts() else {
        lose(Loss::Walk);
        say_no_path(bpf_get_current_pid_tgid() as u32);
        return;
    };
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
                say_coalesced(op as u32, facts.ino);
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
        // A rename is told of before it happens, and may still wait for a lock: what is outside now may be inside then.
        // SAFETY: the helper takes nothing.
        Sent::Outside if unsafe { bpf_ktime_get_ns() }.wrapping_sub(namespace) < UNSETTLED => return,
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
    let Some(gate) = old.superblock().and_then(watched) else { return };
    let facts = old.inode().and_then(Inode::facts).unwrap_or(Facts::NONE);
    let own = is_agent();
    // Before the walks and the record: what is cached under the old path must not be believed by a write that comes
    // after it. A file that the agent renames is one that it has made.
    if !own || facts.is_dir() {
        namespace_changed();
    }
    if own {
        return;
    }
    let Some(slot) = claim(slot) else { return };
    rename_in(slot, &gate, old, new, &facts, flags);
    release(slot);
}

/// As [`renamed`], in scratch memory that is ours.
#[inline(always)]
fn rename_in(slot: u32, gate: &Gate, old: Dentry, new: Dentry, facts: &Facts, flags: u16) {
    let Some(record) = begin(slot, Op::Rename as u8, flags, facts, gate.dev) else { return };
    let from = walk(gate, old, scratch(slot), 0);
    let to = walk(gate, new, scratch(slot), from.len as usize);
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
    let Some(slot) = claim(slot) else { return Sent::No };
    let sent = one_in(slot, gate, op, dentry, facts, flags);
    release(slot);
    sent
}

/// As [`one`], in scratch memory that is ours.
#[inline(always)]
fn one_in(slot: u32, gate: &Gate, op: Op, dentry: Dentry, facts: &Facts, flags: u16) -> Sent {
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
