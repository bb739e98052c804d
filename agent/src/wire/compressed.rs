//! Compressed frames. A frame is compressed by itself, so that each can be read without those before it, and no peer can
//! make this end hold more than one frame of [`MAX_FRAME`] at once.

use super::frame::{MAX_FRAME, WireError};
use bytes::{BufMut, Bytes, BytesMut};
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};

/// The kind byte.
pub(super) const COMPRESSED: u8 = 2;
/// The kind byte and the length of the frame inside.
const HEADER: usize = 5;

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses a frame (Zstandard, at this level); `None` if it does not get smaller.
pub fn compress(frame: &[u8], level: i32) -> Option<Bytes> {
    COMPRESSOR.with_borrow_mut(|slot| {
        if slot.as_ref().is_none_or(|(at, _)| *at != level) {
            *slot = Some((level, Compressor::new(level).ok()?));
        }
        let (_, compressor) = slot.as_mut()?;
        let mut body = vec![0; frame.len().checked_sub(HEADER + 1)?];
        // What does not fit into less than the frame takes is an error.
        let n = compressor.compress_to_buffer(frame, &mut body[..]).ok()?;
        let mut packed = BytesMut::with_capacity(HEADER + n);
        packed.put_u8(COMPRESSED);
        packed.put_u32(frame.len() as u32);
        packed.put_slice(&body[..n]);
        Some(packed.freeze())
    })
}

/// Returns the frame inside a compressed one, of which the kind byte has been taken off.
pub(super) fn expand(packed: &[u8]) -> Result<Bytes, WireError> {
    let Some((length, body)) = packed.split_first_chunk() else { return Err(WireError::Short) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MAX_FRAME {
        return Err(WireError::Senseless("a compressed frame is too long"));
    }
    let damaged = |_| WireError::Senseless("a compressed frame cannot be expanded");
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(Decompressor::new().map_err(damaged)?);
        }
        let decompressor = slot.as_mut().expect("it was put there");
        let mut frame = vec![0; length];
        let n = decompressor.decompress_to_buffer(body, &mut frame[..]).map_err(damaged)?;
        if n != length {
            return Err(WireError::Senseless("a compressed frame has another length than it says"));
        }
        Ok(frame.into())
    })
}
