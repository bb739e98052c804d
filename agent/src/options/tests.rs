use super::table::{OPTIONS, Status, Topic};
use super::*;
use crate::environment::Environment;
use proptest::prelude::*;
use std::path::Path;

fn environment() -> Environment {
    Environment { state_dir: Some("/state".into()), ..Environment::default() }
}

fn settings(list: &[(&str, &str)]) -> Result<Vec<Setting>, OptionError> {
    list.iter().map(|(name, value)| Setting::new(name, value.as_bytes(), Origin::CommandLine)).collect()
}

fn options_of(list: &[(&str, &str)]) -> Result<Options, OptionError> {
    Options::from_settings(&settings(list)?, RootsWanted::Star, &environment())
}

/// The options of two roots, and what `list` says.
fn pair(list: &[(&str, &str)]) -> Result<Options, OptionError> {
    let roots = [("root", "/a"), ("root", "ssh://host//b")];
    options_of(&[&roots, list].concat())
}

fn error(list: &[(&str, &str)]) -> String {
    pair(list).map(|_| ()).expect_err(&format!("{list:?}")).to_string()
}

#[test]
fn every_name_is_unique_and_has_a_help_line() {
    let mut names: Vec<&str> = OPTIONS.iter().flat_map(|d| [&[d.name], d.aliases].concat()).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(
        OPTIONS.iter().all(|d| !d.help.is_empty() && (d.value.is_empty() == (d.kind == table::Kind::Bool)))
    );
    assert!(OPTIONS.iter().any(|d| d.topic == Topic::Own));
}

#[test]
fn every_option_that_works_is_applied_and_every_other_answers() {
    for def in OPTIONS {
        for value in ["true", "false", "default", "1", "/a", "Name x", "auto", "batch", "x", "", "\u{1}"] {
            let result = pair(&[(def.name, value)]);
            match def.status {
                Status::NoEffect(_) => assert!(!result.unwrap().notices.is_empty(), "{}", def.name),
                Status::Instead(_) => assert!(result.is_err(), "{}", def.name),
                Status::Works | Status::Later(_) => drop(result),
            }
        }
    }
}

#[test]
fn the_defaults_are_unison_s() {
    let o = pair(&[]).unwrap();
    let expected = AttributeOptions {
        perms: 0o1777,
        owner: false,
        group: false,
        numeric_ids: false,
        times: false,
        xattrs: false,
        acl: false,
    };
    assert_eq!(o.policy.attributes, expected);
    assert!(!o.command.batch && o.replica.confirm_big_delete && o.notices.is_empty());
    assert_eq!(o.command.logfile, None);
    assert_eq!(o.ssh.server_command, "vfsync");
}

