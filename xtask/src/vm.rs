//! A guest: a kernel under QEMU with vfsync, a shell and an sshd in it, that runs one command.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    apt::Apt,
    disk, exec,
    initramfs::{self, Contents},
    kernel::Kernel,
    kit::{self, Kit},
    place, sshd,
};

pub use crate::disk::Disk;

/// A preemption mode that a kernel is booted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preempt {
    /// Not in the kernel at all.
    None,
    /// Where the kernel offers it.
    Voluntary,
    /// Anywhere.
    Full,
    /// Anywhere, but late.
    Lazy,
}

/// A guest to be.
#[derive(Clone, Debug)]
pub struct Vm {
    /// The kernel that it boots.
    pub kernel: Kernel,
    /// The preemption mode; none: the kernel's own.
    pub preempt: Option<Preempt>,
    /// More arguments for the kernel, such as `lsm=bpf`.
    pub append: Vec<String>,
    /// Disks.
    pub disks: Vec<Disk>,
    /// The binary to be `/bin/vfsync`.
    pub vfsync: Option<PathBuf>,
    /// More executable files: where they are, and where they go.
    pub files: Vec<(PathBuf, String)>,
    /// Whether its first process is systemd.
    pub systemd: bool,
    /// How long it may run.
    pub limit: Duration,
}

/// What a guest left.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code of the command.
    pub code: i32,
    /// What it printed on standard output and standard error; empty where that went to the terminal.
    pub output: String,
    /// The kernel's messages.
    pub console: String,
}

/// Where the command's output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    /// To [`Finished::output`].
    Kept,
    /// To our standard output, as it comes.
    Shown,
    /// There is no command but a shell, at our terminal.
    Terminal,
}

fn qemu_kit() -> Kit {
    Kit::new("qemu", "qemu-system-x86, 1")
}

fn stress_ng_kit() -> Kit {
    Kit::new("stress-ng", "stress-ng, 1")
}

/// Returns where `stress-ng` is, to be started on this machine; none where it was not brought.
pub fn stress_ng() -> Option<PathBuf> {
    let kit = stress_ng_kit();
    kit.require("stress-ng", "vm").ok().map(|dir| dir.join("bin/stress-ng"))
}

/// Returns `stress-ng` with what it needs, to be `/bin/stress-ng` in a guest.
pub fn stress_ng_for_guests() -> Result<Vec<(PathBuf, String)>> {
    let kit = stress_ng_kit();
    let dir = kit.require("stress-ng", "vm")?;
    initramfs::with_libraries(&dir.join("usr/bin/stress-ng"), dir, "bin/stress-ng")
}

fn systemd_kit() -> Kit {
    Kit::new("systemd", "systemd, 1")
}

/// Downloads and unpacks QEMU, and what goes into guests, unless they are there.
pub fn set_up(kernels: &[Kernel]) -> Result<()> {
    ensure!(place::arch() == "x86_64", "the tests in guests run on x86_64 alone");
    let apt = || Apt::of_this_machine(&place::tools().join("apt"));
    qemu_kit().ensure("QEMU", |dir| {
        let mut brought = apt()?.unpack(&["qemu-system-x86"], dir)?;
        kit::write_wrappers(dir, &["usr/bin/qemu-system-x86_64"])?;
        brought.sort_by_key(|package| !package.starts_with("qemu-system-x86 "));
        Ok(brought)
    })?;
    disk::guest_kit().ensure("guest programs", |dir| {
        let packages = ["busybox-static", "e2fsprogs", "xfsprogs", "btrfs-progs"];
        let mut brought = apt()?.unpack(&packages, dir)?;
        brought.sort_by_key(|package| !package.starts_with("busybox-static "));
        Ok(brought)
    })?;
    stress_ng_kit().ensure("stress-ng", |dir| {
        let mut brought = apt()?.unpack(&["stress-ng"], dir)?;
        kit::write_wrappers(dir, &["usr/bin/stress-ng"])?;
        brought.sort_by_key(|package| !package.starts_with("stress-ng "));
        Ok(brought)
    })?;
    systemd_kit().ensure("systemd", |dir| {
        let mut brought = apt()?.unpack(&["systemd"], dir)?;
        brought.sort_by_key(|package| !package.starts_with("systemd "));
        Ok(brought)
    })?;
    kernels.iter().try_for_each(|kernel| kernel.set_up())
}

