//! Reading a file's content: its digest, and whether it stood still meanwhile.

use super::meta::Meta;
use crate::core::entry::Digest;
use rustix::fs::{Advice, fadvise};
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much is read at once.
const BUFFER: usize = 512 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What reading a whole file showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hashed {
    /// The hash of the bytes that were read.
    pub digest: Digest,
    /// How many they were.
    pub size: u64,
    /// The look at the file before the first byte was read.
    pub meta: Meta,
    /// Whether the file changed while it was read: the digest belongs to no state of it.
    pub changed: bool,
}

/// Hashes the content of an open regular file, from its start.
pub fn hash_file(file: &File) -> io::Result<Hashed> {
    read_file(file, |_| Ok(()))
}

/// Hashes the content of an open regular file, and hands over its bytes piece by piece.
///
/// Plain reads into a buffer that is used again; never a mapping, which a file cut short meanwhile turns into a fatal
/// signal. A file that grows under the reader does not hold it for ever: what comes beyond the size at the start
/// makes it "changed", and is not read.
pub fn read_file(file: &File, each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Hashed> {
    read_from(file, Meta::of(file)?, each)
}

/// As [`read_file`], of a file that has been looked at since it was opened.
pub fn read_from(
    file: &File,
    before: Meta,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Hashed> {
    if before.stamp.size > BUFFER as u64 {
        // Only advice: what it says about failing says nothing about the file.
        let _ = fadvise(file, 0, None, Advice::Sequential);
    }
    let mut hasher = blake3::Hasher::new();
    let size = with_buffer(|buffer| {
        let mut size = 0;
        while size <= before.stamp.size {
            // One byte more than there should be, so that growth shows.
            let wanted = (before.stamp.size - size).saturating_add(1).min(BUFFER as u64) as usize;
            let n = match file.read_at(&mut buffer[..wanted], size) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                n => n?,
            };
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            each(&buffer[..n])?;
            size += n as u64;
            if n < wanted && size == before.stamp.size {
                // The end was just seen: to read on would only say so again.
                break;
            }
        }
        io::Result::Ok(size)
    })?;
    let after = Meta::of(file)?;
    let changed = size != before.stamp.size || after.stamp != before.stamp;
    Ok(Hashed { digest: Digest(*hasher.finalize().as_bytes()), size, meta: before, changed })
}

/// Hashes the first `length` bytes of an open file, whatever it is beyond them; `None` if it has fewer.
pub fn hash_start(file: &File, length: u64) -> io::Result<Option<Digest>> {
    read_start(file, length, |_| Ok(()))
}

/// As [`hash_start`], and hands over the bytes piece by piece.
pub fn read_start(
    file: &File,
    length: u64,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Option<Digest>> {
    let mut hasher = blake3::Hasher::new();
    let whole = with_buffer(|buffer| {
        let mut read = 0;
        while read < length {
            let wanted = (length - read).min(BUFFER as u64) as usize;
            match file.read_at(&mut buffer[..wanted], read) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    each(&buffer[..n])?;
                    read += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    })?;
    Ok(whole.then(|| Digest(*hasher.finalize().as_bytes())))
}

/// Lends the thread's buffer out. It is taken, not borrowed, so that a reader inside a reader only costs a new one.
fn with_buffer<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = READ_BUFFER.take();
    buffer.resize(BUFFER, 0);
    let result = read(&mut buffer);
    READ_BUFFER.set(buffer);
    result
}
