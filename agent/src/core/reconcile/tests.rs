//! The table of cases, and the laws, over every pair of histories of one path.

use super::*;
use crate::core::entry::Digest;
use crate::core::version::{ReplicaId, Sequence};

const A: ReplicaId = ReplicaId(0xa);
const B: ReplicaId = ReplicaId(0xb);

fn policy() -> Policy {
    Policy { times: true, ..Policy::plain(AttributeMask::ALL) }
}

fn file(byte: u8) -> Content {
    Content::File { size: 1, digest: Digest([byte; 32]) }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanoseconds: 0 }
}

/// What a user does to a path on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Modify(u8),
    Chmod(u16),
    Touch(i64),
    Delete,
    ToDir,
    ToLink(u8),
}

const OPS: [Op; 11] = [
    Op::Modify(1),
    Op::Modify(2),
    Op::Chmod(0o600),
    Op::Chmod(0o640),
    Op::Touch(50),
    Op::Touch(60),
    Op::Delete,
    Op::ToDir,
    Op::ToLink(1),
    Op::ToLink(2),
    Op::Modify(0),
];

fn apply(entry: &mut Option<Entry>, op: Op, replica: ReplicaId, n: u64) {
    let counter = Sequence(n);
    let content = match op {
        Op::Modify(byte) => file(byte),
        Op::Delete => Content::Deleted,
        Op::ToDir => Content::Dir,
        Op::ToLink(byte) => Content::Symlink { target: [byte].into() },
        Op::Chmod(_) | Op::Touch(_) => Content::Deleted,
    };
    let Some(old) = entry else {
        if content.is_live() {
            let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
            *entry = Some(Entry::new(content, attributes, at(10 + n as i64), replica, counter));
        }
        return;
    };
    match op {
        Op::Chmod(mode) if old.content.is_live() => {
            old.attributes.mode = mode;
            old.attributes_lineage = old.attributes_lineage.bumped(replica, counter);
        }
        Op::Touch(seconds) if old.content.is_live() => {
            old.mtime = at(seconds);
            old.mtime_version = old.mtime_version.bumped(replica, counter);
        }
        Op::Chmod(_) | Op::Touch(_) => {}
        Op::Delete | Op::Modify(_) | Op::ToDir | Op::ToLink(_) => {
            if old.content == content {
                return;
            }
            old.content = content;
            old.content_lineage = old.content_lineage.bumped(replica, counter);
            old.mtime = at(10 + n as i64);
            old.mtime_version = old.mtime_version.bumped(replica, counter);
        }
    }
}

fn base() -> Option<Entry> {
    let mut entry = None;
    apply(&mut entry, Op::Modify(0), A, 1);
    entry
}

/// Every history of up to two edits of one side.
fn histories(start: &Option<Entry>, replica: ReplicaId) -> Vec<(Vec<Op>, Option<Entry>)> {
    let mut all = vec![(vec![], start.clone())];
    for a in OPS {
        let mut one = start.clone();
        apply(&mut one, a, replica, 2);
        all.push((vec![a], one.clone()));
        for b in OPS {
            let mut two = one.clone();
            apply(&mut two, b, replica, 3);
            all.push((vec![a, b], two));
        }
    }
    all
}

/// Lets a replica deal with an offer; returns what it holds afterwards and whether it reports a conflict.
fn deal(
    local: &Option<Entry>,
    remote: &Option<Entry>,
    policy: &Policy,
    id: ReplicaId,
    n: u64,
) -> (Option<Entry>, bool) {
    let Some(offer) = remote else { return (local.clone(), false) };
    match reconcile(local.as_ref(), offer, Above::Live, policy) {
        Decision::Keep | Decision::Yield | Decision::Refuse(_) => (local.clone(), false),
        Decision::Merge(entry) | Decision::Take(entry, _) => (Some(*entry), false),
        Decision::Win(entry) => (Some(entry.bumped(id, Sequence(n))), false),
        Decision::Conflict => (local.clone(), true),
    }
}

