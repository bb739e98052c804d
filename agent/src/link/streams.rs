//! The two byte streams of a connection as frames: a task that writes what the parts send, and a task that reads and
//! hands each message to the part that it is for.

use super::credit::{DATA_WINDOW, OFFER_WINDOW};
use super::session::LinkError;
use crate::transport::{Reader, Writer};
use crate::wire::{Frame, MAX_FRAME, decode};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use tokio_util::io::InspectReader;

/// How many frames wait for the writer before the sending thread does.
pub(super) const OUT_QUEUE: usize = 64;

/// The rate of the connection is measured over so many bytes that had to wait for it: less of them is swallowed by
/// buffers on the way.
const MEASURED: u64 = 512 << 10;

/// Bytes that went each way, frames and their lengths.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub sent: AtomicU64,
    pub received: AtomicU64,
    /// Bytes that came, also those of a frame that is not here as a whole yet.
    pub heard: AtomicU64,
    /// Nothing is read for now: what came before has to be dealt with first.
    pub deaf: AtomicBool,
    /// Bytes a second that the connection carried when it was waited for; 0: not known.
    rate: AtomicU64,
    /// Bytes a second that may be sent; 0: any.
    pub limit: AtomicU64,
}

impl Counters {
    /// Returns how many bytes a second the connection carries, as far as that is known.
    pub(super) fn rate(&self) -> u64 {
        match self.rate.load(Ordering::Relaxed) {
            0 => u64::MAX,
            rate => rate,
        }
    }

    /// Notes how long some bytes took.
    pub(super) fn measured(&self, bytes: u64, took: Duration) {
        let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
        self.rate.store((rate as u64).max(1), Ordering::Relaxed);
    }
}

/// Holds the sender to a rate.
struct Pace {
    /// What was sent so far is paid for then.
    paid: Instant,
}

impl Pace {
    /// Waits as long as the bytes that were just sent take at this rate. What was saved up is at most a tenth of a
    /// second.
    async fn pay(&mut self, bytes: u64, limit: u64) {
        if limit == 0 {
            return;
        }
        let earliest = Instant::now().checked_sub(Duration::from_millis(100)).unwrap_or(self.paid);
        self.paid = self.paid.max(earliest) + Duration::from_secs_f64(bytes as f64 / limit as f64);
        tokio::time::sleep_until(self.paid.into()).await;
    }
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec()
}

/// Writes frames until all senders are gone. Flushes whenever no further frame waits, so that a lone message leaves at
/// once and many leave together.
pub(super) async fn write(
    writer: Writer,
    mut frames: mpsc::Receiver<Bytes>,
    counters: Arc<Counters>,
) -> Result<(), LinkError> {
    let mut sink: FramedWrite<Writer, LengthDelimitedCodec> =
        FramedWrite::with_capacity(writer, codec(), 256 << 10);
    let mut pace = Pace { paid: Instant::now() };
    let (mut bytes, mut took) = (0, Duration::ZERO);
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        let began = Instant::now();
        while let Some(frame) = next {
            let length = frame.len() as u64 + 4;
            counters.sent.fetch_add(length, Ordering::Relaxed);
            bytes += length;
            sink.feed(frame).await.map_err(LinkError::broken)?;
            let limit = counters.limit.load(Ordering::Relaxed);
            if limit > 0 {
                SinkExt::<Bytes>::flush(&mut sink).await.map_err(LinkError::broken)?;
                pace.pay(length, limit).await;
            }
            next = frames.try_recv().ok();
        }
        SinkExt::<Bytes>::flush(&mut sink).await.map_err(LinkError::broken)?;
        took += began.elapsed();
        if bytes >= MEASURED {
            counters.measured(std::mem::take(&mut bytes), std::mem::take(&mut took));
        }
    }
    SinkExt::<Bytes>::close(&mut sink).await.map_err(LinkError::broken)
}

/// What counts bytes as they come.
type Hears = Box<dyn FnMut(&[u8]) + Send>;

/// Reads frames one by one.
pub(super) struct Frames {
    stream: FramedRead<InspectReader<Reader, Hears>, LengthDelimitedCodec>,
    counters: Arc<Counters>,
}

impl Frames {
    pub(super) fn new(reader: Reader, counters: Arc<Counters>) -> Frames {
        let heard = counters.clone();
        let hears: Hears = Box::new(move |bytes| {
            heard.heard.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        });
        let reader = InspectReader::new(reader, hears);
        Frames { stream: FramedRead::with_capacity(reader, codec(), 256 << 10), counters }
    }

    /// Returns what counts here.
    pub(super) fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// Returns the next frame as it came; `None` when the peer has closed its stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(super) async fn next_raw(&mut self) -> Result<Option<Bytes>, LinkError> {
        match self.stream.next().await {
            None => Ok(None),
            Some(Err(e)) => Err(LinkError::broken(e)),
            Some(Ok(frame)) => Ok(Some(frame.freeze())),
        }
    }

    /// Returns the next frame; `None` when the peer has closed its stream.
    ///
    /// # Errors
    /// When the connection breaks or the peer sends what is no frame.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        match self.stream.next().await {
            None => Ok(None),
            Some(Err(e)) => Err(LinkError::broken(e)),
            Some(Ok(frame)) => {
                self.counters.received.fetch_add(frame.len() as u64 + 4, Ordering::Relaxed);
                Ok(Some(decode(frame.freeze())?))
            }
        }
    }
}

/// Checks that the peer keeps to the windows. A little more than a window may come: what was given back while it was
/// under way.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    /// Cost of the offers that came.
    pub offers: u64,
    /// Bytes of content that came.
    pub data: u64,
    /// How often it has said where it stands.
    pub positions: u32,
    /// What was given back of each.
    pub given_offers: Arc<AtomicU64>,
    pub given_data: Arc<AtomicU64>,
}

impl Allowance {
    pub(super) fn check(&self) -> Result<(), LinkError> {
        let over = |came: u64, given: &AtomicU64, window: u64| {
            came.saturating_sub(given.load(Ordering::SeqCst)) > 2 * window
        };
        if over(self.offers, &self.given_offers, OFFER_WINDOW)
            || over(self.data, &self.given_data, DATA_WINDOW)
        {
            return Err(LinkError::Protocol("it sends more than it may"));
        }
        Ok(())
    }
}
