//! The command line: from arguments to a [`Command`] with everything it needs, or to a [`UsageError`].

mod clap_args;
mod normalise;
mod options_args;
#[cfg(test)]
mod tests;

use crate::core::escaped::Escaped;
use crate::daemon::control::Request;
use crate::environment::Environment;
use crate::exit::ExitStatus;
use crate::options::{CaptureChoice, OptionError, Options, Repeat, RootsWanted, SshOptions};
use crate::profile::ProfileError;
use crate::replica::conflicts::Keep;
use crate::roots::{Root, RootError};
use clap::{CommandFactory, FromArgMatches};
use clap_args::{Cli, CliAsk, CliCommand, CliDaemon, CliFlush, CliNamed, CliWatch, ENDING};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What to do, all of it parsed.
#[derive(Debug)]
pub enum Command {
    /// One pass over both trees.
    Sync(SyncArgs),
    /// One pass, then follow changes.
    Live(LiveArgs),
    /// Keep everything that the configuration names the same.
    Daemon(DaemonArgs),
    /// One pass over everything that the configuration names.
    Cron(DaemonArgs),
    /// Print a Unison profile as a configuration.
    Import(ImportArgs),
    /// Ask the processes that keep replicas.
    Ask(AskArgs),
    /// Show how they stand, live on a screen.
    Top(TopArgs),
    /// Print what changes.
    Watch(WatchArgs),
    /// Be the far end of a link.
    Serve(ServeArgs),
    /// List conflicts.
    Conflicts(ConflictsArgs),
    /// End a conflict.
    Resolve(ResolveArgs),
    /// Say what this machine can do.
    Doctor(DoctorArgs),
    /// Print shell completions.
    Completions(clap_complete::Shell),
    /// Print a manual page: of vfsync, or of this command.
    Man(Option<String>),
}

/// What `vfsync sync` needs.
#[derive(Debug)]
pub struct SyncArgs {
    /// What is wanted; two roots.
    pub options: Options,
}

/// What `vfsync live` needs.
#[derive(Debug)]
pub struct LiveArgs {
    /// What is wanted; two roots or more.
    pub options: Options,
}

/// What `vfsync daemon` and `vfsync cron` need.
#[derive(Debug, PartialEq, Eq)]
pub struct DaemonArgs {
    /// The configuration.
    pub config: PathBuf,
}

/// What `vfsync import` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct ImportArgs {
    /// A file, or a name in Unison's directory.
    pub profile: OsString,
}

/// What the commands need that talk to a running process.
#[derive(Debug, PartialEq)]
pub struct AskArgs {
    /// What is asked.
    pub request: Request,
    /// Whether to print JSON lines.
    pub json: bool,
    /// Where its socket lies.
    pub state_dir: PathBuf,
}

/// What `vfsync top` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct TopArgs {
    /// Where the sockets of the running processes lie.
    pub state_dir: PathBuf,
    /// Whether to use colours.
    pub color: bool,
}

/// What `vfsync watch` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct WatchArgs {
    /// What to watch.
    pub paths: Vec<PathBuf>,
    /// Whether to print JSON lines.
    pub json: bool,
    /// When to stop; never if `None`.
    pub timeout: Option<Duration>,
    /// A shell command to run for each event.
    pub exec: Option<OsString>,
    /// How changes are noticed.
    pub capture: CaptureChoice,
}

/// What `vfsync serve` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct ServeArgs {
    /// The only root that may be asked for.
    pub root: Option<PathBuf>,
    /// Where archives lie.
    pub state_dir: PathBuf,
    /// The address of the host that dials, where sshd has told it.
    pub client: Option<String>,
}

/// What `vfsync conflicts` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct ConflictsArgs {
    /// Only those of this tree.
    pub root: Option<PathBuf>,
    /// Whether to print JSON lines.
    pub json: bool,
    /// Where archives lie.
    pub state_dir: PathBuf,
}

/// What `vfsync resolve` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct ResolveArgs {
    /// What is in conflict.
    pub paths: Vec<PathBuf>,
    /// What is kept.
    pub keep: Keep,
    /// Where archives lie.
    pub state_dir: PathBuf,
}

