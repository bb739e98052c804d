//! `vfsync serve`: the far end of a link. The same code answers for a second root on this host.

use crate::archive::ArchiveError;
use crate::cli::ServeArgs;
use crate::core::filter::Filter;
use crate::daemon::client;
use crate::daemon::hub::{Hub, Wish};
use crate::exit::ExitStatus;
use crate::link::session::{Next, Session, scan_filter};
use crate::link::{Event, LinkError, accept};
use crate::options::{CaptureChoice, ReplicaOptions};
use crate::replica::follow::{FollowError, follow};
use crate::replica::{OpenError, Replica};
use crate::transport::{Connection, greet_as_acceptor, stdio};
use crate::wire::{Hello, Start, Whereabouts};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Where an end that answers keeps its archives, and what it may be asked for.
#[derive(Debug, Clone)]
pub struct Place {
    /// Where archives lie.
    pub state_dir: PathBuf,
    /// The only root that may be asked for, or that roots have to lie in.
    pub pinned: Option<PathBuf>,
    /// The address of the host that dials, where that is known.
    pub client: Option<String>,
}

/// Serves on standard input and output.
pub async fn run(args: ServeArgs) -> Result<ExitStatus> {
    if std::io::stdin().is_terminal() {
        bail!(
            "serve is the far end of a link and talks to another vfsync over its standard input and output: it is \
             started over ssh by `vfsync sync` or `vfsync live` on the other host, not by hand"
        );
    }
    let connection = stdio::connect("the end that dials").context("cannot use standard input and output")?;
    let ServeArgs { root, state_dir, client } = args;
    // Another process may be the one that looks at it.
    let pinned = root.map(|root| std::path::absolute(&root).unwrap_or(root));
    serve(connection, Place { state_dir, pinned, client }).await?;
    Ok(ExitStatus::InStep)
}

/// How long a replica that is in use is waited for.
const IN_USE: Duration = Duration::from_secs(10);

/// Answers one end that dials, until it is done.
///
/// # Errors
/// When the connection breaks, or the replica fails. What the other end has to know, it has been told.
pub async fn serve(connection: Connection, place: Place) -> Result<()> {
    let (connection, _) = greet_as_acceptor(connection).await?;
    let mut accepted = accept(connection).await?;
    // A relative root is relative to the login's home, which is where sshd starts us; a process that keeps it is elsewhere.
    if let Ok(absolute) = std::path::absolute(OsStr::from_bytes(&accepted.hello.root)) {
        accepted.hello.root = absolute.into_os_string().into_vec();
    }
    // The archive has one owner: where a process keeps the replica, the session is its.
    match keeper(&accepted.hello, &place).await {
        Ok(Some(keeper)) => return Ok(accepted.relay(keeper).await?),
        Ok(None) => {}
        Err(error) => {
            accepted.refuse(error.to_string()).await;
            return Err(error.into());
        }
    }
    // For what the first look finds, and not for as long as the session lasts.
    let approved = accepted.hello.options.confirm_deletes.take().unwrap_or(0);
    let opened = open(&accepted.hello, &place).await;
    let (replica, notices) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let why = format!("{error:#}");
            accepted.refuse(why).await;
            return Err(error);
        }
    };
    let choice = accepted.hello.options.capture;
    let (events, _nobody) = mpsc::unbounded_channel::<Event>();
    replica.approve(approved);
    let session = accepted.welcome(replica.clone(), notices, events).await?;
    let result = drive(session, &replica, choice, &place.state_dir).await;
    close(replica);
    result
}

