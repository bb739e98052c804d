//! Starting ssh's master: the one process that holds the connection and its control socket.
//!
//! `ControlPersist` makes the moment at which the socket takes channels an event: ssh asks what it has to ask in the
//! foreground, and goes to the background with exit code 0 once the socket is there. It also gives the master an end
//! of its own, some seconds after its last channel, so that a vfsync that is killed leaves nothing behind, and an
//! interrupt from the keyboard does not cut the link before the batch at hand is through.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

use super::{SshOptions, SshTarget};
use crate::transport::{
    error::{ConnectFailure, TransportError},
    far_end::LastWords,
};

/// How long the master outlives its last channel.
const PERSIST: &str = "ControlPersist=10";
/// What ssh may need beyond the time in which the host has to answer, where there is no terminal to ask on: jump
/// hosts, a slow name server, a login that waits for a directory service.
const GRACE: Duration = Duration::from_secs(60);
/// The longest folder in which a control socket is made. The whole path must fit into the 108 bytes of a socket
/// address, with the 17 that ssh appends while it makes the socket.
const LONGEST_DIR: usize = 60;

/// Connects, and returns the control socket with the private folder that it is in.
pub(super) async fn start(
    target: &SshTarget,
    options: &SshOptions,
) -> Result<(TempDir, PathBuf), TransportError> {
    let peer = target.to_string();
    let dir = control_dir(&peer)?;
    let socket = dir.path().join("s");
    let mut command = command(target, options, &socket);
    let mut child = command.spawn().map_err(|source| TransportError::NoSsh {
        peer: peer.clone(),
        program: options.sshcmd.display().to_string(),
        source,
    })?;
    let stderr = child.stderr.take().expect("standard error is piped");
    let said = LastWords::of(stderr);
    let limit = options.connect_timeout + GRACE;
    let status = if has_terminal() {
        // A person may be asked for a password, and may have gone for coffee.
        child.wait().await
    } else {
        match timeout(limit, child.wait()).await {
            Ok(status) => status,
            Err(_) => return Err(TransportError::TooSlow { peer, limit, said: said.so_far() }),
        }
    };
    match status {
        Ok(status) if status.success() && socket.exists() => Ok((dir, socket)),
        _ => {
            let said = said.finish().await;
            Err(TransportError::NotConnected { peer, why: ConnectFailure::of(&said), said })
        }
    }
}

fn command(target: &SshTarget, options: &SshOptions, socket: &Path) -> Command {
    let mut command = Command::new(&options.sshcmd);
    // ssh takes the first of several -o, and the last of several -S: what has to be ours stands before the user's
    // arguments or behind them accordingly, and of the rest the user's win.
    command.args(["-o", PERSIST]).args(&options.sshargs).args(["-M", "-N", "-S"]).arg(socket);
    command.arg("-o").arg(format!("ConnectTimeout={}", options.connect_timeout.as_secs().max(1)));
    // A host that vanishes without a word is noticed within a minute.
    command.args(["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=3"]);
    if let Some(user) = &target.user {
        command.args(["-l", user]);
    }
    if let Some(port) = target.port {
        command.arg("-p").arg(port.to_string());
    }
    command.arg("--").arg(&target.host);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Returns whether ssh can ask somebody: whether this process has a controlling terminal.
fn has_terminal() -> bool {
    fs::File::open("/dev/tty").is_ok()
}

/// Makes a private folder with a short path.
fn control_dir(peer: &str) -> Result<TempDir, TransportError> {
    let parent = match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(dir) if is_own(&dir) && dir.as_os_str().len() <= LONGEST_DIR => dir,
        _ => PathBuf::from("/tmp"),
    };
    tempfile::Builder::new()
        .prefix("vfsync-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(|source| TransportError::NoControlDir { peer: peer.to_owned(), dir: parent, source })
}

/// Returns whether this is a folder of the user's own: after `sudo` or `su` the variable can name another's.
fn is_own(dir: &Path) -> bool {
    let uid = rustix::process::geteuid().as_raw();
    fs::metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}
