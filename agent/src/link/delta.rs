//! A changed large file goes as a recipe: the receiver says of which chunks the file consists that it has, the sender
//! answers with copies of those and with the bytes between.
//!
//! The cuts are where the content says (FastCDC), so that what is inserted or removed moves them along; both ends cut
//! alike. Equal chunks are found by 16 bytes of BLAKE3, and the whole is hashed in the end, so that a wrong one costs a
//! transfer and nothing else. The sender's scan reads its file once, to hash and to cut it, and the recipe reads again only
//! what the peer lacks; the receiver reads its own once to cut it, and again only what is copied.

use super::Shared;
use super::content::Outgoing;
use crate::core::entry::{Content, Digest};
use crate::core::path::RelPath;
use crate::fs::{Hashed, Meta};
use crate::wire::{Basis, COARSEST_CHUNKS, Chunk, FINEST_CHUNKS, MAX_CHUNKS, OfferNumber};
use fastcdc::v2020::{self, StreamCDC};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// About so many chunks: the list of them is then a third of a megabyte, or less for a file that has fewer even with the
/// finest cuts, and as much goes over again for some ten changes in a file of 1 GiB.
const CHUNKS: u64 = 16_384;

/// Returns how large the chunks of a file are on average, in bytes.
fn average(size: u64) -> u32 {
    let even = (size / CHUNKS).clamp(FINEST_CHUNKS.into(), COARSEST_CHUNKS.into());
    (even as u32).next_power_of_two()
}

fn chunks<R: Read>(source: R, average: u32) -> StreamCDC<R> {
    let average = average as usize;
    StreamCDC::new(source, average / 4, average, average * 4)
}

fn short_hash(data: &[u8]) -> [u8; 16] {
    *blake3::hash(data).as_bytes().first_chunk().expect("a hash is longer")
}

/// Cuts a file that is here; `None` if it is too large for that. It may be another one by the time it is copied from:
/// then what comes out has another hash.
pub(super) fn basis(file: &File) -> io::Result<Option<Basis>> {
    let size = Meta::of(file)?.stamp.size;
    let average = average(size);
    let mut basis = Basis { average, chunks: Vec::new() };
    // A file that grows meanwhile does not hold us for ever.
    for chunk in chunks(file.take(size), average) {
        let chunk = chunk.map_err(io_error)?;
        if basis.chunks.len() >= MAX_CHUNKS {
            return Ok(None);
        }
        basis.chunks.push(Chunk { length: chunk.length as u32, hash: short_hash(&chunk.data) });
    }
    Ok(Some(basis))
}

