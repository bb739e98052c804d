//! Setting attributes in place.

use super::checkpoint::checkpoint;
use super::held::Held;
use super::{CommitError, Committer, Expected, Published, Refused, Wanted, Writers};
use crate::core::entry::Kind;
use crate::core::path::Name;
use crate::fs::{Dir, FileKind};

impl Committer {
    /// Sets attributes of what stands at `name`, if that is what is expected.
    ///
    /// A new mtime would hide a write in the same moment, so a file is held by a lease while it gets one
    /// ([`CommitError::Busy`] if somebody writes), and where no lease can be trusted it has no stamp afterwards.
    ///
    /// RACE: a mode or owner that somebody sets between the look and the setting is set over. Worst outcome: that one
    /// change of mode or owner is lost, as if it had come a moment earlier.
    pub fn set_metadata(
        &self,
        dir: &Dir,
        name: &Name,
        expected: &Expected,
        wanted: &Wanted,
    ) -> Result<(Published, Refused), CommitError> {
        let capabilities =
            self.capabilities(dir).map_err(CommitError::io("try the file system of", dir, name))?;
        let hides_writes = wanted.mtime.is_some() && expected.kind() == Kind::File;
        let held = match hides_writes {
            true => Held::take(dir, name, expected, Writers::Wait, &capabilities)?,
            false => Held::take_inode(dir, name, expected)?,
        };
        checkpoint("metadata: held");
        let (after, refused) =
            wanted.apply(&held, &self.names).map_err(CommitError::io("set the attributes of", dir, name))?;
        checkpoint("metadata: set");
        let mut as_set = held.meta;
        as_set.attributes = after.attributes;
        if wanted.mtime.is_some() {
            as_set.stamp.mtime = after.stamp.mtime;
        }
        let mut published = self.published(&capabilities, &as_set, after, &held);
        if hides_writes && !held.is_proven() {
            published.stamp = None;
        }
        if after.kind == FileKind::Dir {
            // Its times change with what it holds; what tells a directory is its inode.
            published.stamp = Some(after.stamp);
        }
        Ok((published, refused))
    }
}
