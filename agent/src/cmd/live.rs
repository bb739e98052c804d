//! `vfsync live`: one pass, then every change is followed until the user interrupts.

use super::capture;
use super::connect::{Connected, check_apart, leading_root, reach};
use super::serve::{close, notices};
use super::sync::reporter;
use super::tell::Teller;
use crate::cli::LiveArgs;
use crate::exit::ExitStatus;
use crate::link::session::scan_filter;
use crate::link::{Event, LinkError, Setup};
use crate::options::Options;
use crate::output::Reporter;
use crate::replica::Replica;
use crate::replica::follow::{Followed, follow};
use crate::roots::Root;
use crate::wire::Start;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long to wait before a connection that broke is tried again: from, to.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Follows the roots until interrupted.
pub async fn run(args: LiveArgs) -> Result<ExitStatus> {
    let options = Arc::new(args.options);
    let reporter = Arc::new(reporter(&options)?);
    options.notices.iter().for_each(|notice| reporter.note(notice));
    check_apart(&options)?;
    let (leading, path) = leading_root(&options)?;
    let (kept, filter, state) =
        (options.replica.clone(), scan_filter(&options.link(1))?, options.command.state_dir.clone());
    let opening = tokio::task::spawn_blocking(move || Replica::open(&path, &state, kept, filter));
    let replica = Arc::new(opening.await.context("opening the replica")??);
    notices(&replica).iter().for_each(|notice| reporter.note(notice));

    let mut links = JoinSet::new();
    let mut ready = Vec::new();
    for place in (0..options.roots.len()).filter(|&place| place != leading) {
        let link = Link { options: options.clone(), reporter: reporter.clone(), leading, place };
        // The first time must work: what is wrong then is a mistake that somebody has to mend.
        let (connected, told) = link.connect(&replica).await?;
        ready.push((link, connected, told));
    }
    let result = follow_all(&options, &reporter, &replica, &mut links, ready).await;
    links.shutdown().await;
    close(replica);
    result
}

type Told = mpsc::UnboundedReceiver<Event>;

async fn follow_all(
    options: &Arc<Options>,
    reporter: &Arc<Reporter>,
    replica: &Arc<Replica>,
    links: &mut JoinSet<Result<()>>,
    ready: Vec<(Link, Connected, Told)>,
) -> Result<ExitStatus> {
    for (_, connected, _) in &ready {
        connected.session.start(Start::Live).await?;
    }
    // Armed before the scan: what changes during it is seen by one of the two.
    let (source, said) = capture::open(options.replica.capture, &replica.root).await;
    reporter.note(&format!("this end: {said}"));
    let (tell, mut followed) = mpsc::unbounded_channel();
    let mut following = tokio::spawn(follow(replica.clone(), source, 0, tell));
    let scanning = replica.clone();
    let report =
        tokio::task::spawn_blocking(move || scanning.scan_until_quiet()).await.context("scanning")??;
    let mut report = Some(report);
    for (link, connected, told) in ready {
        if let Some(report) = report.take() {
            connected.session.report(report, false).await?;
        }
        links.spawn(link.keep(replica.clone(), connected, told));
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let result = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(ExitStatus::InStep),
            _ = terminate.recv() => break Ok(ExitStatus::InStep),
            ended = &mut following => {
                let Err(error) = ended.context("following")?;
                return Err(error.into());
            }
            Some(ended) = links.join_next() => match ended.context("a link")? {
                Ok(()) => {}
                Err(error) => break Err(error),
            },
            Some(happened) = followed.recv() => say(reporter, happened),
        }
    };
    following.abort();
    let _ = following.await;
    result
}

/// Says what following found that a person should know.
fn say(reporter: &Reporter, happened: Followed) {
    match happened {
        Followed::CaptureLost(error) => {
            reporter.error(&format!("{error}; everything is looked at once a minute from now on"));
        }
        Followed::Scanned { report, rescan } => {
            if let Some(why) = rescan {
                reporter.note(&format!("looked at everything, because {why}: {} changed", report.changed));
            }
            for problem in report.problems {
                reporter.note(&format!("{}: {}", problem.path, problem.why));
            }
        }
    }
}

/// The link between the leading root and one other.
struct Link {
    options: Arc<Options>,
    reporter: Arc<Reporter>,
    leading: usize,
    place: usize,
}

impl Link {
    fn root(&self) -> &Root {
        &self.options.roots[self.place]
    }

    async fn connect(&self, replica: &Arc<Replica>) -> Result<(Connected, Told)> {
        let (events, told) = mpsc::unbounded_channel();
        let setup = Setup {
            replica: replica.clone(),
            link: self.options.link(self.place.max(1)),
            options: self.options.replica.clone(),
            local_is_first: self.leading == 0,
            remote_root: Vec::new(),
            events,
        };
        let connected = reach(&self.options, self.root()).await?.open(setup, self.root()).await?;
        Ok((connected, told))
    }

    /// Keeps the link going, and makes it anew when it breaks.
    async fn keep(self, replica: Arc<Replica>, connected: Connected, told: Told) -> Result<()> {
        let mut next = Some((connected, told));
        let mut pause = BACK_OFF.0;
        loop {
            let (mut connected, mut told) = match next.take() {
                Some(ready) => ready,
                None => match self.connect(&replica).await {
                    Ok((connected, told)) => {
                        connected.session.start(Start::Live).await?;
                        (connected, told)
                    }
                    Err(error) => {
                        self.reporter.error(&format!("{error:#}; trying again in {} s", pause.as_secs()));
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(BACK_OFF.1);
                        continue;
                    }
                },
            };
            let began = Instant::now();
            let error = self.follow(&mut connected, &mut told).await;
            connected.end().await;
            match error {
                LinkError::Broken(_) | LinkError::Closed => {
                    if began.elapsed() > BACK_OFF.1 {
                        pause = BACK_OFF.0;
                    }
                    let text = format!("{}: {error}; connecting again in {} s", self.root(), pause.as_secs());
                    self.reporter.error(&text);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(BACK_OFF.1);
                }
                error => return Err(anyhow::Error::new(error).context(self.root().to_string())),
            }
        }
    }

    /// Brings both ends in step, and then follows them. Returns why it ended.
    async fn follow(&self, connected: &mut Connected, told: &mut Told) -> LinkError {
        let began = Instant::now();
        let mut teller = Teller::new(&self.reporter, self.leading == 0);
        let session = &mut connected.session;
        if let Err(error) = session.scanned().await {
            return error;
        }
        let settled = {
            let settling = session.settle();
            tokio::pin!(settling);
            loop {
                tokio::select! {
                    settled = &mut settling => break settled,
                    Some(event) = told.recv() => teller.event(event),
                }
            }
        };
        while let Ok(event) = told.try_recv() {
            teller.event(event);
        }
        match settled {
            // A tree that never rests is followed all the same.
            Ok(()) | Err(LinkError::Restless) => {}
            Err(error) => return error,
        }
        let summary = teller.summary(session.totals(), began.elapsed());
        self.reporter.summary(&summary);
        self.reporter.note(&format!("{}: in step, following", self.root()));
        let following = session.follow();
        tokio::pin!(following);
        loop {
            tokio::select! {
                ended = &mut following => {
                    let Err(error) = ended;
                    while let Ok(event) = told.try_recv() {
                        teller.event(event);
                    }
                    return error;
                }
                Some(event) = told.recv() => {
                    teller.event(event);
                }
            }
        }
    }
}
