//! A model of many replicas over the pure core: random edits, random links that come and go, archives that are lost.
//! It does with entries what `replica/apply` does with entries and files, and knows what no replica knows: who had seen
//! what when it made an edit.
//!
//! What it checks, when everything has come to rest:
//! - a path whose every edit was made by somebody who had seen the last one stands everywhere as that one left it, and
//!   nobody reports a conflict (no false conflict, no lost update, no resurrection);
//! - of any other path each state that nobody has knowingly replaced stands somewhere (nothing is lost).

use super::super::entry::{AttributeMask, Attributes, Content, Digest, Entry, Timestamp};
use super::super::order::{Phase, Phases};
use super::super::path::RelPath;
use super::super::removal::{Removal, judge_below, worse};
use super::super::version::{ReplicaId, Sequence};
use super::{Above, Decision, Policy, is_news, reconcile};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// The paths of the world: files beside a directory with files and a directory in it.
const PATHS: [&str; 7] = ["a", "b", "d", "d/s", "d/s/z", "d/x", "d/y"];
/// In so many rounds over all links everything has to have come to rest.
const ROUNDS: usize = 40;

fn path(n: usize) -> RelPath {
    RelPath::new(PATHS[n].as_bytes()).unwrap()
}

#[derive(Debug, Clone)]
struct Record {
    entry: Entry,
    sequence: u64,
    from: Option<ReplicaId>,
    computed: bool,
}

#[derive(Debug, Clone)]
struct Replica {
    id: ReplicaId,
    counter: u64,
    disk: BTreeMap<RelPath, Content>,
    archive: BTreeMap<RelPath, Record>,
    positions: BTreeMap<ReplicaId, u64>,
    /// Open paths towards each peer: whether all below is meant, and whether it is a conflict.
    open: BTreeMap<(ReplicaId, RelPath), (bool, bool)>,
    /// What a peer has offered an older state of: it has to hear of the newer one.
    owed: BTreeSet<(ReplicaId, RelPath)>,
}

/// An offer as the model has it.
type Offer = (RelPath, Entry, bool);

impl Replica {
    fn new(id: u64) -> Replica {
        Replica {
            id: ReplicaId(id),
            counter: 0,
            disk: BTreeMap::new(),
            archive: BTreeMap::new(),
            positions: BTreeMap::new(),
            open: BTreeMap::new(),
            owed: BTreeSet::new(),
        }
    }

    fn next(&mut self) -> Sequence {
        self.counter += 1;
        Sequence(self.counter)
    }

    /// Brings the archive in step with the disk.
    fn scan(&mut self) {
        let paths: BTreeSet<RelPath> = self.disk.keys().chain(self.archive.keys()).cloned().collect();
        for path in paths {
            let seen = self.disk.get(&path).cloned().unwrap_or(Content::Deleted);
            let old = self.archive.get(&path).map(|r| r.entry.clone());
            if old.as_ref().map_or(&Content::Deleted, |e| &e.content) == &seen {
                continue;
            }
            let sequence = self.next();
            let mtime = Timestamp { seconds: self.counter as i64, nanoseconds: 0 };
            let entry = match old {
                None => {
                    Entry::new(seen, Attributes { mode: 0o644, uid: 0, gid: 0 }, mtime, self.id, sequence)
                }
                Some(old) if !old.content.is_live() => {
                    Entry { content: seen, ..old.bumped(self.id, sequence) }
                }
                Some(old) if !seen.is_live() => old.deleted(self.id, sequence),
                Some(old) => Entry {
                    content: seen,
                    content_lineage: old.content_lineage.bumped(self.id, sequence),
                    mtime,
                    mtime_version: old.mtime_version.bumped(self.id, sequence),
                    ..old
                },
            };
            self.put(path, entry, sequence, None, false);
        }
    }

    fn put(
        &mut self,
        path: RelPath,
        entry: Entry,
        sequence: Sequence,
        from: Option<ReplicaId>,
        computed: bool,
    ) {
        match entry.content.is_live() {
            true => self.disk.insert(path.clone(), entry.content.clone()),
            false => self.disk.remove(&path),
        };
        self.archive.insert(path, Record { entry, sequence: sequence.0, from, computed });
    }

