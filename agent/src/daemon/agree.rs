//! Whether two ends that name each other want the same of their link. The end that dials states its policies; where the end
//! that answers is configured otherwise, one of the two would be carried out against what the other's administrator wrote.

use super::site::Link;
use crate::core::filter::Pathspec;
use crate::link::session::is_lasting;
use crate::options::{Forbidden, LinkOptions, Preference, SymbolicLinks};
use crate::wire::Hello;
use std::fmt::Display;

/// So many of the options are named.
const NAMED: usize = 8;
/// And so much of each value, in characters.
const SHOWN: usize = 300;
/// What is said of an option that is not set.
const NOT_SET: &str = "not set";

/// Returns in which options a link of this end and what the other end asks for differ, for a person; `None` where they are
/// the same. `here` and `there` name the two roots. What only makes a link faster or slower is each end's own affair.
pub(super) fn differences(own: &Link, hello: &Hello, here: &str, there: &str) -> Option<String> {
    let roots = |here_is_first: bool| if here_is_first { [here, there] } else { [there, here] };
    let ours = policies(&own.options, own.replica.links, roots(own.local_is_first));
    let theirs = policies(&hello.link, hello.options.links, roots(!hello.dials_from_first));
    // A pass over a part of what is kept is no other policy.
    let counts = |name: &str| name != "path" || is_lasting(hello);
    let mut differ: Vec<String> = ours
        .into_iter()
        .zip(theirs)
        .filter(|((name, ours), (_, theirs))| ours != theirs && counts(name))
        .map(|((name, ours), (_, theirs))| {
            format!("{name} is {} at {here}, and {} at {there}", shortened(&ours), shortened(&theirs))
        })
        .collect();
    let more = differ.len().saturating_sub(NAMED);
    differ.truncate(NAMED);
    if more > 0 {
        differ.push(format!("and {more} more"));
    }
    (!differ.is_empty()).then(|| {
        format!(
            "the two ends are configured otherwise: {}. Give both the same, or let only one of the two name the other",
            differ.join("; ")
        )
    })
}

/// Returns what the options of a link say, by name, with the roots called by these names.
fn policies(link: &LinkOptions, links: SymbolicLinks, roots: [&str; 2]) -> Vec<(&'static str, String)> {
    let LinkOptions {
        paths,
        ignore,
        ignorenot,
        attributes,
        copy_local: _,
        compress: _,
        bwlimit: _,
        prefer,
        force,
        forbidden_in_first,
        forbidden_in_second,
        force_partial,
        prefer_partial,
        forbidden_in_first_partial,
        forbidden_in_second_partial,
        too_large,
        order: _,
    } = link;
    let preference = |preference: &Preference| match preference {
        Preference::First => roots[0].to_owned(),
        Preference::Second => roots[1].to_owned(),
        Preference::Newer => "newer".to_owned(),
        Preference::Older => "older".to_owned(),
    };
    let preferred = |option: &Option<Preference>| option.as_ref().map_or(NOT_SET.to_owned(), preference);
    let partial = |option: &[(Pathspec, Preference)]| {
        list(
            option.iter().map(|(spec, winner)| format!("{} -> {}", spec.without_value(), preference(winner))),
        )
    };
    // By its name: who dials has the first root on one of the two ends, and the second on the other.
    let mut forbidden = [(roots[0], forbidden_in_first), (roots[1], forbidden_in_second)];
    forbidden.sort_by_key(|(root, _)| *root);
    let mut in_parts = [(roots[0], forbidden_in_first_partial), (roots[1], forbidden_in_second_partial)];
    in_parts.sort_by_key(|(root, _)| *root);
    let where_not = |of: fn(&Forbidden) -> bool| {
        list(forbidden.iter().filter(|(_, forbidden)| of(forbidden)).map(|(root, _)| *root))
    };
    let where_not_in_parts = |of: fn(&Forbidden) -> bool| {
        list(in_parts.iter().flat_map(|(root, parts)| {
            let parts = parts.iter().filter(move |(_, forbidden)| of(forbidden));
            parts.map(move |(spec, _)| format!("{} -> {root}", spec.without_value()))
        }))
    };
    let yes = |yes: bool| yes.to_string();
    vec![
        ("path", list(in_any_order(paths))),
        ("ignore", list(in_any_order(ignore))),
        ("ignorenot", list(in_any_order(ignorenot))),
        ("links", yes(links == SymbolicLinks::Synchronise)),
        ("perms", format!("0o{:o}", attributes.perms)),
        ("owner", yes(attributes.owner)),
        ("group", yes(attributes.group)),
        ("numericids", yes(attributes.numeric_ids)),
        ("times", yes(attributes.times)),
        ("xattrs", yes(attributes.xattrs)),
        ("acl", yes(attributes.acl)),
        ("prefer", preferred(prefer)),
        ("force", preferred(force)),
        ("preferpartial", partial(prefer_partial)),
        ("forcepartial", partial(force_partial)),
        ("nocreation", where_not(|forbidden| forbidden.creation)),
        ("nodeletion", where_not(|forbidden| forbidden.deletion)),
        ("noupdate", where_not(|forbidden| forbidden.update)),
        ("nocreationpartial", where_not_in_parts(|forbidden| forbidden.creation)),
        ("nodeletionpartial", where_not_in_parts(|forbidden| forbidden.deletion)),
        ("noupdatepartial", where_not_in_parts(|forbidden| forbidden.update)),
        ("maxsizethreshold", too_large.map_or(NOT_SET.to_owned(), |bytes| bytes.to_string())),
    ]
}

