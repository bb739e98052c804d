//! The workload that nobody here wrote: `stress-ng`'s stressors of file systems work in a watched tree until they are killed,
//! which leaves what they were at. Every path that differs from before has to have been reported.

use std::{
    collections::{BTreeMap, HashSet},
    fmt, fs, io,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::{
    operations::Ground,
    watching::{Seen, Watching},
};

/// The stressors; each has one process, or a few.
const STRESSORS: [&str; 29] = [
    "access",
    "aio",
    "chdir",
    "chmod",
    "chown",
    "dentry",
    "dir",
    "dirdeep",
    "dirmany",
    "dup",
    "fallocate",
    "file-ioctl",
    "filename",
    "fpunch",
    "hdd",
    "io-uring",
    "iomix",
    "link",
    "locka",
    "mknod",
    "open",
    "rename",
    "seek",
    "sendfile",
    "symlink",
    "sync-file",
    "touch",
    "utime",
    "xattr",
];

/// How often they are started and killed. All after the first one also find what the one before has left.
const ROUNDS: usize = 2;

/// What became of it.
#[derive(Debug, Default)]
pub struct Report {
    /// How many events there were.
    pub events: usize,
    /// How many paths differed, over all rounds.
    pub differing: usize,
    /// Those of them of which nothing was reported.
    pub silent: Vec<PathBuf>,
    /// Those of which nothing was reported, but that something was lost.
    pub announced: usize,
}

/// Has `stress-ng` work for so long a round.
///
/// # Errors
/// It cannot be started, or the watch does not go on.
pub fn run(
    vfsync: &Path,
    tier: &str,
    ground: &Ground,
    stress_ng: &Path,
    each: Duration,
) -> Result<Report, String> {
    let mut watching = Watching::start(vfsync, tier, &[&ground.root])?;
    let mut report = Report::default();
    for round in 0..ROUNDS {
        watching.sync(ground)?;
        let before = snapshot(&ground.root).map_err(|e| e.to_string())?;
        let place = ground.root.join(format!("round-{round}"));
        let old = ground.root.join(format!("round-{}", round.wrapping_sub(1)));
        stress(stress_ng, &place, each)?;
        // What the round before has left goes, and one of its folders moves.
        if old.exists() {
            move_one_and_remove(&old, &place).map_err(|e| format!("{}: {e}", old.display()))?;
        }
        let seen = watching.sync(ground)?;
        let after = snapshot(&ground.root).map_err(|e| e.to_string())?;
        report.take(&seen, &before, &after, &watching, ground);
    }
    Ok(report)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { differing, announced, silent, .. } = self;
        write!(f, "{differing} changes, {announced} lost and announced, {} lost in silence", silent.len())
    }
}

impl Report {
    fn take(
        &mut self,
        seen: &[Seen],
        before: &Snapshot,
        after: &Snapshot,
        watching: &Watching,
        ground: &Ground,
    ) {
        let told = Told::of(seen);
        let differing = differing(before, after);
        let silent: Vec<PathBuf> = differing.iter().filter(|path| !told.covers(path)).cloned().collect();
        self.events += seen.len();
        self.differing += differing.len();
        if silent.is_empty() {
            return;
        }
        // What is looked at as a whole afterwards is not lost.
        if seen.iter().any(|s| s.is_loss_of(ground)) || watching.is_announced_as_lost(ground) {
            self.announced += silent.len();
        } else {
            self.silent.extend(silent);
        }
    }
}

/// The paths that events have named.
struct Told<'a> {
    paths: HashSet<&'a Path>,
    /// What is to be looked at with all that is below: it was moved as a whole, or went. What comes into a new directory
    /// has to be told by itself.
    whole: HashSet<&'a Path>,
    /// Directories to be listed.
    listed: HashSet<&'a Path>,
}

