//! [`Gone`] remembers what was deleted lately, and where: what appears elsewhere with the same bytes was renamed.

use crate::core::entry::Digest;
use crate::core::path::RelPath;
use std::collections::HashMap;

/// So many are remembered at least, and twice as many at the most: more than the files of most directories, and about
/// 15 MB of memory if all of them are.
const REMEMBERED: usize = 1 << 16;

/// Contents that were deleted lately. Only a hint: the archive of whom it is for has to agree.
#[derive(Debug, Default)]
pub(super) struct Gone {
    now: HashMap<[u8; 8], RelPath>,
    before: HashMap<[u8; 8], RelPath>,
}

impl Gone {
    /// Notes that a file with this content is no longer at `path`.
    pub(super) fn note(&mut self, digest: &Digest, path: &RelPath) {
        if self.now.len() >= REMEMBERED {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(short(digest), path.clone());
    }

    /// Returns where a file with this content was.
    pub(super) fn find(&self, digest: &Digest) -> Option<&RelPath> {
        let short = short(digest);
        self.now.get(&short).or_else(|| self.before.get(&short))
    }
}

/// Enough of a hash for a hint.
fn short(digest: &Digest) -> [u8; 8] {
    *digest.0.first_chunk().expect("a digest is longer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let digest = |n: usize| Digest(*blake3::hash(&n.to_be_bytes()).as_bytes());
        let path = |n: usize| RelPath::new(n.to_string().as_bytes()).expect("a path");
        let mut gone = Gone::default();
        (0..3 * REMEMBERED).for_each(|n| gone.note(&digest(n), &path(n)));
        assert_eq!(gone.find(&digest(0)), None);
        for n in [2 * REMEMBERED, 3 * REMEMBERED - 1] {
            assert_eq!(gone.find(&digest(n)), Some(&path(n)));
        }
        assert!(gone.now.len() + gone.before.len() <= 2 * REMEMBERED);
    }
}
