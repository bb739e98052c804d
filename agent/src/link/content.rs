//! The content pumps: send the bytes of the files that the peer asks for, one after the other, within the window. Large
//! files have a pump of their own, so that they do not hold up small ones.

use super::credit::Closed;
use super::{FRAME_COST, Shared, delta};
use crate::core::entry::Content;
use crate::core::path::RelPath;
use crate::fs::read_start;
use crate::wire::{Message, OfferNumber, Want, encode_data};
use std::io;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Content goes in pieces of at most this, in bytes.
const PIECE: usize = 128 << 10;
/// A piece like this is not sent, but that it is: holes stay holes, and cost nothing on the way.
static ZEROS: [u8; PIECE] = [0; PIECE];
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
        shared.replica.tally.expect(1, size);
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
        let complete = done?;
        shared.replica.tally.finish(1, 0);
        shared.data_credit.take(FRAME_COST)?;
        shared.send(&Message::DataEnd { offer, complete })?;
    }
    Ok(())
}

/// The content of one file on its way. Copies and zeros that follow one another go as one.
pub(super) struct Outgoing<'a> {
    shared: &'a Shared,
    number: OfferNumber,
    run: Run,
}

/// What is not sent as bytes.
enum Run {
    None,
    /// Bytes of what the peer has.
    Copy {
        from: u64,
        length: u64,
    },
    Zeros(u64),
}

/// All the methods fail with `BrokenPipe` when the session is over, and with `Interrupted` when nobody waits for the
/// file any more.
impl<'a> Outgoing<'a> {
    pub(super) fn new(shared: &'a Shared, number: OfferNumber) -> Outgoing<'a> {
        Outgoing { shared, number, run: Run::None }
    }

    /// The next bytes are some that the peer has.
    pub(super) fn copy(&mut self, at: u64, more: u64) -> io::Result<()> {
        match &mut self.run {
            Run::Copy { from, length } if *from + *length == at => *length += more,
            Run::Copy { .. } | Run::Zeros(_) | Run::None => {
                self.flush()?;
                self.run = Run::Copy { from: at, length: more };
            }
        }
        Ok(())
    }

    /// The next bytes are these.
    pub(super) fn data(&mut self, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(PIECE) {
            if *piece == ZEROS[..piece.len()] {
                self.zeros(piece.len() as u64)?;
                continue;
            }
            self.flush()?;
            self.shared.data_credit.take(piece.len() as u64 + FRAME_COST).map_err(closed)?;
            self.shared.send_frame(encode_data(self.number, piece)).map_err(closed)?;
            self.shared.replica.tally.finish(0, piece.len() as u64);
        }
        Ok(())
    }

    fn zeros(&mut self, more: u64) -> io::Result<()> {
        match &mut self.run {
            Run::Zeros(length) => *length += more,
            Run::Copy { .. } | Run::None => {
                self.flush()?;
                self.run = Run::Zeros(more);
            }
        }
        Ok(())
    }

    /// Sends what is held back.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let offer = self.number;
        let still_wanted =
            self.shared.sent.lock().expect("no thread panics with this locked").contains_key(&offer);
        if !still_wanted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (message, length) = match std::mem::replace(&mut self.run, Run::None) {
            Run::None => return Ok(()),
            Run::Copy { from, length } => (Message::Copy { offer, from, length }, length),
            Run::Zeros(length) => (Message::Zeros { offer, length }, length),
        };
        self.shared.replica.tally.finish(0, length);
        self.shared.data_credit.take(FRAME_COST).map_err(closed)?;
        self.shared.send(&message).map_err(closed)
    }
}

fn closed(_: Closed) -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

/// Sends the content of one file. Returns whether it was what the offer said.
fn send(shared: &Shared, number: OfferNumber, path: &RelPath, content: &Content) -> io::Result<bool> {
    let (Content::File { size, digest }, Some((parent, name))) = (content, path.split()) else {
        return Ok(false);
    };
    let file = shared.replica.dir.open_dir(&parent)?.open_file(&name)?;
    if file.metadata()?.len() < *size {
        return Ok(false);
    }
    // What has grown since still begins with what was offered, if it is a log: the hash tells.
    let mut outgoing = Outgoing::new(shared, number);
    let sent = read_start(&file, *size, |bytes| outgoing.data(bytes))?;
    outgoing.flush()?;
    Ok(sent == Some(*digest))
}
