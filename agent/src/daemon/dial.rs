//! A [`Dialled`] link is one that this end makes, and makes again whenever it breaks.

use super::facts::{LinkFacts, State};
use super::kept::{Kept, Stage};
use super::site::{Link, Site};
use super::{News, jittered, passes_by_itself};
use crate::cmd::connect::{Connected, reach_host, reached_here};
use crate::cmd::tell::Teller;
use crate::core::version::ReplicaId;
use crate::link::session::Session;
use crate::link::{Event, LinkError, Setup};
use crate::options::ReplicaOptions;
use crate::output::Reporter;
use crate::replica::Replica;
use crate::replica::scan::ScanReport;
use crate::roots::Root;
use crate::transport;
use crate::wire::Start;
use anyhow::Result;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How long to wait before a link that broke is made again: from, to.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How often it is asked whether the link that the other end has dialled is there.
const STAND_BY: Duration = Duration::from_secs(2);

/// What a person or the site tells a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Stop until it is resumed.
    Pause,
    /// Go on, at once.
    Resume {
        /// Approve so many deletions of the other end: the person who said this was shown just these.
        deletions: u64,
    },
    /// Stop for good.
    Close,
}

/// A link that this end makes.
pub struct Dialled {
    /// Where to, and how.
    pub link: Link,
    /// The replica of this end.
    pub kept: Arc<Kept>,
    /// What can be told of it.
    pub facts: Arc<LinkFacts>,
    /// Prints what it does.
    pub reporter: Arc<Reporter>,
    /// Where else to tell what happens.
    pub news: mpsc::UnboundedSender<News>,
    /// Where the replicas of this process are.
    pub site: Weak<Site>,
}

type Told = mpsc::UnboundedReceiver<Event>;
type Stages = watch::Receiver<(Stage, SystemTime)>;

/// How far a turn came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// There was no session.
    Nowhere,
    /// There was one.
    Linked,
    /// Both ends had looked at everything.
    Scanned,
}

/// Why a session, or the way to one, ended.
enum End {
    /// An error of the link.
    Error(anyhow::Error),
    /// The replica is not to be had any more.
    NoReplica,
    /// The other end has dialled, too, and that link stays.
    GivesWay(ReplicaId),
    Order(Order),
}

