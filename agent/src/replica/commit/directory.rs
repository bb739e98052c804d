//! Directories and symlinks in one step.

use super::{CommitError, Committer, Published, Refused, Wanted};
use crate::core::path::Name;
use crate::fs::Dir;

impl Committer {
    /// Makes the directory `name`, if nothing stands there. It appears with its attributes already set.
    pub fn make_dir(
        &self,
        dir: &Dir,
        name: &Name,
        wanted: &Wanted,
    ) -> Result<(Dir, Published, Refused), CommitError> {
        let mut staged = self.stage_dir(dir, name)?;
        let refused = staged.set(wanted)?;
        let made = staged.directory_at_target()?;
        Ok((made, self.create(staged)?, refused))
    }

    /// Makes the symbolic link `name`, if nothing stands there. It has no mode.
    pub fn make_symlink(
        &self,
        dir: &Dir,
        name: &Name,
        target: &[u8],
        wanted: &Wanted,
    ) -> Result<(Published, Refused), CommitError> {
        let mut staged = self.stage_symlink(dir, name, target)?;
        let refused = staged.set(wanted)?;
        Ok((self.create(staged)?, refused))
    }
}
