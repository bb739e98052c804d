//! Unison's profiles: files of lines `option = value`, which become settings.
//!
//! `#` starts a comment. `include NAME` and `source FILE` put another file in this place; with a `?` after the word
//! the file may be missing. A value is all that follows the first `=`.

use crate::core::escaped::Escaped;
use crate::options::{OptionError, Origin, Setting};
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest file that is read as a profile.
const MAX_FILE: u64 = 1 << 20;
/// How many files one profile may bring in, in all.
const MAX_FILES: usize = 256;

/// Why a profile cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// There is no such file.
    #[error("{}there is no profile {}; looked for {}", after(wanted_at.as_ref()), Escaped(name.as_bytes()), list(looked))]
    NotFound {
        /// What was asked for.
        name: OsString,
        /// Where it was looked for.
        looked: Vec<PathBuf>,
        /// The line that includes it.
        wanted_at: Option<Place>,
    },
    /// The file cannot be read.
    #[error("cannot read the profile {}", shown(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The line is neither an option nor an include.
    #[error("{place}: {why}: {}", Escaped(text))]
    Garbled {
        /// The line.
        place: Place,
        /// What is wrong.
        why: &'static str,
        /// What it says.
        text: Vec<u8>,
    },
    /// Files include each other in a circle.
    #[error("{place}: {} is being read already; files include each other in a circle", shown(path))]
    Cycle {
        /// The line.
        place: Place,
        /// The file.
        path: PathBuf,
    },
    /// The profile brings in too many files.
    #[error("{place}: more than {MAX_FILES} files are included")]
    TooMany {
        /// The line.
        place: Place,
    },
    /// There is no such option.
    #[error(transparent)]
    Option(#[from] OptionError),
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: Arc<Path>,
    line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", shown(&self.path), self.line)
    }
}

fn shown(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}

fn after(place: Option<&Place>) -> String {
    place.map(|place| format!("{place}: ")).unwrap_or_default()
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| shown(path)).collect::<Vec<_>>().join(", ")
}

/// Reads the profile that a person names: a file if there is a slash in it, else a name in Unison's directory, with or
/// without `.prf`, else a file in the working directory.
pub fn load(name: &OsStr, unison_dir: Option<&Path>) -> Result<Vec<Setting>, ProfileError> {
    let mut reader = Reader { unison_dir, settings: Vec::new(), open: Vec::new(), files: 0 };
    let places = match name.as_bytes().contains(&b'/') {
        true => with_extension(Path::new(name)),
        false => unison_dir
            .into_iter()
            .flat_map(|dir| with_extension(&dir.join(name)))
            .chain(with_extension(Path::new(name)))
            .collect(),
    };
    reader.read_first(name, places, Missing::IsAnError, None)?;
    Ok(reader.settings)
}

/// Reads a file of options that `-source` names: as it is, from the working directory or Unison's.
pub fn source(file: &OsStr, unison_dir: Option<&Path>) -> Result<Vec<Setting>, ProfileError> {
    let mut reader = Reader { unison_dir, settings: Vec::new(), open: Vec::new(), files: 0 };
    let places = std::iter::once(PathBuf::from(file)).chain(unison_dir.map(|dir| dir.join(file))).collect();
    reader.read_first(file, places, Missing::IsAnError, None)?;
    Ok(reader.settings)
}

fn with_extension(path: &Path) -> Vec<PathBuf> {
    let mut extended = path.as_os_str().to_owned();
    extended.push(".prf");
    vec![path.to_path_buf(), extended.into()]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsAnError,
    IsFine,
}

struct Reader<'a> {
    unison_dir: Option<&'a Path>,
    settings: Vec<Setting>,
    /// The files that are being read, each included by the one before it.
    open: Vec<PathBuf>,
    files: usize,
}

