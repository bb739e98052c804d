//! A place is a folder that the tasks agree on: the workspace, its target folder, the tools.

use std::{env, path::PathBuf};

/// Returns the root of the workspace.
pub fn workspace() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask lies in the workspace").to_owned()
}

/// Returns cargo's target folder.
pub fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// Returns the folder of the unpacked tools: what `VFSYNC_TOOLS` names, so that clones can share it, or
/// `target/tools`.
pub fn tools() -> PathBuf {
    match env::var_os("VFSYNC_TOOLS") {
        Some(dir) => workspace().join(dir),
        None => target().join("tools"),
    }
}

/// Returns the machine's architecture as Rust's targets call it.
pub fn arch() -> &'static str {
    env::consts::ARCH
}

/// Returns the machine's architecture as Debian's library folders call it.
pub fn multiarch() -> String {
    format!("{}-linux-gnu", arch())
}
