//! vfsync's programs that run in the kernel.
//!
//! [`probes`] and [`trace`] are the programs; [`hooks`] says what each hooked function means, [`touched`] what a system
//! call has done; [`emit`] filters and coalesces; [`walk`] finds the path; [`ring`] sends; [`kernel`] and [`task`] read
//! the kernel's objects; [`maps`] is what is shared; [`messages`] is what a debug build says.
#![no_std]
#![no_main]

mod emit;
mod hooks;
mod kernel;
mod maps;
mod messages;
mod probes;
mod ring;
mod task;
mod touched;
mod trace;
mod walk;

/// The licence that the kernel looks at: reading kernel memory is reserved to GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}
