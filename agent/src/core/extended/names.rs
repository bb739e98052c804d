//! [`ExtendedNames`] says which extended attributes are carried: Unison's `xattrs`, `xattrignore` and `xattrignorenot`,
//! compiled.

use super::{Acls, Extended};
use crate::core::entry::AttributeMask;
use crate::core::filter::{FilterError, PathSet, Pathspec};
use crate::core::path::RelPath;

/// What is left out without being told: whatever belongs to the system (`security.`, `trusted.`, `system.` and what
/// file systems have of their own), and not to the user. `xattrignorenot` can bring back what it names.
const IGNORED: &[u8] = b"Regex !.*";
/// Access lists are carried as such ([`Acls`]), never as bytes.
const ACCESS_LISTS: &[u8] = b"system.posix_acl_";
const USER: &[u8] = b"user.";

/// Which of the extended attributes, and whether access lists, are looked at and carried.
#[derive(Debug, Clone, Default)]
pub struct ExtendedNames {
    /// `None`: no extended attributes.
    xattrs: Option<PathSet>,
    acl: bool,
}

impl ExtendedNames {
    /// Compiles the patterns. `ignore` and `ignorenot` are `None` where no extended attributes are wanted.
    ///
    /// # Errors
    /// When they are too many or too large together.
    pub fn new(xattrs: Option<(&[Pathspec], &[Pathspec])>, acl: bool) -> Result<ExtendedNames, FilterError> {
        let compile = |(ignore, ignorenot): (&[Pathspec], &[Pathspec])| {
            let mut all = vec![Pathspec::parse(IGNORED)?];
            all.extend_from_slice(ignore);
            PathSet::new(&all, ignorenot, false)
        };
        Ok(ExtendedNames { xattrs: xattrs.map(compile).transpose()?, acl })
    }

    /// Returns whether an inode has to be asked for anything.
    pub fn any(&self) -> bool {
        self.acl || self.xattrs.is_some()
    }

    /// Returns whether access lists are carried.
    pub fn acl(&self) -> bool {
        self.acl
    }

    /// Returns what is looked at, as a mask.
    pub fn mask(&self) -> AttributeMask {
        AttributeMask { xattrs: self.xattrs.is_some(), acl: self.acl, ..AttributeMask::NONE }
    }

    /// Returns whether an extended attribute is carried. Patterns see `user.` names without that prefix, and all others
    /// with a `!` before them, as in Unison.
    pub fn carries(&self, name: &[u8]) -> bool {
        let Some(ignored) = &self.xattrs else { return false };
        if name.starts_with(ACCESS_LISTS) {
            return false;
        }
        let (shown, default) = match name.strip_prefix(USER) {
            Some(name) => (name.to_vec(), true),
            None => ([b"!", name].concat(), false),
        };
        // Patterns match paths, and few names are none: with two slashes in a row, say.
        RelPath::new(&shown).map_or(default, |shown| !ignored.has(&shown))
    }

    /// Returns what of it is carried.
    #[must_use]
    pub fn only(&self, extended: &Extended) -> Extended {
        Extended {
            xattrs: extended.xattrs.only(|name| self.carries(name)),
            acls: if self.acl { extended.acls.clone() } else { Acls::default() },
        }
    }
}

/// Returns whether patterns bring back the access lists, which is how Unison is told to carry them.
pub fn names_access_lists(ignorenot: &[Pathspec]) -> bool {
    let name = RelPath::new(b"!system.posix_acl_access").expect("it is a path");
    PathSet::new(ignorenot, &[], false).is_ok_and(|set| set.has(&name))
}
