//! [`Acl`] is a POSIX access list; [`Acls`] are the two that an inode can have.
//!
//! The list of an inode says three things that its mode says as well: what the owner may, what others may, and the most
//! that everybody else on it may (the mask, which stands where the mode has the group). In [`Acls`] those are left to
//! the mode: so a change of the mode is none of the list, and setting one never undoes the other.
//!
//! The bytes are those of `system.posix_acl_access`, from `linux/posix_acl_xattr.h`.

use crate::core::reconcile::Side;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The most that one list may name: more than fits into an extended attribute of 64 KiB.
const MAX_NAMED: usize = 8192;

const VERSION: u32 = 2;
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The id of an entry that names nobody.
const NOBODY: u32 = u32::MAX;

/// Why something is no access list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// The bytes are of another version or cut short.
    #[error("an access list in a format that vfsync does not know")]
    Format,
    /// It contradicts itself.
    #[error("an access list that names somebody twice, or nobody, or has no mask")]
    Senseless,
    /// It is too long.
    #[error("an access list that names more than {MAX_NAMED}")]
    TooLong,
}

/// A list with its base entries. Each permission is `rwx`, from 0 to 7.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct Acl {
    owner: u8,
    group: u8,
    other: u8,
    /// The most that the owning group and all who are named may.
    mask: Option<u8>,
    /// Users by id, each once, in order.
    users: Vec<(u32, u8)>,
    /// Groups, likewise.
    groups: Vec<(u32, u8)>,
}

/// What an [`Acl`] is made of, before it is checked.
#[derive(Serialize, Deserialize)]
struct Parts(u8, u8, u8, Option<u8>, Vec<(u32, u8)>, Vec<(u32, u8)>);

impl From<Acl> for Parts {
    fn from(acl: Acl) -> Parts {
        Parts(acl.owner, acl.group, acl.other, acl.mask, acl.users, acl.groups)
    }
}

impl TryFrom<Parts> for Acl {
    type Error = AclError;

    fn try_from(parts: Parts) -> Result<Acl, AclError> {
        let Parts(owner, group, other, mask, users, groups) = parts;
        Acl { owner, group, other, mask, users, groups }.checked()
    }
}

impl Acl {
    /// Returns the list that says just what a mode says.
    pub fn of_mode(mode: u16) -> Acl {
        let [owner, group, other] = triads(mode);
        Acl { owner, group, other, ..Acl::default() }
    }

    /// Reads the kernel's form.
    ///
    /// # Errors
    /// When it is not what the kernel would hand out.
    pub fn from_bytes(bytes: &[u8]) -> Result<Acl, AclError> {
        let (version, entries) = bytes.split_first_chunk().ok_or(AclError::Format)?;
        if u32::from_le_bytes(*version) != VERSION || entries.len() % 8 != 0 {
            return Err(AclError::Format);
        }
        let mut acl = Acl::default();
        for entry in entries.chunks_exact(8) {
            let [t0, t1, p0, p1, i0, i1, i2, i3] = *entry else { return Err(AclError::Format) };
            let id = u32::from_le_bytes([i0, i1, i2, i3]);
            let may = u8::try_from(u16::from_le_bytes([p0, p1])).map_err(|_| AclError::Senseless)?;
            match u16::from_le_bytes([t0, t1]) {
                OWNER => acl.owner = may,
                USER => acl.users.push((id, may)),
                OWNING_GROUP => acl.group = may,
                GROUP => acl.groups.push((id, may)),
                MASK => acl.mask = Some(may),
                OTHER => acl.other = may,
                _ => return Err(AclError::Format),
            }
        }
        acl.users.sort_unstable();
        acl.groups.sort_unstable();
        acl.checked()
    }

    /// Returns the kernel's form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = VERSION.to_le_bytes().to_vec();
        let mut entry = |tag: u16, may: u8, id: u32| {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(u16::from(may).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        };
        entry(OWNER, self.owner, NOBODY);
        self.users.iter().for_each(|&(id, may)| entry(USER, may, id));
        entry(OWNING_GROUP, self.group, NOBODY);
        self.groups.iter().for_each(|&(id, may)| entry(GROUP, may, id));
        if let Some(mask) = self.mask {
            entry(MASK, mask, NOBODY);
        }
        entry(OTHER, self.other, NOBODY);
        bytes
    }

    fn checked(self) -> Result<Acl, AclError> {
        let in_order = |named: &[(u32, u8)]| named.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let named = || self.users.iter().chain(&self.groups);
        if self.users.len() + self.groups.len() > MAX_NAMED {
            return Err(AclError::TooLong);
        }
        let base = [self.owner, self.group, self.other, self.mask.unwrap_or(0)];
        let sane = base.iter().chain(named().map(|(_, may)| may)).all(|&may| may <= 7)
            && in_order(&self.users)
            && in_order(&self.groups)
            && named().all(|&(id, _)| id != NOBODY)
            && (self.mask.is_some() || named().next().is_none());
        if sane { Ok(self) } else { Err(AclError::Senseless) }
    }