/// What a user sees of an entry.
fn shown(entry: &Option<Entry>) -> Option<(Content, Option<(u16, Timestamp)>)> {
    let entry = entry.as_ref().filter(|e| e.content.is_live())?;
    let rest = match entry.content {
        Content::File { .. } => Some((entry.attributes.mode, entry.mtime)),
        Content::Dir => Some((entry.attributes.mode, at(0))),
        Content::Symlink { .. } | Content::Deleted => None,
    };
    Some((entry.content.clone(), rest))
}

/// Exchanges offers until nothing changes; returns both ends and whether a conflict is left.
fn exchange(a: &Option<Entry>, b: &Option<Entry>, policy: &Policy) -> (Option<Entry>, Option<Entry>, bool) {
    let flipped = Policy {
        prefer: policy.prefer.map(Preference::flipped),
        force: policy.force.map(Preference::flipped),
        ..*policy
    };
    let (mut a, mut b) = (a.clone(), b.clone());
    for round in 0..5 {
        let n = 100 + round;
        let (next_a, conflict_a) = deal(&a, &b, policy, A, n);
        let (next_b, conflict_b) = deal(&b, &a, &flipped, B, n);
        if next_a == a && next_b == b {
            assert_eq!(conflict_a, conflict_b, "one side sees a conflict, the other does not: {a:?} {b:?}");
            return (a, b, conflict_a);
        }
        (a, b) = (next_a, next_b);
    }
    panic!("the exchange does not end: {a:?} {b:?}");
}

#[test]
fn after_an_exchange_both_are_equal_or_both_report_a_conflict() {
    for start in [None, base()] {
        for (ops_a, a) in histories(&start, A) {
            for (ops_b, b) in histories(&start, B) {
                let (x, y, conflict) = exchange(&a, &b, &policy());
                let what = format!("{ops_a:?} | {ops_b:?} from {start:?}\n{x:?}\n{y:?}");
                if conflict {
                    assert!(
                        !ops_a.is_empty() && !ops_b.is_empty(),
                        "conflict though one side did nothing: {what}"
                    );
                    assert_ne!(shown(&a), shown(&b), "conflict between equal states: {what}");
                    assert_eq!(
                        (shown(&x), shown(&y)),
                        (shown(&a), shown(&b)),
                        "a conflict changed something: {what}"
                    );
                } else {
                    assert_eq!(shown(&x), shown(&y), "{what}");
                }
            }
        }
    }
}

#[test]
fn only_one_side_changed_means_the_other_follows() {
    for start in [None, base()] {
        for (ops, a) in histories(&start, A) {
            let (x, y, conflict) = exchange(&a, &start, &policy());
            assert!(!conflict, "{ops:?}");
            assert_eq!((shown(&x), shown(&y)), (shown(&a), shown(&a)), "{ops:?}");
        }
    }
}

#[test]
fn prefer_leaves_no_conflict_and_touches_nothing_else() {
    for side in [Side::Local, Side::Remote] {
        let preferring = Policy { prefer: Some(Preference::Side(side)), ..policy() };
        for (_, a) in histories(&base(), A) {
            for (_, b) in histories(&base(), B) {
                let plain = exchange(&a, &b, &policy());
                let preferred = exchange(&a, &b, &preferring);
                assert!(!preferred.2);
                assert_eq!(shown(&preferred.0), shown(&preferred.1));
                if plain.2 {
                    let winner = if side == Side::Local { &a } else { &b };
                    assert_eq!(shown(&preferred.0), shown(winner));
                } else {
                    assert_eq!(shown(&preferred.0), shown(&plain.0));
                }
            }
        }
    }
}

