//! The control socket: how `vfsync status` and its like, and `vfsync serve`, talk to the process that keeps the replicas.
//!
//! `STATE-DIR/control/PID.sock`, for its owner and root alone: the folder is 0700, the socket 0600, and the other end's
//! user is asked of the kernel; [`client`](super::client) is how a process gets there. A request is one line of JSON
//! ([`Request`]); the answer is lines of JSON, the last of them an [`Ending`]. [`Request::Serve`] is answered with one line, after which the connection carries a session.

use super::client::{connect, folder, sockets, with_short_name};
use super::dial::Order;
use super::facts::LinkFacts;
use super::site::Site;
use super::{flush, resolve, status};
use crate::core::path::RelPath;
use crate::link::accept;
use crate::replica::conflicts::Keep;
use crate::transport::{Connection, PROTOCOL_VERSION};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The longest request, in bytes.
const LONGEST: u64 = 64 << 10;
/// How long a request may take to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// So many connections are served at once.
const MOST: usize = 64;
/// And so many sessions, which last.
const MOST_SESSIONS: usize = 256;

/// What is asked of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// How everything stands.
    Status,
    /// What both sides have changed.
    Conflicts,
    /// End the conflicts at or below an absolute path.
    Resolve {
        /// Where.
        path: PathBuf,
        /// How.
        keep: Keep,
    },
    /// Wait until everything is on the peers.
    Flush {
        /// Only what is at or below this absolute path.
        path: Option<PathBuf>,
        /// How long to wait at the most.
        milliseconds: u64,
    },
    /// Stop, and hold nothing open.
    Pause {
        /// A root or a block; everything if it is not there.
        what: Option<String>,
    },
    /// Go on.
    Resume {
        /// A root or a block; everything if it is not there.
        what: Option<String>,
    },
    /// Take over the session whose hello follows.
    Serve {
        /// The version of the protocol that the two ends have agreed on.
        protocol: u16,
        /// The root that is asked for, as bytes.
        root: Vec<u8>,
        /// The only root that may be asked for, as bytes.
        pinned: Option<Vec<u8>>,
        /// The address of the host that dials, where that is known.
        #[serde(default)]
        client: Option<String>,
    },
}

/// The last line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "end")]
pub struct Ending {
    /// How the command is to exit.
    pub exit: u8,
    /// What to say to a person on standard error, if anything.
    pub say: Option<String>,
}

impl Ending {
    /// Everything went well.
    pub fn well() -> Ending {
        Ending { exit: 0, say: None }
    }
}

/// The socket of this process. It is gone when this is dropped.
pub struct Control {
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        // One that stays is known by its process number as nobody's.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Control {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn listen(state: &Path, site: Arc<Site>) -> io::Result<Control> {
        let folder = folder(state);
        DirBuilder::new().recursive(true).mode(0o700).create(state)?;
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            Ok(()) | Err(_) => std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?,
        }
        for (_, path) in sockets(state) {
            if connect(&path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
                let _ = std::fs::remove_file(&path);
            }
        }
        let path = folder.join(format!("{}.sock", std::process::id()));
        let listener = with_short_name(&path, |short| std::os::unix::net::UnixListener::bind(short))?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        Ok(Control { path, task: tokio::spawn(take(listener, site)) })
    }
}

