//! The set-up: brings the tools that are missing into the tools folder, once each.

use std::{
    fmt::Display,
    fs::{self, File},
    io,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{bench, check, kernel::Kernel, kit, place, sshd, toolchain, tracer, vm};

/// A part of the set-up that can be asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The compiler with library source and bpf-linker, for the eBPF programs.
    Ebpf,
    /// sshd and the ssh client, for the tests and the demonstration.
    Ssh,
    /// strace, for the tests.
    Trace,
    /// QEMU, a kernel and what else guests need, for the tests.
    Vm,
    /// The linter of the eBPF programs.
    Check,
    /// Unison, rsync, lsyncd and inotifywait, for the benchmarks; only when asked for.
    Bench,
}

/// Brings the parts named, or all of them, and says what there is then.
pub fn run(only: &[Part], kernels: &[Kernel]) -> Result<()> {
    bring(only, kernels)?;
    say(format_args!("in {}:", place::tools().display()));
    for (name, holds) in kit::list()? {
        say(format_args!("  {name:<12} {holds}"));
    }
    Ok(())
}

/// Brings the parts named, or all of them; says nothing of what is there.
pub fn bring(only: &[Part], kernels: &[Kernel]) -> Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let _lock = lock()?;
    // The linter loads the compiler's libraries.
    if wanted(Part::Ebpf) || wanted(Part::Check) {
        toolchain::set_up()?;
    }
    // Guests have an sshd in them.
    if wanted(Part::Ssh) || wanted(Part::Vm) {
        sshd::set_up()?;
    }
    if wanted(Part::Trace) {
        tracer::set_up()?;
    }
    if wanted(Part::Vm) {
        vm::set_up(kernels)?;
    }
    if wanted(Part::Check) {
        check::set_up()?;
    }
    if only.contains(&Part::Bench) {
        bench::set_up()?;
    }
    Ok(())
}

/// Prints one line of progress; standard output stays free for results.
pub fn say(what: impl Display) {
    eprintln!("  {what}");
}

/// Takes the tools folder for this process: worktrees may share it. None: this user may only read it, and will do
/// with what there is.
fn lock() -> Result<Option<File>> {
    let tools = place::tools();
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let path = tools.join("lock");
    let file = match File::create(&path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        file => file.with_context(|| format!("cannot create {}", path.display()))?,
    };
    if file.try_lock().is_err() {
        say(format_args!("waiting for another set-up in {}", tools.display()));
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(Some(file))
}
