//! The driver of a session: the order of its parts, and its end.

use super::offering::Command;
use super::{Control, LinkError, Totals};
use crate::core::reconcile::{Preference, Side};
use crate::core::version::ReplicaId;
use crate::link::streams::Counters;
use crate::link::{Event, Gauge, Shared};
use crate::replica::Severity;
use crate::replica::scan::ScanReport;
use crate::wire::{self, Message, Start};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

/// How often both ends may stir each other up before a pass is given up. Every resolution takes one.
const ROUNDS: u32 = 100;

/// One end of a session under way.
pub struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) counters: Arc<Counters>,
    pub(super) tasks: JoinSet<()>,
    /// Waits for ever; it has to be ended.
    pub(super) retrying: AbortHandle,
    pub(super) deciding: AbortHandle,
    pub(super) alive: AbortHandle,
    pub(super) settle: u64,
    /// The root at the far end, as it calls itself.
    pub remote_root: Vec<u8>,
}

/// What a driver has to do next.
pub enum Next {
    /// The other end says what to do.
    Start(Start),
    /// The other end is done.
    Bye,
}

impl Session {
    /// Returns the bytes that went each way so far.
    pub fn totals(&self) -> Totals {
        Totals {
            sent: self.counters.sent.load(Ordering::Relaxed),
            received: self.counters.received.load(Ordering::Relaxed),
        }
    }

    /// Returns what tells how the session stands, as long as it lasts.
    pub fn gauge(&self) -> Gauge {
        Gauge::new(&self.shared, self.counters.clone())
    }

    /// Returns the replica at the other end.
    pub fn peer(&self) -> ReplicaId {
        self.shared.peer
    }

    /// Says what to do, from the end that dials.
    pub async fn start(&self, start: Start) -> Result<(), LinkError> {
        self.shared.plan.store(start == Start::Plan, Ordering::SeqCst);
        self.shared.live.store(start == Start::Live, Ordering::SeqCst);
        self.shared.started.store(true, Ordering::SeqCst);
        self.shared.idle.offering.store(true, Ordering::SeqCst);
        self.send(Message::Start(start)).await?;
        if start == Start::Execute {
            self.ask_for_resolutions().await?;
            self.execute();
        }
        Ok(())
    }

    /// Notes at both ends what a person has chosen about the plan, before it is carried out. At most [`crate::link::CHOICES`].
    pub async fn choose(&self, chosen: Vec<wire::Chosen>) -> Result<(), LinkError> {
        if !chosen.is_empty() {
            self.send(Message::Chosen(chosen.clone())).await?;
            self.shared.choose(chosen);
        }
        Ok(())
    }

    /// Asks the peer to end the conflicts that a person has decided for its state.
    async fn ask_for_resolutions(&self) -> Result<(), LinkError> {
        match self.shared.decided()? {
            none if none.is_empty() => Ok(()),
            decided => self.send(Message::Resolve(decided)).await,
        }
    }

    fn execute(&self) {
        let _ = self.commands.send(Command::Execute);
    }

    async fn send(&self, message: Message) -> Result<(), LinkError> {
        self.shared.send_async(&message).await.map_err(|_| LinkError::Closed)
    }

    /// Tells the peer from where it has to offer, now that the local tree has been scanned.
    pub async fn scanned(&self) -> Result<(), LinkError> {
        let (after, empty) = {
            let snapshot = self.shared.replica.archive.read()?;
            // What was left out before may not be left out now.
            let position = snapshot.position(self.shared.peer)?.filter(|_| self.shared.same_scope);
            (position, snapshot.live()? == 0)
        };
        let wins = self.shared.policy.force == Some(Preference::Side(Side::Local));
        if empty
            && wins
            && self.shared.replica.options.confirm_big_delete
            && self.shared.replica.approved() == 0
        {
            let why = format!(
                "the root {} has nothing in it, and with force everything at the other end would be deleted: halted, nothing \
                 was done. Is a file system not mounted? If all of it shall go, say --confirm-deletes with their number",
                self.shared.replica.root.display()
            );
            self.halt(&why, None).await;
            return Err(LinkError::Halted(why));
        }
        if !self.shared.is_plan() {
            self.ask_for_resolutions().await?;
        }
        let _ = self.commands.send(Command::Scanned);
        let open = self.shared.open.read().expect("no thread panics with this locked").all();
        if !open.is_empty() {
            self.send(Message::Again(open)).await?;
        }
        self.send(Message::Position { after, empty }).await
    }

    /// Tells what a local scan could not deal with: the person at this end, or the peer.
    pub async fn report(&self, report: ScanReport, to_peer: bool) -> Result<(), LinkError> {
        if to_peer {
            let problems = report
                .problems
                .into_iter()
                .map(|p| (p.path, p.severity == Severity::Failed, p.why))
                .collect::<Vec<_>>();
            for some in problems.chunks(1000) {
                self.send(Message::Problems(some.to_vec())).await?;
            }
        } else {
            for problem in report.problems {
                self.shared.tell(Event::Problem { side: Side::Local, problem });
            }
        }
        Ok(())
    }