impl Vm {
    /// Returns a guest with a kernel and nothing special.
    pub fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            preempt: None,
            append: Vec::new(),
            disks: Vec::new(),
            vfsync: None,
            files: Vec::new(),
            systemd: false,
            limit: Duration::from_secs(300),
        }
    }

    /// Boots, runs a shell script, and returns what it left.
    pub fn run(&self, script: &str) -> Result<Finished> {
        self.boot(Some(script), Output::Kept)
    }

    /// Boots and runs a shell script with its output on ours.
    pub fn run_shown(&self, script: &str) -> Result<Finished> {
        self.boot(Some(script), Output::Shown)
    }

    /// Boots and gives a shell on this terminal.
    pub fn shell(&self) -> Result<Finished> {
        self.boot(None, Output::Terminal)
    }

    fn boot(&self, script: Option<&str>, output: Output) -> Result<Finished> {
        let dir = tempfile::Builder::new()
            .prefix("vfsync-vm-")
            .tempdir()
            .context("cannot make a temporary folder")?;
        let kernel = self.kernel.find()?;
        let keys = sshd::make_keys(dir.path())?;
        let systemd = systemd_kit();
        let contents = Contents {
            kernel: &kernel,
            vfsync: self.vfsync.as_deref(),
            init: &build_static("vfsync-vm-init")?,
            disks: self.disks.iter().map(|d| (d.kind().to_owned(), format!("/mnt/{}", d.kind()))).collect(),
            files: &self.files,
            systemd: if self.systemd { Some(systemd.require("systemd", "vm")?) } else { None },
            command: script,
        };
        let guest = disk::guest_kit();
        guest.require("busybox", "vm")?;
        let initramfs = dir.path().join("initramfs");
        fs::write(&initramfs, initramfs::make(&contents, &guest, &keys)?)
            .with_context(|| format!("cannot write {}", initramfs.display()))?;
        let mut qemu = self.qemu(&kernel.image, dir.path())?;
        match output {
            Output::Kept => qemu.stdin(Stdio::null()).stdout(Stdio::piped()),
            Output::Shown => qemu.stdin(Stdio::null()).stdout(Stdio::inherit()),
            Output::Terminal => &mut qemu,
        };
        let log = File::create(dir.path().join("qemu.log")).context("cannot create QEMU's log")?;
        qemu.stderr(log);
        let started = match output {
            // A shell must stay in the terminal's foreground group.
            Output::Terminal => qemu.spawn(),
            Output::Kept | Output::Shown => exec::spawn(qemu),
        };
        let mut child = started.context("cannot start QEMU")?;
        let reader = child.stdout.take().map(|mut pipe| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                pipe.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
            })
        });
        let limit = (output != Output::Terminal).then_some(self.limit);
        let ended = wait(&mut child, limit);
        let output = match reader {
            Some(reader) => {
                reader.join().expect("reading does not panic").context("cannot read the guest's output")?
            }
            None => String::new(),
        };
        finished(dir.path(), &ended?, output)
    }

    fn qemu(&self, image: &Path, dir: &Path) -> Result<Command> {
        let kit = qemu_kit();
        let unpacked = kit.require("QEMU", "vm")?;
        let mut qemu = exec::tied(&unpacked.join("bin/qemu-system-x86_64"));
        for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            qemu.arg("-L").arg(unpacked.join(data));
        }
        if kvm() {
            qemu.args(["-accel", "kvm"]);
        }
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2048M"]);
        qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]);
        qemu.args(["-device", "virtio-rng-pci"]);
        // The kernel's messages, the command's output, its exit code.
        qemu.arg("-serial").arg(file_argument("file:", &dir.join("console")));
        qemu.args(["-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"]);
        qemu.arg("-serial").arg(file_argument("file:", &dir.join("report")));
        qemu.arg("-kernel").arg(image).arg("-initrd").arg(dir.join("initramfs"));
        let mut append = vec![
            "console=ttyS0".to_owned(),
            // A kernel in trouble ends the guest at once: a panic restarts it, which QEMU takes for the end.
            "panic=-1".to_owned(),
            "softlockup_panic=1".to_owned(),
            "oops=panic".to_owned(),
            "random.trust_cpu=on".to_owned(),
            "mitigations=off".to_owned(),
        ];
        if let Some(preempt) = self.preempt.as_ref().and_then(Preempt::to_possible_value) {
            append.push(format!("preempt={}", preempt.get_name()));
        }
        append.extend(self.append.iter().cloned());
        qemu.arg("-append").arg(append.join(" "));
        for (number, disk) in self.disks.iter().enumerate() {
            let image = dir.join(format!("disk{number}"));
            disk.make(&image)?;
            let mut drive = file_argument("file=", &image);
            drive.push(",if=virtio,format=raw,cache=unsafe");
            qemu.arg("-drive").arg(drive);
        }
        Ok(qemu)
    }
}