    /// Returns what is to be offered to a peer that has dealt with everything up to `after`, in the order in which it
    /// goes over.
    fn offers(&self, peer: &Replica, after: u64, first: bool) -> Vec<Offer> {
        let asked = |path: &RelPath| {
            let open = |at: &RelPath| peer.open.get(&(self.id, at.clone())).copied();
            open(path).is_some() || path.ancestors().any(|above| open(&above).is_some_and(|(all, _)| all))
        };
        let mut phases = Phases::default();
        let (mut standing, mut gone) = (Vec::new(), Vec::new());
        for (path, record) in &self.archive {
            let again = asked(path) || self.owed.contains(&(peer.id, path.clone()));
            let echo = record.from == Some(peer.id) && !(record.computed && first);
            if (record.sequence > after && !echo) || again {
                let offer = (path.clone(), record.entry.clone(), again && record.sequence <= after);
                match phases.of(path, &record.entry.content) {
                    Phase::Stands => standing.push(offer),
                    Phase::Gone => gone.push(offer),
                }
            }
        }
        standing.extend(gone);
        standing
    }

    fn entry(&self, path: &RelPath) -> Option<&Entry> {
        self.archive.get(path).map(|r| &r.entry)
    }

    fn above(&self, peer: ReplicaId, path: &RelPath, deletes: bool) -> Option<Above> {
        let Some(parent) = path.parent().filter(|p| !p.is_root()) else { return Some(Above::Live) };
        let conflict = |dir: &RelPath| self.open.get(&(peer, dir.clone())) == Some(&(true, true));
        match self.entry(&parent) {
            None if deletes => Some(Above::Live),
            None => None,
            Some(entry) if !entry.content.is_dir() => Some(Above::Gone),
            Some(_) if deletes && (conflict(&parent) || parent.ancestors().any(|a| conflict(&a))) => {
                Some(Above::Conflict)
            }
            Some(_) => Some(Above::Live),
        }
    }

    fn settle(&mut self, peer: ReplicaId, path: &RelPath) {
        self.open.remove(&(peer, path.clone()));
    }

    fn leave_open(&mut self, peer: ReplicaId, path: &RelPath, all: bool, conflict: bool) {
        self.open.insert((peer, path.clone()), (all, conflict));
    }

    /// Deals with offers of a peer. `through`: what was offered to the peer before. Of a batch that is not complete the
    /// end waits, if it takes a directory away: the rest of the directory may follow.
    fn receive(
        &mut self,
        peer: ReplicaId,
        offers: Vec<Offer>,
        through: u64,
        complete: bool,
        policy: &Policy,
    ) {
        let mut offers = offers.into_iter().peekable();
        while let Some((path, remote, _)) = offers.next() {
            let was_dir = self.entry(&path).is_some_and(|e| e.content.is_dir());
            if was_dir && !remote.content.is_dir() {
                let mut members = Vec::new();
                while let Some((member, entry, _)) = offers.next_if(|(p, ..)| p.is_below(&path)) {
                    members.push((member, entry));
                }
                if offers.peek().is_none() && !complete {
                    return;
                }
                self.group(peer, &path, &remote, &members, through, policy);
            } else {
                self.one(peer, &path, &remote, through, policy);
            }
        }
    }

