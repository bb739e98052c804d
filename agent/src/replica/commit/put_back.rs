//! Taking a swap back, in a tree that may have moved on once more.

use super::checkpoint::checkpoint;
use super::stage::CameBack;
use super::{Backup, CommitError, Committer, Staged};
use crate::core::path::Name;
use crate::fs::{Dir, Meta, change};
use rustix::io::Errno;

/// How often somebody may change the name between two of our steps before we only save what we have.
const TRIES: usize = 8;

/// Why a swap is taken back.
#[derive(Debug)]
pub(super) enum Reason {
    /// Something else came out than was expected.
    Changed,
    /// Somebody is about to write to what came out.
    Opened,
    /// A directory came out that holds this.
    NotEmpty(Name),
}

impl Committer {
    /// Exchanges back, and looks at what comes out this time. What others made goes to the name, the newest of it
    /// that is known to be so; ours goes away; what finds no place is kept as a backup.
    ///
    /// RACE: each step can meet a further change. Worst outcome: of several versions that others put at the name
    /// within microseconds, one stands there and the others are backups, not always in the order of their making.
    pub(super) fn exchange_back(&self, mut staged: Staged, before: &Meta, reason: Reason) -> CommitError {
        let (dir, name) = (staged.dir.clone(), staged.target.clone());
        let backup = match staged.reserved_name() {
            Ok(reserved) => self.put_theirs_at_the_name(&mut staged, &reserved, before),
            // It has a name: it was exchanged under it.
            Err(e) => return e,
        };
        let path = dir.path_of(&name);
        match (reason, backup) {
            (Reason::Opened, None) => CommitError::Busy { path },
            (Reason::NotEmpty(holds), None) => CommitError::NotEmpty { path, holds },
            (_, backup) => CommitError::stale_with(&dir, &name, backup.into_iter().collect()),
        }
    }

    fn put_theirs_at_the_name(&self, staged: &mut Staged, reserved: &Name, before: &Meta) -> Option<Backup> {
        let (dir, name) = (staged.dir.clone(), staged.target.clone());
        for _ in 0..TRIES {
            checkpoint("exchange back");
            match change::exchange(&dir, reserved, &name) {
                Ok(()) => match staged.came_back_as(reserved, before) {
                    // Ours is out and goes with `staged`.
                    CameBack::Untouched => return None,
                    // Theirs stands at the name, and what they may write to ours goes to the backup.
                    CameBack::Opened => break,
                    CameBack::Changed => {
                        // They replaced or changed what we had put there: newer than what has just gone back.
                        checkpoint("exchanged back");
                        // If it fails, what is newest becomes the backup: saved all the same.
                        let _ = change::exchange(&dir, reserved, &name);
                        break;
                    }
                },
                // They removed what we had put there. What they had before, nobody but them has seen: it goes back.
                Err(Errno::NOENT) => match change::rename_noreplace(&dir, reserved, &dir, &name) {
                    Ok(()) => {
                        staged.forget_reserved_name();
                        return None;
                    }
                    Err(Errno::EXIST) => {}
                    Err(_) => break,
                },
                Err(_) => break,
            }
        }
        staged.forget_reserved_name();
        Some(self.backups.keep(&dir, reserved, &name))
    }

    /// Gives what was moved aside its name back; keeps it as a backup if somebody has filled the name meanwhile.
    pub(super) fn move_back(&self, dir: &Dir, aside: &Name, name: &Name) -> Option<Backup> {
        checkpoint("move back");
        match change::rename_noreplace(dir, aside, dir, name) {
            Ok(()) => None,
            Err(_) => Some(self.backups.keep(dir, aside, name)),
        }
    }
}
