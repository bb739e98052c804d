//! A message is what a program says of itself in a debug build, by way of aya-log: the agent passes it on to its own
//! log. In the programs that users get there is no trace of them.
//!
//! Each is a function of its own, which the verifier looks at once a program and not once a call, and whose stack is
//! not its caller's. Such a function takes and returns integers only.

/// Makes one function a message: its level, its name, what it is told, its text.
macro_rules! messages {
    ($($(#[$doc:meta])* $level:ident $name:ident($($arg:ident: $type:ty),*) $text:literal;)*) => {$(
        $(#[$doc])*
        #[cfg(feature = "log")]
        #[unsafe(no_mangle)]
        #[inline(never)]
        pub extern "C" fn $name($($arg: $type),*) -> u32 {
            aya_log_ebpf::$level!((), $text $(, $arg)*);
            0
        }

        $(#[$doc])*
        #[cfg(not(feature = "log"))]
        #[inline(always)]
        pub fn $name($(_: $type),*) -> u32 {
            0
        }
    )*};
}

messages! {
    /// A record found no room.
    warn say_ring_full(op: u32, ino: u64) "the ring is full: operation {} on inode {} is lost";
    /// The map of scratch memory has no element for a program.
    error say_no_scratch(slot: u32) "no scratch memory for slot {}";
    /// Nobody knows where something happened.
    warn say_no_path(thread: u32) "thread {} changed something whose path cannot be followed";
    /// The table of running system calls is full.
    warn say_no_room_for_task(thread: u32) "no room to note what thread {} touches";
    /// A walk did not come to the top of the file system.
    debug say_unknown(dentry: u64, dev: u32) "a walk from {:x} on device {:x} ended on the way";
    /// A path has too many names, or too long ones.
    debug say_capped(dentry: u64, dev: u32) "a path from {:x} on device {:x} is capped";
    /// The agent has taught a directory.
    debug say_learnt(slot: u32, dev: u32, ino: u64) "slot {} is device {:x} inode {}";
    /// The agent wrote its cookie.
    trace say_barrier(number: u64) "barrier {}";
    /// A record went out.
    trace say_sent(op: u32, ino: u64, bytes: u64) "operation {} on inode {}: {} bytes";
    /// An unread record says it already.
    trace say_coalesced(op: u32, ino: u64) "operation {} on inode {} is told already";
}
