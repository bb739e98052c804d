//! Opening a replica: the root, its archive, and what its file system can do.

use super::busy::Busy;
use super::commit::Committer;
use super::cuts::Cuts;
use super::gone::Gone;
use super::owners::Accounts;
use super::renames::Renames;
use super::restless::Restless;
use super::tally::Tally;
use super::times::Times;
use super::versions::Versions;
use crate::archive::{Archive, ArchiveError, Durable, Opened, RootIdentity};
use crate::core::entry::Digest;
use crate::core::extended::ExtendedNames;
use crate::core::filter::{Filter, FilterError, PathSet};
use crate::core::guard::{ALWAYS_ALLOWED, MaxDelete, Spate};
use crate::core::path::RelPath;
use crate::core::version::{ReplicaId, Sequence};
use crate::fs::{Capabilities, Dir, WriterCheck, has_writer, now};
use crate::options::{self, ReplicaOptions};
use crate::wire::{Basis, Whereabouts};
use rustix::fs::{AtFlags, StatxFlags, fstatvfs, statx};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

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
    /// The patterns of an option cannot be used.
    #[error(transparent)]
    Filter(#[from] FilterError),
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
    /// Directories whose children are not looked at again once they are known.
    pub(super) immutable: PathSet,
    /// Which extended attributes are looked at.
    pub(super) names: Arc<ExtendedNames>,
    /// Of which paths old versions are kept.
    pub(super) versions: Versions,
    /// What a scan leaves out.
    pub filter: Filter,
    /// Where vfsync's own state lies in the tree, if it does.
    pub own: Option<RelPath>,
    /// Changes the tree.
    pub committer: Committer,
    /// The users and groups of this host.
    pub(super) accounts: Accounts,
    /// How far scans and transfers have come.
    pub tally: Tally,
    /// How long the stages of changes take.
    pub times: Times,
    /// What commits hold.
    pub busy: Busy,
    /// Device numbers in the archive are of this boot, and mean the same as now.
    pub(super) same_boot: bool,
    head: watch::Sender<Sequence>,
    /// The last owner did not stop in the orderly way, and nobody has looked yet at what it left.
    pub(super) recovering: AtomicBool,
    /// The names in the tree of inodes that have several, anywhere.
    linked: Mutex<BTreeMap<u64, BTreeSet<RelPath>>>,
    /// Paths at which something else than a hint of capture shows that the archive is out of date.
    suspects: Mutex<BTreeMap<RelPath, bool>>,
    suspected: Notify,
    /// Contents that were found deleted lately.
    pub(super) gone: Mutex<Gone>,
    /// How large files that changed lately are cut.
    pub(super) cuts: Cuts,
    /// Directories that were renamed lately.
    pub(super) renames: Renames,
    /// Files that change whenever they are read.
    pub(super) restless: Restless,
    /// Grows with every decision of a person about a conflict.
    decided: watch::Sender<u64>,
    /// Deletions that were found lately.
    pub(super) spate: Mutex<Spate>,
    pub(super) started: Instant,
    /// So many deletions were approved, by who was shown them.
    approved: AtomicU64,
    /// How many entries stood in another directory that had this root's path before, if one had and nothing is known of
    /// this one.
    pub(super) former: Option<u64>,
}

/// How long what was displaced is kept.
const BACKUPS: Duration = Duration::from_secs(30 * 24 * 3600);

/// So many suspects are kept; one that is forgotten is found by the next scan.
const SUSPECTS: usize = 10_000;

