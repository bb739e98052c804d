//! `vfsync live`: one pass, then every change is followed until the user interrupts.

use super::sync::reporter;
use crate::cli::LiveArgs;
use crate::daemon::control::Control;
use crate::daemon::{Link, News, Site};
use crate::exit::ExitStatus;
use crate::output::Reporter;
use anyhow::{Result, anyhow};
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Follows the roots until interrupted.
pub async fn run(args: LiveArgs) -> Result<ExitStatus> {
    let options = args.options;
    let reporter = Arc::new(reporter(&options)?);
    options.notices.iter().for_each(|notice| reporter.note(notice));
    let links = Link::of("live", &options)?;
    let state_dir = options.command.state_dir.clone();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (news, mut told) = mpsc::unbounded_channel();
    let site = Site::new("live", news);
    // Following works without it.
    let control = Control::listen(&state_dir, site.clone());
    if let Err(error) = &control {
        reporter.note(&format!("`vfsync status` cannot ask this process: {}: {error}", state_dir.display()));
    }
    site.set(links.into_iter().map(|link| (link, reporter.clone())).collect()).await;
    let result = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(ExitStatus::InStep),
            _ = terminate.recv() => break Ok(ExitStatus::InStep),
            Some(news) = told.recv() => if let Err(error) = say(&reporter, news) {
                break Err(error);
            },
        }
    };
    site.stop().await;
    result
}

/// Says what happened; an error is what somebody has to mend. Whoever started this waits for its answer.
fn say(reporter: &Reporter, news: News) -> Result<()> {
    match news {
        News::Note(text) => reporter.note(&text),
        News::Warning(text) => reporter.error(&text),
        News::Halted(text) | News::Lapsed(text) => return Err(anyhow!(text)),
        // The first time must work: what is wrong then is a mistake.
        News::Unlinked { why, first: true, .. } | News::Unlinked { why, lasting: true, .. } => {
            return Err(anyhow!(why));
        }
        News::Unlinked { why, again, broke, .. } => {
            let again = again.map(|wait| {
                let word = if broke { "connecting" } else { "trying" };
                format!("; {word} again in {} s", wait.as_secs().max(1))
            });
            reporter.error(&format!("{why}{}", again.unwrap_or_default()));
        }
    }
    Ok(())
}
