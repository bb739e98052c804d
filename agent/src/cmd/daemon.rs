//! `vfsync daemon`: everything that the configuration names, as a service.

use super::sync::reporter_of;
use crate::cli::DaemonArgs;
use crate::config::{Config, ConfigError};
use crate::core::escaped::EscapedLines;
use crate::daemon::control::Control;
use crate::daemon::metrics::{Address, Metrics};
use crate::daemon::{Link, News, Site, Stopped};
use crate::environment::Environment;
use crate::exit::ExitStatus;
use crate::options::Verbosity;
use crate::output::{Reporter, Style};
use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Interval;

/// What is said again and again is said once in this time.
const REPEAT: Duration = Duration::from_secs(3600);
/// How often the service manager is told how it stands.
const PULSE: Duration = Duration::from_secs(10);
/// So many texts are kept in mind for that.
const MOST_TEXTS: usize = 1000;

/// Runs until it is told to stop.
pub async fn run(args: DaemonArgs, environment: &Environment) -> Result<ExitStatus> {
    let mut signals = Signals::of_this_process()?;
    let Some(config) = configured(&args.config, environment, &mut signals).await? else {
        return Ok(ExitStatus::InStep);
    };
    let (news, mut told) = mpsc::unbounded_channel();
    let site = Site::new("daemon", news);
    let mut daemon = Daemon {
        site: site.clone(),
        metrics: None,
        reporters: BTreeMap::new(),
        state_dir: config.state_dir.clone(),
    };
    daemon.follow(&config).await?;
    let _control = Control::listen(&config.state_dir, site.clone())
        .with_context(|| format!("cannot listen for `vfsync status` in {}", config.state_dir.display()))?;
    notify(&[NotifyState::Ready, NotifyState::Status(&of_config(&config))]);
    tracing::info!(blocks = config.blocks.len(), path = %config.path.display(), "following the configuration");
    let mut pulse = pulse();
    let mut shown = String::new();
    let mut log = Log::default();
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Told::Stop => break,
                Told::Reload => daemon.reload(&args.config, environment).await,
            },
            Some(news) = told.recv() => log.say(news),
            // Only a site whose parts answer is alive.
            _ = pulse.tick() => {
                if site.hub().facts().await.is_none() || !site.is_whole() {
                    bail!("a part of this process has failed: the service manager starts it again");
                }
                let status = summary(&site);
                if status != shown {
                    notify(&[NotifyState::Status(&status)]);
                    shown = status;
                }
                notify(&[NotifyState::Watchdog]);
            },
        }
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopping: what is at hand is finished");
    let stopped = site.stop().await;
    while let Ok(news) = told.try_recv() {
        log.say(news);
    }
    match stopped {
        Stopped::Cleanly => Ok(ExitStatus::InStep),
        Stopped::TooLate => {
            bail!("something took too long to stop; what it left is dealt with at the next start")
        }
    }
}

/// What a person or the service manager says by a signal.
enum Told {
    Reload,
    Stop,
}

/// The signals that this process listens to.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn of_this_process() -> std::io::Result<Signals> {
        let (hangup, terminate) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
        Ok(Signals { hangup, terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
        }
    }
}

/// Ticks as often as the service manager wants a sign of life: in half the time that it allows, as its manual says.
fn pulse() -> Interval {
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    tokio::time::interval(watchdog.unwrap_or(PULSE).min(PULSE))
}

/// Reads the configuration. One that names nothing, as the package installs it, is no failure that starting again would
/// mend: it is waited for, until it is read again and names something. `None`: it is told to stop before.
async fn configured(path: &Path, environment: &Environment, signals: &mut Signals) -> Result<Option<Config>> {
    let mut waits = false;
    let mut pulse = pulse();
    loop {
        let why = match Config::load(path, environment) {
            Ok(config) => return Ok(Some(config)),
            // Whoever starts a daemon sees at once what is wrong.
            Err(error) if !waits && !matches!(error, ConfigError::Empty { .. }) => return Err(error.into()),
            Err(error) => EscapedLines(&format!("{:#}", anyhow::Error::new(error))).to_string(),
        };
        waits = true;
        tracing::warn!("there is nothing to do: {why}; then reload this process (SIGHUP)");
        notify(&[NotifyState::Ready, NotifyState::Status(&format!("there is nothing to do: {why}"))]);
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Told::Stop => {
                        notify(&[NotifyState::Stopping]);
                        return Ok(None);
                    }
                    Told::Reload => {
                        reloading();
                        break;
                    }
                },
                _ = pulse.tick() => notify(&[NotifyState::Watchdog]),
            }
        }
    }
}

/// Tells the service manager that the configuration is read again.
fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(_) => notify(&[NotifyState::Reloading]),
    }
}

/// Tells the service manager, if there is one.
fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot tell the service manager");
    }
}

fn of_config(config: &Config) -> String {
    let links: usize = config.blocks.iter().map(|block| block.options.roots.len() - 1).sum();
    let counted = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    format!("{}, {}", counted(config.blocks.len(), "block"), counted(links, "link"))
}

