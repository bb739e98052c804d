//! The end of a system call that has touched inodes: which names it made, took or changed.

use crate::{
    emit::{gate, named_as, namespace_changed},
    kernel::{Dentry, Facts, Inode},
    maps::{Record, TASKS},
    messages::say_no_path,
    ring::{Loss, begin, fill, lose, scratch, send},
    task::{Running, Task},
    walk::walk,
};
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_probe_read_user_str};
use core::hint::black_box;
use vfsync_common::{
    Class, TOUCH_INSIDE, TOUCHES, Touch,
    record::{Op, PATH_BYTES, ROOT_OUTSIDE, flag},
};

const AT_REMOVEDIR: u64 = 0x200;

/// Returns whether what a call of this class touches is kept for its end.
#[inline(always)]
pub fn is_noted(class: u8) -> bool {
    class == Class::Open as u8
        || class == Class::Make as u8
        || class == Class::Remove as u8
        || class == Class::Rename as u8
        || class == Class::Attributes as u8
        || class == Class::Bind as u8
}

/// What is said of one touched inode.
struct Report {
    /// The number of the operation.
    op: u8,
    flags: u16,
    /// The address of the name in the task's memory; 0 for none.
    name: u64,
    /// How many bytes it has at most, with its NUL.
    limit: u32,
    /// Whether it is said even of what lies outside.
    always: bool,
}

/// Reports what the call has touched, and forgets it.
#[inline(always)]
pub fn report(slot: u32, task: Task, running: &Running, result: i64) {
    let thread = bpf_get_current_pid_tgid() as u32;
    let Some(touched) = TASKS.get_ptr_mut(thread) else { return };
    // SAFETY: the element is this thread's alone until it is removed below.
    let touched = unsafe { &*touched };
    let count = if touched.call == running.number { touched.count } else { 0 };
    let (mut reported, mut moved) = (0u32, 0u32);
    let created = running.call.class == Class::Open as u8 && opened(slot, task, result);
    if !created {
        for (index, touch) in touched.touches.iter().enumerate() {
            if index as u32 >= count {
                break;
            }
            let Some((inode, dentry)) = still_there(touch) else { continue };
            let Some(facts) = inode.facts() else { continue };
            let Some(report) = judge(running, result, touch, dentry, &facts) else { continue };
            reported += 1;
            if report.op == Op::Moved as u8 {
                moved += 1;
            }
            say(slot, dentry, &report);
        }
        let names = running.call.class == Class::Make as u8
            || running.call.class == Class::Remove as u8
            || running.call.class == Class::Bind as u8;
        if running.call.class == Class::Rename as u8 && result == 0 && moved == 0 {
            reported = renamed_somewhere(slot, running, &touched.touches, count);
        } else if !names {
            reported = 1;
        }
        if count > 0 && reported == 0 {
            // The directory that it happened in is gone from the cache: nobody can say which it was.
            lose(Loss::Walk);
            say_no_path(thread);
        }
    }
    let _ = TASKS.remove(thread);
}

/// Reports both names of a rename in each of the directories that it has touched. XFS does not touch what it moves when
/// two names are exchanged.
#[inline(always)]
fn renamed_somewhere(slot: u32, running: &Running, touches: &[Touch; TOUCHES], count: u32) -> u32 {
    let mut reported = 0;
    for (index, touch) in touches.iter().enumerate() {
        if index as u32 >= count {
            break;
        }
        let Some((inode, dentry)) = still_there(touch) else { continue };
        if !inode.facts().is_some_and(|facts| facts.is_dir()) {
            continue;
        }
        for argument in [running.call.other, running.call.arg] {
            let (op, name) = (Op::Rename as u8, running.arg(argument));
            let report = Report { op, flags: flag::DONE, name, limit: PATH_BYTES as u32, always: false };
            say(slot, dentry, &report);
            reported += 1;
        }
    }
    namespace_changed();
    reported
}

/// Reports a file that `open` has created. What it has truncated is among what it touched.
#[inline(always)]
fn opened(slot: u32, task: Task, result: i64) -> bool {
    if result < 0 {
        return false;
    }
    let Some(file) = task.file(result as u64) else { return false };
    if !file.created() {
        return false;
    }
    let (Some(dentry), Some(inode)) = (file.dentry(), file.inode()) else { return false };
    let Some(facts) = inode.facts() else { return false };
    if facts.nlink != 0 {
        named_as(slot, Op::Create, dentry, &facts, flag::DONE);
    }
    true
}

