//! A [`RelPath`] names a place below a replica's root; a [`Name`] is one component of it. Both are bytes, checked
//! when they are made, so that nothing below this module ever meets `..`, an empty component or a NUL.

use super::escaped::Escaped;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest component that Linux file systems take, in bytes (`NAME_MAX`).
pub const NAME_MAX: usize = 255;
/// The longest relative path that vfsync handles, in bytes. Longer than `PATH_MAX`, because a tree can be deeper than
/// what one system call can name; bounded, because a peer may send anything.
pub const PATH_MAX: usize = 64 * 1024;

/// Why some bytes are not a path or a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A component is empty (two slashes, or a slash at either end).
    #[error("a path component is empty")]
    Empty,
    /// A component is `.` or `..`.
    #[error("a path component is . or ..")]
    Dots,
    /// A byte is NUL.
    #[error("a path holds a NUL byte")]
    Nul,
    /// A name holds a slash.
    #[error("a name holds a slash")]
    Slash,
    /// A component is longer than [`NAME_MAX`], or the path longer than [`PATH_MAX`].
    #[error("a path or a path component is too long")]
    TooLong,
}

/// One component of a path: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks the bytes and makes a name of them.
    pub fn new(bytes: &[u8]) -> Result<Name, PathError> {
        check_component(bytes)?;
        Ok(Name(bytes.into()))
    }

    /// Returns the bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Name {
    type Error = PathError;
    fn try_from(bytes: Vec<u8>) -> Result<Name, PathError> {
        check_component(&bytes)?;
        Ok(Name(bytes.into()))
    }
}

impl From<Name> for Vec<u8> {
    fn from(name: Name) -> Vec<u8> {
        name.0.into()
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

fn check_component(bytes: &[u8]) -> Result<(), PathError> {
    match bytes {
        b"" => Err(PathError::Empty),
        b"." | b".." => Err(PathError::Dots),
        _ if bytes.contains(&0) => Err(PathError::Nul),
        _ if bytes.contains(&b'/') => Err(PathError::Slash),
        _ if bytes.len() > NAME_MAX => Err(PathError::TooLong),
        _ => Ok(()),
    }
}

/// A path below a root: components joined by `/`, none of them empty, `.` or `..`. The empty path is the root itself.
///
/// Ordered as a sorted walk visits it: a directory, then everything below it, then its next sibling. So a subtree is
/// one contiguous range.
#[derive(Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// Returns the path of the root itself.
    pub fn root() -> RelPath {
        RelPath::default()
    }

    /// Checks the bytes and makes a path of them.
    pub fn new(bytes: &[u8]) -> Result<RelPath, PathError> {
        check_path(bytes)?;
        Ok(RelPath(bytes.into()))
    }

    /// Returns whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path of `name` in this directory, or [`PathError::TooLong`].
    pub fn join(&self, name: &Name) -> Result<RelPath, PathError> {
        if self.is_root() {
            return Ok(RelPath(name.0.clone()));
        }
        if self.0.len() + 1 + name.0.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        Ok(RelPath([&self.0, &b"/"[..], &name.0].concat().into()))
    }

    /// Returns the directory that holds this path; `None` for the root.
    pub fn parent(&self) -> Option<RelPath> {
        self.split().map(|(parent, _)| parent)
    }

    /// Returns the directories above this path, the nearest first, the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = RelPath> {
        std::iter::successors(self.parent(), RelPath::parent)
    }

    /// Returns the last component; `None` for the root.
    pub fn name(&self) -> Option<Name> {
        self.split().map(|(_, name)| name)
    }

