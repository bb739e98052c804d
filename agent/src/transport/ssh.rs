//! An [`SshLink`] is one connection to another host, made by the ssh program, on which channels are opened: each runs
//! `vfsync serve` at the far end.
//!
//! ssh does the connecting, so keys, agents, `~/.ssh/config`, jump hosts and questions on the terminal work as the
//! user knows them. The channels go through its control socket, without a further process each.

mod master;

use std::{ffi::OsString, fmt, os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};

use openssh::{Session, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{
    Connection,
    error::TransportError,
    far_end::{Exit, FarEnd, LastWords},
};

/// How much lies in a pipe between us and ssh: with the usual 64 KiB, bulk data makes the two switch too often.
const PIPE_SIZE: usize = 256 * 1024;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTarget {
    /// The user to be there, or whom `~/.ssh/config` says.
    pub user: Option<String>,
    /// A host name, an address, or a name that `~/.ssh/config` knows.
    pub host: String,
    /// The port, or what `~/.ssh/config` says.
    pub port: Option<u16>,
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)
    }
}

/// How to connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshOptions {
    /// The program that connects, `ssh` unless the user names another. It must know OpenSSH's control sockets.
    pub sshcmd: PathBuf,
    /// More arguments for it. Where they and vfsync's own say different things, these win.
    pub sshargs: Vec<OsString>,
    /// The vfsync at the far end, `vfsync` unless the user names another. The login shell there reads it.
    pub servercmd: String,
    /// How long the host may take to answer. Answering ssh's questions does not count.
    pub connect_timeout: Duration,
}

impl Default for SshOptions {
    fn default() -> SshOptions {
        SshOptions {
            sshcmd: PathBuf::from("ssh"),
            sshargs: Vec::new(),
            servercmd: "vfsync".to_owned(),
            connect_timeout: Duration::from_secs(20),
        }
    }
}

/// A connection to a host. Its channels outlive it only for moments: close it last.
pub struct SshLink {
    peer: String,
    servercmd: String,
    session: Arc<Session>,
    // Holds the control socket.
    _dir: TempDir,
}

/// Connects to a host.
pub async fn dial(target: &SshTarget, options: &SshOptions) -> Result<SshLink, TransportError> {
    for name in [Some(&target.host), target.user.as_ref()].into_iter().flatten() {
        // ssh would take the one for an option and, in older versions, hand the other to a shell.
        if name.is_empty()
            || name.starts_with('-')
            || name.contains(|c: char| c.is_whitespace() || c.is_control())
        {
            return Err(TransportError::BadName { name: name.clone() });
        }
    }
    let (dir, socket) = master::start(target, options).await?;
    Ok(SshLink {
        peer: target.to_string(),
        servercmd: options.servercmd.clone(),
        session: Arc::new(Session::resume_mux(socket.into(), None)),
        _dir: dir,
    })
}

