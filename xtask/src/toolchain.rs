//! The toolchain of the eBPF programs: a compiler that has its library source, and bpf-linker.
//!
//! Programs for the kernel are built with `-Z build-std=core`, which takes the compiler's library source, and linked
//! with bpf-linker, which takes the compiler's own LLVM. A rustup nightly with `rust-src` has both. Where there is
//! none, Debian's `rustc-web` does the same: it is kept up to date for building browsers, and comes with its source
//! and a shared LLVM. It conflicts with Debian's `rustc`, so it is unpacked, never installed.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    apt::Apt,
    exec,
    kit::{self, Kit},
    place,
    setup::say,
};

/// Releases of the linker and its peers differ in the BTF they write: one that is known to work.
const BPF_LINKER: &str = "0.13.0";

/// What builds the eBPF programs.
pub struct Toolchain {
    /// The compiler.
    pub rustc: PathBuf,
    /// The cargo that goes with it.
    pub cargo: PathBuf,
    /// bpf-linker.
    pub linker: PathBuf,
}

/// Brings what is missing.
pub fn set_up() -> Result<()> {
    let home = place::tools();
    let (compiler, linker) = kits();
    if let Some(nightly) = nightly() {
        say(format_args!("eBPF compiler: there (rustup's nightly with rust-src, {})", nightly.display()));
        return linker.ensure("bpf-linker", |dir| {
            let cargo = nightly.join("bin/cargo");
            exec::quietly(install_linker(&cargo, dir).env("RUSTC", nightly.join("bin/rustc")))?;
            remove_build(dir)?;
            Ok(vec![format!("bpf-linker {BPF_LINKER}")])
        });
    }
    compiler.ensure("eBPF compiler", |dir| {
        let apt = Apt::of_this_machine(&home.join("apt"))?;
        let mut brought = apt.unpack(&["rustc-web", "rust-web-src"], dir)?;
        // It finds its library source by itself; bpf-linker, which it starts, loads the same LLVM.
        kit::write_wrapper(dir, &dir.join("usr/bin/rustc"), &dir.join("rustc"))?;
        let llvm = llvm_version(&dir.join("rustc"))?;
        link_llvm(dir, llvm)?;
        brought.sort_by_key(|package| !package.starts_with("rustc-web "));
        Ok(brought)
    })?;
    linker.ensure("bpf-linker", |dir| {
        let rustc = compiler.dir().join("rustc");
        let llvm = llvm_version(&rustc)?;
        let mut install = install_linker(Path::new("cargo"), dir);
        install.args(["--no-default-features", "--features", &format!("llvm-{llvm}")]);
        exec::quietly(install.env("LLVM_PREFIX", compiler.dir().join("llvm")))?;
        remove_build(dir)?;
        Ok(vec![format!("bpf-linker {BPF_LINKER} for LLVM {llvm}")])
    })
}

/// Returns the toolchain that [`set_up`] left.
pub fn find() -> Result<Toolchain> {
    let (compiler, linker) = kits();
    let complete = linker.contents().is_some();
    let linker = linker.dir().join("bin/bpf-linker");
    if let (Some(nightly), true) = (nightly(), complete) {
        return Ok(Toolchain { rustc: nightly.join("bin/rustc"), cargo: nightly.join("bin/cargo"), linker });
    }
    ensure!(
        complete && compiler.contents().is_some(),
        "the eBPF toolchain is missing: run `cargo xtask setup --only ebpf`"
    );
    Ok(Toolchain { rustc: compiler.dir().join("rustc"), cargo: "cargo".into(), linker })
}

fn kits() -> (Kit, Kit) {
    let from = if nightly().is_some() { "nightly" } else { "rustc-web" };
    let compiler = Kit::new("rustc", "rustc-web rust-web-src, 1");
    (compiler, Kit::new("bpf-linker", format_args!("bpf-linker {BPF_LINKER} for {from}")))
}

/// Returns the root of a rustup nightly that has the library source. A nightly without it is of no use here, and
/// adding the component would change the user's toolchain.
pub fn nightly() -> Option<PathBuf> {
    let list = exec::read(Command::new("rustup").args(["toolchain", "list"])).ok()?;
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| name.starts_with("nightly")).find_map(|name| {
        let mut rustc = Command::new("rustup");
        // Asking must not make rustup download anything.
        rustc.args(["run", name, "rustc", "--print", "sysroot"]).env("RUSTUP_AUTO_INSTALL", "0");
        let root = PathBuf::from(exec::read(&mut rustc).ok()?.trim());
        root.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists().then_some(root)
    })
}

/// Writes `clippy-driver` for the unpacked linter in `dir`: it loads the unpacked compiler's libraries.
pub fn write_clippy(dir: &Path) -> Result<()> {
    let (compiler, _) = kits();
    let compiler = compiler.require("the eBPF compiler", "ebpf")?;
    kit::write_wrapper(compiler, &dir.join("usr/bin/clippy-driver"), &dir.join("clippy-driver"))
}

fn install_linker(cargo: &Path, into: &Path) -> Command {
    let mut install = Command::new(cargo);
    install.args(["install", "--locked", "bpf-linker", "--version", &format!("={BPF_LINKER}"), "--root"]);
    install.arg(into).arg("--target-dir").arg(into.join("build"));
    // What concerns our own build must not reach this one.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR"] {
        install.env_remove(name);
    }
    install
}

fn remove_build(dir: &Path) -> Result<()> {
    let build = dir.join("build");
    fs::remove_dir_all(&build).with_context(|| format!("cannot remove {}", build.display()))
}

fn llvm_version(rustc: &Path) -> Result<u32> {
    let text = exec::read(Command::new(rustc).arg("-vV"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    version
        .and_then(|v| v.split('.').next()?.parse().ok())
        .with_context(|| format!("{} -vV names no LLVM version:\n{text}", rustc.display()))
}

/// Makes `llvm/lib` as the linker's build expects it: the names of the library that LLVM's own folders have.
fn link_llvm(dir: &Path, llvm: u32) -> Result<()> {
    let versioned = format!("libLLVM.so.{llvm}.1");
    let installed = Path::new("/usr/lib").join(place::multiarch());
    let folders = [dir.join("usr/lib").join(place::multiarch()), installed];
    let Some(library) = folders.iter().map(|f| f.join(&versioned)).find(|f| f.exists()) else {
        bail!("{versioned} is neither unpacked nor installed");
    };
    let lib = dir.join("llvm/lib");
    fs::create_dir_all(&lib).with_context(|| format!("cannot create {}", lib.display()))?;
    for name in ["libLLVM.so".to_owned(), format!("libLLVM-{llvm}.so"), versioned] {
        symlink(&library, lib.join(&name)).with_context(|| format!("cannot link {name}"))?;
    }
    Ok(())
}
