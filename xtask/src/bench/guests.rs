//! What a write costs in guests, by the tiers that this machine's kernel may not offer. An emulated processor has other
//! prices than a real one, so what counts is the ratio to a write that nobody watches, in the same guest.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::fs::inotify;

use crate::{
    kernel::Kernel,
    matrix,
    setup::say,
    vm::{self, Vm},
};

/// How many writes make one measurement, of which the best of some counts: the others were disturbed.
const WRITES: u32 = 20_000;
const ROUNDS: usize = 5;

/// Measures in a guest for each kernel and prints a table.
pub fn run(kernels: &[Kernel], binary: &Path) -> Result<()> {
    let program = vm::build_static("xtask")?;
    println!(
        "kernel | watched by | a write, compared with an unwatched one | one elsewhere | memory of maps and programs"
    );
    for &kernel in kernels {
        say(format_args!("bench: what a write costs on {kernel}"));
        let mut tiers = matrix::tiers(kernel, None);
        tiers.push("inotify");
        let vm = Vm {
            vfsync: Some(binary.to_owned()),
            files: vec![(program.clone(), "/bin/xtask".to_owned())],
            limit: Duration::from_secs(900),
            ..Vm::new(kernel)
        };
        let finished = vm.run(&format!("xtask write-cost-in-guest {}", tiers.join(" ")))?;
        ensure!(finished.code == 0, "on {kernel}: {}\n{}", finished.output, finished.console);
        finished.output.lines().for_each(|line| println!("{kernel} | {line}"));
    }
    Ok(())
}

/// What runs in the guest: prints a line for each way of watching.
pub fn in_guest(ways: &[String]) -> Result<()> {
    // Two file systems in memory, so that no disk takes part.
    let (watched, elsewhere) = (Path::new("/tmp/watched"), Path::new("/dev/shm/elsewhere"));
    for dir in [watched, elsewhere] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let both = || Ok::<_, anyhow::Error>((pwrite(&watched.join("file"))?, pwrite(&elsewhere.join("file"))?));
    // Once for nothing: what is cold is slow.
    both()?;
    let bare = both()?;
    for way in ways {
        let (cost, memory) = match way.as_str() {
            "inotify" => {
                listen(watched)?;
                (both()?, None)
            }
            tier => {
                let watch = Watch::start(tier, watched)?;
                (both()?, Some(watch.memory()?))
            }
        };
        let memory = memory.map_or("–".to_owned(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        println!("{way} | {:.2} | {:.2} | {memory}", cost.0 / bare.0, cost.1 / bare.1);
    }
    Ok(())
}

/// Returns the nanoseconds that one write of one byte takes.
fn pwrite(path: &Path) -> Result<f64> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..WRITES {
            file.write_at(b"x", 0).with_context(|| format!("cannot write {}", path.display()))?;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(WRITES));
    }
    Ok(best)
}

/// Has a thread read what inotify says of a directory, until the process ends: this is the last of the ways.
fn listen(dir: &Path) -> Result<()> {
    let queue = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&queue, dir, inotify::WatchFlags::MODIFY)?;
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while rustix::io::read(&queue, &mut buffer[..]).is_ok_and(|count| count > 0) {}
    });
    Ok(())
}

/// A `vfsync watch` that runs. It ends with the value.
struct Watch(Child);

impl Watch {
    /// Starts it, and waits until nothing can be missed any more.
    fn start(tier: &str, dir: &Path) -> Result<Watch> {
        let args: [OsString; 4] = ["watch".into(), "--capture".into(), tier.into(), dir.into()];
        let mut command = Command::new("vfsync");
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut watch = Watch(command.spawn().context("cannot start vfsync")?);
        let errors = BufReader::new(watch.0.stderr.take().context("its errors are not piped")?);
        let mut lines = errors.lines().map_while(Result::ok);
        let mut said = String::new();
        ensure!(
            lines.any(|line| {
                said = said.clone() + &line + "\n";
                line.starts_with("watching")
            }),
            "vfsync does not watch by {tier}: {said}"
        );
        // The pipe must not fill up.
        thread::spawn(move || lines.for_each(drop));
        Ok(watch)
    }

    /// Returns what its maps and programs take of the kernel's memory, in bytes.
    fn memory(&self) -> Result<u64> {
        let mut total = 0;
        for entry in
            fs::read_dir(format!("/proc/{}/fdinfo", self.0.id())).context("cannot list its descriptors")?
        {
            // One that was closed meanwhile has none.
            let text =
                fs::read_to_string(entry.context("cannot list its descriptors")?.path()).unwrap_or_default();
            total += memlock(&text);
        }
        Ok(total)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the line `memlock:` of a map or program.
fn memlock(fdinfo: &str) -> u64 {
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("memlock:"));
    line.and_then(|bytes| bytes.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_maps_and_programs_have_locked_memory() {
        assert_eq!(memlock("pos:\t0\nmap_type:\t27\nmemlock:\t1052672\nmap_id:\t9\n"), 1_052_672);
        assert_eq!(memlock("pos:\t0\nflags:\t02\n"), 0);
    }
}
