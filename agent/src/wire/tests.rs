use super::*;
use crate::core::entry::{Attributes, Content, Digest, Entry, Timestamp};
use crate::core::path::RelPath;
use crate::core::renamed::Renamed;
use crate::core::version::{ReplicaId, Sequence};
use bytes::Bytes;
use proptest::prelude::*;

fn offer(content: Content, inline: Option<&[u8]>) -> Offer {
    let attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };
    Offer {
        path: RelPath::new(b"a/b").unwrap(),
        entry: Entry::new(content, attributes, Timestamp::default(), ReplicaId(1), Sequence(1)),
        owners: Owners::default(),
        content: inline.map(Bytes::copy_from_slice),
        like: None,
        again: false,
    }
}

fn file(size: u64) -> Content {
    Content::File { size, digest: Digest([1; 32]) }
}

fn round(message: Message) -> Result<Frame, WireError> {
    decode(encode_message(&message))
}

#[test]
fn messages_and_data_come_back_as_they_went() {
    let message = Message::Offers(vec![offer(file(3), Some(b"abc")), offer(Content::Deleted, None)]);
    assert_eq!(round(message.clone()).unwrap(), Frame::Message(message));
    let data = decode(encode_data(OfferNumber(7), b"bytes")).unwrap();
    assert_eq!(data, Frame::Data(OfferNumber(7), Bytes::from_static(b"bytes")));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let with = |change: fn(&mut Offer)| {
        let mut offer = offer(file(3), None);
        change(&mut offer);
        round(Message::Offers(vec![offer]))
    };
    assert!(with(|_| {}).is_ok());
    assert!(with(|o| o.path = RelPath::root()).is_err());
    assert!(with(|o| o.like = Some(RelPath::new(b"c").unwrap())).is_ok());
    assert!(with(|o| o.like = Some(RelPath::root())).is_err());
    assert!(with(|o| o.content = Some(Bytes::from_static(b"four"))).is_err());
    assert!(with(|o| o.owners.user = Some("u".repeat(256))).is_ok());
    assert!(with(|o| o.owners.group = Some("g".repeat(257))).is_err());
    assert!(with(|o| o.entry.mtime.nanoseconds = 1_000_000_000).is_err());
    assert!(with(|o| o.entry.attributes.mode = 0o10000).is_err());
    assert!(with(|o| o.entry.content = Content::Symlink { target: [0].into() }).is_err());
    assert!(with(|o| o.entry.content_lineage = Default::default()).is_err());
    assert!(decode(Bytes::new()).is_err());
    assert!(decode(Bytes::from_static(&[9, 1, 2])).is_err());
    assert!(decode(Bytes::from_static(&[1, 1, 2])).is_err());
}

#[test]
fn a_rename_that_cannot_be_is_refused() {
    let path = |path: &[u8]| RelPath::new(path).unwrap();
    let with = |change: fn(&mut Renamed)| {
        let (from, to, by) = (path(b"a"), path(b"b"), ReplicaId(1));
        let (first, gone) = (Sequence(1), Sequence(3));
        let mut renamed = Renamed { from, to, by, first, gone, count: 2, digest: [9; 32] };
        change(&mut renamed);
        round(Message::Renamed(Box::new(renamed)))
    };
    assert!(with(|_| {}).is_ok());
    assert!(with(|r| r.to = RelPath::root()).is_err());
    assert!(with(|r| r.from = RelPath::root()).is_err());
    assert!(with(|r| r.to = RelPath::new(b"a/b").unwrap()).is_err());
    assert!(with(|r| r.to = RelPath::new(b".vfsync.x/b").unwrap()).is_err());
    assert!(with(|r| r.count = 0).is_err());
    assert!(with(|r| r.count = u64::MAX).is_err());
    assert!(with(|r| r.gone = Sequence(0)).is_err());
}

