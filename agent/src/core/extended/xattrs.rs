//! [`Xattrs`] are the extended attributes of one inode, as one piece of memory: whatever a peer sends takes no more than
//! it has sent.

use crate::core::reconcile::Side;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most that one inode may carry, names and values together, in bytes. The kernel's limit for one value is 64 KiB,
/// that of most file systems for all of them 4 KiB to 64 KiB.
pub const MAX_XATTRS: usize = 128 << 10;
/// The longest value, in bytes (`XATTR_SIZE_MAX`).
const MAX_VALUE: usize = 64 << 10;

/// Why something is no set of extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XattrsError {
    /// A name is empty, too long or not in order, a value is too long, or the bytes are cut short.
    #[error("extended attributes that are not in order")]
    Senseless,
    /// They are more than is handled.
    #[error("more than {} KiB of extended attributes", MAX_XATTRS >> 10)]
    TooLarge,
}

/// Extended attributes: names of 1 to 255 bytes, values of up to 64 KiB.
///
/// The bytes are, for each in the order of the names: the length of the name (1 byte), the name, the length of the value
/// (4 bytes, big endian), the value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Box<[u8]>", into = "Box<[u8]>")]
pub struct Xattrs(Option<Arc<[u8]>>);

impl From<Xattrs> for Box<[u8]> {
    fn from(xattrs: Xattrs) -> Box<[u8]> {
        xattrs.0.as_deref().unwrap_or_default().into()
    }
}

impl TryFrom<Box<[u8]>> for Xattrs {
    type Error = XattrsError;

    fn try_from(bytes: Box<[u8]>) -> Result<Xattrs, XattrsError> {
        if bytes.len() > MAX_XATTRS {
            return Err(XattrsError::TooLarge);
        }
        let (mut rest, mut last): (&[u8], &[u8]) = (&bytes, &[]);
        while !rest.is_empty() {
            let (name, value, after) = first(rest).ok_or(XattrsError::Senseless)?;
            if name <= last || name.contains(&0) || value.len() > MAX_VALUE {
                return Err(XattrsError::Senseless);
            }
            (rest, last) = (after, name);
        }
        Ok(Xattrs((!bytes.is_empty()).then(|| bytes.into())))
    }
}

/// Splits off the first attribute: name, value, and what follows.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(length.into())?;
    let (length, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some((name, value, rest))
}

impl Xattrs {
    /// Makes it of names and values.
    ///
    /// # Errors
    /// When they are too many, or a name or a value is too long.
    pub fn new<N: AsRef<[u8]>, V: AsRef<[u8]>>(all: &BTreeMap<N, V>) -> Result<Xattrs, XattrsError> {
        let mut bytes = Vec::new();
        for (name, value) in all {
            let (name, value) = (name.as_ref(), value.as_ref());
            if bytes.len() + name.len() + value.len() > MAX_XATTRS {
                return Err(XattrsError::TooLarge);
            }
            bytes.push(u8::try_from(name.len()).map_err(|_| XattrsError::Senseless)?);
            bytes.extend(name);
            bytes.extend(u32::try_from(value.len()).map_err(|_| XattrsError::Senseless)?.to_be_bytes());
            bytes.extend(value);
        }
        Xattrs::try_from(Box::from(bytes))
    }

    /// Returns names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.0.as_deref().unwrap_or_default();
        std::iter::from_fn(move || {
            let (name, value, after) = first(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns those whose name is meant.
    #[must_use]
    pub fn only(&self, is_meant: impl Fn(&[u8]) -> bool) -> Xattrs {
        if self.iter().all(|(name, _)| is_meant(name)) {
            return self.clone();
        }
        let kept: BTreeMap<_, _> = self.iter().filter(|(name, _)| is_meant(name)).collect();
        Xattrs::of_some(&kept)
    }

    /// Makes it of names and values that come from others; those may become too many together, and then the last of them
    /// go.
    fn of_some(all: &BTreeMap<&[u8], &[u8]>) -> Xattrs {
        let mut some = all.clone();
        loop {
            match Xattrs::new(&some) {
                Ok(xattrs) => return xattrs,
                Err(_) => drop(some.pop_last()),
            }
        }
    }

    pub(super) fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.len())
    }

    pub(super) fn edited(&self, was: &Xattrs, is: &Xattrs) -> Xattrs {
        if was == self {
            return is.clone();
        }
        let (was, is): (BTreeMap<_, _>, BTreeMap<_, _>) = (was.iter().collect(), is.iter().collect());
        let mut all: BTreeMap<_, _> = self.iter().collect();
        for name in was.keys().chain(is.keys()) {
            match (was.get(name), is.get(name)) {
                (before, now) if before == now => {}
                (_, Some(now)) => drop(all.insert(name, now)),
                (_, None) => drop(all.remove(name)),
            }
        }
        Xattrs::of_some(&all)
    }

    pub(super) fn united(&self, remote: &Xattrs, later: Option<Side>) -> Xattrs {
        let mut all: BTreeMap<_, _> = self.iter().collect();
        for (name, theirs) in remote.iter() {
            let value = all.entry(name).or_insert(theirs);
            *value = match later {
                Some(Side::Local) => *value,
                Some(Side::Remote) => theirs,
                None => (*value).max(theirs),
            };
        }
        Xattrs::of_some(&all)
    }
}