#[test]
fn force_makes_the_winner_of_both() {
    for side in [Side::Local, Side::Remote] {
        let forcing = Policy { force: Some(Preference::Side(side)), ..policy() };
        for start in [None, base()] {
            for (ops_a, a) in histories(&start, A) {
                for (ops_b, b) in histories(&start, B) {
                    // What was never offered is not in question: a side that has nothing has no entry to offer.
                    if a.is_none() && side == Side::Local || b.is_none() && side == Side::Remote {
                        continue;
                    }
                    let (x, y, conflict) = exchange(&a, &b, &forcing);
                    let winner = if side == Side::Local { &a } else { &b };
                    assert!(!conflict);
                    assert_eq!(
                        (shown(&x), shown(&y)),
                        (shown(winner), shown(winner)),
                        "{ops_a:?} | {ops_b:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_the_peer_alone_created_goes_when_the_local_side_is_forced() {
    let forcing = Policy { force: Some(Preference::Side(Side::Local)), ..policy() };
    let (x, y, _) = exchange(&None, &base(), &forcing);
    assert_eq!((shown(&x), shown(&y)), (None, None));
}

#[test]
fn the_table_of_cases() {
    use Op::*;
    // first, second, conflict?, the common result where there is none: content and mode.
    /// What stands on both sides afterwards, if anything; `None` for a conflict.
    type Result = Option<Option<(Content, u16)>>;
    let cases: &[(&[Op], &[Op], Result)] = &[
        (&[], &[], Some(Some((file(0), 0o644)))),
        (&[Modify(1)], &[], Some(Some((file(1), 0o644)))),
        (&[Chmod(0o600)], &[], Some(Some((file(0), 0o600)))),
        (&[Modify(1), Chmod(0o600)], &[], Some(Some((file(1), 0o600)))),
        (&[Delete], &[], Some(None)),
        (&[Modify(1)], &[Modify(1)], Some(Some((file(1), 0o644)))),
        (&[Modify(1)], &[Modify(2)], None),
        (&[Modify(1)], &[Chmod(0o600)], Some(Some((file(1), 0o600)))),
        (&[Modify(1)], &[Modify(1), Chmod(0o600)], Some(Some((file(1), 0o600)))),
        (&[Chmod(0o600)], &[Chmod(0o600)], Some(Some((file(0), 0o600)))),
        (&[Chmod(0o600)], &[Chmod(0o640)], None),
        (&[Modify(1)], &[Delete], None),
        (&[Chmod(0o600)], &[Delete], Some(None)),
        (&[Delete], &[Delete], Some(None)),
        (&[ToDir], &[], Some(Some((Content::Dir, 0o644)))),
        (&[ToDir], &[Modify(1)], None),
        (&[ToDir], &[Delete], None),
        (&[ToDir], &[ToDir], Some(Some((Content::Dir, 0o644)))),
        (&[ToLink(1)], &[ToLink(1)], Some(Some((Content::Symlink { target: [1].into() }, 0o644)))),
        (&[ToLink(1)], &[ToLink(2)], None),
    ];
    for (first, second, expected) in cases {
        let run = |ops: &[Op], id| {
            let mut entry = base();
            ops.iter().enumerate().for_each(|(i, &op)| apply(&mut entry, op, id, 2 + i as u64));
            entry
        };
        let (a, b) = (run(first, A), run(second, B));
        for (a, b) in [(&a, &b), (&b, &a)] {
            let (x, y, conflict) = exchange(a, b, &policy());
            assert_eq!(conflict, expected.is_none(), "{first:?} | {second:?}");
            if let Some(expected) = expected {
                for end in [x, y] {
                    let seen = end.filter(|e| e.content.is_live()).map(|e| (e.content, e.attributes.mode));
                    assert_eq!(&seen, expected, "{first:?} | {second:?}");
                }
            }
        }
    }
}

#[test]
fn equal_trees_that_meet_merge_and_later_edits_are_no_conflict() {
    let (mut a, mut b) = (None, None);
    apply(&mut a, Op::Modify(0), A, 1);
    apply(&mut b, Op::Modify(0), B, 1);
    // B edits before it has dealt with A's offer; A has joined already.
    let (joined, conflict) = deal(&a, &b, &policy(), A, 100);
    assert!(!conflict);
    apply(&mut b, Op::Modify(1), B, 2);
    apply(&mut b, Op::Chmod(0o600), B, 3);
    let (x, y, conflict) = exchange(&joined, &b, &policy());
    assert!(!conflict);
    assert_eq!(shown(&x), shown(&b));
    assert_eq!(shown(&x), shown(&y));
}

#[test]
fn at_a_first_meeting_a_tombstone_deletes_nothing() {
    let meeting = Policy { first_meeting: true, ..policy() };
    let (mut a, mut b) = (None, None);
    apply(&mut a, Op::Modify(0), A, 1);
    apply(&mut a, Op::Delete, A, 2);
    apply(&mut b, Op::Modify(0), B, 1);
    let (x, y, conflict) = exchange(&a, &b, &meeting);
    assert!(!conflict);
    assert_eq!((shown(&x), shown(&y)), (shown(&b), shown(&b)));
}

#[test]
fn without_times_and_perms_only_content_goes_over() {
    let bare = Policy::plain(AttributeMask::NONE);
    let (mut a, mut b) = (base(), base());
    apply(&mut a, Op::Chmod(0o600), A, 2);
    apply(&mut a, Op::Touch(50), A, 3);
    apply(&mut b, Op::Chmod(0o640), B, 2);
    let (x, y, conflict) = exchange(&a, &b, &bare);
    assert!(!conflict);
    assert_eq!((shown(&x), shown(&y)), (shown(&a), shown(&b)));
}

#[test]
fn a_wider_mask_is_settled_by_the_newer_file_on_both_sides() {
    let bare = Policy { times: true, ..Policy::plain(AttributeMask::NONE) };
    let (mut a, mut b) = (base(), base());
    apply(&mut a, Op::Chmod(0o600), A, 2);
    apply(&mut b, Op::Chmod(0o640), B, 2);
    let (mut a, b, _) = exchange(&a, &b, &bare);
    apply(&mut a, Op::Touch(99), A, 4);
    let (x, y, conflict) = exchange(&a, &b, &policy());
    assert!(!conflict, "{x:?} {y:?}");
    assert_eq!(shown(&x), shown(&a));
    assert_eq!(shown(&x), shown(&y));
}

#[test]
fn a_wider_mask_brings_over_what_one_side_alone_vouches_for() {
    let bare = Policy { times: true, ..Policy::plain(AttributeMask::NONE) };
    // B took the file over a link without modes, and has its own; the mtimes are the same.
    let a = base();
    let (a, b, _) = exchange(&a, &None, &bare);
    let mut b = b.unwrap();
    b.attributes.mode = 0o755;
    let (x, y, conflict) = exchange(&a, &Some(b.clone()), &policy());
    assert!(!conflict);
    assert_eq!((shown(&x), shown(&y)), (shown(&a), shown(&a)), "what A made, and meant, goes over");
    // What nobody vouches for: what grants less.
    let (mut one, mut other) = (b.clone(), b);
    other.attributes.mode = 0o640;
    one.vouched = AttributeMask::NONE;
    other.vouched = one.vouched;
    let (x, y, conflict) = exchange(&Some(one), &Some(other), &policy());
    assert!(!conflict);
    let mode = |entry: Option<Entry>| entry.unwrap().attributes.mode;
    assert_eq!((mode(x), mode(y)), (0o640, 0o640));
}

#[test]
fn what_is_forbidden_is_refused_with_its_option() {
    let forbid = |f| Policy { forbidden: f, ..policy() };
    let mut gone = base();
    apply(&mut gone, Op::Delete, B, 2);
    let mut edited = base();
    apply(&mut edited, Op::Modify(1), B, 2);
    let run = |local: Option<Entry>, remote: &Option<Entry>, f| {
        reconcile(local.as_ref(), remote.as_ref().unwrap(), Above::Live, &forbid(f))
    };
    let none = Forbidden::default();
    assert_eq!(run(base(), &gone, Forbidden { deletion: true, ..none }), Decision::Refuse("nodeletion"));
    assert_eq!(run(base(), &gone, Forbidden { update: true, ..none }), Decision::Refuse("noupdate"));
    assert_eq!(run(base(), &edited, Forbidden { update: true, ..none }), Decision::Refuse("noupdate"));
    assert_eq!(run(None, &edited, Forbidden { creation: true, ..none }), Decision::Refuse("nocreation"));
    assert!(matches!(run(base(), &edited, Forbidden { deletion: true, ..none }), Decision::Take(..)));
}

#[test]
fn below_a_conflict_nothing_is_deleted() {
    let mut gone = base();
    apply(&mut gone, Op::Delete, B, 2);
    let decision = reconcile(base().as_ref(), gone.as_ref().unwrap(), Above::Conflict, &policy());
    assert_eq!(decision, Decision::Conflict);
}