/// Tells whether KVM can be had. A machine that is itself a guest may have `/dev/kvm` on a processor without
/// virtualisation: such a KVM runs kernels that are made for it, and hangs with others.
fn kvm() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpu.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let virtualises = flags.split_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    virtualises && File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

fn file_argument(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut argument = std::ffi::OsString::from(prefix);
    argument.push(path);
    argument
}

/// How QEMU came to its end.
enum Ended {
    ByItself,
    AtTheLimit(Duration),
}

fn wait(child: &mut Child, limit: Option<Duration>) -> Result<Ended> {
    let start = Instant::now();
    while child.try_wait().context("cannot wait for QEMU")?.is_none() {
        if let Some(limit) = limit.filter(|limit| start.elapsed() > *limit) {
            sshd::end_group(child);
            return Ok(Ended::AtTheLimit(limit));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(Ended::ByItself)
}

/// Reads the report, or says why there is none.
fn finished(dir: &Path, ended: &Ended, output: String) -> Result<Finished> {
    let read = |name: &str| {
        let bytes = fs::read(dir.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let console = read("console");
    let code = read("report").trim().strip_prefix("exit ").and_then(|code| code.parse().ok());
    if let Some(code) = code {
        return Ok(Finished { code, output, console });
    }
    let why = match ended {
        Ended::AtTheLimit(limit) => format!("the guest was ended after {} s", limit.as_secs()),
        Ended::ByItself if console.contains("soft lockup") => "the guest's kernel locked up".to_owned(),
        Ended::ByItself if console.contains("Kernel panic") => "the guest's kernel panicked".to_owned(),
        Ended::ByItself => "the guest ended without a report".to_owned(),
    };
    let lines: Vec<&str> = console.lines().collect();
    let last = lines[lines.len().saturating_sub(40)..].join("\n");
    bail!("{why}\n--- output:\n{output}\n--- end of its console:\n{last}\n--- QEMU:\n{}", read("qemu.log"))
}

/// Builds a program of the workspace that needs nothing of the guest, and returns its path.
pub fn build_static(package: &str) -> Result<PathBuf> {
    let triple = format!("{}-unknown-linux-gnu", place::arch());
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(place::workspace())
        .args(["build", "--quiet", "--package", package, "--target", &triple])
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env_remove("RUSTFLAGS");
    exec::quietly(&mut cargo).with_context(|| format!("{package} does not build for guests"))?;
    Ok(place::target().join(triple).join("debug").join(package))
}
