//! Reserved names: what vfsync itself puts into a tree. They are never synchronised.

use crate::core::path::Name;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub use crate::core::filter::RESERVED_PREFIX;

/// Returns whether a name is vfsync's own.
pub fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(RESERVED_PREFIX)
}

/// Returns a new reserved name that nobody can guess, `.vfsync.<class>.<16 hex digits>`.
pub fn temporary_name(class: &str) -> Name {
    // A hash keyed with the system's randomness, of a counter: unguessable, and never twice in one process.
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let random = KEY.hash_one((std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    let name = format!("{}{class}.{random:016x}", String::from_utf8_lossy(RESERVED_PREFIX));
    Name::new(name.as_bytes()).expect("a class is a short word")
}
