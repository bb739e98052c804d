use super::*;
use proptest::prelude::*;

/// Type information put together by hand:
/// `struct outer { int a; struct { typedef const struct inner b; }; }`, `struct inner { int x; int y; }`,
/// `int work(struct outer *)`.
fn small() -> Vec<u8> {
    let mut strings = vec![0u8];
    let mut string = |s: &str| {
        let at = strings.len() as u32;
        strings.extend(s.bytes().chain([0]));
        at
    };
    let (int, outer, inner) = (string("int"), string("outer"), string("inner"));
    let (a, b, x, y) = (string("a"), string("b"), string("x"), string("y"));
    let (work, alias) = (string("work"), string("inner_t"));
    let info = |kind: u32, parts: u32| kind << 24 | parts;
    let words: Vec<u32> = [
        vec![int, info(kind::INT, 0), 4, 32],                      // 1
        vec![inner, info(kind::STRUCT, 2), 8, x, 1, 0, y, 1, 32],  // 2
        vec![0, info(kind::CONST, 0), 2],                          // 3
        vec![alias, info(kind::TYPEDEF, 0), 3],                    // 4
        vec![0, info(kind::STRUCT, 1), 8, b, 4, 0],                // 5
        vec![outer, info(kind::STRUCT, 2), 16, a, 1, 0, 0, 5, 64], // 6
        vec![0, info(kind::PTR, 0), 6],                            // 7
        vec![0, info(kind::FUNC_PROTO, 2), 1, 0, 7, 0, 1],         // 8
        vec![work, info(kind::FUNC, 0), 8],                        // 9
    ]
    .concat();
    let types = words.len() as u32 * 4;
    let mut data = Vec::new();
    data.extend(MAGIC.to_le_bytes());
    data.extend([1, 0]);
    for word in [HEADER as u32, 0, types, types, strings.len() as u32].into_iter().chain(words) {
        data.extend(word.to_le_bytes());
    }
    data.extend(strings);
    data
}

const WANTED: [&str; 3] = ["outer", "inner", "work"];

/// Asks everything that the agent asks; only that it returns matters.
fn ask(data: Vec<u8>, wanted: &[&str], members: &[(&str, &str)], functions: &[&str]) {
    if let Ok(btf) = Btf::parse(data, wanted) {
        for (structure, path) in members {
            let _ = btf.member(structure, path);
        }
        for function in functions {
            let _ = btf.parameters(function);
            let _ = btf.tracepoint(function);
        }
    }
}

#[test]
fn members_are_found_through_anonymous_and_named_types() {
    let btf = Btf::parse(small(), &WANTED).unwrap();
    assert_eq!(btf.member("outer", "a"), Some(0));
    assert_eq!(btf.member("outer", "b.y"), Some(12));
    assert_eq!(btf.member("outer", "c"), None);
    assert_eq!(btf.member("outer", "a.b"), None);
    assert_eq!(btf.parameters("work"), Some(vec!["outer".to_string(), String::new()]));
    assert_eq!(btf.parameters("play"), None);
}

#[test]
fn a_structure_that_holds_itself_is_no_loop() {
    let mut data = small();
    // The anonymous structure's member (type 5) becomes anonymous and of its own type.
    let at = HEADER + 4 * (4 + 9 + 3 + 3 + 3);
    data[at..at + 4].copy_from_slice(&0u32.to_le_bytes());
    data[at + 4..at + 8].copy_from_slice(&5u32.to_le_bytes());
    assert_eq!(Btf::parse(data, &WANTED).unwrap().member("outer", "b"), None);
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        ask(bytes, &WANTED, &[("outer", "b.y")], &["work"]);
    }

    #[test]
    fn mutated_types_are_answered(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        cut in any::<prop::sample::Index>(), cuts in any::<bool>(),
    ) {
        let mut data = small();
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if cuts {
            data.truncate(cut.index(data.len()));
        }
        ask(data, &WANTED, &[("outer", "b.y"), ("outer", "a"), ("inner", "x")], &["work"]);
    }
}

/// The same with the kernel's own types, where there are any; a few dozen cases, as each reads five megabytes.
#[test]
fn the_mutated_types_of_this_kernel_are_answered() {
    let Ok(whole) = std::fs::read("/sys/kernel/btf/vmlinux") else { return };
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below.max(1) as u64) as usize
    };
    let names = super::super::offsets::NAMES;
    let members = super::super::offsets::MEMBERS;
    for round in 0..24 {
        let mut data = whole.clone();
        for _ in 0..1 << (round % 12) {
            let at = if round % 3 == 0 { next(64.min(data.len())) } else { next(data.len()) };
            data[at] ^= 1 << next(8);
        }
        if round % 4 == 0 {
            data.truncate(next(whole.len()));
        }
        ask(data, names, members, names);
    }
}
