//! The [`Config`] is what the configuration file says: one [`Block`] for each `[[sync]]`, its options joined with those
//! of `[defaults]` and given their meaning. What is wrong with it is said with file, line and column.

use crate::core::escaped::Escaped;
use crate::daemon::metrics::Address;
use crate::environment::Environment;
use crate::options::table::{self, Kind, OptionDef};
use crate::options::{CaptureChoice, OptionError, Options, Origin, RootsWanted, Setting};
use crate::roots::{Root, RootError};
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The longest file that is read as a configuration, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// So many blocks are taken at the most.
const MAX_BLOCKS: usize = 1000;

/// A configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file.
    pub path: PathBuf,
    /// What is to be kept the same; at least one.
    pub blocks: Vec<Block>,
    /// Where archives and the control socket lie.
    pub state_dir: PathBuf,
    /// Where Prometheus asks.
    pub metrics: Option<Address>,
}

/// One `[[sync]]`: a root of this host, and its peers.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Its name; without one, the root as it was written.
    pub name: String,
    /// What is wanted. The first root is on this host, the others are its peers.
    pub options: Options,
}

/// A place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: Arc<Path>,
    line: usize,
    column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", Escaped(self.path.as_os_str().as_bytes()), self.line, self.column)
    }
}

/// Why a configuration cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", Escaped(path.as_os_str().as_bytes()))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It names nothing to keep the same, as the example that a package installs.
    #[error("{place}: there is no [[sync]]: name a root and its peers in one")]
    Empty {
        /// Where.
        place: Place,
    },
    /// It is no TOML, or not what stands in a configuration.
    #[error("{place}: {why}")]
    Wrong {
        /// Where.
        place: Place,
        /// What is wrong.
        why: String,
    },
    /// There is no such key.
    #[error("{place}: there is no {what} \"{}\"{}", Escaped(name.as_bytes()), nearest.map(|n| format!("; the nearest is {n}")).unwrap_or_default())]
    Unknown {
        /// Where.
        place: Place,
        /// Of which kind it would be.
        what: &'static str,
        /// The name that was written.
        name: String,
        /// The known name that comes nearest.
        nearest: Option<&'static str>,
    },
    /// A root cannot be understood.
    #[error("{place}: {why}")]
    Root {
        /// Where.
        place: Place,
        /// Why: a part of what is said, and so no source.
        why: RootError,
    },
    /// An option, which says where it stands.
    #[error(transparent)]
    Option(Box<OptionError>),
    /// The options of a block do not go together.
    #[error("{place}: {why}")]
    Block {
        /// Where the block begins.
        place: Place,
        /// Why, likewise.
        why: Box<OptionError>,
    },
}

/// Options that are about one pass of one command, or are told otherwise here.
const NOT_HERE: &[(&str, &str)] = &[
    ("dry-run", "it is for one pass: use it with `vfsync sync`"),
    ("testserver", "it is for one pass: use it with `vfsync sync`"),
    ("confirm-deletes", "it is for one pass: `vfsync resume` lets through what a guard has halted"),
    ("json", "it is for a command line"),
    ("debug", "it is for a command line: VFSYNC_LOG says how much a daemon logs"),
    ("profile", "a configuration has no profiles: `vfsync sync -profile` reads one"),
    ("include", "a configuration is one file"),
    ("source", "a configuration is one file"),
    ("repeat", "the daemon follows changes; a timer or a crontab repeats `vfsync cron`"),
];

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// With the file, and the line and column of the first mistake.
    pub fn load(path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(failed(io::Error::other(format!("it is longer than {MAX_FILE} bytes"))));
        }
        let text = String::from_utf8(bytes).map_err(|_| failed(io::Error::other("it is not UTF-8")))?;
        Config::parse(path, &text, environment)
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// With the line and column of the first mistake.
    pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Config, ConfigError> {
        Reader { path: path.into(), text, environment }.config()
    }
}

struct Reader<'a> {
    path: Arc<Path>,
    text: &'a str,
    environment: &'a Environment,
}

