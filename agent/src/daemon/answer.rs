//! Answering an end that dials, with a replica that this process keeps. The archive has one owner: whoever wants the
//! replica comes here, a `vfsync serve` of this host as well as the link between two roots of it.

use super::facts::{LinkFacts, State};
use super::kept::{Kept, Stage};
use super::site::{Link, Site};
use super::{agree, passes_by_itself};
use crate::cmd::serve;
use crate::cmd::tell::Teller;
use crate::link::session::{Next, Session, nonce};
use crate::link::{Accepted, Event, LinkError, accept};
use crate::output::Reporter;
use crate::replica::Replica;
use crate::replica::scan::ScanReport;
use crate::transport::{Connection, greet_as_acceptor};
use crate::wire::{Hello, Start};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// How long a replica that is about to be opened is waited for.
const OPENING: Duration = Duration::from_secs(10);

impl Site {
    /// Answers one end that dials, until it is done.
    ///
    /// # Errors
    /// When the connection breaks, or the replica is not to be had. What the other end has to know, it has been told.
    pub async fn answer(&self, connection: Connection) -> Result<()> {
        let (connection, _) = greet_as_acceptor(connection).await?;
        let accepted = accept(connection).await?;
        self.answer_to(accepted, None, None).await
    }

    /// As [`Site::answer`], for a session whose hello has been read. `pinned` is the only root that may be asked for; `client` is
    /// the host that dials, where that is known.
    ///
    /// # Errors
    /// As for [`Site::answer`].
    pub async fn answer_to(
        &self,
        accepted: Accepted,
        pinned: Option<PathBuf>,
        client: Option<String>,
    ) -> Result<()> {
        let found = self.asked_for(&accepted.hello, pinned.as_deref()).await;
        let (kept, replica) = match found {
            Ok(found) => found,
            Err(error) => {
                accepted.refuse(format!("{error:#}")).await;
                return Err(error);
            }
        };
        let (own, peer) = (replica.id(), accepted.hello.replica);
        let root = kept.root.display().to_string();
        let from = Path::new(OsStr::from_bytes(&accepted.hello.from.root)).display().to_string();
        // As scp writes it; the port there is not known, so it is no address to dial.
        let from = client.map_or(from.clone(), |client| format!("{client}:{from}"));
        if let Some(why) = self.otherwise(&accepted.hello, &root, &from) {
            accepted.otherwise(own, why.clone()).await;
            bail!("{why}");
        }
        if peer != own {
            // Of two links between the same two the one that the lower id has dialled stays.
            if let Some(dialled) = self.dialled_with(&root, peer) {
                if own < peer {
                    accepted.linked(own).await;
                    return Ok(());
                }
                dialled.give_way();
            }
            // Whoever dials again has lost what was there before, and knows it first.
            if let Some(before) = self.answered_with(&root, peer) {
                before.give_way();
            }
        }
        // A link between two roots of this process is told of by the end that dials.
        let reporter = self.reporter_of(&root).filter(|_| accepted.hello.nonce != nonce());
        let local_is_first = !accepted.hello.dials_from_first;
        let facts = LinkFacts::new(String::new(), root, from, false);
        let facts = Arc::new(facts);
        let (events, told) = mpsc::unbounded_channel();
        let session = accepted.welcome(replica.clone(), serve::notices(&replica), events).await?;
        drop(replica);
        facts.begin(session.gauge(), session.peer());
        facts.set(State::Scanning);
        self.add_answered(facts.clone());
        let result =
            Answering { kept, facts: facts.clone(), reporter, local_is_first, told }.drive(session).await;
        facts.end();
        facts.set(State::Closed);
        self.remove_answered(&facts);
        result
    }

