//! [`Cuts`] remembers how changed large files are cut into chunks. They are cut while a scan reads them to hash them, so that
//! a recipe can be made of them without reading them again.

use crate::core::entry::Digest;
use crate::fs::{Hashed, Meta};
use crate::link::delta;
use crate::wire::Basis;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

/// So many chunks are remembered of all files together, and in any case those of the last one: some 5 MB.
const REMEMBERED: usize = 200_000;

/// The files that were cut lately, the oldest first. Only a hint: what is made by it is hashed in the end.
#[derive(Debug, Default)]
pub(super) struct Cuts(Mutex<VecDeque<(Digest, Arc<Basis>)>>);

impl Cuts {
    /// Reads a file once, to hash it and to cut it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn read(&self, file: &File, before: Meta) -> io::Result<Hashed> {
        let (hashed, cut) = delta::hash_and_cut(file, before)?;
        if let Some(cut) = cut.filter(|_| !hashed.changed) {
            let mut all = self.0.lock().expect("no thread panics with this locked");
            all.retain(|(digest, _)| *digest != hashed.digest);
            all.push_back((hashed.digest, Arc::new(cut)));
            let mut chunks: usize = all.iter().map(|(_, cut)| cut.chunks.len()).sum();
            while chunks > REMEMBERED && all.len() > 1 {
                chunks -= all.pop_front().map_or(0, |(_, cut)| cut.chunks.len());
            }
        }
        Ok(hashed)
    }

    /// Returns how the file with this content is cut.
    pub(super) fn of(&self, digest: &Digest) -> Option<Arc<Basis>> {
        let all = self.0.lock().expect("no thread panics with this locked");
        all.iter().find(|(of, _)| of == digest).map(|(_, cut)| cut.clone())
    }
}
