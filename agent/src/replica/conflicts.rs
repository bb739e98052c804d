//! Conflicts that are kept in the archive: listing them, and ending one as a person decides.
//!
//! A resolution is made by the side that has the winner. So "keep local" writes new versions here, of every path that
//! the conflict is about and in one transaction; "keep remote" is noted, and the peer is asked to do the same at its
//! end when the conflict is met again. What either side has made since the other last saw it is covered by no
//! resolution: it stays a conflict.

use super::Replica;
use super::apply::words;
use super::commit::{Expected, SetId, Wanted};
use super::scan::Look;
use crate::archive::{Archive, ArchiveError, Disputed, Durable, OpenReason, Snapshot, Writer};
use crate::core::entry::{Content, Entry, Record};
use crate::core::path::{Name, RelPath};
use crate::core::reconcile::{Preference, Side, winner};
use crate::core::version::{ReplicaId, Sequence};
use crate::fs::{attributes, now, read_file};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A conflict with one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The topmost path that it is about.
    pub path: RelPath,
    /// With whom.
    pub peer: ReplicaId,
    /// The peer's root, as far as it is known.
    pub peer_name: Option<String>,
    /// What stands here.
    pub local: Option<Entry>,
    /// What stands at the peer, if the peer has offered it: of a directory perhaps only what is in it.
    pub remote: Option<Entry>,
    /// What is in conflict below it.
    pub parts: Vec<RelPath>,
    /// A person has decided for the peer's state, and the peer has not been told yet.
    pub keep_theirs: bool,
}

/// Who wins a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// What stands here.
    Local,
    /// What stands at the peer.
    Remote,
    /// What was modified last.
    Newer,
    /// Both: what stands here gets another name.
    Both,
}

/// What became of the wish to end a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// What stands here has won; the peer takes it when the two meet.
    Local,
    /// The peer's state is taken when the two meet.
    Remote,
    /// As `Remote`; what stands here stands under this name now.
    Both(RelPath),
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolution::Local => f.write_str("what stands here is kept"),
            Resolution::Remote => f.write_str("what stands on the other side is kept"),
            Resolution::Both(aside) => write!(f, "both are kept: what stands here is {aside} now"),
        }
    }
}

/// Why a conflict cannot be ended like that.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// There is none.
    #[error("there is no conflict at {0} or below it: `vfsync conflicts` lists them")]
    None(RelPath),
    /// Neither is newer.
    #[error("{0}: both sides have the same modification time, so neither is newer: say local or remote")]
    SameTime(RelPath),
    /// The two can only stand under one name.
    #[error("{0}: both sides have the same content and differ in their attributes: say local or remote")]
    SameContent(RelPath),
    /// The second name cannot be made.
    #[error("{path}: cannot give what stands here a second name: {why}")]
    Aside {
        /// Of what.
        path: RelPath,
        /// Why.
        why: String,
    },
    /// The archive failed.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// Returns the conflicts that an archive holds, in the order of their paths.
///
/// # Errors
/// When the archive fails.
pub fn conflicts(archive: &Archive) -> Result<Vec<Conflict>, ArchiveError> {
    let snapshot = archive.read()?;
    let mut found: BTreeMap<(RelPath, ReplicaId), Conflict> = BTreeMap::new();
    for row in snapshot.all_open()? {
        let (peer, path, open) = row?;
        if open.reason != OpenReason::Conflict {
            continue;
        }
        let disputed = snapshot.disputed(peer, &path)?;
        let at = disputed.as_ref().map_or_else(|| path.clone(), |d| d.at.clone());
        let decided = disputed.as_ref().and_then(|d| d.keep_theirs);
        let keep_theirs = match decided {
            Some(over) => snapshot.is_unchanged_since(&at, over)?,
            None => false,
        };
        let conflict = match found.entry((at.clone(), peer)) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(Conflict {
                local: snapshot.get(&at)?.map(|r| r.entry),
                remote: None,
                peer_name: snapshot.peer_name(peer)?,
                path: at.clone(),
                peer,
                parts: Vec::new(),
                keep_theirs: false,
            }),
        };
        conflict.keep_theirs |= keep_theirs;
        if path == at {
            conflict.remote = disputed.map(|d| d.theirs);
        } else {
            conflict.parts.push(path);
        }
    }
    Ok(found.into_values().collect())
}

