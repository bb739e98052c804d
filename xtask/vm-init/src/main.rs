//! The first process of a test guest: makes the machine usable, runs one command, reports its exit code, powers off. Where
//! systemd is in the guest, it becomes systemd, which starts it once more for the command.
//!
//! The kernel's messages go to the first serial port, the command's output to the second and its exit code to the
//! third, so that none of them can be mistaken for another.

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    mount::{MountFlags, mount},
    process::{WaitOptions, wait},
    system::{RebootCommand, reboot, sethostname},
    termios::{OptionalActions, Termios, tcdrain, tcgetattr, tcsetattr},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// File systems that programs expect, in order; those with a mark may be missing from the kernel.
const MOUNTS: [(&str, &str, bool); 12] = [
    ("proc", "/proc", true),
    ("sysfs", "/sys", true),
    ("devtmpfs", "/dev", true),
    ("devpts", "/dev/pts", true),
    ("tmpfs", "/dev/shm", true),
    ("tmpfs", "/tmp", true),
    ("tmpfs", "/run", true),
    ("securityfs", "/sys/kernel/security", false),
    ("debugfs", "/sys/kernel/debug", false),
    ("tracefs", "/sys/kernel/tracing", false),
    ("bpf", "/sys/fs/bpf", false),
    ("cgroup2", "/sys/fs/cgroup", false),
];

const SYSTEMD: &str = "/lib/systemd/systemd";

/// Has systemd run the command. It needs no more of the usual units than services and timers want by themselves.
const UNITS: [(&str, &str); 10] = [
    ("sysinit.target", BARE),
    ("basic.target", BARE),
    ("shutdown.target", BARE),
    ("local-fs.target", BARE),
    ("remote-fs.target", BARE),
    ("network-online.target", BARE),
    ("multi-user.target", BARE),
    ("timers.target", BARE),
    (
        "vm.target",
        "[Unit]\nDefaultDependencies=no\nRequires=basic.target vm-command.service\nAllowIsolate=yes\n",
    ),
    (
        "vm-command.service",
        "[Unit]\nDefaultDependencies=no\nAfter=basic.target\n\
         [Service]\nType=oneshot\nExecStart=/init\nTimeoutStartSec=infinity\n",
    ),
];
const BARE: &str = "[Unit]\nDefaultDependencies=no\n";

fn main() {
    let first = std::process::id() == 1;
    let prepared = if first { prepare() } else { Ok(()) };
    if first && prepared.is_ok() && Path::new(SYSTEMD).exists() {
        eprintln!("init: {}", become_systemd());
        power_off();
    }
    let code = match prepared.and_then(|()| perform()) {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(error) => {
            eprintln!("init: {error}");
            // The host takes a missing report for a guest that did not come up.
            power_off();
        }
    };
    if let Err(error) = report(code) {
        eprintln!("init: cannot report the exit code: {error}");
    }
    power_off();
}

/// Mounts, loads modules, brings the loopback device up, starts sshd.
fn prepare() -> Result<()> {
    for (kind, target, needed) in MOUNTS {
        if let Err(error) = fs::create_dir_all(target) {
            return Err(format!("cannot create {target}: {error}").into());
        }
        match mount(kind, target, kind, MountFlags::empty(), None) {
            Err(error) if needed => return Err(format!("cannot mount {kind} on {target}: {error}").into()),
            _ => {}
        }
    }
    sethostname(b"guest")?;
    busybox(&["--install", "-s", "/bin"])?;
    for module in fs::read_to_string("/etc/vm/modules")?.lines() {
        // What is built in is no module, and says so itself.
        let _ = Command::new("/bin/modprobe").args(["-q", module]).status();
    }
    for (number, disk) in fs::read_to_string("/etc/vm/disks")?.lines().enumerate() {
        let (kind, target) = disk.split_once(' ').ok_or("a disk needs a kind and a place")?;
        let device = format!("/dev/vd{}", char::from(b'a' + u8::try_from(number)?));
        wait_for(&device)?;
        fs::create_dir_all(target)?;
        busybox(&["mount", "-t", kind, &device, target])?;
    }
    busybox(&["ip", "link", "set", "lo", "up"])?;
    fs::create_dir_all("/run/sshd")?;
    if Path::new("/usr/sbin/sshd").exists() {
        let status = Command::new("/usr/sbin/sshd").status()?;
        if !status.success() {
            return Err(format!("sshd ended with {status}").into());
        }
    }
    Ok(())
}

/// Becomes systemd; returns why not.
fn become_systemd() -> Box<dyn Error> {
    let units = Path::new("/etc/systemd/system");
    for (name, text) in UNITS {
        let written = fs::create_dir_all(units).and_then(|()| fs::write(units.join(name), text));
        if let Err(error) = written {
            return format!("cannot write {name}: {error}").into();
        }
    }
    let mut systemd = Command::new(SYSTEMD);
    systemd.args(["--system", "--unit=vm.target", "--log-target=kmsg", "--show-status=no"]);
    systemd.exec().into()
}

/// Runs the command, or an interactive shell where there is none.
fn perform() -> Result<ExitStatus> {
    let interactive = !Path::new("/etc/vm/command").exists();
    let port = OpenOptions::new().read(true).write(true).open("/dev/ttyS1")?;
    let mut terminal = tcgetattr(&port)?;
    if !interactive {
        terminal.make_raw();
    }
    set_speed(&mut terminal)?;
    tcsetattr(&port, OptionalActions::Now, &terminal)?;
    let mut command = Command::new("/bin/busybox");
    if interactive {
        command.args(["setsid", "-c", "/bin/sh", "-l"]).stdin(port.try_clone()?);
    } else {
        command.args(["sh", "/etc/vm/command"]).stdin(Stdio::null());
    }
    command.env_clear().current_dir("/root").envs([
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        ("HOME", "/root"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/bin/sh"),
        ("TERM", "linux"),
    ]);
    let child = command.stdout(port.try_clone()?).stderr(port.try_clone()?).spawn()?;
    let child = i32::try_from(child.id())?;
    // The first process inherits every orphan.
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get() == child => {
                // The end of a shell hangs its terminal up: then there is nothing to wait for.
                if !interactive {
                    tcdrain(&port)?;
                }
                return Ok(ExitStatus::from_raw(status.as_raw()));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn report(code: i32) -> Result<()> {
    let mut port = File::options().write(true).open("/dev/ttyS2")?;
    let mut terminal = tcgetattr(&port)?;
    terminal.make_raw();
    set_speed(&mut terminal)?;
    tcsetattr(&port, OptionalActions::Now, &terminal)?;
    writeln!(port, "exit {code}")?;
    tcdrain(&port)?;
    Ok(())
}

fn set_speed(terminal: &mut Termios) -> Result<()> {
    terminal.set_speed(115_200)?;
    Ok(())
}

fn power_off() -> ! {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    // Ending the first process makes the kernel panic, and the host sees that.
    panic!("cannot power off");
}

fn busybox(args: &[&str]) -> Result<()> {
    let status = Command::new("/bin/busybox").args(args).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("busybox {} ended with {status}", args.join(" ")).into())
    }
}

fn wait_for(path: &str) -> Result<()> {
    let start = Instant::now();
    while !Path::new(path).exists() {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("{path} did not appear").into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