impl Replica {
    /// Opens the tree at `root` and its archive below the state directory.
    ///
    /// # Errors
    /// When the root is missing or no directory, or its archive cannot be used.
    pub fn open(
        root: &Path,
        state: &Path,
        options: ReplicaOptions,
        filter: Filter,
    ) -> Result<Replica, OpenError> {
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
        let former = match head.borrow().0 {
            0 => Archive::entries_of_former(state, &canonical, identity),
            _ => None,
        };
        let names = Arc::new(options.extended.names()?);
        let known = options.extended.number();
        if snapshot.extended()? != known {
            archive.write(Durable::Later, |w| w.set_extended(known))?;
        }
        let committer = Committer::new(&archive.folder().join("backups"))
            .map_err(|source| OpenError::Io { path: archive.folder().to_owned(), source })?
            .carrying(names.clone());
        match committer.expire_backups(now(), BACKUPS) {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "backups older than 30 days were removed"),
            Err(error) => tracing::warn!(%error, "cannot look for old backups"),
        }
        // vfsync's own files may lie inside the root: each write to them would be a change to write about.
        let own = state.canonicalize().ok().and_then(|state| {
            let below = state.strip_prefix(&canonical).ok()?;
            RelPath::new(below.as_os_str().as_bytes()).ok()
        });
        let filter = filter.without(own.as_ref());
        let versions = Versions::new(&options.backup, state, &canonical)?;
        let immutable = PathSet::new(&options.immutable, &options.immutable_not, false)?;
        let recovering = opened != Opened::Existing { clean: true };
        Ok(Replica {
            root: canonical,
            dir,
            archive,
            opened,
            capabilities,
            options,
            immutable,
            names,
            versions,
            filter,
            own,
            committer,
            accounts: Accounts::system(),
            tally: Tally::default(),
            times: Times::default(),
            busy: Busy::default(),
            same_boot,
            head,
            recovering: AtomicBool::new(recovering),
            linked: Mutex::default(),
            suspects: Mutex::default(),
            suspected: Notify::new(),
            gone: Mutex::default(),
            cuts: Cuts::default(),
            renames: Renames::default(),
            restless: Restless::default(),
            decided: watch::Sender::new(0),
            spate: Mutex::default(),
            started: Instant::now(),
            approved: AtomicU64::new(0),
            former,
        })
    }

    /// Lets the next scan find so many deletions, whatever the guards say: somebody was shown them.
    pub fn approve(&self, deletions: u64) {
        self.approved.store(deletions, Ordering::SeqCst);
    }

    /// Returns how many deletions were approved.
    pub fn approved(&self) -> u64 {
        self.max_delete().approved
    }

    /// Ends what was approved: the next deletions count for themselves.
    pub fn end_of_approval(&self) {
        if self.approved.swap(0, Ordering::SeqCst) > 0 {
            *self.spate.lock().expect("no thread panics with this locked") = Spate::default();
        }
    }

    /// Returns the replica's id.
    pub fn id(&self) -> ReplicaId {
        self.archive.replica()
    }

    /// Returns where the root is.
    pub fn whereabouts(&self) -> Whereabouts {
        Whereabouts {
            host: boot_id(),
            root: self.root.as_os_str().as_bytes().to_vec(),
            inodes: inodes_up(&self.root),
        }
    }

    /// Returns a receiver of the archive's last sequence number.
    pub fn head(&self) -> watch::Receiver<Sequence> {
        self.head.subscribe()
    }

    /// Returns a receiver of a number that grows with every decision about a conflict.
    pub fn decided(&self) -> watch::Receiver<u64> {
        self.decided.subscribe()
    }

    /// Tells the links that a person has decided about conflicts.
    pub(super) fn note_decided(&self) {
        self.decided.send_modify(|n| *n += 1);
    }

    /// Notes that an inode has several names, of which this is one.
    pub(super) fn note_linked(&self, inode: u64, path: &RelPath) {
        let mut linked = self.linked.lock().expect("no thread panics with this locked");
        linked.entry(inode).or_default().insert(path.clone());
    }

    /// Returns whether somebody has a file open for writing, or mapped; nobody has one that is not there.
    pub(super) fn writers_of(&self, path: &RelPath) -> WriterCheck {
        let Some((parent, name)) = path.split() else { return WriterCheck::None };
        match self.dir.open_dir(&parent).and_then(|dir| dir.open_file(&name)) {
            Ok(file) => has_writer(file),
            Err(_) => WriterCheck::None,
        }
    }

    /// Returns the names that an inode was last seen to have in the tree, if it has several anywhere.
    pub(super) fn names_of(&self, inode: u64) -> Vec<RelPath> {
        let linked = self.linked.lock().expect("no thread panics with this locked");
        linked.get(&inode).map(|names| names.iter().cloned().collect()).unwrap_or_default()
    }

    /// Notes that a file with this content was at `path` lately, and may be there no longer.
    pub(super) fn note_gone(&self, digest: &Digest, path: &RelPath) {
        self.gone.lock().expect("no thread panics with this locked").note(digest, path);
    }

    /// Returns where a file with this content was until lately, if one was deleted.
    pub fn lately_at(&self, digest: &Digest) -> Option<RelPath> {
        self.gone.lock().expect("no thread panics with this locked").find(digest).cloned()
    }

    /// Returns how the file with this content is cut into chunks, if it was read lately because it had changed.
    pub(crate) fn cut_of(&self, digest: &Digest) -> Option<Arc<Basis>> {
        self.cuts.of(digest)
    }

    /// Notes that a path is not what the archive says. Whoever follows the replica looks at it.
    pub fn suspect(&self, path: &RelPath) {
        let mut suspects = self.suspects.lock().expect("no thread panics with this locked");
        if suspects.len() < SUSPECTS {
            suspects.entry(path.clone()).or_insert(false);
            self.suspected.notify_one();
        }
    }

    /// Notes that what is in a directory may not be what the archive says. Whoever follows the replica looks at all of it.
    pub fn suspect_tree(&self, path: &RelPath) {
        let mut suspects = self.suspects.lock().expect("no thread panics with this locked");
        if suspects.len() >= SUSPECTS {
            suspects.clear();
            suspects.insert(RelPath::root(), true);
        }
        suspects.insert(path.clone(), true);
        self.suspected.notify_one();
    }

    /// Takes the suspects that there are; true: with all that is below.
    pub fn take_suspects(&self) -> BTreeMap<RelPath, bool> {
        std::mem::take(&mut *self.suspects.lock().expect("no thread panics with this locked"))
    }

    /// Waits for suspects, and takes them; true: with all that is below.
    pub async fn suspects(&self) -> BTreeMap<RelPath, bool> {
        loop {
            let taken = self.take_suspects();
            if !taken.is_empty() {
                return taken;
            }
            self.suspected.notified().await;
        }
    }

    /// Returns how many deletions are alarming.
    pub(super) fn max_delete(&self) -> MaxDelete {
        let (percent, always, count) = match self.options.max_delete {
            options::MaxDelete::Default => (50, ALWAYS_ALLOWED, None),
            options::MaxDelete::Count(count) => (50, 0, Some(count)),
            options::MaxDelete::Percent(percent) => (percent, 0, None),
        };
        MaxDelete {
            percent,
            always,
            count,
            approved: self.options.confirm_deletes.unwrap_or(0).max(self.approved.load(Ordering::SeqCst)),
            emptied_root: self.options.confirm_big_delete,
        }
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

/// Asks whoever owns a replica for a while to give it up: a process is here that keeps it.
///
/// # Errors
/// When the root or the state directory cannot be used.
pub fn want(root: &Path, state: &Path) -> io::Result<()> {
    std::fs::write(wanted(root, state)?, b"")
}

/// Returns whether a process that keeps replicas has asked for this one within the last seconds.
pub fn is_wanted(root: &Path, state: &Path) -> bool {
    let asked = wanted(root, state).and_then(|path| path.metadata()?.modified());
    asked.is_ok_and(|asked| asked.elapsed().is_ok_and(|since| since < WANTED))
}

/// How long a wish for a replica holds.
const WANTED: Duration = Duration::from_secs(5);

fn wanted(root: &Path, state: &Path) -> io::Result<PathBuf> {
    let identity = identity(&Dir::open_root(&root.canonicalize()?)?)?;
    Ok(Archive::folder_of(state, identity).join("wanted"))
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

/// Returns the roots that have an archive below a state directory, and are still the directory that it belongs to.
pub fn known_roots(state: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(state.join("replicas")).into_iter().flatten().flatten();
    let mut roots: Vec<PathBuf> = folders
        .filter_map(|folder| {
            let written = std::fs::read(folder.path().join("root")).ok()?;
            let root = PathBuf::from(OsStr::from_bytes(written.strip_suffix(b"\n").unwrap_or(&written)));
            let same =
                identity(&Dir::open_root(&root).ok()?).ok()?.folder() == folder.file_name().to_str()?;
            same.then_some(root)
        })
        .collect();
    roots.sort();
    roots
}

/// Returns device and inode of a directory and of each one above it.
pub fn inodes_up(path: &Path) -> Vec<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let look = |dir: &Path| dir.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    path.ancestors().filter_map(look).collect()
}

/// Returns what is different at every boot of every host.
pub fn boot_id() -> Vec<u8> {
    std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
