//! The running task: its system call, and the files behind its descriptors.

use crate::{
    kernel::{File, read},
    maps::{offset, settings, system_call},
};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};
use vfsync_common::Call;

const PF_IO_WORKER: u32 = 0x10;
const PF_USER_WORKER: u32 = 0x4000;
const PF_KTHREAD: u32 = 0x20_0000;

/// A `struct task_struct`.
#[derive(Clone, Copy)]
pub struct Task(u64);

/// A system call: its number, what the agent says of it, and its registers.
#[derive(Clone, Copy)]
pub struct Running {
    /// The number.
    pub number: u32,
    /// What it does.
    pub call: Call,
    /// The address of the `struct pt_regs`.
    pub regs: u64,
}

impl Running {
    /// Returns an argument.
    #[inline(always)]
    pub fn arg(&self, index: u8) -> u64 {
        let offset = match index {
            0 => offset!(regs_arg[0]),
            1 => offset!(regs_arg[1]),
            2 => offset!(regs_arg[2]),
            3 => offset!(regs_arg[3]),
            4 => offset!(regs_arg[4]),
            _ => offset!(regs_arg[5]),
        };
        read(self.regs, offset).unwrap_or(0)
    }
}

impl Task {
    /// Returns the running task.
    #[inline(always)]
    pub fn current() -> Task {
        // SAFETY: always sound to call where the helper exists (tracing programs since 5.11).
        Task(unsafe { bpf_get_current_task_btf() } as u64)
    }

    /// Returns the system call that the running task is in; `None` for a kernel thread, an io_uring worker, a page
    /// fault and a 32-bit call.
    #[inline(always)]
    pub fn running() -> Option<Running> {
        // SAFETY: as in `current`.
        let task = unsafe { bpf_get_current_task_btf() };
        let this = Task(task as u64);
        if read::<u32>(this.0, offset!(task_flags))? & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER) != 0 {
            return None;
        }
        // SAFETY: the pointer is the verifier's own, as the helper demands.
        let regs = unsafe { bpf_task_pt_regs(task) } as u64;
        this.call(regs)
    }

    /// Returns the system call that these registers belong to.
    #[inline(always)]
    pub fn call(self, regs: u64) -> Option<Running> {
        let number: i32 = read(regs, offset!(regs_call))?;
        if number < 0 {
            return None;
        }
        let call = system_call(number as u64);
        if call.class != 0 && self.is_compat() {
            return None;
        }
        Some(Running { number: number as u32, call, regs })
    }

    /// Returns whether the running system call is a 32-bit one.
    #[inline(always)]
    fn is_compat(self) -> bool {
        read::<u32>(self.0, offset!(task_status)).unwrap_or(0) & settings().compat != 0
    }

    /// Returns the open file behind a descriptor.
    #[inline(always)]
    pub fn file(self, descriptor: u64) -> Option<File> {
        let descriptor = descriptor as u32;
        let files: u64 = read(self.0, offset!(task_files))?;
        let table: u64 = read(files, offset!(files_fdt))?;
        if descriptor >= read::<u32>(table, offset!(fdt_max))? {
            return None;
        }
        let array: u64 = read(table, offset!(fdt_fd))?;
        read(array + u64::from(descriptor) * 8, 0).filter(|&f: &u64| f != 0).map(File)
    }
}
