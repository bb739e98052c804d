//! The initramfs: everything that a guest finds when it comes up.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    cpio::Archive,
    exec,
    kernel::KernelFiles,
    kit::{self, Kit},
    kmod, place,
    sshd::{self, Keys},
};

/// Modules that guests load while they come up.
const AT_START: [&str; 4] = ["virtio_pci", "virtio_blk", "virtio_rng", "ext4"];

/// Modules that the kernel loads when something asks for them.
const ON_DEMAND: [&str; 13] = [
    "xfs",
    "btrfs",
    "overlay",
    "fuse",
    "loop",
    "nfs",
    "nfsv4",
    "nfsd",
    "vfat",
    "tmpfs",
    "crc32c_generic",
    "crc32c_intel",
    "dm_mod",
];

/// What a guest is made of.
pub struct Contents<'a> {
    /// The kernel that it boots.
    pub kernel: &'a KernelFiles,
    /// The binary to be `/bin/vfsync`, where there is one.
    pub vfsync: Option<&'a Path>,
    /// The guest's first process.
    pub init: &'a Path,
    /// File systems to mount, in the order of the disks: kind and place.
    pub disks: Vec<(String, String)>,
    /// More files: where they are, and where they go.
    pub files: &'a [(PathBuf, String)],
    /// Where systemd is unpacked, if the guest is to run it.
    pub systemd: Option<&'a Path>,
    /// A shell script to run; none: an interactive shell.
    pub command: Option<&'a str>,
}

/// Makes the archive.
pub fn make(contents: &Contents<'_>, guest: &Kit, keys: &Keys) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in
        ["bin", "dev", "proc", "sys", "tmp", "run", "mnt", "var/empty", "var/lib", "usr/bin", "usr/local/bin"]
    {
        archive.folder(folder);
    }
    archive.folder_with("root", 0o700);
    // The kernel opens it for the first process before that has mounted /dev.
    archive.device("dev/console", 0o600, 5, 1);
    add(&mut archive, contents.init, "init")?;
    add(&mut archive, &guest.dir().join("bin/busybox"), "bin/busybox")?;
    archive.link("bin/sh", "busybox");
    archive.link("sbin/modprobe", "../bin/busybox");
    if let Some(vfsync) = contents.vfsync {
        add(&mut archive, vfsync, "bin/vfsync")?;
    }
    add_modules(&mut archive, contents.kernel)?;
    add_ssh(&mut archive, keys)?;
    if let Some(systemd) = contents.systemd {
        add_systemd(&mut archive, systemd)?;
    }
    for (from, to) in contents.files {
        add(&mut archive, from, to)?;
    }
    let disks: String = contents.disks.iter().map(|(kind, place)| format!("{kind} {place}\n")).collect();
    archive.file("etc/vm/disks", 0o644, disks.as_bytes());
    archive.file("etc/vm/modules", 0o644, AT_START.join("\n").as_bytes());
    if let Some(command) = contents.command {
        archive.file("etc/vm/command", 0o644, command.as_bytes());
    }
    Ok(archive.finish())
}

/// Adds an executable file.
fn add(archive: &mut Archive, from: &Path, to: &str) -> Result<()> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    archive.file(to, 0o755, &content);
    Ok(())
}

fn add_modules(archive: &mut Archive, kernel: &KernelFiles) -> Result<()> {
    let wanted: Vec<&str> = AT_START.into_iter().chain(ON_DEMAND).collect();
    let modules = kmod::collect(&kernel.modules, &wanted)?;
    let folder = format!("lib/modules/{}", kernel.release);
    for (name, content) in &modules.files {
        archive.file(&format!("{folder}/{name}"), 0o644, content);
    }
    archive.file(&format!("{folder}/modules.dep"), 0o644, modules.dependencies.as_bytes());
    archive.file(&format!("{folder}/modules.alias"), 0o644, modules.aliases.as_bytes());
    Ok(())
}

/// Returns a program with the libraries that it loads: the files here and their places in the guest.
pub fn with_libraries(program: &Path, unpacked: &Path, place: &str) -> Result<Vec<(PathBuf, String)>> {
    let libraries = libraries_of(program, unpacked)?.into_iter().map(|(place, file)| (file, place));
    Ok(std::iter::once((program.to_owned(), place.to_owned())).chain(libraries).collect())
}

