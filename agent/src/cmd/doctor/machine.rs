//! What this machine gives vfsync: kernel, rights, tools, a place for archives.

use super::finding::{Finding, State};
use crate::core::escaped::Escaped;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Looks at everything that does not depend on a root.
pub(super) fn look(state: Option<&Path>, ssh_program: &Path, needs_ssh: bool) -> Vec<Finding> {
    let mut findings =
        vec![Finding::new("vfsync", "version", State::Info, env!("CARGO_PKG_VERSION")), kernel()];
    findings.extend(lockdown(&std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default()));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let capabilities = effective_capabilities(&status);
    findings.extend(rights(capabilities));
    findings.push(open_files());
    findings.push(locked_memory(
        rustix::process::getrlimit(rustix::process::Resource::Memlock).maximum,
        rustix::system::uname().release().to_bytes(),
        capabilities >> SYS_RESOURCE.0 & 1 == 1,
    ));
    findings.push(ssh(ssh_program, needs_ssh));
    findings.push(state_dir(state));
    findings.extend(state.and_then(state_space));
    findings
}

/// Says what the kernel is locked down to, where it is.
pub(super) fn lockdown(text: &str) -> Option<Finding> {
    let mode = text.split_once('[')?.1.split_once(']')?.0;
    match mode {
        "none" => None,
        "confidentiality" => Some(Finding::new(
            "kernel",
            "lockdown",
            State::Limited,
            "confidentiality: no eBPF program may read the kernel; fanotify or scans are taken, or boot with lockdown=integrity",
        )),
        mode => Some(Finding::new("kernel", "lockdown", State::Info, mode)),
    }
}

/// Says whether eBPF's maps fit below the limit of locked memory. From 5.11 on they do not count.
pub(super) fn locked_memory(limit: Option<u64>, release: &[u8], may_raise: bool) -> Finding {
    const ENOUGH: u64 = 64 << 20;
    let finding = |state, detail: String| Finding::new("rights", "locked memory", state, detail);
    let mut numbers = release
        .split(|byte| !byte.is_ascii_digit())
        .map(|digits| str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u32>().ok()).unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match limit {
        None => finding(State::Ok, "without limit".to_owned()),
        Some(_) if version >= (5, 11) => {
            finding(State::Ok, "of no concern to this kernel, which counts eBPF elsewhere".to_owned())
        }
        Some(bytes) if bytes >= ENOUGH => finding(State::Ok, format!("up to {} MiB", bytes >> 20)),
        Some(_) if may_raise => finding(State::Ok, "vfsync raises the limit itself".to_owned()),
        Some(bytes) => finding(
            State::Limited,
            format!(
                "at most {} KiB, too little for eBPF; raise it (LimitMEMLOCK=infinity, ulimit -l)",
                bytes >> 10
            ),
        ),
    }
}

/// Says how much room there is for archives; the directory may still be to be made.
fn state_space(path: &Path) -> Option<Finding> {
    const ENOUGH: u64 = 256 << 20;
    let there = path.ancestors().find(|above| above.exists())?;
    let space = rustix::fs::statvfs(there).ok()?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let detail = format!("{} MiB", free >> 20);
    Some(if free < ENOUGH {
        let detail = format!(
            "{detail}: an archive takes about 300 bytes a file; make room, or name another with --state-dir"
        );
        Finding::new("state", "free space", State::Limited, detail)
    } else {
        Finding::new("state", "free space", State::Ok, detail)
    })
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    let detail = format!("{} {}", name.release().to_string_lossy(), name.machine().to_string_lossy());
    Finding::new("kernel", "release", State::Info, detail)
}

/// A Linux capability by its number in `linux/capability.h`.
#[derive(Clone, Copy)]
struct Capability(u32);

const CHOWN: Capability = Capability(0);
const DAC_OVERRIDE: Capability = Capability(1);
const DAC_READ_SEARCH: Capability = Capability(2);
const FOWNER: Capability = Capability(3);
const SYS_ADMIN: Capability = Capability(21);
const SYS_RESOURCE: Capability = Capability(24);
const LEASE: Capability = Capability(28);
const PERFMON: Capability = Capability(38);
const BPF: Capability = Capability(39);

