//! What this machine gives vfsync: kernel, rights, tools, a place for archives.

use super::finding::{Finding, State};
use crate::cli::DoctorArgs;
use crate::core::escaped::Escaped;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Looks at everything that does not depend on a root.
pub(super) fn look(args: &DoctorArgs, needs_ssh: bool) -> Vec<Finding> {
    let mut findings =
        vec![Finding::new("vfsync", "version", State::Info, env!("CARGO_PKG_VERSION")), kernel()];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    findings.extend(rights(effective_capabilities(&status)));
    findings.push(open_files());
    findings.push(ssh(&args.ssh.command, needs_ssh));
    findings.push(state_dir(args.state_dir.as_deref()));
    findings
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
            "owner and group can only be set to this user's own",
        ),
        Finding::either(
            "rights",
            "leases",
            has(LEASE),
            "on any file",
            "only on this user's own files, so a program that writes to another's file can go unnoticed longer",
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
            format!("at most {n}; raise the hard limit (ulimit -Hn)"),
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
