//! From the bytes that fanotify hands out to [`Notice`]s. Every input has an answer.

/// What happened to a name in a directory. The kernel merges what happens to one name before it is read, so that
/// several bits of `mask` may be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `FAN_CREATE` and its like.
    pub mask: u64,
    /// The process, as this one's PID namespace numbers it.
    pub pid: u32,
    /// Where; of a rename where to.
    pub at: Option<Named>,
    /// Where from, of a rename.
    pub from: Option<Named>,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The directory.
    pub dir: DirId,
    /// The name; `.` is the directory itself.
    pub name: Vec<u8>,
}

/// The kernel's own name of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DirId {
    /// The file system, as `statvfs` has it.
    pub file_system: u64,
    /// The type of the handle.
    pub kind: i32,
    /// The handle.
    pub handle: Vec<u8>,
}

/// The bytes make no sense; what came before them did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a notification of fanotify makes no sense")]
pub struct Garbled;

const METADATA: usize = 24;
const VERSION: u8 = 3;
const INFO_HEADER: usize = 4;
const DFID_NAME: u8 = 2;
const OLD_DFID_NAME: u8 = 10;
const NEW_DFID_NAME: u8 = 12;

/// Decodes all that one read has brought.
pub fn decode(mut bytes: &[u8], mut take: impl FnMut(Notice)) -> Result<(), Garbled> {
    while !bytes.is_empty() {
        let metadata = bytes.get(..METADATA).ok_or(Garbled)?;
        let (length, start) = (u32_at(metadata, 0) as usize, usize::from(u16_at(metadata, 6)));
        if metadata[4] != VERSION || start < METADATA {
            return Err(Garbled);
        }
        let mut infos = bytes.get(start..length).ok_or(Garbled)?;
        let mut notice = Notice {
            mask: u64::from_ne_bytes(array(metadata, 8)),
            pid: u32_at(metadata, 20),
            at: None,
            from: None,
        };
        while !infos.is_empty() {
            let header = infos.get(..INFO_HEADER).ok_or(Garbled)?;
            let end = usize::from(u16_at(header, 2));
            let info = infos.get(INFO_HEADER..end).ok_or(Garbled)?;
            match header[0] {
                DFID_NAME | NEW_DFID_NAME => notice.at = Some(named(info).ok_or(Garbled)?),
                OLD_DFID_NAME => notice.from = Some(named(info).ok_or(Garbled)?),
                // Newer kernels may say more.
                _ => {}
            }
            infos = &infos[end..];
        }
        take(notice);
        bytes = &bytes[length..];
    }
    Ok(())
}

/// File system (two words), length and type of the handle, handle, name with a NUL.
fn named(info: &[u8]) -> Option<Named> {
    let head = info.get(..16)?;
    let file_system = u64::from(u32_at(head, 0)) | u64::from(u32_at(head, 4)) << 32;
    let length = u32_at(head, 8) as usize;
    let kind = i32::from_ne_bytes(array(head, 12));
    let rest = &info[16..];
    let handle = rest.get(..length)?.to_vec();
    let name = rest[length..].split(|&byte| byte == 0).next()?.to_vec();
    Some(Named { dir: DirId { file_system, kind, handle }, name })
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        array.copy_from_slice(found);
    }
    array
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(array(bytes, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn info(kind: u8, name: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, 0, 0, 0];
        for word in [5u32, 6, 3, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(b"abc");
        bytes.extend(name);
        bytes.push(0);
        // The kernel rounds up to four.
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let length = bytes.len() as u16;
        bytes[2..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    fn event(mask: u64, infos: &[Vec<u8>]) -> Vec<u8> {
        let infos = infos.concat();
        let mut bytes = ((METADATA + infos.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend([VERSION, 0]);
        bytes.extend((METADATA as u16).to_ne_bytes());
        bytes.extend(mask.to_ne_bytes());
        bytes.extend((-1i32).to_ne_bytes());
        bytes.extend(77u32.to_ne_bytes());
        bytes.extend(infos);
        bytes
    }

    fn all(bytes: &[u8]) -> (Vec<Notice>, Result<(), Garbled>) {
        let mut all = Vec::new();
        let result = decode(bytes, |notice| all.push(notice));
        (all, result)
    }

    #[test]
    fn several_notices_come_out_of_one_read() {
        let mut bytes = event(0x100, &[info(DFID_NAME, b"new")]);
        bytes.extend(event(0x1000_0000, &[info(OLD_DFID_NAME, b"old"), info(NEW_DFID_NAME, b"new")]));
        bytes.extend(event(0x4000, &[]));
        let (notices, result) = all(&bytes);
        assert_eq!(result, Ok(()));
        let dir = DirId { file_system: 6 << 32 | 5, kind: 1, handle: b"abc".to_vec() };
        let named = |name: &[u8]| Some(Named { dir: dir.clone(), name: name.to_vec() });
        assert_eq!(notices[0], Notice { mask: 0x100, pid: 77, at: named(b"new"), from: None });
        assert_eq!((&notices[1].at, &notices[1].from), (&named(b"new"), &named(b"old")));
        assert_eq!((notices[2].mask, &notices[2].at), (0x4000, &None));
    }

    #[test]
    fn what_makes_no_sense_does_not_take_away_what_came_before() {
        let mut bytes = event(0x100, &[info(DFID_NAME, b"new")]);
        bytes.extend(event(2, &[info(DFID_NAME, b"next")]));
        bytes.truncate(bytes.len() - 5);
        let (notices, result) = all(&bytes);
        assert_eq!((notices.len(), result), (1, Err(Garbled)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes);
        }

        #[test]
        fn changed_notices_are_answered(
            changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = event(0x1000_0000, &[info(OLD_DFID_NAME, b"old"), info(NEW_DFID_NAME, b"new")]);
            bytes.extend(event(0x100, &[info(DFID_NAME, b"n")]));
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = all(&bytes);
        }
    }
}