/// Reads the set of effective capabilities from `/proc/self/status`; none if it is not there.
pub(super) fn effective_capabilities(status: &str) -> u64 {
    let hex = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    hex.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

pub(super) fn rights(effective: u64) -> Vec<Finding> {
    let has = |capability: Capability| effective >> capability.0 & 1 == 1;
    let user = format!("uid {}", rustix::process::geteuid().as_raw());
    vec![
        Finding::new("rights", "user", State::Info, user),
        Finding::either(
            "rights",
            "reading",
            has(DAC_OVERRIDE) || has(DAC_READ_SEARCH),
            "any file",
            "what is closed to this user stays out of step; run as root where that matters",
        ),
        Finding::either(
            "rights",
            "owners",
            has(CHOWN) && has(FOWNER),
            "any owner can be set",
            "owner and group can only be set to this user's own; run as root to keep them, or leave `owner` and `group` off",
        ),
        Finding::either(
            "rights",
            "leases",
            has(LEASE),
            "on any file",
            "only on this user's own files, so a program that writes to another's file can go unnoticed longer; CAP_LEASE gives them",
        ),
        Finding::either(
            "rights",
            "ebpf",
            has(SYS_ADMIN) || (has(BPF) && has(PERFMON)),
            "programs may be loaded",
            "eBPF capture needs root, or CAP_BPF and CAP_PERFMON",
        ),
    ]
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(n) if n < 4096 => Finding::new(
            "rights",
            "open files",
            State::Limited,
            format!("at most {n}; raise the hard limit (LimitNOFILE=262144, ulimit -Hn)"),
        ),
        Some(n) => Finding::new("rights", "open files", State::Ok, format!("up to {n}")),
        None => Finding::new("rights", "open files", State::Ok, "without limit"),
    }
}

/// Asks the ssh program for its version.
pub(super) fn ssh(program: &Path, is_needed: bool) -> Finding {
    let shown = Escaped(program.as_os_str().as_bytes()).to_string();
    let answer = Command::new(program).arg("-V").stdin(Stdio::null()).output();
    let detail = match answer {
        Ok(output) if output.status.success() => {
            let text = [output.stderr, output.stdout].concat();
            let version =
                String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_string();
            return Finding::new("tools", "ssh", State::Ok, version);
        }
        Ok(output) => {
            format!("`{shown} -V` failed ({}); install OpenSSH, or name it with --sshcmd", output.status)
        }
        Err(e) => format!("{shown} cannot be run: {e}; install OpenSSH, or name it with --sshcmd"),
    };
    Finding::new("tools", "ssh", if is_needed { State::Missing } else { State::Limited }, detail)
}

/// Looks whether archives can be kept. Makes nothing that stays.
pub(super) fn state_dir(path: Option<&Path>) -> Finding {
    let finding = |state, detail| Finding::new("state", "directory", state, detail);
    let Some(path) = path else {
        return finding(State::Missing, "there is no HOME; name a directory with --state-dir".to_string());
    };
    let shown = Escaped(path.as_os_str().as_bytes()).to_string();
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_dir() => finding(State::Missing, format!("{shown} is not a directory")),
        Ok(meta) => match tempfile::Builder::new().prefix(".vfsync.").tempfile_in(path) {
            Err(e) => finding(State::Missing, format!("nothing can be written to {shown}: {e}")),
            Ok(_) if meta.mode() & 0o022 != 0 => finding(
                State::Limited,
                format!("others may write to {shown}; take that right away (chmod go-w)"),
            ),
            Ok(_) => finding(State::Ok, shown),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let above = path.ancestors().skip(1).find(|above| above.exists());
            let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let access = rustix::fs::access(above, rustix::fs::Access::WRITE_OK);
            match access {
                Ok(()) => finding(State::Ok, format!("{shown} (not there yet, vfsync makes it)")),
                Err(e) => finding(State::Missing, format!("{shown} is not there and cannot be made: {e}")),
            }
        }
        Err(e) => finding(State::Missing, format!("cannot look at {shown}: {e}")),
    }
}