/// Writes that what stands here wins over what a peer has at a path and below it. Returns whether there was anything to
/// decide, and the archive's new head.
fn keep_ours(
    w: &mut Writer<'_>,
    snapshot: &Snapshot,
    peers: &[ReplicaId],
    at: &RelPath,
) -> Result<Option<Sequence>, ArchiveError> {
    let mut theirs: BTreeMap<RelPath, Vec<Entry>> = BTreeMap::new();
    for &peer in peers {
        for (path, disputed) in snapshot.disputed_below(peer, at)? {
            theirs.entry(path).or_default().push(disputed.theirs);
        }
    }
    if theirs.is_empty() {
        return Ok(None);
    }
    let mut paths: BTreeSet<RelPath> = theirs.keys().cloned().collect();
    paths.insert(at.clone());
    let here = snapshot.get(at)?;
    let stands_here = here.is_some_and(|record| record.entry.content.is_dir());
    let stands_there = theirs.get(at).is_some_and(|all| all.iter().all(|entry| entry.content.is_dir()));
    // Two directories that differ in their attributes: what is in them is in no conflict by that.
    let itself_alone = stands_here && stands_there;
    // Of a directory everything that stands is the winner, also what the peer has never offered; and of one that is gone,
    // every tombstone: the peer takes it away as a whole, and needs all of them together.
    if !itself_alone {
        for row in snapshot.below(at)? {
            let (path, record) = row?;
            if !stands_here || record.entry.content.is_live() {
                paths.insert(path);
            }
        }
    }
    let mut head = None;
    for path in paths {
        let theirs = theirs.remove(&path).unwrap_or_default();
        let old = w.get(&path)?;
        let base = match (&old, theirs.first()) {
            (Some(record), _) => record.entry.clone(),
            (None, Some(theirs)) => Entry { content: Content::Deleted, ..theirs.clone() },
            (None, None) => continue,
        };
        let joined = theirs.iter().fold(base, |entry, theirs| entry.joined_versions(theirs));
        let sequence = w.next_sequence();
        let record = Record {
            entry: joined.bumped(w.replica(), sequence),
            shown: old.as_ref().and_then(|r| r.shown.clone()),
            sequence,
            from: None,
            computed: false,
            remainder: old.is_some_and(|r| r.remainder),
        };
        w.put(&path, &record)?;
        head = Some(sequence);
    }
    for &peer in peers {
        for row in snapshot.open(peer)? {
            let (path, open) = row?;
            // What failed or is still to come has nothing to do with the conflict, and is asked for again. What waits for
            // the resolution of a directory does.
            let settled = match open.reason {
                OpenReason::Conflict => true,
                OpenReason::Pending => !itself_alone,
                OpenReason::Failed(_) | OpenReason::Forbidden(_) => false,
            };
            if settled && path.starts_with(at) {
                w.close_open(peer, &path)?;
            }
        }
    }
    Ok(head)
}

