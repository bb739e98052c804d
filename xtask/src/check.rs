//! The check: everything that can be said of the source without running it.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{apt::Apt, build, exec, kit::Kit, place, purity, setup::say, toolchain};

/// The crate that has a toolchain of its own.
const EBPF: [&str; 2] = ["--exclude", "vfsync-ebpf"];

/// One check, by name.
type Check = (&'static str, fn() -> Result<()>);

/// Runs every check, all to the end, and fails if any of them does.
pub fn run() -> Result<()> {
    let checks: [Check; 5] = [
        ("format", format),
        ("lints", lints),
        ("lints of the eBPF programs", ebpf_lints),
        ("documentation", documentation),
        ("purity of core/ and wire/", is_pure),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        say(format_args!("check: {name}"));
        if let Err(error) = check() {
            eprintln!("error: {error:#}");
            failed.push(name);
        }
    }
    let passed = checks.len() - failed.len();
    println!("check: {passed} passed, {} failed", failed.len());
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(place::workspace()).args(args);
    cargo
}

fn format() -> Result<()> {
    exec::shown(&mut cargo(&["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
}

fn lints() -> Result<()> {
    let mut clippy = cargo(&["clippy", "--quiet", "--workspace", "--all-targets"]);
    exec::shown(clippy.args(EBPF).args(["--", "-D", "warnings"]))
}

fn documentation() -> Result<()> {
    let mut doc = cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    exec::shown(doc.args(EBPF).env("RUSTDOCFLAGS", "-D warnings"))
}

fn is_pure() -> Result<()> {
    let breaches = purity::breaches(&place::workspace())?;
    for breach in &breaches {
        eprintln!("{breach}");
    }
    if breaches.is_empty() { Ok(()) } else { bail!("core/ and wire/ decide, and touch nothing: move it out") }
}

fn clippy_kit() -> Kit {
    Kit::new("clippy", "rust-web-clippy, 1")
}

/// Brings the linter that belongs to the compiler of the eBPF programs.
pub fn set_up() -> Result<()> {
    if toolchain::nightly().is_some() {
        return Ok(());
    }
    clippy_kit().ensure("linter of the eBPF programs", |dir| {
        let apt = Apt::of_this_machine(&place::tools().join("apt"))?;
        let mut brought = apt.unpack(&["rust-web-clippy"], dir)?;
        toolchain::write_clippy(dir)?;
        brought.sort_by_key(|package| !package.starts_with("rust-web-clippy "));
        Ok(brought)
    })
}

fn ebpf_lints() -> Result<()> {
    let toolchain = toolchain::find()?;
    let target = place::target().join("ebpf-check");
    for features in [&[][..], &["--features", "log"]] {
        let mut check = if toolchain::nightly().is_some() {
            build::ebpf_cargo(&toolchain, "clippy")
        } else {
            let mut check = build::ebpf_cargo(&toolchain, "check");
            let driver =
                clippy_kit().require("the linter of the eBPF programs", "check")?.join("clippy-driver");
            // What `cargo clippy` would do; that program comes with the other compiler.
            check.env("RUSTC_WORKSPACE_WRAPPER", driver);
            check
        };
        check.args(["--quiet", "--release"]).args(features).arg("--target-dir").arg(&target);
        check.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
        exec::shown(&mut check)?;
    }
    Ok(())
}
