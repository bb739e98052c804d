//! vfsync in guests, each with a kernel of its own: the capture tiers that this machine's kernel may not offer, each
//! carrying a live sync between two folders over the guest's sshd.
//!
//! `VFSYNC_KERNELS` names the kernels (`5.10,6.1`), as `cargo xtask test` does; without it Debian 12's is taken.

use std::{env, path::PathBuf, time::Duration};

use vfsync_tests::{coverage, operations::OPERATIONS};
use xtask::{
    build,
    kernel::Kernel,
    vm::{self, Disk, Finished, Preempt, Vm},
};

/// Returns the kernels to test with.
fn kernels() -> Vec<Kernel> {
    let Ok(names) = env::var("VFSYNC_KERNELS") else { return vec![Kernel::V6_1] };
    let kernel = |name: &str| Kernel::ALL.into_iter().find(|kernel| kernel.name() == name);
    let kernel =
        |name| kernel(name).unwrap_or_else(|| panic!("VFSYNC_KERNELS names {name}, which is no kernel"));
    names.split(',').filter(|name| !name.is_empty()).map(kernel).collect()
}

/// Returns the static vfsync, as guests have no libraries for another one.
fn vfsync() -> PathBuf {
    let path = env::var_os("VFSYNC_BIN").map_or_else(build::binary, PathBuf::from);
    assert!(path.is_file(), "{} is missing: run `cargo xtask build`", path.display());
    path
}

fn guest(kernel: Kernel) -> Vm {
    Vm { vfsync: Some(vfsync()), disks: vec![Disk::Ext4], limit: Duration::from_secs(900), ..Vm::new(kernel) }
}

/// Runs a script in a guest and requires that it succeeds.
fn succeed(vm: &Vm, script: &str) -> Finished {
    let finished = vm.run(script).unwrap_or_else(|e| panic!("on {}: {e:#}", vm.kernel));
    println!("on {}:\n{}", vm.kernel, finished.output);
    assert_eq!(finished.code, 0, "on {}; its console:\n{}", vm.kernel, finished.console);
    finished
}

/// Runs the demonstration in a guest: each kind of change on either side has to be captured by the tier, and carried
/// over.
fn carries_a_live_sync(mut vm: Vm, tier: &str) {
    let program = vm::build_static("xtask").unwrap_or_else(|e| panic!("{e:#}"));
    vm.files.push((program, "/bin/xtask".to_owned()));
    let finished = succeed(&vm, &format!("xtask demo-in-guest /mnt/ext4 {tier}"));
    assert!(finished.output.contains(&format!("capture: {tier}")), "another tier was taken");
}

/// Performs every operation in a guest, on every file system, once for each tier that the kernel has to have.
fn reports_every_operation(kernel: Kernel) {
    let programs = vm::build_static("vfsync-tests").unwrap_or_else(|e| panic!("{e:#}"));
    let check = (programs.with_file_name("capture-check"), "/bin/capture-check".to_owned());
    let vm = Vm { disks: vec![Disk::Ext4, Disk::Xfs, Disk::Btrfs], files: vec![check], ..guest(kernel) };
    let tiers = tiers(kernel);
    let finished = succeed(&vm, &SCRIPT.replace("TIERS", &tiers.join(" ")));
    let printed = coverage::printed(&finished.output);
    let names: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    for tier in tiers {
        let holes = coverage::holes(&printed, tier, &["tmpfs", "ext4", "xfs", "btrfs", "overlay"], &names);
        assert!(holes.is_empty(), "on {kernel}, {tier} has told nothing of {holes:?}");
    }
    let table = include_str!("../uncovered.txt");
    let known = coverage::known(table, kernel.name());
    let differences = coverage::differences(&printed, &known);
    assert!(differences.is_empty(), "on {kernel}:\n{}", differences.join("\n"));
    // A tier that is refused says so itself.
    for cell in known.iter().filter(|cell| cell.operation != coverage::EVERYTHING) {
        let named =
            finished.output.lines().any(|l| l.contains("does not see") && l.contains(&cell.operation));
        assert!(named, "doctor does not say that {cell} is not seen on {kernel}");
    }
}

