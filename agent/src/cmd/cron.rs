//! `vfsync cron`: one pass of everything that the configuration names, for a crontab or a timer. Where a daemon runs there
//! is nothing to do; and never are there two at a time.

use super::serve::is_same_directory;
use super::sync::{passes, reporter_of};
use crate::cli::DaemonArgs;
use crate::config::{Block, Config};
use crate::core::escaped::EscapedLines;
use crate::daemon::client::has_daemon;
use crate::environment::Environment;
use crate::exit::ExitStatus;
use crate::link::LinkError;
use crate::options::{Options, Verbosity};
use crate::output::Style;
use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Makes one pass over every link, unless a daemon or another `cron` is at it. Says nothing where nothing is to be said:
/// cron sends a mail of whatever is said.
pub async fn run(args: DaemonArgs, environment: &Environment) -> Result<ExitStatus> {
    let config = Config::load(&args.config, environment)?;
    if has_daemon(&config.state_dir).await {
        return Ok(ExitStatus::InStep);
    }
    let Some(_lock) = lock(&config.state_dir)? else { return Ok(ExitStatus::InStep) };
    let mut worst = ExitStatus::InStep;
    for block in &config.blocks {
        worst = worst.max(block_of(block).await?);
    }
    Ok(worst)
}

/// Takes the lock that one `cron` holds at a time; `None`: another one has it. It ends with the process.
fn lock(state: &Path) -> Result<Option<File>> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .with_context(|| format!("{}", state.display()))?;
    let path = state.join("cron.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Makes a pass over each link of a block. One that fails does not hold up the others.
async fn block_of(block: &Block) -> Result<ExitStatus> {
    let style = Style { verbosity: Verbosity::Silent, json: false, color: Some(false) };
    let reporter = reporter_of(style, &block.options)?;
    let mut worst = ExitStatus::InStep;
    for peer in 1..block.options.roots.len() {
        let options = quiet(block.options.pair(peer));
        match passes(&options, &reporter).await {
            Ok(status) => worst = worst.max(status),
            // The same configuration may be on every host that it names.
            Err(error) if is_itself(&error) => {}
            Err(error) => {
                let text = EscapedLines(&format!("{error:#}")).to_string();
                eprintln!("vfsync: {} and {}: {text}", options.roots[0], options.roots[1]);
                worst = ExitStatus::Nothing;
            }
        }
    }
    Ok(worst)
}

fn quiet(mut options: Options) -> Options {
    options.command.batch = true;
    options.command.verbosity = Verbosity::Silent;
    options
}

fn is_itself(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<LinkError>() {
        Some(LinkError::Same) => true,
        Some(LinkError::Refused(why)) => is_same_directory(why),
        Some(_) | None => false,
    }
}