/// Returns what a list says whose order means nothing, nor how often something stands in it.
fn in_any_order(values: impl IntoIterator<Item = impl Display>) -> std::collections::BTreeSet<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

/// Returns the values of a list as one text.
fn list(values: impl IntoIterator<Item = impl Display>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if values.is_empty() { NOT_SET.to_owned() } else { format!("[{}]", values.join(", ")) }
}

fn shortened(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::version::ReplicaId;
    use crate::environment::Environment;
    use crate::options::{Options, Origin, RootsWanted, Setting};
    use crate::wire::Whereabouts;

    /// What a block says: names and values.
    type Said = &'static [(&'static str, &'static str)];

    /// Returns a link between the two roots, as the block of one that has `root` says.
    fn link(root: &str, peer: &str, options: &[(&str, &str)]) -> Link {
        let roots = [("root", root), ("root", peer)];
        let setting = |(name, value): &(&str, &str)| {
            Setting::new(name, value.as_bytes(), Origin::CommandLine).expect("an option")
        };
        let settings: Vec<Setting> = roots.iter().chain(options).map(setting).collect();
        let environment = Environment { state_dir: Some("/state".into()), ..Environment::default() };
        let options = Options::from_settings(&settings, RootsWanted::Star, &environment).expect("options");
        Link::of("block", &options).expect("a link").remove(0)
    }

    fn hello(link: &Link, lasts: bool) -> Hello {
        Hello {
            replica: ReplicaId(1),
            nonce: 2,
            from: Whereabouts { host: Vec::new(), root: b"/b".to_vec(), inodes: Vec::new() },
            root: b"/a".to_vec(),
            dials_from_first: link.local_is_first,
            link: link.options.clone(),
            options: link.replica.clone(),
            capabilities: crate::link::session::capabilities_of(lasts),
        }
    }

    /// Returns in what the block of the host with /a differs from the one of the host with /b.
    fn between(a: &[(&str, &str)], b: &[(&str, &str)]) -> Option<String> {
        let (a, b) = (link("/a", "ssh://b//b", a), link("/b", "ssh://a//a", b));
        let why = differences(&a, &hello(&b, true), "A:/a", "B:/b");
        let mirrored = differences(&b, &hello(&a, true), "B:/b", "A:/a");
        assert_eq!(why.is_some(), mirrored.is_some(), "{why:?} {mirrored:?}");
        why
    }

    #[test]
    fn what_both_say_is_the_same_from_either_end() {
        let same: [(Said, Said); 6] = [
            (&[], &[]),
            (&[("force", "/a")], &[("force", "ssh://a//a")]),
            (&[("prefer", "ssh://b//b")], &[("prefer", "/b")]),
            (
                &[("nodeletion", "/a"), ("nocreation", "ssh://b//b")],
                &[("nodeletion", "ssh://a//a"), ("nocreation", "/b")],
            ),
            (&[("preferpartial", "Name x -> /a")], &[("preferpartial", "Name x -> ssh://a//a")]),
            // Each end's own affair.
            (&[("bwlimit", "100K"), ("compress", "none")], &[("max-delete", "5"), ("fastcheck", "false")]),
        ];
        for (a, b) in same {
            assert_eq!(between(a, b), None, "{a:?} {b:?}");
        }
    }

    #[test]
    fn what_is_otherwise_is_named_with_both_ways() {
        let other: [(Said, Said, &str); 8] = [
            // The same words, and not the same meaning: each end its own root.
            (&[("force", "/a")], &[("force", "/b")], "force is A:/a at A:/a, and B:/b at B:/b"),
            (&[("prefer", "/a")], &[], "prefer is A:/a at A:/a, and not set at B:/b"),
            (
                &[("ignore", "Name x")],
                &[("ignore", "Name y")],
                "ignore is [Name x] at A:/a, and [Name y] at B:/b",
            ),
            (&[("perms", "0")], &[], "perms is 0o0 at A:/a"),
            (&[("links", "false")], &[], "links is false at A:/a, and true at B:/b"),
            (&[("noupdate", "/a")], &[("noupdate", "/b")], "noupdate is [A:/a] at A:/a, and [B:/b] at B:/b"),
            (&[("path", "d")], &[], "path is [d] at A:/a, and not set at B:/b"),
            (&[("maxsizethreshold", "5")], &[], "maxsizethreshold is "),
        ];
        for (a, b, words) in other {
            let why = between(a, b).unwrap_or_else(|| panic!("{a:?} {b:?}"));
            assert!(why.contains(words), "{words}: {why}");
        }
    }

    #[test]
    fn a_pass_over_a_part_is_no_other_policy() {
        let whole = link("/a", "ssh://b//b", &[]);
        let part = link("/b", "ssh://a//a", &[("path", "d")]);
        assert_eq!(differences(&whole, &hello(&part, false), "A", "B"), None);
        let other = link("/b", "ssh://a//a", &[("path", "d"), ("owner", "true")]);
        let why = differences(&whole, &hello(&other, false), "A", "B");
        assert!(why.is_some_and(|why| why.contains("owner") && !why.contains("path")));
    }

    #[test]
    fn what_is_long_is_cut_short() {
        let patterns: Vec<String> = (0..5000).map(|n| format!("Name é{n}")).collect();
        let patterns: Vec<(&str, &str)> = patterns.iter().map(|text| ("ignore", text.as_str())).collect();
        let why = between(&patterns, &[]).expect("they differ");
        assert!(why.len() < 1000 && why.contains("..."), "{why}");
    }
}
