//! The tracepoint tier. From Linux 6.13 on the timestamp tracepoints lead: every change of a file or directory passes
//! one of them with the inode in hand, whichever way it came. What a system call touches is noted with its thread; at
//! the end of the call, with its success known, the names are read from its arguments, where only the last component
//! counts. What happens outside a system call, or in one that is not known, is reported at once, for the whole
//! directory where a name is missing.

use crate::{
    emit::{self, Sent, changed_in, is_agent, namespace_changed, watched},
    hooks,
    kernel::{Dentry, Facts, Inode, read},
    maps::TASKS,
    messages::{say_no_path, say_no_room_for_task},
    ring::{Loss, lose},
    task::{Running, Task},
    touched,
    walk::Gate,
};
use aya_ebpf::{helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext};
use vfsync_common::{
    Class, TOUCH_INSIDE, TOUCHES, Touch, Touched,
    record::{Op, flag},
};

const SLOT_EXIT: u32 = 0;
const SLOT_ENTER: u32 = 1;
const SLOT_SET: u32 = 2;
const SLOT_XCHG: u32 = 3;
const SLOT_SKIP: u32 = 4;
const SLOT_RING: u32 = 5;

/// `inode_set_ctime_to_ts(struct inode *inode, struct timespec64 *ctime)`, since 6.13.
#[btf_tracepoint]
pub fn t_ctime_set(ctx: BtfTracePointContext) -> i32 {
    touch(SLOT_SET, Inode(ctx.arg(0)));
    0
}

/// `ctime_ns_xchg(struct inode *inode, u32 old, u32 new, u32 cur)`, since 6.13.
#[btf_tracepoint]
pub fn t_ctime_xchg(ctx: BtfTracePointContext) -> i32 {
    touch(SLOT_XCHG, Inode(ctx.arg(0)));
    0
}

/// `ctime_xchg_skip(struct inode *inode, struct timespec64 *ctime)`, since 6.13.
#[btf_tracepoint]
pub fn t_ctime_skip(ctx: BtfTracePointContext) -> i32 {
    touch(SLOT_SKIP, Inode(ctx.arg(0)));
    0
}

/// `sys_exit(struct pt_regs *regs, long ret)`, since before 5.10.
#[btf_tracepoint]
pub fn t_sys_exit(ctx: BtfTracePointContext) -> i32 {
    ended(ctx.arg(0), ctx.arg::<u64>(1) as i64);
    0
}

/// `sys_enter(struct pt_regs *regs, long id)`, since before 5.10: at the end of `close` the file is gone.
#[btf_tracepoint]
pub fn t_sys_enter(ctx: BtfTracePointContext) -> i32 {
    let id: u64 = ctx.arg(1);
    if crate::maps::system_call(id).class != Class::Close as u8 {
        return 0;
    }
    let task = Task::current();
    if let Some(running) = task.call(ctx.arg(0))
        && let Some(file) = task.file(running.arg(running.call.arg))
        && file.writes()
    {
        hooks::closed(SLOT_ENTER, file);
    }
    0
}

/// `io_uring_complete(void *ctx, void *req, ...)`, with the request in second place since 6.0.
#[btf_tracepoint]
pub fn t_uring(ctx: BtfTracePointContext) -> i32 {
    let request: u64 = ctx.arg(1);
    if let Some(file) = read::<u64>(request, crate::maps::offset!(request_file))
        && file != 0
    {
        let file = crate::kernel::File(file);
        if file.writes() {
            hooks::written(SLOT_RING, file, flag::DONE);
        }
    }
    0
}

/// An inode's change time is being set.
#[inline(always)]
fn touch(slot: u32, inode: Inode) {
    let Some(gate) = inode.superblock().and_then(watched) else { return };
    if is_agent() {
        // A directory that it renames may have other people's files in it: what is cached of them has another path now.
        if Task::running().is_some_and(|r| r.call.class == Class::Rename as u8)
            && inode.facts().is_some_and(|facts| facts.is_dir())
        {
            namespace_changed();
        }
        return;
    }
    // No name in the cache: it is being read from the disk or made just now. Making it touches its directory.
    let Some(dentry) = inode.alias() else { return };
    let running = Task::running().filter(|r| touched::is_noted(r.call.class));
    if let Some(running) = running {
        match note(slot, &gate, &running, inode, dentry) {
            Noted::Yes => return,
            Noted::NoRoom => {}
        }
    }
    let op = match inode.facts() {
        Some(facts) if facts.is_dir() => Op::Directory,
        Some(_) => Op::Write,
        None => {
            lose(Loss::Walk);
            say_no_path(bpf_get_current_pid_tgid() as u32);
            return;
        }
    };
    changed_in(slot, &gate, op, dentry, inode, 0);
}