    fn one(&mut self, peer: ReplicaId, path: &RelPath, remote: &Entry, through: u64, policy: &Policy) {
        let Some(above) = self.above(peer, path, !remote.content.is_live()) else {
            return self.leave_open(peer, path, false, false);
        };
        match reconcile(self.entry(path), remote, above, policy) {
            Decision::Keep => {
                self.settle(peer, path);
                if self.archive.get(path).is_some_and(|r| r.sequence <= through && is_news(&r.entry, remote))
                {
                    self.owed.insert((peer, path.clone()));
                }
            }
            Decision::Merge(entry) => {
                self.settle(peer, path);
                if let Some(local) = self.archive.get(path).cloned() {
                    let (same, computes) = (entry.same_versions(remote), local.sequence <= through);
                    let sequence = self.next();
                    self.put(
                        path.clone(),
                        *entry,
                        sequence,
                        (same || computes).then_some(peer),
                        !same && computes,
                    );
                }
            }
            Decision::Take(entry, _) => {
                self.settle(peer, path);
                let from = entry.same_versions(remote).then_some(peer);
                let sequence = self.next();
                self.put(path.clone(), *entry, sequence, from, false);
            }
            Decision::Win(entry) => {
                self.settle(peer, path);
                let sequence = self.next();
                self.put(path.clone(), entry.bumped(self.id, sequence), sequence, None, false);
            }
            Decision::Yield | Decision::Refuse(_) => self.leave_open(peer, path, false, false),
            Decision::Conflict => self.leave_open(peer, path, false, true),
        }
    }

    /// A directory that is gone or something else at the peer.
    fn group(
        &mut self,
        peer: ReplicaId,
        path: &RelPath,
        remote: &Entry,
        members: &[(RelPath, Entry)],
        through: u64,
        policy: &Policy,
    ) {
        let above = self.above(peer, path, true).unwrap_or(Above::Live);
        let below: Vec<(RelPath, Entry)> = self
            .archive
            .iter()
            .filter(|(p, r)| p.is_below(path) && r.entry.content.is_live())
            .map(|(p, r)| (p.clone(), r.entry.clone()))
            .collect();
        let offered: BTreeMap<&RelPath, &Entry> = members.iter().map(|(p, e)| (p, e)).collect();
        let all_open = |replica: &mut Replica, conflict| {
            members.iter().for_each(|(member, _)| replica.leave_open(peer, member, false, false));
            replica.leave_open(peer, path, true, conflict);
        };
        let win = |replica: &mut Replica| {
            let stands = replica.entry(path).cloned().into_iter().map(|e| (path.clone(), e));
            for (at, entry) in stands.chain(below.clone()).collect::<Vec<_>>() {
                let theirs = if at == *path { Some(remote) } else { offered.get(&at).copied() };
                let joined = theirs.map_or_else(|| entry.clone(), |theirs| entry.joined_versions(theirs));
                let sequence = replica.next();
                replica.put(at.clone(), joined.bumped(replica.id, sequence), sequence, None, false);
                replica.settle(peer, &at);
            }
            members.iter().for_each(|(member, _)| replica.settle(peer, member));
        };
        match reconcile(self.entry(path), remote, above, policy) {
            Decision::Take(entry, _) => {
                let judged = below.iter().fold(Removal::Whole, |so_far, (child, entry)| {
                    worse(so_far, judge_below(entry, offered.get(child).copied(), &remote.content, policy))
                });
                match judged {
                    Removal::Whole => {
                        for (member, theirs) in members.iter().rev() {
                            self.one(peer, member, theirs, through, policy);
                        }
                        let from = entry.same_versions(remote).then_some(peer);
                        let sequence = self.next();
                        self.put(path.clone(), *entry, sequence, from, false);
                        self.settle(peer, path);
                    }
                    Removal::Conflict => all_open(self, true),
                    Removal::Win => win(self),
                    Removal::Yield | Removal::Refuse(_) => all_open(self, false),
                }
            }
            Decision::Win(_) => win(self),
            Decision::Keep | Decision::Merge(_) => {
                self.settle(peer, path);
                for (member, theirs) in members {
                    let is_dir = self.entry(member).is_some_and(|e| e.content.is_dir());
                    if is_dir && !theirs.content.is_dir() {
                        self.leave_open(peer, member, true, false);
                    } else {
                        self.one(peer, member, theirs, through, policy);
                    }
                }
            }
            Decision::Yield | Decision::Refuse(_) => all_open(self, false),
            Decision::Conflict => all_open(self, true),
        }
    }
}

