//! How much memory the processes of a contestant take at most.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often is looked. The kernel keeps the highest value itself, as long as the process is there.
const EVERY: Duration = Duration::from_millis(50);

/// Watches the processes of a program until the value ends.
pub struct Peak {
    kilobytes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watching: Option<JoinHandle<()>>,
}

impl Peak {
    /// Watches every process that has a program among its words.
    pub fn watch(program: PathBuf) -> Self {
        let (kilobytes, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, ended) = (kilobytes.clone(), over.clone());
        let watching = thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                seen.fetch_max(highest(&program), Ordering::SeqCst);
                thread::sleep(EVERY);
            }
        });
        Self { kilobytes, over, watching: Some(watching) }
    }

    /// Returns the most that one of them had in memory, in megabytes.
    pub fn megabytes(&self) -> f64 {
        self.kilobytes.load(Ordering::SeqCst) as f64 * 1024.0 / 1e6
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(watching) = self.watching.take() {
            let _ = watching.join();
        }
    }
}

/// Returns the highest resident memory so far of a process that runs a program, in kibibytes.
fn highest(program: &Path) -> u64 {
    let of = |process: PathBuf| {
        let words = fs::read(process.join("cmdline")).ok()?;
        let program = program.as_os_str().as_encoded_bytes();
        words.split(|&byte| byte == 0).any(|word| word == program).then_some(())?;
        let status = fs::read_to_string(process.join("status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| of(process.path())).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_some_memory_and_no_process_has_none() {
        let this = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
        assert!(highest(&this) > 100);
        assert_eq!(highest(Path::new("/no/such/program")), 0);
    }
}