    /// Returns why a link that is asked for contradicts one of this end's own, if it does.
    fn otherwise(&self, hello: &Hello, root: &str, from: &str) -> Option<String> {
        let name = rustix::system::uname();
        let here = format!("{}:{root}", name.nodename().to_string_lossy());
        let wanted = self.wanted_at(root);
        let known = |facts: &LinkFacts| facts.replica() == Some(hello.replica);
        if let Some((link, facts)) = wanted.iter().find(|(_, facts)| known(facts)) {
            let why = agree::differences(link, hello, &here, from)?;
            if facts.is_with(root, hello.replica) {
                facts.disagree(why.clone());
            }
            return Some(why);
        }
        // Whose peer is not known yet may lead to who asks: its own try tells, in a moment.
        let may_be = |link: &Link, facts: &LinkFacts| {
            let untried = facts.replica().is_none() && !facts.was_tried() && !facts.is_paused();
            untried && !link.peer.is_local() && hello.nonce != nonce()
        };
        let mut untried = wanted.iter().filter(|(link, facts)| may_be(link, facts));
        untried.find_map(|(link, _)| {
            let why = agree::differences(link, hello, &here, from)?;
            Some(format!(
                "it is not known yet whether this is the peer {} of {here}; if it is, {why}",
                link.peer
            ))
        })
    }

    /// Finds the replica that is asked for, and waits a while for it to be open.
    async fn asked_for(&self, hello: &Hello, pinned: Option<&Path>) -> Result<(Arc<Kept>, Arc<Replica>)> {
        let asked = Path::new(OsStr::from_bytes(&hello.root)).to_owned();
        if let Some(pinned) = pinned {
            // Says what is wrong with a root that is not there.
            serve::check_pinned(&asked, pinned)?;
        }
        // A configuration may name the host that it is on; who dials sees that it met itself.
        if hello.nonce != nonce() {
            serve::check_apart(&hello.from, &asked)?;
        }
        let Some(kept) = self.kept_at(&asked) else {
            bail!("the vfsync that runs on this host does not keep {}", asked.display());
        };
        // What was found is what counts: somebody may have put a symbolic link in the way since it was asked for.
        let allowed = Allowed::of(pinned)?;
        allowed.check(&kept.root)?;
        if let (Stage::Halted { deletions, .. }, _) = kept.stage()
            && let Some(approved) = hello.options.confirm_deletes
            && kept.may_approve(hello.replica, deletions, approved)
        {
            // Somebody was shown it at the other end.
            kept.resume(deletions);
            let mut stages = kept.stages();
            let resumed = stages.wait_for(|(stage, _)| !matches!(stage, Stage::Halted { .. }));
            drop(timeout(OPENING, resumed).await);
        }
        let mut stages = kept.stages();
        let open = timeout(OPENING, stages.wait_for(|(stage, _)| !matches!(stage, Stage::Opening))).await;
        drop(open);
        let (stage, _) = kept.stage();
        match stage.replica() {
            Some(replica) if !replica.options.extended.suits(&hello.link, &hello.options) => bail!(
                "extended attributes or access lists are looked at otherwise on the other host: give {} the same xattrs, \
                 xattrignore, xattrignorenot and acl in both configurations",
                kept.root.display()
            ),
            Some(replica) => {
                allowed.check(&replica.dir.place()?)?;
                Ok((kept, replica.clone()))
            }
            None => match stage.why() {
                Some(why) => bail!("{why}"),
                None => bail!("{} is {} on the other host", kept.root.display(), stage.word()),
            },
        }
    }
}

/// Where roots may lie that are asked for.
struct Allowed(Option<PathBuf>);

impl Allowed {
    /// Takes it from a pinned root, resolved once.
    fn of(pinned: Option<&Path>) -> Result<Allowed> {
        let resolve =
            |path: &Path| path.canonicalize().with_context(|| format!("the root {}", path.display()));
        Ok(Allowed(pinned.map(resolve).transpose()?))
    }