/// Whether a touch was kept for the end of the call.
enum Noted {
    Yes,
    NoRoom,
}

/// Keeps a touch for the end of the call. In a rename its present path is told at once: it is the old one.
#[inline(always)]
fn note(slot: u32, gate: &Gate, running: &Running, inode: Inode, dentry: Dentry) -> Noted {
    let thread = bpf_get_current_pid_tgid() as u32;
    let touched = match TASKS.get_ptr_mut(thread) {
        Some(touched) => touched,
        None => {
            if TASKS.insert(thread, Touched::default(), 0).is_err() {
                lose(Loss::Tasks);
                say_no_room_for_task(thread);
                return Noted::NoRoom;
            }
            match TASKS.get_ptr_mut(thread) {
                Some(touched) => touched,
                None => return Noted::NoRoom,
            }
        }
    };
    let facts = inode.facts().unwrap_or(Facts::NONE);
    // SAFETY: the element is this thread's alone.
    let touched = unsafe { &mut *touched };
    if touched.call != running.number {
        // Left over from a call whose end was not seen.
        touched.call = running.number;
        touched.count = 0;
    }
    for known in touched.touches.iter().take(TOUCHES).enumerate() {
        if (known.0 as u32) < touched.count && known.1.inode == inode.0 {
            return Noted::Yes;
        }
    }
    let index = touched.count as usize;
    if index >= TOUCHES {
        return Noted::NoRoom;
    }
    let mut flags = 0;
    if running.call.class == Class::Rename as u8 {
        namespace_changed();
        if let Sent::Yes = emit::one(slot, gate, Op::Moving, dentry, &facts, 0) {
            flags |= TOUCH_INSIDE;
        }
    }
    touched.touches[index & (TOUCHES - 1)] = Touch {
        dentry: dentry.0,
        inode: inode.0,
        ino: facts.ino,
        parent: dentry.parent(),
        hash: dentry.hash(),
        generation: facts.generation,
        flags,
    };
    touched.count = index as u32 + 1;
    Noted::Yes
}

/// A system call has ended with this result.
#[inline(always)]
fn ended(regs: u64, result: i64) {
    let task = Task::current();
    let Some(running) = task.call(regs) else { return };
    let class = running.call.class;
    if class == Class::Other as u8 || class == Class::Close as u8 {
        return;
    }
    if touched::is_noted(class) {
        return touched::report(SLOT_EXIT, task, &running, result);
    }
    if (-4095..0).contains(&result) {
        return;
    }
    let (descriptor, flags) = if class == Class::Map as u8 {
        (4, flag::MAPPED | flag::DONE)
    } else {
        (running.call.arg, flag::DONE)
    };
    let Some(file) = task.file(running.arg(descriptor)) else { return };
    if class == Class::List as u8 {
        if let Some(inode) = file.inode() {
            emit::learn(inode);
        }
        return;
    }
    if class == Class::Map as u8 {
        const MAP_SHARED: u64 = 1;
        const MAP_ANONYMOUS: u64 = 0x20;
        if running.arg(3) & (MAP_SHARED | MAP_ANONYMOUS) != MAP_SHARED || !file.writes() {
            return;
        }
    } else if class == Class::Ioctl as u8 && !changes(running.arg(1) as u32) {
        return;
    } else if let Some(inode) = file.inode()
        && emit::barrier(SLOT_EXIT, file, inode)
    {
        return;
    }
    hooks::written(SLOT_EXIT, file, flags);
}

/// Returns whether an `ioctl` changes content or attributes: FICLONE, FICLONERANGE, and what sets attributes; btrfs' and
/// XFS' own forms of them share their numbers.
#[inline(always)]
fn changes(command: u32) -> bool {
    matches!(command, 0x4004_9409 | 0x4020_940d) || hooks::sets_attributes(command)
}
