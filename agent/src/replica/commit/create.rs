//! Publishing something new where nothing stands.

use super::checkpoint::checkpoint;
use super::{CommitError, Committer, Published, Staged};
use crate::fs::change;

impl Committer {
    /// Gives what is prepared its name, if nothing stands there; else [`CommitError::Stale`].
    ///
    /// RACE: the directory may have been moved meanwhile, even out of the root. Worst outcome: the new entry appears in
    /// it where it is now, as with any program that works in that directory.
    pub fn create(&self, mut staged: Staged) -> Result<Published, CommitError> {
        let (dir, name) = (staged.dir.clone(), staged.target.clone());
        let capabilities =
            self.capabilities(&dir).map_err(CommitError::io("try the file system of", &dir, &name))?;
        let before = staged.ready()?;
        checkpoint("create: ready");
        match staged.existing_reserved_name() {
            None => change::link_open_file(&staged, &dir, &name),
            Some(reserved) => change::rename_noreplace(&dir, reserved, &dir, &name),
        }
        .map_err(|e| CommitError::from_placing("create", &dir, &name, e))?;
        staged.forget_reserved_name();
        checkpoint("create: placed");
        Ok(self.published(&capabilities, &before, staged.meta()?, &staged))
    }
}
