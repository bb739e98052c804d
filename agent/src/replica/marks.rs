//! What a replica tells its peers of its archive, and what it does when one of them, or the tree itself, knows that the
//! archive is a copy: see [`crate::core::marks`].
//!
//! The root carries the last mark, too, as an extended attribute: a tree that was put back to an earlier state, without its
//! archive, would look as if somebody had undone all that has changed since.

use super::{OpenError, Replica};
use crate::archive::{Archive, ArchiveError, Durable};
use crate::core::marks::{Mark, Openings, Seen, common, parted};
use crate::core::version::ReplicaId;
use crate::fs::{Dir, extended};
use std::path::Path;
use tokio::sync::watch;

/// The mark on the root is an attribute with this name and the replica's id.
const ATTRIBUTE: &str = "user.vfsync.mark.";
/// So often a replica takes a new id while it is open: whoever says again and again that it is a copy is mistaken, or wants
/// to keep it busy.
const RENEWALS: u64 = 3;

/// What a replica says of itself when it meets another.
#[derive(Debug, Default)]
pub struct Introduction {
    /// The openings of its archive.
    pub own: Openings,
    /// What it knows of those of others.
    pub known: Vec<(ReplicaId, Openings)>,
    /// Who was away for longer than it keeps tombstones.
    pub late: Vec<ReplicaId>,
}

/// What came of what a peer knows.
#[derive(Debug, PartialEq, Eq)]
pub enum Recognised {
    /// The archive is the one that the peer has met, or has not met yet.
    Itself,
    /// It is a copy, and has a new id now.
    Renewed,
    /// It would have to take a new id once more.
    TooOften,
}

impl Replica {
    /// Returns what to say to a peer. From here on the archive can be told from a copy.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn introduction(&self) -> Result<Introduction, ArchiveError> {
        self.archive.mark()?;
        let snapshot = self.archive.read()?;
        let own = snapshot.own_openings()?;
        if let Some(last) = own.seen.last() {
            put_on_root(&self.dir, &self.archive, &last.mark)?;
        }
        Ok(Introduction { own, known: snapshot.all_openings()?, late: snapshot.late()? })
    }

    /// Compares what a peer says of itself and of others with the archive.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn recognise(
        &self,
        peer: ReplicaId,
        said: &Openings,
        known: &[(ReplicaId, Openings)],
    ) -> Result<Recognised, ArchiveError> {
        let snapshot = self.archive.read()?;
        let (own, head, marks) = (self.id(), snapshot.head()?, snapshot.marks()?);
        if peer == own {
            return self.renew(said);
        }
        let of_own = known.iter().find(|(replica, _)| *replica == own).map(|(_, known)| known);
        if let Some(known) = of_own.filter(|known| parted(&marks, head, known).is_some()) {
            return self.renew(known);
        }
        self.archive.write(Durable::Later, |w| {
            w.meet(peer, said)?;
            let others = known.iter().filter(|(replica, _)| *replica != own);
            others.into_iter().try_for_each(|(replica, known)| w.learn(*replica, known))
        })?;
        Ok(Recognised::Itself)
    }

    /// Takes a new id, since this archive is a copy of the one that somebody knows. Its other sessions end.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn renew(&self, known: &Openings) -> Result<Recognised, ArchiveError> {
        if *self.renewed.borrow() >= RENEWALS {
            return Ok(Recognised::TooOften);
        }
        let old = self.id();
        let new = renew(&self.dir, &self.archive, known)?;
        tracing::warn!(
            replica = %old,
            "the archive is a copy (restored from a backup, or a cloned machine): the replica is {new} from now on"
        );
        self.renewed.send_modify(|n| *n += 1);
        self.announce(self.archive.read()?.head()?);
        Ok(Recognised::Renewed)
    }

    /// Returns the peers with which there are sessions.
    pub(crate) fn present(&self) -> Vec<ReplicaId> {
        self.present.lock().expect("no thread panics with this locked").clone()
    }

    pub(crate) fn note_present(&self, peer: ReplicaId) {
        self.present.lock().expect("no thread panics with this locked").push(peer);
    }

    pub(crate) fn note_absent(&self, peer: ReplicaId) {
        let mut present = self.present.lock().expect("no thread panics with this locked");
        if let Some(at) = present.iter().position(|there| *there == peer) {
            present.swap_remove(at);
        }
    }

    /// Returns a receiver of a number that grows when the replica takes a new id: its sessions are of no use any more.
    pub fn renewed(&self) -> watch::Receiver<u64> {
        self.renewed.subscribe()
    }
}

fn renew(dir: &Dir, archive: &Archive, known: &Openings) -> Result<ReplicaId, ArchiveError> {
    let (old, snapshot) = (archive.replica(), archive.read()?);
    let common = common(&snapshot.marks()?, snapshot.head()?, known);
    let new = archive.renew(common, known)?;
    // What cannot be removed says nothing to anybody.
    let _ = extended::remove_one(dir, &attribute(old));
    Ok(new)
}

/// Looks at the mark on the root of an archive that was just opened. A root that is newer than the archive means that the
/// archive was put back: it takes a new id.
///
/// # Errors
/// When the root is older than the archive, or the archive fails.
pub(super) fn look_at_root(dir: &Dir, archive: &Archive, root: &Path) -> Result<(), OpenError> {
    let snapshot = archive.read()?;
    let marks = snapshot.marks()?;
    // A file system that cannot tell says nothing.
    let Ok(Some(value)) = extended::get_one(dir, &attribute(archive.replica())) else { return Ok(()) };
    let Some(on_root) = decode(&value) else { return Ok(()) };
    if marks.first().is_none_or(|first| on_root.index < first.index) {
        return Ok(());
    }
    if !marks.contains(&on_root) {
        let mut known = snapshot.own_openings()?;
        known.learn(&Openings { seen: vec![Seen { mark: on_root, reached: on_root.after }], met: None });
        drop(snapshot);
        renew(dir, archive, &known)?;
        tracing::warn!(path = %root.display(), "the archive is older than the tree: the replica has a new id");
        return Ok(());
    }
    if snapshot.mark_on_root()?.is_some_and(|put| on_root.index < put) {
        return Err(OpenError::OlderRoot { root: root.to_owned(), folder: archive.folder().to_owned() });
    }
    Ok(())
}

/// Puts a mark on the root, and then notes that it is there: after a crash in between it may be newer than the note.
fn put_on_root(dir: &Dir, archive: &Archive, mark: &Mark) -> Result<(), ArchiveError> {
    if archive.read()?.mark_on_root()? == Some(mark.index) {
        return Ok(());
    }
    let value = [mark.index, mark.after.0, mark.random].map(u64::to_be_bytes).concat();
    // Where it cannot be put there is none, and nothing is concluded from that.
    if extended::set_one(dir, &attribute(archive.replica()), &value).is_err() || dir.sync().is_err() {
        return Ok(());
    }
    archive.write(Durable::Later, |w| w.set_mark_on_root(mark.index))
}

fn attribute(replica: ReplicaId) -> String {
    format!("{ATTRIBUTE}{replica}")
}

fn decode(value: &[u8]) -> Option<Mark> {
    let numbers: &[[u8; 8]; 3] = value.as_chunks::<8>().0.first_chunk().filter(|_| value.len() == 24)?;
    let [index, after, random] = numbers.map(u64::from_be_bytes);
    Some(Mark { index, after: crate::core::version::Sequence(after), random })
}