impl Reader<'_> {
    /// Reads the first of these files that is there.
    fn read_first(
        &mut self,
        name: &OsStr,
        places: Vec<PathBuf>,
        missing: Missing,
        wanted_at: Option<Place>,
    ) -> Result<(), ProfileError> {
        for path in &places {
            // A folder of that name is no profile; the next place may have one.
            if !path.is_dir()
                && let Some(text) = read(path)?
            {
                return self.read_file(path, &text, wanted_at);
            }
        }
        match missing {
            Missing::IsFine => Ok(()),
            Missing::IsAnError => {
                Err(ProfileError::NotFound { name: name.to_owned(), looked: places, wanted_at })
            }
        }
    }

    fn read_file(&mut self, path: &Path, text: &[u8], wanted_at: Option<Place>) -> Result<(), ProfileError> {
        let same = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        self.files += 1;
        if let Some(place) = wanted_at {
            if self.open.contains(&same) {
                return Err(ProfileError::Cycle { place, path: path.to_path_buf() });
            }
            if self.files > MAX_FILES {
                return Err(ProfileError::TooMany { place });
            }
        }
        self.open.push(same);
        let path: Arc<Path> = path.into();
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        for (at, line) in text.split(|&b| b == b'\n').enumerate() {
            self.read_line(Place { path: path.clone(), line: at + 1 }, line.trim_ascii())?;
        }
        self.open.pop();
        Ok(())
    }

    fn read_line(&mut self, place: Place, line: &[u8]) -> Result<(), ProfileError> {
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(());
        }
        if let Some((directive, file)) = directive(line) {
            return self.include(place, line, directive, file);
        }
        let garbled = |why| ProfileError::Garbled { place: place.clone(), why, text: line.to_vec() };
        let equals = line.iter().position(|&b| b == b'=').ok_or_else(|| garbled("the line has no ="))?;
        let name =
            str::from_utf8(line[..equals].trim_ascii()).map_err(|_| garbled("the name is not UTF-8"))?;
        if name.is_empty() {
            return Err(garbled("no name stands before the ="));
        }
        let origin = Origin::File { path: place.path.clone(), line: place.line };
        self.settings.push(Setting::new(name, line[equals + 1..].trim_ascii(), origin)?);
        Ok(())
    }

    fn include(
        &mut self,
        place: Place,
        line: &[u8],
        directive: Directive,
        file: &[u8],
    ) -> Result<(), ProfileError> {
        if file.is_empty() || file.starts_with(b"=") || file.contains(&0) {
            let why = "after include and source stands the name of a file, without =";
            return Err(ProfileError::Garbled { place, why, text: line.to_vec() });
        }
        let name = OsString::from_vec(file.to_vec());
        // Beside the file that includes it, then in Unison's directory.
        let beside = place.path.parent().map(|dir| dir.join(&name));
        let bases = beside.into_iter().chain(self.unison_dir.map(|dir| dir.join(&name)));
        let places = match directive.adds_extension {
            true => bases.flat_map(|base| with_extension(&base)).collect(),
            false => bases.collect(),
        };
        self.read_first(&name, places, directive.missing, Some(place))
    }
}

struct Directive {
    adds_extension: bool,
    missing: Missing,
}

/// Splits `include NAME` and its kin.
fn directive(line: &[u8]) -> Option<(Directive, &[u8])> {
    let (adds_extension, rest) = match line.strip_prefix(b"include") {
        Some(rest) => (true, rest),
        None => (false, line.strip_prefix(b"source")?),
    };
    let (missing, rest) = match rest.strip_prefix(b"?") {
        Some(rest) => (Missing::IsFine, rest),
        None => (Missing::IsAnError, rest),
    };
    let ends_here = rest.first().is_none_or(|b| b.is_ascii_whitespace() || *b == b'=');
    ends_here.then(|| (Directive { adds_extension, missing }, rest.trim_ascii()))
}

/// Reads a whole file; `None` if it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ProfileError> {
    let failed = |source| ProfileError::Read { path: path.to_path_buf(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(e) => return Err(failed(e)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::other(format!("it is longer than {MAX_FILE} bytes"))));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