/// What happens in the world.
#[derive(Debug, Clone)]
enum Event {
    /// A user writes a file, replaces what is in the way, and makes the directories above.
    Write(usize, usize),
    /// A user removes a path with all below it.
    Remove(usize, usize),
    /// A link makes a pass; it may break after so many offers in each direction.
    Pass(usize, Option<(usize, usize)>),
    /// A replica loses its archive.
    Lose(usize),
    /// All links make passes until nothing changes.
    Rest,
}

/// Who has seen what.
#[derive(Debug, Default)]
struct Truth {
    /// What the last edit of a path left, as long as each edit had seen the one before.
    last: BTreeMap<RelPath, Content>,
    /// Two made the same of these, without having seen each other's: whatever either does next, the other's crosses it.
    doubled: BTreeSet<RelPath>,
    /// Edits of these crossed.
    crossed: BTreeSet<RelPath>,
    /// States that nobody has knowingly replaced.
    heads: BTreeMap<RelPath, BTreeSet<u8>>,
}

fn number(content: &Content) -> Option<u8> {
    match content {
        Content::File { digest, .. } => Some(digest.0[0]),
        Content::Dir | Content::Symlink { .. } | Content::Deleted => None,
    }
}

impl Truth {
    /// Somebody acts upon what it sees at a path, without changing it.
    fn relied(&mut self, path: &RelPath, seen: &Content) {
        if self.last.get(path).unwrap_or(&Content::Deleted) != seen {
            self.crossed.insert(path.clone());
        }
    }

    fn edit(&mut self, path: &RelPath, before: Content, after: Content) {
        let last = self.last.get(path).cloned().unwrap_or(Content::Deleted);
        if (last != before && last != after) || self.doubled.contains(path) {
            self.crossed.insert(path.clone());
        }
        if last != before && last == after {
            self.doubled.insert(path.clone());
        }
        let heads = self.heads.entry(path.clone()).or_default();
        number(&before).map(|n| heads.remove(&n));
        number(&after).map(|n| heads.insert(n));
        self.last.insert(path.clone(), after);
    }
}

struct World {
    replicas: Vec<Replica>,
    links: Vec<(usize, usize)>,
    truth: Truth,
    written: u8,
    ids: u64,
    /// An archive was lost, and not everybody has met its replica since: how edits follow one another, nobody can know.
    lost: bool,
    /// Nobody has edited anything since everything came to rest.
    rested: bool,
}

impl World {
    fn new(n: usize, links: Vec<(usize, usize)>) -> World {
        let replicas = (0..n).map(|i| Replica::new(i as u64 + 1)).collect();
        World {
            replicas,
            links,
            truth: Truth::default(),
            written: 0,
            ids: n as u64,
            lost: false,
            rested: true,
        }
    }

    fn set(&mut self, at: usize, path: &RelPath, after: Content) {
        let before = self.replicas[at].disk.get(path).cloned().unwrap_or(Content::Deleted);
        if before == after {
            return;
        }
        self.rested = false;
        if self.lost {
            self.truth.crossed.insert(path.clone());
        }
        self.truth.edit(path, before, after.clone());
        match after {
            Content::Deleted => self.replicas[at].disk.remove(path),
            after => self.replicas[at].disk.insert(path.clone(), after),
        };
    }

