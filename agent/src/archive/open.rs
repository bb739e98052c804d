//! Opening an archive: whose it is, who else has it, and what to do with one that is damaged.

use super::codec::{Interner, decode_record};
use super::snapshot::Snapshot;
use super::writer::Writer;
use super::{
    CONTENTS, DIRECTORIES, DISPUTED, ENTRIES, INTENTS, META, OPEN, PEERS, POSITIONS, RENAMES, REPLICAS,
    SCOPES, SEQUENCES, content_key, directory_key,
};
use crate::core::version::{ReplicaId, Sequence};
use redb::{Database, ReadableDatabase, ReadableTable};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// The version of the tables and of their encoding.
const SCHEMA: u32 = 2;
/// The version before, which has no value that this one does not read: only an older vfsync cannot read all of this one.
const BEFORE_EXTENDED: u32 = 1;
/// How much of the database is kept in memory, in bytes.
const CACHE: usize = 32 << 20;
/// How often the state of the allocator is written at most. A crash within that time after it, with commits in between, has
/// the database walked when it is opened next: about a second for a million entries. Writing it costs more than the commit.
const QUICK_REPAIR: Duration = Duration::from_secs(1);
/// A file up to this size is checked whole when it is opened, in bytes: that takes well under a second.
const CHECKED: u64 = 64 << 20;

/// Which directory an archive belongs to: the file system and the inode, not the name, so that a bind mount or an
/// alias of a root is the same replica, and another directory under the same name is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootIdentity {
    /// `f_fsid` of `statfs`; survives a reboot, which `st_dev` does not.
    pub file_system: u64,
    /// Inode number of the root.
    pub inode: u64,
    /// When the inode was made, in nanoseconds since 1970, where the file system tells; else 0. Inode numbers are
    /// used again.
    pub born: i128,
}

impl RootIdentity {
    /// Returns the name of the archive's folder.
    pub fn folder(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.file_system.to_be_bytes());
        hasher.update(&self.inode.to_be_bytes());
        hasher.update(&self.born.to_be_bytes());
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// Why an archive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The folder or file cannot be made or opened.
    #[error(
        "cannot open the archive {path}: check the rights and the free space there, or use another --state-dir"
    )]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process owns it.
    #[error(
        "the replica {root} is in use by another vfsync process{owner}: stop that one, or let it do the work"
    )]
    InUse {
        /// The root.
        root: PathBuf,
        /// Which, as far as known: ` (pid N)`.
        owner: String,
    },
    /// A newer vfsync wrote it.
    #[error(
        "the archive {path} has schema {found}, this vfsync knows {SCHEMA}: use the newer vfsync, or another --state-dir"
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: u32,
    },
    /// Reading or writing failed.
    #[error("the archive failed: {0}")]
    Storage(#[from] redb::Error),
    /// It holds what no archive holds.
    #[error("the archive is damaged ({0}): move its folder away and start again; nothing is deleted by that")]
    Damaged(&'static str),
}

macro_rules! from_redb {
    ($($error:ty),*) => { $(impl From<$error> for ArchiveError {
        fn from(error: $error) -> ArchiveError { ArchiveError::Storage(error.into()) }
    })* };
}
from_redb!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::DatabaseError
);

/// What was found where the archive was to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// None: the replica is new.
    New,
    /// One.
    Existing {
        /// Its last owner stopped in the orderly way.
        clean: bool,
    },
    /// One that could not be read. It lies here now, and the replica is new.
    SetAside(PathBuf),
}

/// Whether a commit has to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// It is on the disk when the call returns.
    Yes,
    /// It becomes durable with the next one that has to.
    Later,
}

/// One replica's database.
pub struct Archive {
    db: Database,
    replica: ReplicaId,
    pub(super) interner: Arc<RwLock<Interner>>,
    folder: PathBuf,
    /// The last sequence number of the last durable commit.
    durable: AtomicU64,
    /// When the state of the allocator was written last.
    quick: Mutex<Option<Instant>>,
    /// Whether what an owner that was killed left in the tree has been dealt with.
    recovered: AtomicBool,
}

