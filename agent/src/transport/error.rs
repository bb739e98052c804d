//! A [`TransportError`] says why there is no connection, or no session on it: what failed, on which host, and what to
//! do about it.

use std::{fmt, io, path::PathBuf, time::Duration};

use super::{far_end::Exit, greeting::Versions};

/// Why a connection could not be made, or carries no vfsync at its other end.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The host, or the user, could be taken for an option of ssh.
    #[error("{name:?} is not the name of a host or a user")]
    BadName {
        /// The name as it was given.
        name: String,
    },
    /// ssh could not be started.
    #[error("cannot start {program} to connect to {peer}: install OpenSSH's client, or name it with sshcmd")]
    NoSsh {
        /// The host, with the user if one was named.
        peer: String,
        /// The program that was to be started.
        program: String,
        /// Why it was not.
        #[source]
        source: io::Error,
    },
    /// There is no place for ssh's control socket.
    #[error("cannot make a private folder in {dir} for the connection to {peer}: free or repair {dir}")]
    NoControlDir {
        /// The host, with the user if one was named.
        peer: String,
        /// Where the folder was to be.
        dir: PathBuf,
        /// Why it could not be made.
        #[source]
        source: io::Error,
    },
    /// ssh ended without a connection.
    #[error("cannot connect to {peer}: {why}{}", Quoted(said))]
    NotConnected {
        /// The host, with the user if one was named.
        peer: String,
        /// What went wrong, as far as ssh's words tell.
        why: ConnectFailure,
        /// What ssh said.
        said: String,
    },
    /// ssh took too long where nobody is there to answer its questions.
    #[error(
        "cannot connect to {peer}: ssh was not ready after {} s; try `ssh {peer}` by hand{}", limit.as_secs(), Quoted(said)
    )]
    TooSlow {
        /// The host, with the user if one was named.
        peer: String,
        /// How long it was given.
        limit: Duration,
        /// What ssh said.
        said: String,
    },
    /// The connection is there, but it takes no channel.
    #[error(
        "{peer} does not run {command:?}: its sshd may allow no commands or no more sessions (MaxSessions)"
    )]
    NoChannel {
        /// The host, with the user if one was named.
        peer: String,
        /// The command that was to run there.
        command: String,
        /// Why it does not.
        #[source]
        source: openssh::Error,
    },
    /// There is no vfsync at the far end.
    #[error(
        "no vfsync at {peer}: install it there, name it with servercmd, or have it copied there with deploy{}",
        Quoted(said)
    )]
    NoVfsync {
        /// The other end.
        peer: String,
        /// What it said.
        said: String,
    },
    /// The far end ended before the session began.
    #[error("the far end at {peer} ended before the session began ({exit}){}", Quoted(said))]
    EndedEarly {
        /// The other end.
        peer: String,
        /// How it ended.
        exit: Exit,
        /// What it said.
        said: String,
    },
    /// The far end sends, but not what vfsync sends.
    #[error(
        "{peer} does not answer as vfsync does: is servercmd right, and does the login shell there stay quiet?{}",
        Quoted(said)
    )]
    NotVfsync {
        /// The other end.
        peer: String,
        /// The beginning of what it sent.
        said: String,
    },
    /// The far end is silent.
    #[error("{peer} did not greet within {} s: is servercmd right, and is the host overloaded?{}", limit.as_secs(), Quoted(said))]
    Silent {
        /// The other end.
        peer: String,
        /// How long it was given.
        limit: Duration,
        /// What it sent or said until then.
        said: String,
    },
    /// The two ends have no version of the protocol in common.
    #[error(
        "{peer} runs another version of vfsync: here {ours}, there {theirs}; install the same version on both hosts"
    )]
    Version {
        /// The other end.
        peer: String,
        /// What is understood here.
        ours: Versions,
        /// What is understood there.
        theirs: Versions,
    },
    /// `serve` was not started by vfsync.
    #[error(
        "standard input is no vfsync: `vfsync serve` is the far end of a link, started by `vfsync sync` or `live` over ssh"
    )]
    NotStartedByVfsync,
    /// The streams of the connection broke.
    #[error("lost the connection to {peer}")]
    Broken {
        /// The other end.
        peer: String,
        /// How it broke.
        #[source]
        source: io::Error,
    },
}

