//! The [`Site`]: the replicas of a process and the links between them and others. What is wanted can change while it
//! runs; what stays the same goes on undisturbed.

use super::News;
use super::dial::{Dialled, Order};
use super::facts::LinkFacts;
use super::hub::Hub;
use super::kept::{Care, Kept, canonical};
use crate::cmd::connect::{check_apart, leading_root};
use crate::core::version::ReplicaId;
use crate::options::{LinkOptions, Options, ReplicaOptions, SshOptions};
use crate::output::Reporter;
use crate::roots::Root;
use anyhow::Result;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How often samples are taken for the rates.
const SAMPLE: Duration = Duration::from_secs(1);

/// A link as it is wanted.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The name of its block.
    pub block: String,
    /// The root at this end, as it was written.
    pub root: PathBuf,
    /// The root at the other end.
    pub peer: Root,
    /// What is synchronised, and who wins.
    pub options: LinkOptions,
    /// How the replicas are kept.
    pub replica: ReplicaOptions,
    /// How the other host is reached.
    pub ssh: SshOptions,
    /// Where archives lie.
    pub state_dir: PathBuf,
    /// Where it is noted what was done: the log file, the folder of the change log.
    pub logs: (Option<PathBuf>, Option<PathBuf>),
    /// Whether this end has the first of the two roots.
    pub local_is_first: bool,
    /// Whether it is no mistake when the peer is this root itself.
    pub may_be_itself: bool,
}

impl Link {
    /// Returns the links that options ask for: from the leading root to each of the others.
    ///
    /// # Errors
    /// When no root can lead, or two are the same directory.
    pub fn of(block: &str, options: &Options) -> Result<Vec<Link>> {
        check_apart(options)?;
        let (leading, path) = leading_root(options)?;
        let link = |place: usize| Link {
            block: block.to_owned(),
            root: path.clone(),
            peer: options.roots[place].clone(),
            options: options.link(place.max(1)),
            replica: options.replica.clone(),
            ssh: options.ssh.clone(),
            state_dir: options.command.state_dir.clone(),
            logs: (options.command.logfile.clone(), options.command.changelog_dir.clone()),
            local_is_first: leading == 0,
            may_be_itself: false,
        };
        Ok((0..options.roots.len()).filter(|&place| place != leading).map(link).collect())
    }

    /// Returns the roots of this host that it takes part in, without symbolic links.
    fn roots(&self) -> Vec<PathBuf> {
        let mut roots = vec![canonical(&self.root)];
        if let Root::Local(path) = &self.peer {
            roots.push(canonical(path));
        }
        roots
    }
}

/// A replica that is kept.
struct KeptHere {
    kept: Arc<Kept>,
    task: JoinHandle<()>,
}

/// A link that is wanted.
struct Wanted {
    link: Link,
    /// The roots of this host, as they were found: a symbolic link on the way can be turned at any moment.
    roots: Vec<PathBuf>,
    reporter: Arc<Reporter>,
}

/// A link that this end makes.
struct LinkHere {
    link: Link,
    /// The roots of this host that it was started with.
    roots: Vec<PathBuf>,
    facts: Arc<LinkFacts>,
    orders: mpsc::UnboundedSender<Order>,
    reporter: Arc<Reporter>,
    task: JoinHandle<()>,
}

/// The replicas of a process and its links.
pub struct Site {
    /// Which command has made it.
    pub role: &'static str,
    hub: Hub,
    news: mpsc::UnboundedSender<News>,
    started: SystemTime,
    replicas: Mutex<BTreeMap<PathBuf, KeptHere>>,
    links: Mutex<Vec<LinkHere>>,
    answered: Mutex<Vec<Arc<LinkFacts>>>,
    myself: Weak<Site>,
}

/// How a site was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything at hand was finished.
    Cleanly,
    /// Something took too long: what it left is dealt with at the next start.
    TooLate,
}

/// How long what is at hand may take when a site is stopped.
const STOPPING: Duration = Duration::from_secs(75);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with this locked")
}