impl Archive {
    /// Opens the archive of a root below the state directory, or makes a new one.
    ///
    /// A file that is no archive or is damaged is set aside, never deleted: the replica then gets a new id and meets
    /// its peers as at a first time.
    ///
    /// # Errors
    /// When the folder cannot be used, another process owns the archive, or a newer vfsync wrote it.
    pub fn open(
        state: &Path,
        root: &Path,
        identity: RootIdentity,
    ) -> Result<(Archive, Opened), ArchiveError> {
        let folder = Archive::folder_of(state, identity);
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| ArchiveError::Io { path, source }
        };
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        let file = folder.join("archive.redb");
        let existed = file.exists();
        let clean = fs::remove_file(folder.join("clean")).is_ok();
        let (archive, opened) = match open_file(&file, &folder, root, clean) {
            Ok(archive) if existed => (archive, Opened::Existing { clean }),
            Ok(archive) => (archive, Opened::New),
            Err(Failure::Give(error)) => return Err(error),
            Err(Failure::Damaged(why)) => {
                let aside = set_aside(&file).map_err(io(&file))?;
                tracing::warn!(path = %aside.display(), why, "the archive was damaged and has been set aside");
                match open_file(&file, &folder, root, true) {
                    Ok(archive) => (archive, Opened::SetAside(aside)),
                    Err(Failure::Give(error)) => return Err(error),
                    Err(Failure::Damaged(_)) => return Err(ArchiveError::Damaged("a new one fails too")),
                }
            }
        };
        archive.recovered.store(opened == Opened::Existing { clean: true }, Ordering::SeqCst);
        fs::write(folder.join("owner"), format!("{}\n", std::process::id())).map_err(io(&folder))?;
        let shown = [root.as_os_str().as_encoded_bytes(), b"\n"].concat();
        fs::write(folder.join("root"), shown).map_err(io(&folder))?;
        Ok((archive, opened))
    }

    /// Returns the folder in which the archive of a root lies, or would.
    pub fn folder_of(state: &Path, identity: RootIdentity) -> PathBuf {
        state.join("replicas").join(identity.folder())
    }

    /// Returns how many entries stood in another directory that had the path of a root before: most in any of several.
    /// `None` if there was no such, or nobody can tell.
    pub fn entries_of_former(state: &Path, root: &Path, identity: RootIdentity) -> Option<u64> {
        let shown = [root.as_os_str().as_encoded_bytes(), b"\n"].concat();
        let own = identity.folder();
        let folders = fs::read_dir(state.join("replicas")).ok()?.flatten();
        let former = folders.filter(|folder| {
            folder.file_name().to_str() != Some(&own)
                && fs::read(folder.path().join("root")).is_ok_and(|root| root == shown)
        });
        former
            .filter_map(|folder| live_in(&folder.path().join("archive.redb")))
            .max()
            .filter(|&live| live > 0)
    }

    /// Returns the replica's id.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// Returns the last number that is known to survive a crash. No other replica can have seen a greater one.
    pub fn durable(&self) -> Sequence {
        Sequence(self.durable.load(Ordering::SeqCst))
    }

    /// Returns the folder that the archive lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns a consistent view of what is in the archive now.
    ///
    /// # Errors
    /// When the database fails.
    pub fn read(&self) -> Result<Snapshot, ArchiveError> {
        Snapshot::new(&self.db.begin_read()?, self.interner.clone())
    }

    /// Writes in one transaction: all that `work` does or, if it fails, nothing. Returns what `work` returns.
    ///
    /// # Errors
    /// Those of `work`, and when the database fails.
    pub fn write<T>(
        &self,
        durable: Durable,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T, ArchiveError>,
    ) -> Result<T, ArchiveError> {
        self.write_or(durable, work)
    }

    /// As [`Archive::write`], for work that may decide against it: upon its error nothing is written.
    ///
    /// # Errors
    /// Those of the work, and when the database fails.
    pub fn write_or<T, E: From<ArchiveError>>(
        &self,
        durable: Durable,
        work: impl FnOnce(&mut Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = self.db.begin_write().map_err(ArchiveError::from)?;
        transaction
            .set_durability(match durable {
                Durable::Yes => redb::Durability::Immediate,
                Durable::Later => redb::Durability::None,
            })
            .map_err(|e| ArchiveError::Storage(e.into()))?;
        // What makes the next opening quick costs a second wait for the disk: not for each change of many.
        let quick = durable == Durable::Yes && self.is_time_for_quick_repair();
        transaction.set_quick_repair(quick);
        let (result, last) = {
            let mut writer = Writer::new(&transaction, self.replica, self.interner.clone())?;
            let result = work(&mut writer)?;
            (result, writer.finish()?)
        };
        transaction.commit().map_err(ArchiveError::from)?;
        if durable == Durable::Yes {
            self.durable.fetch_max(last.0, Ordering::SeqCst);
        }
        Ok(result)
    }

    /// Returns whether the state of the allocator has not been written for a while, and notes that it is now.
    fn is_time_for_quick_repair(&self) -> bool {
        let mut last = self.quick.lock().expect("no thread panics with this locked");
        let is_time = last.is_none_or(|last| last.elapsed() >= QUICK_REPAIR);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }

    /// Makes sure that every number up to `through` survives a crash, before anything that carries it goes out: a number
    /// that was lost would be given out again for another state.
    ///
    /// # Errors
    /// When the database fails.
    pub fn make_durable(&self, through: Sequence) -> Result<(), ArchiveError> {
        if through.0 > self.durable.load(Ordering::SeqCst) {
            self.write(Durable::Yes, |_| Ok(()))?;
        }
        Ok(())
    }

    /// Notes that nothing is left in the tree of what an owner that was killed was doing.
    pub fn note_recovered(&self) {
        self.recovered.store(true, Ordering::SeqCst);
    }

    /// Notes that the owner stopped in the orderly way, after a last durable commit; unless one before it did not, and what
    /// that left in the tree has not been dealt with: the next owner has to.
    ///
    /// # Errors
    /// When the database or the file system fails.
    pub fn close(self) -> Result<(), ArchiveError> {
        *self.quick.lock().expect("no thread panics with this locked") = None;
        self.write(Durable::Yes, |_| Ok(()))?;
        let (folder, db, recovered) = (self.folder, self.db, self.recovered.into_inner());
        db.close()?;
        if !recovered {
            return Ok(());
        }
        fs::write(folder.join("clean"), b"").map_err(|source| ArchiveError::Io { path: folder, source })
    }
}