/// What kept ssh from connecting, in words that say what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// No key or password was accepted.
    Refused,
    /// The host's key is not in `known_hosts`.
    HostKeyUnknown,
    /// The host's key is another than the one in `known_hosts`.
    HostKeyChanged,
    /// The name has no address.
    NameUnknown,
    /// Nothing answers at that address.
    NoAnswer,
    /// The host answers, but there is no sshd at that port.
    NoSshd,
    /// Anything else; what ssh said says it.
    Other,
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectFailure::Refused => {
                "the host refuses the key; add your public key to ~/.ssh/authorized_keys there, \
                 or name another key with sshargs = -i FILE"
            }
            ConnectFailure::HostKeyUnknown => {
                "the host key is not known; connect once with ssh by hand and compare the fingerprint"
            }
            ConnectFailure::HostKeyChanged => {
                "the host key has changed: somebody may stand in between. If the host was set up anew, \
                 remove the old key with ssh-keygen -R and connect once with ssh by hand"
            }
            ConnectFailure::NameUnknown => "the host name is not known; check its spelling and the name server",
            ConnectFailure::NoAnswer => {
                "the host does not answer; check that it is up, its address and port, and firewalls in between"
            }
            ConnectFailure::NoSshd => "nothing listens there; check the port, and that sshd runs on the host",
            ConnectFailure::Other => "ssh gave up",
        })
    }
}

impl ConnectFailure {
    /// Reads the kind of failure off what ssh said. ssh speaks English whatever the locale.
    pub fn of(said: &str) -> ConnectFailure {
        const SIGNS: [(&str, ConnectFailure); 16] = [
            ("REMOTE HOST IDENTIFICATION HAS CHANGED", ConnectFailure::HostKeyChanged),
            ("Host key verification failed", ConnectFailure::HostKeyUnknown),
            ("host key is known for", ConnectFailure::HostKeyUnknown),
            ("Permission denied (", ConnectFailure::Refused),
            ("Permission denied, please try again", ConnectFailure::Refused),
            ("Too many authentication failures", ConnectFailure::Refused),
            ("Could not resolve hostname", ConnectFailure::NameUnknown),
            ("Name or service not known", ConnectFailure::NameUnknown),
            ("Connection refused", ConnectFailure::NoSshd),
            ("timed out", ConnectFailure::NoAnswer),
            ("timeout", ConnectFailure::NoAnswer),
            ("No route to host", ConnectFailure::NoAnswer),
            ("Network is unreachable", ConnectFailure::NoAnswer),
            ("Host is down", ConnectFailure::NoAnswer),
            ("kex_exchange_identification", ConnectFailure::NoSshd),
            ("banner line contains invalid characters", ConnectFailure::NoSshd),
        ];
        SIGNS.iter().find(|(sign, _)| said.contains(sign)).map_or(ConnectFailure::Other, |&(_, why)| why)
    }
}

/// Words of another program below our own, each line marked as theirs.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.lines().filter(|line| !line.trim().is_empty()).try_for_each(|line| write!(f, "\n  | {line}"))
    }
}

/// Makes foreign text safe for a terminal and a log: control characters and what is not UTF-8 are escaped, lines stay.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                '\r' => {}
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        text.extend(chunk.invalid().escape_ascii().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_is_sorted_into_what_to_do() {
        for (said, why) in [
            ("root@h: Permission denied (publickey).", ConnectFailure::Refused),
            (
                "No ED25519 host key is known for [h]:1 and you have requested strict checking.\nHost key verification failed.",
                ConnectFailure::HostKeyUnknown,
            ),
            (
                "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                ConnectFailure::HostKeyChanged,
            ),
            (
                "ssh: Could not resolve hostname nowhere: Name or service not known",
                ConnectFailure::NameUnknown,
            ),
            ("ssh: connect to host h port 1: Connection refused", ConnectFailure::NoSshd),
            ("ssh: connect to host h port 22: Connection timed out", ConnectFailure::NoAnswer),
            ("Connection timed out during banner exchange", ConnectFailure::NoAnswer),
            ("Bad configuration option: foo", ConnectFailure::Other),
        ] {
            assert_eq!(ConnectFailure::of(said), why, "{said}");
        }
    }

    #[test]
    fn foreign_text_cannot_drive_the_terminal() {
        assert_eq!(escape(b"a\x1b[2Jb\r\nc\xffd\0"), "a\\u{1b}[2Jb\nc\\xffd\\u{0}");
    }
}
