//! The order in which entries go over: first what stands, then what is gone, each as a walk meets it. So the bytes of a
//! file that was renamed are still there under its old name when the new one is made.
//!
//! A deletion below something that took a directory's place goes along with that: the two are one change.

use super::entry::Content;
use super::path::RelPath;

/// Which of the two parts of a batch a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// What stands, and what gave way to it.
    Stands,
    /// What is gone.
    Gone,
}

/// Tells the phases of paths that come in the order of a walk.
#[derive(Debug, Default)]
pub struct Phases {
    /// The last path that came at which something else than a directory stands.
    top: Option<RelPath>,
}

impl Phases {
    /// Returns the phase of the next path.
    pub fn of(&mut self, path: &RelPath, content: &Content) -> Phase {
        match content {
            Content::Deleted if self.top.as_ref().is_some_and(|top| path.is_below(top)) => Phase::Stands,
            Content::Deleted => Phase::Gone,
            Content::Dir => Phase::Stands,
            Content::File { .. } | Content::Symlink { .. } => {
                self.top = Some(path.clone());
                Phase::Stands
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::entry::Digest;

    #[test]
    fn a_deletion_comes_last_but_not_below_what_took_its_place() {
        let file = Content::File { size: 0, digest: Digest([0; 32]) };
        let walk: [(&str, &Content, Phase); 7] = [
            ("a", &Content::Deleted, Phase::Gone),
            ("a/b", &Content::Deleted, Phase::Gone),
            ("c", &file, Phase::Stands),
            ("c/d", &Content::Deleted, Phase::Stands),
            ("c/d/e", &Content::Deleted, Phase::Stands),
            ("ca", &Content::Dir, Phase::Stands),
            ("ca/d", &Content::Deleted, Phase::Gone),
        ];
        let mut phases = Phases::default();
        for (path, content, expected) in walk {
            let path = RelPath::new(path.as_bytes()).expect("a path");
            assert_eq!(phases.of(&path, content), expected, "{path}");
        }
    }
}