/// Returns how many paths stand in a database that nobody has open; `None` where that cannot be told.
fn live_in(file: &Path) -> Option<u64> {
    let look = || {
        // One that was not closed is repaired on the way.
        let db = Database::builder().set_cache_size(CACHE).open(file).ok()?;
        let meta = db.begin_read().ok()?.open_table(META).ok()?;
        let counted = meta.get("live").ok()??.value().to_vec();
        Some(u64::from_be_bytes(counted.try_into().ok()?))
    };
    // As in `open_file`.
    std::panic::catch_unwind(look).ok().flatten()
}

/// How opening a file can fail.
enum Failure {
    /// The file stays as it is.
    Give(ArchiveError),
    /// The file is to be set aside.
    Damaged(String),
}

impl<E: Into<ArchiveError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        match error.into() {
            ArchiveError::Storage(redb::Error::Corrupted(why)) => Failure::Damaged(why),
            ArchiveError::Damaged(why) => Failure::Damaged(why.to_owned()),
            other => Failure::Give(other),
        }
    }
}

fn open_file(file: &Path, folder: &Path, root: &Path, clean: bool) -> Result<Archive, Failure> {
    // redb answers damage of a closed file with an error where it looks, and with a panic where it trusts.
    let opened = std::panic::catch_unwind(|| open_checked(file, folder, root, clean));
    opened.unwrap_or_else(|_| Err(Failure::Damaged("the database cannot be walked".to_owned())))
}