/// Returns the inode if its dentry still belongs to it: both may have been freed and used again.
#[inline(always)]
fn still_there(touch: &Touch) -> Option<(Inode, Dentry)> {
    let dentry = Dentry(touch.dentry);
    let inode = dentry.inode()?;
    let same =
        inode.0 == touch.inode && inode.ino() == Some(touch.ino) && inode.generation() == touch.generation;
    same.then_some((inode, dentry))
}

/// Decides what to say of one inode that the call has touched.
#[inline(always)]
fn judge(running: &Running, result: i64, touch: &Touch, dentry: Dentry, facts: &Facts) -> Option<Report> {
    if facts.nlink == 0 {
        return None;
    }
    let class = running.call.class;
    let plain = |op: u8| Report { op, flags: flag::DONE, name: 0, limit: 0, always: false };
    let call = running.call.op;
    let in_general = if facts.is_dir() { Op::Directory as u8 } else { Op::Attributes as u8 };
    if class == Class::Rename as u8 {
        if dentry.parent() == touch.parent && dentry.hash() == touch.hash {
            return (result < 0).then(|| plain(in_general));
        }
        namespace_changed();
        return Some(Report { always: touch.flags & TOUCH_INSIDE != 0, ..plain(Op::Moved as u8) });
    }
    if result < 0 {
        return Some(plain(in_general));
    }
    if class == Class::Attributes as u8 {
        return Some(plain(call));
    }
    if class == Class::Open as u8 {
        return Some(plain(if facts.is_dir() { Op::Directory as u8 } else { Op::Truncate as u8 }));
    }
    if !facts.is_dir() {
        return Some(plain(Op::Attributes as u8));
    }
    let pointer = running.arg(running.call.arg);
    if class == Class::Bind as u8 {
        // struct sockaddr_un: two bytes of family, then the path, which need not end in a NUL.
        let length = running.arg(2);
        if !(4..=110).contains(&length) {
            return Some(plain(Op::Directory as u8));
        }
        return Some(Report { name: pointer + 2, limit: length as u32 - 1, ..plain(Op::Mknod as u8) });
    }
    let directory = class == Class::Remove as u8
        && running.call.other != 0
        && running.arg(running.call.other) & AT_REMOVEDIR != 0;
    let call = if directory { Op::Rmdir as u8 } else { call };
    Some(Report { name: pointer, limit: PATH_BYTES as u32, ..plain(call) })
}

/// Sends a record for one inode, with the name that the caller gave behind it.
#[inline(always)]
fn say(slot: u32, dentry: Dentry, report: &Report) {
    let what = u32::from(report.op) | u32::from(report.always) << 8 | u32::from(report.flags) << 16;
    vfsync_say(dentry.0, what, report.name, report.limit, slot);
}

/// As [`say`]; a function of its own for the verifier's sake, which would else look at it for each touched inode.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn vfsync_say(dentry: u64, what: u32, name: u64, limit: u32, slot: u32) -> u32 {
    let dentry = Dentry(dentry);
    let report =
        Report { op: what as u8, flags: (what >> 16) as u16, name, limit, always: what & 0x100 != 0 };
    let Some(gate) = dentry.superblock().and_then(gate) else { return 0 };
    let Some(facts) = dentry.inode().and_then(|inode| inode.facts()) else { return 0 };
    let Some(record) = begin(slot, report.op, report.flags, &facts, gate.dev) else { return 0 };
    let path = walk(&gate, dentry, scratch(slot), 0);
    if path.root == ROOT_OUTSIDE && !report.always && (facts.is_dir() || facts.nlink < 2) {
        return 0;
    }
    fill(record, &path);
    if report.name != 0 {
        append_name(record, path.len as usize, &report);
    }
    u32::from(send(record, false))
}

/// Reads the name behind the path; where that fails the whole directory is reported.
#[inline(always)]
fn append_name(record: *mut Record, at: usize, report: &Report) {
    let at = black_box(at) & (PATH_BYTES - 1);
    let limit = black_box(report.limit);
    if limit > PATH_BYTES as u32 {
        return;
    }
    // SAFETY: `at` and the limit are at most PATH_BYTES each, and the body has twice that; the helper checks the
    // user's address.
    let n = unsafe {
        bpf_probe_read_user_str(
            (&raw mut (*record).body).cast::<u8>().add(at).cast(),
            limit,
            report.name as *const _,
        )
    };
    // SAFETY: the scratch record is this program's alone until it is sent.
    unsafe {
        if n > 1 && n < PATH_BYTES as i64 {
            (*record).header.to_len = n as u16;
            (*record).header.flags |= flag::NAME;
        } else {
            (*record).header.op = Op::Directory as u8;
        }
    }
}