impl Replica {
    /// Returns the conflicts, in the order of their paths.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn conflicts(&self) -> Result<Vec<Conflict>, ArchiveError> {
        conflicts(&self.archive)
    }

    /// Ends the conflicts at a path and below it, as a person has decided. A link under way carries it out at once.
    ///
    /// # Errors
    /// When there is no conflict, the decision does not decide, or the archive fails.
    pub fn resolve(&self, path: &RelPath, keep: Keep) -> Result<Vec<(RelPath, Resolution)>, ResolveError> {
        let conflicts: Vec<Conflict> = self
            .conflicts()?
            .into_iter()
            .filter(|c| c.path.starts_with(path) || path.starts_with(&c.path) && c.path == *path)
            .collect();
        if conflicts.is_empty() {
            return Err(ResolveError::None(path.clone()));
        }
        let mut done: Vec<(RelPath, Resolution)> = Vec::new();
        for at in conflicts.iter().map(|c| &c.path).collect::<BTreeSet<_>>() {
            let with: Vec<&Conflict> = conflicts.iter().filter(|c| c.path == *at).collect();
            done.push((at.clone(), self.resolve_one(at, &with, keep)?));
        }
        self.note_decided();
        Ok(done)
    }

    fn resolve_one(&self, at: &RelPath, with: &[&Conflict], keep: Keep) -> Result<Resolution, ResolveError> {
        let keep = match keep {
            Keep::Newer => newer(at, with)?,
            Keep::Both if !with.iter().any(|c| c.local.as_ref().is_some_and(|e| e.content.is_live())) => {
                Keep::Remote
            }
            Keep::Both if with.iter().all(|c| c.remote.as_ref().is_some_and(|e| !e.content.is_live())) => {
                Keep::Local
            }
            Keep::Both if with.iter().any(|c| same_content(c)) => {
                return Err(ResolveError::SameContent(at.clone()));
            }
            keep => keep,
        };
        let peers: Vec<ReplicaId> = with.iter().map(|c| c.peer).collect();
        match keep {
            Keep::Local => {
                let held = self.busy.hold(vec![at.clone()]);
                let snapshot = self.archive.read()?;
                let head = self.archive.write(Durable::Yes, |w| keep_ours(w, &snapshot, &peers, at))?;
                drop(held);
                head.into_iter().for_each(|head| self.announce(head));
                Ok(Resolution::Local)
            }
            Keep::Remote => self.keep_theirs(at, &peers, &self.archive.read()?).map(|()| Resolution::Remote),
            Keep::Both => {
                let (aside, as_put) = self.put_aside(at)?;
                self.keep_theirs(at, &peers, &as_put)?;
                Ok(Resolution::Both(aside))
            }
            Keep::Newer => unreachable!("it has become one of the others"),
        }
    }

    /// Notes that a peer's state is to be kept, over what a snapshot says that stands here.
    fn keep_theirs(
        &self,
        at: &RelPath,
        peers: &[ReplicaId],
        snapshot: &Snapshot,
    ) -> Result<(), ResolveError> {
        let over = snapshot.head()?;
        self.archive.write(Durable::Yes, |w| {
            for &peer in peers {
                for (path, disputed) in snapshot.disputed_below(peer, at)? {
                    if disputed.at == *at {
                        w.set_disputed(peer, &path, &Disputed { keep_theirs: Some(over), ..disputed })?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// The peer's person has decided for what stands here. Returns whether there was a conflict to end.
    ///
    /// # Errors
    /// When the archive fails.
    pub fn keep_ours(&self, peer: ReplicaId, at: &RelPath) -> Result<bool, ArchiveError> {
        let held = self.busy.hold(vec![at.clone()]);
        let snapshot = self.archive.read()?;
        let head = self.archive.write(Durable::Yes, |w| keep_ours(w, &snapshot, &[peer], at))?;
        drop(held);
        head.into_iter().for_each(|head| self.announce(head));
        Ok(head.is_some())
    }

    /// Gives what stands at a path a second name beside it; a directory is renamed. Returns that name, and the archive as it
    /// was when it said of the path what has the second name now: what is newer has none, and is not decided about.
    fn put_aside(&self, path: &RelPath) -> Result<(RelPath, Snapshot), ResolveError> {
        let fail = |why: String| ResolveError::Aside { path: path.clone(), why };
        let io = |e: std::io::Error| ResolveError::Aside { path: path.clone(), why: e.to_string() };
        let (parent, name) = path.split().ok_or_else(|| fail("it is the root".to_owned()))?;
        let dir = self.dir.open_dir(&parent).map_err(io)?;
        let record = self.archive.read()?.get(path)?.ok_or_else(|| fail("it is not there".to_owned()))?;
        let mut last = None;
        let mut copied = record.entry.content.clone();
        for n in 1..=100 {
            let aside = second_name(&name, now(), n);
            let placed = match &record.entry.content {
                Content::Deleted => return Err(fail("it is not there".to_owned())),
                Content::Symlink { target } => {
                    self.committer.stage_symlink(&dir, &aside, target).and_then(|s| self.committer.create(s))
                }
                Content::Dir => {
                    let ino = record.shown.as_ref().and_then(|s| s.stamp).map_or(0, |s| s.ino);
                    self.committer.rename(&dir, &name, &dir, &aside, &Expected::Dir { ino })
                }
                Content::File { .. } => {
                    let file = dir.open_file(&name).map_err(io)?;
                    let mut staged = self.committer.stage_file(&dir, &aside).map_err(|e| fail(words(&e)))?;
                    let read = read_file(&file, |piece| {
                        staged.write_all(piece).map_err(|e| std::io::Error::other(words(&e)))
                    });
                    let read = read.map_err(io)?;
                    if read.changed {
                        return Err(fail(WRITTEN.to_owned()));
                    }
                    let meta = read.meta;
                    copied = Content::File { size: read.size, digest: read.digest };
                    let wanted = Wanted {
                        mode: Some(meta.attributes.mode),
                        uid: Some(meta.attributes.uid),
                        gid: Some(meta.attributes.gid),
                        mtime: Some(meta.stamp.mtime),
                        set_id: SetId { with_owner: true, with_group: true, here: 0 },
                        ..Wanted::default()
                    };
                    if let Some(copy) = staged.file() {
                        attributes::copy_xattrs(&file, copy, |_| false).map_err(|e| io(e.into()))?;
                    }
                    staged.set(&wanted).map_err(|e| fail(words(&e)))?;
                    staged.sync().map_err(|e| fail(words(&e)))?;
                    self.committer.create(staged)
                }
            };
            match placed {
                Ok(_) => {
                    dir.sync().map_err(io)?;
                    let aside = parent.join(&aside).map_err(|e| fail(e.to_string()))?;
                    // Known at once, so that the decision is about what stands here now.
                    let look = Look { recursive: true, written: true, ..Look::default() };
                    let dirty = BTreeMap::from([(path.clone(), look), (aside.clone(), look)]);
                    self.scan_dirty(&dirty).map_err(|e| fail(words(&e)))?;
                    let snapshot = self.archive.read()?;
                    let stands = snapshot.get(path)?.map(|record| record.entry.content);
                    let is_it = match copied {
                        // It has gone to the second name, and nothing has come since.
                        Content::Dir => !stands.is_some_and(|content| content.is_live()),
                        copied => stands == Some(copied),
                    };
                    if !is_it {
                        return Err(fail(format!("{WRITTEN}. What it was before stands as {aside}")));
                    }
                    return Ok((aside, snapshot));
                }
                // The name is taken: the next one.
                Err(error) => last = Some(words(&error)),
            }
        }
        Err(fail(last.unwrap_or_else(|| "every name is taken".to_owned())))
    }
}

/// What is said of a file that does not hold still.
const WRITTEN: &str = "somebody writes to it: try again when it is quiet";

fn same_content(conflict: &Conflict) -> bool {
    match (&conflict.local, &conflict.remote) {
        (Some(local), Some(remote)) => local.content == remote.content,
        _ => false,
    }
}

/// Returns which side was modified last.
fn newer(at: &RelPath, with: &[&Conflict]) -> Result<Keep, ResolveError> {
    let mut sides = with.iter().map(|conflict| match (&conflict.local, &conflict.remote) {
        (Some(local), Some(remote)) => winner(local, remote, Preference::Newer),
        // What stands wins over a deletion; a directory stands at the side that still has something in it.
        (Some(local), None) if local.content.is_live() => Some(Side::Local),
        (Some(_) | None, _) => Some(Side::Remote),
    });
    // Against several peers: ours only if it is newer than all of theirs.
    sides.try_fold(Keep::Local, |so_far, side| match side {
        None => Err(ResolveError::SameTime(at.clone())),
        Some(Side::Local) => Ok(so_far),
        Some(Side::Remote) => Ok(Keep::Remote),
    })
}

/// Returns the `n`th name to try for what steps aside: `report.conflict-20261123-015309.txt`.
fn second_name(name: &Name, at: crate::core::entry::Timestamp, n: u32) -> Name {
    let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at.seconds.max(0).unsigned_abs());
    let stamp = humantime::format_rfc3339_seconds(since).to_string();
    let stamp = stamp.replace(['-', ':', 'Z'], "").replace('T', "-");
    let mark = if n == 1 { format!(".conflict-{stamp}") } else { format!(".conflict-{stamp}-{n}") };
    let bytes = name.as_bytes();
    let (stem, extension) = match bytes.iter().rposition(|&b| b == b'.').filter(|&at| at > 0) {
        Some(dot) if bytes.len() - dot <= 16 => bytes.split_at(dot),
        _ => (bytes, &b""[..]),
    };
    let room = crate::core::path::NAME_MAX - mark.len() - extension.len();
    let stem = &stem[..stem.len().min(room)];
    Name::new(&[stem, mark.as_bytes(), extension].concat()).unwrap_or_else(|_| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::entry::Timestamp;

    #[test]
    fn a_second_name_keeps_the_extension_and_is_never_too_long() {
        let at = Timestamp { seconds: 1_700_000_000, nanoseconds: 0 };
        let name = |name: &str, n| {
            String::from_utf8(second_name(&Name::new(name.as_bytes()).unwrap(), at, n).as_bytes().to_vec())
                .unwrap()
        };
        assert_eq!(name("report.txt", 1), "report.conflict-20231114-221320.txt");
        assert_eq!(name("report.txt", 2), "report.conflict-20231114-221320-2.txt");
        assert_eq!(name(".profile", 1), ".profile.conflict-20231114-221320");
        assert_eq!(name("Makefile", 1), "Makefile.conflict-20231114-221320");
        assert_eq!(name(&"x".repeat(255), 1).len(), 255);
    }
}