/// A peer with 100,000 conflicts could never be synchronised again: the list of them was one frame, and too long a one.
#[test]
fn long_lists_go_in_several_frames_and_nothing_of_them_is_lost() {
    let paths: Vec<_> = (0..3000)
        .map(|n| RelPath::new(format!("{}/{n}", "d".repeat(240)).repeat(16).as_bytes()).unwrap())
        .collect();
    let lists = [
        Message::Again(paths.iter().map(|path| (path.clone(), true)).collect()),
        Message::Verdicts(
            paths
                .iter()
                .zip(0..)
                .map(|(path, n)| (OfferNumber(n), Verdict::Failed(path.to_string())))
                .collect(),
        ),
        Message::Problems(paths.iter().map(|path| (path.clone(), true, path.to_string())).collect()),
        Message::Resolve(paths.clone()),
    ];
    for list in lists {
        let frames = encode_in_frames(&list);
        assert!(frames.len() > 1 && frames.iter().all(|frame| frame.len() <= MAX_FRAME));
        let mut came = Vec::new();
        for frame in frames {
            match (decode(frame).unwrap(), &list) {
                (Frame::Message(Message::Again(some)), Message::Again(_)) => {
                    came.extend(some.into_iter().map(|(path, _)| path));
                }
                (Frame::Message(Message::Verdicts(some)), Message::Verdicts(_)) => {
                    came.extend(some.into_iter().map(|(number, _)| paths[number.0 as usize].clone()));
                }
                (Frame::Message(Message::Problems(some)), Message::Problems(_)) => {
                    came.extend(some.into_iter().map(|(path, _, _)| path));
                }
                (Frame::Message(Message::Resolve(some)), Message::Resolve(_)) => came.extend(some),
                (other, _) => panic!("{other:?}"),
            }
        }
        assert_eq!(came, paths);
    }
    let short = Message::Resolve(Vec::new());
    assert_eq!(encode_in_frames(&short), [encode_message(&short)]);
}

#[test]
fn a_basis_is_checked() {
    let want = |average, chunks| {
        let chunk = Chunk { length: 1, hash: [3; 16] };
        let basis = Some(Basis { average, chunks: vec![chunk; chunks] });
        round(Message::Want(vec![Want { offer: OfferNumber(1), basis }]))
    };
    assert!(want(FINEST_CHUNKS, 3).is_ok());
    let fullest = Chunk { length: u32::MAX, hash: [0; 16] };
    let basis = Some(Basis { average: COARSEST_CHUNKS, chunks: vec![fullest; MAX_CHUNKS] });
    let frame = encode_message(&Message::Want(vec![Want { offer: OfferNumber(u64::MAX), basis }]));
    assert!(frame.len() <= MAX_FRAME && decode(frame).is_ok());
    for (average, chunks) in [
        (0, 1),
        (FINEST_CHUNKS + 1, 1),
        (FINEST_CHUNKS / 2, 1),
        (u32::MAX, 1),
        (FINEST_CHUNKS, MAX_CHUNKS + 1),
    ] {
        assert!(want(average, chunks).is_err(), "{average} {chunks}");
    }
}

#[test]
fn compressed_frames_come_back_and_lies_about_their_length_do_not() {
    let data = vec![b'x'; 100_000];
    let frame = encode_data(OfferNumber(7), &data);
    let packed = compress(&frame, 3).unwrap();
    assert!(packed.len() < 1000);
    assert_eq!(decode(packed.clone()).unwrap(), Frame::Data(OfferNumber(7), data.into()));
    // One within another, a length that is too short, too long, or far too long.
    assert!(decode(compress(&[&packed[..], &[0; 10_000]].concat(), 3).unwrap()).is_err());
    for length in [0, frame.len() as u32 - 1, frame.len() as u32 + 1, MAX_FRAME as u32 + 1, u32::MAX] {
        let mut lie = packed.to_vec();
        lie[1..5].copy_from_slice(&length.to_be_bytes());
        assert!(decode(lie.into()).is_err(), "{length}");
    }
    assert_eq!(compress(b"short", 3), None);
    assert!(decode(Bytes::from_static(&[2, 0, 0, 0])).is_err());
}

#[test]
fn a_path_that_leaves_the_root_cannot_be_decoded() {
    let mut frame = encode_message(&Message::Offers(vec![offer(Content::Dir, None)])).to_vec();
    let at = frame.windows(3).position(|w| w == b"a/b").unwrap();
    frame[at..at + 3].copy_from_slice(b"../");
    assert!(decode(frame.into()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(bytes.clone().into());
        let _ = decode([&[2, 0, 0, 1], &bytes[..]].concat().into());
        let _ = compress(&bytes, 3).map(decode);
    }

    #[test]
    fn any_damage_is_answered(at in 0usize..200, byte in any::<u8>()) {
        let message = Message::Offers(vec![offer(file(3), Some(b"abc")), offer(Content::Deleted, None)]);
        let mut frame = encode_message(&message).to_vec();
        let at = at % frame.len();
        frame[at] = byte;
        let _ = decode(frame.into());
    }
}
