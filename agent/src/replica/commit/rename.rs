//! Renaming within the tree.

use super::checkpoint::checkpoint;
use super::held::{Held, Since};
use super::{Backup, BackupPlace, CommitError, Committer, Expected, Published};
use crate::core::path::Name;
use crate::fs::{Dir, Meta, change};
use rustix::io::Errno;

impl Committer {
    /// Renames `name` in `from` to `new` in `to`, if it is what is expected and nothing stands at the new name.
    ///
    /// Nothing is taken away by it, so nobody is asked whether somebody writes to it.
    pub fn rename(
        &self,
        from: &Dir,
        name: &Name,
        to: &Dir,
        new: &Name,
        expected: &Expected,
    ) -> Result<Published, CommitError> {
        let capabilities =
            self.capabilities(to).map_err(CommitError::io("try the file system of", to, new))?;
        let held = Held::take_inode(from, name, expected)?;
        checkpoint("rename: held");
        match change::rename_noreplace(from, name, to, new) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(CommitError::stale_or_gone(from, name)),
            Err(e) => return Err(CommitError::from_placing("rename to", to, new, e)),
        }
        checkpoint("rename: renamed");
        if held.since(to, new) != Since::Unchanged {
            return Err(rename_back(from, name, to, new));
        }
        let after = Meta::of(&held).map_err(CommitError::io("look at", to, new))?;
        Ok(self.published(&capabilities, &held.meta, after, &held))
    }
}

/// Something else was renamed than was expected: back with it. If somebody has filled its name meanwhile, it stays
/// where it is, in plain sight.
fn rename_back(from: &Dir, name: &Name, to: &Dir, new: &Name) -> CommitError {
    let backups = match change::rename_noreplace(to, new, from, name) {
        Ok(()) => Vec::new(),
        Err(_) => vec![Backup { of: from.path_of(name), place: BackupPlace::Tree { path: to.path_of(new) } }],
    };
    CommitError::stale_with(from, name, backups)
}
