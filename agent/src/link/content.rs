//! The content pumps: send the bytes of the files that the peer asks for, one after the other, within the window. Large
//! files have a pump of their own, so that they do not hold up small ones.

use super::Shared;
use super::credit::Closed;
use super::delta;
use crate::core::entry::Content;
use crate::core::path::RelPath;
use crate::fs::read_file;
use crate::wire::{Message, OfferNumber, Want, encode_data};
use std::io;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Content goes in pieces of at most this, in bytes.
const PIECE: usize = 128 << 10;
/// Files above this size are large, in bytes: what a slow link carries in about a second.
const LARGE: u64 = 1 << 20;
/// So many requests with a basis may wait, at most 3 MB each. A peer asks for half as many at once.
const BASES: usize = 2 * super::receive::DELTAS;

/// So many requests may wait: twice as many as offers fit into a window.
const ASKED: usize = 2 * (super::credit::OFFER_WINDOW / 512) as usize;

/// Where the reader hands requests to.
pub(super) struct ToPumps {
    small: mpsc::UnboundedSender<Want>,
    large: mpsc::UnboundedSender<Want>,
}

/// What each of the two pumps takes its requests from.
pub(super) type Requests = mpsc::UnboundedReceiver<Want>;

impl ToPumps {
    /// Makes the way to two pumps, the small one first.
    pub(super) fn new() -> (ToPumps, Requests, Requests) {
        let (small, of_small) = mpsc::unbounded_channel();
        let (large, of_large) = mpsc::unbounded_channel();
        (ToPumps { small, large }, of_small, of_large)
    }

    /// Hands a request on. Each is answered with the end of the data at least.
    ///
    /// # Errors
    /// When the peer asks for more than it may.
    pub(super) fn ask(&self, shared: &Shared, want: Want) -> Result<(), &'static str> {
        let size = {
            let sent = shared.sent.lock().expect("no thread panics with this locked");
            match sent.get(&want.offer).map(|s| &s.entry.content) {
                Some(Content::File { size, .. }) => *size,
                // What is not under way any more has been answered meanwhile.
                Some(_) | None => 0,
            }
        };
        if want.basis.is_some() && shared.bases.fetch_add(1, Ordering::SeqCst) >= BASES {
            return Err("it asks for too many deltas at once");
        }
        {
            let mut asked = shared.asked.lock().expect("no thread panics with this locked");
            if asked.len() >= ASKED || !asked.insert(want.offer) {
                return Err("it asks twice for the same content, or for more than it may");
            }
        }
        let pump = if size > LARGE { &self.large } else { &self.small };
        let _ = pump.send(want);
        Ok(())
    }
}

/// Sends what is wanted until the session ends. Blocks.
pub(super) fn pump(shared: &Shared, mut wanted: Requests) -> Result<(), Closed> {
    while let Some(Want { offer, basis }) = wanted.blocking_recv() {
        let sent = {
            let sent = shared.sent.lock().expect("no thread panics with this locked");
            sent.get(&offer).map(|s| (s.path.clone(), s.entry.content.clone()))
        };
        let done = match &sent {
            None => Ok(false),
            Some((path, content)) => {
                let sent = match &basis {
                    Some(basis) => delta::send(shared, offer, path, content, basis),
                    None => send(shared, offer, path, content),
                };
                match sent {
                    Ok(true) => Ok(true),
                    Ok(false) => {
                        shared.replica.suspect(path);
                        Ok(false)
                    }
                    Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Closed),
                    // Answered meanwhile: there is a newer offer.
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(false),
                    Err(error) => {
                        tracing::debug!(%path, %error, "cannot read what the peer asks for");
                        shared.replica.suspect(path);
                        Ok(false)
                    }
                }
            }
        };
        if basis.is_some() {
            shared.bases.fetch_sub(1, Ordering::SeqCst);
        }
        // Before the peer knows of the end: it may ask again.
        shared.asked.lock().expect("no thread panics with this locked").remove(&offer);
        shared.send(&Message::DataEnd { offer, complete: done? })?;
    }
    Ok(())
}

/// Sends the next bytes of a file within the window.
///
/// # Errors
/// `BrokenPipe` when the session is over, `Interrupted` when nobody waits for them any more.
pub(super) fn send_bytes(shared: &Shared, number: OfferNumber, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(PIECE) {
        still_wanted(shared, number)?;
        shared.data_credit.take(piece.len() as u64).map_err(closed)?;
        shared.send_frame(encode_data(number, piece)).map_err(closed)?;
    }
    Ok(())
}

fn still_wanted(shared: &Shared, number: OfferNumber) -> io::Result<()> {
    let sent = shared.sent.lock().expect("no thread panics with this locked");
    if sent.contains_key(&number) { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
}

pub(super) fn closed(_: Closed) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// Sends the content of one file. Returns whether it was what the offer said.
fn send(shared: &Shared, number: OfferNumber, path: &RelPath, content: &Content) -> io::Result<bool> {
    let (Content::File { size, digest }, Some((parent, name))) = (content, path.split()) else {
        return Ok(false);
    };
    let file = shared.replica.dir.open_dir(&parent)?.open_file(&name)?;
    if file.metadata()?.len() != *size {
        return Ok(false);
    }
    let mut sent = 0;
    let hashed = read_file(&file, |bytes| {
        sent += bytes.len() as u64;
        if sent > *size {
            return Err(io::Error::other("the file grew while it was sent"));
        }
        send_bytes(shared, number, bytes)
    })?;
    Ok(hashed.digest == *digest && hashed.size == *size)
}
