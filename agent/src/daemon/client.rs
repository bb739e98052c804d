//! How a process gets at the one that keeps the replicas: it finds the [`control`](super::control) sockets, connects, and
//! asks.

use super::control::{Ending, PATIENCE, Request, read_line, write};
use crate::cmd::serve::Place;
use crate::transport::{Connection, PROTOCOL_VERSION};
use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::timeout;

/// The longest line of an answer that is taken, in bytes.
const LONGEST: u64 = 16 << 20;

/// Returns the folder of the sockets.
pub(super) fn folder(state: &Path) -> PathBuf {
    state.join("control")
}

/// Calls something with a short name of a file in a folder: the address of a socket has 108 bytes.
pub(super) fn with_short_name<T>(path: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let dir = File::open(dir)?;
    call(&Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())).join(name))
}

/// Returns the sockets below a state directory, by process number.
pub fn sockets(state: &Path) -> Vec<(u32, PathBuf)> {
    let listed = std::fs::read_dir(folder(state)).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = listed
        .filter_map(|entry| {
            let path = entry.path();
            let pid = path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok()?;
            Some((pid, path))
        })
        .collect();
    found.sort();
    found
}

/// Connects to the socket of a process.
///
/// # Errors
/// When nobody listens there, or this user may not.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let stream = with_short_name(path, |short| {
        // Without waiting for room in the queue of a process that is stopped.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        net::connect(&socket, &SocketAddrUnix::new(short)?)?;
        Ok(std::os::unix::net::UnixStream::from(socket))
    })?;
    UnixStream::from_std(stream)
}

/// Asks a process, and hands over each line of its answer, as it came and as JSON, until `each` has seen enough. Returns how
/// the command is to exit; if that was enough, as after an answer that went well. `None`: its answer has not begun within
/// `patience`.
///
/// # Errors
/// When the connection breaks, or the answer is none; and what `each` returns.
pub async fn ask(
    stream: UnixStream,
    request: &Request,
    patience: Duration,
    mut each: impl FnMut(&[u8], serde_json::Value) -> Result<ControlFlow<()>>,
) -> Result<Option<Ending>> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    let first = async {
        write(&mut writer, request).await?;
        next_line(&mut reader, &mut line).await
    };
    let Ok(mut read) = timeout(patience, first).await else { return Ok(None) };
    loop {
        if read? == 0 {
            bail!("it has ended without an answer");
        }
        let value: serde_json::Value =
            serde_json::from_slice(&line).context("its answer cannot be understood")?;
        if value["event"] == "end" {
            return Ok(Some(serde_json::from_value(value)?));
        }
        if each(&line, value)?.is_break() {
            return Ok(Some(Ending::well()));
        }
        read = next_line(&mut reader, &mut line).await;
    }
}

/// Reads a line; returns how long it is, 0 at the end.
async fn next_line(reader: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    reader.take(LONGEST).read_until(b'\n', line).await
}

/// Looks for a process of this host that keeps a root, and connects to it for a session: what comes first on the connection
/// is the hello.
///
/// # Errors
/// When there is one, and it refuses.
pub async fn keeper_of(place: &Place, root: &Path) -> io::Result<Option<Connection>> {
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let (pinned, client) = (place.pinned.as_deref().map(bytes), place.client.clone());
    let request = Request::Serve { protocol: PROTOCOL_VERSION, root: bytes(root), pinned, client };
    // All at once: one that is stopped, and has nothing to do with this root, holds up no other.
    let asked = sockets(&place.state_dir).into_iter().map(|(pid, path)| kept_by(pid, path, &request));
    let mut asked: FuturesUnordered<_> = asked.collect();
    while let Some(answer) = asked.next().await {
        if let Some(connection) = answer? {
            return Ok(Some(connection));
        }
    }
    Ok(None)
}

/// Asks one process for a session. What does not answer keeps nothing that could be had from it.
async fn kept_by(pid: u32, path: PathBuf, request: &Request) -> io::Result<Option<Connection>> {
    // One that has ended has left its socket; one of another user is none of ours.
    let Ok(stream) = connect(&path) else { return Ok(None) };
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let asked = async {
        write(&mut writer, request).await?;
        read_line(&mut reader).await
    };
    let line = match timeout(PATIENCE, asked).await {
        Ok(Ok(line)) => line,
        Ok(Err(error)) => {
            tracing::debug!(pid, %error, "a process has not answered");
            return Ok(None);
        }
        Err(_) => {
            tracing::warn!(pid, "a process with this state directory does not answer: is it stopped?");
            return Ok(None);
        }
    };
    match serde_json::from_slice::<Ending>(&line) {
        Ok(Ending { exit: 0, .. }) => {
            let name = format!("process {pid}");
            Ok(Some(Connection::new(Box::new(reader), Box::new(writer), name)))
        }
        Ok(Ending { exit: 3, say: Some(say) }) => Err(io::Error::other(say)),
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Returns whether a daemon runs with this state directory.
pub async fn has_daemon(state: &Path) -> bool {
    for (_, path) in sockets(state) {
        let Ok(stream) = connect(&path) else { continue };
        let mut is_daemon = false;
        // What it is says the first line.
        let asked = ask(stream, &Request::Status, PATIENCE, |_, line| {
            is_daemon = line["event"] == "process" && line["role"] == "daemon";
            Ok(ControlFlow::Break(()))
        });
        if matches!(asked.await, Ok(Some(_))) && is_daemon {
            return true;
        }
    }
    false
}
