//! Files that change whenever they are read: how long each has been put off, and what is taken of it in the end.

use crate::core::path::Name;
use crate::core::path::RelPath;
use crate::fs::{Dir, Hashed, Meta, hash_start};
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// After so long a file that only grows is taken as it was at the start of a look.
const GROWS: Duration = Duration::from_secs(1);
/// After so long one that changes otherwise is reported, and looked at less often.
const REPORTED: Duration = Duration::from_secs(10);
/// So many are kept in mind; more are put off without a bound.
const KEPT: usize = 10_000;

/// Since when files are put off.
#[derive(Debug, Default)]
pub(super) struct Restless(Mutex<BTreeMap<RelPath, Instant>>);

/// What to do with a file that changed while it was read.
pub(super) enum PutOff {
    /// Look again soon.
    Again,
    /// It is a log or the like: this much of it stood still.
    Start(Hashed),
    /// It is time to say so.
    Report,
}

impl Restless {
    /// Notes that a file was quiet while it was read, or is gone.
    pub(super) fn quiet(&self, path: &RelPath) {
        self.0.lock().expect("no thread panics with this locked").remove(path);
    }

    /// Notes that a file changed while it was read.
    pub(super) fn changed(&self, dir: &Dir, name: &Name, path: &RelPath) -> PutOff {
        let put_off = {
            let mut since = self.0.lock().expect("no thread panics with this locked");
            if since.len() >= KEPT && !since.contains_key(path) {
                return PutOff::Again;
            }
            since.entry(path.clone()).or_insert_with(Instant::now).elapsed()
        };
        if put_off < GROWS {
            return PutOff::Again;
        }
        match start(dir, name) {
            Ok(Some(start)) => PutOff::Start(start),
            Ok(None) | Err(_) if put_off < REPORTED => PutOff::Again,
            Ok(None) | Err(_) => PutOff::Report,
        }
    }
}

/// Reads a file that grows twice, up to where it ended at first. Returns what it was then if both times agree: what was
/// read is then a state that it went through, and not a mixture of several.
fn start(dir: &Dir, name: &Name) -> io::Result<Option<Hashed>> {
    let (file, meta) = dir.open_file_and_look(name)?;
    let size = meta.stamp.size;
    let (first, second) = (hash_start(&file, size)?, hash_start(&file, size)?);
    let grown = Meta::of(&file)?.stamp.size >= size;
    Ok(match first {
        Some(digest) if grown && first == second => Some(Hashed { digest, size, meta, changed: false }),
        Some(_) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn set_up(age: Duration) -> (tempfile::TempDir, Dir, Name, RelPath, Restless) {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open_root(root.path()).unwrap();
        let (name, path) = (Name::new(b"log").unwrap(), RelPath::new(b"log").unwrap());
        fs::write(root.path().join("log"), b"line\n").unwrap();
        let since = Instant::now().checked_sub(age).unwrap();
        (root, dir, name, path.clone(), Restless(Mutex::new(BTreeMap::from([(path, since)]))))
    }

    #[test]
    fn a_file_that_grows_is_put_off_for_a_second_and_then_taken_as_far_as_it_stood() {
        let (_root, dir, name, path, restless) = set_up(Duration::ZERO);
        assert!(matches!(restless.changed(&dir, &name, &path), PutOff::Again));
        let (_root, dir, name, path, restless) = set_up(GROWS);
        let PutOff::Start(start) = restless.changed(&dir, &name, &path) else { panic!("it stood still") };
        assert_eq!((start.size, start.digest.0), (5, *blake3::hash(b"line\n").as_bytes()));
        restless.quiet(&path);
        assert!(matches!(restless.changed(&dir, &name, &path), PutOff::Again));
    }

    #[test]
    fn what_cannot_be_read_is_reported_in_the_end() {
        let (root, dir, name, path, restless) = set_up(REPORTED);
        fs::remove_file(root.path().join("log")).unwrap();
        assert!(matches!(restless.changed(&dir, &name, &path), PutOff::Report));
    }
}
