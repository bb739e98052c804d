//! An [`Incoming`] is an offer on its way through the receiver, with what has been learned of it on the way.

use crate::core::entry::{Content, Digest, Entry};
use crate::core::path::RelPath;
use crate::replica::commit::{BLOCK, Staged};
use crate::replica::{Replica, partial};
use crate::wire::{Offer, OfferNumber, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// From this size on of the old and the new file, in bytes, a changed file comes as a recipe: of a smaller one the two or
/// three chunks around a change are a good part.
pub(in crate::replica) const SMALLEST_DELTA: u64 = 256 << 10;
/// What is said of a file that was written while it was sent.
pub const IN_MOTION: &str = "it changed at the peer while it was sent: it comes when it is quiet";
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// So much is copied from the old file at once, in bytes.
const COPIED: u64 = 512 << 10;
/// What an offer without its content counts against the window, in bytes.
const BASE_COST: u64 = 512;

/// An offer that is to be decided about.
#[derive(Debug)]
pub struct Incoming {
    /// Its number.
    pub number: OfferNumber,
    pub(super) offer: Offer,
    /// It was asked for, as it came: [`Offer::again`] is also set on the way.
    pub(super) asked: bool,
    /// Its content, prepared on the disk.
    pub(super) staged: Option<Staged>,
    /// The paths to be looked at again, because the disk was not what the archive says.
    suspects: Vec<RelPath>,
    why: Option<String>,
    /// Nothing stands at its path.
    pub(super) is_new: bool,
    cost: u64,
    /// A large file stands here that it probably has much in common with.
    has_basis: bool,
    /// A recipe did not come out.
    as_a_whole: bool,
}

impl Incoming {
    /// Makes it of an offer that has just come.
    pub fn new(number: OfferNumber, offer: Offer) -> Incoming {
        let cost = offer.cost();
        let (suspects, staged, asked) = (Vec::new(), None, offer.again);
        Incoming {
            number,
            offer,
            asked,
            staged,
            suspects,
            why: None,
            is_new: false,
            cost,
            has_basis: false,
            as_a_whole: false,
        }
    }

    /// Returns where it is.
    pub fn path(&self) -> &RelPath {
        &self.offer.path
    }

    /// Returns what is offered.
    pub fn entry(&self) -> &Entry {
        &self.offer.entry
    }

    /// Returns whether nothing stood at its path when it was decided about.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Returns what it counts against the window, if that has not been given back.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Takes the cost, to be given back.
    pub fn take_cost(&mut self) -> u64 {
        std::mem::take(&mut self.cost)
    }

    /// Returns what it counts without content.
    pub fn base_cost(&self) -> u64 {
        self.offer.path.as_bytes().len() as u64 + BASE_COST
    }

    /// Returns how many bytes of content came along, if any did.
    pub fn inline(&self) -> Option<u64> {
        self.offer.content.as_ref().map(|content| content.len() as u64)
    }

    /// Returns whether its content is best asked for as a recipe over what stands here.
    pub fn has_basis(&self) -> bool {
        self.has_basis
    }

    /// Notes what stands here, for [`Incoming::has_basis`].
    pub(super) fn note_basis(&mut self, here: Option<&Entry>) {
        let size = |entry: &Entry| match entry.content {
            Content::File { size, .. } => size,
            Content::Deleted | Content::Dir | Content::Symlink { .. } => 0,
        };
        self.has_basis =
            !self.as_a_whole && here.is_some_and(|here| size(here).min(size(self.entry())) >= SMALLEST_DELTA);
    }

    /// Notes whether something of the file had come before, for [`Incoming::has_basis`].
    pub fn note_partial(&mut self, replica: &Replica) {
        if self.may_be_kept() && !self.as_a_whole {
            self.has_basis |= replica.has_partial(&self.offer.path);
        }
    }

    /// Returns whether it is large enough that what had come of it is kept when the connection breaks.
    pub fn may_be_kept(&self) -> bool {
        matches!(self.offer.entry.content, Content::File { size, .. } if size >= partial::LEAST)
    }

    /// From now on the content is asked for as a whole.
    pub fn forget_basis(&mut self) {
        self.has_basis = false;
        self.as_a_whole = true;
    }

    /// Adds the content that has come.
    #[must_use]
    pub fn with_staged(mut self, staged: Staged) -> Incoming {
        self.staged = Some(staged);
        self
    }

    /// Notes why it could not be dealt with.
    #[must_use]
    pub fn failed(mut self, why: String) -> Incoming {
        self.why = Some(why);
        self
    }

    /// Notes that the disk was not what the archive says, and where.
    pub(super) fn stale(mut self, suspects: Vec<RelPath>, why: String) -> Incoming {
        self.suspects.extend(suspects);
        self.why = Some(why);
        self
    }

    /// Returns the paths that have to be looked at before it is decided about anew.
    pub fn suspects(&self) -> Vec<RelPath> {
        if self.suspects.is_empty() { vec![self.offer.path.clone()] } else { self.suspects.clone() }
    }

    /// Returns why it could not be dealt with.
    pub fn why_stale(&self) -> Option<&str> {
        self.why.as_deref()
    }

    /// Returns it to be decided about anew.
    #[must_use]
    pub fn renewed(mut self) -> Incoming {
        self.suspects.clear();
        self
    }
}

/// What became of an offer.
#[derive(Debug)]
pub struct OutcomeOf {
    /// Of which.
    pub number: OfferNumber,
    /// Where.
    pub path: RelPath,
    /// What was offered.
    pub offered: Entry,
    /// What stood here.
    pub here: Option<Entry>,
    /// The answer.
    pub verdict: Verdict,
}

/// What became of a chunk of offers.
#[derive(Debug, Default)]
pub struct Applied {
    /// Those that are answered.
    pub outcomes: Vec<OutcomeOf>,
    /// Those whose content is needed.
    pub wanted: Vec<Incoming>,
    /// Those where the disk was not what the archive says.
    pub stale: Vec<Incoming>,
    /// Those at the end that only the rest of the batch lets decide about.
    pub held: Vec<Incoming>,
    /// What the peer should offer again, as one.
    pub again: Vec<(RelPath, bool)>,
    /// What the peer offered an older state of, and has to be offered again; true: with all that lies below.
    pub owed: BTreeMap<RelPath, bool>,
    /// Conflicts that a person has decided for the peer's state.
    pub resolve: BTreeSet<RelPath>,
}

/// The content of an offer on its way to the disk.
#[derive(Debug)]
pub struct Transfer {
    pub(super) staged: Staged,
    pub(super) hasher: Box<blake3::Hasher>,
    pub(super) written: u64,
    pub(super) size: u64,
    /// What stands at the path, once something was copied from it.
    pub(super) basis: Option<File>,
}

impl Transfer {
    /// Appends bytes.
    ///
    /// # Errors
    /// When the disk does not take them, or they are more than was offered; in words for a person.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.written += bytes.len() as u64;
        if self.written > self.size {
            return Err("the peer sent more than it offered".to_owned());
        }
        self.hasher.update(bytes);
        self.staged.write_all(bytes).map_err(|e| super::words(&e))
    }

    /// Appends zeros, which take no space, unless that is no longer wanted: one message can stand for so many that hashing
    /// them takes years.
    ///
    /// # Errors
    /// When the disk does not take them, or they are more than was offered; in words for a person.
    pub fn zeros(&mut self, length: u64, is_over: &dyn Fn() -> bool) -> Result<(), String> {
        if length > self.size.saturating_sub(self.written) {
            return Err("the peer sent more than it offered".to_owned());
        }
        let mut left = length;
        while left > 0 {
            if is_over() {
                return Err("the session is over".to_owned());
            }
            let piece = &ZEROS[..left.min(ZEROS.len() as u64) as usize];
            self.write(piece)?;
            left -= piece.len() as u64;
        }
        Ok(())
    }

    /// Keeps what has come for when it is offered again, if that is worth it. Nothing of it is to be seen.
    pub fn keep(self, replica: &Replica, of: &Incoming) {
        let Some((parent, at)) = of.path().split().filter(|_| self.written >= partial::LEAST) else { return };
        // A directory that was moved away meanwhile is none of ours.
        if !replica.dir.open_dir(&parent).is_ok_and(|dir| self.staged.is_in(&dir)) {
            return;
        }
        if let Err(error) = self.staged.keep_as(&partial::name(&at)) {
            tracing::debug!(path = %of.path(), why = super::words(&error), "what had come of it is not kept");
        }
    }

    /// Appends bytes of what stands at the path, or of what had come before.
    ///
    /// # Errors
    /// When they cannot be read or written, or are more than was offered; in words for a person.
    pub fn copy(&mut self, replica: &Replica, of: &Incoming, from: u64, length: u64) -> Result<(), String> {
        if length > self.size.saturating_sub(self.written) {
            return Err("the peer sent more than it offered".to_owned());
        }
        let unreadable = |e: io::Error| format!("cannot read what stands there: {e}");
        let file = match self.basis.take() {
            Some(file) => file,
            None => replica.basis(of.path()).map_err(unreadable)?,
        };
        // Blocks can be shared from where both files come to the start of one.
        let in_step = from % BLOCK == self.written % BLOCK;
        let head = if in_step { (BLOCK - from % BLOCK) % BLOCK } else { length }.min(length);
        self.copy_bytes(&file, from, head)?;
        let start = self.written;
        let cloned = self.staged.clone_next(&file, from + head, length - head);
        if cloned > 0 {
            // What is hashed is what is there now: the old file may have changed in the moment before.
            self.hash_back(start, cloned).map_err(unreadable)?;
            self.written += cloned;
        }
        self.copy_bytes(&file, from + head + cloned, length - head - cloned)?;
        self.basis = Some(file);
        Ok(())
    }

    /// Appends bytes of a file.
    fn copy_bytes(&mut self, file: &File, mut from: u64, length: u64) -> Result<(), String> {
        let mut buffer = vec![0; length.min(COPIED) as usize];
        let mut left = length;
        while left > 0 {
            let wanted = left.min(COPIED) as usize;
            match file.read_at(&mut buffer[..wanted], from) {
                Ok(0) => return Err("what stands there was cut short".to_owned()),
                Ok(n) => {
                    self.write(&buffer[..n])?;
                    from += n as u64;
                    left -= n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("cannot read what stands there: {e}")),
            }
        }
        Ok(())
    }

    /// Hashes a part of what is prepared.
    fn hash_back(&mut self, mut from: u64, length: u64) -> io::Result<()> {
        let Some(file) = self.staged.file() else { return Err(io::ErrorKind::InvalidInput.into()) };
        let end = from + length;
        let mut buffer = vec![0; length.min(COPIED) as usize];
        while from < end {
            let wanted = (end - from).min(COPIED) as usize;
            match file.read_at(&mut buffer[..wanted], from) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    self.hasher.update(&buffer[..n]);
                    from += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Checks that what came is what was offered.
    ///
    /// # Errors
    /// When it is not, in words for a person.
    pub fn finish(self, size: u64, digest: Digest) -> Result<Staged, String> {
        if self.written != size || Digest(*self.hasher.finalize().as_bytes()) != digest {
            return Err(IN_MOTION.to_owned());
        }
        Ok(self.staged)
    }
}