/// Takes connections until it is aborted.
async fn take(listener: UnixListener, site: Arc<Site>) {
    let room = Arc::new(Semaphore::new(MOST));
    let sessions = Arc::new(Semaphore::new(MOST_SESSIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (site, sessions) = (site.clone(), sessions.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &site, place, sessions).await {
                        tracing::debug!(%error, "a connection to the control socket has ended");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket takes no connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// Returns whether this user may say what is done here: root, and who runs this process.
fn may(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

/// Answers one connection, which has a place until it carries a session.
async fn answer(
    stream: UnixStream,
    site: &Arc<Site>,
    place: OwnedSemaphorePermit,
    sessions: Arc<Semaphore>,
) -> io::Result<()> {
    let uid = stream.peer_cred()?.uid();
    let (reader, mut writer) = stream.into_split();
    if !may(uid) {
        let say = Some(format!("user {uid} has no say here: use root, or the user that vfsync runs as"));
        return write(&mut writer, &Ending { exit: 3, say }).await;
    }
    let mut reader = BufReader::new(reader);
    let request = match timeout(PATIENCE, read_line(&mut reader)).await {
        Ok(line) => line?,
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    let request = match serde_json::from_slice::<Request>(&request) {
        Ok(request) => request,
        Err(error) => {
            let say = Some(format!("the request cannot be understood: {error}; is it of another version?"));
            return write(&mut writer, &Ending { exit: 3, say }).await;
        }
    };
    let ending = match request {
        Request::Status => {
            for line in status::lines(site).await {
                write(&mut writer, &line).await?;
            }
            Ending::well()
        }
        Request::Conflicts => {
            let found = status::conflicts(site).await;
            for line in &found {
                write(&mut writer, line).await?;
            }
            Ending { exit: u8::from(!found.is_empty()), say: None }
        }
        Request::Resolve { path, keep } => {
            let (lines, ending) = resolve::resolve(site, &path, keep).await;
            for line in lines {
                write(&mut writer, &line).await?;
            }
            ending
        }
        Request::Flush { path, milliseconds } => {
            let limit = Duration::from_millis(milliseconds);
            let (lines, ending) = flush::flush(site, path.as_deref(), limit).await;
            for line in lines {
                write(&mut writer, &line).await?;
            }
            ending
        }
        Request::Pause { what } => pause(site, what.as_deref()),
        Request::Resume { what } => resume(site, what.as_deref()),
        Request::Serve { protocol, root, pinned, client } => {
            let root = PathBuf::from(OsString::from_vec(root));
            if site.kept_at(&root).is_none() {
                return write(&mut writer, &Ending { exit: 1, say: None }).await;
            }
            if protocol != PROTOCOL_VERSION {
                let say = format!(
                    "the vfsync that keeps the replicas of this host (process {}) is of another version: start it again",
                    std::process::id()
                );
                return write(&mut writer, &Ending { exit: 3, say: Some(say) }).await;
            }
            let Ok(_session) = sessions.try_acquire_owned() else {
                let say = format!(
                    "the vfsync that keeps the replicas of this host (process {}) has {MOST_SESSIONS} sessions already",
                    std::process::id()
                );
                return write(&mut writer, &Ending { exit: 3, say: Some(say) }).await;
            };
            write(&mut writer, &Ending::well()).await?;
            // Sessions last, and questions have to be answered beside them.
            drop(place);
            let connection = Connection::new(Box::new(reader), Box::new(writer), "the end that dials");
            let accepted =
                timeout(PATIENCE, accept(connection)).await.map_err(|_| io::ErrorKind::TimedOut)?;
            let accepted = accepted.map_err(io::Error::other)?;
            let pinned = pinned.map(|pinned| PathBuf::from(OsString::from_vec(pinned)));
            return site.answer_to(accepted, pinned, client).await.map_err(io::Error::other);
        }
    };
    write(&mut writer, &ending).await
}

pub(super) async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(LONGEST).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(line)
}

pub(super) async fn write(
    writer: &mut (impl AsyncWriteExt + Unpin),
    line: &impl Serialize,
) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    writer.write_all(&text).await?;
    writer.flush().await
}

/// Returns whether a replica or a link is what a person names: by a root, or by the name of a block.
fn is_named(what: Option<&str>, block: Option<&str>, root: &str, peer: Option<&str>) -> bool {
    let Some(what) = what else { return true };
    let trimmed = if what.len() > 1 { what.trim_end_matches('/') } else { what };
    block == Some(what)
        || [Some(root), peer].into_iter().flatten().any(|name| name.trim_end_matches('/') == trimmed)
}

fn pause(site: &Site, what: Option<&str>) -> Ending {
    let mut found = 0;
    for kept in site.replicas() {
        let root = kept.root.display().to_string();
        if is_named(what, None, &root, None) {
            kept.pause();
            found += 1;
        }
    }
    let is_wanted =
        |facts: &LinkFacts| what.is_some() && is_named(what, Some(&facts.block), "", Some(&facts.peer));
    found += site.order(|facts| is_wanted(facts).then_some(Order::Pause));
    found_or(found, what)
}

/// Lets everything go on that waits for a person's word. What a guard showed is approved, and no more; but not by the word
/// that ends a pause, which a job says that has seen nothing.
fn resume(site: &Site, what: Option<&str>) -> Ending {
    let links = site.all_links();
    let mut replicas = site.replicas();
    replicas.retain(|kept| {
        let root = kept.root.display().to_string();
        let mut of_block = links.iter().filter(|facts| facts.root == root).map(|facts| facts.block.as_str());
        is_named(what, None, &root, None) || what.is_some_and(|what| of_block.any(|block| block == what))
    });
    let is_wanted = |facts: &LinkFacts| is_named(what, Some(&facts.block), &facts.root, Some(&facts.peer));
    let ends_a_pause = replicas.iter().any(|kept| kept.is_paused())
        || links.iter().any(|facts| is_wanted(facts) && facts.is_paused());
    let mut halted = Vec::new();
    let mut found = replicas.len();
    for kept in replicas {
        match kept.stage().0.deletions() {
            Some(_) if ends_a_pause && !kept.is_paused() => halted.push(kept.root.display().to_string()),
            Some(deletions) if !ends_a_pause => kept.resume(deletions),
            Some(_) | None => kept.resume(0),
        }
    }
    let stays = |facts: &LinkFacts| {
        is_wanted(facts) && ends_a_pause && !facts.is_paused() && facts.state().deletions().is_some()
    };
    let staying = links.iter().filter(|facts| stays(facts));
    halted.extend(staying.map(|facts| format!("{} -> {}", facts.root, facts.peer)));
    found += site.order(|facts| {
        let deletions = facts.state().deletions().filter(|_| !ends_a_pause).unwrap_or(0);
        (is_wanted(facts) && !stays(facts)).then_some(Order::Resume { deletions })
    });
    if halted.is_empty() {
        return found_or(found, what);
    }
    let say = format!(
        "halted by a guard, and still so, because this ended a pause: {}; `vfsync status` shows why, and `vfsync resume` \
         once more lets it through",
        halted.join(", ")
    );
    Ending { exit: 0, say: Some(say) }
}

fn found_or(found: usize, what: Option<&str>) -> Ending {
    match (found, what) {
        (0, Some(what)) => {
            let say =
                Some(format!("nothing here is named {what}: `vfsync status` shows the roots and blocks"));
            Ending { exit: 3, say }
        }
        _ => Ending::well(),
    }
}

/// Returns the path below a root, if it lies there.
pub(super) fn below(root: &Path, path: &Path) -> Option<RelPath> {
    use std::os::unix::ffi::OsStrExt;
    RelPath::new(path.strip_prefix(root).ok()?.as_os_str().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_named_by_its_root_its_peer_or_its_block() {
        let named = |what: &str| is_named(Some(what), Some("www"), "/var/www", Some("ssh://h//var/www"));
        assert!(["www", "/var/www", "/var/www/", "ssh://h//var/www"].into_iter().all(named));
        assert!(!["w", "/var", "/", ""].into_iter().any(named));
        assert!(is_named(None, None, "/x", None));
    }

    #[test]
    fn requests_are_lines_of_json() {
        let flush = Request::Flush { path: Some("/a".into()), milliseconds: 2500 };
        let text = serde_json::to_string(&flush).unwrap();
        assert_eq!(text, r#"{"command":"flush","path":"/a","milliseconds":2500}"#);
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), flush);
        assert_eq!(serde_json::from_str::<Request>(r#"{"command":"status"}"#).unwrap(), Request::Status);
        assert!(serde_json::from_str::<Request>(r#"{"command":"reboot"}"#).is_err());
    }
}
