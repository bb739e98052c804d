//! [`Staged`] is a new state of one path, prepared out of sight.

use super::Committer;
use super::attributes::{Refused, Wanted};
use super::error::CommitError;
use crate::core::entry::AttributeMask;
use crate::core::extended::ExtendedNames;
use crate::core::path::Name;
use crate::fs::{Dir, FileKind, FileSystem, Meta, WriterCheck, change, has_writer, temporary_name};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// Zeros in runs of this length (or a whole write of at least [`HOLE_MIN`]) become holes, so that a sparse file stays
/// sparse.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
const HOLE_MIN: usize = 4096;
/// Where blocks can be shared, they begin at multiples of this, in bytes; where they are larger, the kernel copies.
pub const BLOCK: u64 = 4096;
/// Less is not worth the calls, in bytes.
const CLONED_MIN: u64 = 256 << 10;
/// How often and how long apart it is asked whether somebody writes to what came back.
const ASK_TIMES: u32 = 20;
const ASK_EVERY: Duration = Duration::from_millis(1);

/// What others have made of something that we had published and took back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CameBack {
    /// Nothing: it can go.
    Untouched,
    /// They have it open for writing, and may write yet.
    Opened,
    /// They changed it, or it is another one altogether.
    Changed,
}

/// A new file, directory or symlink, in the directory where it will stand but not under its name. Gone when it is
/// dropped.
#[derive(Debug)]
pub struct Staged {
    pub(super) dir: Dir,
    /// The name that it is meant for.
    pub(super) target: Name,
    what: What,
    /// The reserved name that it has; `None` for a file that has no name at all.
    reserved: Option<Name>,
    /// How many bytes have been written.
    length: u64,
    /// Whether the last of them were zeros that take no space, so that the file is still too short.
    ends_in_hole: bool,
    /// What is set if the caller wants nothing else.
    default_mode: u16,
    mode_is_set: bool,
    /// Which extended attributes are looked at, and which of them were set.
    names: Arc<ExtendedNames>,
    extended_is_set: AttributeMask,
    /// How it looked when its attributes had been set, as long as nothing was written since.
    seen: Option<Meta>,
}

#[derive(Debug)]
enum What {
    File(File),
    Dir(Dir),
    /// Opened as a path.
    Symlink(OwnedFd),
}

impl Committer {
    /// Prepares an empty file for `name` in `dir`, readable by nobody else until its mode is set.
    pub fn stage_file(&self, dir: &Dir, name: &Name) -> Result<Staged, CommitError> {
        let (file, reserved) =
            new_file(dir).map_err(|e| CommitError::from_placing("create", dir, name, e))?;
        Ok(self.staged(dir, name, What::File(file), reserved, 0o666))
    }

    /// Prepares an empty directory for `name` in `dir`.
    pub fn stage_dir(&self, dir: &Dir, name: &Name) -> Result<Staged, CommitError> {
        let reserved = temporary_name("tmp");
        change::make_dir(dir, &reserved).map_err(|e| CommitError::from_placing("create", dir, name, e))?;
        let made = dir.open_child_dir(&reserved).map_err(CommitError::io("open", dir, name))?;
        Ok(self.staged(dir, name, What::Dir(made), Some(reserved), 0o777))
    }

    /// Prepares a symbolic link for `name` in `dir`.
    pub fn stage_symlink(&self, dir: &Dir, name: &Name, target: &[u8]) -> Result<Staged, CommitError> {
        let reserved = temporary_name("tmp");
        change::make_symlink(dir, &reserved, target)
            .map_err(|e| CommitError::from_placing("create", dir, name, e))?;
        let made = change::open_path(dir, &reserved).map_err(CommitError::io("open", dir, name))?;
        Ok(self.staged(dir, name, What::Symlink(made), Some(reserved), 0o777))
    }

    fn staged(&self, dir: &Dir, target: &Name, what: What, reserved: Option<Name>, most: u16) -> Staged {
        Staged {
            dir: dir.clone(),
            target: target.clone(),
            what,
            reserved,
            length: 0,
            ends_in_hole: false,
            default_mode: most & !self.umask,
            mode_is_set: false,
            names: self.names.clone(),
            extended_is_set: AttributeMask::NONE,
            seen: None,
        }
    }
}

/// Creates a file with no name, or with a reserved one where that cannot be had.
fn new_file(dir: &Dir) -> rustix::io::Result<(File, Option<Name>)> {
    match change::create_unnamed(dir) {
        // Not on this file system, or not with this kernel.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {}
        file => return Ok((file?, None)),
    }
    let name = temporary_name("tmp");
    Ok((change::create_named(dir, &name)?, Some(name)))
}

