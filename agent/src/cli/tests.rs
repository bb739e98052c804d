use super::*;
use crate::options::{FastCheck, Repeat};
use crate::replica::conflicts::Keep;
use std::path::Path;

fn environment() -> Environment {
    Environment { state_dir: Some("/state".into()), ..Environment::default() }
}

fn parsed(args: &[&str]) -> Result<Command, UsageError> {
    parse(std::iter::once("vfsync").chain(args.iter().copied()).map(OsString::from), &environment())
}

fn sync(args: &[&str]) -> Options {
    match parsed(&[&["sync"], args].concat()) {
        Ok(Command::Sync(args)) => args.options,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn unison_s_spellings_reach_the_options() {
    let o = sync(&[
        "-batch",
        "-times",
        "-perms",
        "-1",
        "-ignore",
        "Name *.tmp",
        "/data/",
        "ssh://host//data/",
        "-fastcheck",
        "false",
    ]);
    assert!(o.command.batch && o.policy.attributes.times);
    assert_eq!(o.policy.attributes.perms, 0o7777);
    assert_eq!(o.policy.ignore.len(), 1);
    assert_eq!(o.roots.len(), 2);
    assert_eq!(o.replica.fastcheck, FastCheck::Contents);
    let o = sync(&["--batch", "--repeat=1", "--path", "a", "-path=b", "/a", "/b", "-batch=false"]);
    assert_eq!((o.command.batch, o.policy.paths.len()), (true, 2));
    assert_eq!(o.command.repeat, Repeat::Every(Duration::from_secs(1)));
    assert_eq!(sync(&["-root", "/a", "-root", "h:b"]).roots.len(), 2);
    assert_eq!(sync(&["/a", "--", "-b"]).roots[1], Root::Local("-b".into()));
}

#[test]
fn live_takes_more_roots_than_two() {
    let Ok(Command::Live(args)) = parsed(&["live", "/a", "h:b", "g:c"]) else { panic!() };
    assert_eq!(args.options.roots.len(), 3);
    let Ok(Command::Live(args)) = parsed(&["live", "-repeat", "1", "-retry", "3", "/a", "h:b"]) else {
        panic!()
    };
    assert_eq!(args.options.notices.len(), 2);
    assert!(
        parsed(&["live", "-dry-run", "/a", "h:b"]).is_err()
            && parsed(&["live", "-testserver", "/a", "h:b"]).is_err()
    );
    assert!(matches!(parsed(&["sync", "/a", "h:b", "g:c"]), Err(UsageError::Option(OptionError::Roots(_)))));
}

#[test]
fn repeat_watch_makes_live_of_sync() {
    let Ok(Command::Live(args)) = parsed(&["sync", "-repeat", "watch", "/a", "h:b"]) else { panic!() };
    assert_eq!((args.options.command.repeat, args.options.notices.len()), (Repeat::Watch, 0));
    assert!(parsed(&["sync", "-repeat", "watch", "-dry-run", "/a", "h:b"]).is_err());
    let said = parsed(&["sync", "-repeat", "watch+3600", "/a", "h:b"]).unwrap_err().to_string();
    assert!(said.contains("say `watch` alone"), "{said}");
}

#[test]
fn a_profile_comes_first_and_the_command_line_wins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("www.prf");
    std::fs::write(&file, "root = /x\nroot = /y\nretry = 3\nretry = 4\nignore = Name a\nbatch = true\n")
        .unwrap();
    let name = file.to_str().unwrap();
    let o = sync(&["-profile", name]);
    assert_eq!((o.roots[0].clone(), o.command.retry), (Root::Local("/x".into()), 4));
    let o = sync(&["-retry", "1", "-ignore", "Name b", "-batch=false", "/a", "/b", "-profile", name]);
    assert_eq!((o.command.retry, o.policy.ignore.len(), o.command.batch), (1, 2, false));
    assert_eq!(o.roots[0], Root::Local("/a".into()));
    assert!(matches!(parsed(&["sync", "-profile", "/gone.prf"]), Err(UsageError::Profile(_))));
}

#[test]
fn roots_without_a_command_are_pointed_to_sync() {
    for args in [&["/a", "/b"][..], &["-batch", "/a", "h:b"], &["./a", "b"], &["h:b"]] {
        let error = parsed(args).unwrap_err();
        assert!(error.to_string().contains(&format!("`vfsync sync {}`", args.join(" "))), "{error}");
        assert_eq!(error.print(), ExitStatus::Nothing);
    }
    for args in [&["snyc"][..], &["snyc", "a", "b"]] {
        let error = parsed(args).unwrap_err();
        assert!(matches!(&error, UsageError::Clap(_)) && error.to_string().contains("'sync'"), "{error}");
    }
    assert!(
        matches!(parsed(&["top"]), Ok(Command::Top(args)) if args.state_dir == Path::new("/state") && args.color)
    );
    let Ok(Command::Ask(args)) = parsed(&["flush", "/a", "--timeout", "1.5"]) else { panic!() };
    assert_eq!(args.request, Request::Flush { path: Some("/a".into()), milliseconds: 1500 });
    assert!(
        matches!(parsed(&["daemon", "-config", "x"]), Ok(Command::Daemon(args)) if args.config == Path::new("x"))
    );
    assert!(matches!(parsed(&["daemon"]), Err(UsageError::NoConfig)));
    assert!(matches!(parsed(&["conflicts", "--json"]), Ok(Command::Conflicts(args)) if args.json));
    assert!(
        matches!(parsed(&["resolve", "f", "--keep", "both"]), Ok(Command::Resolve(args)) if args.keep == Keep::Both)
    );
    assert!(parsed(&["resolve", "f"]).is_err() && parsed(&["resolve", "f", "--keep", "x"]).is_err());
}

#[test]
fn bad_usage_exits_with_3_and_help_with_0() {
    for args in [
        &[][..],
        &["sync", "/a"],
        &["sync", "-bogus"],
        &["watch"],
        &["watch", "--timeout", "x", "/"],
        &["serve", "x"],
        &["doctor", "-x"],
        &["sync", "-perms", "x", "/a", "/b"],
    ] {
        assert_eq!(parsed(args).unwrap_err().print(), ExitStatus::Nothing, "{args:?}");
    }
    for args in [
        &["--help"][..],
        &["-help"],
        &["-version"],
        &["sync", "-help"],
        &["live", "--help"],
        &["help", "sync"],
    ] {
        let error = parsed(args).unwrap_err();
        assert!(matches!(&error, UsageError::Clap(e) if !e.use_stderr()), "{args:?}");
    }
}

#[test]
fn the_help_of_sync_lists_what_works_and_nothing_else() {
    let UsageError::Clap(help) = parsed(&["sync", "--help"]).unwrap_err() else { panic!() };
    let help = help.to_string();
    for option in ["--batch", "--ignore <SPEC>", "--max-delete <N|N%>", "--fastcheck <BOOL>"] {
        assert!(help.contains(option), "{option} in {help}");
    }
    assert!(!help.contains("--rsrc") && !help.contains("--follow"));
}

#[test]
fn the_other_commands() {
    let Ok(Command::Watch(w)) =
        parsed(&["watch", "--json", "--timeout", "1.5", "--capture", "scan", "/a", "/b"])
    else {
        panic!()
    };
    assert_eq!((w.paths.len(), w.json, w.timeout), (2, true, Some(Duration::from_millis(1500))));
    assert_eq!(w.capture, CaptureChoice::Scan);
    for args in [&["watch", "-json", "-timeout", "2", "/a"][..], &["watch", "-json", "-timeout=2", "/a"]] {
        let Ok(Command::Watch(w)) = parsed(args) else { panic!("{args:?}") };
        assert_eq!((w.json, w.timeout), (true, Some(Duration::from_secs(2))));
    }
    assert!(parsed(&["watch", "-bogus", "/a"]).is_err());
    let Ok(Command::Watch(w)) = parsed(&["watch", "--", "-json"]) else { panic!() };
    assert_eq!(w.paths, [Path::new("-json")]);
    let Ok(Command::Serve(s)) = parsed(&["serve", "--root", "/a"]) else { panic!() };
    assert_eq!((s.root.as_deref(), s.state_dir.as_path()), (Some(Path::new("/a")), Path::new("/state")));
    let Ok(Command::Doctor(d)) =
        parsed(&["doctor", "--json", "/a", "h:b", "--sshargs", "-C -x", "--servercmd", "/opt/vfsync"])
    else {
        panic!()
    };
    assert_eq!((d.roots.len(), d.ssh.args.len(), d.ssh.server_command.as_str()), (2, 2, "/opt/vfsync"));
    assert!(parsed(&["doctor", "-x:b"]).is_err());
}

#[test]
fn completions_and_manual_pages_are_written() {
    let mut out = Vec::new();
    completions(clap_complete::Shell::Bash, &mut out).unwrap();
    man(None, &mut out).unwrap();
    man(Some("sync"), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("numericids"));
    assert!(man(Some("nothing"), &mut Vec::new()).is_err());
}
