//! `storm-check VFSYNC TIER DIR ROUNDS`: eight threads change files while another one reads a map of the kernel's without
//! pause, which makes a preemptible kernel skip programs. Every change has to be reported by `vfsync watch`, or its
//! loss announced; the exit code is 1 if one was neither, and more if it could not
//! look.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{FileExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use vfsync_tests::{
    operations::Ground,
    watching::{Seen, Watching},
};

const THREADS: usize = 8;
/// How often each thread does each of its changes in a round. A round must fit into the ring: what that loses is not
/// what is looked for here.
const TIMES: usize = 100;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vfsync, tier, dir, rounds] = args.as_slice() else {
        eprintln!("usage: storm-check VFSYNC TIER DIR ROUNDS");
        return ExitCode::from(2);
    };
    let rounds = rounds.parse().unwrap_or(1);
    match storm(Path::new(vfsync), tier, Path::new(dir), rounds) {
        Ok(tally) => {
            let Tally { changes, announced, silent } = tally;
            println!("{tier}: {changes} changes, {announced} lost and announced, {silent} lost in silence");
            ExitCode::from(u8::from(silent > 0))
        }
        Err(error) => {
            eprintln!("{tier}: {error}");
            ExitCode::from(3)
        }
    }
}

#[derive(Default)]
struct Tally {
    changes: usize,
    announced: usize,
    silent: usize,
}

fn storm(vfsync: &Path, tier: &str, dir: &Path, rounds: usize) -> Result<Tally, String> {
    let ground = Ground::make(dir).map_err(|e| e.to_string())?;
    let mut watching = Watching::start(vfsync, tier, &[&ground.root])?;
    let map = Map::create().map_err(|e| format!("no map: {e}"))?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                map.look_up();
            }
        });
        let tally = (0..rounds).try_fold(Tally::default(), |mut tally, round| {
            let (changes, lost, announced) = one_round(&ground, round, &mut watching)?;
            tally.changes += changes;
            *(if announced { &mut tally.announced } else { &mut tally.silent }) += lost;
            Ok(tally)
        });
        over.store(true, Ordering::Relaxed);
        tally
    })
}

/// Returns how many changes there were, how many of them were not reported, and whether a loss was announced.
fn one_round(ground: &Ground, round: usize, watching: &mut Watching) -> Result<(usize, usize, bool), String> {
    let work = Work::prepare(&ground.root.join(format!("round-{round}"))).map_err(|e| e.to_string())?;
    watching.sync(ground)?;
    work.perform().map_err(|e| e.to_string())?;
    let seen = watching.sync(ground)?;
    let reported: HashSet<(&str, &Path)> =
        seen.iter().map(|s| (s.event.as_str(), s.path.as_path())).collect();
    let expected = work.expected();
    let lost = expected.iter().filter(|(event, path)| !reported.contains(&(*event, path.as_path()))).count();
    let overflow = |seen: &[Seen]| seen.iter().any(|s| s.is_loss_of(ground));
    let announced = lost > 0 && (overflow(&seen) || watching.is_announced_as_lost(ground));
    Ok((expected.len(), lost, announced))
}

/// What one round does: each change has a file of its own, so that none can be told by another's report.
struct Work {
    dir: PathBuf,
    /// Open, so that no closing tells of a write.
    written: Vec<File>,
}

impl Work {
    fn prepare(dir: &Path) -> io::Result<Work> {
        fs::create_dir(dir)?;
        let mut written = Vec::new();
        for n in 0..THREADS * TIMES {
            written.push(File::create(dir.join(format!("written-{n}")))?);
            for kind in ["moded", "gone"] {
                drop(File::create(dir.join(format!("{kind}-{n}")))?);
            }
        }
        Ok(Work { dir: dir.to_owned(), written })
    }

    fn perform(&self) -> io::Result<()> {
        thread::scope(|scope| {
            let part = |files: std::ops::Range<usize>| {
                scope.spawn(move || {
                    for n in files {
                        let at = |kind: &str| self.dir.join(format!("{kind}-{n}"));
                        fs::create_dir(at("made"))?;
                        self.written[n].write_all_at(b"x", 0)?;
                        fs::set_permissions(at("moded"), fs::Permissions::from_mode(0o640))?;
                        fs::remove_file(at("gone"))?;
                    }
                    io::Result::Ok(())
                })
            };
            let threads: Vec<_> = (0..THREADS).map(|t| part(t * TIMES..(t + 1) * TIMES)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panics"))
        })
    }

    fn expected(&self) -> Vec<(&'static str, PathBuf)> {
        let kinds = [("mkdir", "made"), ("write", "written"), ("attrib", "moded"), ("delete", "gone")];
        let of = |n| kinds.map(|(event, kind)| (event, self.dir.join(format!("{kind}-{n}"))));
        (0..THREADS * TIMES).flat_map(of).collect()
    }
}

/// An array of one element in the kernel.
struct Map(OwnedFd);

impl Map {
    fn create() -> io::Result<Map> {
        const BPF_MAP_CREATE: libc::c_long = 0;
        const BPF_MAP_TYPE_ARRAY: u32 = 2;
        // Type, size of a key, size of a value, how many.
        let attributes = [BPF_MAP_TYPE_ARRAY, 4, 8, 1];
        // SAFETY: the attributes live, and are as long as said.
        let map = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, attributes.as_ptr(), size_of_val(&attributes))
        };
        let map = libc::c_int::try_from(map).map_err(io::Error::other)?;
        if map < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor that was made just now.
        Ok(Map(unsafe { OwnedFd::from_raw_fd(map) }))
    }

    fn look_up(&self) {
        const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
        let (key, mut value) = (0u32, 0u64);
        let map = u64::try_from(self.0.as_raw_fd()).expect("a descriptor is not negative");
        // The descriptor, the address of the key, that of the value, flags.
        let attributes = [map, (&raw const key) as u64, (&raw mut value) as u64, 0];
        // SAFETY: attributes, key and value live, and are as long as said. Whether it succeeds does not matter.
        unsafe {
            libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, attributes.as_ptr(), size_of_val(&attributes));
        }
    }
}