impl Staged {
    /// Writes the next bytes of a file. Long runs of zeros take no space.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), CommitError> {
        self.seen = None;
        for piece in bytes.chunks(ZEROS.len()) {
            let is_hole = piece.len() >= HOLE_MIN && *piece == ZEROS[..piece.len()];
            let done = match &self.what {
                What::File(_) if is_hole => Ok(()),
                What::File(file) => file.write_all_at(piece, self.length),
                What::Dir(_) | What::Symlink(_) => Err(io::ErrorKind::InvalidInput.into()),
            };
            done.map_err(|e| self.error("write", e))?;
            self.length += piece.len() as u64;
            self.ends_in_hole = is_hole;
        }
        Ok(())
    }

    /// Makes an empty file share the blocks of another. Returns whether the file system could; else nothing has changed.
    pub fn clone_of(&mut self, source: &File) -> bool {
        let What::File(file) = &self.what else { return false };
        if rustix::fs::ioctl_ficlone(file, source).is_err() {
            return false;
        }
        self.length = file.metadata().map_or(0, |meta| meta.len());
        self.seen = None;
        true
    }

    /// Returns whether it is prepared in this very directory.
    pub fn is_in(&self, dir: &Dir) -> bool {
        let place = |dir: &Dir| dir.self_stat().map(|meta| (meta.stamp.dev, meta.stamp.ino));
        matches!((place(&self.dir), place(dir)), (Ok(here), Ok(there)) if here == there)
    }

    /// Brings a file that ends in a hole to its length.
    fn finish(&self) -> Result<(), CommitError> {
        match &self.what {
            What::File(file) if self.ends_in_hole && self.meta()?.stamp.size < self.length => {
                file.set_len(self.length).map_err(|e| self.error("write", e))
            }
            What::File(_) | What::Dir(_) | What::Symlink(_) => Ok(()),
        }
    }

    /// Returns the open file, to read back what was written; `None` for directories and symlinks.
    pub fn file(&self) -> Option<&File> {
        match &self.what {
            What::File(file) => Some(file),
            What::Dir(_) | What::Symlink(_) => None,
        }
    }

    /// Makes the next bytes of a file share blocks with some of another, where the file system does that and both begin at
    /// a block. Returns how many bytes it was; the rest has to be written.
    pub fn clone_next(&mut self, source: &File, from: u64, length: u64) -> u64 {
        let What::File(file) = &self.what else { return 0 };
        let whole = length / BLOCK * BLOCK;
        let aligned = from.is_multiple_of(BLOCK) && self.length.is_multiple_of(BLOCK);
        if !aligned || whole < CLONED_MIN || !FileSystem::of(&self.dir).is_ok_and(FileSystem::shares_blocks) {
            return 0;
        }
        let (mut at, mut to) = (from, self.length);
        while at < from + whole {
            let left = usize::try_from(from + whole - at).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(source, Some(&mut at), file, Some(&mut to), left) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        if at > from {
            self.length = to;
            self.ends_in_hole = false;
            self.seen = None;
        }
        at - from
    }

    /// Leaves what is written so far of a file under a reserved name, unless more of it is there already.
    pub fn keep_as(mut self, name: &Name) -> Result<(), CommitError> {
        let more = self.dir.stat(name).ok().flatten().is_some_and(|there| there.stamp.size >= self.length);
        if more {
            return Ok(());
        }
        let _ = change::unlink(&self.dir, name);
        let reserved = self.reserved_name()?;
        change::rename_noreplace(&self.dir, &reserved, &self.dir, name)
            .map_err(|e| CommitError::io("keep", &self.dir, &self.target)(e))?;
        self.forget_reserved_name();
        Ok(())
    }

    /// Sets attributes, after the last byte is written. What is not allowed is no error, but reported.
    pub fn set(&mut self, wanted: &Wanted) -> Result<Refused, CommitError> {
        let mut wanted = wanted.clone();
        if wanted.mode.is_none() && !self.mode_is_set {
            wanted.mode = Some(self.default_mode()?);
        }
        // Before the mtime is set, which a change of length moves.
        self.finish()?;
        let (meta, refused) =
            wanted.apply(self.as_fd(), &self.names).map_err(|e| self.error("set the attributes of", e))?;
        self.mode_is_set = true;
        self.extended_is_set =
            self.extended_is_set.or(wanted.extended.map_or(AttributeMask::NONE, |e| e.mask));
        self.seen = Some(meta);
        Ok(refused)
    }

    /// Returns whether an extended attribute was set, or left out, on purpose.
    pub(super) fn has_set(&self, name: &[u8]) -> bool {
        let is_list = name.starts_with(b"system.posix_acl_");
        (self.extended_is_set.acl && is_list) || (self.extended_is_set.xattrs && self.names.carries(name))
    }

    /// The mode of what is not told its mode. A directory keeps the set-group-id bit that it has from its parent.
    fn default_mode(&self) -> Result<u16, CommitError> {
        match self.what {
            What::Dir(_) => Ok(self.default_mode | self.meta()?.attributes.mode & 0o2000),
            What::File(_) | What::Symlink(_) => Ok(self.default_mode),
        }
    }

    /// Waits until the content is on the disk.
    pub fn sync(&self) -> Result<(), CommitError> {
        self.finish()?;
        let done = match &self.what {
            What::File(file) => file.sync_data(),
            What::Dir(dir) => dir.sync(),
            // It becomes durable with the directory that holds it.
            What::Symlink(_) => Ok(()),
        };
        done.map_err(|e| self.error("sync", e))
    }

    /// Looks at what is prepared: its inode is what an intent notes.
    pub fn meta(&self) -> Result<Meta, CommitError> {
        Meta::of(self.as_fd()).map_err(|e| self.error("look at", e))
    }

    /// Brings it into the state in which it may be seen: with its mode, if nobody has set one.
    pub(super) fn ready(&mut self) -> Result<Meta, CommitError> {
        self.finish()?;
        if !self.mode_is_set {
            self.set(&Wanted::default())?;
        }
        // Whatever else was done to it since makes a difference afterwards, and the stamp is not trusted.
        self.seen.map_or_else(|| self.meta(), Ok)
    }

    /// Returns the reserved name, and gives it one if it has none.
    pub(super) fn reserved_name(&mut self) -> Result<Name, CommitError> {
        if let Some(name) = &self.reserved {
            return Ok(name.clone());
        }
        let name = temporary_name("tmp");
        change::link_open_file(self.as_fd(), &self.dir, &name)
            .map_err(|e| CommitError::from_placing("link", &self.dir, &self.target, e))?;
        Ok(self.reserved.insert(name).clone())
    }

    /// Forgets the reserved name, because it now stands for something else or for nothing.
    pub(super) fn forget_reserved_name(&mut self) {
        self.reserved = None;
    }

    /// Tells what others have made of this since it was published and came back under `name`. It can be written no more
    /// afterwards.
    pub(super) fn came_back_as(&mut self, name: &Name, before: &Meta) -> CameBack {
        let as_before = |staged: &Staged| {
            staged.dir.stat(name).is_ok_and(|out| out.is_some_and(|out| out.same_but_ctime(before)))
        };
        if !as_before(self) {
            return CameBack::Changed;
        }
        if let What::File(_) = self.what {
            // Our own handle for writing would be taken for somebody's.
            let Ok(reader) = self.dir.open_file(name) else { return CameBack::Opened };
            self.what = What::File(reader);
            if self.is_written_to() {
                return CameBack::Opened;
            }
        }
        if as_before(self) { CameBack::Untouched } else { CameBack::Changed }
    }

    /// Returns whether somebody has the file open for writing. A program that this process is just starting has our
    /// handles for a moment, so it is asked a few times.
    fn is_written_to(&self) -> bool {
        let What::File(file) = &self.what else { return false };
        let open = || file.try_clone().map_or(WriterCheck::Open, has_writer) == WriterCheck::Open;
        (0..ASK_TIMES).all(|_| {
            open() && {
                std::thread::sleep(ASK_EVERY);
                true
            }
        })
    }

    /// Returns a handle on the prepared directory that knows the path it is going to have.
    pub(super) fn directory_at_target(&self) -> Result<Dir, CommitError> {
        let made = match &self.what {
            What::Dir(dir) => dir.renamed(&self.dir, &self.target),
            What::File(_) | What::Symlink(_) => Err(io::ErrorKind::NotADirectory.into()),
        };
        made.map_err(|e| self.error("open", e))
    }

    /// Returns the reserved name, if it has one.
    pub(super) fn existing_reserved_name(&self) -> Option<&Name> {
        self.reserved.as_ref()
    }

    fn error(&self, op: &'static str, source: io::Error) -> CommitError {
        CommitError::Io { op, path: self.dir.path_of(&self.target), source }
    }
}

impl AsFd for Staged {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.what {
            What::File(file) => file.as_fd(),
            What::Dir(dir) => dir.as_fd(),
            What::Symlink(link) => link.as_fd(),
        }
    }
}

impl Drop for Staged {
    /// RACE: the name is looked at before it is removed. Worst outcome: what somebody put at a reserved name in
    /// between is removed in its place.
    fn drop(&mut self) {
        let Some(name) = self.reserved.take() else { return };
        let (Ok(Some(there)), Ok(ours)) = (self.dir.stat(&name), self.meta()) else { return };
        if !there.same_inode(&ours) {
            return;
        }
        // What cannot be removed is found by recovery.
        let _ = match ours.kind {
            FileKind::Dir => change::remove_dir(&self.dir, &name),
            _ => change::unlink(&self.dir, &name),
        };
    }
}
