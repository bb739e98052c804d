//! Publishing something in place of what stands there: a compare-and-swap on a name.

use super::checkpoint::checkpoint;
use super::held::{Held, Since};
use super::put_back::Reason;
use super::{Backup, CommitError, Committer, Displaced, Expected, Published, Staged, Writers};
use crate::core::path::Name;
use crate::fs::{Capabilities, Dir, FileKind, Meta, attributes, change, temporary_name};
use rustix::io::Errno;

impl Committer {
    /// Puts what is prepared in the place of what stands there, whatever the kinds of the two, if that is what is
    /// expected. A directory gives way only if it is empty.
    ///
    /// A file hands those of its extended attributes on to the file that takes its place that this one was not told.
    ///
    /// RACE: an extended attribute that is set on the old file in the moment of the exchange does not show. Worst
    /// outcome: it is lost. A program that opens the old file for writing without waiting (`O_NONBLOCK`) while we hold
    /// the lease gets `EWOULDBLOCK`.
    pub fn replace(
        &self,
        mut staged: Staged,
        expected: &Expected,
        writers: Writers,
    ) -> Result<Published, CommitError> {
        let (dir, name) = (staged.dir.clone(), staged.target.clone());
        let capabilities =
            self.capabilities(&dir).map_err(CommitError::io("try the file system of", &dir, &name))?;
        let held = Held::take(&dir, &name, expected, writers, &capabilities)?;
        staged.ready()?;
        let before = hand_on_xattrs(&held, &staged)?;
        let reserved = staged.reserved_name()?;
        checkpoint("replace: held");
        match change::exchange(&dir, &reserved, &name) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return self.replace_by_moving_aside(staged, held, &before, &capabilities);
            }
            Err(Errno::NOENT) => return Err(CommitError::stale_or_gone(&dir, &name)),
            Err(e) => return Err(CommitError::io("replace", &dir, &name)(e)),
        }
        checkpoint("replace: exchanged");
        let reason = match held.since(&dir, &reserved) {
            Since::Unchanged => match self.dispose(&dir, &reserved, &name, held) {
                Ok(disposed) => {
                    staged.forget_reserved_name();
                    let published = self.published(&capabilities, &before, staged.meta()?, &staged);
                    return Ok(published.with(disposed));
                }
                Err(holds) => Reason::NotEmpty(holds),
            },
            Since::Opened => Reason::Opened,
            Since::Changed => Reason::Changed,
        };
        Err(self.exchange_back(staged, &before, reason))
    }

    /// The way without `RENAME_EXCHANGE`: what stands there is moved aside, then the name is filled.
    ///
    /// RACE: the name is empty for a moment. Worst outcome: a program does not find the file; killed in between, the
    /// old file is left under a reserved name only, from where recovery puts it back.
    fn replace_by_moving_aside(
        &self,
        mut staged: Staged,
        held: Held,
        before: &Meta,
        capabilities: &Capabilities,
    ) -> Result<Published, CommitError> {
        let (dir, name) = (staged.dir.clone(), staged.target.clone());
        let (reserved, aside) = (staged.reserved_name()?, temporary_name("tmp"));
        self.move_aside(&dir, &name, &aside, &held)?;
        checkpoint("replace: moved aside");
        match change::rename_noreplace(&dir, &reserved, &dir, &name) {
            Ok(()) => staged.forget_reserved_name(),
            Err(e) => {
                let backup = self.move_back(&dir, &aside, &name);
                return Err(match e {
                    Errno::EXIST => CommitError::stale_with(&dir, &name, backup.into_iter().collect()),
                    e => CommitError::io("replace", &dir, &name)(e),
                });
            }
        }
        let published = self.published(capabilities, before, staged.meta()?, &staged);
        match self.dispose(&dir, &aside, &name, held) {
            Ok(disposed) => Ok(published.with(disposed)),
            // A directory that was filled through a handle: it is kept whole.
            Err(_) => Ok(published.with(Disposed::Kept(self.backups.keep(&dir, &aside, &name)))),
        }
    }

    /// Renames what is held to a reserved name and makes sure that it was that which came along; else puts it back.
    pub(super) fn move_aside(
        &self,
        dir: &Dir,
        name: &Name,
        aside: &Name,
        held: &Held,
    ) -> Result<(), CommitError> {
        match change::rename_aside(dir, name, aside) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(CommitError::stale_or_gone(dir, name)),
            Err(e) => return Err(CommitError::io("move aside", dir, name)(e)),
        }
        checkpoint("moved aside");
        let since = held.since(dir, aside);
        if since == Since::Unchanged {
            return Ok(());
        }
        let backup = self.move_back(dir, aside, name);
        Err(match (since, &backup) {
            (Since::Opened, None) => CommitError::Busy { path: dir.path_of(name) },
            _ => CommitError::stale_with(dir, name, backup.into_iter().collect()),
        })
    }

    /// Does away with what was expected and is now under a reserved name: for good where that loses nothing, else as a
    /// backup. Answers with a name that an expected directory still holds.
    ///
    /// RACE: what stands under the reserved name was looked at a moment ago. Worst outcome: what somebody moves onto a
    /// reserved name in between is removed.
    pub(super) fn dispose(
        &self,
        dir: &Dir,
        reserved: &Name,
        original: &Name,
        held: Held,
    ) -> Result<Disposed, Name> {
        let meta = held.meta;
        match meta.kind {
            FileKind::Dir => match change::remove_dir(dir, reserved) {
                Ok(()) => Ok(Disposed::Removed(None)),
                Err(_) => match held_name(dir, reserved) {
                    Some(holds) => Err(holds),
                    None => Ok(Disposed::Kept(self.backups.keep(dir, reserved, original))),
                },
            },
            FileKind::File => match held.into_proof() {
                Some(lease) if change::unlink(dir, reserved).is_ok() => {
                    Ok(Disposed::Removed(Some(Displaced::new(lease, meta, dir, original, &self.backups))))
                }
                _ => Ok(Disposed::Kept(self.backups.keep(dir, reserved, original))),
            },
            // Never changes once it is made, so it is the one that was expected.
            FileKind::Symlink if change::unlink(dir, reserved).is_ok() => Ok(Disposed::Removed(None)),
            FileKind::Symlink
            | FileKind::Fifo
            | FileKind::Socket
            | FileKind::BlockDevice
            | FileKind::CharDevice => Ok(Disposed::Kept(self.backups.keep(dir, reserved, original))),
        }
    }
}