/// What reports_every_operation runs in a guest.
const SCRIPT: &str = "
mkdir -p /mnt/ext4/lower /mnt/ext4/upper /mnt/ext4/work /mnt/overlay /tmp/check || exit
mount -t overlay -o lowerdir=/mnt/ext4/lower,upperdir=/mnt/ext4/upper,workdir=/mnt/ext4/work o /mnt/overlay || exit
for tier in TIERS; do
    capture-check vfsync $tier tmpfs=/tmp/$tier ext4=/mnt/ext4/$tier xfs=/mnt/xfs/$tier btrfs=/mnt/btrfs/$tier \\
        overlay=/mnt/overlay/$tier || exit
done
vfsync doctor /mnt/ext4
true
";

/// Returns the tiers that a kernel has to have.
fn tiers(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        // These are not preempted, so that trampolines lose nothing.
        Kernel::V5_10 | Kernel::V6_1 | Kernel::V6_12 => &["kprobe", "fentry", "fanotify"],
        Kernel::Sid => &["kprobe", "tracepoint", "fanotify"],
    }
}

#[test]
fn a_guest_tells_its_kernel_and_the_exit_code_of_its_command() {
    for kernel in kernels() {
        let vm = Vm { limit: Duration::from_secs(120), ..guest(kernel) };
        let finished =
            vm.run("uname -r; echo error >&2; ssh localhost exit 7").unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(finished.code, 7, "{}", finished.console);
        let release = kernel.find().unwrap_or_else(|e| panic!("{e:#}")).release;
        assert_eq!(finished.output, format!("{release}\nerror\n"));
    }
}

#[test]
fn a_guest_that_panics_is_an_error_that_says_so() {
    let error = guest(Kernel::V6_1).run("echo c > /proc/sysrq-trigger").expect_err("a panic is no result");
    assert!(error.to_string().starts_with("the guest's kernel panicked"), "{error:#}");
}

#[test]
fn kprobes_carry_a_live_sync() {
    for kernel in kernels() {
        carries_a_live_sync(guest(kernel), "kprobe");
    }
}

#[test]
fn trampolines_carry_a_live_sync_where_the_kernel_is_not_preempted() {
    // The newest kernels can only be preempted: there the tier is refused.
    for kernel in kernels().into_iter().filter(|kernel| *kernel != Kernel::Sid) {
        // The oldest one is not preempted and knows no such argument.
        let preempt = (kernel != Kernel::V5_10).then_some(Preempt::Voluntary);
        carries_a_live_sync(Vm { preempt, ..guest(kernel) }, "fentry");
    }
}

#[test]
fn every_operation_is_reported_but_those_in_the_table() {
    for kernel in kernels() {
        reports_every_operation(kernel);
    }
}

#[test]
fn no_change_is_lost_in_silence_in_a_storm_however_the_kernel_is_preempted() {
    let programs = vm::build_static("vfsync-tests").unwrap_or_else(|e| panic!("{e:#}"));
    for kernel in kernels() {
        // Before 6.7 a kernel does not count the kprobes that it skips where it is preempted: doctor says so.
        let (modes, tiers): (&[_], _) = match kernel {
            Kernel::V5_10 | Kernel::V6_1 => (&[None], "kprobe fentry"),
            Kernel::V6_12 => (&[None, Some(Preempt::Full)], "kprobe"),
            Kernel::Sid => (&[Some(Preempt::Lazy), Some(Preempt::Full)], "kprobe tracepoint"),
        };
        for &preempt in modes {
            let check = (programs.with_file_name("storm-check"), "/bin/storm-check".to_owned());
            let vm = Vm { preempt, files: vec![check], ..guest(kernel) };
            let script =
                format!("for tier in {tiers}; do storm-check vfsync $tier /mnt/ext4/$tier 3 || exit; done");
            succeed(&vm, &script);
        }
    }
}