/// What `vfsync doctor` needs.
#[derive(Debug, PartialEq, Eq)]
pub struct DoctorArgs {
    /// The roots to look at.
    pub roots: Vec<Root>,
    /// Whether to print JSON lines.
    pub json: bool,
    /// How other hosts are reached.
    pub ssh: SshOptions,
    /// Where archives lie; `None` if there is no home.
    pub state_dir: Option<PathBuf>,
    /// The configuration, where it is not the usual one.
    pub config: Option<PathBuf>,
}

/// Why the command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// Also a wish for help, which is no error.
    #[error(transparent)]
    Clap(#[from] clap::Error),
    /// An option.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A root.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Two roots and no command.
    #[error("no command is given; for one pass over both roots write `vfsync sync {}`", Escaped(.0.as_encoded_bytes()))]
    NoCommand(OsString),
    /// The configuration has to be somewhere, and where is not known.
    #[error("there is no HOME to look for a configuration in: say where it is with --config")]
    NoConfig,
}

impl UsageError {
    /// Prints the error, or the help that was asked for, and returns how to exit.
    pub fn print(&self) -> ExitStatus {
        match self {
            UsageError::Clap(e) => {
                // There is nowhere left to say that this did not work.
                let _ = e.print();
                if e.use_stderr() { ExitStatus::Nothing } else { ExitStatus::InStep }
            }
            other => {
                eprintln!(
                    "vfsync: {:#}",
                    anyhow::Chain::new(other).map(|e| e.to_string()).collect::<Vec<_>>().join(": ")
                );
                ExitStatus::Nothing
            }
        }
    }
}

/// Parses the arguments of the process, the program's own name first.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: &Environment,
) -> Result<Command, UsageError> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let first = args.get(1).and_then(|arg| arg.to_str()).unwrap_or_default();
    match first {
        "sync" | "live" => {
            let options = args.split_off(2);
            args.extend(normalise::normalise(options)?);
        }
        "-version" => args[1] = "--version".into(),
        "-help" => args[1] = "--help".into(),
        _ => {
            check_command(&args)?;
            if let Some(command) = Cli::command().find_subcommand(first) {
                let options = args.split_off(2);
                args.extend(normalise::with_two_dashes(command, options));
            }
        }
    }
    let matches = Cli::command().try_get_matches_from(args)?;
    resolve(Cli::from_arg_matches(&matches)?.command, environment)
}

/// Answers what is no command: roots and options where the command should stand.
fn check_command(args: &[OsString]) -> Result<(), UsageError> {
    let Some(first) = args.get(1) else { return Ok(()) };
    let is_known = Cli::command().get_subcommands().any(|c| first.as_os_str() == OsStr::new(c.get_name()));
    let for_clap = ["help", "-h", "--help", "-V", "--version"].iter().any(|known| first == *known);
    let bytes = first.as_encoded_bytes();
    let is_root = || bytes.iter().any(|b| b"/:.".contains(b)) || Path::new(first).exists();
    if !is_known && !for_clap && (bytes.starts_with(b"-") || is_root()) {
        return Err(UsageError::NoCommand(args[1..].join(OsStr::new(" "))));
    }
    Ok(())
}

