//! What matches what was compared with Unison 2.52 itself, pattern by pattern, on a tree of all these shapes.

use super::*;
use proptest::prelude::*;

fn path(s: &str) -> RelPath {
    RelPath::new(s.as_bytes()).unwrap()
}

fn specs(list: &[&str]) -> Vec<Pathspec> {
    list.iter().map(|s| Pathspec::parse(s.as_bytes()).unwrap()).collect()
}

fn filter(ignore: &[&str], ignorenot: &[&str]) -> Filter {
    Filter::new(&specs(ignore), &specs(ignorenot), false).unwrap()
}

/// Checks one pattern against the paths it must match and those it must not.
fn check(spec: &str, matched: &[&str], not_matched: &[&str]) {
    let filter = filter(&[spec], &[]);
    for p in matched {
        assert!(filter.ignores(&path(p)), "{spec:?} should match {p:?}");
    }
    for p in not_matched {
        assert!(!filter.ignores(&path(p)), "{spec:?} should not match {p:?}");
    }
}

#[test]
fn name_matches_the_last_component() {
    check("Name a", &["a", "x/a", "x/y/a"], &["ab", "a/b", "xa", "A", ""]);
    check("Name *.o", &["a.o", "x/y.o", "x/a.b.o"], &[".o", ".x.o", "a.o/b", "x/.o"]);
    check("Name ?.o", &["a.o", "x/a.o"], &["..o", "ab.o", ".o"]);
    check("Name .*", &[".git", "x/.git", "..x"], &["git", ".git/x"]);
    check("Name ?*", &["a", "ab", "x/ab"], &["", ".a"]);
    // Unison's `Name *` matches the root too, and so leaves out everything for ever.
    check("Name *", &["a", "x/a"], &["", ".a", "x/.a"]);
    check("Name a/b", &["a/b", "x/a/b"], &["a", "b", "xa/b"]);
}

#[test]
fn path_matches_the_whole_path_and_wildcards_stop_at_slashes_and_leading_dots() {
    check("Path cache", &["cache"], &["x/cache", "cache/x"]);
    check("Path */tmp", &["a/tmp"], &[".foo/tmp", "a/b/tmp", "tmp", "a/tmp/x"]);
    check("Path a/*", &["a/b", "a/b.c"], &["a/.b", "a/b/c", "a"]);
    check("Path a/?b", &["a/xb"], &["a/.b", "a/b"]);
    check("Path a*b", &["ab", "axb", "a.b"], &["a/b"]);
    check("Path a/**", &["a/b"], &["a/b/c", "a/.b"]);
    check("Path **.c", &["x.c"], &[".c", ".x.c", "a/x.c"]);
    check("Path *", &["a"], &["", ".a", "a/b"]);
}

#[test]
fn below_path_matches_everything_under_it() {
    check("BelowPath a/b", &["a/b", "a/b/c", "a/b/.c/d"], &["a", "a/bc", "x/a/b"]);
    check("BelowPath c*", &["cache", "cache/x/y"], &["x/cache", ".cache"]);
}

#[test]
fn classes_braces_and_escapes() {
    check("Name [ab]x", &["ax", "bx"], &["cx", "x"]);
    check("Name [a-c]", &["a", "b", "c"], &["d", "-"]);
    check("Name [c-a]", &["b"], &["d"]);
    check("Name [a-]", &["a", "-"], &["b"]);
    check("Name x[!a-c]", &["xd", "x."], &["xa"]);
    check("Name [^a]", &["b"], &["a", ".b"]);
    check("Name [.]x", &[], &[".x"]);
    check("Name a[.]x", &["a.x"], &["a/x"]);
    check("Name *[.]x", &["a.x"], &[".x"]);
    check("Name *[a.]", &["xa", "a", "x."], &[".a", "b"]);
    check("Name []]", &["]"], &["["]);
    check("Name [\\]a]", &["]", "a"], &["\\"]);
    check("Name *.{o,c}", &["a.o", "a.c"], &["a.d", ".x.o"]);
    check("Name {*,.x}.bak", &["a.bak", ".x.bak"], &[".y.bak"]);
    check("Name {a,b{c,d}}e", &["ae", "bce", "bde"], &["be", "ce"]);
    check("Name {a,}b", &["ab", "b"], &["cb"]);
    check("Name a,b", &["a,b"], &["a", "b"]);
    check("Name \\*.o", &["*.o"], &["a.o"]);
    check("Name \\{a", &["{a"], &["a"]);
    check("Name a b", &["a b", "x/a b"], &["a", "b"]);
    check("Name (a+|b)", &["(a+|b)"], &["a", "b", "aa"]);
}

