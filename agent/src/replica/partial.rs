//! A *partial* is what had come of a large file when the connection broke, under a reserved name beside where it will
//! stand. When the file is offered again, whatever became of it meanwhile, it is what the recipe is made over: so what it
//! holds is compared chunk by chunk and hashed in the end, and never trusted.

use super::Replica;
use crate::core::path::{Name, RelPath};
use crate::fs::{Dir, RESERVED_PREFIX, change, now};
use std::fs::File;
use std::io;
use std::time::Duration;

/// Less than this is not worth keeping, in bytes.
pub const LEAST: u64 = 1 << 20;
/// How long one is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// Returns the name of what has come of a file: 32 hexadecimal digits of the BLAKE3 hash of its own, which may be too long
/// to be lengthened.
pub(crate) fn name(of: &Name) -> Name {
    let digits: String =
        blake3::hash(of.as_bytes()).as_bytes()[..16].iter().map(|b| format!("{b:02x}")).collect();
    let name = [RESERVED_PREFIX, b"part.", digits.as_bytes()].concat();
    Name::new(&name).expect("it is short")
}

fn is_partial(name: &Name) -> bool {
    name.as_bytes().strip_prefix(RESERVED_PREFIX).is_some_and(|rest| rest.starts_with(b"part."))
}

impl Replica {
    /// Opens what a recipe for the file at `path` is made over: what had come of it or what stands there, whichever is
    /// longer.
    ///
    /// # Errors
    /// When neither can be read.
    pub fn basis(&self, path: &RelPath) -> io::Result<File> {
        let Some((parent, at)) = path.split() else { return Err(io::ErrorKind::IsADirectory.into()) };
        let dir = self.dir.open_dir(&parent)?;
        match (dir.open_file_and_look(&name(&at)), dir.open_file_and_look(&at)) {
            (Ok((partial, had_come)), Ok((_, stands))) if had_come.stamp.size > stands.stamp.size => {
                Ok(partial)
            }
            (_, Ok((file, _))) | (Ok((file, _)), Err(_)) => Ok(file),
            (Err(_), Err(error)) => Err(error),
        }
    }

    /// Returns whether something of a file had come before.
    pub fn has_partial(&self, path: &RelPath) -> bool {
        let Some((parent, at)) = path.split() else { return false };
        self.dir.open_dir(&parent).is_ok_and(|dir| matches!(dir.stat(&name(&at)), Ok(Some(_))))
    }

    /// Removes what had come of a file before, if anything had.
    pub fn discard_partial(&self, path: &RelPath) {
        let Some((parent, at)) = path.split() else { return };
        // What cannot be removed is tried again when it is old.
        let _ = self.dir.open_dir(&parent).map(|dir| change::unlink(&dir, &name(&at)));
    }

    /// Removes the partials among some names that nobody came back for.
    pub(super) fn expire_partials(&self, dir: &Dir, reserved: &[Name]) {
        for name in reserved.iter().filter(|name| is_partial(name)) {
            let Ok(Some(meta)) = dir.stat(name) else { continue };
            if meta.stamp.mtime.seconds.saturating_add(KEPT.as_secs() as i64) < now().seconds {
                let _ = change::unlink(dir, name);
            }
        }
    }

    /// Removes the partials among the names of a directory that is to go. Returns the others.
    pub(super) fn without_partials(&self, dir: &Dir, reserved: Vec<Name>) -> Vec<Name> {
        reserved.into_iter().filter(|name| !is_partial(name) || change::unlink(dir, name).is_err()).collect()
    }
}