fn resolve(command: CliCommand, environment: &Environment) -> Result<Command, UsageError> {
    let state_dir = |given: Option<PathBuf>| given.or_else(|| environment.state_dir.clone());
    Ok(match command {
        CliCommand::Sync(args) => {
            let options = args.options(RootsWanted::Pair, environment)?;
            match options.command.repeat {
                Repeat::Watch => Command::Live(LiveArgs { options: for_live(options)? }),
                Repeat::Once | Repeat::Every(_) => Command::Sync(SyncArgs { options }),
            }
        }
        CliCommand::Live(args) => {
            Command::Live(LiveArgs { options: for_live(args.options(RootsWanted::Star, environment)?)? })
        }
        CliCommand::Daemon(args) => Command::Daemon(configured(args, environment)?),
        CliCommand::Import { profile } => Command::Import(ImportArgs { profile }),
        CliCommand::Cron(args) => Command::Cron(configured(args, environment)?),
        CliCommand::Status(args) => ask(Request::Status, args, environment)?,
        CliCommand::Flush(CliFlush { path, timeout, asking }) => {
            let absolute =
                |path: PathBuf| std::path::absolute(&path).map_err(|_| OptionError::NoWorkingDirectory(path));
            let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let request = Request::Flush { path: path.map(absolute).transpose()?, milliseconds };
            ask(request, asking, environment)?
        }
        CliCommand::Pause(CliNamed { what, asking }) => ask(Request::Pause { what }, asking, environment)?,
        CliCommand::Resume(CliNamed { what, asking }) => ask(Request::Resume { what }, asking, environment)?,
        CliCommand::Top(args) => Command::Top(TopArgs {
            state_dir: state_dir(args.state_dir).ok_or(OptionError::NoStateDir)?,
            color: !environment.no_color,
        }),
        CliCommand::Watch(CliWatch { paths, json, timeout, exec, capture }) => {
            Command::Watch(WatchArgs { paths, json, timeout, exec, capture })
        }
        CliCommand::Serve(args) => {
            let state_dir = state_dir(args.state_dir).ok_or(OptionError::NoStateDir)?;
            Command::Serve(ServeArgs { root: args.root, state_dir, client: environment.client.clone() })
        }
        CliCommand::Conflicts(args) => Command::Conflicts(ConflictsArgs {
            root: args.root,
            json: args.json,
            state_dir: state_dir(args.state_dir).ok_or(OptionError::NoStateDir)?,
        }),
        CliCommand::Resolve(args) => Command::Resolve(ResolveArgs {
            paths: args.paths,
            keep: args.keep,
            state_dir: state_dir(args.state_dir).ok_or(OptionError::NoStateDir)?,
        }),
        CliCommand::Doctor(args) => Command::Doctor(DoctorArgs {
            roots: args.roots.iter().map(|root| Root::parse(root)).collect::<Result<_, _>>()?,
            json: args.json,
            ssh: SshOptions::new(args.sshcmd, &args.sshargs, args.servercmd),
            state_dir: state_dir(args.state_dir),
            config: args.config,
        }),
        CliCommand::Completions { shell } => Command::Completions(shell),
        CliCommand::Man { command } => Command::Man(command),
    })
}

fn configured(args: CliDaemon, environment: &Environment) -> Result<DaemonArgs, UsageError> {
    let config = args.config.or_else(|| environment.config.clone()).ok_or(UsageError::NoConfig)?;
    Ok(DaemonArgs { config })
}

fn ask(request: Request, args: CliAsk, environment: &Environment) -> Result<Command, UsageError> {
    let state_dir =
        args.state_dir.or_else(|| environment.state_dir.clone()).ok_or(OptionError::NoStateDir)?;
    Ok(Command::Ask(AskArgs { request, json: args.json, state_dir }))
}

/// Refuses what contradicts following changes, and says what is of no use for it.
fn for_live(mut options: Options) -> Result<Options, OptionError> {
    let command = &options.command;
    for (is_set, name) in [(command.dry_run, "dry-run"), (command.test_server, "testserver")] {
        if is_set {
            return Err(OptionError::Contradiction(format!(
                "-{name} is for one pass: use it with `vfsync sync`"
            )));
        }
    }
    let repeats = matches!(command.repeat, Repeat::Every(_));
    for (is_set, name) in [(repeats, "repeat"), (command.retry > 0, "retry")] {
        if is_set {
            options
                .notices
                .push(format!("option -{name} has no effect: `live` follows changes and tries again anyway"));
        }
    }
    Ok(options)
}

/// Writes completions for a shell.
pub fn completions(shell: clap_complete::Shell, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vfsync", &mut script);
    written(&script, out)
}

/// Writes a manual page: of vfsync, or of one of its commands.
pub fn man(command: Option<&str>, out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    let mut all = Cli::command();
    all.build();
    let page = match command {
        None => all,
        Some(name) => match all.find_subcommand(name) {
            Some(found) => {
                let before = found.get_after_help().map(|help| format!("{help}\n\n")).unwrap_or_default();
                found.clone().after_help(format!("{before}{ENDING}"))
            }
            None => anyhow::bail!("there is no command {}", Escaped(name.as_bytes())),
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    written(&text, out)
}

/// Writes it all. A reader that has seen enough is no failure.
fn written(text: &[u8], out: &mut dyn Write) -> anyhow::Result<ExitStatus> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(e.into()),
        Ok(()) | Err(_) => Ok(ExitStatus::InStep),
    }
}
