//! Two connections that lead to each other through memory: a link between two trees of one host.

use tokio::io::duplex;

use super::Connection;

/// How much is on its way in each direction before the sender waits.
const BUFFER: usize = 256 * 1024;

/// Returns both ends of a connection in memory. The first is held by `here` and leads to `there`, the second the other
/// way round.
pub fn pair(here: impl Into<String>, there: impl Into<String>) -> (Connection, Connection) {
    // One stream for each direction, so that a dropped writer is an end of file over there, as with pipes.
    let (to_there, from_here) = duplex(BUFFER);
    let (to_here, from_there) = duplex(BUFFER);
    (
        Connection::new(Box::new(from_there), Box::new(to_there), there),
        Connection::new(Box::new(from_here), Box::new(to_here), here),
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn what_one_end_writes_the_other_reads_until_it_is_dropped() {
        let (mut here, mut there) = pair("/a", "/b");
        assert_eq!((here.peer.as_str(), there.peer.as_str()), ("/b", "/a"));
        here.writer.write_all(b"to and").await.unwrap();
        drop(here.writer);
        let mut got = Vec::new();
        there.reader.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"to and");
        there.writer.write_all(b" fro").await.unwrap();
        drop(there.writer);
        here.reader.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"to and fro");
    }
}
