//! A [`Finding`] is what a scan saw at a path that differs from the record. Findings become records here: each with the
//! replica's next counter in the version of every register that changed.

use super::Replica;
use crate::archive::{ArchiveError, Durable, Intent, Snapshot, Writer};
use crate::core::entry::{AttributeMask, Attributes, Content, Entry, Record, Shown, Stamp, Timestamp};
use crate::core::extended::{Extended, ShownExtended};
use crate::core::path::RelPath;
use crate::core::version::{Relation, Sequence};

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The path is left out on purpose, and the user should know.
    Skipped,
    /// The path could not be read or written.
    Failed,
}

/// A path that could not be dealt with: neither unchanged nor deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub path: RelPath,
    /// How bad.
    pub severity: Severity,
    /// What went wrong, for a person.
    pub why: String,
}

/// What a look at a path showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub content: Content,
    pub attributes: Attributes,
    pub mtime: Timestamp,
    pub stamp: Option<Stamp>,
    /// `None` where extended attributes are not looked at.
    pub extended: Option<ShownExtended>,
}

/// What differs from the record.
#[derive(Debug)]
pub(super) enum What {
    /// This stands there.
    Stands(Seen),
    /// Nothing stands there.
    Gone,
}

/// A difference between the disk and the archive at one path.
#[derive(Debug)]
pub(super) struct Finding {
    pub path: RelPath,
    /// The record that the disk was compared with.
    pub compared: Option<Sequence>,
    pub what: What,
}

/// What became of findings.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Records with a new sequence number.
    pub changed: u64,
    /// Paths whose record was replaced meanwhile: to be looked at again.
    pub again: Vec<RelPath>,
}

impl Replica {
    /// Writes findings to the archive, in one transaction.
    pub(super) fn write_findings(
        &self,
        findings: &[Finding],
        durable: Durable,
    ) -> Result<Written, ArchiveError> {
        let (written, head) = self.archive.write(durable, |w| {
            let written = self.write_each(findings, w)?;
            Ok((written, Sequence(w.peek_sequence().0 - 1)))
        })?;
        if durable == Durable::Yes {
            self.announce(head);
        }
        Ok(written)
    }

    /// Forgets what the last owner was about to put into the tree, after a scan that has adopted what it found of it: what
    /// appears there from now on is somebody's own, also if it has the same content.
    pub(super) fn forget_intents(&self, before: &Snapshot) -> Result<(), ArchiveError> {
        let left = before.intents()?;
        let renames = before.rename_intents()?;
        if left.is_empty() && renames.is_empty() {
            return Ok(());
        }
        self.archive.write(Durable::Later, |w| {
            renames
                .iter()
                .filter(|to| !self.busy.is_busy(to))
                .try_for_each(|to| w.clear_rename_intent(to))?;
            let free = left.iter().filter(|path| !self.busy.holds(path));
            free.into_iter().try_for_each(|path| w.clear_intent(path))
        })
    }

    /// Writes findings in a transaction of the caller's.
    pub(super) fn write_each(
        &self,
        findings: &[Finding],
        w: &mut Writer<'_>,
    ) -> Result<Written, ArchiveError> {
        let mut written = Written::default();
        for finding in findings {
            let old = w.get(&finding.path)?;
            let stale = old.as_ref().map(|r| r.sequence) != finding.compared;
            // A directory that went with something that a commit has just put into it goes when the scan knows of that:
            // the peer would see it as deleted around something new.
            let held = match finding.what {
                What::Gone => self.busy.held_below(&finding.path),
                What::Stands(_) => self.busy.holds(&finding.path),
            };
            if stale || held {
                written.again.push(finding.path.clone());
                continue;
            }
            if let (What::Gone, Some(Content::File { digest, .. })) =
                (&finding.what, old.as_ref().map(|r| &r.entry.content))
            {
                self.note_gone(digest, &finding.path);
            }
            if write_finding(w, finding, old, self.names.mask())?.is_some() {
                written.changed += 1;
            }
        }
        Ok(written)
    }
}

