//! From the bytes of a record to a [`Record`]. Every input has an answer.

use crate::core::path::RelPath;
use vfsync_common::{
    ABI, Losses,
    record::{Header, LEVELS, Op, PATH_BYTES, ROOT_OUTSIDE, ROOT_UNKNOWN, flag},
};

/// Where a path of a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Below the watched directory of this slot.
    Inside(u32, RelPath),
    /// Below it, but too deep or too long to be told.
    Deep(u32),
    /// In no watched directory.
    Outside,
    /// Nobody knows.
    Unknown,
}

/// One record of the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it reports.
    pub op: Op,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Where.
    pub place: Place,
    /// The second path of a rename.
    pub to: Place,
    /// The name that the caller gave, last component only, where there is one.
    pub name: Option<Vec<u8>>,
    /// The inode number.
    pub ino: u64,
    /// The superblock's device number, in the kernel's encoding.
    pub dev: u32,
    /// The inode's generation.
    pub generation: u32,
    /// The mode with the type.
    pub mode: u16,
    /// The process.
    pub tgid: u32,
    /// The thread, or the number of a barrier.
    pub cookie: u64,
    /// The task's name, without NULs.
    pub comm: Vec<u8>,
    /// What a barrier says of losses.
    pub losses: Option<Losses>,
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its header says.
    #[error("the record is cut off")]
    Short,
    /// Made by other programs than this agent's.
    #[error("the record has ABI {0}")]
    Abi(u8),
    /// An operation that does not exist.
    #[error("the record has the unknown operation {0}")]
    Op(u8),
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let header = bytes.get(..size_of::<Header>()).ok_or(DecodeError::Short)?;
    if header[0] != ABI {
        return Err(DecodeError::Abi(header[0]));
    }
    let op = Op::from_number(header[1]).ok_or(DecodeError::Op(header[1]))?;
    let flags = u16_at(header, 2);
    let (path_len, to_len) = (usize::from(u16_at(header, 30)), usize::from(u16_at(header, 32)));
    let body = &bytes[size_of::<Header>()..];
    let path = body.get(..path_len).ok_or(DecodeError::Short)?;
    let to = body.get(path_len..path_len + to_len).ok_or(DecodeError::Short)?;
    let named = flags & flag::NAME != 0;
    let (place, losses) = if op == Op::Barrier {
        (Place::Outside, Some(losses(path).ok_or(DecodeError::Short)?))
    } else {
        (locate(u32_at(header, 4), path, flags & flag::CAPPED != 0), None)
    };
    Ok(Record {
        op,
        flags,
        place,
        to: if named { Place::Outside } else { locate(u32_at(header, 36), to, flags & flag::TO_CAPPED != 0) },
        name: if named { last_component(to) } else { None },
        ino: u64_at(header, 8),
        dev: u32_at(header, 16),
        generation: u32_at(header, 20),
        mode: u16_at(header, 28),
        tgid: u32_at(header, 24),
        cookie: u64_at(header, 40),
        comm: until_nul(&header[48..64]).to_vec(),
        losses,
    })
}

/// Turns names, leaf first, into a place.
fn locate(root: u32, names: &[u8], capped: bool) -> Place {
    match root {
        ROOT_OUTSIDE => return Place::Outside,
        ROOT_UNKNOWN => return Place::Unknown,
        slot if capped || names.len() > PATH_BYTES => return Place::Deep(slot),
        _ => {}
    }
    let mut parts: Vec<&[u8]> = names.split(|&b| b == 0).collect();
    // Each name ends in a NUL, so that the last part is empty.
    if parts.pop() != Some(b"") || parts.len() > LEVELS {
        return Place::Unknown;
    }
    parts.reverse();
    match RelPath::new(&parts.join(&b'/')) {
        // A name that holds a slash or is empty would make another path of it.
        Ok(path) if path.components().count() == parts.len() => Place::Inside(root, path),
        _ => Place::Unknown,
    }
}

