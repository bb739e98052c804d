//! The road between the two hosts of a benchmark: a TCP port of its own before sshd's, which counts the bytes that go over
//! it and makes each of them take its time. There is one machine only, and no netem everywhere.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// The most bytes that are read at once.
const PIECE: usize = 64 * 1024;
/// So many pieces are on the road at most: 64 MiB, more than ssh itself lets be under way.
const PIECES: usize = 1024;

/// A road to a port on this machine. It is closed to new connections when the value ends.
pub struct Road {
    port: u16,
    bytes: Arc<AtomicU64>,
    closed: Arc<AtomicBool>,
}

impl Road {
    /// Opens a road to a port that takes so long, each way.
    pub fn open(to: u16, delay: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot open a port")?;
        let port = listener.local_addr().context("cannot open a port")?.port();
        let (bytes, closed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ended) = (bytes.clone(), closed.clone());
        thread::spawn(move || {
            for near in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                // A connection that fails is the contestant's to report.
                let _ = near.and_then(|near| join(near, to, delay, &counted));
            }
        });
        Ok(Self { port, bytes, closed })
    }

    /// Returns the port at its beginning.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many bytes went over it, both ways.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Road {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for connections.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

/// Joins a connection to one to the port, in four threads, which end with it.
fn join(near: TcpStream, to: u16, delay: Duration, bytes: &Arc<AtomicU64>) -> io::Result<()> {
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to))?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        from.set_nodelay(true)?;
        to.set_nodelay(true)?;
        let (on, come) = sync_channel(PIECES);
        let bytes = bytes.clone();
        thread::spawn(move || take(from, &on, delay, &bytes));
        thread::spawn(move || give(to, &come));
    }
    Ok(())
}

fn take(mut from: TcpStream, on: &SyncSender<(Instant, Vec<u8>)>, delay: Duration, bytes: &AtomicU64) {
    let mut piece = vec![0; PIECE];
    while let Ok(n @ 1..) = from.read(&mut piece) {
        bytes.fetch_add(n as u64, Ordering::SeqCst);
        if on.send((Instant::now() + delay, piece[..n].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, come: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, piece)) = come.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_over_a_road_comes_out_later_and_is_counted() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let delay = Duration::from_millis(30);
        let road = Road::open(listener.local_addr()?.port(), delay)?;
        let mut near = TcpStream::connect((Ipv4Addr::LOCALHOST, road.port()))?;
        let (mut far, _) = listener.accept()?;
        let start = Instant::now();
        near.write_all(b"there")?;
        let mut came = [0; 5];
        far.read_exact(&mut came)?;
        far.write_all(b"back")?;
        drop(far);
        let mut back = Vec::new();
        near.read_to_end(&mut back)?;
        assert_eq!((&came, &back[..]), (b"there", &b"back"[..]));
        assert!(start.elapsed() >= delay * 2);
        assert_eq!(road.bytes(), 9);
        Ok(())
    }
}
