//! [`Extended`] is what an inode carries beside mode, owner and group: its extended attributes and its access lists.
//! Both belong to the register of the attributes.

mod acl;
mod names;
#[cfg(test)]
mod tests;
mod xattrs;

pub use acl::{Acl, AclError, Acls};
pub use names::{ExtendedNames, names_access_lists};
pub use xattrs::{MAX_XATTRS, Xattrs, XattrsError};

use super::entry::AttributeMask;
use super::reconcile::Side;
use serde::{Deserialize, Serialize};

/// Extended attributes and access lists. Cheap to clone; most paths have none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Extended {
    /// The extended attributes.
    pub xattrs: Xattrs,
    /// The access lists.
    pub acls: Acls,
}

/// What a look at an inode showed of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ShownExtended {
    /// What it carries.
    pub value: Extended,
    /// It was changed so lately that a further change may leave its stamp as it is: to be looked at again.
    pub racy: bool,
}

impl Extended {
    /// Returns what it takes in memory and on the wire, in bytes, about.
    pub fn size(&self) -> usize {
        self.xattrs.size() + self.acls.size()
    }

    /// Returns which parts there is anything of.
    pub fn present(&self) -> AttributeMask {
        AttributeMask { xattrs: !self.xattrs.is_empty(), acl: !self.acls.is_empty(), ..AttributeMask::NONE }
    }

    /// Returns whether the two are the same where `mask` looks.
    pub fn equal_under(&self, other: &Extended, mask: AttributeMask) -> bool {
        (!mask.xattrs || self.xattrs == other.xattrs) && (!mask.acl || self.acls == other.acls)
    }

    /// Returns this with what `mask` names taken from `other`.
    #[must_use]
    pub fn overlaid(&self, other: &Extended, mask: AttributeMask) -> Extended {
        Extended {
            xattrs: if mask.xattrs { other.xattrs.clone() } else { self.xattrs.clone() },
            acls: if mask.acl { other.acls.clone() } else { self.acls.clone() },
        }
    }

    /// Returns only what `mask` names.
    #[must_use]
    pub fn only(&self, mask: AttributeMask) -> Extended {
        Extended::default().overlaid(self, mask)
    }

    /// Returns this, as it was intended, after an edit that the disk shows as a change from `was` to `is`. What was
    /// intended and could not be set stays intended.
    #[must_use]
    pub fn edited(&self, was: &Extended, is: &Extended) -> Extended {
        Extended {
            xattrs: self.xattrs.edited(&was.xattrs, &is.xattrs),
            acls: self.acls.edited(&was.acls, &is.acls),
        }
    }

    /// Returns what two sides come to that carried these and were never compared; both come to the same. `later` is the
    /// side whose file is newer.
    ///
    /// That one lacks something says nothing: it may never have been told. So nothing is taken away; where both have
    /// something else under one name, the newer file's counts.
    #[must_use]
    pub fn never_compared(&self, remote: &Extended, later: Option<Side>) -> Extended {
        Extended {
            xattrs: self.xattrs.united(&remote.xattrs, later),
            acls: self.acls.united(&remote.acls, later),
        }
    }
}