#[test]
fn a_wildcard_takes_a_character_or_a_byte() {
    check("Name ?", &["a", "é", "日"], &["ab", ".a"]);
    check("Name ??", &["ab", "é"], &["a"]);
    check("Name [à-ü]", &["é"], &["e"]);
    let odd = RelPath::new(b"a\xff.o").unwrap();
    assert!(filter(&["Name a?.o"], &[]).ignores(&odd));
    assert!(filter(&["Name *.o"], &[]).ignores(&odd));
    assert!(filter(&["Regex a..o"], &[]).ignores(&odd));
    assert!(filter(&["Regex a[^x].o"], &[]).ignores(&odd));
    let spec = Pathspec::parse(b"Name a\xff*").unwrap();
    assert!(Filter::new(&[spec], &[], false).unwrap().ignores(&odd));
    let newline = RelPath::new(b"a\nb").unwrap();
    assert!(filter(&["Name a*b"], &[]).ignores(&newline));
    assert!(filter(&["Regex a.b"], &[]).ignores(&newline));
}

#[test]
fn regex_is_anchored_and_posix() {
    check("Regex a.*", &["a", "ab", "a/b", "a/.b"], &["ba"]);
    check("Regex (a|b)+/c{2}", &["ab/cc"], &["ab/c", "c/cc"]);
    check("Regex a{2,3}", &["aa", "aaa"], &["a", "aaaa"]);
    check("Regex a{2,}", &["aa", "aaaaa"], &["a"]);
    check(r"Regex .*\.o", &["a.o", "x/.o"], &["ao"]);
    check(r"Regex [\d]+", &["d", "\\d"], &["1"]);
    check("Regex ^a$", &["a"], &["ab"]);
    for bad in [
        r"Regex \d",
        "Regex a**",
        "Regex a*?",
        "Regex (a",
        "Regex a)",
        "Regex *",
        "Regex (?i)a",
        "Regex a{x}",
        "Regex a|",
        "Regex |a",
        "Regex a||b",
        "Regex ()",
        "Regex (|a)",
    ] {
        assert!(Pathspec::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert!(Pathspec::parse(b"Regex a{3,2}").is_err());
    assert!(Pathspec::parse(b"Regex (a{1000}){1000}").is_err());
    assert!(Pathspec::parse(b"Regex [[:alpha:]]").is_err());
}

#[test]
fn literal_keywords_take_everything_literally() {
    check("String a*[b", &["a*[b"], &["ax[b", "x/a*[b"]);
    check("NameString {x}", &["{x}", "a/{x}"], &["x"]);
    check("BelowString a.b", &["a.b", "a.b/c"], &["axb"]);
    check("String ' a '", &[" a "], &["a"]);
}

#[test]
fn glob_means_what_it_means_in_a_gitignore_file() {
    check("Glob *.o", &["a.o", "x/a.o", ".o", "x/.a.o"], &["a.c", "a.o/b"]);
    check("Glob /build", &["build"], &["x/build", "build/x"]);
    check("Glob a/*.c", &["a/x.c"], &["b/a/x.c", "a/b/x.c"]);
    check("Glob a/**/z", &["a/z", "a/b/z", "a/b/c/z"], &["z"]);
    check("Glob **/foo", &["foo", "a/foo", "a/b/foo"], &["foox"]);
    check("Glob a/**", &["a/b", "a/b/c"], &["a"]);
    for bad in ["Glob !a", "Glob a/", "Glob [a"] {
        assert!(Pathspec::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn an_exception_holds_for_its_own_path_only() {
    let f = filter(&["Name *.log", "Path d"], &["Name keep.log", "Path d/keep"]);
    assert!(f.ignores(&path("a.log")) && !f.ignores(&path("x/keep.log")));
    assert!(f.ignores(&path("d")) && !f.ignores(&path("d/keep")));
    assert!(f.ignores_at_or_above(&path("d/keep")));
    assert!(f.ignores_at_or_above(&path("d/a/b/c")) && !f.ignores_at_or_above(&path("e/d")));
}

#[test]
fn del_takes_back_what_came_before_it() {
    let f = filter(&["Name *.o", "del Name a.o", "add Path x/a.o", "assoc Name b -> v"], &[]);
    assert!(f.ignores(&path("b.o")) && !f.ignores(&path("a.o")) && f.ignores(&path("x/a.o")));
    assert!(!f.ignores(&path("b")));
}

#[test]
fn reserved_names_are_ignored_whatever_anyone_writes() {
    let f = filter(&[], &["Regex .*", "Name .vfsync.x"]);
    for p in [".vfsync.tmp.1", "a/.vfsync.", ".unison.x.unison.tmp", "a/.unison.a.b.unison.tmp"] {
        assert!(f.ignores(&path(p)), "{p}");
    }
    for p in [".vfsync", "vfsync.x", ".unison.tmp", ".unison.unison", "a.unison.bak"] {
        assert!(!f.ignores(&path(p)), "{p}");
    }
    assert!(f.ignores_at_or_above(&path(".vfsync.d/x/y")));
    assert!(Filter::default().ignores(&path("x/a.unison.bak")));
}

#[test]
fn each_end_has_a_say() {
    let f = filter(&["Name a"], &["Name b"]).or(filter(&["Name b"], &["Name a"]));
    assert!(f.ignores(&path("a")) && f.ignores(&path("b")) && !f.ignores(&path("c")));
}

#[test]
fn case_is_folded_on_request() {
    let f = Filter::new(&specs(&["Name *.JPG", "Regex É[a-c]"]), &[], true).unwrap();
    assert!(f.ignores(&path("a.jpg")) && f.ignores(&path("éB")));
}

#[test]
fn values_are_split_off_at_the_last_arrow() {
    let spec = Pathspec::parse(b"Name *.c -> x -> diff3 \"A\"").unwrap();
    assert_eq!(spec.pattern, b"*.c -> x");
    assert_eq!(spec.value.as_deref(), Some(&b"diff3 \"A\""[..]));
    assert_eq!(spec.to_string(), "Name *.c -> x -> diff3 \"A\"");
    assert_eq!(Pathspec::parse(b"  Name   a->b  ").unwrap().to_string(), "Name a->b");
}

#[test]
fn malformed_patterns_say_what_is_wrong() {
    for (bad, says) in [
        ("*.o", "has to start with Name"),
        ("name *.o", "has to start with Name"),
        ("Name", "has to start with Name"),
        ("Name /a", "slash"),
        ("Path /a", "slash"),
        ("Name [a", "no ]"),
        ("Name {a,b", "no }"),
        ("Name a\\", "follows the \\"),
        ("Name {a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", "too many"),
        ("Name {{{{{{{{{{{{{{{{{{{{a}}}}}}}}}}}}}}}}}}}}", "nested"),
    ] {
        let error = Pathspec::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{bad:?}: {error}");
    }
    let control = Pathspec::parse(b"Name [\x1b[2J").unwrap_err().to_string();
    assert!(!control.contains('\x1b'), "{control:?}");
}

/// Matches a glob of `a`, `.`, `/`, `*` and `?` the slow and obvious way.
fn obvious(glob: &[u8], text: &[u8], at_start: bool) -> bool {
    match (glob, text) {
        ([], []) => true,
        ([b'*' | b'?', ..], [b'.', ..]) if at_start => false,
        ([b'*', rest @ ..], _) => {
            obvious(rest, text, at_start)
                || matches!(text, [c, tail @ ..] if *c != b'/' && obvious(glob, tail, false))
        }
        ([b'?', rest @ ..], [c, tail @ ..]) => *c != b'/' && obvious(rest, tail, false),
        ([g, rest @ ..], [c, tail @ ..]) => g == c && obvious(rest, tail, *c == b'/'),
        _ => false,
    }
}

proptest! {
    // Compiling a pattern is slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn globs_agree_with_the_obvious_matcher(glob in "[a.*?]{1,5}(/[a.*?]{1,4})?", text in "[a.]{1,4}(/[a.]{1,4})?") {
        if let Ok(p) = RelPath::new(text.as_bytes()) {
            let spec = Pathspec::parse(format!("Path {glob}").as_bytes()).unwrap();
            let f = Filter::new(&[spec], &[], false).unwrap();
            prop_assert_eq!(f.ignores(&p), obvious(glob.as_bytes(), text.as_bytes(), true), "{} {}", glob, text);
        }
    }

    #[test]
    fn no_pattern_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in proptest::collection::vec(any::<u8>(), 0..20)) {
        for keyword in ["Name", "BelowPath", "String", "Regex", "Glob"] {
            let line = [keyword.as_bytes(), b" ", &bytes].concat();
            if let Ok(spec) = Pathspec::parse(&line) {
                let f = Filter::new(&[spec], &[], false).unwrap();
                if let Ok(p) = RelPath::new(&text) {
                    f.ignores_at_or_above(&p);
                }
            }
        }
    }

    #[test]
    fn no_pattern_of_special_characters_panics(text in r"(Name|Path|Regex|Glob) [\[\]{}()*?+.,|^$\\a!/-]{0,20}") {
        let _ = Pathspec::parse(text.as_bytes());
    }

    #[test]
    fn a_literal_matches_itself(text in "[^/\0]{1,20}") {
        if let Ok(p) = RelPath::new(text.as_bytes()) {
            let quoted = format!("String '{text}'");
            if !text.contains(" -> ") {
                let spec = Pathspec::parse(quoted.as_bytes()).unwrap();
                prop_assert!(Filter::new(&[spec], &[], false).unwrap().ignores(&p));
            }
        }
    }
}
