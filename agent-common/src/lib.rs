//! The plain-data types that the eBPF programs and the agent share: the record that goes through the ring buffer, the
//! read-only globals that the agent fills in before it loads the programs, and the keys and values of the maps.
//!
//! The border between kernel and agent is a file format: fixed-width integers, explicit padding, an ABI number, and
//! assertions on sizes and offsets beside each type. The agent reads records by offset ([`record`]), never by a cast.
#![no_std]

mod globals;
mod maps;
pub mod record;

pub use globals::{CALLS, Call, Class, MISSING, Offsets, Settings};
pub use maps::{
    CACHE_OUTSIDE, CacheKey, CacheValue, Control, Losses, RootKey, State, TOUCH_INSIDE, TOUCHES, Touch,
    Touched,
};

/// The version of everything in this crate. An object and an agent with different numbers do not work together.
pub const ABI: u8 = 2;

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
