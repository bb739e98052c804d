//! The task of the offerer: lets it offer what is new, whenever there is something.

use super::reading::rolled_back;
use super::{Control, LinkError};
use crate::core::version::Sequence;
use crate::link::Shared;
use crate::link::offer::{OfferError, Offerer};
use crate::wire::Message;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a position that only skipped entries would move may lag behind.
const LAZY_BATCH: Duration = Duration::from_secs(1);

/// What the offerer is told.
pub(super) enum Command {
    Begin {
        after: Option<Sequence>,
        empty: bool,
    },
    /// The local tree has been scanned: what the archive says can be offered.
    Scanned,
    /// Carry out what was planned.
    Execute,
}

/// Offers what is new, whenever there is something.
pub(super) async fn offering(
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    control: mpsc::Sender<Control>,
) {
    let mut head = shared.replica.head();
    let mut offerer: Option<Offerer> = None;
    // Both have to be known: from where the peer wants it, and what there is.
    let mut position = None;
    let mut scanned = false;
    loop {
        let started = offerer.is_some();
        let lags = offerer.as_ref().is_some_and(Offerer::lags);
        let mut flush = false;
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Begin { after, empty }) => {
                    if let Err(error) = check_position(&shared, after) {
                        let _ = shared.send_async(&Message::Halt(error.to_string())).await;
                        let _ = control.send(Control::Ended(Err(error))).await;
                        return;
                    }
                    shared.settled.store(after.map_or(0, |after| after.0), Ordering::SeqCst);
                    position = Some((after, empty));
                }
                Some(Command::Scanned) => scanned = true,
                Some(Command::Execute) => {}
            },
            () = shared.again.asked.notified() => {}
            changed = head.changed(), if started => if changed.is_err() { return },
            () = tokio::time::sleep(LAZY_BATCH), if lags => flush = true,
        }
        if scanned && let Some((after, empty)) = position.take() {
            offerer = Some(Offerer::new(after, empty));
        }
        // What has come meanwhile goes along.
        if !commands.is_empty() {
            continue;
        }
        if let Some(mut working) = offerer.take() {
            head.mark_unchanged();
            let sharing = shared.clone();
            let ask = shared.again.take();
            let done = tokio::task::spawn_blocking(move || {
                let result = working.batch(&sharing, ask, flush);
                (working, result)
            });
            let failed = match done.await {
                Ok((working, Ok(()))) => {
                    offerer = Some(working);
                    None
                }
                Ok((_, Err(OfferError::Closed))) => return,
                Ok((_, Err(OfferError::Archive(error)))) => Some(LinkError::Archive(error)),
                Ok((_, Err(OfferError::Unanswered))) => {
                    Some(LinkError::Protocol("it takes offers and does not answer them"))
                }
                Err(error) => Some(LinkError::Died(error.to_string())),
            };
            if let Some(failed) = failed {
                let _ = control.send(Control::Ended(Err(failed))).await;
                return;
            }
        }
        let nothing_new = || commands.is_empty() && shared.again.is_empty();
        if nothing_new() && offerer.is_some() {
            shared.idle.offering.store(false, Ordering::SeqCst);
            // What came in between has set it, and will be dealt with.
            if !nothing_new() {
                shared.idle.offering.store(true, Ordering::SeqCst);
            }
        }
        shared.idle.stir();
    }
}

/// Refuses a peer that has seen more of this archive than the archive knows: it is an old copy. Going on, it would give
/// the same numbers to other states, which the peer would take for what it has.
fn check_position(shared: &Shared, after: Option<Sequence>) -> Result<(), LinkError> {
    let head = shared.replica.archive.read()?.head()?;
    match after {
        Some(after) if after > head => Err(rolled_back(&shared.replica)),
        _ => Ok(()),
    }
}