/// Adds systemd and the program that talks to it. The units of the first process are all that it needs.
fn add_systemd(archive: &mut Archive, dir: &Path) -> Result<()> {
    for folder in ["etc/systemd/system", "var/log", "var/tmp", "usr/lib/systemd/system", "home"] {
        archive.folder(folder);
    }
    let mut libraries = BTreeSet::new();
    for name in ["lib/systemd/systemd", "bin/systemctl"] {
        let program = dir.join(name);
        add(archive, &program, name)?;
        libraries.extend(libraries_of(&program, dir)?);
    }
    for (place, library) in libraries {
        add(archive, &library, &place)?;
    }
    archive.file("etc/machine-id", 0o444, b"00000000000000000000000000000001\n");
    Ok(())
}

/// Adds an sshd that lets the guest's root in with a key of its own, and the client.
fn add_ssh(archive: &mut Archive, keys: &Keys) -> Result<()> {
    let kit = sshd::kit();
    let dir = kit.require("sshd", "ssh")?;
    let programs = [("usr/sbin/sshd", "usr/sbin/sshd"), ("usr/bin/ssh", "usr/bin/ssh")];
    let mut libraries = BTreeSet::new();
    for (from, to) in programs {
        let program = dir.join(from);
        add(archive, &program, to)?;
        libraries.extend(libraries_of(&program, dir)?);
    }
    // Newer releases of sshd keep the two halves of a session in programs of their own.
    for helper in ["sshd-session", "sshd-auth"] {
        let program = dir.join("usr/lib/openssh").join(helper);
        if program.exists() {
            add(archive, &program, &format!("usr/lib/openssh/{helper}"))?;
            libraries.extend(libraries_of(&program, dir)?);
        }
    }
    for (place, library) in libraries {
        add(archive, &library, &place)?;
    }
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/bin/false\n",
    );
    archive.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    archive.file("etc/shadow", 0o600, b"root:*:1::::::\n");
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost guest\n");
    archive.file("etc/nsswitch.conf", 0o644, b"passwd: files\ngroup: files\nshadow: files\nhosts: files\n");
    archive.file("etc/ssh/host_key", 0o600, keys.host.as_bytes());
    archive.file(
        "etc/ssh/sshd_config",
        0o600,
        sshd::config("/etc/ssh/host_key", "/etc/ssh/authorized_keys", 22).as_bytes(),
    );
    archive.file("etc/ssh/authorized_keys", 0o644, keys.user_public.as_bytes());
    archive.folder_with("root/.ssh", 0o700);
    archive.file("root/.ssh/id_ed25519", 0o600, keys.user.as_bytes());
    let known: String = ["localhost", "127.0.0.1", "guest"]
        .map(|host| format!("{host} {}\n", keys.host_public.trim()))
        .concat();
    archive.file("root/.ssh/known_hosts", 0o644, known.as_bytes());
    Ok(())
}

/// Returns the libraries that a program loads: the place in the guest and the file here.
fn libraries_of(program: &Path, unpacked: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut ldd = Command::new("ldd");
    // systemd keeps what its programs share in a folder of its own.
    let own = unpacked.join("usr/lib").join(place::multiarch()).join("systemd");
    let folders = format!("{}:{}", kit::library_path(unpacked), own.display());
    let text = exec::read(ldd.arg(program).env("LD_LIBRARY_PATH", folders))?;
    // `libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x…)`, and the loader itself: `/lib64/ld-linux-….so.2 (0x…)`.
    let paths = text.lines().filter_map(|line| {
        let path = line.split_once("=>").map_or(line, |(_, path)| path);
        path.split_whitespace().next().filter(|path| path.starts_with('/'))
    });
    let place = |path: &str| match (path.rsplit_once('/'), path.contains("/ld-linux")) {
        (Some((_, name)), false) => format!("lib/{}/{name}", place::multiarch()),
        _ => path.to_owned(),
    };
    Ok(paths.map(|path| (place(path), PathBuf::from(path))).collect())
}
