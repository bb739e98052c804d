//! The build: the eBPF object, and around it one static binary.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use object::{
    Endianness,
    elf::{self, FileHeader64},
    read::elf::{ElfFile64, FileHeader, ProgramHeader, SectionHeader},
};

use crate::{exec, place, setup::say, strip, toolchain};

/// Which build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// What users get.
    Release,
    /// Debug assertions in the agent, and programs that write their own messages (aya-log).
    Debug,
}

/// Builds the eBPF programs and returns the path of the object.
pub fn ebpf(profile: Profile) -> Result<PathBuf> {
    let toolchain = toolchain::find()?;
    let mut cargo = ebpf_cargo(&toolchain, "build");
    let target = place::target().join(match profile {
        Profile::Release => "ebpf",
        Profile::Debug => "ebpf-debug",
    });
    // Always optimised: the verifier does not take what the compiler writes otherwise.
    cargo.arg("--release").arg("--target-dir").arg(&target);
    if profile == Profile::Debug {
        cargo.args(["--features", "log"]);
    }
    exec::shown(&mut cargo).context("the eBPF programs do not build")?;
    let object = target.join("vfsync-ebpf.o");
    strip::debug(&target.join("bpfel-unknown-none/release/vfsync-ebpf"), &object)?;
    assert_ebpf(&object)?;
    Ok(object)
}

/// Returns a cargo that does `what` with the eBPF crate, with its compiler, linker and flags.
pub fn ebpf_cargo(toolchain: &toolchain::Toolchain, what: &str) -> Command {
    let mut linker = OsString::from("-Clinker=");
    linker.push(&toolchain.linker);
    let mut flags = OsString::from(format!("--cfg=bpf_target_arch=\"{}\"", place::arch()));
    for flag in ["-Cdebuginfo=2".into(), linker, "-Clink-arg=--btf".into()] {
        flags.push("\x1f");
        flags.push(flag);
    }
    let mut cargo = Command::new(&toolchain.cargo);
    cargo
        .current_dir(place::workspace())
        .args([what, "--package", "vfsync-ebpf", "-Z", "build-std=core", "--target", "bpfel-unknown-none"])
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("RUSTFLAGS")
        // Set by the cargo that runs xtask; this build has another compiler.
        .env_remove("RUSTUP_TOOLCHAIN");
    cargo
}

/// Builds the eBPF programs and vfsync with them inside; returns the path of the binary.
pub fn dist(profile: Profile) -> Result<PathBuf> {
    let object = ebpf(profile)?;
    let triple = format!("{}-unknown-linux-gnu", place::arch());
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(place::workspace())
        .args(["build", "--package", "vfsync", "--bin", "vfsync", "--target", &triple])
        .env("VFSYNC_EBPF_OBJECT", &object)
        // With a target named, the flags do not reach build scripts and procedural macros, which cannot be static.
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTFLAGS");
    let (built, dist) = match profile {
        Profile::Release => ("release", "dist"),
        Profile::Debug => ("debug", "dist-debug"),
    };
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    exec::shown(&mut cargo).context("vfsync does not build")?;
    let binary = place::target().join(&triple).join(built).join("vfsync");
    assert_static(&binary)?;
    let dist = place::target().join(dist);
    fs::create_dir_all(&dist).with_context(|| format!("cannot create {}", dist.display()))?;
    replace(&binary, &dist.join("vfsync"))
}

/// Returns where [`dist`] leaves the release binary.
pub fn binary() -> PathBuf {
    place::target().join("dist/vfsync")
}

/// Puts a copy of `from` at `to`, also while a program is running from the file that is there.
fn replace(from: &Path, to: &Path) -> Result<PathBuf> {
    let new = to.with_extension("new");
    fs::copy(from, &new).with_context(|| format!("cannot copy {} to {}", from.display(), new.display()))?;
    fs::rename(&new, to).with_context(|| format!("cannot rename {} to {}", new.display(), to.display()))?;
    Ok(to.to_owned())
}

/// Checks that the object is what the agent can load: an ELF for BPF, with BTF as soon as it holds a program.
fn assert_ebpf(path: &Path) -> Result<()> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = ElfFile64::<Endianness>::parse(&*data)
        .with_context(|| format!("{} is no 64-bit ELF file", path.display()))?;
    let (header, endian) = (file.elf_header(), file.endian());
    ensure!(header.e_machine(endian) == elf::EM_BPF, "{} is not for BPF", path.display());
    let sections = file.elf_section_table();
    let (mut programs, mut btf) = (0, 0);
    for section in sections.iter() {
        let executable = section.sh_flags(endian) & u64::from(elf::SHF_EXECINSTR) != 0;
        let name = sections.section_name(endian, section).unwrap_or_default();
        match name {
            b".BTF" => btf = section.sh_size(endian),
            // Functions that programs call; the programs themselves lie in sections named for their hooks.
            b".text" => {}
            _ if executable && section.sh_size(endian) > 0 => programs += 1,
            _ => {}
        }
    }
    if programs == 0 {
        say("the eBPF object holds no program yet");
        return Ok(());
    }
    ensure!(btf > 0, "{} has no BTF: was it linked without --btf?", path.display());
    say(format_args!("eBPF object: {} bytes, {programs} program sections, BTF {btf} bytes", data.len()));
    Ok(())
}

/// Checks that a binary needs neither a loader nor a library.
fn assert_static(path: &Path) -> Result<()> {
    let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let header = FileHeader64::<Endianness>::parse(&*data)
        .with_context(|| format!("{} is no 64-bit ELF file", path.display()))?;
    let endian = header.endian().with_context(|| format!("{} has no byte order", path.display()))?;
    for segment in header.program_headers(endian, &*data).context("the program headers are broken")? {
        ensure!(
            segment.p_type(endian) != elf::PT_INTERP,
            "{} is not static: it asks for a loader",
            path.display()
        );
    }
    say(format_args!("static binary: {:.1} MB", data.len() as f64 / 1e6));
    Ok(())
}
