//! The walk from a name up to the innermost watched directory: inside, outside, or unknown.

use crate::{
    kernel::{Dentry, read},
    maps::{ROOTS, SCRATCH, offset},
    messages::{say_capped, say_unknown},
};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use core::hint::black_box;
use vfsync_common::{
    RootKey,
    record::{LEVELS, NAME_BYTES, PATH_BYTES, ROOT_OUTSIDE, ROOT_UNKNOWN},
};

/// Where a walk ended.
pub struct Walked {
    /// The slot of the watched directory, `ROOT_OUTSIDE` or `ROOT_UNKNOWN`.
    pub root: u32,
    /// How many bytes of names were written.
    pub len: u16,
    /// Whether names are missing.
    pub capped: bool,
}

/// A superblock that holds watched directories.
#[derive(Clone, Copy)]
pub struct Gate {
    /// Its device number.
    pub dev: u32,
    /// The address of its root dentry.
    pub top: u64,
}

/// Walks up from `dentry` and writes the names, leaf first, into the body of this scratch record from `at` on.
#[inline(always)]
pub fn walk(gate: &Gate, dentry: Dentry, scratch: u32, at: usize) -> Walked {
    let packed = vfsync_walk(dentry.0, gate.top, gate.dev, scratch, at as u32);
    let walked = Walked { root: packed as u32, len: (packed >> 32) as u16, capped: packed >> 48 != 0 };
    if walked.capped {
        say_capped(dentry.0, gate.dev);
    } else if walked.root == ROOT_UNKNOWN {
        say_unknown(dentry.0, gate.dev);
    }
    walked
}

/// The walk as a function of its own, which the verifier looks at once a program and not once a call. Such a function
/// takes and returns integers only.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn vfsync_walk(dentry: u64, top: u64, dev: u32, scratch: u32, at: u32) -> u64 {
    let Some(record) = SCRATCH.get_ptr_mut(scratch) else { return pack(ROOT_UNKNOWN, 0, 0) };
    let progress = Progress { current: dentry, position: 0, root: ROOT_UNKNOWN, capped: 0, reserved: 0 };
    // SAFETY: the scratch record is this program's alone.
    unsafe { (&raw mut (*record).progress).write(progress) };
    for _ in 0..LEVELS / STRIDE {
        if vfsync_steps(top, dev, scratch, at) != 0 {
            // SAFETY: as above.
            let Progress { position, root, capped, .. } = unsafe { (&raw const (*record).progress).read() };
            return pack(root, position, capped);
        }
    }
    pack(ROOT_UNKNOWN, 0, 1)
}

/// How many levels one call goes up. The verifier follows each turn of a loop: two loops of 16 are 32 turns to it, one
/// of 256 is 256, and most of the time that loading takes.
const STRIDE: usize = 16;

/// How far a walk has come. Between two calls it lies beside the record, as functions take integers only.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Progress {
    /// The address of the dentry that is next.
    current: u64,
    /// How many bytes were written.
    position: u32,
    /// The outcome.
    root: u32,
    /// Whether names are missing.
    capped: u32,
    reserved: u32,
}

/// Goes some levels up; 0 if there is more to go.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn vfsync_steps(top: u64, dev: u32, scratch: u32, at: u32) -> u32 {
    let Some(record) = SCRATCH.get_ptr_mut(scratch) else { return 1 };
    if at >= PATH_BYTES as u32 {
        return 1;
    }
    // The masks tell the verifier what the comparisons ensure; without the box the compiler would see through them.
    let at = black_box(at as usize) & (PATH_BYTES - 1);
    // SAFETY: the scratch record is this program's alone.
    let progress = unsafe { &mut (*record).progress };
    let mut current = progress.current;
    let mut position = progress.position as usize;
    for _ in 0..STRIDE {
        let Some(step) = Dentry(current).step() else { return 1 };
        if step.inode != 0
            && let Some(root) = watched(dev, step.inode)
        {
            progress.root = root;
            progress.position = position as u32;
            return 1;
        }
        if step.parent == current {
            // At the top. Only the superblock's own root proves that the whole way was walked: a dentry that came
            // from a file handle may hang on nothing.
            progress.root = if current == top { ROOT_OUTSIDE } else { ROOT_UNKNOWN };
            progress.position = 0;
            return 1;
        }
        if position > PATH_BYTES - NAME_BYTES {
            progress.capped = 1;
        } else {
            let to = at + (black_box(position) & (PATH_BYTES - 1));
            // SAFETY: `to` is at most twice PATH_BYTES and the body has NAME_BYTES more; the helper writes at most
            // NAME_BYTES and checks the kernel address.
            let n = unsafe {
                bpf_probe_read_kernel_str(
                    (&raw mut (*record).body).cast::<u8>().add(to).cast(),
                    NAME_BYTES as u32,
                    step.name as *const _,
                )
            };
            if n <= 1 || n > NAME_BYTES as i64 {
                progress.position = 0;
                return 1;
            }
            position += n as usize;
        }
        current = step.parent;
    }
    progress.current = current;
    progress.position = position as u32;
    0
}

/// Packs a [`Walked`] into an integer.
#[inline(always)]
fn pack(root: u32, len: u32, capped: u32) -> u64 {
    u64::from(capped) << 48 | u64::from(len & 0xffff) << 32 | u64::from(root)
}

/// Returns the slot of this inode if it is a watched directory.
#[inline(always)]
fn watched(dev: u32, inode: u64) -> Option<u32> {
    let ino = read(inode, offset!(inode_ino))?;
    let generation = read(inode, offset!(inode_generation))?;
    // SAFETY: the value is copied at once; the agent changes it only as a whole.
    unsafe { ROOTS.get(RootKey { ino, dev, generation }) }.copied()
}
