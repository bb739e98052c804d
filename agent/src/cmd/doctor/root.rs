//! What a root on this host allows, tried for real in a reserved directory that is gone afterwards.

use super::finding::{Finding, State};
use crate::core::escaped::Escaped;
use crate::fs::{Capabilities, Dir, FileSystem, Leases};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Looks at a root.
pub(super) fn look(path: &Path) -> Vec<Finding> {
    let shown = Escaped(path.as_os_str().as_bytes()).to_string();
    let opened = Dir::open_root(path).and_then(|dir| Ok((Capabilities::probe(&dir)?, free_space(&dir)?)));
    let findings = match opened {
        Ok((capabilities, free)) => [of(&capabilities), vec![free]].concat(),
        Err(e) => vec![Finding::new("root", "folder", State::Missing, why_not(&e))],
    };
    findings.into_iter().map(|finding| finding.of_root(&shown)).collect()
}

fn why_not(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there; make it, or mount what belongs there".into(),
        io::ErrorKind::NotADirectory => "it is not a folder".into(),
        io::ErrorKind::PermissionDenied => "this user may not read it".into(),
        _ => format!("it cannot be opened: {error}"),
    }
}

/// Says what each capability means for the tree.
pub(super) fn of(c: &Capabilities) -> Vec<Finding> {
    let (file_system, state, note) = match c.file_system {
        FileSystem::Local(name) => (name.to_string(), State::Ok, ""),
        FileSystem::Network(name) => (
            name.to_string(),
            State::Limited,
            ": what other hosts change on it is only found by scanning; better run vfsync where the disk is",
        ),
        FileSystem::Fuse => (
            "fuse".into(),
            State::Limited,
            ": what changes behind it is only found by scanning; better name the directory behind it",
        ),
        FileSystem::Overlay => (
            "overlayfs".into(),
            State::Limited,
            ": its layers must not be changed from below; keep what changes on a volume of its own",
        ),
        FileSystem::Unknown(magic) => {
            (format!("unknown (0x{magic:x})"), State::Limited, ": taken for a local one")
        }
    };
    let mut findings = vec![Finding::new("root", "file system", state, file_system + note)];
    findings.push(match c.openat2 {
        true => Finding::new("root", "openat2", State::Ok, "the kernel keeps every path beneath the root"),
        false => Finding::new(
            "root",
            "openat2",
            State::Ok,
            "not in this kernel; vfsync walks paths itself, step by step",
        ),
    });
    if !c.writable {
        findings.push(Finding::new(
            "root",
            "writing",
            State::Limited,
            "nothing can be created in it, so changes only go out; if that is not meant, mount it writable or give this user the right",
        ));
        return findings;
    }
    findings.push(Finding::either(
        "root",
        "O_TMPFILE",
        c.unnamed_files,
        "new files have no name until they are whole",
        "not here; new files have a reserved name until they are whole",
    ));
    findings.push(Finding::either(
        "root",
        "RENAME_EXCHANGE",
        c.exchange,
        "a replaced file is looked at once more before it goes",
        "not here; a replaced file is renamed aside first, so its name is gone for a moment",
    ));
    findings.push(Finding::either(
        "root",
        "RENAME_NOREPLACE",
        c.rename_noreplace,
        "a name that appears meanwhile is never overwritten",
        "not here; new names are linked instead",
    ));
    let (leases, what) = match c.leases {
        Leases::Trusted => (State::Ok, "a writer is noticed before a file is replaced"),
        Leases::Untrusted => {
            (State::Limited, "they say nothing reliable here; a writer is noticed after the fact")
        }
        Leases::Missing => (State::Limited, "not here; a writer is noticed after the fact"),
    };
    findings.push(Finding::new("root", "leases", leases, what));
    findings.push(Finding::new("root", "times", State::Info, format!("kept in steps of {:?}", c.time_step)));
    findings
}

fn free_space(dir: &Dir) -> io::Result<Finding> {
    const ENOUGH: u64 = 64 << 20;
    let space = rustix::fs::fstatvfs(dir)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let mut detail = format!("{} MiB, {} inodes", free >> 20, space.f_favail);
    // File systems without a fixed number of inodes report none at all.
    let inodes_used_up = space.f_files > 0 && space.f_favail == 0;
    let short = free < ENOUGH || inodes_used_up;
    if short {
        detail += ": what comes will not fit; make room";
    }
    let state = if short { State::Limited } else { State::Info };
    Ok(Finding::new("root", "free space", state, detail))
}
