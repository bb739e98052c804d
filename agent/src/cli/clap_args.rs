//! The commands as clap parses them.

use super::options_args::OptionsArgs;
use crate::options::CaptureChoice;
use crate::replica::conflicts::Keep;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// How every command ends, and what it reads.
pub(super) const ENDING: &str = "Exit status: 0 everything is in step (live, watch: ended by a signal or in time), 1 some \
    paths were skipped or are in conflict, 2 some paths failed, 3 nothing could be done (doctor: something necessary is \
    missing).\nEnvironment: VFSYNC_STATE_DIR, VFSYNC_CONFIG, VFSYNC_LOG (a tracing filter), NO_COLOR, UNISON.";

#[derive(Parser)]
#[command(name = "vfsync", version, about, max_term_width = 110, propagate_version = true)]
#[command(
    after_help = ENDING
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: CliCommand,
}

#[derive(Subcommand)]
pub(super) enum CliCommand {
    /// Make two trees the same: one pass over both, then exit
    Sync(OptionsArgs),
    /// Keep trees the same: one pass, then follow changes until interrupted
    Live(OptionsArgs),
    /// Keep everything that the configuration names the same, as a service
    Daemon(CliDaemon),
    /// For a crontab: one pass over everything that the configuration names, unless a daemon does it
    Cron(CliDaemon),
    /// Print a Unison profile as a block of the configuration
    Import {
        /// A file, or a name under ~/.unison
        profile: OsString,
    },
    /// Show how the links and replicas of a running daemon or `live` stand
    Status(CliAsk),
    /// Show the same live on a screen, with rates; q quits
    Top(CliTop),
    /// Wait until everything that happened before is on the peers, or say what is not
    Flush(CliFlush),
    /// Stop, and hold nothing of a root open: it can be unmounted
    Pause(CliNamed),
    /// Go on after a pause; let through what a guard has halted, as it was shown
    Resume(CliNamed),
    /// Print what changes under some paths
    Watch(CliWatch),
    /// Be the far end of a link, over standard input and output
    Serve(CliServe),
    /// List the conflicts that stand
    Conflicts(CliConflicts),
    /// End a conflict
    Resolve(CliResolve),
    /// Say what this machine can do, and why not
    Doctor(CliDoctor),
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
    /// Print a manual page
    Man {
        /// Of this command
        command: Option<String>,
    },
}

#[derive(clap::Args)]
pub(super) struct CliDaemon {
    /// The configuration [default: /etc/vfsync/vfsync.toml, or ~/.config/vfsync/vfsync.toml without root]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct CliAsk {
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    /// Where the archives of the running process lie
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct CliTop {
    /// Where the archives of the running processes lie
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct CliFlush {
    /// Only what is at or below this path
    #[arg(value_name = "PATH")]
    pub(super) path: Option<PathBuf>,
    /// Wait no longer than this many seconds
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "60")]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) asking: CliAsk,
}

#[derive(clap::Args)]
pub(super) struct CliNamed {
    /// A root, a peer, or the name of a block [default: everything]
    #[arg(value_name = "WHAT")]
    pub(super) what: Option<String>,
    #[command(flatten)]
    pub(super) asking: CliAsk,
}

#[derive(clap::Args)]
pub(super) struct CliWatch {
    /// What to watch
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    /// Stop after this many seconds
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub(super) timeout: Option<Duration>,
    /// Run this shell command after changes, with the changed paths on its standard input, one a line; one at a time
    #[arg(long, value_name = "CMD")]
    pub(super) exec: Option<OsString>,
    /// How changes are noticed: auto, ebpf, kprobe, fentry, tracepoint, fanotify
    #[arg(long, value_name = "TIER", default_value = "auto", value_parser = capture)]
    pub(super) capture: CaptureChoice,
}

#[derive(clap::Args)]
pub(super) struct CliServe {
    /// The only root that may be asked for, as in a forced command of authorized_keys
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Where archives lie
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct CliDoctor {
    /// Roots to look at, local or on other hosts [default: those of the configuration]
    #[arg(value_name = "ROOT")]
    pub(super) roots: Vec<OsString>,
    /// The configuration [default: as for `vfsync daemon`]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    /// The ssh program
    #[arg(long, value_name = "PATH", default_value = "ssh")]
    pub(super) sshcmd: PathBuf,
    /// More arguments for ssh
    #[arg(long, value_name = "ARGS", default_value = "", allow_hyphen_values = true)]
    pub(super) sshargs: OsString,
    /// Where vfsync lies on the other host
    #[arg(long, value_name = "PATH", default_value = "vfsync")]
    pub(super) servercmd: String,
    /// Where archives lie
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct CliConflicts {
    /// Only those of this tree
    #[arg(value_name = "ROOT")]
    pub(super) root: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
    /// Where archives lie
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(super) struct CliResolve {
    /// What is in conflict: a file or directory in a tree of this host. Of a directory, all conflicts in it
    #[arg(required = true, value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// What is kept: local, remote, newer (the one modified last), both (what stands here gets another name)
    #[arg(long, value_name = "SIDE", value_parser = keep)]
    pub(super) keep: Keep,
    /// Where archives lie
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

fn keep(text: &str) -> Result<Keep, String> {
    match text {
        "local" => Ok(Keep::Local),
        "remote" => Ok(Keep::Remote),
        "newer" => Ok(Keep::Newer),
        "both" => Ok(Keep::Both),
        _ => Err("it takes local, remote, newer or both".to_string()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it takes a number of seconds".to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| "it takes a number of seconds, not negative".to_string())
}

fn capture(text: &str) -> Result<CaptureChoice, String> {
    text.parse()
}