impl<'a> Told<'a> {
    fn of(seen: &'a [Seen]) -> Told<'a> {
        let mut told = Told { paths: HashSet::new(), whole: HashSet::new(), listed: HashSet::new() };
        for event in seen {
            let both = std::iter::once(event.path.as_path()).chain(event.to.as_deref());
            told.paths.extend(both.clone());
            match event.event.as_str() {
                "rename" | "rmdir" => told.whole.extend(both),
                "changed" => told.listed.extend(both),
                _ => {}
            }
        }
        told
    }

    fn covers(&self, path: &Path) -> bool {
        let parent = path.parent().unwrap_or(path);
        self.paths.contains(path)
            || self.listed.contains(parent)
            || path.ancestors().skip(1).any(|ancestor| self.whole.contains(ancestor))
    }
}

/// Works in a folder, until it is killed.
fn stress(program: &Path, place: &Path, time: Duration) -> Result<(), String> {
    fs::create_dir(place).map_err(|e| format!("{}: {e}", place.display()))?;
    let mut command = Command::new(program);
    // Some leave things where they were started.
    command.current_dir(place).arg("--temp-path").arg(place).args([
        "--timeout",
        "3600",
        "--quiet",
        "--no-rand-seed",
    ]);
    for stressor in STRESSORS {
        command.args([format!("--{stressor}").as_str(), "1"]);
    }
    // What takes room keeps to a little.
    command.args([
        "--hdd-bytes",
        "4M",
        "--fallocate-bytes",
        "4M",
        "--iomix-bytes",
        "4M",
        "--sync-file-bytes",
        "4M",
    ]);
    command.args([
        "--dirdeep-inodes",
        "200",
        "--dentries",
        "200",
        "--dir-dirs",
        "200",
        "--chdir-dirs",
        "200",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|e| format!("cannot start {}: {e}", program.display()))?;
    let start = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < time => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => break None,
            Ok(Some(status)) => break Some(status),
            Err(error) => return Err(error.to_string()),
        }
    };
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("the child has no number")?;
    let killed = kill_process_group(group, Signal::KILL);
    child.wait().map_err(|e| e.to_string())?;
    if let Some(status) = ended {
        return Err(format!("stress-ng ended by itself with {status}"));
    }
    killed.map_err(|e| format!("cannot kill stress-ng: {e}"))?;
    // Its children are nobody's now: they are gone when nobody is in the group any more.
    while kill_process_group(group, Signal::KILL).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
        if start.elapsed() > time + Duration::from_secs(60) {
            return Err("stress-ng's processes do not end".into());
        }
    }
    Ok(())
}

/// Moves the first folder that there is to another place, and removes the rest.
fn move_one_and_remove(old: &Path, place: &Path) -> io::Result<()> {
    for entry in fs::read_dir(old)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::rename(entry.path(), place.join("moved"))?;
            break;
        }
    }
    fs::remove_dir_all(old)
}

/// What a path is: inode, mode, owner, group, size, change of its content.
type Look = (u64, u32, u32, u32, u64, i64, i64);

type Snapshot = BTreeMap<PathBuf, Look>;

fn snapshot(root: &Path) -> io::Result<Snapshot> {
    let mut all = Snapshot::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            let found = fs::symlink_metadata(&path)?;
            // A directory's own size and time follow from what is in it.
            let (size, time) = match found.is_dir() {
                true => (0, (0, 0)),
                false => (found.size(), (found.mtime(), found.mtime_nsec())),
            };
            let look = (found.ino(), found.mode(), found.uid(), found.gid(), size, time.0, time.1);
            if found.is_dir() {
                open.push(path.clone());
            }
            all.insert(path, look);
        }
    }
    Ok(all)
}

fn differing(before: &Snapshot, after: &Snapshot) -> Vec<PathBuf> {
    let changed = after.iter().filter(|(path, look)| before.get(*path) != Some(look)).map(|(path, _)| path);
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    let marker = |path: &&PathBuf| path.to_string_lossy().contains("/marker-");
    changed.chain(gone).filter(|path| !marker(path)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(event: &str, path: &str, to: Option<&str>) -> Seen {
        let (path, to) = (path.into(), to.map(PathBuf::from));
        Seen { event: event.into(), path, to, pid: 1, comm: "x".into(), tier: "kprobe".into() }
    }

    #[test]
    fn what_comes_into_a_new_directory_has_to_be_told_and_what_moves_with_one_has_not() {
        let events = [
            seen("mkdir", "/r/new", None),
            seen("rename", "/r/a", Some("/r/b")),
            seen("changed", "/r/list", None),
            seen("write", "/r/f", None),
        ];
        let told = Told::of(&events);
        for covered in ["/r/new", "/r/a/deep/x", "/r/b/deep/x", "/r/list/x", "/r/f"] {
            assert!(told.covers(Path::new(covered)), "{covered}");
        }
        for silent in ["/r/new/x", "/r/list/x/y", "/r/f2", "/r"] {
            assert!(!told.covers(Path::new(silent)), "{silent}");
        }
    }

    #[test]
    fn what_came_went_or_changed_differs() {
        let look = |size| (1, 0, 0, 0, size, 0, 0);
        let of = |entries: &[(&str, u64)]| -> Snapshot {
            entries.iter().map(|(path, size)| (PathBuf::from(path), look(*size))).collect()
        };
        let before = of(&[("/r/same", 1), ("/r/changed", 1), ("/r/gone", 1)]);
        let after = of(&[("/r/same", 1), ("/r/changed", 2), ("/r/new", 1), ("/r/marker-1", 0)]);
        let differing = differing(&before, &after);
        assert_eq!(differing, ["/r/changed", "/r/new", "/r/gone"].map(PathBuf::from));
    }
}
