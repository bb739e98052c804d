//! `vfsync import`: a Unison profile as a configuration.

use crate::cli::ImportArgs;
use crate::config::Config;
use crate::core::escaped::Escaped;
use crate::environment::Environment;
use crate::exit::ExitStatus;
use crate::options::Setting;
use crate::options::table::{Kind, OPTIONS, Status};
use crate::profile;
use crate::roots::Root;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is said by the command, or by what it does anyway, where there is a daemon.
const NEEDLESS: &[&str] = &[
    "batch",
    "auto",
    "silent",
    "terse",
    "color",
    "repeat",
    "retry",
    "dry-run",
    "testserver",
    "json",
    "confirm-deletes",
];

/// Prints the profile as a `[[sync]]`. What has no counterpart stands in it as a comment, and makes the exit status 1.
pub fn run(args: ImportArgs, environment: &Environment) -> Result<ExitStatus> {
    let settings = profile::load(&args.profile, environment.unison_dir.as_deref())?;
    let Imported { text, lost } = import(&args.profile, &settings)?;
    std::io::stdout().write_all(text.as_bytes())?;
    for what in &lost {
        eprintln!("vfsync: {what}");
    }
    // What is printed has to be taken as it stands.
    Config::parse(Path::new("(this configuration)"), &text, environment).context("it is not complete")?;
    Ok(if lost.is_empty() { ExitStatus::InStep } else { ExitStatus::Skipped })
}

struct Imported {
    text: String,
    /// What this version does not do.
    lost: Vec<String>,
}

fn import(profile: &OsStr, settings: &[Setting]) -> Result<Imported> {
    let named = |name: &str| -> Vec<&Setting> {
        settings.iter().filter(|setting| setting.def.name == name).collect()
    };
    let mut roots = Vec::new();
    for setting in named("root") {
        let root = Root::parse(OsStr::from_bytes(&setting.value))?;
        roots.push((root, text_of(setting)?));
    }
    // The one on this host leads.
    roots.sort_by_key(|(root, _)| !root.is_local());
    let Some(((Root::Local(_), first), others)) = roots.split_first() else {
        bail!("the profile names no root on this host: a [[sync]] needs one");
    };
    let mut text = format!("# from the profile {}\n[[sync]]\n", Escaped(profile.as_bytes()));
    let peers: Vec<String> = others.iter().map(|(_, peer)| quoted(peer)).collect();
    let _ = write!(text, "root = {}\npeers = [{}]\n", quoted(first), peers.join(", "));
    let mut lost = Vec::new();
    for def in OPTIONS.iter().filter(|def| def.name != "root") {
        let values = named(def.name).into_iter().map(text_of).collect::<Result<Vec<_>>>()?;
        let Some(last) = values.last() else { continue };
        let list =
            || format!("[{}]", values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", "));
        let (name, value) = (
            def.name,
            match def.kind {
                Kind::List | Kind::Pathspecs => list(),
                Kind::Bool | Kind::BoolOrDefault => match last.as_str() {
                    "true" | "yes" => "true".to_owned(),
                    "false" | "no" => "false".to_owned(),
                    other => quoted(other),
                },
                Kind::Int if last.parse::<i64>().is_ok_and(|n| n.to_string() == *last) => last.clone(),
                Kind::Int | Kind::Text => quoted(last),
            },
        );
        let is_already = |works: &[&str]| works.contains(&last.as_str());
        match def.status {
            Status::Works if NEEDLESS.contains(&name) => {
                let _ = writeln!(text, "# {name} = {value} (a daemon needs no word for that)");
            }
            Status::Works => {
                let _ = writeln!(text, "{name} = {value}");
            }
            Status::NoEffect(why) => {
                let _ = writeln!(text, "# {name} = {value} (no effect: {why})");
            }
            Status::Later(works) if is_already(works) => {
                let _ = writeln!(text, "# {name} = {value} (so it is)");
            }
            Status::Later(_) => {
                let _ = writeln!(text, "# {name} = {value} (not in this version)");
                lost.push(format!("{name} is not in this version: it stands there as a comment"));
            }
            Status::Instead(hint) => {
                let _ = writeln!(text, "# {name} = {value} ({hint})");
            }
        }
    }
    Ok(Imported { text, lost })
}

fn text_of(setting: &Setting) -> Result<String> {
    let text = str::from_utf8(&setting.value).map(ToOwned::to_owned);
    text.with_context(|| format!("the value of {} is not UTF-8, which a configuration is", setting.def.name))
}

/// Returns a text as TOML has it: in single quotes as it is, if it can be.
fn quoted(text: &str) -> String {
    if !text.contains(|c: char| c == '\'' || c.is_control()) {
        return format!("'{text}'");
    }
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Origin;

    fn imported(lines: &[(&str, &str)]) -> Imported {
        let setting =
            |(name, value): &(&str, &str)| Setting::new(name, value.as_bytes(), Origin::CommandLine).unwrap();
        import(OsStr::new("www"), &lines.iter().map(setting).collect::<Vec<_>>()).unwrap()
    }

    fn environment() -> Environment {
        Environment { state_dir: Some("/state".into()), ..Environment::default() }
    }

    #[test]
    fn a_profile_becomes_a_block_that_is_taken() {
        let lines = [
            ("root", "ssh://192.168.1.16//data/"),
            ("root", "/data"),
            ("batch", "true"),
            ("ignore", "Name *.tmp"),
            ("ignore", "Path it's"),
            ("perms", "-1"),
            ("times", "yes"),
            ("sshargs", "-C"),
            ("rsrc", "false"),
            ("atomic", "Name x"),
        ];
        let Imported { text, lost } = imported(&lines);
        let says = [
            "root = '/data'\n",
            "peers = ['ssh://192.168.1.16//data/']\n",
            "ignore = ['Name *.tmp', \"Path it's\"]\n",
            "perms = -1\n",
            "times = true\n",
            "sshargs = '-C'\n",
            "# batch = true",
            "# rsrc = false",
        ];
        says.iter().for_each(|line| assert!(text.contains(line), "{line} in {text}"));
        let config = Config::parse(Path::new("c"), &text, &environment()).unwrap();
        assert_eq!(config.blocks[0].options.policy.ignore.len(), 2);
        assert!(lost.len() <= 1, "{lost:?}");
    }

    #[test]
    fn any_text_can_be_quoted() {
        for text in ["plain", "it's", "a\\b", "'\"\\\n\u{1}ä", ""] {
            let toml = format!("x = {}", quoted(text));
            let read = toml::de::DeTable::parse(&toml).unwrap();
            let value = read.get_ref().iter().next().unwrap().1.get_ref().as_str().unwrap().to_owned();
            assert_eq!(value, text);
        }
    }
}