    /// Refuses a root that lies elsewhere. Its path is taken as it is: it is one without symbolic links.
    fn check(&self, root: &Path) -> Result<()> {
        match &self.0 {
            Some(pinned) if !root.starts_with(pinned) => {
                bail!("this end serves only {}, and {} was asked for", pinned.display(), root.display())
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// A session that is answered.
struct Answering {
    kept: Arc<Kept>,
    facts: Arc<LinkFacts>,
    reporter: Option<Arc<Reporter>>,
    local_is_first: bool,
    told: mpsc::UnboundedReceiver<Event>,
}

impl Answering {
    /// Does what the end that dials says.
    async fn drive(mut self, mut session: Session) -> Result<()> {
        let mut stages = self.kept.stages();
        let reporter = self.reporter.take().map(|reporter| reporter.of_link(self.facts.peer.clone()));
        let mut teller = reporter.as_ref().map(|reporter| Teller::new(reporter, self.local_is_first));
        let result = loop {
            let next = tokio::select! {
                next = session.next() => next,
                Some(event) = self.told.recv() => {
                    if passes_by_itself(&event) {
                        continue;
                    }
                    self.facts.event(&event);
                    if let Some(teller) = &mut teller {
                        teller.event(event);
                    }
                    continue;
                }
                (why, deletions) = gone(&mut stages) => {
                    if let Some(deletions) = deletions {
                        self.kept.show(session.peer(), deletions);
                    }
                    if let Some(why) = why {
                        session.halt(&why, deletions).await;
                    }
                    break Ok(());
                }
                _ = self.facts.has_to_give_way() => break Ok(()),
            };
            let start = match next {
                Ok(Next::Start(start)) => start,
                Ok(Next::Bye) | Err(LinkError::Closed) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            if start == Start::Execute {
                continue;
            }
            if let Err(error) = self.up_to_date(&session, start).await {
                break Err(error.into());
            }
            // Not before: the capture may just be opening.
            let said = self.kept.said();
            if start == Start::Live && !said.is_empty() {
                session.tell_capture(format!("far end: {said}")).await;
            }
            self.facts.set(if start == Start::Live { State::Live } else { State::CatchingUp });
        };
        session.end(false).await;
        result
    }

    /// Waits until the archive tells what is there, and says so.
    async fn up_to_date(&self, session: &Session, start: Start) -> Result<(), LinkError> {
        let mut stages = self.kept.stages();
        let known = stages.wait_for(|(stage, _)| !matches!(stage, Stage::Opening | Stage::Scanning(_))).await;
        // Gone meanwhile, it is the driver's to notice.
        let followed = known.is_ok_and(|known| known.0.replica().is_some());
        if !followed {
            return Ok(());
        }
        if start != Start::Live {
            // One pass ends with what was there when it began.
            self.kept.settle().await;
        }
        let problems = self.kept.facts.problems();
        session.report(ScanReport { problems, ..ScanReport::default() }, true).await?;
        session.scanned().await
    }
}

/// Waits until the replica is not open any more. Returns why, where there is a reason, and how many deletions a person can
/// approve.
async fn gone(stages: &mut watch::Receiver<(Stage, SystemTime)>) -> (Option<String>, Option<u64>) {
    match stages.wait_for(|(stage, _)| stage.replica().is_none()).await {
        Ok(gone) => (gone.0.why().map(ToOwned::to_owned), gone.0.deletions()),
        Err(_) => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The root was checked by the name that was asked for, and found by it a second time.
    #[test]
    fn a_pin_is_held_against_what_was_found() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        for name in ["pin/root", "pinned-not", "elsewhere"] {
            std::fs::create_dir_all(home.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("pin", home.join("link")).unwrap();
        for pin in ["pin", "link"] {
            let allowed = Allowed::of(Some(&home.join(pin))).unwrap();
            allowed.check(&home.join("pin")).unwrap();
            allowed.check(&home.join("pin/root")).unwrap();
            assert!(allowed.check(&home.join("elsewhere")).is_err());
            assert!(allowed.check(&home.join("pinned-not")).is_err());
        }
        Allowed::of(None).unwrap().check(&home.join("elsewhere")).unwrap();
        assert!(Allowed::of(Some(&home.join("nowhere"))).is_err());
    }
}