impl Site {
    /// Makes an empty one for a command, which tells its news there.
    pub fn new(role: &'static str, news: mpsc::UnboundedSender<News>) -> Arc<Site> {
        let site = Arc::new_cyclic(|myself| Site {
            role,
            hub: Hub::new(),
            news,
            started: SystemTime::now(),
            replicas: Mutex::default(),
            links: Mutex::default(),
            answered: Mutex::default(),
            myself: myself.clone(),
        });
        let sampled = Arc::downgrade(&site);
        tokio::spawn(async move {
            while let Some(site) = sampled.upgrade() {
                site.all_links().iter().for_each(|facts| facts.sample());
                drop(site);
                tokio::time::sleep(SAMPLE).await;
            }
        });
        site
    }

    /// Keeps these replicas and links from now on, and no others. Those that are the same as before go on undisturbed;
    /// returns when the others have stopped.
    pub async fn set(&self, wanted: Vec<(Link, Arc<Reporter>)>) {
        let found = |(link, reporter): (Link, _)| Wanted { roots: link.roots(), link, reporter };
        let wanted: Vec<Wanted> = wanted.into_iter().map(found).collect();
        let care = care_of(&wanted);
        let stopping = self.stop_unwanted(&wanted, &care);
        for task in stopping {
            // One that takes too long is left behind; whoever wants its replica waits for it.
            let _ = tokio::time::timeout(STOPPING, task).await;
        }
        let mut replicas = locked(&self.replicas);
        for (root, care) in care {
            replicas.entry(root.clone()).or_insert_with(|| {
                let (kept, task) = Kept::start(root, care, self.hub.clone(), self.news.clone());
                KeptHere { kept, task }
            });
        }
        let mut links = locked(&self.links);
        for wanted in wanted {
            if links.iter().any(|here| here.link == wanted.link) {
                continue;
            }
            let Some(here) = wanted.roots.first().and_then(|root| replicas.get(root)) else { continue };
            links.push(self.start(wanted, here.kept.clone()));
        }
    }

    fn start(&self, wanted: Wanted, kept: Arc<Kept>) -> LinkHere {
        let Wanted { link, roots, reporter } = wanted;
        let facts =
            LinkFacts::new(link.block.clone(), kept.root.display().to_string(), link.peer.to_string(), true);
        let facts = Arc::new(facts);
        let (orders, ordered) = mpsc::unbounded_channel();
        let dialled = Dialled {
            link: link.clone(),
            kept,
            facts: facts.clone(),
            reporter: reporter.clone(),
            news: self.news.clone(),
            site: self.myself.clone(),
        };
        LinkHere { link, roots, facts, orders, reporter, task: tokio::spawn(dialled.run(ordered)) }
    }

    /// Stops what is wanted no longer, or otherwise. Returns the tasks that are ending.
    fn stop_unwanted(&self, wanted: &[Wanted], care: &BTreeMap<PathBuf, Care>) -> Vec<JoinHandle<()>> {
        let mut replicas = locked(&self.replicas);
        let changed: Vec<PathBuf> = replicas
            .iter()
            .filter(|(root, here)| care.get(*root) != Some(&here.kept.care))
            .map(|(root, _)| root.clone())
            .collect();
        let mut tasks = Vec::new();
        let stays = |here: &LinkHere| {
            wanted.iter().any(|wanted| wanted.link == here.link && wanted.roots == here.roots)
                && here.roots.iter().all(|root| replicas.contains_key(root) && !changed.contains(root))
        };
        for here in locked(&self.links).extract_if(.., |here| !stays(here)) {
            let _ = here.orders.send(Order::Close);
            tasks.push(here.task);
        }
        for root in changed {
            if let Some(here) = replicas.remove(&root) {
                here.kept.close();
                tasks.push(here.task);
            }
        }
        tasks
    }

    /// Stops everything, with what is at hand finished.
    pub async fn stop(&self) -> Stopped {
        match tokio::time::timeout(STOPPING, self.set(Vec::new())).await {
            Ok(()) => Stopped::Cleanly,
            Err(_) => Stopped::TooLate,
        }
    }