fn io_error(error: v2020::Error) -> io::Error {
    match error {
        v2020::Error::IoError(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

/// Hashes an open file from its start and cuts it on the way; no cut if it is too large for that. As
/// [`crate::fs::read_from`].
pub(crate) fn hash_and_cut(file: &File, before: Meta) -> io::Result<(Hashed, Option<Basis>)> {
    let size = before.stamp.size;
    let average = average(size);
    // One byte more than there should be, so that growth shows.
    let mut reading = Hashing { file, hasher: blake3::Hasher::new(), read: 0, most: size.saturating_add(1) };
    let mut basis = Basis { average, chunks: Vec::new() };
    for chunk in chunks(&mut reading, average) {
        let chunk = chunk.map_err(io_error)?;
        if basis.chunks.len() < MAX_CHUNKS {
            basis.chunks.push(Chunk { length: chunk.length as u32, hash: short_hash(&chunk.data) });
        }
    }
    let (read, digest) = (reading.read, Digest(*reading.hasher.finalize().as_bytes()));
    let changed = read != size || Meta::of(file)?.stamp != before.stamp;
    let is_whole = basis.chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>() == size;
    Ok((Hashed { digest, size: read, meta: before, changed }, Some(basis).filter(|_| is_whole)))
}

/// Reads a file and hashes what is read.
struct Hashing<'f> {
    file: &'f File,
    hasher: blake3::Hasher,
    read: u64,
    /// No more than this is read: what has grown since may still begin with what was offered.
    most: u64,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.most - self.read).unwrap_or(usize::MAX).min(buffer.len());
        let n = loop {
            match self.file.read(&mut buffer[..most]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.hasher.update(&buffer[..n]);
        self.read += n as u64;
        Ok(n)
    }
}

/// Sends the content of one file as a recipe over what the peer has. Returns whether it was what the offer said.
pub(super) fn send(
    shared: &Shared,
    number: OfferNumber,
    path: &RelPath,
    content: &Content,
    basis: &Basis,
) -> io::Result<bool> {
    let (Content::File { size, digest }, Some((parent, name))) = (content, path.split()) else {
        return Ok(false);
    };
    let file = shared.replica.dir.open_dir(&parent)?.open_file(&name)?;
    if file.metadata()?.len() < *size {
        return Ok(false);
    }
    let known = places(basis);
    if let Some(cut) = shared.replica.cut_of(digest).filter(|cut| cut.average == basis.average) {
        return send_cut(shared, number, &file, &cut, &known, *size);
    }
    let mut reading = Hashing { file: &file, hasher: blake3::Hasher::new(), read: 0, most: *size };
    let mut recipe = Outgoing::new(shared, number);
    for chunk in chunks(&mut reading, basis.average) {
        let data = chunk.map_err(io_error)?.data;
        match known.get(&(data.len() as u32, short_hash(&data))) {
            Some(&from) => recipe.copy(from, data.len() as u64)?,
            None => recipe.data(&data)?,
        }
    }
    recipe.flush()?;
    Ok(reading.read == *size && Digest(*reading.hasher.finalize().as_bytes()) == *digest)
}

/// Sends the content of a file that was cut when it was hashed: nothing of it is read again but what the peer lacks.
fn send_cut(
    shared: &Shared,
    number: OfferNumber,
    file: &File,
    cut: &Basis,
    known: &HashMap<(u32, [u8; 16]), u64>,
    size: u64,
) -> io::Result<bool> {
    let mut recipe = Outgoing::new(shared, number);
    let (mut at, mut buffer) = (0, Vec::new());
    for chunk in &cut.chunks {
        match known.get(&(chunk.length, chunk.hash)) {
            Some(&from) => recipe.copy(from, chunk.length.into())?,
            None => {
                buffer.resize(chunk.length as usize, 0);
                file.read_exact_at(&mut buffer, at)?;
                if short_hash(&buffer) != chunk.hash {
                    // It has changed since: there is something newer to offer.
                    return Ok(false);
                }
                recipe.data(&buffer)?;
            }
        }
        at += u64::from(chunk.length);
    }
    recipe.flush()?;
    Ok(at == size)
}

/// Returns where each chunk first is.
fn places(basis: &Basis) -> HashMap<(u32, [u8; 16]), u64> {
    let mut at = 0;
    let mut places = HashMap::with_capacity(basis.chunks.len());
    for chunk in &basis.chunks {
        places.entry((chunk.length, chunk.hash)).or_insert(at);
        at += u64::from(chunk.length);
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn basis_of(content: &[u8]) -> Basis {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        basis(&file).unwrap().unwrap()
    }

    /// Returns how many bytes of `new` are not in `old`, by chunks.
    fn sent(old: &[u8], new: &[u8]) -> usize {
        let known = basis_of(old);
        let places = places(&known);
        let fresh = |data: &[u8]| match places.get(&(data.len() as u32, short_hash(data))) {
            Some(&from) => {
                assert_eq!(&old[from as usize..][..data.len()], data);
                0
            }
            None => data.len(),
        };
        chunks(new, known.average).map(|chunk| fresh(&chunk.unwrap().data)).sum()
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn the_chunks_of_a_file_are_coarser_the_larger_it_is_and_never_too_many() {
        for (size, expected) in [
            (0, FINEST_CHUNKS),
            (1 << 20, FINEST_CHUNKS),
            (1 << 30, 64 << 10),
            ((1 << 30) + CHUNKS, 128 << 10),
            (u64::MAX, COARSEST_CHUNKS),
        ] {
            assert_eq!(average(size), expected, "{size}");
        }
    }

    #[test]
    fn what_is_sent_is_near_the_size_of_the_change() {
        let old = noise(4 << 20);
        let far = 20 * FINEST_CHUNKS as usize;
        let mut changed = old.clone();
        changed[2_000_000..2_004_096].fill(7);
        assert!(sent(&old, &changed) < far, "changed in place");
        let inserted = [&old[..1_000_000], b"inserted", &old[1_000_000..]].concat();
        assert!(sent(&old, &inserted) < far, "inserted");
        assert!(sent(&old, &[b"0123456789", &old[..]].concat()) < far, "prepended");
        assert!(sent(&old, &[&old[..], &[9; 1024]].concat()) < far, "appended");
        assert!(sent(&old, &old[..3_000_000]) < far, "truncated");
        assert!(sent(&old, &[&old[..500_000], &old[700_000..]].concat()) < far, "removed");
        assert_eq!(sent(&old, &old), 0);
        assert_eq!(sent(&[], &old), old.len());
    }

    #[test]
    fn what_is_hashed_and_cut_at_once_is_as_if_by_itself() {
        for length in [0, 1, 70_000, 3_000_000] {
            let content = noise(length);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            io::Seek::rewind(&mut file).unwrap();
            let (hashed, cut) = hash_and_cut(&file, Meta::of(&file).unwrap()).unwrap();
            assert_eq!(hashed.digest.0, *blake3::hash(&content).as_bytes());
            assert_eq!((hashed.size, hashed.changed), (length as u64, false));
            assert_eq!(cut.unwrap(), basis_of(&content));
        }
    }

    #[test]
    fn a_basis_covers_the_file() {
        let content = noise(200_000);
        for length in [0, 1, 4095, 4096, 16_384, 65_536, 65_537, 200_000] {
            let total: u64 = basis_of(&content[..length]).chunks.iter().map(|c| u64::from(c.length)).sum();
            assert_eq!(total, length as u64);
        }
    }
}
