//! Processes: found by what only a test gave them, killed by their number, awaited with a limit.

use std::{fs, os::unix::ffi::OsStrExt, path::Path, path::PathBuf, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// Returns the processes in whose environment a variable has this path as its value.
pub fn with_environment(name: &str, value: &Path) -> Vec<i32> {
    let wanted = [name.as_bytes(), b"=", value.as_os_str().as_bytes()].concat();
    let Ok(proc) = fs::read_dir("/proc") else { panic!("/proc is not mounted") };
    proc.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|&b| b == 0).any(|var| var == wanted))
        })
        .collect()
}

/// Returns the program that a process runs.
pub fn executable(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Sends a signal to a process. One that has ended is left alone.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until a process has ended. False: it has not within the limit. A zombie has ended.
pub fn ended_within(pid: i32, limit: Duration) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return true };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let limit = Timespec::try_from(limit).expect("a limit is short");
    let mut fds = [PollFd::new(&handle, PollFlags::IN)];
    poll(&mut fds, Some(&limit)).expect("a process can be awaited") > 0
}