    /// Splits the path into its directory and its last component; `None` for the root.
    pub fn split(&self) -> Option<(RelPath, Name)> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&b| b == b'/') {
            Some(at) => (RelPath(self.0[..at].into()), Name(self.0[at + 1..].into())),
            None => (RelPath::root(), Name(self.0.clone())),
        })
    }

    /// Returns the components from the root downwards, as bytes.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|c| !c.is_empty())
    }

    /// Returns whether `self` is `other` or lies below it.
    pub fn starts_with(&self, other: &RelPath) -> bool {
        other.is_root()
            || (self.0.starts_with(&other.0)
                && (self.0.len() == other.0.len() || self.0[other.0.len()] == b'/'))
    }

    /// Returns whether `self` lies strictly below `other`.
    pub fn is_below(&self, other: &RelPath) -> bool {
        self.0.len() > other.0.len() && self.starts_with(other)
    }

    /// Returns this path with the prefix `from` replaced by `to`; `None` if it does not lie at or below `from` or
    /// becomes too long.
    pub fn rebase(&self, from: &RelPath, to: &RelPath) -> Option<RelPath> {
        if !self.starts_with(from) {
            return None;
        }
        let rest = self.0[from.0.len()..].strip_prefix(b"/").unwrap_or(&self.0[from.0.len()..]);
        let joined = match (to.is_root(), rest.is_empty()) {
            (_, true) => to.0.to_vec(),
            (true, false) => rest.to_vec(),
            (false, false) => [&to.0, &b"/"[..], rest].concat(),
        };
        (joined.len() <= PATH_MAX).then(|| RelPath(joined.into()))
    }
}

fn check_path(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.len() > PATH_MAX {
        return Err(PathError::TooLong);
    }
    if bytes.is_empty() {
        return Ok(());
    }
    bytes.split(|&b| b == b'/').try_for_each(check_component)
}

impl TryFrom<Vec<u8>> for RelPath {
    type Error = PathError;
    fn try_from(bytes: Vec<u8>) -> Result<RelPath, PathError> {
        check_path(&bytes)?;
        Ok(RelPath(bytes.into()))
    }
}

impl From<RelPath> for Vec<u8> {
    fn from(path: RelPath) -> Vec<u8> {
        path.0.into()
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &RelPath) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &RelPath) -> std::cmp::Ordering {
        // As if `/` were NUL, the smallest byte, which no name holds.
        let key = |&b: &u8| if b == b'/' { 0 } else { b };
        self.0.iter().map(key).cmp(other.0.iter().map(key))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Shows UTF-8 as it is; control characters and bytes that are not UTF-8 escaped, the root as `.`.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { Escaped(&self.0).fmt(f) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(s: &str) -> RelPath {
        RelPath::new(s.as_bytes()).unwrap()
    }

    #[test]
    fn nothing_that_leaves_the_root_is_a_path() {
        for bad in ["/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.", "a\0b"] {
            assert!(RelPath::new(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Name::new(b"a/b").is_err());
        assert!(Name::new(&[b'x'; 256]).is_err());
        assert!(RelPath::new(&[b'x'; 255]).is_ok());
    }

    #[test]
    fn a_subtree_is_contiguous_in_the_order() {
        let mut paths: Vec<_> =
            ["a.b", "a", "a/b", "a-c", "a/b/c", "b", ""].iter().map(|s| path(s)).collect();
        paths.sort();
        let shown: Vec<_> = paths.iter().map(|p| p.to_string()).collect();
        assert_eq!(shown, [".", "a", "a/b", "a/b/c", "a-c", "a.b", "b"]);
    }

    #[test]
    fn rebase_moves_a_subtree() {
        assert_eq!(path("a/b/c").rebase(&path("a/b"), &path("x")), Some(path("x/c")));
        assert_eq!(path("a/b").rebase(&path("a/b"), &path("x")), Some(path("x")));
        assert_eq!(path("a/bc").rebase(&path("a/b"), &path("x")), None);
        assert_eq!(path("a/b").rebase(&RelPath::root(), &path("x")), Some(path("x/a/b")));
        assert_eq!(path("a/b").rebase(&path("a"), &RelPath::root()), Some(path("b")));
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(RelPath::new(b"a\x1b[2J\xff").unwrap().to_string(), "a\\u{1b}[2J\\xff");
    }

    proptest! {
        #[test]
        fn split_and_join_are_inverse(parts in proptest::collection::vec("[a-c.]{1,3}", 1..5)) {
            let joined = parts.join("/");
            if let Ok(p) = RelPath::new(joined.as_bytes()) {
                let (parent, name) = p.split().unwrap();
                prop_assert_eq!(parent.join(&name).unwrap(), p.clone());
                prop_assert!(p.is_below(&parent) && !p.is_below(&p) && p.starts_with(&p));
                prop_assert!(parent < p);
            }
        }
    }
}
