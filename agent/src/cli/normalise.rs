//! From how Unison spells options to how the parser below wants them: `-perms -1` becomes `--perms=-1`.
//!
//! One dash or two, a value after `=` or as the next argument, a bool alone or with a value: the table of options
//! decides, here and in one way.

use crate::options::table::{self, Kind, OptionDef};
use crate::options::{OptionError, Origin};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Rewrites the arguments that follow a command which takes the options of the table.
pub(super) fn normalise(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, OptionError> {
    let mut args = args.into_iter().peekable();
    let mut normal = Vec::new();
    let mut errors = Vec::new();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        let dashed = match bytes {
            b"--" => {
                normal.push(arg);
                normal.extend(args);
                break;
            }
            [b'-', b'-', rest @ ..] | [b'-', rest @ ..] if !rest.is_empty() => rest,
            _ => {
                normal.push(arg);
                continue;
            }
        };
        let (name, inline) = match dashed.iter().position(|&b| b == b'=') {
            Some(at) => (&dashed[..at], Some(dashed[at + 1..].to_vec())),
            None => (dashed, None),
        };
        let name = String::from_utf8_lossy(name);
        match &*name {
            "help" | "h" => {
                normal.push("--help".into());
                continue;
            }
            "version" | "V" => {
                normal.push("--version".into());
                continue;
            }
            _ => {}
        }
        let Some(def) = table::find(&name) else {
            let (name, nearest) = (name.to_string(), table::nearest(&name));
            errors.push(OptionError::Unknown { name, nearest, origin: Origin::CommandLine });
            continue;
        };
        let value = match inline {
            Some(value) => value,
            None => match args.peek() {
                Some(next) if takes(def, next) => args.next().map(OsString::into_vec).unwrap_or_default(),
                _ if matches!(def.kind, Kind::Bool | Kind::BoolOrDefault) => b"true".to_vec(),
                _ => {
                    errors.push(OptionError::NoValue(def.name));
                    continue;
                }
            },
        };
        normal.push(OsString::from_vec([b"--", def.name.as_bytes(), b"=", &value].concat()));
    }
    OptionError::all_of(errors)?;
    Ok(normal)
}

/// Rewrites the arguments of any other command: its own long options may have one dash, too.
pub(super) fn with_two_dashes(
    command: &clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Vec<OsString> {
    let mut only_values = false;
    let rewrite = |arg: OsString| {
        only_values |= arg == "--";
        let name = arg.as_bytes().strip_prefix(b"-").filter(|name| !name.starts_with(b"-") && name.len() > 1);
        let Some(dashed) = name.filter(|_| !only_values) else { return arg };
        let name = dashed.split(|&b| b == b'=').next().unwrap_or_default();
        let is_long = command.get_arguments().any(|a| a.get_long().is_some_and(|l| l.as_bytes() == name));
        let known = is_long || name == b"help" || name == b"version";
        if known { OsString::from_vec([b"--", dashed].concat()) } else { arg }
    };
    args.into_iter().map(rewrite).collect()
}

/// Returns whether the next argument is the option's value.
fn takes(def: &OptionDef, next: &OsStr) -> bool {
    match def.kind {
        Kind::Bool => matches!(next.as_bytes(), b"true" | b"false"),
        Kind::BoolOrDefault => {
            matches!(next.as_bytes(), b"true" | b"false" | b"yes" | b"no" | b"default" | b"auto")
        }
        Kind::Int | Kind::Text | Kind::List | Kind::Pathspecs => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(args: &[&str]) -> Result<Vec<String>, String> {
        let args = args.iter().map(OsString::from);
        let normal = normalise(args).map_err(|e| e.to_string())?;
        Ok(normal.into_iter().map(|a| a.into_string().unwrap()).collect())
    }

    fn check(args: &[&str], expected: &[&str]) {
        assert_eq!(normal(args), Ok(expected.iter().map(|s| s.to_string()).collect()), "{args:?}");
    }

    #[test]
    fn unison_s_spellings_and_the_usual_ones_mean_the_same() {
        check(&["-batch", "/a", "-times", "/b"], &["--batch=true", "/a", "--times=true", "/b"]);
        check(
            &["--batch", "-times=false", "--owner=true"],
            &["--batch=true", "--times=false", "--owner=true"],
        );
        check(&["-perms", "-1"], &["--perms=-1"]);
        check(&["--perms=-1"], &["--perms=-1"]);
        check(&["-ignore", "Name *.tmp", "-ignore=Path a=b"], &["--ignore=Name *.tmp", "--ignore=Path a=b"]);
        check(&["-sshargs", "-C -p 22"], &["--sshargs=-C -p 22"]);
        check(
            &["-fastcheck", "true", "-ignorecase", "default"],
            &["--fastcheck=true", "--ignorecase=default"],
        );
        check(&["-fastcheck", "/a"], &["--fastcheck=true", "/a"]);
        check(&["-batch", "true", "-batch", "false"], &["--batch=true", "--batch=false"]);
        check(
            &["-repeat", "1", "-dryrun", "-numericIds"],
            &["--repeat=1", "--dry-run=true", "--numericids=true"],
        );
        check(&["-logfile", ""], &["--logfile="]);
        check(&["--", "-batch"], &["--", "-batch"]);
        check(&["-", "a-b"], &["-", "a-b"]);
        check(&["-help", "-h", "--version"], &["--help", "--help", "--version"]);
    }

    #[test]
    fn what_is_not_in_the_table_is_an_error() {
        assert!(normal(&["-bacth"]).unwrap_err().contains("the nearest is -batch"));
        assert!(normal(&["-x"]).unwrap_err().ends_with("no such option"));
        assert!(normal(&["--=x"]).is_err());
        let both = normal(&["-bogus", "/a", "-bacth", "-perms"]).unwrap_err();
        assert_eq!(both.lines().count(), 4, "{both}");
        assert_eq!(normal(&["-perms"]).unwrap_err(), "option -perms: a value has to follow it");
    }

    proptest! {
        #[test]
        fn no_arguments_panic(args in proptest::collection::vec(proptest::collection::vec(1_u8.., 0..6), 0..5)) {
            let _ = normalise(args.into_iter().map(|a| OsString::from_vec([b"-", &a[..]].concat())));
        }
    }
}
