//! `cargo xtask`: everything a developer or CI does with vfsync.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use xtask::{
    bench,
    build::{self, Profile},
    check, demo, dist,
    kernel::Kernel,
    matrix,
    pair::Pair,
    place, setup, soak, test,
    vm::{Disk, Preempt},
};

/// Everything a developer or CI does with vfsync.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Brings the tools that are missing into target/tools (or what VFSYNC_TOOLS names); installs nothing.
    Setup {
        /// Only these parts.
        #[arg(long, value_name = "PART", value_enum, value_delimiter = ',')]
        only: Vec<setup::Part>,
        /// Every kernel of the test matrix, not only Debian 12's.
        #[arg(long)]
        all_kernels: bool,
    },
    /// Builds one static binary with the eBPF programs inside: target/dist/vfsync.
    Build {
        /// A debug build whose eBPF programs write their own messages: target/dist-debug/vfsync.
        #[arg(long)]
        debug: bool,
    },
    /// Makes what users install: a Debian package, a tarball and SHA256SUMS in target/dist.
    Dist {
        /// Takes target/dist/vfsync as it is instead of building it.
        #[arg(long)]
        no_build: bool,
    },
    /// Builds the eBPF programs alone and prints the path of the object.
    BuildEbpf {
        /// With the programs' own messages.
        #[arg(long)]
        debug: bool,
    },
    /// Shows a live sync between two folders over ssh; with arguments: runs vfsync with them.
    Run {
        /// Takes target/dist/vfsync as it is instead of building it.
        #[arg(long)]
        no_build: bool,
        /// Arguments for vfsync.
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Runs the tests: units, end to end, in QEMU.
    Test {
        /// Only these kinds.
        #[arg(long, value_name = "KIND", value_enum, value_delimiter = ',')]
        only: Vec<test::Kind>,
        /// Every kernel of the test matrix, not only Debian 12's.
        #[arg(long)]
        all_kernels: bool,
        /// Only tests with this in their name.
        filter: Option<String>,
    },
    /// Checks format, lints, documentation, and the purity of core/ and wire/.
    Check,
    /// Measures vfsync beside Unison, rsync and lsyncd.
    Bench {
        /// These figures; none: all.
        figures: Vec<bench::Figure>,
        /// The tree that is synchronised.
        #[arg(long, value_enum, default_value_t = bench::Tree::Small)]
        tree: bench::Tree,
        /// How large the trees are: 1 is as they are described.
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
        /// Where the trees are made; else in cargo's target folder.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
        /// Only what a write costs in guests, by the tiers that this machine's kernel may not offer.
        #[arg(long, conflicts_with_all = ["figures", "tree", "scale", "dir"])]
        in_guests: bool,
        /// With --in-guests: every kernel of the test matrix, not only Debian 12's.
        #[arg(long, requires = "in_guests")]
        all_kernels: bool,
        /// Takes target/dist/vfsync as it is instead of building it.
        #[arg(long)]
        no_build: bool,
    },
    /// Keeps two daemons under changes, and draws what they take: memory, descriptors, backlog, disk.
    Soak {
        /// For how long.
        #[arg(long, default_value_t = 60.0)]
        minutes: f64,
        /// How many changes a second, both sides together.
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// How often is looked, in seconds.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
        every: u64,
        /// Where to write soak.csv and soak.svg; else target/soak.
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
        /// Where the trees are made; else in cargo's target folder.
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
        /// Takes target/dist/vfsync as it is instead of building it.
        #[arg(long)]
        no_build: bool,
    },
    /// Boots a kernel in QEMU with vfsync in it, and runs a command or a shell there; with --all: the whole matrix.
    Vm(Vm),
    /// What `run` does, inside a guest.
    #[command(hide = true)]
    DemoInGuest {
        /// Where the replicas are made.
        folder: PathBuf,
        /// The capture tier.
        capture: String,
    },
    /// What `bench --in-guests` does, inside a guest.
    #[command(hide = true)]
    WriteCostInGuest {
        /// Tiers, or inotify as the last one.
        ways: Vec<String>,
    },
}

#[derive(Args)]
struct Vm {
    /// The kernel; 6.1 if none is named, and with --all every one.
    #[arg(long, value_enum)]
    kernel: Option<Kernel>,
    /// Performs every operation on every file system, and a storm, by every tier, on every kernel, in every preemption
    /// mode; fails where something is worse than tests/coverage.txt says.
    #[arg(long, conflicts_with_all = ["preempt", "disk", "append", "file", "command"])]
    all: bool,
    /// With --all: in the kernels' own preemption modes alone.
    #[arg(long, requires = "all")]
    own_mode: bool,
    /// Takes what --all finds into tests/coverage.txt.
    #[arg(long, requires = "all")]
    write: bool,
    /// The preemption mode, where not the kernel's own.
    #[arg(long, value_enum)]
    preempt: Option<Preempt>,
    /// A disk with this file system, mounted on /mnt/KIND.
    #[arg(long, value_enum)]
    disk: Vec<Disk>,
    /// An argument for the kernel, such as lsm=bpf.
    #[arg(long, value_name = "ARG")]
    append: Vec<String>,
    /// One more executable file: where it is and where it goes.
    #[arg(long, value_name = "FILE:PLACE", value_parser = file_and_place)]
    file: Vec<(PathBuf, String)>,
    /// How many seconds the command may take.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    limit: u64,
    /// Takes target/dist/vfsync as it is, or none, instead of building it.
    #[arg(long)]
    no_build: bool,
    /// The command; none: a shell.
    #[arg(last = true)]
    command: Vec<String>,
}