    fn remove_below(&mut self, at: usize, path: &RelPath) {
        if self.replicas[at].disk.get(path).is_some_and(Content::is_dir) {
            // KNOWN: tombstones are kept by those alone who had the file. So it can take two peers together to prove that
            // all of a directory was deleted, and each of them alone meets a conflict. Nothing is lost by that.
            if !self.rested {
                self.truth.crossed.insert(path.clone());
            }
            // Whoever takes a directory away relies on what it sees in it; it goes as a whole or not at all.
            for below in
                PATHS.iter().map(|p| RelPath::new(p.as_bytes()).unwrap()).filter(|p| p.is_below(path))
            {
                let seen = self.replicas[at].disk.get(&below).unwrap_or(&Content::Deleted);
                let last = self.truth.last.get(&below).unwrap_or(&Content::Deleted);
                if last != seen || self.truth.crossed.contains(&below) || self.truth.doubled.contains(&below)
                {
                    self.truth.crossed.insert(path.clone());
                }
            }
        }
        let below: Vec<RelPath> =
            self.replicas[at].disk.keys().filter(|p| p.is_below(path)).cloned().collect();
        below.iter().rev().for_each(|p| self.set(at, p, Content::Deleted));
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Write(at, which) => {
                let at = at % self.replicas.len();
                let target = path(which % PATHS.len());
                for above in target.ancestors().filter(|p| !p.is_root()) {
                    let seen = self.replicas[at].disk.get(&above).cloned().unwrap_or(Content::Deleted);
                    self.truth.relied(&above, &seen);
                    self.set(at, &above, Content::Dir);
                }
                self.remove_below(at, &target);
                self.written += 1;
                let content = Content::File { size: 1, digest: Digest([self.written; 32]) };
                self.set(at, &target, content);
            }
            Event::Remove(at, which) => {
                let at = at % self.replicas.len();
                let target = path(which % PATHS.len());
                self.remove_below(at, &target);
                self.set(at, &target, Content::Deleted);
            }
            Event::Pass(link, cut) => {
                let (a, b) = self.links[link % self.links.len()];
                self.pass(a, b, cut);
            }
            Event::Rest => {
                self.come_to_rest();
                (self.lost, self.rested) = (false, true);
                self.truth.doubled.clear();
            }
            Event::Lose(at) => {
                let at = at % self.replicas.len();
                self.ids += 1;
                self.lost = true;
                // It meets the others for the first time: of what differs then, nobody knows which followed which.
                for p in PATHS.iter().map(|p| RelPath::new(p.as_bytes()).unwrap()) {
                    let stands = self.replicas[at].disk.get(&p);
                    if self.replicas.iter().any(|other| other.disk.get(&p) != stands) {
                        self.truth.crossed.insert(p);
                    }
                }
                let disk = self.replicas[at].disk.clone();
                self.replicas[at] = Replica { disk, ..Replica::new(self.ids) };
            }
        }
    }

    /// One session, to its end or until the connection breaks.
    fn pass(&mut self, a: usize, b: usize, cut: Option<(usize, usize)>) {
        let (mut x, mut y) = (self.replicas[a].clone(), self.replicas[b].clone());
        x.scan();
        y.scan();
        let positions =
            |x: &Replica, y: &Replica| (y.positions.get(&x.id).copied(), x.positions.get(&y.id).copied());
        let policy = |met: Option<u64>| Policy {
            times: true,
            first_meeting: met.is_none(),
            ..Policy::plain(AttributeMask::ALL)
        };
        // Positions of a peer that has lost its archive are those of another replica.
        let (mut x_after, mut y_after) = (positions(&x, &y).0.unwrap_or(0), positions(&x, &y).1.unwrap_or(0));
        for round in 0..16 {
            let first = round == 0;
            let (x_head, y_head) = (x.counter, y.counter);
            let (mut to_y, mut to_x) = (x.offers(&y, x_after, first), y.offers(&x, y_after, first));
            if to_x.is_empty() && to_y.is_empty() && !first {
                break;
            }
            if let Some((n, m)) = cut {
                to_y.truncate(n);
                to_x.truncate(m);
            }
            let (at_y, at_x) =
                (policy(y.positions.get(&x.id).copied()), policy(x.positions.get(&y.id).copied()));
            let state = |x: &Replica, y: &Replica| {
                (x.counter, y.counter, x.open.clone(), y.open.clone(), x.owed.clone(), y.owed.clone())
            };
            let before = state(&x, &y);
            x.owed.retain(|(peer, _)| *peer != y.id);
            y.owed.retain(|(peer, _)| *peer != x.id);
            y.receive(x.id, to_y, y_head, cut.is_none(), &at_y);
            x.receive(y.id, to_x, x_head, cut.is_none(), &at_x);
            if cut.is_some() {
                break;
            }
            y.positions.insert(x.id, x_head);
            x.positions.insert(y.id, y_head);
            (x_after, y_after) = (x_head, y_head);
            if before == state(&x, &y) {
                break;
            }
        }
        self.replicas[a] = x;
        self.replicas[b] = y;
    }

    /// Lets every link make passes until nothing changes.
    fn come_to_rest(&mut self) {
        for _ in 0..ROUNDS {
            let before: Vec<_> = self.replicas.iter().map(|r| (r.counter, r.open.clone())).collect();
            for (a, b) in self.links.clone() {
                self.pass(a, b, None);
            }
            let after: Vec<_> = self.replicas.iter().map(|r| (r.counter, r.open.clone())).collect();
            if before == after {
                return;
            }
        }
        panic!("the replicas do not come to rest");
    }

    /// Returns the paths that somebody reports as a conflict, with what lies below those that are meant as a whole.
    fn in_conflict(&self, path: &RelPath) -> bool {
        let ids: BTreeSet<ReplicaId> = self.replicas.iter().map(|r| r.id).collect();
        self.replicas.iter().any(|r| {
            r.open.iter().any(|((peer, at), (all, conflict))| {
                // What was open towards a replica that has lost its archive is open towards nobody.
                *conflict
                    && ids.contains(peer)
                    && (at == path || at.is_below(path) || (*all && path.is_below(at)))
            })
        })
    }

    /// A path is troubled if its own edits crossed, or those of something above or below it.
    fn is_troubled(&self, path: &RelPath) -> bool {
        self.truth.crossed.iter().any(|p| p == path || p.is_below(path) || path.is_below(p))
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for at in PATHS.iter().map(|p| RelPath::new(p.as_bytes()).unwrap()) {
            let states: Vec<Content> =
                self.replicas.iter().map(|r| r.disk.get(&at).cloned().unwrap_or(Content::Deleted)).collect();
            if !self.is_troubled(&at) {
                let last = self.truth.last.get(&at).cloned().unwrap_or(Content::Deleted);
                prop_assert!(
                    states.iter().all(|s| *s == last),
                    "{at}: {last:?} is not everywhere: {states:?}"
                );
                prop_assert!(!self.in_conflict(&at), "{at}: a false conflict");
            } else if !self.in_conflict(&at) {
                let equal = states.windows(2).all(|w| w[0] == w[1]);
                prop_assert!(equal, "{at}: neither equal nor in conflict: {states:?}");
            }
            for head in self.truth.heads.get(&at).into_iter().flatten() {
                let there = states.iter().any(|s| number(s) == Some(*head));
                prop_assert!(there, "{at}: the state {head} that nobody replaced is lost: {states:?}");
            }
        }
        Ok(())
    }
}