fn open_checked(file: &Path, folder: &Path, root: &Path, clean: bool) -> Result<Archive, Failure> {
    let small = fs::metadata(file).map_or(true, |m| m.len() <= CHECKED);
    let db = Database::builder()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(small || !clean)
        .create(file)
        .map_err(|error| open_failure(error, file, folder, root))?;
    let transaction = db.begin_write()?;
    let (replica, interner) = {
        let mut meta = transaction.open_table(META)?;
        let schema = meta.get("schema")?.map(|v| v.value().to_vec());
        match schema.map(|v| <[u8; 4]>::try_from(v).map(u32::from_be_bytes)) {
            None | Some(Ok(BEFORE_EXTENDED)) => {
                meta.insert("schema", &SCHEMA.to_be_bytes()[..])?;
            }
            Some(Ok(SCHEMA)) => {}
            Some(Ok(found)) => {
                return Err(Failure::Give(ArchiveError::Schema { path: file.to_owned(), found }));
            }
            Some(Err(_)) => return Err(Failure::Damaged("no schema".to_owned())),
        }
        let stored = meta.get("replica")?.map(|v| v.value().to_vec());
        let replica = match stored.map(|v| <[u8; 8]>::try_from(v).map(u64::from_be_bytes)) {
            None => {
                let id = random_id().map_err(|source| ArchiveError::Io { path: file.to_owned(), source })?;
                meta.insert("replica", &id.to_be_bytes()[..])?;
                id
            }
            Some(Ok(id)) if id != 0 => id,
            Some(_) => return Err(Failure::Damaged("no replica id".to_owned())),
        };
        let mut interner = Interner::default();
        for row in transaction.open_table(REPLICAS)?.iter()? {
            let (number, id) = row?;
            if interner.add(ReplicaId(id.value())) != number.value() {
                return Err(Failure::Damaged("replica numbers out of order".to_owned()));
            }
        }
        if meta.get("contents")?.is_none() {
            index_contents(&transaction, &interner)?;
            meta.insert("contents", &[1][..])?;
        }
        if meta.get("directories")?.is_none() {
            index_directories(&transaction, &interner)?;
            meta.insert("directories", &[1][..])?;
        }
        transaction.open_table(SEQUENCES)?;
        transaction.open_table(POSITIONS)?;
        transaction.open_table(SCOPES)?;
        transaction.open_table(OPEN)?;
        transaction.open_table(DISPUTED)?;
        transaction.open_table(PEERS)?;
        transaction.open_table(INTENTS)?;
        transaction.open_table(RENAMES)?;
        (ReplicaId(replica), interner)
    };
    transaction.commit()?;
    let interner = Arc::new(RwLock::new(interner));
    let archive = Archive {
        db,
        replica,
        interner,
        folder: folder.to_owned(),
        durable: AtomicU64::new(0),
        quick: Mutex::default(),
        recovered: AtomicBool::new(false),
    };
    // What a file that has just been opened holds is on the disk.
    let head = archive.read()?.head()?;
    archive.durable.store(head.0, Ordering::SeqCst);
    Ok(archive)
}

/// Fills the index of contents in an archive of a version that had none.
fn index_contents(transaction: &redb::WriteTransaction, interner: &Interner) -> Result<(), ArchiveError> {
    let mut contents = transaction.open_table(CONTENTS)?;
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (_, value) = row?;
        let record = decode_record(value.value(), interner);
        let record = record.ok_or(ArchiveError::Damaged("a record cannot be read"))?;
        if let Some(at) = content_key(&record.entry.content, record.sequence) {
            contents.insert(at, ())?;
        }
    }
    Ok(())
}

/// Fills the index of directories in an archive of a version that had none.
fn index_directories(transaction: &redb::WriteTransaction, interner: &Interner) -> Result<(), ArchiveError> {
    let mut directories = transaction.open_table(DIRECTORIES)?;
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, value) = row?;
        let record = decode_record(value.value(), interner);
        let record = record.ok_or(ArchiveError::Damaged("a record cannot be read"))?;
        if let Some(inode) = directory_key(&record) {
            directories.insert(inode, key.value())?;
        }
    }
    Ok(())
}

fn open_failure(error: redb::DatabaseError, file: &Path, folder: &Path, root: &Path) -> Failure {
    match error {
        redb::DatabaseError::DatabaseAlreadyOpen => {
            let owner = fs::read_to_string(folder.join("owner"))
                .map_or(String::new(), |pid| format!(" (pid {})", pid.trim()));
            Failure::Give(ArchiveError::InUse { root: root.to_owned(), owner })
        }
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(why)) => Failure::Damaged(why),
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) if is_damage(&e) => {
            Failure::Damaged(e.to_string())
        }
        redb::DatabaseError::Storage(redb::StorageError::Io(source)) => {
            Failure::Give(ArchiveError::Io { path: file.to_owned(), source })
        }
        redb::DatabaseError::UpgradeRequired(version) => {
            Failure::Damaged(format!("database format {version}"))
        }
        other => Failure::Give(other.into()),
    }
}

/// What reading a cut or foreign file looks like, in contrast to a disk that fails or rights that lack.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

fn set_aside(file: &Path) -> std::io::Result<PathBuf> {
    for n in 1.. {
        let aside = file.with_extension(format!("damaged-{n}"));
        if !aside.exists() {
            fs::rename(file, &aside)?;
            return Ok(aside);
        }
    }
    unreachable!("the numbers do not end")
}

/// Returns a random number that is not 0, from the kernel.
fn random_id() -> std::io::Result<u64> {
    let mut bytes = [0u8; 8];
    loop {
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
        match u64::from_be_bytes(bytes) {
            0 => {}
            id => return Ok(id),
        }
    }
}

/// Returns the last sequence number in a table of them.
pub(super) fn last_sequence(
    table: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<Sequence, ArchiveError> {
    Ok(Sequence(table.last()?.map_or(0, |(n, _)| n.value())))
}
