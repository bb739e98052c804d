//! [`Versions`] keeps what is about to be replaced or deleted: Unison's `backup`. A version is a copy, outside of the
//! tree, under the path that it stood at; number 1 is the newest.
//!
//! A path of which no version can be kept stays as it is, and fails: whoever asks for backups wants them.

use crate::core::filter::{FilterError, PathSet};
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, FileKind, change, temporary_name};
use crate::options::BackupOptions;
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What in a prefix or suffix stands for the number.
const NUMBER: &str = "$VERSION";
/// More versions than this are not kept of any path, whoever asks for them.
const MOST: u32 = 1000;

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
            most: options.most.min(MOST),
        })
    }

    /// Returns whether versions of a path are wanted.
    pub fn keeps(&self, path: &RelPath) -> bool {
        self.most > 0 && self.which.has(path)
    }

    /// Keeps what stands at `name` in `dir`, if a version of the path is wanted. A directory is kept as what is in it.
    ///
    /// # Errors
    /// When it cannot be read, or the copy cannot be written.
    pub fn keep(&self, dir: &Dir, name: &Name, path: &RelPath) -> io::Result<()> {
        if !self.keeps(path) {
            return Ok(());
        }
        let Some(meta) = dir.stat(name)? else { return Ok(()) };
        let (Some((parent, _)), true) =
            (path.split(), matches!(meta.kind, FileKind::File | FileKind::Symlink))
        else {
            return Ok(());
        };
        let room = self.room(&parent)?;
        // Made whole before the others make room for it: whatever the moment, no version is lost.
        let new = temporary_name("tmp");
        let made =
            self.copy(dir, name, meta.kind, &room, &new).and_then(|()| self.publish(&room, &new, name));
        if made.is_err() {
            // What cannot be removed is told by its name.
            let _ = change::unlink(&room, &new);
        }
        made
    }

    /// Opens the directory of the versions of what lies in a directory, and makes it first if it is not there.
    ///
    /// What lies in the folder of versions has names and kinds that came from the tree, from whoever may write there:
    /// so nothing in it is followed.
    fn room(&self, parent: &RelPath) -> io::Result<Dir> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let mut room = Dir::open_root(&self.folder)?;
        for component in parent.components() {
            let name = Name::new(component).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
            match change::make_dir(&room, &name) {
                Err(Errno::EXIST) | Ok(()) => {}
                Err(e) => return Err(e.into()),
            }
            room = room.open_child_dir(&name)?;
        }
        Ok(room)
    }

    fn copy(&self, dir: &Dir, name: &Name, kind: FileKind, room: &Dir, new: &Name) -> io::Result<()> {
        if kind == FileKind::Symlink {
            return Ok(change::make_symlink(room, new, &dir.read_link(name)?)?);
        }
        let mut from = dir.open_file(name)?;
        let mut to = change::create_named(room, new)?;
        io::copy(&mut from, &mut to)?;
        to.set_modified(from.metadata()?.modified()?)?;
        to.sync_all()
    }

    /// Makes a copy the newest version; the others get older.
    fn publish(&self, room: &Dir, new: &Name, name: &Name) -> io::Result<()> {
        let mut names = Vec::new();
        for n in 1..=self.most {
            names.push(self.name(name, n)?);
            // Without a number in the name there is one version alone.
            let one_alone = names.len() > 1 && names[0] == names[1];
            if one_alone || room.stat(&names[names.len() - 1])?.is_none() {
                break;
            }
        }
        for pair in names.windows(2).rev() {
            change::rename(room, &pair[0], &pair[1])?;
        }
        Ok(change::rename(room, new, &names[0])?)
    }

    /// Returns the name of the `n`th version.
    ///
    /// # Errors
    /// When the prefix or the suffix, which the end that dials states, make no name of it.
    fn name(&self, name: &Name, n: u32) -> io::Result<Name> {
        let number = n.to_string();
        let with = |text: &str| text.replace(NUMBER, &number).into_bytes();
        let bytes = [&with(&self.prefix)[..], name.as_bytes(), &with(&self.suffix)[..]].concat();
        Name::new(&bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
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

    fn versions(state: &Path, change: impl FnOnce(&mut BackupOptions)) -> Versions {
        let mut options =
            BackupOptions { which: vec![Pathspec::parse(b"Name *").unwrap()], ..BackupOptions::default() };
        change(&mut options);
        Versions::new(&options, state, Path::new("/root")).unwrap()
    }

    /// An end that dials could name a folder in the prefix and so have any file of the far end's host written.
    #[test]
    fn a_prefix_cannot_lead_out_of_the_folder() {
        let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(tree.path().join("f"), "1").unwrap();
        let dir = Dir::open_root(tree.path()).unwrap();
        let name = Name::new(b"f").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let prefix = format!("{}/", elsewhere.path().display());
        for (prefix, suffix) in [(&prefix[..], ""), ("../", ""), ("", "/../../f"), ("", "\0")] {
            let versions = versions(state.path(), |options| {
                (options.prefix, options.suffix) = (prefix.to_owned(), suffix.to_owned());
            });
            versions.keep(&dir, &name, &RelPath::new(b"f").unwrap()).unwrap_err();
        }
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
        assert_eq!(fs::read_dir(state.path().join("backup/root")).unwrap().count(), 0);
    }

    /// The version of a symbolic link is one, and its name is one that a directory of the tree can have: a user could make
    /// the daemon write where the link points.
    #[test]
    fn a_version_that_is_a_symbolic_link_is_not_followed() {
        let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let elsewhere = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(tree.path()).unwrap();
        let versions = versions(state.path(), |_| {});
        std::os::unix::fs::symlink(elsewhere.path(), tree.path().join("a")).unwrap();
        versions.keep(&dir, &Name::new(b"a").unwrap(), &RelPath::new(b"a").unwrap()).unwrap();
        fs::create_dir(tree.path().join(".bak.1.a")).unwrap();
        fs::write(tree.path().join(".bak.1.a/x"), "evil").unwrap();
        let below = dir.open_dir(&RelPath::new(b".bak.1.a").unwrap()).unwrap();
        let x = Name::new(b"x").unwrap();
        versions.keep(&below, &x, &RelPath::new(b".bak.1.a/x").unwrap()).unwrap_err();
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_number_there_is_one_version() {
        let (tree, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = Dir::open_root(tree.path()).unwrap();
        let versions = versions(state.path(), |options| {
            (options.prefix, options.suffix) = (String::new(), "~".to_owned());
        });
        for content in ["1", "2", "3"] {
            fs::write(tree.path().join("f"), content).unwrap();
            versions.keep(&dir, &Name::new(b"f").unwrap(), &RelPath::new(b"f").unwrap()).unwrap();
        }
        let folder = state.path().join("backup/root");
        assert_eq!(fs::read_to_string(folder.join("f~")).unwrap(), "3");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
    }
}