/// What has become of what was taken away.
#[derive(Debug)]
pub(super) enum Disposed {
    Removed(Option<Displaced>),
    Kept(Backup),
}

impl Published {
    fn with(mut self, disposed: Disposed) -> Published {
        match disposed {
            Disposed::Removed(displaced) => self.displaced = displaced,
            Disposed::Kept(backup) => self.backup = Some(backup),
        }
        self
    }
}

fn held_name(dir: &Dir, name: &Name) -> Option<Name> {
    dir.open_child_dir(name).ok()?.any_name().ok()?
}

/// Copies the extended attributes of one file to the one that takes its place, and returns how that looks then.
fn hand_on_xattrs(held: &Held, staged: &Staged) -> Result<Meta, CommitError> {
    let before = staged.meta()?;
    let (Some(old), Some(new)) = (held.file(), staged.file()) else { return Ok(before) };
    let error = |e: Errno| CommitError::io("copy the extended attributes of", &staged.dir, &staged.target)(e);
    attributes::copy_xattrs(old, new, |name| staged.has_set(name)).map_err(error)?;
    // An access list sets the mode along with it.
    if staged.meta()?.attributes.mode != before.attributes.mode {
        attributes::set_mode(new, before.attributes.mode).map_err(error)?;
    }
    staged.meta()
}
