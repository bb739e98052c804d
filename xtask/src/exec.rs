//! Running another program: quietly, with its output shown only when it fails, or in full view.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, OnceLock, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
};

use anyhow::{Context, Result, bail};

use crate::sshd;

/// Runs a command without its output; an error carries the end of what it printed.
pub fn quietly(command: &mut Command) -> Result<()> {
    read(command).map(drop)
}

/// Runs a command and returns its standard output; an error carries the end of what it printed.
pub fn read(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    if !out.status.success() {
        let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&out.stderr));
        bail!("{} ended with {}:\n{}", line(command), out.status, tail(&text, 30));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs a command with its output on ours.
pub fn shown(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// Returns a command for a program that is to end with us, however we end. To be started with [`spawn`].
pub fn tied(program: &Path) -> Command {
    let setpriv = Path::new("/usr/bin/setpriv");
    if !setpriv.exists() {
        // In a guest: nothing there outlives the guest.
        return Command::new(program);
    }
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

/// Starts a command as the leader of a process group.
///
/// What is tied ends with the thread that started it, which for a test is the end of that test. So all are started by
/// one thread that lasts as long as the process.
pub fn spawn(mut command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static ORDERS: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (orders, queue) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, answer) in queue {
                // Who asked waits for the answer.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    command.process_group(0);
    let (sender, answer) = mpsc::channel();
    let orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    orders.send((command, sender)).expect("the starting thread does not end");
    drop(orders);
    answer.recv().expect("the starting thread does not end")
}

/// A program that runs, and ends with the value.
pub struct Tied(Child);

impl Tied {
    /// Starts one, as [`spawn`] does.
    pub fn start(command: Command) -> Result<Self> {
        let words = cannot_start(&command);
        spawn(command).map(Self).context(words)
    }

    /// Returns its process number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Returns how it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.0.try_wait().context("cannot wait for a program")
    }

    /// Tells it to end.
    pub fn terminate(&self) {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw) {
            // Gone already is as good.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.0.wait().context("cannot wait for a program")
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        sshd::end_group(&mut self.0);
    }
}

/// Returns the command as a person would type it.
pub fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", command.get_program().to_string_lossy())
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