#[test]
fn the_options_of_the_deployment_that_vfsync_replaces() {
    let o = pair(&[
        ("batch", "true"),
        ("owner", "true"),
        ("group", "true"),
        ("perms", "-1"),
        ("times", "true"),
        ("repeat", "1"),
        ("retry", "3"),
        ("sshargs", "-C"),
        ("log", "true"),
        ("logfile", "/var/log/x.log"),
        ("fastcheck", "true"),
        ("ignore", "Path cache"),
        ("xferbycopying", "true"),
        ("ignorecase", "false"),
        ("path", "b"),
        ("path", "a/x"),
        ("path", "a"),
        ("force", "/a"),
    ])
    .unwrap();
    assert_eq!(o.policy.attributes.perms, 0o7777);
    assert_eq!(o.command.repeat, Repeat::Every(Duration::from_secs(1)));
    assert_eq!(o.ssh.args, ["-C"]);
    assert_eq!(o.command.logfile.as_deref(), Some(Path::new("/var/log/x.log")));
    assert_eq!(o.policy.paths.iter().map(|p| p.to_string()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(o.link(1).force, Some(Preference::First));
    assert_eq!(o.notices.len(), 0, "{:?}", o.notices);
}

#[test]
fn a_mistyped_name_is_answered_with_the_nearest() {
    for (typed, nearest) in [
        ("btach", "-batch"),
        ("time", "-times"),
        ("ignoer", "-ignore"),
        ("dryrn", "-dryrun"),
        ("serverCmd", "-servercmd"),
    ] {
        assert!(
            error(&[(typed, "")]).ends_with(&format!("the nearest is {nearest}")),
            "{}",
            error(&[(typed, "")])
        );
    }
    assert!(error(&[("zzzzzz", "")]).ends_with("there is no such option"));
}

#[test]
fn what_this_version_does_not_do_is_refused_and_its_default_is_not() {
    for (name, value) in [
        ("follow", "Name x"),
        ("ignorecase", "true"),
        ("ignorearchives", "true"),
        ("backupcurr", "Name *"),
        ("merge", "Name * -> m"),
        ("channels", "2"),
    ] {
        assert!(error(&[(name, value)]).contains("does not do that yet"), "{name}");
    }
    for (name, value) in
        [("ignorecase", "default"), ("ignorecase", "no"), ("dontchmod", "false"), ("backups", "false")]
    {
        assert!(pair(&[(name, value)]).unwrap().notices.is_empty(), "{name}");
    }
}

#[test]
fn a_mistake_in_a_file_is_named_with_its_line() {
    let origin = Origin::File { path: Path::new("/u/www.prf").into(), line: 12 };
    let bad = Setting::new("perms", b"rwx", origin.clone()).unwrap();
    let error = Options::from_settings(&[bad], RootsWanted::Pair, &environment()).unwrap_err().to_string();
    assert!(error.starts_with("/u/www.prf:12: option perms: the value \"rwx\""), "{error}");
    let error = Setting::new("preffer", b"", origin).unwrap_err().to_string();
    assert_eq!(error, "/u/www.prf:12: option preffer: there is no such option; the nearest is -prefer");
}

#[test]
fn roots_that_do_not_go_together_are_refused() {
    let of = |roots: &[&str], wanted| {
        let list: Vec<_> = roots.iter().map(|r| ("root", *r)).collect();
        Options::from_settings(&settings(&list).unwrap(), wanted, &environment()).map_err(|e| e.to_string())
    };
    let refused = |roots: &[&str], wanted| of(roots, wanted).unwrap_err();
    assert!(refused(&[], RootsWanted::Pair).contains("two are needed"));
    assert!(refused(&["/a"], RootsWanted::Star).contains("-profile"));
    assert!(refused(&["/a", "/b", "/c"], RootsWanted::Pair).contains("vfsync live"));
    assert!(refused(&["/a", "/a/"], RootsWanted::Pair).contains("the same"));
    assert!(refused(&["h:a", "g:a"], RootsWanted::Pair).contains("on this host"));
    assert!(refused(&["h:a", "/b", "g:a"], RootsWanted::Star).contains("on this host"));
    assert!(refused(&["/a", "-x:b"], RootsWanted::Pair).contains("dash"));
    assert_eq!(of(&["/a", "h:b", "g:b"], RootsWanted::Star).unwrap().roots.len(), 3);
}

#[test]
fn roots_on_the_command_line_replace_those_of_the_profile() {
    let origin = Origin::File { path: Path::new("p").into(), line: 1 };
    let mut all: Vec<_> =
        ["/x", "/y"].iter().map(|r| Setting::new("root", r.as_bytes(), origin.clone()).unwrap()).collect();
    all.extend(settings(&[("root", "/a"), ("root", "/b")]).unwrap());
    let o = Options::from_settings(&all, RootsWanted::Pair, &environment()).unwrap();
    assert_eq!(o.roots, [Root::Local("/a".into()), Root::Local("/b".into())]);
}

#[test]
fn a_root_is_named_as_written_or_by_what_fits_it_alone() {
    let force = |value| pair(&[("force", value)]).map(|o| o.link(1).force).map_err(|e| e.to_string());
    assert_eq!(force("/a"), Ok(Some(Preference::First)));
    assert_eq!(force("/a/"), Ok(Some(Preference::First)));
    assert_eq!(force("ssh://host//b"), Ok(Some(Preference::Second)));
    assert_eq!(force("host:/b"), Ok(Some(Preference::Second)));
    assert_eq!(force("host"), Ok(Some(Preference::Second)));
    assert_eq!(force("b"), Ok(Some(Preference::Second)));
    assert_eq!(force("newer"), Ok(Some(Preference::Newer)));
    assert_eq!(force(""), Ok(None));
    assert!(force("/").unwrap_err().contains("more than one"));
    assert!(force("/c").unwrap_err().contains("none"));
    assert!(error(&[("prefer", "older")]).contains("-times"));
    assert!(pair(&[("prefer", "older"), ("times", "true")]).is_ok());
}

#[test]
fn a_link_is_told_what_concerns_it() {
    let roots = [("root", "/a"), ("root", "h:b"), ("root", "g:c")];
    let o = options_of(&[&roots[..], &[("prefer", "g"), ("nodeletion", "/a"), ("noupdate", "g:c")]].concat())
        .unwrap();
    assert_eq!((o.link(1).prefer, o.link(2).prefer), (None, Some(Preference::Second)));
    assert!(o.link(1).forbidden_in_first.deletion && !o.link(1).forbidden_in_second.update);
    assert!(o.link(2).forbidden_in_second.update);
}

#[test]
fn what_implies_batch() {
    for (name, value) in [("silent", "true"), ("repeat", "5"), ("batch", "true")] {
        assert!(pair(&[(name, value)]).unwrap().command.batch, "{name}");
    }
    assert_eq!(pair(&[("silent", "true"), ("terse", "true")]).unwrap().command.verbosity, Verbosity::Silent);
}

#[test]
fn a_log_file_lies_in_the_state_directory_unless_it_is_absolute() {
    let file = |list: &[(&str, &str)]| pair(list).unwrap().command.logfile.map(|p| p.display().to_string());
    assert_eq!(file(&[("logfile", "x.log")]).as_deref(), Some("/state/x.log"));
    assert_eq!(file(&[("log", "true")]).as_deref(), Some("/state/vfsync.log"));
    assert_eq!(file(&[("log", "true"), ("state-dir", "/s")]).as_deref(), Some("/s/vfsync.log"));
    assert_eq!(file(&[("log", "false"), ("logfile", "/x.log")]), None);
}

#[test]
fn an_octal_looking_mask_is_pointed_out() {
    let o = pair(&[("perms", "0755")]).unwrap();
    assert_eq!(o.policy.attributes.perms, 755);
    assert!(o.notices[0].contains("0o755"), "{:?}", o.notices);
}

#[test]
fn messages_do_not_carry_control_characters() {
    for list in
        [[("perms", "\u{1b}[2J")], [("\u{1b}[2J", "")], [("ignore", "\u{1b}[2J")], [("root", "ssh://\u{1b}")]]
    {
        assert!(!error(&list).contains('\u{1b}'), "{list:?}");
    }
}

proptest! {
    #[test]
    fn no_values_panic(values in proptest::collection::vec((0..OPTIONS.len(), proptest::collection::vec(any::<u8>(), 0..8)), 0..6)) {
        let settings: Vec<_> = values
            .into_iter()
            .map(|(at, value)| Setting { def: &OPTIONS[at], value, origin: Origin::CommandLine })
            .collect();
        let _ = Options::from_settings(&settings, RootsWanted::Star, &environment());
    }
}

#[test]
fn access_lists_are_wanted_as_such_or_as_unison_is_told() {
    let of = |list: &[(&str, &str)]| pair(list).unwrap();
    assert_eq!(of(&[]).replica.extended.number(), 0);
    let xattrs = of(&[("xattrs", "true")]);
    assert!(xattrs.policy.attributes.xattrs && !xattrs.policy.attributes.acl);
    let as_unison = of(&[("xattrs", "true"), ("xattrignorenot", "Path !system.posix_acl_*")]);
    assert!(as_unison.policy.attributes.acl && as_unison.replica.extended.acl);
    assert!(!of(&[("xattrignorenot", "Path !system.posix_acl_*")]).policy.attributes.acl);
    // What both ends look at has to be the same, for a link that carries it.
    let link = |o: &Options| o.link(1);
    assert!(xattrs.replica.extended.suits(&link(&xattrs), &xattrs.replica));
    assert!(!as_unison.replica.extended.suits(&link(&xattrs), &xattrs.replica));
    assert!(xattrs.replica.extended.suits(&link(&of(&[])), &of(&[]).replica));
}
