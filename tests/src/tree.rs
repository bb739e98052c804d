//! A [`Tree`] is a directory that a test changes and looks at.

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};

use crate::Snapshot;

/// A directory of a test. Paths are relative to it; what a path needs above it is made.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Names a directory, and makes it if it is not there.
    pub fn new(root: impl Into<PathBuf>) -> Tree {
        let tree = Tree { root: root.into() };
        done("make", &tree.root, fs::create_dir_all(&tree.root));
        tree
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns where a path of the tree lies.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    /// Returns the tree below a path of this one.
    pub fn below(&self, path: impl AsRef<Path>) -> Tree {
        Tree::new(self.path(path))
    }

    /// Writes a file in place.
    pub fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Tree {
        let path = self.with_parents(path);
        done("write", &path, fs::write(&path, content));
        self
    }

    /// Appends to a file.
    pub fn append(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Tree {
        let path = self.with_parents(path);
        let file = fs::OpenOptions::new().append(true).create(true).open(&path);
        done("append to", &path, file.and_then(|mut f| f.write_all(content.as_ref())));
        self
    }

    /// Makes a directory.
    pub fn dir(&self, path: impl AsRef<Path>) -> &Tree {
        let path = self.path(path);
        done("make", &path, fs::create_dir_all(&path));
        self
    }

    /// Makes a symbolic link, in place of another if there is one.
    pub fn symlink(&self, path: impl AsRef<Path>, target: impl AsRef<OsStr>) -> &Tree {
        let path = self.with_parents(path);
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
            done("remove", &path, fs::remove_file(&path));
        }
        done("make", &path, symlink(target.as_ref(), &path));
        self
    }

    /// Makes a fifo.
    pub fn fifo(&self, path: impl AsRef<Path>) -> &Tree {
        let path = self.with_parents(path);
        let made = mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0);
        done("make", &path, made.map_err(Into::into));
        self
    }

    /// Sets the mode of a file or directory.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) -> &Tree {
        let path = self.path(path);
        done("chmod", &path, fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
        self
    }

    /// Sets owner and group of a file or directory.
    pub fn chown(&self, path: impl AsRef<Path>, owner: u32, group: u32) -> &Tree {
        let path = self.path(path);
        done("chown (it takes root)", &path, chown(&path, Some(owner), Some(group)));
        self
    }

    /// Sets an extended attribute of a file or directory.
    pub fn set_xattr(&self, path: impl AsRef<Path>, name: &str, value: impl AsRef<[u8]>) -> &Tree {
        let path = self.path(path);
        let set = rustix::fs::setxattr(&path, name, value.as_ref(), XattrFlags::empty());
        done("set an extended attribute of", &path, set.map_err(Into::into));
        self
    }

    /// Removes an extended attribute of a file or directory.
    pub fn remove_xattr(&self, path: impl AsRef<Path>, name: &str) -> &Tree {
        let path = self.path(path);
        let removed = rustix::fs::removexattr(&path, name);
        done("remove an extended attribute of", &path, removed.map_err(Into::into));
        self
    }

    /// Returns an extended attribute of a file or directory, if it has it.
    pub fn xattr(&self, path: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::getxattr(self.path(path), name, &mut value[..]).ok()?;
        value.truncate(length);
        Some(value)
    }

    /// Sets the mtime of a file or directory, in nanoseconds since the epoch.
    pub fn set_mtime(&self, path: impl AsRef<Path>, nanoseconds: u64) -> &Tree {
        let path = self.path(path);
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        done("set the time of", &path, fs::File::open(&path).and_then(|f| f.set_modified(time)));
        self
    }

    /// Removes a path with all below it.
    pub fn remove(&self, path: impl AsRef<Path>) -> &Tree {
        let path = self.path(path);
        let is_dir = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
        done("remove", &path, if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) });
        self
    }

    /// Renames a path.
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> &Tree {
        let to = self.with_parents(to);
        let from = self.path(from);
        done("rename", &from, fs::rename(&from, &to));
        self
    }

    /// Returns the content of a file.
    pub fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(path);
        done("read", &path, fs::read(&path))
    }

    /// Returns the content of a file as text.
    pub fn text(&self, path: impl AsRef<Path>) -> String {
        String::from_utf8_lossy(&self.read(path)).into_owned()
    }

    /// Returns whether there is something at a path.
    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// Returns the metadata of what is at a path, links not followed.
    pub fn meta(&self, path: impl AsRef<Path>) -> fs::Metadata {
        let path = self.path(path);
        done("look at", &path, fs::symlink_metadata(&path))
    }

    /// Returns the permission bits of what is at a path.
    pub fn mode(&self, path: impl AsRef<Path>) -> u32 {
        self.meta(path).mode() & 0o7777
    }

    /// Returns the names in the tree's directory, sorted.
    pub fn names(&self) -> Vec<String> {
        let list = done("list", &self.root, fs::read_dir(&self.root));
        let mut names: Vec<String> =
            list.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Returns how many files there are in the tree. What vanishes meanwhile may be counted.
    pub fn files(&self) -> usize {
        fn below(dir: &Path) -> usize {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|e| if e.file_type().is_ok_and(|t| t.is_dir()) { below(&e.path()) } else { 1 }).sum()
        }
        below(&self.root)
    }

    /// Returns what the tree holds.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.root)
    }

    fn with_parents(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.path(path);
        let parent = path.parent().expect("a path in a tree has a parent");
        done("make", parent, fs::create_dir_all(parent));
        path
    }
}

/// Unwraps, naming the path.
fn done<T>(what: &str, path: &Path, result: std::io::Result<T>) -> T {
    result.unwrap_or_else(|e| panic!("cannot {what} {}: {e}", path.display()))
}
