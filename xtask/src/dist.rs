//! What is handed to users: a Debian package, a tarball, and their checksums.
//!
//! The package is put together by `dpkg-deb`, which every Debian has: there is nothing to compile before a package can be
//! built and tested, as there would be with cargo-deb, and the few lines of `control` say all of a static binary that
//! depends on nothing. Archives are the same, byte for byte, for the same source and binary: times are the last commit's.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{exec, place, setup::say};

/// The version of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Where the units of `contrib/` have the program; the package has it elsewhere.
const LOCAL: &str = "/usr/local/bin/vfsync";

/// How much time goes into making a package small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// What users get.
    Small,
    /// For a package that is installed at once and thrown away.
    Fast,
}

/// A file to be handed out: its place without the leading slash, its mode, its bytes.
struct Item {
    place: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl Item {
    fn new(place: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) -> Item {
        Item { place: place.into(), mode, bytes: bytes.into() }
    }
}

/// Makes everything in `folder` from a static binary, and returns the files.
pub fn all(binary: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let made = vec![deb(binary, folder, Packing::Small)?, tarball(binary, folder)?];
    let sums = folder.join("SHA256SUMS");
    let names = made.iter().filter_map(|path| path.file_name());
    let text = exec::read(Command::new("sha256sum").arg("--").args(names).current_dir(folder))?;
    fs::write(&sums, text).with_context(|| format!("cannot write {}", sums.display()))?;
    Ok([made, vec![sums]].concat())
}

/// Makes the Debian package in `folder` and returns its path.
pub fn deb(binary: &Path, folder: &Path, packing: Packing) -> Result<PathBuf> {
    let staged = staging(folder)?;
    let root = staged.path();
    let items = package(binary)?;
    let mut sums = Vec::new();
    let mut size = 0;
    for item in &items {
        write(root, item)?;
        size += item.bytes.len();
        sums.push(&item.place[..]);
    }
    let sums = exec::read(Command::new("md5sum").arg("--").args(sums).current_dir(root))?;
    let conffiles = items.iter().filter(|item| item.place.starts_with("etc/"));
    let conffiles: String = conffiles.map(|item| format!("/{}\n", item.place)).collect();
    for item in [
        Item::new("DEBIAN/control", 0o644, control(size)?),
        Item::new("DEBIAN/conffiles", 0o644, conffiles),
        Item::new("DEBIAN/md5sums", 0o644, sums),
        Item::new("DEBIAN/postinst", 0o755, source("contrib/debian/postinst")?),
        Item::new("DEBIAN/prerm", 0o755, source("contrib/debian/prerm")?),
        Item::new("DEBIAN/postrm", 0o755, source("contrib/debian/postrm")?),
    ] {
        write(root, &item)?;
    }
    let package = folder.join(format!("vfsync_{VERSION}_{}.deb", debian_arch()?));
    let compression = match packing {
        Packing::Small => "-Zxz",
        Packing::Fast => "-Znone",
    };
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", compression, "--build"]).arg(root).arg(&package);
    exec::quietly(build.env("SOURCE_DATE_EPOCH", epoch()))?;
    Ok(package)
}

/// Makes the tarball in `folder` and returns its path.
fn tarball(binary: &Path, folder: &Path) -> Result<PathBuf> {
    let name = format!("vfsync-{VERSION}-{}-linux", place::arch());
    let staged = staging(folder)?;
    let root = staged.path().join(&name);
    for item in loose(binary)? {
        write(&root, &item)?;
    }
    let tarball = folder.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg(format!("--mtime=@{}", epoch())).args(["--use-compress-program", "gzip -9n", "-cf"]);
    tar.arg(&tarball).arg("-C").arg(staged.path()).arg(&name);
    exec::quietly(&mut tar)?;
    Ok(tarball)
}

/// Returns what the package installs.
fn package(binary: &Path) -> Result<Vec<Item>> {
    let doc = |name: &str| format!("usr/share/doc/vfsync/{name}");
    let mut items = vec![
        Item::new("usr/bin/vfsync", 0o755, read(binary)?),
        Item::new("etc/vfsync/vfsync.toml", 0o644, source("contrib/vfsync.toml")?),
        Item::new(doc("copyright"), 0o644, source("contrib/debian/copyright")?),
        Item::new(doc("changelog.gz"), 0o644, gzip(&source("CHANGELOG.md")?)?),
        Item::new(doc("README.md.gz"), 0o644, gzip(&source("README.md")?)?),
        Item::new(doc("json.md"), 0o644, source("docs/format/json.md")?),
        Item::new(doc("examples/grafana.json"), 0o644, source("contrib/grafana.json")?),
    ];
    for unit in ["vfsync.service", "vfsync-cron.service", "vfsync-cron.timer"] {
        let text = String::from_utf8(source(&format!("contrib/{unit}"))?)
            .with_context(|| format!("{unit} is no text"))?;
        ensure!(text.contains(LOCAL) || unit.ends_with(".timer"), "contrib/{unit} does not start {LOCAL}");
        let text = text.replace(LOCAL, "/usr/bin/vfsync");
        items.push(Item::new(format!("usr/lib/systemd/system/{unit}"), 0o644, text));
    }
    for (name, page) in pages(binary)? {
        items.push(Item::new(format!("usr/share/man/man1/{name}.1.gz"), 0o644, gzip(&page)?));
    }
    for (shell, place) in [
        ("bash", "usr/share/bash-completion/completions/vfsync"),
        ("zsh", "usr/share/zsh/vendor-completions/_vfsync"),
        ("fish", "usr/share/fish/vendor_completions.d/vfsync.fish"),
    ] {
        items.push(Item::new(place, 0o644, said(binary, &["completions", shell])?));
    }
    Ok(items)
}

/// Returns what the tarball holds.
fn loose(binary: &Path) -> Result<Vec<Item>> {
    let mut items = vec![Item::new("vfsync", 0o755, read(binary)?)];
    for name in ["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"] {
        items.push(Item::new(name, 0o644, source(name)?));
    }
    let contrib = place::workspace().join("contrib");
    for entry in fs::read_dir(&contrib).with_context(|| format!("cannot list {}", contrib.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", contrib.display()))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| path.is_file()) {
            items.push(Item::new(format!("contrib/{name}"), 0o644, read(&path)?));
        }
    }
    for (name, page) in pages(binary)? {
        items.push(Item::new(format!("man/{name}.1"), 0o644, page));
    }
    for (shell, name) in [("bash", "vfsync.bash"), ("zsh", "_vfsync"), ("fish", "vfsync.fish")] {
        let completions = said(binary, &["completions", shell])?;
        items.push(Item::new(format!("completions/{name}"), 0o644, completions));
    }
    Ok(items)
}

/// Returns the manual pages with their names: of vfsync, and of each command that its page names.
fn pages(binary: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let main = said(binary, &["man"])?;
    let commands: Vec<String> = commands_in(&String::from_utf8_lossy(&main));
    ensure!(!commands.is_empty(), "`{} man` names no commands", binary.display());
    let mut pages = vec![("vfsync".to_owned(), main)];
    for command in commands {
        pages.push((format!("vfsync-{command}"), said(binary, &["man", &command])?));
    }
    Ok(pages)
}

/// Finds the commands in the source of the manual page: lines such as `vfsync\-sync(1)`.
fn commands_in(page: &str) -> Vec<String> {
    let named = |line: &str| Some(line.strip_prefix("vfsync\\-")?.strip_suffix("(1)")?.replace("\\-", "-"));
    page.lines().filter_map(named).filter(|name| name != "help").collect()
}

/// Returns `control`, the package's description, for files of this many bytes together.
fn control(bytes: usize) -> Result<String> {
    Ok(format!(
        "Package: vfsync\n\
         Version: {VERSION}\n\
         Architecture: {}\n\
         Maintainer: The vfsync developers <vfsync@localhost>\n\
         Installed-Size: {}\n\
         Recommends: openssh-client\n\
         Suggests: openssh-server\n\
         Section: net\n\
         Priority: optional\n\
         Description: two-way synchronisation of directory trees, as they change\n \
         vfsync keeps directory trees on several servers the same, both ways. Kernel\n \
         probes (eBPF) report what changed, so that it needs no inotify watches and no\n \
         rescans. Hosts are connected by ssh. It takes the options and profiles of\n \
         Unison.\n \
         .\n \
         Nothing runs until /etc/vfsync/vfsync.toml says what is to be kept the same\n \
         and vfsync.service is enabled.\n",
        debian_arch()?,
        bytes.div_ceil(1024),
    ))
}

/// Returns the machine's architecture as Debian calls it.
fn debian_arch() -> Result<&'static str> {
    Ok(match place::arch() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "powerpc64" => "ppc64el",
        "s390x" => "s390x",
        other => bail!("what Debian calls {other} is not known here"),
    })
}

