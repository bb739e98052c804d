//! A [`Connection`] is a pair of byte streams to the other end of a link, whatever carries them: an SSH channel, the
//! standard input and output of `vfsync serve`, or memory. What the bytes mean begins with the [`greeting`].

pub mod deploy;
pub mod error;
pub mod far_end;
pub mod greeting;
pub mod local;
pub mod ssh;
pub mod stdio;

pub use deploy::{Deployed, Own, deploy};
pub use error::TransportError;
pub use far_end::{Ended, Exit, FarEnd};
pub use greeting::{Greeting, PROTOCOL_VERSION, greet_as_acceptor, greet_as_initiator};
pub use ssh::{SshLink, SshOptions, SshTarget, dial};

use tokio::io::{AsyncRead, AsyncWrite};

/// The incoming half of a connection.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The outgoing half of a connection.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Two byte streams to the other end of a link.
///
/// The fields are public so that a session can hand its halves to different tasks. The far end stops when `writer` is
/// dropped; `far_end` tells how it stopped.
pub struct Connection {
    /// What the other end sends.
    pub reader: Reader,
    /// What goes to the other end.
    pub writer: Writer,
    /// The other end as messages name it: `user@host`, or a path.
    pub peer: String,
    /// The process at the other end.
    pub far_end: FarEnd,
}

impl Connection {
    /// Puts together a connection without a process behind it.
    pub fn new(reader: Reader, writer: Writer, peer: impl Into<String>) -> Connection {
        Connection { reader, writer, peer: peer.into(), far_end: FarEnd::none() }
    }

    /// Closes both streams and waits, within a limit, for the process at the other end: how it ended and what it said
    /// last on its standard error.
    pub async fn finish(self) -> Ended {
        let Connection { reader, writer, far_end, .. } = self;
        drop(writer);
        drop(reader);
        far_end.finish().await
    }
}
