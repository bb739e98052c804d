//! The content pump: sends the bytes of the files that the peer asks for, one after the other, within the window.

use super::Shared;
use super::credit::Closed;
use crate::core::entry::Content;
use crate::core::path::RelPath;
use crate::fs::read_file;
use crate::wire::{Message, OfferNumber, encode_data};
use std::io;
use tokio::sync::mpsc;

/// Content goes in pieces of at most this, in bytes.
const PIECE: usize = 128 << 10;

/// Sends what is wanted until the session ends. Blocks.
pub(super) fn pump(shared: &Shared, mut wanted: mpsc::UnboundedReceiver<OfferNumber>) -> Result<(), Closed> {
    while let Some(number) = wanted.blocking_recv() {
        let sent = {
            let sent = shared.sent.lock().expect("no thread panics with this locked");
            sent.get(&number).map(|s| (s.path.clone(), s.entry.content.clone()))
        };
        // What is not under way any more has been answered; the peer asks for nothing that it does not wait for.
        let Some((path, content)) = sent else { continue };
        let complete = match send(shared, number, &path, &content) {
            Ok(complete) => complete,
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Err(Closed),
            Err(error) => {
                tracing::debug!(%path, %error, "cannot read what the peer asks for");
                false
            }
        };
        if !complete {
            shared.replica.suspect(&path);
        }
        shared.send(&Message::DataEnd { offer: number, complete })?;
    }
    Ok(())
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
    let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
    let mut sent = 0;
    let hashed = read_file(&file, |bytes| {
        for piece in bytes.chunks(PIECE) {
            if sent + piece.len() as u64 > *size {
                return Err(io::Error::other("the file grew while it was sent"));
            }
            sent += piece.len() as u64;
            shared.data_credit.take(piece.len() as u64).map_err(closed)?;
            shared.send_frame(encode_data(number, piece)).map_err(closed)?;
        }
        Ok(())
    })?;
    Ok(hashed.digest == *digest && hashed.size == *size)
}