/// One block as it is written.
struct Written {
    at: Range<usize>,
    name: Option<(String, Range<usize>)>,
    root: Option<(String, Range<usize>)>,
    peers: Vec<(String, Range<usize>)>,
    settings: Vec<Setting>,
}

impl Reader<'_> {
    fn place(&self, at: usize) -> Place {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        Place { path: self.path.clone(), line, column }
    }

    fn wrong(&self, at: &Range<usize>, why: impl Into<String>) -> ConfigError {
        ConfigError::Wrong { place: self.place(at.start), why: why.into() }
    }

    fn origin(&self, at: &Range<usize>) -> Origin {
        let Place { path, line, column } = self.place(at.start);
        Origin::Config { path, line, column }
    }

    fn config(&self) -> Result<Config, ConfigError> {
        let document = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            self.wrong(&at, error.message())
        })?;
        let mut defaults = None;
        let mut metrics = None;
        let mut blocks = None;
        for (key, value) in document.get_ref() {
            match key.get_ref().as_ref() {
                "defaults" => defaults = Some(value),
                "sync" => blocks = Some((key.span(), value)),
                "daemon" => metrics = self.daemon(self.table(value, "[daemon]")?)?,
                other => {
                    let known = ["defaults", "sync", "daemon"];
                    return Err(self.unknown(&key.span(), "table", other, nearest_of(other, known)));
                }
            }
        }
        let defaults = match defaults {
            None => Vec::new(),
            Some(value) => self.settings(self.table(value, "[defaults]")?)?,
        };
        let Some((at, blocks)) = blocks else {
            return Err(ConfigError::Empty { place: self.place(0) });
        };
        let DeValue::Array(blocks) = blocks.get_ref() else {
            return Err(self.wrong(&at, "write [[sync]] with two brackets: there can be several of it"));
        };
        if blocks.is_empty() || blocks.len() > MAX_BLOCKS {
            let why = format!("there are {} [[sync]]; 1 to {MAX_BLOCKS} can be", blocks.len());
            return Err(self.wrong(&at, why));
        }
        let mut read: Vec<(Range<usize>, Block)> = Vec::new();
        for value in blocks.iter() {
            let written = self.block(value.span(), self.table(value, "[[sync]]")?)?;
            let block = self.meaning(&defaults, &written)?;
            self.check_beside(&written, &block, &read)?;
            read.push((written.at, block));
        }
        let blocks: Vec<Block> = read.into_iter().map(|(_, block)| block).collect();
        // It can only stand in [defaults], so that all have the same.
        let state_dir = blocks[0].options.command.state_dir.clone();
        Ok(Config { path: self.path.to_path_buf(), blocks, state_dir, metrics })
    }

    fn unknown(
        &self,
        at: &Range<usize>,
        what: &'static str,
        name: &str,
        nearest: Option<&'static str>,
    ) -> ConfigError {
        ConfigError::Unknown { place: self.place(at.start), what, name: name.to_owned(), nearest }
    }

    fn table<'v, 'i>(
        &self,
        value: &'v Spanned<DeValue<'i>>,
        name: &str,
    ) -> Result<&'v DeTable<'i>, ConfigError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            other => {
                let why = format!("{name} has to be a table, not {}", type_of(other));
                Err(self.wrong(&value.span(), why))
            }
        }
    }

    /// Reads what concerns the daemon itself.
    fn daemon(&self, table: &DeTable<'_>) -> Result<Option<Address>, ConfigError> {
        let mut metrics = None;
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "metrics" => {
                    let address = self.text_of(value)?.parse();
                    metrics = Some(address.map_err(|why: String| self.wrong(&value.span(), why))?);
                }
                other => {
                    return Err(self.unknown(&key.span(), "key", other, nearest_of(other, ["metrics"])));
                }
            }
        }
        Ok(metrics)
    }

    /// Reads the options of `[defaults]`.
    fn settings(&self, table: &DeTable<'_>) -> Result<Vec<Setting>, ConfigError> {
        let mut settings = Vec::new();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" | "root" | "peers" => {
                    return Err(self.wrong(&key.span(), "this stands in a [[sync]], not in [defaults]"));
                }
                _ => self.option(key, value, &mut settings)?,
            }
        }
        Ok(settings)
    }

    fn block(&self, at: Range<usize>, table: &DeTable<'_>) -> Result<Written, ConfigError> {
        let mut block = Written { at, name: None, root: None, peers: Vec::new(), settings: Vec::new() };
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "name" => block.name = Some((self.text_of(value)?, value.span())),
                "root" => block.root = Some((self.text_of(value)?, value.span())),
                "peers" => block.peers = self.texts(value)?,
                "state-dir" => {
                    let why = "state-dir stands in [defaults]: a process has one";
                    return Err(self.wrong(&key.span(), why));
                }
                _ => self.option(key, value, &mut block.settings)?,
            }
        }
        Ok(block)
    }

    /// Reads one option.
    fn option(
        &self,
        key: &Spanned<toml::de::DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
        settings: &mut Vec<Setting>,
    ) -> Result<(), ConfigError> {
        let name = key.get_ref().as_ref();
        let Some(def) = table::find(name) else {
            let own = nearest_of(name, ["name", "root", "peers"]);
            let distance = |known: &&str| strsim::damerau_levenshtein(&name.to_lowercase(), known);
            let near = own.into_iter().chain(table::nearest(name)).min_by_key(distance);
            return Err(self.unknown(&key.span(), "option", name, near));
        };
        if let Some((_, why)) = NOT_HERE.iter().find(|(not, _)| *not == def.name) {
            return Err(self.wrong(&key.span(), format!("{} cannot stand here: {why}", def.name)));
        }
        for (value, at) in self.values(def, value)? {
            let value = value.into_bytes();
            settings.push(Setting { def, value, origin: self.origin(&at) });
        }
        Ok(())
    }

    /// Reads the value of an option: of a list each, and none if it is empty.
    fn values(
        &self,
        def: &OptionDef,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<(String, Range<usize>)>, ConfigError> {
        let wants = match def.kind {
            Kind::Bool => "true or false",
            Kind::BoolOrDefault => "true, false or \"default\"",
            Kind::Int => "a number",
            Kind::Text => "a text in quotes",
            Kind::List | Kind::Pathspecs => "a list of texts, as in [\"…\", \"…\"]",
        };
        let at = value.span();
        let one = match (def.kind, value.get_ref()) {
            (Kind::List | Kind::Pathspecs, DeValue::Array(_) | DeValue::String(_)) => {
                return self.texts(value);
            }
            (Kind::Bool | Kind::BoolOrDefault, DeValue::Boolean(on)) => on.to_string(),
            (Kind::BoolOrDefault, DeValue::String(text)) => text.to_string(),
            // `max-delete` and its like take a number as well as a text; a number may be written as one.
            (Kind::Int | Kind::Text, DeValue::Integer(number)) => number.to_string(),
            (Kind::Int | Kind::Text, DeValue::String(text)) => text.to_string(),
            (_, other) => {
                let why = format!("{} takes {wants}, not {}", def.name, type_of(other));
                return Err(self.wrong(&at, why));
            }
        };
        Ok(vec![(one, at)])
    }

    fn text_of(&self, value: &Spanned<DeValue<'_>>) -> Result<String, ConfigError> {
        match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            other => Err(self.wrong(&value.span(), format!("a text is wanted, not {}", type_of(other)))),
        }
    }

    fn texts(&self, value: &Spanned<DeValue<'_>>) -> Result<Vec<(String, Range<usize>)>, ConfigError> {
        match value.get_ref() {
            DeValue::Array(values) => {
                values.iter().map(|value| Ok((self.text_of(value)?, value.span()))).collect()
            }
            _ => Ok(vec![(self.text_of(value)?, value.span())]),
        }
    }

    /// Gives a block its meaning.
    fn meaning(&self, defaults: &[Setting], written: &Written) -> Result<Block, ConfigError> {
        let Some((root, root_at)) = &written.root else {
            return Err(self.wrong(&written.at, "this [[sync]] has no root"));
        };
        if written.peers.is_empty() {
            return Err(self.wrong(&written.at, "this [[sync]] has no peers: name one root or more"));
        }
        let def = table::find("root").expect("the table has root");
        let mut settings = [defaults, &written.settings].concat();
        for (nth, (text, at)) in std::iter::once((root, root_at))
            .chain(written.peers.iter().map(|(peer, at)| (peer, at)))
            .enumerate()
        {
            let parsed = Root::parse(text.as_ref());
            let parsed = parsed.map_err(|why| ConfigError::Root { place: self.place(at.start), why })?;
            match parsed {
                Root::Local(path) if !path.is_absolute() => {
                    let why =
                        format!("\"{text}\" is relative: a daemon has no working directory to start from");
                    return Err(self.wrong(at, why));
                }
                Root::Remote(_) if nth == 0 => {
                    let why = "the root of a [[sync]] is on this host; name those of other hosts in peers";
                    return Err(self.wrong(at, why));
                }
                Root::Local(_) | Root::Remote(_) => {}
            }
            settings.push(Setting { def, value: text.clone().into_bytes(), origin: self.origin(at) });
        }
        let options = Options::from_settings(&settings, RootsWanted::Star, self.environment);
        let options = options.map_err(|source| match source {
            // These do not say where they stand.
            OptionError::Roots(_)
            | OptionError::Root(_)
            | OptionError::Contradiction(_)
            | OptionError::NoStateDir
            | OptionError::NoWorkingDirectory(_) => {
                ConfigError::Block { place: self.place(written.at.start), why: Box::new(source) }
            }
            placed => ConfigError::Option(Box::new(placed)),
        })?;
        let name = match &written.name {
            Some((name, at)) if name.is_empty() || name.chars().any(char::is_control) => {
                return Err(self.wrong(at, "a name is a line of text"));
            }
            Some((name, _)) => name.clone(),
            None => root.clone(),
        };
        Ok(Block { name, options })
    }

    /// Refuses what contradicts the blocks before it.
    fn check_beside(
        &self,
        written: &Written,
        block: &Block,
        others: &[(Range<usize>, Block)],
    ) -> Result<(), ConfigError> {
        for (_, other) in others {
            if other.name == block.name {
                let at = written.name.as_ref().map_or(&written.at, |(_, at)| at);
                let why = format!("there is a [[sync]] with the name \"{}\" already", block.name);
                return Err(self.wrong(at, why));
            }
            let same_root = is_same(&other.options.roots[0], &block.options.roots[0]);
            if same_root && other.options.replica != block.options.replica {
                let why = format!(
                    "this root is in \"{}\" as well, and how it is kept (fastcheck, links, capture, fsync, max-delete, \
                     mountpoint …) differs: it can only be kept one way",
                    other.name
                );
                return Err(self.wrong(&written.at, why));
            }
            let (mine, theirs) = (block.options.replica.capture, other.options.replica.capture);
            if mine != theirs && mine != CaptureChoice::Scan && theirs != CaptureChoice::Scan {
                let why = format!(
                    "capture differs from the one of \"{}\": one capture serves all of them, so say it in [defaults]",
                    other.name
                );
                return Err(self.wrong(&written.at, why));
            }
        }
        Ok(())
    }
}

/// Returns what a value is, with its article.
fn type_of(value: &DeValue<'_>) -> String {
    let name = value.type_str();
    let article = if name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {name}")
}

fn is_same(a: &Root, b: &Root) -> bool {
    match (a, b) {
        (Root::Local(a), Root::Local(b)) => a.components().eq(b.components()),
        _ => false,
    }
}

/// Returns the nearest of some names to one that does not exist, if any comes near.
fn nearest_of<const N: usize>(name: &str, known: [&'static str; N]) -> Option<&'static str> {
    let near = |known: &'static str| (strsim::damerau_levenshtein(&name.to_lowercase(), known), known);
    known.into_iter().map(near).filter(|(distance, _)| *distance <= 2).min().map(|(_, known)| known)
}

#[cfg(test)]
mod tests;
