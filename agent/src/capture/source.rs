//! A [`Source`] is where the events of a tier come from; its [`Surroundings`] are the directories that the roots' paths
//! lead to, and what is mounted there.

use super::{
    cookie::Cookie,
    ebpf::EbpfSource,
    event::{Event, EventKind, Loss},
    fanotify::FanotifySource,
    mounts,
    roots::{self, Watched},
};
use crate::core::path::RelPath;
use std::{
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How long a barrier may take before capture counts as broken.
pub const BARRIER_TIMEOUT: Duration = Duration::from_secs(10);

/// After this time a barrier that has not come back is written again: the kernel may have skipped the program.
pub const BARRIER_AGAIN: Duration = Duration::from_millis(20);

/// What a drain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// How many records there were, barriers aside.
    pub records: usize,
}

/// Where events come from.
pub enum Source {
    /// The programs in the kernel.
    Ebpf(Box<EbpfSource>),
    /// The kernel's notifications.
    Fanotify(Box<FanotifySource>),
}

impl Source {
    /// Watches these directories, and no longer those that were watched before. Those that cannot be are returned with
    /// the reason.
    pub fn watch(&mut self, plan: Vec<Watched>) -> Vec<(Watched, String)> {
        match self {
            Source::Ebpf(source) => source.watch(plan),
            Source::Fanotify(source) => source.watch(plan),
        }
    }

    /// Takes what is there.
    pub fn drain(&mut self, events: &mut Vec<Event>) -> Drained {
        match self {
            Source::Ebpf(source) => source.drain(events),
            Source::Fanotify(source) => source.drain(events),
        }
    }

    /// Leaves this process' own changes out from now on, or no longer.
    pub fn set_filter(&mut self, leave_out_own: bool) -> Result<(), String> {
        match self {
            Source::Ebpf(source) => source.programs.set_filter(leave_out_own),
            Source::Fanotify(source) => {
                source.set_filter(leave_out_own);
                Ok(())
            }
        }
    }

    /// Returns what barriers are asked from.
    pub fn cookie(&self) -> &Arc<Cookie> {
        match self {
            Source::Ebpf(source) => &source.programs.cookie,
            Source::Fanotify(source) => &source.cookie,
        }
    }

    /// Returns the number of the last barrier that was reached.
    pub fn reached(&self) -> u64 {
        match self {
            Source::Ebpf(source) => source.reached,
            Source::Fanotify(source) => source.reached,
        }
    }

    /// Returns a descriptor that becomes readable when there is something to take.
    pub fn readable(&self) -> io::Result<OwnedFd> {
        match self {
            Source::Ebpf(source) => source.programs.readable(),
            Source::Fanotify(source) => source.readable(),
        }
    }

    /// Waits until everything up to now has come, and returns it.
    pub fn sync(&mut self) -> Result<Vec<Event>, String> {
        let number = self.cookie().write().map_err(|e| format!("cannot write the cookie: {e}"))?;
        let deadline = Instant::now() + BARRIER_TIMEOUT;
        let mut again = Instant::now() + BARRIER_AGAIN;
        let mut events = Vec::new();
        loop {
            self.drain(&mut events);
            if self.reached() >= number {
                return Ok(events);
            }
            if Instant::now() > again {
                self.cookie().write().map_err(|e| format!("cannot write the cookie: {e}"))?;
                again = Instant::now() + BARRIER_AGAIN;
            }
            if Instant::now() > deadline {
                return Err("the programs are attached but report nothing".into());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Which directory a path leads to: device and inode number.
type Identity = (u64, u64);

fn identity(path: &Path) -> Option<Identity> {
    std::fs::metadata(path).ok().filter(|found| found.is_dir()).map(|found| (found.dev(), found.ino()))
}

/// What is at the roots' paths, and mounted below.
pub struct Surroundings {
    roots: Vec<PathBuf>,
    identities: Vec<Option<Identity>>,
    plan: Vec<Watched>,
    remote: Vec<usize>,
}

impl Surroundings {
    /// Looks at the roots for the first time; [`Surroundings::plan`] is to be watched then.
    pub fn new(roots: Vec<PathBuf>, mounts: &[mounts::Mount]) -> Surroundings {
        // Before they are watched: what comes between is found the next time.
        let identities = roots.iter().map(|root| identity(root)).collect();
        let plan = roots::plan(&roots, mounts);
        let remote = mounts::changed_by_others(&roots, mounts);
        Surroundings { roots, identities, plan, remote }
    }

    /// Returns, by index, the roots of which others change a part without this kernel seeing it.
    pub fn remote(&self) -> &[usize] {
        &self.remote
    }

    /// Returns what has to be watched.
    pub fn plan(&self) -> &[Watched] {
        &self.plan
    }

    /// Returns whether this is the path of a root.
    pub fn is_root(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| root == path)
    }

    /// Looks whether the paths of the roots lead to other directories than before: one that was renamed, or whose
    /// parent was, is watched no longer; what is there now is, and is to be looked at.
    pub fn check_roots(&mut self, source: &mut Source, events: &mut Vec<Event>) -> io::Result<()> {
        let now: Vec<Option<Identity>> = self.roots.iter().map(|root| identity(root)).collect();
        if now == self.identities {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.identities, now);
        let mounts = mounts::read()?;
        self.remote = mounts::changed_by_others(&self.roots, &mounts);
        self.plan = roots::plan(&self.roots, &mounts);
        self.watch(source, events);
        let changed =
            self.identities.iter().zip(&before).enumerate().filter(|(_, (now, before))| now != before);
        events.extend(changed.map(|(root, _)| Event::lost(root, Loss::RootChanged)));
        Ok(())
    }

    /// Looks at the mounts again after they have changed, and reports what appeared or went.
    pub fn remount(&mut self, source: &mut Source, events: &mut Vec<Event>) -> io::Result<()> {
        let mounts = mounts::read()?;
        let plan = roots::plan(&self.roots, &mounts);
        let remote = mounts::changed_by_others(&self.roots, &mounts);
        let other = |root: &usize| self.remote.contains(root) != remote.contains(root);
        for root in (0..self.roots.len()).filter(other) {
            // So that whoever hands out events hears of it.
            let list = Event::new(root, EventKind::List, RelPath::root());
            events.push(Event { is_dir: true, recursive: true, ..list });
        }
        self.remote = remote;
        if plan == self.plan {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.plan, plan);
        self.watch(source, events);
        let appeared = self.plan.iter().filter(|watched| !before.contains(watched));
        let gone = before.iter().filter(|watched| !self.plan.contains(watched));
        for home in appeared.chain(gone).flat_map(|watched| &watched.homes) {
            let list = Event::new(home.root, EventKind::List, home.at.clone());
            events.push(Event { is_dir: true, recursive: true, ..list });
        }
        Ok(())
    }

    fn watch(&self, source: &mut Source, events: &mut Vec<Event>) {
        for (watched, why) in source.watch(self.plan.clone()) {
            tracing::warn!(path = %watched.path.display(), why, "a directory cannot be watched");
            events.extend(watched.homes.iter().map(|home| Event::lost(home.root, Loss::RootChanged)));
        }
    }
}
