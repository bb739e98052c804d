//! strace, for the tests that look at the order of system calls.

use std::path::PathBuf;

use anyhow::Result;

use crate::{apt::Apt, kit, kit::Kit, place};

fn kit() -> Kit {
    Kit::new("strace", "strace, 1")
}

/// Downloads and unpacks strace, unless it is there.
pub fn set_up() -> Result<()> {
    kit().ensure("strace", |dir| {
        let apt = Apt::of_this_machine(&place::tools().join("apt"))?;
        let mut brought = apt.unpack(&["strace"], dir)?;
        kit::write_wrappers(dir, &["usr/bin/strace"])?;
        brought.sort_by_key(|package| !package.starts_with("strace "));
        Ok(brought)
    })
}

/// Returns the program.
pub fn strace() -> Result<PathBuf> {
    Ok(kit().require("strace", "trace")?.join("bin/strace"))
}
