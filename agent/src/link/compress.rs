//! Which frames are compressed. `auto` measures whether it pays: only while the connection is slow, which shows when
//! frames wait for it, and not what has turned out to be compressed already.

use super::streams::Counters;
use crate::options::Compress;
use crate::wire;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Shorter frames are left alone, in bytes: there is next to nothing to gain.
const SHORTEST: usize = 512;
/// The level where nobody says one: several times as fast as the slow connections that it is for.
const LEVEL: i32 = 3;
/// A connection that carries less than this, in bytes a second, is slow. Compressing takes about ten times less, but
/// takes it from what reads, hashes and encrypts; on a fast network that costs more than it saves.
const SLOW: u64 = 25 << 20;
/// After a frame that did not get smaller, so many are left alone, and then twice as many each time, up to `MOST`.
const LEAVE: u32 = 4;
const MOST: u32 = 256;

/// What decides about one direction of a link.
pub(super) struct Compression {
    choice: Compress,
    counters: Arc<Counters>,
    /// Content is judged by itself: offers compress well.
    content: Experience,
    offers: Experience,
}

/// What compressing has brought so far.
#[derive(Default)]
struct Experience {
    /// So many frames are left alone.
    leave: AtomicU32,
    /// So many were the last time.
    left: AtomicU32,
}

impl Compression {
    pub(super) fn new(choice: Compress, counters: Arc<Counters>) -> Compression {
        Compression { choice, counters, content: Experience::default(), offers: Experience::default() }
    }

    /// Returns the frame as it should be sent.
    pub(super) fn pack(&self, frame: Bytes) -> Bytes {
        let (level, experience) = match self.choice {
            Compress::None => return frame,
            // A peer may have said it.
            Compress::Zstd(level) => (i32::from(level.clamp(1, 19)), None),
            Compress::Auto if self.counters.rate() >= SLOW => return frame,
            Compress::Auto if wire::is_content(&frame) => (LEVEL, Some(&self.content)),
            Compress::Auto => (LEVEL, Some(&self.offers)),
        };
        if frame.len() < SHORTEST || experience.is_some_and(Experience::leaves) {
            return frame;
        }
        let packed = wire::compress(&frame, level).filter(|packed| packed.len() < frame.len() / 20 * 19);
        if let Some(experience) = experience {
            experience.note(packed.is_some());
        }
        packed.unwrap_or(frame)
    }
}

impl Experience {
    fn leaves(&self) -> bool {
        self.leave.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
    }

    fn note(&self, smaller: bool) {
        let left = match smaller {
            true => 0,
            false => (self.left.load(Ordering::Relaxed) * 2).clamp(LEAVE, MOST),
        };
        self.left.store(left, Ordering::Relaxed);
        self.leave.store(left, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{OfferNumber, encode_data};
    use std::time::Duration;

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn frame(content: &[u8]) -> Bytes {
        encode_data(OfferNumber(1), content)
    }

    #[test]
    fn auto_compresses_only_for_a_connection_that_is_slow() {
        let counters = Arc::new(Counters::default());
        let compression = Compression::new(Compress::Auto, counters.clone());
        let text = frame(&[b'x'; 100_000]);
        assert_eq!(compression.pack(text.clone()), text, "nothing is known of the connection");
        counters.measured(1 << 20, Duration::from_secs(1));
        assert!(compression.pack(text.clone()).len() < 1000);
        counters.measured(1 << 30, Duration::from_secs(1));
        assert_eq!(compression.pack(text.clone()), text);
    }

    #[test]
    fn auto_leaves_alone_what_is_compressed_already_and_looks_again_later() {
        let counters = Arc::new(Counters::default());
        counters.measured(1 << 20, Duration::from_secs(1));
        let compression = Compression::new(Compress::Auto, counters);
        let (text, noise) = (frame(&[b'x'; 10_000]), frame(&noise(10_000)));
        assert_eq!(compression.pack(noise.clone()), noise);
        let left = (0..1000).take_while(|_| compression.pack(text.clone()) == text).count();
        assert_eq!(left, LEAVE as usize);
    }

    #[test]
    fn what_is_asked_for_is_done_on_any_connection() {
        let text = frame(&[b'x'; 10_000]);
        let with = |choice| Compression::new(choice, Arc::default()).pack(text.clone());
        assert_eq!(with(Compress::None), text);
        assert!(with(Compress::Zstd(9)).len() < 1000);
    }
}