/// Writes one finding; returns its sequence number if the entry changed. `looked_at` says which extended attributes a scan
/// looks at.
fn write_finding(
    w: &mut Writer<'_>,
    finding: &Finding,
    old: Option<Record>,
    looked_at: AttributeMask,
) -> Result<Option<Sequence>, ArchiveError> {
    let path = &finding.path;
    tracing::debug!(%path, what = ?finding.what, old = ?old.as_ref().map(|r| (&r.entry.content, &r.shown)), "found");
    match &finding.what {
        What::Gone => {
            let Some(old) = old.filter(|r| r.entry.content.is_live()) else { return Ok(None) };
            let sequence = w.next_sequence();
            let entry = old.entry.deleted(w.replica(), sequence);
            w.put(path, &local(entry, None, sequence))?;
            Ok(Some(sequence))
        }
        What::Stands(seen) => {
            let shown = Shown {
                stamp: seen.stamp,
                mtime: seen.mtime,
                attributes: seen.attributes,
                extended: seen.extended.clone(),
            };
            let adopts = |intent: &Intent| {
                let newer = |old: &Record| {
                    let relation = old.entry.content_lineage.relation(&intent.entry.content_lineage);
                    relation == Relation::Newer
                };
                intent.entry.content == seen.content && !old.as_ref().is_some_and(newer)
            };
            if let Some(intent) = w.intent(path)?.filter(adopts) {
                // What the last owner was about to put here is here: it is the peer's state, not an edit.
                let sequence = w.next_sequence();
                let record = Record {
                    entry: intent.entry,
                    shown: Some(shown),
                    sequence,
                    from: None,
                    computed: false,
                    remainder: false,
                };
                w.put(path, &record)?;
                w.clear_intent(path)?;
                return Ok(Some(sequence));
            }
            w.clear_intent(path)?;
            let Some(old) = old else {
                let sequence = w.next_sequence();
                let (content, replica) = (seen.content.clone(), w.replica());
                let mut entry = Entry::new(content, seen.attributes, seen.mtime, replica, sequence);
                entry.extended = seen.extended();
                entry.vouched = AttributeMask::ALL.or(looked_at);
                w.put(path, &local(entry, Some(shown), sequence))?;
                return Ok(Some(sequence));
            };
            let old = first_look(old, seen);
            let next = w.peek_sequence();
            match edited(&old, seen, w, next, looked_at) {
                Some(entry) => {
                    let sequence = w.next_sequence();
                    w.put(path, &local(entry, Some(shown), sequence))?;
                    Ok(Some(sequence))
                }
                None => {
                    // The same state under a new stamp: not an edit, and nothing to offer.
                    w.put(path, &Record { shown: Some(shown), ..old })?;
                    Ok(None)
                }
            }
        }
    }
}

fn local(entry: Entry, shown: Option<Shown>, sequence: Sequence) -> Record {
    Record { entry, shown, sequence, from: None, computed: false, remainder: false }
}

/// Takes what is seen for what was intended, where the extended attributes are looked at for the first time under the
/// options of now: that they are there is no edit, and nobody has compared them.
fn first_look(mut old: Record, seen: &Seen) -> Record {
    if let (Some(Shown { extended: None, .. }), Some(_)) = (&old.shown, &seen.extended) {
        old.entry.extended = seen.extended();
        old.entry.vouched = AttributeMask { xattrs: false, acl: false, ..old.entry.vouched };
    }
    old
}

impl Seen {
    fn extended(&self) -> Extended {
        self.extended.as_ref().map(|shown| shown.value.clone()).unwrap_or_default()
    }
}

/// Returns the entry after the edits that the disk shows; `None` if it shows none.
fn edited(
    old: &Record,
    seen: &Seen,
    w: &Writer<'_>,
    counter: Sequence,
    looked_at: AttributeMask,
) -> Option<Entry> {
    let replica = w.replica();
    let mut entry = old.entry.clone();
    let Some(shown) = old.shown.as_ref().filter(|_| old.entry.content.is_live()) else {
        // It was deleted, and stands again.
        entry.content = seen.content.clone();
        entry.content_lineage = entry.content_lineage.bumped(replica, counter);
        entry.attributes = seen.attributes;
        entry.extended = seen.extended();
        entry.vouched = AttributeMask::ALL.or(looked_at);
        entry.attributes_lineage = entry.attributes_lineage.bumped(replica, counter);
        entry.mtime = seen.mtime;
        entry.mtime_version = entry.mtime_version.bumped(replica, counter);
        return Some(entry);
    };
    if seen.content != entry.content {
        entry.content = seen.content.clone();
        entry.content_lineage = entry.content_lineage.bumped(replica, counter);
    }
    let symlink = matches!(seen.content, Content::Symlink { .. });
    let extended = match (&shown.extended, &seen.extended) {
        (Some(was), Some(is)) if was.value != is.value => Some((&was.value, &is.value)),
        _ => None,
    };
    if seen.content.kind() != old.entry.content.kind() {
        // Another kind of thing: what the old one had says nothing about it.
        entry.extended = seen.extended();
        entry.vouched = entry.vouched.or(looked_at);
    } else if let Some((was, is)) = extended {
        entry.extended = entry.extended.edited(was, is);
        entry.vouched.xattrs |= was.xattrs != is.xattrs;
        entry.vouched.acl |= was.acls != is.acls;
    }
    if (seen.attributes != shown.attributes || extended.is_some()) && !symlink {
        // Only what changed on the disk is an edit; what was intended and could not be set stays intended.
        let (was, is, intended) = (shown.attributes, seen.attributes, entry.attributes);
        let changed = was.mode ^ is.mode;
        entry.attributes = Attributes {
            mode: (intended.mode & !changed) | (is.mode & changed),
            uid: if was.uid == is.uid { intended.uid } else { is.uid },
            gid: if was.gid == is.gid { intended.gid } else { is.gid },
        };
        entry.vouched = AttributeMask {
            mode: entry.vouched.mode | changed,
            owner: entry.vouched.owner || was.uid != is.uid,
            group: entry.vouched.group || was.gid != is.gid,
            ..entry.vouched
        };
        entry.attributes_lineage = entry.attributes_lineage.bumped(replica, counter);
    }
    if seen.mtime != shown.mtime {
        entry.mtime = seen.mtime;
        // A directory's mtime has no version.
        if !seen.content.is_dir() {
            entry.mtime_version = entry.mtime_version.bumped(replica, counter);
        }
    }
    (entry != old.entry).then_some(entry)
}
