//! The greeting is what both ends of a connection send first: a magic that can be found in whatever else the stream
//! carries, and the versions that each end understands.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | the magic `\0vfsync\n` |
//! | 2 | the version of the protocol, big endian |
//! | 2 | the oldest version understood, big endian |
//! | 1 | the length of the program's version |
//! | 0 to 255 | the program's version, text |
//!
//! The end that dialled searches the magic, because a login shell may print text first; the other end insists on it.
//! Neither reads a byte beyond the greeting. Its format is for all time: ends that have no version in common still
//! tell each other so.

use std::{fmt, io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    Connection,
    error::{TransportError, escape},
    far_end::{Ended, Exit},
};

/// The version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u16 = 3;
/// The oldest version of the protocol that this program understands.
pub const OLDEST_PROTOCOL_VERSION: u16 = 3;

const MAGIC: [u8; 8] = *b"\0vfsync\n";
/// How much foreign text is read in search of the magic.
const FOREIGN_LIMIT: usize = 64 * 1024;
/// How much of it is shown.
const SHOWN_LIMIT: usize = 512;
/// How long the other end may take: a login shell reads its start files first, perhaps over a network file system.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// What one end understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// The version of the protocol that it speaks.
    pub protocol: u16,
    /// The oldest version of the protocol that it understands.
    pub oldest: u16,
    /// The version of the program.
    pub program: String,
}

impl Versions {
    /// Returns what this program understands.
    pub fn ours() -> Versions {
        Versions {
            protocol: PROTOCOL_VERSION,
            oldest: OLDEST_PROTOCOL_VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Returns the newest version of the protocol that both understand.
    fn common(&self, other: &Versions) -> Option<u16> {
        let version = self.protocol.min(other.protocol);
        (version >= self.oldest && version >= other.oldest).then_some(version)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let program = &self.program.as_bytes()[..self.program.len().min(255)];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.protocol.to_be_bytes());
        bytes.extend(self.oldest.to_be_bytes());
        bytes.push(program.len() as u8);
        bytes.extend(program);
        bytes
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Versions { protocol, oldest, program } = self;
        write!(f, "vfsync {program} (protocol {oldest} to {protocol})")
    }
}

/// What the ends agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The version of the protocol to speak.
    pub protocol: u16,
    /// What the other end understands.
    pub theirs: Versions,
}

/// Greets as the end that dialled: text before the other end's greeting is skipped. An end that is not vfsync, or
/// ends, is an error that shows what it said.
pub async fn greet_as_initiator(connection: Connection) -> Result<(Connection, Greeting), TransportError> {
    greet(connection, Stream::MayBeginWithText, TIME_LIMIT).await
}

/// Greets as the end that was dialled.
pub async fn greet_as_acceptor(connection: Connection) -> Result<(Connection, Greeting), TransportError> {
    match greet(connection, Stream::BeginsWithMagic, TIME_LIMIT).await {
        Err(TransportError::NotVfsync { .. }) => Err(TransportError::NotStartedByVfsync),
        other => other,
    }
}

/// What an end expects of the stream before the magic.
#[derive(Clone, Copy)]
enum Stream {
    MayBeginWithText,
    BeginsWithMagic,
}

async fn greet(
    mut connection: Connection,
    stream: Stream,
    limit: Duration,
) -> Result<(Connection, Greeting), TransportError> {
    let ours = Versions::ours();
    let mut foreign = Vec::new();
    let exchange = async {
        // A far end that has ended takes no greeting; what it says in its place is the better message.
        let written = connection.writer.write_all(&ours.to_bytes()).await;
        let written = match written {
            Ok(()) => connection.writer.flush().await,
            Err(e) => Err(e),
        };
        let theirs = receive(&mut connection.reader, stream, &mut foreign).await?;
        written.map(|()| theirs)
    };
    let peer = connection.peer.clone();
    match timeout(limit, exchange).await {
        Ok(Ok(theirs)) => match ours.common(&theirs) {
            Some(protocol) => Ok((connection, Greeting { protocol, theirs })),
            None => Err(TransportError::Version { peer, ours, theirs }),
        },
        Ok(Err(e)) if e.kind() == io::ErrorKind::InvalidData => {
            Err(TransportError::NotVfsync { peer, said: shown(&foreign) })
        }
        Ok(Err(e)) => Err(ended(connection, &foreign, e).await),
        Err(_) => {
            let said = shown(&foreign) + &connection.far_end.said();
            Err(TransportError::Silent { peer, limit, said })
        }
    }
}

/// Reads up to the end of the other end's greeting, with what came before it in `foreign`.
async fn receive(
    reader: &mut (impl AsyncRead + Unpin),
    stream: Stream,
    foreign: &mut Vec<u8>,
) -> io::Result<Versions> {
    let mut matched = 0;
    while matched < MAGIC.len() {
        let at = foreign.len();
        // Not a byte beyond the end of the magic, should it come now: what follows belongs to the session.
        let mut next = [0; MAGIC.len()];
        let n = reader.read(&mut next[..MAGIC.len() - matched]).await?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        foreign.extend(&next[..n]);
        // The magic's first byte occurs in it only once, so a match begins at the last such byte or nowhere.
        let start = foreign.iter().skip(at - matched).rposition(|&b| b == MAGIC[0]);
        matched = start.map_or(0, |i| foreign.len() - (at - matched) - i);
        if !MAGIC.starts_with(&foreign[foreign.len() - matched..]) {
            matched = 0;
        }
        let limit = match stream {
            Stream::MayBeginWithText => FOREIGN_LIMIT,
            Stream::BeginsWithMagic => 0,
        };
        if foreign.len() - matched > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    foreign.truncate(foreign.len() - MAGIC.len());
    let protocol = reader.read_u16().await?;
    let oldest = reader.read_u16().await?;
    let mut program = vec![0; usize::from(reader.read_u8().await?)];
    reader.read_exact(&mut program).await?;
    Ok(Versions { protocol, oldest, program: escape(&program).replace(['\n', '\t'], " ") })
}

/// Says why a stream broke before the greeting was through.
async fn ended(connection: Connection, foreign: &[u8], source: io::Error) -> TransportError {
    let peer = connection.peer.clone();
    if !connection.far_end.is_known() {
        let said = shown(foreign);
        return match source.kind() {
            io::ErrorKind::UnexpectedEof if !said.is_empty() => TransportError::NotVfsync { peer, said },
            _ => TransportError::Broken { peer, source },
        };
    }
    let Ended { exit, said } = connection.finish().await;
    let said = shown(foreign) + &said;
    match exit {
        // What a POSIX shell answers for a command that it does not find, or may not run.
        Exit::Code(126 | 127) => TransportError::NoVfsync { peer, said },
        exit => TransportError::EndedEarly { peer, exit, said },
    }
}

/// Returns the beginning of foreign text, made safe for a terminal and with a line end.
fn shown(foreign: &[u8]) -> String {
    let mut text = escape(&foreign[..foreign.len().min(SHOWN_LIMIT)]);
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