fn links(n: usize, shape: u8) -> Vec<(usize, usize)> {
    match shape % 4 {
        0 => (1..n).map(|i| (0, i)).collect(),
        1 => (1..n).map(|i| (i - 1, i)).collect(),
        2 => (0..n).map(|i| (i, (i + 1) % n)).filter(|(a, b)| a != b).collect(),
        _ => (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).collect(),
    }
}

fn event() -> impl Strategy<Value = Event> {
    let cut = prop_oneof![3 => Just(None), 1 => (0usize..4, 0usize..4).prop_map(Some)];
    prop_oneof![
        5 => (0usize..6, 0..PATHS.len()).prop_map(|(at, path)| Event::Write(at, path)),
        2 => (0usize..6, 0..PATHS.len()).prop_map(|(at, path)| Event::Remove(at, path)),
        8 => (0usize..15, cut).prop_map(|(link, cut)| Event::Pass(link, cut)),
        1 => (0usize..6).prop_map(Event::Lose),
        1 => Just(Event::Rest),
    ]
}

proptest! {
    /// With `PROPTEST_CASES=1000000` in the environment it is a long run.
    #[test]
    fn many_replicas_come_to_rest_without_loss_or_false_conflict(
        n in 2usize..=6,
        shape in any::<u8>(),
        events in proptest::collection::vec(event(), 1..40),
    ) {
        let mut world = World::new(n, links(n, shape));
        events.iter().for_each(|event| world.happen(event));
        world.come_to_rest();
        world.check()?;
    }
}
