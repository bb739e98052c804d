//! A [`Filter`] says which paths a link leaves out: Unison's `ignore` and `ignorenot`, compiled once, and the names
//! that are never synchronised whatever anyone writes.
//!
//! A tree is walked from the top, and an ignored directory is not entered. So an exception below an ignored directory
//! has no effect, as in Unison; [`Filter::ignores_at_or_above`] answers the same for a path that was not walked to.

mod ere;
mod glob;
mod pathspec;
#[cfg(test)]
mod tests;
mod units;

pub use pathspec::{FilterError, Keyword, Pathspec, Sign};

use crate::core::path::RelPath;
use regex::bytes::{RegexSet, RegexSetBuilder};

/// Every component that begins with this belongs to vfsync: temporary files, cookies. Never synchronised.
pub const RESERVED_PREFIX: &[u8] = b".vfsync.";

/// What Unison ignores without being told, and `ignorenot` can bring back.
const ALWAYS_IGNORED: &[u8] = b"Name *.unison.bak";

/// How much memory the compiled patterns of one list may take.
const SIZE_LIMIT: usize = 32 << 20;

/// Returns whether a component is reserved for vfsync, or a temporary file of Unison.
pub fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(RESERVED_PREFIX)
        || (name.len() >= b".unison.".len() + b".unison.tmp".len()
            && name.starts_with(b".unison.")
            && name.ends_with(b".unison.tmp"))
}

/// The compiled patterns of one link.
#[derive(Debug, Clone)]
pub struct Filter {
    ends: Vec<End>,
    /// Left out with all below it, whatever anyone writes.
    own: Option<RelPath>,
}

/// What one end of a link ignores.
#[derive(Debug, Clone)]
struct End {
    ignore: List,
    ignorenot: List,
}

/// The patterns of one option, in the order they were given.
#[derive(Debug, Clone)]
struct List {
    set: RegexSet,
    signs: Vec<Sign>,
}

impl List {
    fn new(specs: &[&Pathspec], case_insensitive: bool) -> Result<List, FilterError> {
        let regexes = specs.iter().map(|spec| spec.to_regex()).collect::<Result<Vec<_>, _>>()?;
        let set = compile(regexes, case_insensitive)?;
        Ok(List { set, signs: specs.iter().map(|spec| spec.sign).collect() })
    }

    /// The last pattern that matches decides.
    fn has(&self, path: &[u8]) -> bool {
        // Most paths match nothing, and that is quicker to find out than what matches.
        self.set.is_match(path)
            && self
                .set
                .matches(path)
                .into_iter()
                .filter_map(|at| match self.signs[at] {
                    Sign::Add => Some(true),
                    Sign::Del => Some(false),
                    Sign::Assoc => None,
                })
                .next_back()
                .unwrap_or(false)
    }
}

/// Compiled patterns with exceptions: which paths something is meant for.
#[derive(Debug, Clone)]
pub struct PathSet {
    which: List,
    not: List,
}

impl PathSet {
    /// Compiles patterns, and the exceptions to them.
    ///
    /// # Errors
    /// When they are too many or too large together.
    pub fn new(which: &[Pathspec], not: &[Pathspec], case_insensitive: bool) -> Result<PathSet, FilterError> {
        let list = |specs: &[Pathspec]| List::new(&specs.iter().collect::<Vec<_>>(), case_insensitive);
        Ok(PathSet { which: list(which)?, not: list(not)? })
    }

    /// Returns whether the path is meant.
    pub fn has(&self, path: &RelPath) -> bool {
        self.which.has(path.as_bytes()) && !self.not.has(path.as_bytes())
    }
}

/// Compiled patterns that each give a path a value; of those that match, the last one counts.
#[derive(Debug, Clone)]
pub struct PathMap<T> {
    set: RegexSet,
    values: Vec<T>,
}

impl<T> PathMap<T> {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// When they are too many or too large together.
    pub fn new(pairs: Vec<(Pathspec, T)>, case_insensitive: bool) -> Result<PathMap<T>, FilterError> {
        let regexes = pairs.iter().map(|(spec, _)| spec.to_regex()).collect::<Result<Vec<_>, _>>()?;
        let set = compile(regexes, case_insensitive)?;
        Ok(PathMap { set, values: pairs.into_iter().map(|(_, value)| value).collect() })
    }

    /// Returns the value of a path, if it has one.
    pub fn get(&self, path: &RelPath) -> Option<&T> {
        self.all(path).next_back()
    }

    /// Returns the values of all patterns that match a path, in the order they were given.
    pub fn all(&self, path: &RelPath) -> impl DoubleEndedIterator<Item = &T> {
        let matched = if self.values.is_empty() {
            Vec::new()
        } else {
            self.set.matches(path.as_bytes()).into_iter().collect()
        };
        matched.into_iter().map(|at| &self.values[at])
    }
}

fn compile(regexes: Vec<String>, case_insensitive: bool) -> Result<RegexSet, FilterError> {
    RegexSetBuilder::new(regexes)
        .case_insensitive(case_insensitive)
        .size_limit(SIZE_LIMIT)
        .dfa_size_limit(SIZE_LIMIT)
        .build()
        .map_err(|e| FilterError::TooLarge(e.to_string()))
}

impl Filter {
    /// Compiles the patterns of one end.
    pub fn new(
        ignore: &[Pathspec],
        ignorenot: &[Pathspec],
        case_insensitive: bool,
    ) -> Result<Filter, FilterError> {
        let always = Pathspec::parse(ALWAYS_IGNORED)?;
        let ignore: Vec<&Pathspec> = std::iter::once(&always).chain(ignore).collect();
        let ignorenot: Vec<&Pathspec> = ignorenot.iter().collect();
        let end = End {
            ignore: List::new(&ignore, case_insensitive)?,
            ignorenot: List::new(&ignorenot, case_insensitive)?,
        };
        Ok(Filter { ends: vec![end], own: None })
    }

    /// Returns a filter that ignores what this one or the other ignores: each end of a link has a say.
    pub fn or(mut self, other: Filter) -> Filter {
        self.ends.extend(other.ends);
        self
    }

    /// Returns a filter that leaves out this path, too.
    pub fn without(self, own: Option<&RelPath>) -> Filter {
        Filter { own: own.cloned(), ..self }
    }

    /// Returns whether the path itself is ignored, never the root: `Name *` means what is in it. For a walk from the top, which does not enter what is ignored.
    pub fn ignores(&self, path: &RelPath) -> bool {
        if path.is_root() {
            return false;
        }
        let bytes = path.as_bytes();
        let name = bytes.rsplit(|&b| b == b'/').next().unwrap_or(bytes);
        is_reserved(name)
            || self.own.as_ref() == Some(path)
            || self.ends.iter().any(|end| end.ignore.has(bytes) && !end.ignorenot.has(bytes))
    }

    /// Returns whether the path or a directory above it is ignored. For a path that was not
    /// walked to.
    pub fn ignores_at_or_above(&self, path: &RelPath) -> bool {
        let mut next = Some(path.clone());
        while let Some(path) = next {
            if self.ignores(&path) {
                return true;
            }
            next = path.parent();
        }
        false
    }
}

impl Default for Filter {
    /// Returns a filter that ignores only what is never synchronised.
    fn default() -> Filter {
        Filter::new(&[], &[], false).expect("the built-in pattern compiles")
    }
}