impl SshLink {
    /// Runs `serve` with these arguments at the far end and returns the connection to it. Whether it is vfsync that
    /// runs there, the greeting tells.
    pub async fn open_channel(&self, args: &[&str]) -> Result<Connection, TransportError> {
        let mut command = format!("{} serve", self.servercmd);
        for arg in args {
            command.push(' ');
            command.push_str(&quoted(arg));
        }
        let refused =
            |source| TransportError::NoChannel { peer: self.peer.clone(), command: command.clone(), source };
        let mut child = Arc::clone(&self.session)
            .arc_raw_command(&command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .await
            .map_err(refused)?;
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let (Some(stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            unreachable!("all three streams are piped");
        };
        for pipe in [stdin.as_fd(), stdout.as_fd()] {
            // Refused where the user's share of pipe memory is used up; the link is then a little slower.
            let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_SIZE);
        }
        // The task holds the channel open until the far end's process ends, whoever holds the connection.
        let exit = tokio::spawn(async move {
            match child.wait().await {
                Ok(status) => status.code().map_or(Exit::Lost, Exit::Code),
                // This is how the crate reports a shell's exit code 127.
                Err(openssh::Error::Remote(e)) if e.kind() == std::io::ErrorKind::NotFound => Exit::Code(127),
                Err(_) => Exit::Lost,
            }
        });
        Ok(Connection {
            reader: Box::new(stdout),
            writer: Box::new(stdin),
            peer: self.peer.clone(),
            far_end: FarEnd::new(exit, LastWords::of(stderr)),
        })
    }

    /// Runs the vfsync at the far end with these arguments to its end, without input, and returns what it said: of
    /// standard output and standard error the first mebibyte each.
    pub async fn run(&self, args: &[&str]) -> Result<Answer, TransportError> {
        let command = [&self.servercmd].into_iter().cloned().chain(args.iter().map(|arg| quoted(arg)));
        let command = command.collect::<Vec<_>>().join(" ");
        self.execute(&command, &command, &[]).await
    }

    /// Runs a line of POSIX shell at the far end, whatever the login shell there is, with this on its standard input, and
    /// returns what it said, as [`SshLink::run`] does. There must be nothing in the line that a shell takes otherwise
    /// between single quotes.
    pub async fn shell(&self, line: &str, input: &[u8]) -> Result<Answer, TransportError> {
        self.execute(&format!("sh -c {}", quoted(line)), "sh", input).await
    }

    /// Has this command, which the login shell reads, start vfsync from now on.
    pub(super) fn use_server(&mut self, command: String) {
        self.servercmd = command;
    }

    /// Runs a command, which messages call `name`, to its end.
    async fn execute(&self, command: &str, name: &str, input: &[u8]) -> Result<Answer, TransportError> {
        let refused = |source: openssh::Error| TransportError::NoChannel {
            peer: self.peer.clone(),
            command: name.to_owned(),
            source,
        };
        let mut child = Arc::clone(&self.session)
            .arc_raw_command(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .await
            .map_err(refused)?;
        let (stdin, stdout, stderr) = (child.stdin().take(), child.stdout().take(), child.stderr().take());
        let feeding = async move {
            if let Some(mut stdin) = stdin {
                // A command that ends early has said why.
                let _ = stdin.write_all(input).await;
                let _ = stdin.shutdown().await;
            }
        };
        let ((), stdout, stderr) = tokio::join!(feeding, first_of(stdout), first_of(stderr));
        // What it said tells more than its exit code.
        drop(child.wait().await);
        Ok(Answer { stdout, stderr })
    }

    /// Returns the host as messages name it: `user@host`.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// Takes no more channels; the connection ends with the last one. Without this it ends a while after it.
    pub async fn close(self) {
        if let Some(session) = Arc::into_inner(self.session) {
            // A connection that is already lost is closed.
            let _ = session.close().await;
        }
    }
}

/// What a command at the far end said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// On standard output.
    pub stdout: Vec<u8>,
    /// On standard error.
    pub stderr: Vec<u8>,
}

/// Reads a stream to its end, and keeps the beginning.
async fn first_of(stream: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut first = Vec::new();
    if let Some(mut stream) = stream {
        // A stream that breaks off has said what it could.
        let _ = (&mut stream).take(1 << 20).read_to_end(&mut first).await;
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    }
    first
}

/// Returns `arg` so that any shell at the far end takes it as one word.
pub(super) fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+".contains(c);
    if !arg.is_empty() && arg.chars().all(plain) {
        return arg.to_owned();
    }
    format!("'{}'", arg.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one_word_in_the_shell_there() {
        assert_eq!(quoted("--root=/srv/www"), "--root=/srv/www");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }

    #[tokio::test]
    async fn a_host_that_looks_like_an_option_is_refused() {
        for host in ["-oProxyCommand=id", "", "a b"] {
            let target = SshTarget { user: None, host: host.to_owned(), port: None };
            let answer = dial(&target, &SshOptions::default()).await;
            assert!(matches!(answer, Err(TransportError::BadName { .. })), "{host:?}");
        }
    }
}
