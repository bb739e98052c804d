//! A [`Pathspec`] is one pattern as a person wrote it: a keyword, a pattern and perhaps a value, `Name *.o -> x`.

use super::{ere, glob};
use crate::core::escaped::Escaped;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest pattern, in bytes. A peer may send anything.
const MAX_PATTERN: usize = 4096;

/// What a pattern is matched with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Keyword {
    /// `Name`: a glob against the last component.
    Name,
    /// `Path`: a glob against the whole path.
    Path,
    /// `BelowPath`: a glob against the whole path or any directory above it.
    BelowPath,
    /// `NameString`: the last component, literally.
    NameString,
    /// `String`: the whole path, literally.
    String,
    /// `BelowString`: the whole path or any directory above it, literally.
    BelowString,
    /// `Regex`: an extended regular expression against the whole path.
    Regex,
    /// `Glob`: a pattern with the meaning it has in a gitignore file.
    Glob,
}

impl Keyword {
    const ALL: [Keyword; 8] = [
        Keyword::Name,
        Keyword::Path,
        Keyword::BelowPath,
        Keyword::NameString,
        Keyword::String,
        Keyword::BelowString,
        Keyword::Regex,
        Keyword::Glob,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Keyword::Name => "Name",
            Keyword::Path => "Path",
            Keyword::BelowPath => "BelowPath",
            Keyword::NameString => "NameString",
            Keyword::String => "String",
            Keyword::BelowString => "BelowString",
            Keyword::Regex => "Regex",
            Keyword::Glob => "Glob",
        }
    }
}

/// What a match does to the list that the pattern stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Sign {
    /// The path is in the list; the keyword alone, or after `add`.
    Add,
    /// The path is not in the list, whatever came before; after `del`.
    Del,
    /// Only the value counts; after `assoc`.
    Assoc,
}

/// One pattern of a list such as `ignore`, as it was written. It is checked when it is parsed, and compiled by
/// [`super::Filter::new`]; it can travel to a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pathspec {
    /// What a match does.
    pub sign: Sign,
    /// How the pattern is matched.
    pub keyword: Keyword,
    /// The pattern without its keyword.
    pub pattern: Vec<u8>,
    /// What stood after ` -> `.
    pub value: Option<Vec<u8>>,
}

/// Why some patterns cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No keyword stands before the pattern.
    #[error(
        "pattern \"{}\": it has to start with Name, Path, BelowPath, Regex or Glob and a space, as in \"Name *.tmp\"",
        Escaped(.0)
    )]
    Keyword(Vec<u8>),
    /// The pattern itself is malformed.
    #[error("pattern \"{spec}\": {why}")]
    Malformed {
        /// The whole pattern.
        spec: Box<Pathspec>,
        /// What is wrong with it.
        why: String,
    },
    /// All patterns together are too large.
    #[error("the patterns are too large or too many to be compiled: {0}")]
    TooLarge(String),
}

impl Pathspec {
    /// Parses one pattern, and checks that it can be compiled.
    pub fn parse(text: &[u8]) -> Result<Pathspec, FilterError> {
        let arrow = text.windows(4).rposition(|w| w == b" -> ");
        let (clause, value) = match arrow {
            Some(at) => (&text[..at], Some(text[at + 4..].trim_ascii().to_vec())),
            None => (text, None),
        };
        let clause = clause.trim_ascii();
        let (sign, rest) = match clause {
            [b'a', b'd', b'd', b' ', rest @ ..] => (Sign::Add, rest.trim_ascii_start()),
            [b'd', b'e', b'l', b' ', rest @ ..] => (Sign::Del, rest.trim_ascii_start()),
            [b'a', b's', b's', b'o', b'c', b' ', rest @ ..] => (Sign::Assoc, rest.trim_ascii_start()),
            rest => (Sign::Add, rest),
        };
        let (keyword, pattern) = Keyword::ALL
            .iter()
            .find_map(|&k| Some((k, rest.strip_prefix(k.as_str().as_bytes())?.strip_prefix(b" ")?)))
            .ok_or_else(|| FilterError::Keyword(text.to_vec()))?;
        let spec = Pathspec { sign, keyword, pattern: pattern.trim_ascii().to_vec(), value };
        let regex = spec.to_regex()?;
        match regex::bytes::Regex::new(&regex) {
            Ok(_) => Ok(spec),
            Err(e) => Err(FilterError::Malformed { why: e.to_string(), spec: Box::new(spec) }),
        }
    }

