//! `vfsync sync`: one pass over both trees.

use super::connect::{Connected, check_apart, leading_root, reach};
use super::serve::{close, notices};
use super::tell::Teller;
use crate::cli::SyncArgs;
use crate::core::path::RelPath;
use crate::exit::ExitStatus;
use crate::link::order::Sorter;
use crate::link::session::{Session, scan_filter};
use crate::link::{CHOICES, Event, LinkError, Setup};
use crate::options::{Options, Repeat, ReplicaOptions};
use crate::output::{
    Action, ChangeLog, Decided, Direction, ItemKind, LogFile, Pick, Planned, Reporter, Style, can_ask,
};
use crate::replica::Replica;
use crate::replica::scan::ScanError;
use crate::wire::{Choice, Chosen, Start, Winner};
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};

/// How often it is shown how far the work has come.
const PROGRESS: Duration = Duration::from_millis(100);

/// Makes the passes that were asked for.
pub async fn run(args: SyncArgs) -> Result<ExitStatus> {
    let options = args.options;
    let reporter = reporter(&options)?;
    options.notices.iter().for_each(|notice| reporter.note(notice));
    if options.command.test_server {
        return test_server(&options, &reporter).await;
    }
    check_apart(&options)?;
    loop {
        let status = passes(&options, &reporter).await;
        match options.command.repeat {
            // `watch` is what `live` does: the command line has made that of it.
            Repeat::Once | Repeat::Watch => return status,
            Repeat::Every(pause) => {
                if let Err(error) = status {
                    reporter.error(&format!("{error:#}"));
                }
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = tokio::signal::ctrl_c() => return Ok(ExitStatus::InStep),
                }
            }
        }
    }
}

/// Returns what prints for these options.
pub(super) fn reporter(options: &Options) -> Result<Reporter> {
    reporter_of(Style::of(&options.command), options)
}

/// Returns what prints in a style, and into the logs that these options name.
pub(super) fn reporter_of(style: Style, options: &Options) -> Result<Reporter> {
    let changes = options.command.changelog_dir.as_ref().map(|folder| {
        ChangeLog::open(folder).with_context(|| format!("cannot make the folder {}", folder.display()))
    });
    Ok(Reporter::new(style, log_file(options)?).with_changes(changes.transpose()?))
}

/// Opens the log file that these options name, if they do.
fn log_file(options: &Options) -> Result<Option<LogFile>> {
    let open = |path: &std::path::PathBuf| {
        LogFile::open(path).with_context(|| format!("cannot open the log file {}", path.display()))
    };
    options.command.logfile.as_ref().map(open).transpose()
}

/// Connects, says so, and ends.
async fn test_server(options: &Options, reporter: &Reporter) -> Result<ExitStatus> {
    let (leading, _) = leading_root(options)?;
    for (place, root) in options.roots.iter().enumerate() {
        if place != leading {
            reporter.say(&format!("Contacting {root} ..."));
            let reached = reach(options, root).await?;
            reached.notices.iter().for_each(|notice| reporter.note(notice));
            reached.close().await;
        }
    }
    let names: Vec<String> = options.roots.iter().map(ToString::to_string).collect();
    reporter.say(&format!("Connected [{}]", names.join(" -> ")));
    Ok(ExitStatus::InStep)
}

/// One pass, and with `retry` further ones while paths fail.
pub(super) async fn passes(options: &Options, reporter: &Reporter) -> Result<ExitStatus> {
    let mut status = pass(options, reporter).await?;
    for _ in 0..options.command.retry {
        if status != ExitStatus::Failed {
            break;
        }
        reporter.note("some paths failed: trying again");
        status = pass(options, reporter).await?;
    }
    Ok(status)
}

