//! What two replicas say to each other: bytes in, messages out. Pure; `docs/format/wire.md` has the byte tables.
//!
//! A frame is a 32-bit big-endian length, a kind byte and a body: a message (postcard), or a piece of a file's
//! content, or one of these compressed. Every length and name is checked before it is used.

mod compressed;
mod frame;
mod message;

pub use compressed::compress;
pub use frame::{
    COARSEST_CHUNKS, FINEST_CHUNKS, Frame, MAX_CHUNKS, MAX_FRAME, WireError, decode, encode_data,
    encode_in_frames, encode_message, is_content,
};
pub use message::{
    Action, Basis, Batch, Capability, Choice, Chosen, Chunk, Hello, Message, Offer, OfferNumber, Owners,
    Start, Verdict, Want, Welcome, Whereabouts, Winner,
};

#[cfg(test)]
mod tests;