impl Dialled {
    /// Keeps the link going until it is closed.
    pub async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut stages = self.kept.stages();
        let mut pause = BACK_OFF.0;
        let mut first = true;
        // How many deletions a person has approved, after the other end has shown them.
        let mut approved = None;
        // What the options approve is for what the first look finds there, and not for as long as this runs.
        let mut beforehand = self.link.replica.confirm_deletes;
        loop {
            self.facts.set(State::Waiting);
            let Some(replica) = self.until_open(&mut stages, &mut orders).await else {
                return self.facts.set(State::Closed);
            };
            let began = Instant::now();
            let mut came = Came::Nowhere;
            let approves = approved.take().or(beforehand);
            let end = self.turn(replica, approves, &mut stages, &mut orders, &mut came).await;
            self.facts.end();
            let was_there = came >= Came::Linked;
            if was_there {
                first = false;
            }
            if came >= Came::Scanned {
                beforehand = None;
            }
            if was_there && began.elapsed() > BACK_OFF.1 {
                pause = BACK_OFF.0;
            }
            let next = match end {
                End::NoReplica => continue,
                End::Order(order) => Some(order),
                End::GivesWay(peer) => {
                    first = false;
                    self.stand_by(peer, &mut orders).await
                }
                End::Error(error) => {
                    let next = self.after(&error, first, was_there, &mut pause, &mut orders).await;
                    if let Some(LinkError::Guarded { deletions, .. }) = error.downcast_ref() {
                        beforehand = None;
                        approved = match next {
                            // Never more than what was shown, and nothing by an order that is not about that.
                            Some(Order::Resume { deletions: word }) if word > 0 => Some(word.min(*deletions)),
                            None | Some(Order::Resume { .. } | Order::Pause | Order::Close) => None,
                        };
                    }
                    next
                }
            };
            match next {
                None | Some(Order::Resume { .. }) => {}
                Some(Order::Close) => return self.facts.set(State::Closed),
                Some(Order::Pause) => {
                    self.facts.set(State::Paused);
                    if !until_resumed(&mut orders).await {
                        return self.facts.set(State::Closed);
                    }
                }
            }
        }
    }

    /// Waits while the link that the other end has dialled carries everything, and then a while longer: whoever dialled
    /// it does it again first. Returns an order that came meanwhile.
    async fn stand_by(&self, peer: ReplicaId, orders: &mut mpsc::UnboundedReceiver<Order>) -> Option<Order> {
        let carried = async {
            let mut without = 0;
            loop {
                let site = self.site.upgrade();
                let carries = site.is_some_and(|site| site.answered_with(&self.facts.root, peer).is_some());
                let pause = jittered(STAND_BY);
                if carries {
                    without = 0;
                    self.facts.set(State::ByOtherEnd(peer));
                } else {
                    // The other end may not have noticed yet that it is gone, or only just make it again.
                    without += 1;
                    let why =
                        format!("{}: the link that the other end has dialled is gone here", self.link.peer);
                    self.facts.set(State::Broken { why, again: SystemTime::now() + pause });
                }
                if without > 2 {
                    return;
                }
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = carried => None,
            order = end_order(orders) => Some(order),
        }
    }

    /// Says what became of the link, and waits until it is to be made again. Returns an order that came meanwhile.
    async fn after(
        &self,
        error: &anyhow::Error,
        first: bool,
        was_there: bool,
        pause: &mut Duration,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Option<Order> {
        let link_error = error.downcast_ref::<LinkError>();
        let why = format!("{error:#}");
        match link_error {
            Some(LinkError::Same) if self.link.may_be_itself => {
                self.facts.set(State::Itself);
                return Some(next_order(orders).await);
            }
            Some(LinkError::Halted(_) | LinkError::Guarded { .. }) => {
                let (again, broke, lasting) = (None, was_there, true);
                self.tell(News::Unlinked { why: why.clone(), again, broke, first, lasting });
                let deletions = match link_error {
                    Some(LinkError::Guarded { deletions, .. }) => Some(*deletions),
                    _ => None,
                };
                self.facts.set(State::Halted { why, deletions });
                return Some(next_order(orders).await);
            }
            _ => {}
        }
        let wait = jittered(*pause);
        let lasting =
            was_there && !matches!(link_error, None | Some(LinkError::Broken(_) | LinkError::Closed));
        let again = Some(wait);
        self.tell(News::Unlinked { why: why.clone(), again, broke: was_there, first, lasting });
        self.facts.set(State::Broken { why, again: SystemTime::now() + wait });
        *pause = (*pause * 2).min(BACK_OFF.1);
        tokio::select! {
            () = sleep(wait) => None,
            order = next_order(orders) => Some(order),
        }
    }

    fn tell(&self, news: News) {
        let _ = self.news.send(news);
    }

    /// Waits until the replica is open; `None`: the link is to be closed.
    async fn until_open(
        &self,
        stages: &mut Stages,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Option<Arc<Replica>> {
        loop {
            if let Some(replica) = stages.borrow_and_update().0.replica() {
                return Some(replica.clone());
            }
            tokio::select! {
                changed = stages.changed() => changed.ok()?,
                order = next_order(orders) => match order {
                    Order::Close => return None,
                    Order::Pause => {
                        self.facts.set(State::Paused);
                        if !until_resumed(orders).await {
                            return None;
                        }
                        self.facts.set(State::Waiting);
                    }
                    Order::Resume { .. } => {}
                },
            }
        }
    }

    /// Makes the link, and keeps it until it ends.
    async fn turn(
        &self,
        replica: Arc<Replica>,
        approved: Option<u64>,
        stages: &mut Stages,
        orders: &mut mpsc::UnboundedReceiver<Order>,
        came: &mut Came,
    ) -> End {
        let own = replica.id();
        let carried = |peer| self.site.upgrade().and_then(|site| site.answered_with(&self.facts.root, peer));
        if let Some(peer) = self.facts.replica()
            && carried(peer).is_some()
        {
            return End::GivesWay(peer);
        }
        self.facts.set(State::Connecting);
        let (mut connected, mut told) = tokio::select! {
            connected = self.connect(replica, approved) => {
                self.facts.set_tried();
                match connected {
                    Ok(connected) => connected,
                    Err(error) => return match error.downcast_ref() {
                        Some(LinkError::Linked(peer)) => {
                            self.facts.know(*peer);
                            End::GivesWay(*peer)
                        }
                        Some(LinkError::Otherwise { peer, .. }) => {
                            self.facts.know(*peer);
                            End::Error(error)
                        }
                        _ => End::Error(error),
                    },
                }
            }
            () = lost(stages) => return End::NoReplica,
            order = end_order(orders) => return End::Order(order),
        };
        *came = Came::Linked;
        let peer = connected.session.peer();
        self.facts.begin(connected.session.gauge(), peer);
        if let Some(other) = carried(peer) {
            // Both ends have dialled at once, and both see that.
            if own > peer {
                connected.end().await;
                return End::GivesWay(peer);
            }
            other.give_way();
        }
        let end = tokio::select! {
            otherwise = self.facts.has_to_give_way() => match otherwise {
                None => End::GivesWay(peer),
                Some(why) => {
                    let error = anyhow::Error::new(LinkError::Otherwise { peer, why });
                    End::Error(error.context(self.link.peer.to_string()))
                }
            },
            error = self.follow(&mut connected.session, &mut told, stages.clone(), came) => {
                End::Error(anyhow::Error::new(error).context(self.link.peer.to_string()))
            }
            () = lost(stages) => End::NoReplica,
            order = end_order(orders) => End::Order(order),
        };
        connected.end().await;
        end
    }

    async fn connect(&self, replica: Arc<Replica>, approved: Option<u64>) -> Result<(Connected, Told)> {
        let (events, told) = mpsc::unbounded_channel();
        let setup = Setup {
            replica,
            link: self.link.options.clone(),
            options: ReplicaOptions { confirm_deletes: approved, ..self.link.replica.clone() },
            local_is_first: self.link.local_is_first,
            lasts: true,
            remote_root: Vec::new(),
            peer_name: self.link.peer.to_string(),
            events,
        };
        let peer = &self.link.peer;
        let reached = match peer {
            Root::Remote(remote) => reach_host(&self.link.ssh, remote).await?,
            Root::Local(path) => {
                let (here, there) = transport::local::pair("this host", path.display().to_string());
                let site = self.site.clone();
                tokio::spawn(async move {
                    if let Some(site) = site.upgrade()
                        && let Err(error) = site.answer(there).await
                    {
                        tracing::debug!(error = format!("{error:#}"), "the local far end has ended");
                    }
                });
                reached_here(here, path).await?
            }
        };
        reached.notices.iter().for_each(|notice| self.reporter.note(notice));
        let connected = reached.open(setup, peer).await?;
        connected.session.start(Start::Live).await?;
        Ok((connected, told))
    }

    /// Brings both ends in step, and then follows them. Returns why it ended.
    async fn follow(
        &self,
        session: &mut Session,
        told: &mut Told,
        mut stages: Stages,
        came: &mut Came,
    ) -> LinkError {
        let began = Instant::now();
        let reporter = self.reporter.of_link(self.link.peer.to_string());
        let mut teller = Teller::new(&reporter, self.link.local_is_first);
        self.facts.set(State::Scanning);
        // Lost, it is the caller's to notice.
        let followed = stages.wait_for(|(stage, _)| matches!(stage, Stage::Following(_))).await;
        drop(followed);
        let problems = self.kept.facts.problems();
        if let Err(error) = session.report(ScanReport { problems, ..ScanReport::default() }, false).await {
            return error;
        }
        if let Err(error) = session.scanned().await {
            return error;
        }
        *came = Came::Scanned;
        self.facts.set(State::CatchingUp);
        let settled = {
            let settling = session.settle();
            tokio::pin!(settling);
            loop {
                tokio::select! {
                    settled = &mut settling => break settled,
                    Some(event) = told.recv() => self.event(&mut teller, event),
                }
            }
        };
        while let Ok(event) = told.try_recv() {
            self.event(&mut teller, event);
        }
        match settled {
            // A tree that never rests is followed all the same.
            Ok(()) | Err(LinkError::Restless) => {}
            Err(error) => return error,
        }
        reporter.summary(&teller.summary(session.totals(), began.elapsed()));
        self.reporter.note(&format!("{}: in step, following", self.link.peer));
        self.facts.set(State::Live);
        let following = session.follow();
        tokio::pin!(following);
        loop {
            tokio::select! {
                ended = &mut following => {
                    let Err(error) = ended;
                    while let Ok(event) = told.try_recv() {
                        self.event(&mut teller, event);
                    }
                    return error;
                }
                Some(event) = told.recv() => self.event(&mut teller, event),
            }
        }
    }

    fn event(&self, teller: &mut Teller<'_>, event: Event) {
        if passes_by_itself(&event) {
            return;
        }
        self.facts.event(&event);
        teller.event(event);
    }
}

/// Waits until the replica is not open any more.
async fn lost(stages: &mut Stages) {
    // An error means that it is not kept any more.
    let _ = stages.wait_for(|(stage, _)| stage.replica().is_none()).await;
}

/// Waits for an order; without anybody to give one the link is to be closed.
async fn next_order(orders: &mut mpsc::UnboundedReceiver<Order>) -> Order {
    orders.recv().await.unwrap_or(Order::Close)
}

/// Waits for an order that ends what goes on; what goes on need not be resumed.
async fn end_order(orders: &mut mpsc::UnboundedReceiver<Order>) -> Order {
    loop {
        match next_order(orders).await {
            Order::Resume { .. } => {}
            order => return order,
        }
    }
}

/// Waits for the word to go on; false: the link is to be closed.
async fn until_resumed(orders: &mut mpsc::UnboundedReceiver<Order>) -> bool {
    loop {
        match next_order(orders).await {
            Order::Resume { .. } => return true,
            Order::Pause => {}
            Order::Close => return false,
        }
    }
}