    /// Returns this list with what the mode says taken from a mode.
    #[must_use]
    pub fn with_mode(&self, mode: u16) -> Acl {
        let [owner, mask, other] = triads(mode);
        Acl { owner, other, mask: Some(mask), ..self.clone() }
    }

    /// Returns who is named: users, and groups.
    pub fn named(&self) -> (impl Iterator<Item = u32>, impl Iterator<Item = u32>) {
        (self.users.iter().map(|&(id, _)| id), self.groups.iter().map(|&(id, _)| id))
    }

    /// Returns the list with other ids for those who are named.
    fn renumbered<E: From<AclError>>(
        &self,
        user: impl FnMut(u32) -> Result<u32, E>,
        group: impl FnMut(u32) -> Result<u32, E>,
    ) -> Result<Acl, E> {
        fn each<E>(
            named: &[(u32, u8)],
            mut id: impl FnMut(u32) -> Result<u32, E>,
        ) -> Result<Vec<(u32, u8)>, E> {
            let mut all =
                named.iter().map(|&(old, may)| Ok((id(old)?, may))).collect::<Result<Vec<_>, E>>()?;
            all.sort_unstable();
            Ok(all)
        }
        let acl = Acl { users: each(&self.users, user)?, groups: each(&self.groups, group)?, ..self.clone() };
        Ok(acl.checked()?)
    }

    fn size(&self) -> usize {
        32 + 8 * (self.users.len() + self.groups.len())
    }
}

/// Splits the permissions of a mode: owner, group, others.
fn triads(mode: u16) -> [u8; 3] {
    [6, 3, 0].map(|shift| (mode >> shift & 7) as u8)
}

/// The access lists of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Acls {
    /// Who may do what, beyond what the mode says; what the mode says is 0 in it.
    access: Option<Arc<Acl>>,
    /// What a directory gives to what is made in it.
    default: Option<Arc<Acl>>,
}

impl Acls {
    /// Makes it of the two lists as the kernel has them. One that says no more than a mode is none.
    pub fn new(access: Option<Acl>, default: Option<Acl>) -> Acls {
        let access = access.filter(|acl| acl.mask.is_some()).map(|acl| Arc::new(acl.with_mode(0)));
        Acls { access, default: default.map(Arc::new) }
    }

    /// Returns the list of who may do what, with what a mode says; `None` where the mode says it all.
    pub fn access(&self, mode: u16) -> Option<Acl> {
        self.access.as_ref().map(|acl| acl.with_mode(mode))
    }

    /// Returns what a directory gives to what is made in it.
    pub fn inherited(&self) -> Option<&Acl> {
        self.default.as_deref()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.access.is_none() && self.default.is_none()
    }

    /// Returns who is named on them: users, and groups. Some more than once.
    pub fn named(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut users, mut groups) = (Vec::new(), Vec::new());
        for acl in self.access.iter().chain(&self.default) {
            let (named_users, named_groups) = acl.named();
            users.extend(named_users);
            groups.extend(named_groups);
        }
        (users, groups)
    }

    /// Returns the lists with other ids for those who are named.
    ///
    /// # Errors
    /// Those of the functions, and when two of them become one.
    pub fn renumbered<E: From<AclError>>(
        &self,
        mut user: impl FnMut(u32) -> Result<u32, E>,
        mut group: impl FnMut(u32) -> Result<u32, E>,
    ) -> Result<Acls, E> {
        let mut each = |acl: &Option<Arc<Acl>>| {
            let renumbered = acl.as_ref().map(|acl| acl.renumbered(&mut user, &mut group)).transpose()?;
            Ok::<_, E>(renumbered.map(Arc::new))
        };
        Ok(Acls { access: each(&self.access)?, default: each(&self.default)? })
    }

    pub(super) fn size(&self) -> usize {
        self.access.iter().chain(&self.default).map(|acl| acl.size()).sum()
    }

    pub(super) fn edited(&self, was: &Acls, is: &Acls) -> Acls {
        let each = |intended: &Option<Arc<Acl>>, was: &Option<Arc<Acl>>, is: &Option<Arc<Acl>>| {
            if was == is { intended.clone() } else { is.clone() }
        };
        Acls {
            access: each(&self.access, &was.access, &is.access),
            default: each(&self.default, &was.default, &is.default),
        }
    }

    pub(super) fn united(&self, remote: &Acls, later: Option<Side>) -> Acls {
        let each = |mine: &Option<Arc<Acl>>, theirs: &Option<Arc<Acl>>| match (mine, theirs, later) {
            (Some(mine), None, _) => Some(mine.clone()),
            (None, theirs, _) => theirs.clone(),
            (Some(mine), Some(_), Some(Side::Local)) => Some(mine.clone()),
            (Some(_), Some(theirs), Some(Side::Remote)) => Some(theirs.clone()),
            (Some(mine), Some(theirs), None) => Some(mine.min(theirs).clone()),
        };
        Acls { access: each(&self.access, &remote.access), default: each(&self.default, &remote.default) }
    }
}