async fn pass(options: &Options, reporter: &Reporter) -> Result<ExitStatus> {
    let began = Instant::now();
    let (leading, path) = leading_root(options)?;
    let other = 1 - leading;
    let link = options.link(1);
    let (filter, state) = (scan_filter(&link)?, options.command.state_dir.clone());
    let deletions_stay = !link.passes_deletions_on(leading == 0);
    let kept = ReplicaOptions { deletions_stay, ..options.replica.clone() };
    let opening = tokio::task::spawn_blocking(move || Replica::open(&path, &state, kept, filter));
    let replica = Arc::new(opening.await.context("opening the replica")??);
    notices(&replica).iter().for_each(|notice| reporter.note(notice));
    let (events, told) = mpsc::unbounded_channel();
    let setup = Setup {
        replica: replica.clone(),
        link,
        options: options.replica.clone(),
        local_is_first: leading == 0,
        lasts: false,
        remote_root: Vec::new(),
        peer_name: String::new(),
        events,
    };
    let root = &options.roots[other];
    let reached = reach(options, root).await?;
    reached.notices.iter().for_each(|notice| reporter.note(notice));
    let mut connected = reached.open(setup, root).await?;
    let names: Vec<String> = options.roots.iter().map(ToString::to_string).collect();
    reporter.start(&names.join(" and "));
    let reporter = &reporter.of_link(root.to_string());
    let mut teller = Teller::new(reporter, leading == 0);
    teller.asked_for(&options.policy.paths);
    let mut tick = tokio::time::interval(PROGRESS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut pass = Pass { options, reporter, replica: &replica, teller, told, began, tick };
    let result = pass.run(&mut connected).await;
    if result.is_ok() {
        pass.say_what_leads_nowhere();
    }
    connected.end().await;
    drop(pass);
    close(replica);
    result.map_err(|error| match error.downcast_ref() {
        // What happened at this end says itself where, and it is not the other root.
        Some(LinkError::Scan(_) | LinkError::Archive(_)) => error,
        _ => error.context(root.to_string()),
    })
}

/// Puts a plan into the order that the options want. How large what goes over is shows only when it does.
fn sort(plan: &mut [Planned], sorter: &Sorter) {
    plan.sort_by_key(|planned| match planned {
        Planned::Change { path, action, .. } => sorter.place(path, *action == Action::Create, 0),
        Planned::Conflict(conflict) => sorter.place(&conflict.path, false, 0),
    });
}

/// Returns what a person has chosen otherwise than the plan says, for both ends.
fn chosen(plan: &[Planned], picks: &[Pick]) -> Vec<Chosen> {
    let winner = |pick| match pick {
        Pick::Recommended | Pick::Skip => None,
        Pick::ToFirst => Some(Winner::Second),
        Pick::ToSecond => Some(Winner::First),
    };
    let pairs = plan.iter().zip(picks).filter(|(planned, pick)| !planned.is_recommended(**pick));
    let chosen = pairs.map(|(planned, &pick)| {
        let choice = match (winner(pick), planned) {
            (None, _) => Choice::Skip,
            (Some(winner), Planned::Change { .. }) => Choice::Impose(winner),
            (Some(winner), Planned::Conflict(_)) => Choice::Settle(winner),
        };
        // A conflict of a directory may be one as a whole; those in it that are listed have a choice of their own.
        let below = planned.holds_below() || matches!(choice, Choice::Settle(_));
        Chosen { path: planned.path().clone(), choice, below }
    });
    let mut chosen: Vec<Chosen> = chosen.take(CHOICES).collect();
    let settled: BTreeSet<RelPath> = chosen.iter().filter(|c| c.below).map(|c| c.path.clone()).collect();
    let is_below = |planned: &Planned| planned.path().ancestors().any(|dir| settled.contains(&dir));
    let stays =
        |planned: &Planned, pick| matches!(planned, Planned::Conflict(_)) && planned.is_recommended(pick);
    let kept = plan.iter().zip(picks).filter(|(planned, pick)| stays(planned, **pick) && is_below(planned));
    let kept =
        kept.map(|(planned, _)| Chosen { path: planned.path().clone(), choice: Choice::Skip, below: true });
    chosen.extend(kept.take(CHOICES - chosen.len()).collect::<Vec<_>>());
    chosen
}

/// Returns the part of a plan that nobody has chosen anything about.
fn left(plan: Vec<Planned>, picks: &[Pick]) -> Vec<Planned> {
    let pairs = plan.into_iter().zip(picks).filter(|(planned, pick)| planned.is_recommended(**pick));
    pairs.map(|(planned, _)| planned).collect()
}

/// One pass under way.
struct Pass<'a> {
    options: &'a Options,
    reporter: &'a Reporter,
    replica: &'a Arc<Replica>,
    teller: Teller<'a>,
    told: mpsc::UnboundedReceiver<Event>,
    began: Instant,
    /// When a person wants to see how far it has come.
    tick: Interval,
}

