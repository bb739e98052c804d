use super::*;
use crate::core::filter::Pathspec;
use std::collections::BTreeMap;

fn xattrs(pairs: &[(&str, &str)]) -> Xattrs {
    Xattrs::new(&pairs.iter().copied().collect::<BTreeMap<_, _>>()).unwrap()
}

fn pairs(xattrs: &Xattrs) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    xattrs.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn acl_bytes(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, may, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(may.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const NOBODY: u32 = u32::MAX;

/// u::rw-, u:1000:r--, g::r--, g:50:-w-, m::rw-, o::---
fn kernels() -> Vec<u8> {
    acl_bytes(&[
        (1, 6, NOBODY),
        (2, 4, 1000),
        (4, 4, NOBODY),
        (8, 2, 50),
        (0x10, 6, NOBODY),
        (0x20, 0, NOBODY),
    ])
}

#[test]
fn what_a_peer_sends_is_checked_before_it_is_a_set_of_attributes() {
    let good = xattrs(&[("user.a", "1"), ("user.b", "")]);
    let bytes: Box<[u8]> = good.clone().into();
    assert_eq!(Xattrs::try_from(bytes.clone()), Ok(good));
    assert_eq!(Xattrs::try_from(Box::<[u8]>::default()), Ok(Xattrs::default()));
    for cut in 1..bytes.len() {
        let first = 1 + 6 + 4 + 1;
        assert_eq!(Xattrs::try_from(Box::from(&bytes[..cut])).is_ok(), cut == first, "{cut}");
    }
    let twice = [&bytes[..12], &bytes[..12]].concat();
    assert_eq!(Xattrs::try_from(Box::from(twice)), Err(XattrsError::Senseless));
    let unnamed = [0, 0, 0, 0, 0];
    assert_eq!(Xattrs::try_from(Box::from(unnamed)), Err(XattrsError::Senseless));
    let huge = vec![0; MAX_XATTRS + 1];
    assert_eq!(Xattrs::try_from(Box::from(huge)), Err(XattrsError::TooLarge));
}

#[test]
fn an_edit_leaves_what_was_intended_and_could_not_be_set() {
    let intended = xattrs(&[("user.a", "1"), ("user.b", "1"), ("trusted.x", "wanted")]);
    let was = xattrs(&[("user.a", "1"), ("user.b", "1")]);
    let is = xattrs(&[("user.b", "2"), ("user.c", "3")]);
    let edited = intended.edited(&was, &is);
    assert_eq!(edited, xattrs(&[("trusted.x", "wanted"), ("user.b", "2"), ("user.c", "3")]));
}

#[test]
fn what_was_never_compared_is_united_alike_on_both_sides() {
    let mine = Extended { xattrs: xattrs(&[("user.a", "mine"), ("user.b", "1")]), ..Extended::default() };
    let theirs = Extended { xattrs: xattrs(&[("user.a", "theirs"), ("user.c", "2")]), ..Extended::default() };
    for later in [None, Some(Side::Local), Some(Side::Remote)] {
        let here = mine.never_compared(&theirs, later);
        assert_eq!(here, theirs.never_compared(&mine, later.map(Side::flipped)));
        assert_eq!(here.xattrs.iter().count(), 3);
    }
    let newer = mine.never_compared(&theirs, Some(Side::Remote));
    assert!(pairs(&newer.xattrs).contains(&("user.a".to_owned(), "theirs".to_owned())));
}

#[test]
fn an_access_list_keeps_its_bytes_and_leaves_to_the_mode_what_the_mode_says() {
    let acl = Acl::from_bytes(&kernels()).unwrap();
    assert_eq!(acl.to_bytes(), kernels());
    let acls = Acls::new(Some(acl.clone()), Some(acl.clone()));
    assert_eq!(acls.access(0o660).unwrap().to_bytes(), kernels());
    assert_eq!(acls.inherited(), Some(&acl));
    // After a chmod it is the same list.
    let after = Acls::new(Some(acl.with_mode(0o640)), Some(acl.clone()));
    assert_eq!(after, acls);
    assert_ne!(after.access(0o640), acls.access(0o660));
    // One that says no more than the mode is none.
    assert_eq!(Acls::new(Some(Acl::of_mode(0o644)), None), Acls::default());
    assert_eq!(
        Acl::of_mode(0o640).to_bytes(),
        acl_bytes(&[(1, 6, NOBODY), (4, 4, NOBODY), (0x20, 0, NOBODY)])
    );
}

#[test]
fn what_is_no_access_list_is_refused() {
    for bytes in [
        vec![],
        vec![2, 0, 0],
        vec![1, 0, 0, 0],
        [kernels(), vec![0]].concat(),
        acl_bytes(&[(0x40, 0, NOBODY)]),
        acl_bytes(&[(1, 8, NOBODY)]),
        acl_bytes(&[(1, 0x104, NOBODY)]),
        acl_bytes(&[(2, 4, 1000), (2, 4, 1000), (0x10, 4, NOBODY)]),
        acl_bytes(&[(2, 4, NOBODY), (0x10, 4, NOBODY)]),
        acl_bytes(&[(2, 4, 1000)]),
    ] {
        assert!(Acl::from_bytes(&bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn ids_are_mapped_and_two_may_not_become_one() {
    let acls = Acls::new(Some(Acl::from_bytes(&kernels()).unwrap()), None);
    let mapped = acls.renumbered(|id| Ok::<_, AclError>(id + 1), |id| Ok(id * 2)).unwrap();
    assert_eq!(mapped.named(), (vec![1001], vec![100]));
    let two = acl_bytes(&[(2, 4, 1), (2, 6, 2), (0x10, 6, NOBODY)]);
    let two = Acls::new(Some(Acl::from_bytes(&two).unwrap()), None);
    assert_eq!(two.renumbered(|_| Ok::<_, AclError>(7), Ok).unwrap_err(), AclError::Senseless);
    let swapped = two.renumbered(|id| Ok::<_, AclError>(3 - id), Ok).unwrap();
    assert_eq!(swapped.named().0, [1, 2]);
}

#[test]
fn only_user_attributes_are_carried_unless_an_exception_names_others() {
    let specs = |texts: &[&str]| -> Vec<Pathspec> {
        texts.iter().map(|text| Pathspec::parse(text.as_bytes()).unwrap()).collect()
    };
    let names = |ignore: &[&str], not: &[&str]| {
        ExtendedNames::new(Some((&specs(ignore), &specs(not))), false).unwrap()
    };
    let plain = names(&[], &[]);
    assert!(plain.carries(b"user.comment") && plain.carries(b"user.a//b"));
    // Written as what is not the user's.
    assert!(!plain.carries(b"user.!x"));
    for name in [
        "security.capability",
        "trusted.x",
        "system.nfs4_acl",
        "btrfs.compression",
        "system.posix_acl_access",
    ] {
        assert!(!plain.carries(name.as_bytes()), "{name}");
    }
    let some = names(&["Name com*"], &["Path !security.capability", "Path !system.posix_acl_*"]);
    assert!(!some.carries(b"user.comment") && some.carries(b"user.other"));
    assert!(some.carries(b"security.capability") && !some.carries(b"security.selinux"));
    assert!(!some.carries(b"system.posix_acl_access"));
    assert!(names_access_lists(&specs(&["Path !system.posix_acl_*"])));
    assert!(!names_access_lists(&specs(&["Path comment"])));
    assert!(!ExtendedNames::default().carries(b"user.comment"));
}
