//! The plain-data types that the eBPF programs and the agent share: the record that goes through the ring buffer, the
//! read-only globals that the agent fills in before it loads the programs, and the keys and values of the maps.
//!
//! The border between kernel and agent is a file format: fixed-width integers, explicit padding, an ABI number, and
//! assertions on sizes and offsets beside each type. The agent reads records by offset ([`record`]), never by a cast.
#![no_std]

mod globals;
mod maps;
pub mod record;

pub use globals::{CALLS, CLAIMED, CLAIMED_FIRST, Call, Class, MISSING, Offsets, SLOTS, Settings};
pub use maps::{
    CACHE_OUTSIDE, CacheKey, CacheValue, Control, Losses, RootKey, State, TOUCH_INSIDE, TOUCHES, Touch,
    Touched,
};

/// The version of everything in this crate. An object and an agent with different numbers do not work together.
pub const ABI: u8 = 3;

/// The name of an extended attribute that no file can have, for want of such a namespace, with its NUL. Who tries to
/// remove it waits for the changes of the file's attributes that are under way.
pub const WAIT_ATTRIBUTE: &[u8; 12] = b"vfsync.wait\0";

/// Implements `aya::Pod` for a `#[repr(C)]` type.
macro_rules! pod {
    ($($type:ty),*) => {$(
        #[cfg(feature = "user")]
        // SAFETY: the type is `#[repr(C)]`, `Copy`, made of integers only, and its size is asserted to leave no
        // implicit padding, so every one of its bytes is initialised.
        unsafe impl aya::Pod for $type {}
    )*};
}
pub(crate) use pod;