impl Pass<'_> {
    async fn run(&mut self, connected: &mut Connected) -> Result<ExitStatus> {
        let session = &mut connected.session;
        let command = &self.options.command;
        if command.batch && !command.dry_run {
            self.go(session, Start::Pass).await?;
        } else {
            self.teller.plan();
            self.go(session, Start::Plan).await?;
            let mut plan = self.teller.take_plan();
            sort(&mut plan, &Sorter::new(&self.options.link(1).order)?);
            if plan.is_empty() || command.dry_run {
                self.reporter.plan(&plan);
                return Ok(self.end_of_plan(session, &plan));
            }
            let only_conflicts = plan.iter().all(|p| matches!(p, Planned::Conflict(_)));
            self.reporter.plan(&plan);
            if only_conflicts && !can_ask() {
                return Ok(self.end_of_plan(session, &plan));
            }
            let picks = match self.reporter.decide(&plan, command.auto)? {
                Decided::Go(picks) => picks,
                Decided::Nothing if only_conflicts => return Ok(self.end_of_plan(session, &plan)),
                Decided::Nothing => {
                    self.reporter.say("Nothing was done.");
                    return Ok(ExitStatus::InStep);
                }
            };
            session.choose(chosen(&plan, &picks)).await?;
            self.teller.reset();
            self.go(session, Start::Execute).await?;
            // What both sides knew before is not told again.
            self.teller.count_conflicts(&left(plan, &picks));
        }
        let summary = self.teller.summary(session.totals(), self.began.elapsed());
        self.reporter.summary(&summary);
        self.teller.trouble();
        Ok(summary.exit_status())
    }

    /// Says which of the paths that were asked for are in neither root: with a name that was mistyped everything seems to be
    /// in step.
    fn say_what_leads_nowhere(&self) {
        // What cannot be read here has failed before.
        let Ok(snapshot) = self.replica.archive.read() else { return };
        for path in self.teller.untold() {
            if matches!(snapshot.get(path), Ok(None)) {
                self.reporter.note(&format!("path {path}: neither root has anything there that takes part"));
            }
        }
    }

    /// Says how a plan ends that is not carried out.
    fn end_of_plan(&mut self, session: &Session, plan: &[Planned]) -> ExitStatus {
        self.teller.count_conflicts(plan);
        let summary = self.teller.summary(session.totals(), self.began.elapsed());
        let changes = plan.iter().any(|p| matches!(p, Planned::Change { .. }));
        self.reporter.end_of_plan(&summary, changes);
        self.teller.trouble();
        summary.exit_status()
    }

    /// A dry run shows what a guard halts, and that it does.
    fn show_halted(&self, error: &ScanError) {
        let ScanError::Guard { paths, .. } = error else { return };
        if !self.options.command.dry_run || paths.is_empty() {
            return;
        }
        let direction = match self.options.roots[0].is_local() {
            true => Direction::ToSecond,
            false => Direction::ToFirst,
        };
        let (kind, action) = (ItemKind::File, Action::Delete);
        let deletion =
            |path: &RelPath| Planned::Change { path: path.clone(), from: None, kind, action, direction };
        self.reporter.plan(&paths.iter().map(deletion).collect::<Vec<_>>());
        self.reporter.say("A guard halts this pass: without -dry-run nothing of it would be done.");
    }

    /// Starts both ends and waits until they are at rest.
    async fn go(&mut self, session: &mut Session, start: Start) -> Result<(), LinkError> {
        let ended = self.go_on(session, start).await;
        self.reporter.end_progress();
        ended
    }

    async fn go_on(&mut self, session: &mut Session, start: Start) -> Result<(), LinkError> {
        session.start(start).await?;
        if start != Start::Execute {
            let scanning = self.replica.clone();
            let mut scan = tokio::task::spawn_blocking(move || scanning.scan_until_quiet());
            let scanned = loop {
                tokio::select! {
                    scanned = &mut scan => break scanned,
                    _ = self.tick.tick() => self.reporter.progress(&self.replica.tally.count()),
                }
            };
            let report = match scanned.map_err(|e| LinkError::Died(e.to_string()))? {
                Err(error) => {
                    self.reporter.end_progress();
                    self.show_halted(&error);
                    return Err(error.into());
                }
                Ok(report) => report,
            };
            session.report(report, false).await?;
            session.scanned().await?;
        }
        let settled = {
            let settling = session.settle();
            tokio::pin!(settling);
            loop {
                tokio::select! {
                    settled = &mut settling => break settled,
                    Some(event) = self.told.recv() => self.teller.event(event),
                    _ = self.tick.tick() => self.reporter.progress(&self.replica.tally.count()),
                }
            }
        };
        while let Ok(event) = self.told.try_recv() {
            self.teller.event(event);
        }
        settled
    }
}
