//! Whose a path is, on the way between hosts: owner and group go by name, because numbers mean something else on
//! every host.

use super::Replica;
use super::owners::AccountKind;
use crate::core::entry::{AttributeMask, Attributes, Content, Entry};
use crate::wire::Owners;

impl Replica {
    /// Returns the names to send along with an entry.
    pub fn owners_of(&self, entry: &Entry, numeric_ids: bool, mask: AttributeMask) -> Owners {
        let carries = !numeric_ids && matches!(entry.content, Content::File { .. } | Content::Dir);
        let name =
            |wanted: bool, kind, id| (carries && wanted).then(|| self.accounts.name(kind, id)).flatten();
        Owners {
            user: name(mask.owner, AccountKind::User, entry.attributes.uid),
            group: name(mask.group, AccountKind::Group, entry.attributes.gid),
        }
    }

    /// Puts the owner and group of a peer's attributes into this host's numbers.
    ///
    /// # Errors
    /// In words for a person, when a name is not known here.
    pub fn localise(
        &self,
        attributes: &mut Attributes,
        owners: &Owners,
        mask: AttributeMask,
    ) -> Result<(), String> {
        let id = |wanted: bool, kind, id: &mut u32, name: Option<&str>| {
            if wanted {
                let local = self.accounts.local_id(kind, *id, name);
                *id = local.map_err(|e| super::apply::words(&e))?;
            }
            Ok::<(), String>(())
        };
        id(mask.owner, AccountKind::User, &mut attributes.uid, owners.user.as_deref())?;
        id(mask.group, AccountKind::Group, &mut attributes.gid, owners.group.as_deref())
    }
}
