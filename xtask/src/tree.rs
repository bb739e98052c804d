//! A tree as it is on the disk: what a comparison of two replicas looks at, written without vfsync's own code.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder. Its time changes with every name in it, on each side when that happens, so it is not compared.
    Folder {
        /// Permissions.
        mode: u32,
    },
    /// A file.
    File {
        /// Permissions.
        mode: u32,
        /// When it was changed, in nanoseconds.
        modified: i128,
        /// How long it is.
        size: u64,
        /// Its content, where that was read.
        content: Option<Vec<u8>>,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: PathBuf,
    },
    /// Something else: a pipe, a socket, a device.
    Other,
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Names and attributes.
    Attributes,
    /// Contents too.
    Contents,
}

/// Everything below a root, by its path from there.
pub type Tree = BTreeMap<PathBuf, Node>;

/// Reads a tree. What disappears while it is read is left out.
pub fn read(root: &Path, look: Look) -> Result<Tree> {
    let mut tree = Tree::new();
    below(root, Path::new(""), look, &mut tree)?;
    Ok(tree)
}

fn below(root: &Path, relative: &Path, look: Look, tree: &mut Tree) -> Result<()> {
    let folder = root.join(relative);
    let Some(entries) = gone_is_none(fs::read_dir(&folder), &folder)? else { return Ok(()) };
    for entry in entries {
        let name = entry.with_context(|| format!("cannot list {}", folder.display()))?.file_name();
        let relative = relative.join(name);
        let Some(node) = node(&root.join(&relative), look)? else { continue };
        let is_folder = matches!(node, Node::Folder { .. });
        tree.insert(relative.clone(), node);
        if is_folder {
            below(root, &relative, look, tree)?;
        }
    }
    Ok(())
}

fn node(path: &Path, look: Look) -> Result<Option<Node>> {
    let Some(data) = gone_is_none(fs::symlink_metadata(path), path)? else { return Ok(None) };
    let mode = data.permissions().mode() & 0o7777;
    if data.is_dir() {
        return Ok(Some(Node::Folder { mode }));
    }
    if data.is_symlink() {
        let target = gone_is_none(fs::read_link(path), path)?;
        return Ok(target.map(|target| Node::Link { target }));
    }
    if !data.is_file() {
        return Ok(Some(Node::Other));
    }
    let content = match look {
        Look::Attributes => None,
        Look::Contents => match gone_is_none(fs::read(path), path)? {
            None => return Ok(None),
            content => content,
        },
    };
    let modified = i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec());
    Ok(Some(Node::File { mode, modified, size: data.len(), content }))
}

fn gone_is_none<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Returns a line for each difference between two trees.
pub fn differences(first: &Tree, second: &Tree) -> Vec<String> {
    let only = |one: &Tree, other: &Tree, side: &str| -> Vec<String> {
        let missing = one.keys().filter(|path| !other.contains_key(*path));
        missing.map(|path| format!("{}: on the {side} side only", path.display())).collect()
    };
    let mut lines = only(first, second, "first");
    lines.extend(only(second, first, "second"));
    for (path, one) in first {
        if let Some(other) = second.get(path).filter(|other| *other != one) {
            lines.push(format!("{}: {} here, {} there", path.display(), one.brief(), other.brief()));
        }
    }
    lines
}

impl Node {
    fn brief(&self) -> String {
        match self {
            Self::Folder { mode } => format!("folder {mode:o}"),
            Self::File { mode, modified, size, .. } => format!("file {mode:o}, {size} bytes of {modified}"),
            Self::Link { target } => format!("link to {}", target.display()),
            Self::Other => "special file".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_differ_in_names_contents_modes_and_targets() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for root in [&a, &b] {
            fs::create_dir_all(root.join("d"))?;
            fs::write(root.join("d/same"), "x")?;
            std::os::unix::fs::symlink("t", root.join("l"))?;
            fs::File::open(root.join("d/same"))?.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
        }
        let compare =
            || Ok::<_, anyhow::Error>(differences(&read(&a, Look::Contents)?, &read(&b, Look::Contents)?));
        assert!(compare()?.is_empty());
        fs::write(a.join("only"), "")?;
        fs::remove_file(b.join("l"))?;
        std::os::unix::fs::symlink("u", b.join("l"))?;
        fs::set_permissions(b.join("d"), fs::Permissions::from_mode(0o700))?;
        fs::write(a.join("d/same"), "y")?;
        fs::File::open(a.join("d/same"))?.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
        assert_eq!(compare()?.len(), 4, "{:?}", compare()?);
        Ok(())
    }
}