/// Finds the process of this host that keeps the replica that is asked for.
async fn keeper(hello: &Hello, place: &Place) -> std::io::Result<Option<Connection>> {
    let asked = Path::new(OsStr::from_bytes(&hello.root));
    let started = Instant::now();
    loop {
        let keeper = client::keeper_of(place, asked).await?;
        // One that wants it has it in a moment.
        let waits = started.elapsed() < IN_USE && crate::replica::is_wanted(asked, &place.state_dir);
        if keeper.is_some() || !waits {
            return Ok(keeper);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Opens the replica that was asked for.
async fn open(hello: &Hello, place: &Place) -> Result<(Arc<Replica>, Vec<String>)> {
    let asked = Path::new(OsStr::from_bytes(&hello.root)).to_owned();
    if let Some(pinned) = &place.pinned {
        check_pinned(&asked, pinned)?;
    }
    check_apart(&hello.from, &asked)?;
    let filter = scan_filter(&hello.link)?;
    let deletions_stay = !hello.link.passes_deletions_on(!hello.dials_from_first);
    let options = ReplicaOptions { deletions_stay, ..hello.options.clone() };
    let replica = open_when_free(&asked, &place.state_dir, &options, &filter).await?;
    if let Some(pinned) = &place.pinned {
        // Once more, and of what was opened: somebody may have put a symbolic link in the way meanwhile.
        check_pinned(&replica.dir.place()?, pinned)?;
    }
    let notices = notices(&replica);
    Ok((Arc::new(replica), notices))
}

/// Opens the replica; waits a while for a session that has lost its connection and finishes what it is doing.
async fn open_when_free(
    asked: &Path,
    state: &Path,
    options: &ReplicaOptions,
    filter: &Filter,
) -> Result<Replica> {
    let started = Instant::now();
    loop {
        let (asked, state, options, filter) =
            (asked.to_owned(), state.to_owned(), options.clone(), filter.clone());
        let opening = tokio::task::spawn_blocking(move || Replica::open(&asked, &state, options, filter));
        match opening.await.context("opening the replica")? {
            Err(OpenError::Archive(ArchiveError::InUse { .. })) if started.elapsed() < IN_USE => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Says what a person should know of a replica that has just been opened.
pub fn notices(replica: &Replica) -> Vec<String> {
    match &replica.opened {
        crate::archive::Opened::SetAside(aside) => vec![format!(
            "the archive of {} was damaged and lies in {} now; a new one is made, and nothing is deleted by that",
            replica.root.display(),
            aside.display()
        )],
        crate::archive::Opened::New | crate::archive::Opened::Existing { .. } => Vec::new(),
    }
}

/// Refuses a root that is the one of the end that dials, or lies one in the other: both ends can be on one host.
pub fn check_apart(from: &Whereabouts, asked: &Path) -> Result<()> {
    // A root that cannot be resolved gets its own error when it is opened.
    let Ok(here) = asked.canonicalize() else { return Ok(()) };
    if crate::replica::boot_id() != from.host {
        return Ok(());
    }
    let there = Path::new(OsStr::from_bytes(&from.root)).display().to_string();
    let ours = crate::replica::inodes_up(&here);
    let (Some(mine), Some(theirs)) = (ours.first(), from.inodes.first()) else { return Ok(()) };
    if mine == theirs {
        bail!("{there} and {} {SAME}: give two different ones", here.display());
    }
    if ours.contains(theirs) || from.inodes.contains(mine) {
        bail!(
            "one of the roots {there} and {} lies in the other: they cannot be kept the same",
            here.display()
        );
    }
    Ok(())
}

/// What is said of two roots that are one.
const SAME: &str = "are the same directory";

/// Returns whether a far end refuses because its root is the one of the end that dials.
pub fn is_same_directory(why: &str) -> bool {
    why.contains(SAME)
}

/// Refuses a root that lies outside of the one that this end serves.
///
/// # Errors
/// When it does, or one of the two cannot be resolved.
pub fn check_pinned(asked: &Path, pinned: &Path) -> Result<()> {
    let resolve = |path: &Path| path.canonicalize().with_context(|| format!("the root {}", path.display()));
    let (asked, pinned) = (resolve(asked)?, resolve(pinned)?);
    if !asked.starts_with(&pinned) {
        bail!("this end serves only {}, and {} was asked for", pinned.display(), asked.display());
    }
    Ok(())
}

/// Closes the archive in the orderly way, if nobody uses the replica any more.
pub fn close(replica: Arc<Replica>) {
    if let Ok(replica) = Arc::try_unwrap(replica)
        && let Err(error) = replica.archive.close()
    {
        tracing::warn!(%error, "the archive was not closed in the orderly way; it is checked when it is opened next");
    }
}

type Following = JoinHandle<Result<std::convert::Infallible, FollowError>>;

/// Does what the end that dials says.
async fn drive(
    mut session: Session,
    replica: &Arc<Replica>,
    choice: CaptureChoice,
    state: &Path,
) -> Result<()> {
    let mut following: Option<Following> = None;
    let mut first_report = None;
    // Capture lasts as long as this does.
    let mut hub: Option<Hub> = None;
    let result = loop {
        let next = tokio::select! {
            next = session.next() => next,
            ended = ended(&mut following) => {
                let why = crate::replica::apply::words(&ended);
                let deletions = match &ended {
                    FollowError::Scan(error) => error.deletions(),
                    FollowError::Done | FollowError::Died(_) => None,
                };
                session.halt(&why, deletions).await;
                break Err(ended.into());
            }
            // The end that dials comes back at once, through the process that keeps the replica then.
            () = wanted(replica, state), if following.is_some() => break Ok(()),
        };
        let start = match next {
            Ok(Next::Start(start)) => start,
            Ok(Next::Bye) => break Ok(()),
            Err(LinkError::Closed) => break Ok(()),
            Err(error) => break Err(error.into()),
        };
        if start == Start::Execute {
            continue;
        }
        if start == Start::Live && following.is_none() {
            let share =
                hub.get_or_insert_with(Hub::new).watch(&replica.root, Wish { choice, ring: None }).await;
            session.tell_capture(format!("far end: {}", share.said)).await;
            let (tell, mut told) = mpsc::unbounded_channel();
            let facts = Arc::default();
            let (looked, first_look) = oneshot::channel();
            first_report = Some(looked);
            following = Some(tokio::spawn(follow(replica.clone(), share.hints, facts, tell, first_look)));
            tokio::spawn(async move { while told.recv().await.is_some() {} });
        }
        let scanning = replica.clone();
        let scanned = tokio::task::spawn_blocking(move || scanning.scan_until_quiet()).await;
        match scanned.context("scanning")? {
            Ok(report) => {
                if start == Start::Live {
                    replica.end_of_approval();
                }
                if let Some(looked) = first_report.take() {
                    // One that has ended says why itself.
                    let _ = looked.send(report.clone());
                }
                session.report(report, true).await?;
                session.scanned().await?;
            }
            Err(error) => {
                session.halt(&crate::replica::apply::words(&error), error.deletions()).await;
                break Err(error.into());
            }
        }
    };
    if let Some(following) = following {
        following.abort();
        // Waited for, so that the replica is released.
        let _ = following.await;
    }
    session.end(false).await;
    result
}

/// Waits until a process is here that keeps replicas, and asks for this one.
async fn wanted(replica: &Replica, state: &Path) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if crate::replica::is_wanted(&replica.root, state) {
            return;
        }
    }
}

/// Waits for the end of the following, if it has begun.
async fn ended(following: &mut Option<Following>) -> FollowError {
    match following {
        None => std::future::pending().await,
        Some(task) => match task.await {
            Ok(Ok(never)) => match never {},
            Ok(Err(error)) => error,
            Err(error) => FollowError::Died(error.to_string()),
        },
    }
}