    /// Waits until both ends have nothing left to offer, to answer or to wait for.
    ///
    /// # Errors
    /// When the session ends first.
    pub async fn settle(&mut self) -> Result<(), LinkError> {
        for _ in 0..ROUNDS {
            self.until_idle().await?;
            let activity = self.shared.idle.activity.load(Ordering::SeqCst);
            self.settle += 1;
            self.send(Message::Settle(self.settle)).await?;
            loop {
                match self.next_control().await? {
                    Control::Settled(number) if number == self.settle => break,
                    other => self.aside(other).await?,
                }
            }
            self.until_idle().await?;
            if self.shared.idle.activity.load(Ordering::SeqCst) == activity {
                return Ok(());
            }
        }
        Err(LinkError::Restless)
    }

    async fn until_idle(&mut self) -> Result<(), LinkError> {
        loop {
            let shared = self.shared.clone();
            tokio::select! {
                () = shared.until_idle() => return Ok(()),
                control = self.next_control() => self.aside(control?).await?,
            }
        }
    }

    async fn next_control(&mut self) -> Result<Control, LinkError> {
        match self.control.recv().await {
            None => Err(LinkError::Closed),
            Some(Control::Ended(Ok(()))) => Err(LinkError::Closed),
            Some(Control::Ended(Err(error))) => Err(error),
            Some(control) => Ok(control),
        }
    }

    /// Deals with what comes beside what is waited for.
    async fn aside(&mut self, control: Control) -> Result<(), LinkError> {
        match control {
            Control::Problems(problems) => {
                for (path, failed, why) in problems {
                    let severity = if failed { Severity::Failed } else { Severity::Skipped };
                    let problem = crate::replica::Problem { path, severity, why };
                    self.shared.tell(Event::Problem { side: Side::Remote, problem });
                }
                Ok(())
            }
            Control::Settle(number) => {
                // Beside everything else: what it waits for needs this driver, too.
                let shared = self.shared.clone();
                self.tasks.spawn(async move {
                    shared.until_idle().await;
                    shared.settling.store(false, Ordering::SeqCst);
                    let _ = shared.send_async(&Message::Settled(number)).await;
                });
                Ok(())
            }
            Control::Halt(why) => Err(LinkError::Halted(why)),
            Control::Guarded(why, deletions) => Err(LinkError::Guarded { why, deletions }),
            Control::Capture(text) => {
                self.shared.tell(Event::Notice(text));
                Ok(())
            }
            Control::Settled(_) => Ok(()),
            Control::Start(_) | Control::Bye => Err(LinkError::Protocol("only the end that dials says that")),
            Control::Ended(Ok(())) => Err(LinkError::Closed),
            Control::Ended(Err(error)) => Err(error),
        }
    }

    /// Waits for what the end that dials wants next, from the end that answers.
    ///
    /// # Errors
    /// When the session ends otherwise than by a farewell.
    pub async fn next(&mut self) -> Result<Next, LinkError> {
        loop {
            match self.next_control().await? {
                Control::Start(start) => {
                    if start == Start::Execute {
                        self.ask_for_resolutions().await?;
                        self.execute();
                    }
                    return Ok(Next::Start(start));
                }
                Control::Bye => return Ok(Next::Bye),
                other => self.aside(other).await?,
            }
        }
    }

    /// Keeps the session going until it ends.
    ///
    /// # Errors
    /// Always: the reason why it ended.
    pub async fn follow(&mut self) -> Result<std::convert::Infallible, LinkError> {
        loop {
            let control = self.next_control().await?;
            self.aside(control).await?;
        }
    }

    /// Tells the peer that a local guard halts the link; `deletions`: a person can approve so many.
    pub async fn halt(&self, why: &str, deletions: Option<u64>) {
        let _ = match deletions {
            Some(deletions) => self.send(Message::Guarded(why.to_owned(), deletions)).await,
            None => self.send(Message::Halt(why.to_owned())).await,
        };
    }

    /// Tells the peer what its person should know of the local capture.
    pub async fn tell_capture(&self, text: String) {
        let _ = self.send(Message::Capture(text)).await;
    }

    /// Ends the session in the orderly way.
    pub async fn end(self, farewell: bool) {
        if farewell {
            let _ = self.send(Message::Bye).await;
        }
        self.shared.close();
        self.retrying.abort();
        self.deciding.abort();
        self.alive.abort();
        let Session { shared, mut tasks, commands, control, .. } = self;
        drop((shared, commands, control));
        // The reader waits for the peer, which closes its side when it has read the farewell.
        let limit = tokio::time::sleep(Duration::from_secs(5));
        tokio::pin!(limit);
        loop {
            tokio::select! {
                joined = tasks.join_next() => if joined.is_none() { return },
                () = &mut limit => return tasks.abort_all(),
            }
        }
    }
}
