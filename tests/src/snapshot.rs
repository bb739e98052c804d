//! A [`Snapshot`] is what a tree held at a moment, to be compared with another.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use crate::Tree;

/// What a tree holds: every path below its root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    nodes: BTreeMap<PathBuf, Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    what: What,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    File(Vec<u8>),
    Dir,
    Symlink(PathBuf),
    Special,
}

/// What of two trees is compared beside kinds, contents, targets and modes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Compare {
    /// Whether the mtimes of files and directories are.
    pub times: bool,
    /// Whether owners and groups are.
    pub owners: bool,
}

impl Snapshot {
    /// Reads a tree. What vanishes meanwhile is left out.
    pub fn of(root: &Path) -> Snapshot {
        let mut nodes = BTreeMap::new();
        read_below(root, Path::new(""), &mut nodes);
        Snapshot { nodes }
    }

    /// Returns how many paths there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Returns in what two snapshots differ, a line for each path.
    pub fn differences(&self, other: &Snapshot, compare: Compare) -> Vec<String> {
        let mut paths: Vec<&PathBuf> = self.nodes.keys().chain(other.nodes.keys()).collect();
        paths.sort();
        paths.dedup();
        paths
            .into_iter()
            .filter_map(|path| {
                let (first, second) = (self.nodes.get(path), other.nodes.get(path));
                let path = path.as_os_str().as_bytes().escape_ascii();
                match (first, second) {
                    (Some(first), Some(second)) => {
                        let differs = first.differs_from(second, compare);
                        (!differs.is_empty()).then(|| format!("{path}: {}", differs.join(", ")))
                    }
                    (Some(node), None) => Some(format!("{path}: {} only in the first", node.what.kind())),
                    (None, Some(node)) => Some(format!("{path}: {} only in the second", node.what.kind())),
                    (None, None) => None,
                }
            })
            .collect()
    }
}

fn read_below(root: &Path, dir: &Path, nodes: &mut BTreeMap<PathBuf, Node>) {
    let Ok(entries) = fs::read_dir(root.join(dir)) else { return };
    for entry in entries.flatten() {
        let path = dir.join(entry.file_name());
        let Some(node) = Node::read(&root.join(&path)) else { continue };
        let is_dir = node.what == What::Dir;
        nodes.insert(path.clone(), node);
        if is_dir {
            read_below(root, &path, nodes);
        }
    }
}

impl Node {
    fn read(path: &Path) -> Option<Node> {
        let meta = fs::symlink_metadata(path).ok()?;
        let what = if meta.is_dir() {
            What::Dir
        } else if meta.is_symlink() {
            What::Symlink(fs::read_link(path).ok()?)
        } else if meta.is_file() {
            What::File(fs::read(path).ok()?)
        } else {
            What::Special
        };
        Some(Node {
            what,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            mtime: (meta.mtime(), meta.mtime_nsec()),
        })
    }

    fn differs_from(&self, other: &Node, compare: Compare) -> Vec<String> {
        let mut differs = Vec::new();
        if self.what != other.what {
            differs.push(format!("{} and {}", self.what.shown(), other.what.shown()));
        }
        let is_link = matches!(self.what, What::Symlink(_));
        if self.mode != other.mode && !is_link {
            differs.push(format!("mode {:o} and {:o}", self.mode, other.mode));
        }
        if compare.owners && self.owner != other.owner && !is_link {
            differs.push(format!("owner {:?} and {:?}", self.owner, other.owner));
        }
        if compare.times && self.mtime != other.mtime && !is_link {
            differs.push(format!("mtime {:?} and {:?}", self.mtime, other.mtime));
        }
        differs
    }
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            What::File(_) => "a file",
            What::Dir => "a directory",
            What::Symlink(_) => "a symlink",
            What::Special => "a special file",
        }
    }

    fn shown(&self) -> String {
        match self {
            What::File(content) if content.len() <= 40 => {
                format!("a file of {:?}", String::from_utf8_lossy(content))
            }
            What::File(content) => format!("a file of {} bytes", content.len()),
            What::Symlink(target) => format!("a symlink to {}", target.display()),
            other => other.kind().to_owned(),
        }
    }
}

/// Asserts that two trees are equal in kinds, contents, targets and modes.
#[track_caller]
pub fn assert_same(first: &Tree, second: &Tree) {
    assert_same_with(first, second, Compare::default());
}

/// Asserts that two trees are equal, in what `compare` says too.
#[track_caller]
pub fn assert_same_with(first: &Tree, second: &Tree, compare: Compare) {
    let differences = first.snapshot().differences(&second.snapshot(), compare);
    if !differences.is_empty() {
        panic!("the trees differ:\n{}", shortened(&differences));
    }
}

/// Returns the first of many lines, and says how many there are.
pub fn shortened(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines.iter().take(20) {
        let _ = writeln!(text, "  {line}");
    }
    if lines.len() > 20 {
        let _ = writeln!(text, "  and {} more", lines.len() - 20);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| Tree::new(dir.path().join(name)));
        for tree in [&first, &second] {
            tree.file("same", "1").file("d/mode", "1").symlink("link", "same").file("content", "1");
        }
        first.chmod("d/mode", 0o600).file("mine", "1").symlink("link", "first").file("content", "2");
        second.chmod("d/mode", 0o640).dir("yours");
        let differences = first.snapshot().differences(&second.snapshot(), Compare::default());
        assert_eq!(
            differences,
            [
                "content: a file of \"2\" and a file of \"1\"",
                "d/mode: mode 600 and 640",
                "link: a symlink to first and a symlink to same",
                "mine: a file only in the first",
                "yours: a directory only in the second",
            ]
        );
    }
}