/// Returns how many links stand how: `2 live, 1 broken`.
fn summary(site: &Site) -> String {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for facts in site.all_links() {
        *counts.entry(facts.state().word()).or_default() += 1;
    }
    let counts: Vec<String> = counts.into_iter().map(|(word, n)| format!("{n} {word}")).collect();
    format!("links: {}", counts.join(", "))
}

/// The site, and what prints for each log file of the configuration.
struct Daemon {
    site: Arc<Site>,
    reporters: BTreeMap<(Option<PathBuf>, Option<PathBuf>), Arc<Reporter>>,
    state_dir: PathBuf,
    /// What answers Prometheus, and where.
    metrics: Option<(Address, Metrics)>,
}

impl Daemon {
    /// Does what the configuration says from now on; upon an error nothing has changed.
    async fn follow(&mut self, config: &Config) -> Result<()> {
        if config.state_dir != self.state_dir {
            bail!(
                "{}: state-dir is {} now, and this process keeps its archives in {}: restart it",
                config.path.display(),
                config.state_dir.display(),
                self.state_dir.display()
            );
        }
        let mut reporters = BTreeMap::new();
        let mut wanted = Vec::new();
        for block in &config.blocks {
            let command = &block.options.command;
            let logfile = (command.logfile.clone(), command.changelog_dir.clone());
            let reporter = match self.reporters.get(&logfile).or_else(|| reporters.get(&logfile)) {
                Some(reporter) => reporter.clone(),
                None => {
                    // The journal gets what is wrong; what was done is in the log file.
                    let style = Style { verbosity: Verbosity::Silent, json: false, color: Some(false) };
                    Arc::new(reporter_of(style, &block.options)?)
                }
            };
            reporters.insert(logfile, reporter.clone());
            let links = Link::of(&block.name, &block.options);
            let links = links.with_context(|| format!("{}: \"{}\"", config.path.display(), block.name))?;
            // The same configuration may be on every host that it names.
            let links = links.into_iter().map(|link| Link { may_be_itself: true, ..link });
            wanted.extend(links.map(|link| (link, reporter.clone())));
        }
        for block in &config.blocks {
            for notice in &block.options.notices {
                tracing::warn!(block = block.name, "{notice}");
            }
        }
        self.reporters = reporters;
        self.answer_metrics(config.metrics.as_ref()).await;
        self.site.set(wanted).await;
        Ok(())
    }

    /// Answers Prometheus there, and no longer elsewhere. What is kept the same is not held up by an address that is taken.
    async fn answer_metrics(&mut self, wanted: Option<&Address>) {
        if self.metrics.as_ref().map(|(address, _)| address) == wanted {
            return;
        }
        self.metrics = None;
        let Some(address) = wanted else { return };
        match Metrics::listen(address, self.site.clone()).await {
            Ok(metrics) => self.metrics = Some((address.clone(), metrics)),
            Err(error) => tracing::error!(?address, %error, "cannot answer Prometheus there"),
        }
    }

    /// Reads the configuration again. A bad one changes nothing.
    async fn reload(&mut self, path: &Path, environment: &Environment) {
        reloading();
        let read = Config::load(path, environment).map_err(anyhow::Error::from);
        let followed = match read {
            Ok(config) => self.follow(&config).await.map(|()| of_config(&config)),
            Err(error) => Err(error),
        };
        self.reporters.values().for_each(|reporter| reporter.reopen());
        match followed {
            Ok(status) => {
                tracing::info!("the configuration was read again");
                notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
            }
            Err(error) => {
                let why = EscapedLines(&format!("{error:#}")).to_string();
                tracing::error!("the configuration was not taken, and nothing has changed: {why}");
                let status = format!("the configuration was not taken: {why}");
                notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
            }
        }
    }
}

/// Writes news to the log; what repeats itself now and then.
#[derive(Default)]
struct Log {
    said: HashMap<String, Instant>,
}

impl Log {
    fn say(&mut self, news: News) {
        let text = match &news {
            News::Note(text) | News::Warning(text) | News::Halted(text) | News::Lapsed(text) => text.clone(),
            News::Unlinked { why, .. } => why.clone(),
        };
        let repeats = !matches!(news, News::Note(_));
        if repeats && self.said.get(&text).is_some_and(|then| then.elapsed() < REPEAT) {
            return;
        }
        if repeats {
            self.said.retain(|_, then| then.elapsed() < REPEAT);
            if self.said.len() < MOST_TEXTS {
                self.said.insert(text.clone(), Instant::now());
            }
        }
        let text = EscapedLines(&text).to_string();
        match news {
            News::Note(_) => tracing::info!("{text}"),
            News::Warning(_) => tracing::warn!("{text}"),
            News::Halted(_) => {
                tracing::error!("{text}; `vfsync resume` lets through what is shown here, and no more")
            }
            News::Lapsed(_) => tracing::warn!("{text}; it is tried again"),
            News::Unlinked { again: None, .. } => tracing::error!("{text}; `vfsync resume` tries it again"),
            News::Unlinked { .. } => tracing::warn!("{text}; it is tried again"),
        }
    }
}
