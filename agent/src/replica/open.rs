//! Opening a replica: the root, its archive, and what its file system can do.

use super::busy::Busy;
use crate::archive::{Archive, ArchiveError, Durable, Opened, RootIdentity};
use crate::core::filter::Filter;
use crate::core::guard::MaxDelete;
use crate::core::version::{ReplicaId, Sequence};
use crate::fs::{Capabilities, Dir};
use rustix::fs::{AtFlags, StatxFlags, fstatvfs, statx};
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// How a replica is scanned and written. Not part of any link.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// What a scan leaves out.
    pub filter: Filter,
    /// Synchronise symbolic links; else they are left out as if ignored.
    pub links: bool,
    /// Trust the stamp of a file; else every file is hashed at every scan.
    pub fastcheck: bool,
    /// Halt when more than this share of the entries would be deleted in one pass.
    pub max_delete: MaxDelete,
    /// When what is written has to be on the disk.
    pub fsync: Fsync,
}

/// When what was written has to be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fsync {
    /// Before a batch is acknowledged.
    Batch,
    /// Each file before it gets its name.
    File,
    /// Whenever the kernel likes: a power cut may lose what was acknowledged.
    None,
}

/// Why a root cannot be a replica.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is not there.
    #[error("the root {0} does not exist: make it (mkdir), or mount it, and try again")]
    Missing(PathBuf),
    /// It is no directory.
    #[error("the root {0} is not a directory")]
    NotADirectory(PathBuf),
    /// It cannot be opened or examined.
    #[error("cannot use the root {path}")]
    Io {
        /// The root.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// One tree of this host, with its archive.
pub struct Replica {
    /// The root, made canonical, for messages.
    pub root: PathBuf,
    /// The root, open.
    pub dir: Dir,
    /// What is known.
    pub archive: Archive,
    /// What was found where the archive was to be.
    pub opened: Opened,
    /// What the root's file system can do.
    pub capabilities: Capabilities,
    /// How it is scanned and written.
    pub options: ReplicaOptions,
    /// What commits hold.
    pub busy: Busy,
    /// Device numbers in the archive are of this boot, and mean the same as now.
    pub(super) same_boot: bool,
    head: watch::Sender<Sequence>,
}

impl Replica {
    /// Opens the tree at `root` and its archive below the state directory.
    ///
    /// # Errors
    /// When the root is missing or no directory, or its archive cannot be used.
    pub fn open(root: &Path, state: &Path, options: ReplicaOptions) -> Result<Replica, OpenError> {
        let io = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => OpenError::Missing(root.to_owned()),
            io::ErrorKind::NotADirectory => OpenError::NotADirectory(root.to_owned()),
            _ => OpenError::Io { path: root.to_owned(), source },
        };
        let canonical = root.canonicalize().map_err(io)?;
        let dir = Dir::open_root(&canonical).map_err(io)?;
        let identity = identity(&dir).map_err(io)?;
        let capabilities = Capabilities::probe(&dir).map_err(io)?;
        let (archive, opened) = Archive::open(state, &canonical, identity)?;
        let snapshot = archive.read()?;
        let boot = boot_id();
        let same_boot = snapshot.boot()?.is_some_and(|b| b == boot);
        let head = watch::Sender::new(snapshot.head()?);
        archive.write(Durable::Later, |w| w.set_boot(&boot))?;
        let busy = Busy::default();
        Ok(Replica { root: canonical, dir, archive, opened, capabilities, options, busy, same_boot, head })
    }

    /// Returns the replica's id.
    pub fn id(&self) -> ReplicaId {
        self.archive.replica()
    }

    /// Returns a receiver of the archive's last sequence number.
    pub fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    /// Tells the links that the archive has something new.
    pub(super) fn announce(&self, head: Sequence) {
        self.head.send_if_modified(|old| {
            let newer = head > *old;
            *old = (*old).max(head);
            newer
        });
    }
}

/// Returns which directory this is, over reboots and renames.
pub fn identity(dir: &Dir) -> io::Result<RootIdentity> {
    let file_system = fstatvfs(dir)?.f_fsid;
    let stat = statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME);
    let (inode, born) = match stat {
        Ok(stat) => {
            let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
            let birth =
                i128::from(stat.stx_btime.tv_sec) * 1_000_000_000 + i128::from(stat.stx_btime.tv_nsec);
            (stat.stx_ino, if has_birth { birth } else { 0 })
        }
        Err(_) => (dir.self_stat()?.stamp.ino, 0),
    };
    Ok(RootIdentity { file_system, inode, born })
}

fn boot_id() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
