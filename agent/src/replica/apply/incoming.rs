//! An [`Incoming`] is an offer on its way through the receiver, with what has been learned of it on the way.

use crate::core::entry::{Digest, Entry};
use crate::core::path::RelPath;
use crate::replica::commit::Staged;
use crate::wire::{Offer, OfferNumber, Verdict};

/// What an offer without its content counts against the window, in bytes.
const BASE_COST: u64 = 512;

/// An offer that is to be decided about.
#[derive(Debug)]
pub struct Incoming {
    /// Its number.
    pub number: OfferNumber,
    pub(super) offer: Offer,
    /// Its content, prepared on the disk.
    pub(super) staged: Option<Staged>,
    /// The paths to be looked at again, because the disk was not what the archive says.
    suspects: Vec<RelPath>,
    why: Option<String>,
    cost: u64,
}

impl Incoming {
    /// Makes it of an offer that has just come.
    pub fn new(number: OfferNumber, offer: Offer) -> Incoming {
        let cost = offer.cost();
        Incoming { number, offer, staged: None, suspects: Vec::new(), why: None, cost }
    }

    /// Returns where it is.
    pub fn path(&self) -> &RelPath {
        &self.offer.path
    }

    /// Returns what is offered.
    pub fn entry(&self) -> &Entry {
        &self.offer.entry
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
}

/// The content of an offer on its way to the disk.
#[derive(Debug)]
pub struct Transfer {
    pub(super) staged: Staged,
    pub(super) hasher: Box<blake3::Hasher>,
    pub(super) written: u64,
    pub(super) size: u64,
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

    /// Checks that what came is what was offered.
    ///
    /// # Errors
    /// When it is not, in words for a person.
    pub fn finish(self, size: u64, digest: Digest) -> Result<Staged, String> {
        if self.written != size || Digest(*self.hasher.finalize().as_bytes()) != digest {
            return Err("it changed at the peer while it was sent: it comes when it is quiet".to_owned());
        }
        Ok(self.staged)
    }
}
