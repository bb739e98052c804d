//! Whose a path is, on the way between hosts: owner and group go by name, because numbers mean something else on
//! every host.

use super::Replica;
use super::owners::{AccountKind, OwnerError};
use crate::core::entry::{AttributeMask, Content, Entry};
use crate::core::extended::AclError;
use crate::wire::Owners;
use std::collections::BTreeMap;

/// Why an access list cannot be put into this host's numbers.
#[derive(Debug, thiserror::Error)]
enum Unlisted {
    #[error("its access list: {0}")]
    Owner(#[from] OwnerError),
    #[error(
        "two whom its access list names are one on this host ({0}): set numericids, or give them two ids"
    )]
    One(#[from] AclError),
}

impl Replica {
    /// Returns the names to send along with an entry.
    pub fn owners_of(&self, entry: &Entry, numeric_ids: bool, mask: AttributeMask) -> Owners {
        let carries = !numeric_ids && matches!(entry.content, Content::File { .. } | Content::Dir);
        let name =
            |wanted: bool, kind, id| (carries && wanted).then(|| self.accounts.name(kind, id)).flatten();
        let (users, groups) =
            if carries && mask.acl { entry.extended.acls.named() } else { Default::default() };
        let listed = |kind, mut ids: Vec<u32>| {
            ids.sort_unstable();
            ids.dedup();
            ids.into_iter().filter_map(|id| Some((id, self.accounts.name(kind, id)?))).collect()
        };
        Owners {
            user: name(mask.owner, AccountKind::User, entry.attributes.uid),
            group: name(mask.group, AccountKind::Group, entry.attributes.gid),
            listed_users: listed(AccountKind::User, users),
            listed_groups: listed(AccountKind::Group, groups),
        }
    }

    /// Puts the owner and group of a peer's entry, and those whom its access lists name, into this host's numbers.
    ///
    /// # Errors
    /// In words for a person, when a name is not known here.
    pub fn localise(&self, entry: &mut Entry, owners: &Owners, mask: AttributeMask) -> Result<(), String> {
        let id = |wanted: bool, kind, id: &mut u32, name: Option<&str>| {
            if wanted {
                let local = self.accounts.local_id(kind, *id, name);
                *id = local.map_err(|e| super::apply::words(&e))?;
            }
            Ok::<(), String>(())
        };
        id(mask.owner, AccountKind::User, &mut entry.attributes.uid, owners.user.as_deref())?;
        id(mask.group, AccountKind::Group, &mut entry.attributes.gid, owners.group.as_deref())?;
        if entry.extended.acls.is_empty() {
            return Ok(());
        }
        // Looked up, not searched for: a peer may send long lists.
        let by_id = |names: &[(u32, String)]| names.iter().cloned().collect::<BTreeMap<u32, String>>();
        let (users, groups) = (by_id(&owners.listed_users), by_id(&owners.listed_groups));
        let listed = |kind, id: u32, names: &BTreeMap<u32, String>| {
            Ok::<_, Unlisted>(self.accounts.local_id(kind, id, names.get(&id).map(String::as_str))?)
        };
        let acls = entry.extended.acls.renumbered(
            |id| listed(AccountKind::User, id, &users),
            |id| listed(AccountKind::Group, id, &groups),
        );
        entry.extended.acls = acls.map_err(|e| e.to_string())?;
        Ok(())
    }
}
