//! The reader: hands each message of the peer to the part that it is for.

use super::offering::Command;
use super::{Control, LinkError};
use crate::link::content::ToPumps;
use crate::link::offer::rename_cost;
use crate::link::receive::{MOST_RESOLVED, Task};
use crate::link::streams::{Allowance, Frames};
use crate::link::{BATCH_COST, FRAME_COST, Shared};
use crate::replica::Replica;
use crate::wire::{Frame, Message, Offer, Start};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// So often the peer may say where it stands in one session: far more often than it has to.
const POSITIONS: u32 = 100;
/// So many bytes of paths the peer may ask for resolutions of at once.
const RESOLVED_BYTES: usize = 16 << 20;

/// Where the reader hands messages to.
pub(super) struct Parts {
    pub to_receiver: mpsc::UnboundedSender<Task>,
    pub to_pumps: ToPumps,
    pub commands: mpsc::UnboundedSender<Command>,
    pub control: mpsc::Sender<Control>,
}

/// Reads frames and hands them on, until the connection ends.
pub(super) async fn reading(shared: Arc<Shared>, mut frames: Frames, parts: Parts, mut allowance: Allowance) {
    let counters = frames.counters();
    let ended = loop {
        match frames.next().await {
            Ok(Some(frame)) => {
                // Nothing follows a farewell. To wait for the end of the stream would be to wait for each other.
                let last =
                    matches!(frame, Frame::Message(Message::Bye | Message::Halt(_) | Message::Guarded(..)));
                match dispatch(&shared, frame, &parts, &mut allowance) {
                    Ok(None) => {}
                    // A driver that is gone has ended the session.
                    Ok(Some(control)) => {
                        counters.deaf.store(true, Ordering::Relaxed);
                        drop(parts.control.send(control).await);
                        counters.deaf.store(false, Ordering::Relaxed);
                    }
                    Err(error) => break Err(error),
                }
                if last {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    shared.close();
    let _ = parts.control.send(Control::Ended(ended)).await;
}

/// Hands a frame on. Returns what it tells the driver, if it is for that.
fn dispatch(
    shared: &Shared,
    frame: Frame,
    parts: &Parts,
    allowance: &mut Allowance,
) -> Result<Option<Control>, LinkError> {
    let to_receiver = |task| {
        shared.idle.receiving.fetch_add(1, Ordering::SeqCst);
        // A receiver that is gone has said why.
        let _ = parts.to_receiver.send(task);
    };
    let to_offerer = |command| {
        shared.idle.offering.store(true, Ordering::SeqCst);
        let _ = parts.commands.send(command);
    };
    let started = shared.started.load(Ordering::SeqCst);
    let message = match frame {
        Frame::Data(offer, bytes) => {
            allowance.data += bytes.len() as u64 + FRAME_COST;
            allowance.check()?;
            to_receiver(Task::Data(offer, bytes));
            return Ok(None);
        }
        Frame::Message(message) => message,
    };
    match message {
        // Only the end that dials says what is to be done, and perhaps a person is being asked about it: whatever came before
        // would be done before the answer.
        Message::Offers(_) | Message::Batch(_) | Message::Renamed(_) | Message::Resolve(_) if !started => {
            return Err(LinkError::Protocol("it sends entries before it was said what to do"));
        }
        Message::Start(_) if shared.dials => {
            return Err(LinkError::Protocol("only the end that dials says what to do"));
        }
        Message::Offers(offers) => {
            allowance.offers += offers.iter().map(Offer::cost).sum::<u64>();
            allowance.check()?;
            to_receiver(Task::Offers(offers));
        }
        Message::Renamed(renamed) => {
            allowance.offers += rename_cost(&renamed);
            allowance.check()?;
            to_receiver(Task::Renamed(renamed));
        }
        Message::Resolve(paths) => {
            let mut asked = shared.resolutions.lock().expect("no thread panics with this locked");
            let waiting = !asked.is_empty();
            asked.extend(paths.into_iter().filter(|path| !path.is_root()));
            let mut bytes: usize = asked.iter().map(|path| path.as_bytes().len()).sum();
            while asked.len() > MOST_RESOLVED || bytes > RESOLVED_BYTES {
                bytes -= asked.pop_last().map_or(bytes, |path| path.as_bytes().len());
            }
            if !waiting && !asked.is_empty() {
                to_receiver(Task::Resolve);
            }
        }
        Message::Chosen(_) if shared.dials => {
            return Err(LinkError::Protocol("it chooses for the end that dials"));
        }
        Message::Chosen(chosen) => {
            if shared.choose(chosen) {
                return Err(LinkError::Protocol("it chooses at more paths than anybody looks at"));
            }
        }
        Message::Batch(batch) => {
            if shared.is_plan() {
                let mut choices = shared.choices.write().expect("no thread panics with this locked");
                choices.peer_planned(batch.through);
            }
            allowance.offers += BATCH_COST;
            allowance.check()?;
            to_receiver(Task::Batch(batch.through));
        }
        Message::Copy { offer, from, length } => {
            allowance.data += FRAME_COST;
            allowance.check()?;
            to_receiver(Task::Copy { number: offer, from, length });
        }
        Message::Zeros { offer, length } => {
            allowance.data += FRAME_COST;
            allowance.check()?;
            to_receiver(Task::Zeros { number: offer, length });
        }
        Message::DataEnd { offer, complete } => {
            allowance.data += FRAME_COST;
            allowance.check()?;
            to_receiver(Task::DataEnd(offer, complete));
        }
        Message::Verdicts(verdicts) => {
            verdicts.into_iter().for_each(|(number, verdict)| shared.answered(number, verdict));
        }
        Message::Done(_) | Message::Ping => {}
        Message::OfferCredit(cost) => shared.offer_credit.give(cost),
        Message::DataCredit(bytes) => shared.data_credit.give(bytes),
        Message::Want(wants) => {
            for want in wants {
                parts.to_pumps.ask(shared, want).map_err(LinkError::Protocol)?;
            }
        }
        Message::Position { after, empty } => {
            // Once for each start. Each waits in the offerer's queue, which is not read while a batch waits for room.
            allowance.positions += 1;
            if allowance.positions > POSITIONS {
                return Err(LinkError::Protocol("it says over and over where it stands"));
            }
            to_offerer(Command::Begin { after, empty });
        }
        Message::Again(paths) => {
            shared.idle.offering.store(true, Ordering::SeqCst);
            shared.again.ask(paths);
        }
        Message::Start(start) => {
            // At once, and not by the driver: what follows in the stream is already meant so.
            shared.plan.store(start == Start::Plan, Ordering::SeqCst);
            shared.live.store(start == Start::Live, Ordering::SeqCst);
            shared.started.store(true, Ordering::SeqCst);
            // Until the first batch is out, this end is not at rest.
            shared.idle.offering.store(true, Ordering::SeqCst);
            return Ok(Some(Control::Start(start)));
        }
        Message::Problems(problems) => return Ok(Some(Control::Problems(problems))),
        Message::Settle(number) => {
            if shared.settling.swap(true, Ordering::SeqCst) {
                return Err(LinkError::Protocol("it asks to settle before it was answered"));
            }
            return Ok(Some(Control::Settle(number)));
        }
        Message::Settled(number) => return Ok(Some(Control::Settled(number))),
        Message::Halt(why) => return Ok(Some(Control::Halt(why))),
        Message::Guarded(why, deletions) => return Ok(Some(Control::Guarded(why, deletions))),
        Message::Capture(text) => return Ok(Some(Control::Capture(text))),
        Message::Bye => return Ok(Some(Control::Bye)),
        Message::Hello(_)
        | Message::Welcome(_)
        | Message::Refuse(_)
        | Message::Linked(_)
        | Message::Otherwise(..) => {
            return Err(LinkError::Protocol("it opens the session twice"));
        }
    }
    Ok(None)
}

pub(super) fn rolled_back(replica: &Replica) -> LinkError {
    LinkError::RolledBack { root: replica.root.clone(), folder: replica.archive.folder().to_owned() }
}