/// Returns the last component of a path that a program gave to the kernel, if it names an entry of a directory.
fn last_component(given: &[u8]) -> Option<Vec<u8>> {
    let given = until_nul(given);
    let end = given.iter().rposition(|&b| b != b'/')? + 1;
    let start = given[..end].iter().rposition(|&b| b == b'/').map_or(0, |at| at + 1);
    let name = &given[start..end];
    (name != b"." && name != b"..").then(|| name.to_vec())
}

fn losses(bytes: &[u8]) -> Option<Losses> {
    let bytes = bytes.get(..size_of::<Losses>())?;
    Some(Losses {
        ring: u64_at(bytes, 0),
        nowhere: u64_at(bytes, 8),
        scratch: u64_at(bytes, 16),
        walk: u64_at(bytes, 24),
        tasks: u64_at(bytes, 32),
        at: u64_at(bytes, 40),
    })
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        array.copy_from_slice(found);
    }
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(take(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(take(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(take(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the bytes of a record, as the programs would send it.
    pub fn encode(op: u8, flags: u16, root: u32, path: &[u8], to: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; size_of::<Header>()];
        bytes[0] = ABI;
        bytes[1] = op;
        bytes[2..4].copy_from_slice(&flags.to_ne_bytes());
        bytes[4..8].copy_from_slice(&root.to_ne_bytes());
        bytes[30..32].copy_from_slice(&(path.len() as u16).to_ne_bytes());
        bytes[32..34].copy_from_slice(&(to.len() as u16).to_ne_bytes());
        bytes[48..51].copy_from_slice(b"cat");
        bytes.extend(path);
        bytes.extend(to);
        bytes
    }

    #[test]
    fn names_come_leaf_first() {
        let record = decode(&encode(Op::Write as u8, 0, 7, b"file\0dir\0top\0", b"")).unwrap();
        assert_eq!(record.place, Place::Inside(7, RelPath::new(b"top/dir/file").unwrap()));
        assert_eq!(record.comm, b"cat");
        let root = decode(&encode(Op::Write as u8, 0, 7, b"", b"")).unwrap();
        assert_eq!(root.place, Place::Inside(7, RelPath::root()));
    }

    #[test]
    fn a_capped_path_is_not_taken_for_a_path() {
        let record = decode(&encode(Op::Write as u8, flag::CAPPED, 7, b"file\0", b"")).unwrap();
        assert_eq!(record.place, Place::Deep(7));
    }

    #[test]
    fn only_the_last_component_of_a_given_name_counts() {
        let name = |given: &[u8]| decode(&encode(Op::Mkdir as u8, flag::NAME, 0, b"", given)).unwrap().name;
        assert_eq!(name(b"/a/b\0"), Some(b"b".to_vec()));
        assert_eq!(name(b"b///\0"), Some(b"b".to_vec()));
        assert_eq!(name(b"a/..\0"), None);
        assert_eq!(name(b"/\0"), None);
        assert_eq!(name(b""), None);
    }

    proptest! {
        #[test]
        fn every_input_has_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn every_body_has_an_answer(
            op in 0u8..20, flags: u16, root in prop_oneof![Just(0u32), Just(ROOT_OUTSIDE), Just(ROOT_UNKNOWN)],
            path in proptest::collection::vec(prop_oneof![Just(0u8), Just(b'/'), Just(b'.'), any::<u8>()], 0..80),
            to in proptest::collection::vec(any::<u8>(), 0..80), cut in 0usize..200,
        ) {
            let mut bytes = encode(op, flags, root, &path, &to);
            let whole = bytes.len();
            bytes.truncate(whole.saturating_sub(cut.saturating_sub(100)));
            if let Ok(Record { place: Place::Inside(_, path), .. }) = decode(&bytes) {
                prop_assert!(RelPath::new(path.as_bytes()).is_ok());
            }
        }
    }
}
