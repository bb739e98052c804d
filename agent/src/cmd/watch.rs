//! `vfsync watch`: prints what capture reports.

mod line;

use crate::{
    capture::{Capture, CaptureRequest, Event, EventKind, Tier},
    cli::WatchArgs,
    core::{escaped::Escaped, path::RelPath},
    exit::ExitStatus,
};
use anyhow::Context;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{ErrorKind, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    pin::Pin,
    process::Stdio,
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// What is watched: a directory, and the one name in it if a file was given.
struct Target {
    root: PathBuf,
    only: Option<RelPath>,
}

/// Prints what happens below the paths, until the time is over or someone interrupts.
pub async fn run(args: WatchArgs) -> anyhow::Result<ExitStatus> {
    let targets = args.paths.iter().map(|path| target(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let roots: Vec<PathBuf> = targets.iter().map(|t| t.root.clone()).collect();
    let request = CaptureRequest { mode: args.capture.into(), ..CaptureRequest::default() };
    let (mut capture, report) = Capture::open(&request, &roots)?;
    let tier = report.tier();
    if tier == Tier::Scan {
        let why =
            report.refused.iter().map(|r| format!("{}: {}", r.tier, r.refused.as_deref().unwrap_or("")));
        anyhow::bail!("nothing on this machine reports changes ({})", why.collect::<Vec<_>>().join("; "));
    }
    eprintln!("watching ({tier})");
    let end = stop(args.timeout);
    tokio::pin!(end);
    let mut commands = Commands::new(args.exec.as_deref());
    loop {
        let events = tokio::select! {
            events = capture.next() => events?,
            // Beside that, so that a slow command loses nothing.
            done = commands.next() => {
                done?;
                continue;
            }
            ended = &mut end => {
                ended?;
                commands.finish().await?;
                return Ok(ExitStatus::InStep);
            }
        };
        let events: Vec<&Event> = events.iter().filter(|event| targets[event.root].wants(event)).collect();
        if !show(&events, &targets, tier, args.json)? {
            return Ok(ExitStatus::InStep);
        }
        commands.add(&events, &targets);
    }
}

/// A command that runs.
type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// Runs the command of `--exec`: one at a time, each for all that has changed while the one before was running.
struct Commands<'a> {
    command: Option<&'a OsStr>,
    waiting: BTreeSet<PathBuf>,
    running: Option<Running<'a>>,
}

impl<'a> Commands<'a> {
    fn new(command: Option<&'a OsStr>) -> Commands<'a> {
        Commands { command, waiting: BTreeSet::new(), running: None }
    }

    /// Takes the paths of these events for the next command.
    fn add(&mut self, events: &[&Event], targets: &[Target]) {
        if self.command.is_none() {
            return;
        }
        for event in events {
            let target = &targets[event.root];
            self.waiting.insert(target.absolute(&event.path));
            self.waiting.extend(event.to.as_ref().map(|to| target.absolute(to)));
        }
    }

    /// Starts a command if there is something for it, and waits until it has ended. May be cancelled: the next call
    /// goes on waiting.
    async fn next(&mut self) -> anyhow::Result<()> {
        if self.running.is_none()
            && let Some(command) = self.command
            && !self.waiting.is_empty()
        {
            let paths = std::mem::take(&mut self.waiting);
            self.running = Some(Box::pin(execute(command, paths)));
        }
        match &mut self.running {
            Some(running) => {
                let done = running.await;
                self.running = None;
                done
            }
            None => std::future::pending().await,
        }
    }

    /// Lets the running command end, and runs a last one for what has changed since.
    async fn finish(mut self) -> anyhow::Result<()> {
        while self.running.is_some() || !self.waiting.is_empty() {
            self.next().await?;
        }
        Ok(())
    }
}

/// Makes a target of what was typed.
fn target(path: &Path) -> anyhow::Result<Target> {
    let whole = path.canonicalize().with_context(|| format!("cannot watch {}", shown(path.as_os_str())))?;
    if whole.is_dir() {
        return Ok(Target { root: whole, only: None });
    }
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
        anyhow::bail!("cannot watch {}: it has no parent", shown(path.as_os_str()));
    };
    Ok(Target { root: parent.to_path_buf(), only: Some(RelPath::new(name.as_bytes())?) })
}

impl Target {
    fn wants(&self, event: &Event) -> bool {
        if event.kind == EventKind::Elsewhere {
            // Whether one of the file's names is in here takes somebody who knows the tree.
            return false;
        }
        let Some(only) = &self.only else { return true };
        matches!(event.kind, EventKind::Lost(_)) || event.path == *only || event.to.as_ref() == Some(only)
    }

    /// Returns the absolute path of a place below the root.
    fn absolute(&self, path: &RelPath) -> PathBuf {
        if path.is_root() { self.root.clone() } else { self.root.join(OsStr::from_bytes(path.as_bytes())) }
    }
}

/// Ends when the time is over, or upon an interrupt.
async fn stop(timeout: Option<Duration>) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let time = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = time => {}
    }
    Ok(())
}

/// Prints a batch; `false` if nobody reads any more.
fn show(events: &[&Event], targets: &[Target], tier: Tier, json: bool) -> anyhow::Result<bool> {
    let mut text = Vec::new();
    for event in events {
        let target = &targets[event.root];
        let (path, to) = (target.absolute(&event.path), event.to.as_ref().map(|to| target.absolute(to)));
        line::write(&mut text, event, &path, to.as_deref(), tier, json);
    }
    let mut out = std::io::stdout().lock();
    match out.write_all(&text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Runs the command with the paths on its standard input, one a line.
async fn execute(command: &OsStr, paths: BTreeSet<PathBuf>) -> anyhow::Result<()> {
    let mut shell = tokio::process::Command::new("/bin/sh");
    let mut child = shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if let Some(mut input) = child.stdin.take() {
        let text: Vec<u8> = paths.iter().flat_map(|p| [p.as_os_str().as_bytes(), b"\n"].concat()).collect();
        match input.write_all(&text).await {
            // A command need not read its input.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                return Err(error).with_context(|| format!("cannot write to {}", shown(command)));
            }
            _ => {}
        }
    }
    let status = child.wait().await.with_context(|| format!("cannot wait for {}", shown(command)))?;
    if !status.success() {
        eprintln!("{} ended with {status}", shown(command));
    }
    Ok(())
}

fn shown(text: &OsStr) -> String {
    Escaped(text.as_bytes()).to_string()
}
