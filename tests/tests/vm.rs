//! vfsync in guests, each with a kernel of its own: the capture tiers that this machine's kernel may not offer, each
//! carrying a live sync between two folders over the guest's sshd.
//!
//! `VFSYNC_KERNELS` names the kernels (`5.10,6.1`), as `cargo xtask test` does; without it Debian 12's is taken.

#[path = "vm/systemd.rs"]
mod systemd;

use std::{env, path::PathBuf, time::Duration};

use xtask::{
    build, coverage,
    kernel::Kernel,
    matrix::{self, Look, Told},
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

/// Looks at a kernel in a guest.
fn look(kernel: Kernel, preempt: Option<Preempt>, coverage: bool) -> Told {
    let tiers = matrix::tiers(kernel, preempt);
    // The foreign workload has its turn in the kernels' own modes.
    let stress = if coverage { 3 } else { 0 };
    // What the kernel's own NFS server does is for the long form.
    let look = Look { kernel, preempt, tiers, coverage, nfs: false, rounds: 3, stress };
    let told = look.run(vfsync()).unwrap_or_else(|e| panic!("on {}: {e:#}", look.name()));
    println!("on {}:\n{}", look.name(), told.output);
    let silences = told.silences(kernel, preempt);
    assert!(silences.is_empty(), "on {}: {silences:#?}", look.name());
    let storms = look.tiers.iter().filter(|tier| **tier != "fanotify").count();
    let workloads = if coverage { look.tiers.len() } else { 0 };
    assert_eq!(told.storms.len(), storms + workloads, "on {}", look.name());
    told
}

#[test]
fn what_a_kernel_reports_is_what_the_table_says_and_what_it_does_not_doctor_says() {
    let table = matrix::read_table().unwrap_or_else(|e| panic!("{e:#}"));
    for kernel in kernels() {
        let told = look(kernel, None, true);
        let (worse, better) = table.differences(kernel, &told.cells);
        assert!(worse.is_empty(), "on {kernel} it has become worse:\n{}", worse.join("\n"));
        assert!(
            better.is_empty(),
            "on {kernel} the table is out of date, `cargo xtask vm --all --write` writes it:\n{}",
            better.join("\n")
        );
        let unsaid = coverage::unsaid(&told.cells, &told.doctor);
        assert!(
            unsaid.is_empty(),
            "on {kernel} doctor does not say that these are not seen:\n{}",
            unsaid.join("\n")
        );
    }
}

#[test]
fn no_change_is_lost_in_silence_in_a_storm_however_the_kernel_is_preempted() {
    for kernel in kernels() {
        for &preempt in matrix::modes(kernel) {
            look(kernel, Some(preempt), false);
        }
    }
}
