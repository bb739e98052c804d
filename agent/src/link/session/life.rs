//! What goes on beside the exchange as long as a session lives: its sign of life, and what is asked for again.

use super::{Control, LinkError};
use crate::link::Shared;
use crate::link::streams::Counters;
use crate::wire::{Capability, Hello, MAX_FRAME, Message};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// What an end says that it does: to send [`Message::Ping`] now and then.
const PING: &str = "ping";
/// What an end says that takes [`Message::Renamed`].
const RENAMES: &str = "renames";
/// What an end says that takes [`Message::Otherwise`].
const OTHERWISE: &str = "otherwise";
/// What an end that dials says of a link that is to last.
const LASTING: &str = "lasting";
/// How often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// How long nothing may come from an end that does.
const SILENCE: Duration = Duration::from_secs(60);
/// While live, what failed is asked for again after so long, and then after twice as long each time.
const RETRY: Duration = Duration::from_secs(2);
/// But at least so often.
const RETRY_AT_LEAST: Duration = Duration::from_secs(300);

/// What this end can do beyond the version of the protocol.
pub(super) fn capabilities() -> Vec<Capability> {
    [PING, RENAMES, OTHERWISE].map(|name| Capability(name.to_owned())).into()
}

/// The same, of an end that dials: whether its link is to last.
pub(crate) fn capabilities_of(lasts: bool) -> Vec<Capability> {
    let mut all = capabilities();
    all.extend(lasts.then(|| Capability(LASTING.to_owned())));
    all
}

fn can(capabilities: &[Capability], what: &str) -> bool {
    capabilities.iter().any(|capability| capability.0 == what)
}

/// Returns whether the link that is asked for is to last, as those of a daemon, and is not one pass.
pub fn is_lasting(hello: &Hello) -> bool {
    can(&hello.capabilities, LASTING)
}

/// Returns whether an end understands that it is told how the other one is configured.
pub(super) fn takes_otherwise(capabilities: &[Capability]) -> bool {
    can(capabilities, OTHERWISE)
}

/// Returns whether an end says now and then that it is there.
pub(super) fn pings(capabilities: &[Capability]) -> bool {
    can(capabilities, PING)
}

/// Returns whether an end takes renames as a whole.
pub(super) fn renames(capabilities: &[Capability]) -> bool {
    can(capabilities, RENAMES)
}

/// Says now and then that this end is there, and ends the session when nothing has come from the other for too long. Of a
/// host that vanished without a word, ssh tells the end that dialled, and nobody the one that answers.
pub(super) async fn alive(
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    control: mpsc::Sender<Control>,
    pings: bool,
) {
    let patience = patience(counters.limit.load(Ordering::Relaxed));
    let (mut heard, mut last) = (0, Instant::now());
    while !pings || last.elapsed() < patience {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        // Where others wait to be written, they are the sign.
        let ping = crate::wire::encode_message(&Message::Ping);
        if let Err(mpsc::error::TrySendError::Closed(_)) = shared.out.try_send(ping) {
            return;
        }
        let now = counters.heard.load(Ordering::Relaxed);
        // Whoever does not listen hears nothing.
        if now != heard || counters.deaf.load(Ordering::Relaxed) {
            (heard, last) = (now, Instant::now());
        }
    }
    let why = format!("nothing has come from the other host for {} s", last.elapsed().as_secs());
    shared.close();
    let _ = control.send(Control::Ended(Err(LinkError::Broken(std::io::Error::other(why))))).await;
}

/// Returns how long the other end may be silent that sends so many bytes a second at the most (0: any): behind a large frame
/// it has to wait until it may say something again.
fn patience(limit: u64) -> Duration {
    SILENCE + Duration::from_secs((MAX_FRAME as u64).checked_div(limit).unwrap_or(0))
}

/// Asks the peer, while both ends live, to offer again what failed here: a disk that was full may have room now, and a
/// file that somebody had open may be closed. A pass asks for all that is open at its start.
pub(super) async fn retrying(shared: Arc<Shared>) {
    let mut wait = RETRY;
    let mut before = Vec::new();
    loop {
        tokio::time::sleep(wait).await;
        if !shared.live.load(Ordering::Relaxed) {
            continue;
        }
        let failed = shared.open.read().expect("no thread panics with this locked").failed();
        wait = if failed.is_empty() || failed != before { RETRY } else { (wait * 2).min(RETRY_AT_LEAST) };
        before.clone_from(&failed);
        for some in failed.chunks(1000) {
            if shared.send_async(&Message::Again(some.to_vec())).await.is_err() {
                return;
            }
        }
    }
}

/// Passes on what a person decides about conflicts while the session is under way. Ends with the session's queue.
pub(super) async fn deciding(shared: Arc<Shared>, mut decided: watch::Receiver<u64>) {
    while decided.changed().await.is_ok() {
        let result = shared.reload_open().and_then(|()| shared.decided());
        match result {
            Ok(paths) if !paths.is_empty() && !shared.is_plan() => {
                if shared.send_async(&Message::Resolve(paths)).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "a decision about a conflict"),
        }
    }
}