    /// Returns whether every part of it still runs.
    pub fn is_whole(&self) -> bool {
        locked(&self.replicas).values().all(|here| !here.task.is_finished())
            && locked(&self.links).iter().all(|here| !here.task.is_finished())
    }

    /// Returns since when it is there.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Returns the capture of all its replicas.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Returns the replicas that it keeps.
    pub fn replicas(&self) -> Vec<Arc<Kept>> {
        locked(&self.replicas).values().map(|here| here.kept.clone()).collect()
    }

    /// Returns the replica that is kept at a path.
    pub fn kept_at(&self, path: &Path) -> Option<Arc<Kept>> {
        locked(&self.replicas).get(&canonical(path)).map(|here| here.kept.clone())
    }

    /// Returns what can be told of every link: those that this end makes first.
    pub fn all_links(&self) -> Vec<Arc<LinkFacts>> {
        let mut all: Vec<Arc<LinkFacts>> =
            locked(&self.links).iter().map(|here| here.facts.clone()).collect();
        all.extend(locked(&self.answered).iter().cloned());
        all
    }

    pub(super) fn add_answered(&self, facts: Arc<LinkFacts>) {
        locked(&self.answered).push(facts);
    }

    pub(super) fn remove_answered(&self, facts: &Arc<LinkFacts>) {
        locked(&self.answered).retain(|other| !Arc::ptr_eq(other, facts));
    }

    /// Returns what prints for the links of a root.
    pub(super) fn reporter_of(&self, root: &str) -> Option<Arc<Reporter>> {
        locked(&self.links).iter().find(|here| here.facts.root == root).map(|here| here.reporter.clone())
    }

    /// Returns the link that the other end has dialled between a root and a replica, if it is there.
    pub fn answered_with(&self, root: &str, replica: ReplicaId) -> Option<Arc<LinkFacts>> {
        locked(&self.answered).iter().find(|facts| facts.is_with(root, replica)).cloned()
    }

    /// Returns the link that this end has dialled between a root and a replica, if it is there.
    pub fn dialled_with(&self, root: &str, replica: ReplicaId) -> Option<Arc<LinkFacts>> {
        locked(&self.links).iter().map(|here| &here.facts).find(|facts| facts.is_with(root, replica)).cloned()
    }

    /// Returns the links of a root that this end makes, as they are wanted.
    pub(super) fn wanted_at(&self, root: &str) -> Vec<(Link, Arc<LinkFacts>)> {
        let links = locked(&self.links);
        let here = links.iter().filter(|here| here.facts.root == root);
        here.map(|here| (here.link.clone(), here.facts.clone())).collect()
    }

    /// Gives each link that this end makes the order that is meant for it, if there is one. Returns how many got one.
    pub fn order(&self, order_for: impl Fn(&LinkFacts) -> Option<Order>) -> usize {
        let links = locked(&self.links);
        let given = links.iter().filter(|here| {
            let Some(order) = order_for(&here.facts) else { return false };
            match order {
                Order::Pause => here.facts.set_paused(true),
                Order::Resume { .. } => here.facts.set_paused(false),
                Order::Close => {}
            }
            here.orders.send(order).is_ok()
        });
        given.count()
    }
}

/// Returns how each root has to be kept for these links. A scan leaves out only what every link of a root leaves out.
fn care_of(wanted: &[Wanted]) -> BTreeMap<PathBuf, Care> {
    let mut all: BTreeMap<PathBuf, Care> = BTreeMap::new();
    for Wanted { link, roots, .. } in wanted {
        for root in roots {
            let ignore = (link.options.ignore.clone(), link.options.ignorenot.clone());
            match all.get_mut(root) {
                Some(care) if care.ignore != ignore => care.ignore = (Vec::new(), Vec::new()),
                Some(_) => {}
                None => {
                    let (state_dir, options) = (link.state_dir.clone(), link.replica.clone());
                    all.insert(root.clone(), Care { state_dir, options, ignore });
                }
            }
        }
    }
    all
}