    /// Returns a regular expression that matches exactly the paths that the pattern matches.
    pub(super) fn to_regex(&self) -> Result<String, FilterError> {
        self.translate().map_err(|why| FilterError::Malformed { spec: Box::new(self.clone()), why })
    }

    fn translate(&self) -> Result<String, String> {
        if self.pattern.is_empty() {
            return Err("nothing follows the keyword".into());
        }
        if self.pattern.len() > MAX_PATTERN {
            return Err(format!("it is longer than {MAX_PATTERN} bytes"));
        }
        if self.pattern.starts_with(b"/") && self.keyword != Keyword::Glob {
            return Err("it must not start with a slash: paths are relative to the root".into());
        }
        let whole = |inner: &str| format!(r"(?s)\A(?:{inner})\z");
        let name = |inner: &str| format!(r"(?s)\A(?-u:.*/)?(?:{inner})\z");
        let below = |inner: &str| format!(r"(?s)\A(?:{inner})(?-u:/.*)?\z");
        Ok(match self.keyword {
            Keyword::Name => name(&glob::to_regex(&self.pattern)?),
            Keyword::Path => whole(&glob::to_regex(&self.pattern)?),
            Keyword::BelowPath => below(&glob::to_regex(&self.pattern)?),
            Keyword::NameString => name(&literal(&self.pattern)),
            Keyword::String => whole(&literal(&self.pattern)),
            Keyword::BelowString => below(&literal(&self.pattern)),
            Keyword::Regex => whole(&ere::to_regex(&self.pattern)?),
            Keyword::Glob => gitignore(&self.pattern)?,
        })
    }
}

/// Shows the pattern as it would be written, control characters escaped.
impl Pathspec {
    /// Returns it without what stands behind its arrow.
    pub fn without_value(&self) -> Pathspec {
        Pathspec { value: None, ..self.clone() }
    }
}

impl fmt::Display for Pathspec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sign {
            Sign::Add => {}
            Sign::Del => f.write_str("del ")?,
            Sign::Assoc => f.write_str("assoc ")?,
        }
        write!(f, "{} {}", self.keyword.as_str(), Escaped(&self.pattern))?;
        match &self.value {
            Some(value) => write!(f, " -> {}", Escaped(value)),
            None => Ok(()),
        }
    }
}

/// Quotes may stand around a literal, so that it can start or end with a space.
fn literal(pattern: &[u8]) -> String {
    let inner = pattern.strip_prefix(b"'").and_then(|p| p.strip_suffix(b"'")).unwrap_or(pattern);
    let mut regex = String::new();
    super::units::units(inner).into_iter().for_each(|unit| super::units::push_literal(&mut regex, unit));
    regex
}

/// Without a slash inside, a gitignore pattern matches in every directory; with one, from the root.
fn gitignore(pattern: &[u8]) -> Result<String, String> {
    let text = str::from_utf8(pattern).map_err(|_| "a Glob has to be UTF-8".to_string())?;
    if text.starts_with('!') {
        return Err("an exception is written as ignorenot, without the !".into());
    }
    if text.ends_with('/') {
        return Err("whether a path is a directory is not looked at: leave the slash at the end out".into());
    }
    let anchored = match text.strip_prefix('/') {
        Some(rest) => rest.to_string(),
        None if text.contains('/') => text.to_string(),
        None => format!("**/{text}"),
    };
    let glob = globset::GlobBuilder::new(&anchored).literal_separator(true).backslash_escape(true).build();
    Ok(glob.map_err(|e| e.kind().to_string())?.regex().to_string())
}
