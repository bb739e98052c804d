//! Frames: the kind byte and the body. The length before it is [`tokio_util`]'s.

use super::compressed::{COMPRESSED, expand};
use super::message::{Message, Offer, OfferNumber, Want};
use crate::core::entry::Content;
use crate::core::filter::is_reserved;
use crate::core::renamed::Renamed;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The longest frame, in bytes, without its length.
pub const MAX_FRAME: usize = 4 << 20;
/// The longest target of a symbolic link, in bytes (`PATH_MAX`).
const MAX_TARGET: usize = 4096;

/// The longest name of an account, in bytes: more than any system allows.
const MAX_ACCOUNT: usize = 256;

/// The most chunks of a basis: so many fit into a frame.
pub const MAX_CHUNKS: usize = 150_000;
/// The least average length of chunks, in bytes.
pub const FINEST_CHUNKS: u32 = 16 << 10;
/// The greatest average length of chunks, in bytes; four times as much is held in memory.
pub const COARSEST_CHUNKS: u32 = 4 << 20;

const MESSAGE: u8 = 0;
const DATA: u8 = 1;

/// Why bytes are no frame. The peer is broken or hostile: the session ends.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The frame has no kind byte, or too few bytes for its kind.
    #[error("the peer sent a frame that is cut short")]
    Short,
    /// The kind byte is unknown.
    #[error("the peer sent a frame of the unknown kind {0}")]
    Kind(u8),
    /// The message cannot be decoded.
    #[error("the peer sent a message that cannot be read: {0}")]
    Message(#[from] postcard::Error),
    /// The message can be decoded and makes no sense.
    #[error("the peer sent a message that makes no sense: {0}")]
    Senseless(&'static str),
}

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A message.
    Message(Message),
    /// A piece of the content of an offer: the next bytes.
    Data(OfferNumber, Bytes),
}

/// Encodes a message.
pub fn encode_message(message: &Message) -> Bytes {
    let body = postcard::to_extend(message, vec![MESSAGE]);
    Bytes::from(body.expect("serialising plain data into memory does not fail"))
}

/// Encodes a message; a list that is too long for one frame in as many as it takes. The peer refuses a longer frame and
/// ends the session, and would do so again the next time.
pub fn encode_in_frames(message: &Message) -> Vec<Bytes> {
    let whole = encode_message(message);
    if whole.len() <= MAX_FRAME {
        return vec![whole];
    }
    match message.halves() {
        Some(halves) => halves.iter().flat_map(encode_in_frames).collect(),
        None => vec![whole],
    }
}

/// Encodes a piece of content.
pub fn encode_data(offer: OfferNumber, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(9 + data.len());
    frame.put_u8(DATA);
    frame.put_u64(offer.0);
    frame.put_slice(data);
    frame.freeze()
}

/// Returns whether an encoded frame is a piece of content.
pub fn is_content(frame: &[u8]) -> bool {
    frame.first() == Some(&DATA)
}

/// Decodes a frame and checks what it says.
pub fn decode(mut frame: Bytes) -> Result<Frame, WireError> {
    match frame.try_get_u8().map_err(|_| WireError::Short)? {
        COMPRESSED => decode_plain(expand(&frame)?),
        kind => decode_kind(kind, frame),
    }
}

/// Decodes a frame that is not compressed: there is none within another.
fn decode_plain(mut frame: Bytes) -> Result<Frame, WireError> {
    let kind = frame.try_get_u8().map_err(|_| WireError::Short)?;
    decode_kind(kind, frame)
}

fn decode_kind(kind: u8, mut frame: Bytes) -> Result<Frame, WireError> {
    match kind {
        MESSAGE => {
            let (message, rest) = postcard::take_from_bytes(&frame)?;
            if !rest.is_empty() {
                return Err(WireError::Senseless("bytes follow it"));
            }
            check(&message)?;
            Ok(Frame::Message(message))
        }
        DATA => {
            let offer = OfferNumber(frame.try_get_u64().map_err(|_| WireError::Short)?);
            Ok(Frame::Data(offer, frame))
        }
        kind => Err(WireError::Kind(kind)),
    }
}

/// Checks what the types do not say.
fn check(message: &Message) -> Result<(), WireError> {
    match message {
        Message::Offers(offers) => offers.iter().try_for_each(check_offer),
        Message::Want(wants) => wants.iter().try_for_each(check_want),
        Message::Renamed(renamed) => check_renamed(renamed),
        _ => Ok(()),
    }
}

fn check_renamed(renamed: &Renamed) -> Result<(), WireError> {
    let mut names = renamed.from.components().chain(renamed.to.components());
    match names.any(is_reserved) || !renamed.is_sane() {
        true => Err(WireError::Senseless("a rename that cannot be")),
        false => Ok(()),
    }
}

fn check_want(want: &Want) -> Result<(), WireError> {
    match &want.basis {
        Some(basis)
            if !basis.average.is_power_of_two()
                || !(FINEST_CHUNKS..=COARSEST_CHUNKS).contains(&basis.average)
                || basis.chunks.len() > MAX_CHUNKS =>
        {
            Err(WireError::Senseless("a basis with chunks of a senseless size"))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_offer(offer: &Offer) -> Result<(), WireError> {
    let entry = &offer.entry;
    let senseless = |why| Err(WireError::Senseless(why));
    if offer.path.is_root() {
        return senseless("the root itself is offered");
    }
    if offer.path.components().any(is_reserved) {
        return senseless("a name that is kept for temporary files");
    }
    if let Some(like) = &offer.like
        && (like.is_root() || !matches!(entry.content, Content::File { .. }))
    {
        return senseless("a hint at the content of what has none");
    }
    if !entry.content_lineage.is_sane() || !entry.attributes_lineage.is_sane() {
        return senseless("too many versions");
    }
    if entry.content_lineage.now.is_empty() {
        return senseless("an entry without a version");
    }
    if entry.mtime.nanoseconds > 999_999_999 {
        return senseless("a time with too many nanoseconds");
    }
    if [&offer.owners.user, &offer.owners.group].into_iter().flatten().any(|name| name.len() > MAX_ACCOUNT) {
        return senseless("an owner with a name that no account has");
    }
    if entry.attributes.mode > 0o7777 || entry.vouched.mode > 0o7777 {
        return senseless("a mode with more than permission bits");
    }
    match (&entry.content, &offer.content) {
        (Content::Symlink { target }, _)
            if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) =>
        {
            senseless("a symbolic link that points nowhere")
        }
        (Content::File { size, .. }, Some(content)) if content.len() as u64 != *size => {
            senseless("content of another length than its file")
        }
        (Content::Deleted | Content::Dir | Content::Symlink { .. }, Some(_)) => {
            senseless("content for what has none")
        }
        _ => Ok(()),
    }
}
