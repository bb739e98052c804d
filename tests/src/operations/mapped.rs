//! Stores into shared mappings, which no system call tells of.

use std::{fs::File, io, os::fd::AsFd, ptr};

use rustix::mm::{MapFlags, MprotectFlags, MsyncFlags, ProtFlags};

use super::{Act, Ground, Operation, SIZE, WRITTEN, act, at, staged};

pub const OPERATIONS: &[Operation] = &[
    staged("store to a page that was not mapped", WRITTEN, |g| {
        let mut map = Map::of(g.file("f")?, Map::BOTH)?;
        act(move || map.store(0).map(|()| map))
    }),
    staged("store with MAP_SHARED_VALIDATE", WRITTEN, |g| {
        let mut map = Map::with(g.file("f")?, Map::BOTH, MapFlags::SHARED_VALIDATE, SIZE)?;
        act(move || map.store(0).map(|()| map))
    }),
    staged("store to a page that was read", WRITTEN, |g| {
        let mut map = Map::of(g.file("f")?, Map::BOTH)?;
        map.load(0);
        act(move || map.store(0).map(|()| map))
    }),
    staged("store after msync", WRITTEN, |g| {
        let mut map = Map::of(g.file("f")?, Map::BOTH)?;
        map.store(0)?;
        map.sync()?;
        act(move || map.store(1).map(|()| map))
    }),
    staged("store to a page that is dirty", WRITTEN, |g| {
        let mut map = Map::of(g.file("f")?, Map::BOTH)?;
        map.store(0)?;
        act(move || map.store(1).map(|()| map))
    }),
    staged("store that mprotect allows later", WRITTEN, |g| {
        let mut map = Map::of(g.file("f")?, ProtFlags::READ)?;
        map.load(0);
        act(move || {
            map.allow()?;
            map.store(0).map(|()| map)
        })
    }),
    staged("store into a huge page", WRITTEN, huge),
    staged("munmap after stores", &[at("close_write|write", "f")], |g| {
        let mut map = Map::of(g.file("f")?, Map::BOTH)?;
        map.store(0)?;
        act(move || {
            map.store(1)?;
            drop(map);
            Ok(())
        })
    }),
    staged("store into a mapping of this process alone", &[], |g| {
        let mut map = Map::with(g.file("f")?, Map::BOTH, MapFlags::PRIVATE, SIZE)?;
        act(move || map.store(0).map(|()| map))
    }),
];

/// Stores into a file that is large enough for a huge page, where the file system has such.
fn huge(ground: &Ground) -> io::Result<Act> {
    const HUGE: u64 = 2 << 20;
    let file = ground.file("f")?;
    file.set_len(2 * HUGE)?;
    let mut map = Map::with(file, Map::BOTH, MapFlags::SHARED, 2 * HUGE)?;
    // What does not know huge pages refuses, and stores into small ones.
    map.load(usize::try_from(HUGE).expect("it fits") + 4096);
    act(move || map.store(usize::try_from(HUGE).expect("it fits") + 8192).map(|()| map))
}

/// A mapping of the start of a file. The file is closed: the mapping alone holds it.
struct Map {
    start: *mut u8,
    length: usize,
}

impl Map {
    const BOTH: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

    fn of(file: File, protection: ProtFlags) -> io::Result<Map> {
        Map::with(file, protection, MapFlags::SHARED, SIZE)
    }

    fn with(file: File, protection: ProtFlags, flags: MapFlags, length: u64) -> io::Result<Map> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        // Its pages are clean.
        file.sync_all()?;
        // SAFETY: a fresh mapping, at an address of the kernel's choice.
        let start = unsafe { rustix::mm::mmap(ptr::null_mut(), length, protection, flags, file.as_fd(), 0)? };
        Ok(Map { start: start.cast(), length })
    }

    /// Stores a byte.
    fn store(&mut self, at: usize) -> io::Result<()> {
        assert!(at < self.length);
        // SAFETY: within the mapping, which can be written.
        unsafe { self.start.add(at).write_volatile(7) };
        Ok(())
    }

    /// Reads a byte.
    fn load(&self, at: usize) -> u8 {
        assert!(at < self.length);
        // SAFETY: within the mapping.
        unsafe { self.start.add(at).read_volatile() }
    }

    fn sync(&self) -> io::Result<()> {
        // SAFETY: the whole mapping.
        unsafe { rustix::mm::msync(self.start.cast(), self.length, MsyncFlags::SYNC)? };
        Ok(())
    }

    /// Lets it be written.
    fn allow(&self) -> io::Result<()> {
        let flags = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the whole mapping.
        unsafe { rustix::mm::mprotect(self.start.cast(), self.length, flags)? };
        Ok(())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped once, unmapped once.
        let _ = unsafe { rustix::mm::munmap(self.start.cast(), self.length) };
    }
}
