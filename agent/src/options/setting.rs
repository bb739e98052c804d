//! A [`Setting`] is one option with its value, and where it was written, for the sake of messages.

use super::table::{self, Kind, OptionDef, Status};
use crate::core::escaped::Escaped;
use crate::core::filter::FilterError;
use crate::roots::RootError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where an option was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    CommandLine,
    /// In a profile.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
    },
    /// In the configuration.
    Config {
        /// The file.
        path: Arc<Path>,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
    },
}

/// How an option is named to the person who wrote it there: `option -perms`, or `x.prf:12: perms`.
struct At<'a>(&'a Origin, &'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Origin::CommandLine => write!(f, "option -{}", Escaped(self.1.as_bytes())),
            Origin::File { path, line } => {
                write!(
                    f,
                    "{}:{line}: option {}",
                    Escaped(path.as_os_str().as_encoded_bytes()),
                    Escaped(self.1.as_bytes())
                )
            }
            Origin::Config { path, line, column } => {
                let path = Escaped(path.as_os_str().as_encoded_bytes());
                write!(f, "{path}:{line}:{column}: option {}", Escaped(self.1.as_bytes()))
            }
        }
    }
}

/// One option with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The option.
    pub def: &'static OptionDef,
    /// Its value, as written.
    pub value: Vec<u8>,
    /// Where it was written.
    pub origin: Origin,
}

/// Why options cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum OptionError {
    /// There is no such option.
    #[error("{}: there is no such option{}", At(origin, name), did_you_mean(*nearest))]
    Unknown {
        /// The name that was written.
        name: String,
        /// The known name that comes nearest.
        nearest: Option<&'static str>,
        /// Where.
        origin: Origin,
    },
    /// No value follows the option.
    #[error("option -{0}: a value has to follow it")]
    NoValue(&'static str),
    /// The value cannot be taken.
    #[error("{}: the value \"{}\" cannot be taken: {why}", At(origin, name), Escaped(value))]
    Value {
        /// The option.
        name: &'static str,
        /// The value.
        value: Vec<u8>,
        /// What is wrong with it.
        why: String,
        /// Where.
        origin: Origin,
    },
    /// The pattern cannot be taken.
    #[error("{}: {fault}", At(origin, name))]
    Pattern {
        /// The option.
        name: &'static str,
        /// What is wrong.
        fault: FilterError,
        /// Where.
        origin: Origin,
    },
    /// Unison knows the option, this version of vfsync does not follow it.
    #[error(
        "{}: this version of vfsync does not do that yet{}; take the option out, or stay with Unison where it is needed",
        At(origin, name),
        works_with(works)
    )]
    Later {
        /// The option.
        name: &'static str,
        /// The values that would do.
        works: &'static [&'static str],
        /// Where.
        origin: Origin,
    },
    /// There is something else for it.
    #[error("{}: vfsync does not have it; {hint}", At(origin, name))]
    Instead {
        /// The option.
        name: &'static str,
        /// What to do.
        hint: &'static str,
        /// Where.
        origin: Origin,
    },
    /// More than one of them.
    #[error("{}", together(.0))]
    Several(Vec<OptionError>),
    /// A root cannot be understood.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The roots do not go together, or there are too many or too few.
    #[error("{0}")]
    Roots(String),
    /// Options contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// A file has to go somewhere, and where is not known.
    #[error("there is no HOME to keep the state in: say where with -state-dir")]
    NoStateDir,
    /// A relative path was given and the working directory is gone.
    #[error("{path} is relative, and the working directory cannot be told", path = .0.display())]
    NoWorkingDirectory(PathBuf),
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|n| format!("; the nearest is -{n}")).unwrap_or_default()
}

fn works_with(works: &[&str]) -> String {
    if works.is_empty() { String::new() } else { format!(" (only {})", works.join(", ")) }
}

impl OptionError {
    /// Returns one error for all of them; none if there are none. Whoever brings a long list of options wants to mend it in
    /// one go.
    pub fn all_of(mut errors: Vec<OptionError>) -> Result<(), OptionError> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(OptionError::Several(errors)),
        }
    }
}

fn together(errors: &[OptionError]) -> String {
    let lines: String = errors.iter().map(|error| format!("\n  {error}")).collect();
    format!("{} options cannot be followed:{lines}", errors.len())
}

impl Setting {
    /// Finds the option and takes the value unread.
    pub fn new(name: &str, value: &[u8], origin: Origin) -> Result<Setting, OptionError> {
        match table::find(name) {
            Some(def) => Ok(Setting { def, value: value.to_vec(), origin }),
            None => {
                Err(OptionError::Unknown { name: name.to_string(), nearest: table::nearest(name), origin })
            }
        }
    }

    /// Returns the error for a value that cannot be taken.
    pub(super) fn refused(&self, why: String) -> OptionError {
        OptionError::Value {
            name: self.def.name,
            value: self.value.clone(),
            why,
            origin: self.origin.clone(),
        }
    }

    /// Returns the line of notice if the option has no effect, or an error if it cannot be followed. `None` means that
    /// it is to be applied; a value that says what vfsync does anyway is neither an error nor applied.
    pub(super) fn check_status(&self) -> Result<Followed, OptionError> {
        let (name, origin) = (self.def.name, self.origin.clone());
        match self.def.status {
            Status::Works => Ok(Followed::Apply),
            Status::NoEffect(why) => {
                Ok(Followed::Notice(format!("{} has no effect: {why}", At(&self.origin, name))))
            }
            Status::Later(works) if works.iter().any(|w| self.says(w)) => Ok(Followed::Already),
            Status::Later(works) => Err(OptionError::Later { name, works, origin }),
            Status::Instead(hint) => Err(OptionError::Instead { name, hint, origin }),
        }
    }

    fn says(&self, accepted: &str) -> bool {
        match (self.def.kind, accepted) {
            (Kind::Bool | Kind::BoolOrDefault, "false") => matches!(&self.value[..], b"false" | b"no"),
            (Kind::Bool | Kind::BoolOrDefault, "default") => matches!(&self.value[..], b"default" | b"auto"),
            _ => self.value == accepted.as_bytes(),
        }
    }
}

/// What becomes of a setting.
pub(super) enum Followed {
    /// It is applied.
    Apply,
    /// It has no effect, and this is said.
    Notice(String),
    /// It says what vfsync does anyway.
    Already,
}
