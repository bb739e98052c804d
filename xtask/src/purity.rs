//! The purity of `core/` and `wire/`: they decide, and touch nothing.
//!
//! What is pure can be tested over every small world. So no file under these folders may name the file system, the
//! network, processes, threads, clocks, randomness or the kernel's programs; comments may.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The folders that must be pure, below the workspace.
const PURE: [&str; 2] = ["agent/src/core", "agent/src/wire"];

/// Modules of `std` that reach out.
const STD: [&str; 6] = ["fs", "net", "process", "thread", "env", "os"];

/// Other paths that reach out.
const PATHS: [&str; 11] = [
    "tokio",
    "aya",
    "aya_log",
    "rustix",
    "libc",
    "openssh",
    "redb",
    "rayon",
    "tempfile",
    "Instant::now",
    "SystemTime::now",
];

/// A line that breaks the rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Breach {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// What it names.
    pub names: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: names {}", self.file.display(), self.line, self.names)
    }
}

/// Returns every line under the pure folders of a workspace that breaks the rule.
pub fn breaches(workspace: &Path) -> Result<Vec<Breach>> {
    let mut found = Vec::new();
    for folder in PURE {
        search(&workspace.join(folder), &mut found)?;
    }
    Ok(found)
}

fn search(folder: &Path, found: &mut Vec<Breach>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            search(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let breaches = in_text(&text);
            found.extend(breaches.into_iter().map(|(line, names)| Breach {
                file: path.clone(),
                line,
                names,
            }));
        }
    }
    Ok(())
}

/// Returns the lines of a source text that break the rule.
fn in_text(text: &str) -> Vec<(usize, String)> {
    // Imports may be grouped over several lines: `use std::{` and below it `fs,`.
    let mut in_std_group = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for path in PATHS.into_iter().filter(|path| names(code, path)) {
            found.push((number + 1, path.to_owned()));
        }
        let opens =
            code.trim_start().starts_with("use std::{") || code.trim_start().starts_with("pub use std::{");
        in_std_group |= opens;
        for module in STD {
            let grouped = in_std_group && words(code).contains(&module);
            if grouped || names(code, &format!("std::{module}")) {
                found.push((number + 1, format!("std::{module}")));
            }
        }
        if code.contains(';') {
            in_std_group = false;
        }
    }
    found
}

/// Tells whether code holds a path that is not part of a longer word. A crate is named without its `::`.
fn names(code: &str, path: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(path).any(|(at, _)| {
        !code[..at].ends_with(part_of_word) && !code[at + path.len()..].starts_with(part_of_word)
    })
}

fn words(code: &str) -> Vec<&str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaching_out_is_found_however_it_is_written() {
        let lines = |text: &str| in_text(text).into_iter().map(|(line, _)| line).collect::<Vec<_>>();
        assert_eq!(lines("use std::fs;"), [1]);
        assert_eq!(lines("use std::{\n    collections::BTreeMap,\n    fs,\n};\nlet fs = 1;"), [3]);
        assert_eq!(lines("let t = std::time::Instant::now();"), [1]);
        assert_eq!(lines("tokio::spawn(f)"), [1]);
        assert_eq!(lines("use aya::maps;"), [1]);
    }

    #[test]
    fn words_in_comments_and_inside_other_words_are_no_breach() {
        assert!(in_text("//! The length is [`tokio_util`]'s; see std::fs.").is_empty());
        assert!(in_text("use tokio_util::codec::Decoder;").is_empty());
        assert!(in_text("let himalaya::peak = std::fsck();").is_empty());
    }
}
