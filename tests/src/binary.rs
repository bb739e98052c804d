//! The vfsync under test.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// Returns the vfsync under test: what `VFSYNC_BIN` names, else the workspace's debug build, brought up to date first.
pub fn vfsync() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match env::var_os("VFSYNC_BIN") {
        Some(path) => {
            let path = xtask::place::workspace().join(path);
            assert!(path.is_file(), "VFSYNC_BIN names {}, which is no file", path.display());
            path
        }
        None => build(),
    })
}

fn build() -> PathBuf {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "vfsync"])
        .current_dir(xtask::place::workspace())
        .status();
    match built {
        Ok(status) if status.success() => xtask::place::target().join("debug/vfsync"),
        why => panic!(
            "cannot build vfsync ({why:?}): build it with `cargo xtask build` and name it with VFSYNC_BIN=target/dist/vfsync"
        ),
    }
}