fn file_and_place(text: &str) -> Result<(PathBuf, String), String> {
    let (file, place) = text.split_once(':').ok_or("FILE:PLACE is wanted")?;
    Ok((file.into(), place.to_owned()))
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup { only, all_kernels } => {
            setup::run(&only, kernels(all_kernels))?;
        }
        Task::Run { no_build, args } => return run(no_build, &args),
        Task::Test { only, all_kernels, filter } => {
            let kernels = kernels(all_kernels).to_vec();
            tests(&test::Selection { kinds: only, kernels, filter })?;
        }
        Task::Check => {
            setup::bring(&[setup::Part::Ebpf, setup::Part::Check], &[])?;
            check::run()?;
        }
        Task::Bench { figures, tree, scale, dir, in_guests, all_kernels, no_build } => {
            if !no_build {
                setup::bring(&[setup::Part::Ebpf], &[])?;
                build::dist(Profile::Release)?;
            }
            if in_guests {
                let kernels = kernels(all_kernels);
                setup::bring(&[setup::Part::Vm], kernels)?;
                bench::guests::run(kernels, &build::binary())?;
                return Ok(ExitCode::SUCCESS);
            }
            setup::bring(&[setup::Part::Ssh, setup::Part::Bench], &[])?;
            bench::run(&bench::Plan { figures, tree, scale, folder: dir }, &build::binary())?;
        }
        Task::Soak { minutes, rate, every, out, dir, no_build } => {
            if !no_build {
                setup::bring(&[setup::Part::Ebpf], &[])?;
                build::dist(Profile::Release)?;
            }
            setup::bring(&[setup::Part::Ssh], &[])?;
            let plan = soak::Plan {
                duration: Duration::try_from_secs_f64(minutes * 60.0).context("--minutes is no duration")?,
                rate,
                every: Duration::from_secs(every),
                out: out.unwrap_or_else(|| place::target().join("soak")),
                folder: dir,
            };
            soak::run(&plan, &build::binary())?;
        }
        Task::Vm(args) => return vm(args),
        Task::DemoInGuest { folder, capture } => {
            // A guest without KVM is slow, and slowest when probes are attached.
            let plan = demo::Plan { capture: &capture, limit: Duration::from_secs(240) };
            return demo::run(&Pair::in_guest(&folder, Path::new("/bin/vfsync"))?, plan);
        }
        Task::WriteCostInGuest { ways } => bench::guests::in_guest(&ways)?,
        Task::Build { debug } => {
            setup::bring(&[setup::Part::Ebpf], &[])?;
            println!("{}", build::dist(profile(debug))?.display());
        }
        Task::Dist { no_build } => {
            if !no_build {
                setup::bring(&[setup::Part::Ebpf], &[])?;
                build::dist(Profile::Release)?;
            }
            let binary = build::binary();
            let made = dist::all(&binary, binary.parent().context("the binary lies in no folder")?)?;
            dist::report(&made);
        }
        Task::BuildEbpf { debug } => {
            setup::bring(&[setup::Part::Ebpf], &[])?;
            println!("{}", build::ebpf(profile(debug))?.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn kernels(all: bool) -> &'static [Kernel] {
    if all { &Kernel::ALL } else { &[Kernel::V6_1] }
}

fn tests(selection: &test::Selection) -> Result<()> {
    if selection.wants(test::Kind::EndToEnd) || selection.wants(test::Kind::Vm) {
        setup::bring(&[setup::Part::Ebpf, setup::Part::Ssh, setup::Part::Trace], &[])?;
        build::dist(Profile::Release)?;
    }
    if selection.wants(test::Kind::Vm) {
        setup::bring(&[setup::Part::Vm], &selection.kernels)?;
    }
    test::run(selection)
}

fn run(no_build: bool, args: &[OsString]) -> Result<ExitCode> {
    if !no_build {
        setup::bring(&[setup::Part::Ebpf], &[])?;
        build::dist(Profile::Release)?;
    }
    if args.is_empty() {
        setup::bring(&[setup::Part::Ssh], &[])?;
        let plan = demo::Plan { capture: "auto", limit: Duration::from_secs(30) };
        return demo::run(&Pair::new(&build::binary())?, plan);
    }
    let binary = build::binary();
    // vfsync takes this process's place: signals and exit code are its own.
    let error = Command::new(&binary).args(args).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}

fn vm(args: Vm) -> Result<ExitCode> {
    let kernel = args.kernel.unwrap_or(Kernel::V6_1);
    let kernels = if args.all && args.kernel.is_none() { Kernel::ALL.to_vec() } else { vec![kernel] };
    setup::bring(&[setup::Part::Vm], &kernels)?;
    let binary = build::binary();
    if !args.no_build {
        setup::bring(&[setup::Part::Ebpf], &[])?;
        build::dist(Profile::Release)?;
    }
    if args.all {
        matrix::all(&kernels, args.own_mode, args.write)?;
        return Ok(ExitCode::SUCCESS);
    }
    let vm = xtask::vm::Vm {
        preempt: args.preempt,
        append: args.append,
        disks: args.disk,
        vfsync: binary.exists().then_some(binary),
        files: args.file,
        limit: Duration::from_secs(args.limit),
        ..xtask::vm::Vm::new(kernel)
    };
    let finished = if args.command.is_empty() { vm.shell()? } else { vm.run_shown(&args.command.join(" "))? };
    Ok(u8::try_from(finished.code).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn profile(debug: bool) -> Profile {
    if debug { Profile::Debug } else { Profile::Release }
}
