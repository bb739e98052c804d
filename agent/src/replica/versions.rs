//! [`Versions`] keeps what is about to be replaced or deleted: Unison's `backup`. A version is a copy, outside of the
//! tree, under the path that it stood at; number 1 is the newest.
//!
//! A path of which no version can be kept stays as it is, and fails: whoever asks for backups wants them.

use crate::core::filter::{FilterError, PathSet};
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, FileKind};
use crate::options::BackupOptions;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What in a prefix or suffix stands for the number.
const NUMBER: &str = "$VERSION";

/// The versions that are kept of one replica.
#[derive(Debug)]
pub struct Versions {
    which: PathSet,
    folder: PathBuf,
    prefix: String,
    suffix: String,
    most: u32,
}

impl Versions {
    /// Makes it. Where no folder is named, versions lie below the state directory, under the path of the root.
    ///
    /// # Errors
    /// When the patterns are too many or too large together.
    pub fn new(options: &BackupOptions, state: &Path, root: &Path) -> Result<Versions, FilterError> {
        let default = || state.join("backup").join(root.strip_prefix("/").unwrap_or(root));
        Ok(Versions {
            which: PathSet::new(&options.which, &options.not, false)?,
            folder: options.folder.clone().unwrap_or_else(default),
            prefix: options.prefix.clone(),
            suffix: options.suffix.clone(),
            most: options.most,
        })
    }

    /// Keeps what stands at `name` in `dir`, if a version of the path is wanted. A directory is kept as what is in it.
    ///
    /// # Errors
    /// When it cannot be read, or the copy cannot be written.
    pub fn keep(&self, dir: &Dir, name: &Name, path: &RelPath) -> io::Result<()> {
        if self.most == 0 || !self.which.has(path) {
            return Ok(());
        }
        let Some(meta) = dir.stat(name)? else { return Ok(()) };
        let (Some((parent, _)), true) =
            (path.split(), matches!(meta.kind, FileKind::File | FileKind::Symlink))
        else {
            return Ok(());
        };
        let room = self.folder.join(OsStr::from_bytes(parent.as_bytes()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&room)?;
        // Made whole before the others make room for it: whatever the moment, no version is lost.
        let new = room.join(OsStr::from_bytes(&[b".vfsync.tmp.", name.as_bytes()].concat()[..]));
        match fs::remove_file(&new) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        if meta.kind == FileKind::Symlink {
            std::os::unix::fs::symlink(OsStr::from_bytes(&dir.read_link(name)?), &new)?;
        } else {
            let mut from = dir.open_file(name)?;
            let mut to = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            io::copy(&mut from, &mut to)?;
            to.set_modified(from.metadata()?.modified()?)?;
            to.sync_all()?;
        }
        for n in (1..self.most).rev() {
            match fs::rename(room.join(self.name(name, n)), room.join(self.name(name, n + 1))) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&new, room.join(self.name(name, 1)))
    }

    /// Returns the name of the `n`th version. Without a number in it there is one version alone.
    fn name(&self, name: &Name, n: u32) -> PathBuf {
        let number = n.to_string();
        let with = |text: &str| text.replace(NUMBER, &number).into_bytes();
        let bytes = [&with(&self.prefix)[..], name.as_bytes(), &with(&self.suffix)[..]].concat();
        PathBuf::from(OsStr::from_bytes(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::filter::Pathspec;

    #[test]
    fn the_newest_version_is_number_one_and_only_so_many_are_kept() {
        let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options =
            BackupOptions { which: vec![Pathspec::parse(b"Name *").unwrap()], ..BackupOptions::default() };
        let versions = Versions::new(&options, state.path(), Path::new("/a/root")).unwrap();
        let dir = Dir::open_root(tree.path()).unwrap();
        let name = Name::new(b"f").unwrap();
        for content in ["1", "2", "3"] {
            fs::write(tree.path().join("f"), content).unwrap();
            versions.keep(&dir, &name, &RelPath::new(b"f").unwrap()).unwrap();
        }
        let kept = |name: &str| fs::read_to_string(state.path().join("backup/a/root").join(name)).ok();
        assert_eq!((kept(".bak.1.f").as_deref(), kept(".bak.2.f").as_deref()), (Some("3"), Some("2")));
        assert_eq!(fs::read_dir(state.path().join("backup/a/root")).unwrap().count(), 2);
    }
}