/// Returns the time of the last commit, in seconds since 1970; of what is no checkout, the beginning of 2026.
fn epoch() -> String {
    const WITHOUT: &str = "1767225600";
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(place::workspace());
    match exec::read(&mut git) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => WITHOUT.to_owned(),
    }
}

/// Returns a folder beside the result that is gone afterwards. What is in it can be read by everybody, as it will be.
fn staging(folder: &Path) -> Result<tempfile::TempDir> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let staged = tempfile::Builder::new().prefix("staged-").tempdir_in(folder);
    let staged = staged.with_context(|| format!("cannot make a folder in {}", folder.display()))?;
    set_mode(staged.path(), 0o755)?;
    Ok(staged)
}

fn write(root: &Path, item: &Item) -> Result<()> {
    let path = root.join(&item.place);
    let parent = path.parent().expect("it lies below the root");
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    for folder in parent.ancestors().take_while(|folder| *folder != root) {
        set_mode(folder, 0o755)?;
    }
    fs::write(&path, &item.bytes).with_context(|| format!("cannot write {}", path.display()))?;
    set_mode(&path, item.mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a file of the source.
fn source(name: &str) -> Result<Vec<u8>> {
    read(&place::workspace().join(name))
}

/// Returns what the program prints.
fn said(binary: &Path, args: &[&str]) -> Result<Vec<u8>> {
    Ok(exec::read(Command::new(binary).args(args))?.into_bytes())
}

/// Compresses, the same every time.
fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
    std::io::Write::write_all(&mut file, bytes).context("cannot write a temporary file")?;
    std::io::Seek::rewind(&mut file).context("cannot read a temporary file")?;
    let out = Command::new("gzip").args(["-9n"]).stdin(Stdio::from(file)).output();
    let out = out.context("cannot start gzip")?;
    ensure!(out.status.success(), "gzip ended with {}", out.status);
    Ok(out.stdout)
}

/// Says how large the files are.
pub fn report(made: &[PathBuf]) {
    for path in made {
        let size = path.metadata().map(|meta| meta.len()).unwrap_or_default();
        say(format_args!("{}: {:.1} MB", path.display(), size as f64 / 1e6));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_manual_page_are_found() {
        let page = ".SH SUBCOMMANDS\n.TP\nvfsync\\-sync(1)\nMake two trees the same\n.TP\nvfsync\\-help(1)\nvfsync\\-a\\-b(1)\n";
        assert_eq!(commands_in(page), ["sync", "a-b"]);
    }

    #[test]
    fn units_start_the_program_where_the_package_puts_it() {
        for unit in ["vfsync.service", "vfsync-cron.service"] {
            let text = String::from_utf8(source(&format!("contrib/{unit}")).unwrap()).unwrap();
            assert!(text.contains(&format!("ExecStart={LOCAL} ")), "{unit}");
        }
    }
}
