//! A [`Vfsync`] is a command line of vfsync to be run, a [`Running`] one that runs.

use std::{
    ffi::OsStr,
    io::Read,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::Signal;

use crate::{LIMIT, Outcome, binary, process};

/// A command line of vfsync.
pub struct Vfsync {
    command: Command,
    limit: Duration,
}

impl Vfsync {
    /// Starts a command line with the vfsync under test. Nothing is on its standard input.
    pub(crate) fn new() -> Vfsync {
        let mut command = Command::new(binary::vfsync());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for variable in [
            "VFSYNC_LOG",
            "VFSYNC_CONFIG",
            "UNISON",
            "XDG_STATE_HOME",
            "SSH_AUTH_SOCK",
            "NO_COLOR",
            "CLICOLOR",
            "CLICOLOR_FORCE",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "WATCHDOG_PID",
        ] {
            command.env_remove(variable);
        }
        // On a machine that builds by itself there is none, and without one nothing moves on a terminal.
        command.env("TERM", "xterm");
        Vfsync { command, limit: 2 * LIMIT }
    }

    /// Takes the command line of a program that becomes vfsync.
    pub(crate) fn behind(mut command: Command) -> Vfsync {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Vfsync { command, limit: 2 * LIMIT }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Vfsync {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Vfsync {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Vfsync {
        self.command.env(name, value);
        self
    }

    /// Sets its working directory.
    pub fn in_dir(mut self, dir: &Path) -> Vfsync {
        self.command.current_dir(dir);
        self
    }

    /// Connects one of its standard streams to something else.
    pub fn streams(mut self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Vfsync {
        self.command.stdin(stdin).stdout(stdout).stderr(stderr);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("cannot start vfsync: {e}"));
        let stdout = child.stdout.take().map(Captured::of);
        let stderr = child.stderr.take().map(Captured::of);
        Running { child, stdout, stderr, limit: self.limit, line: format!("{:?}", self.command) }
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        self.start().end()
    }
}

/// A vfsync that runs. It is killed when it is dropped.
pub struct Running {
    child: Child,
    stdout: Option<Captured>,
    stderr: Option<Captured>,
    limit: Duration,
    line: String,
}

impl Running {
    /// Returns its process number.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number fits")
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // Not yet awaited, so the number is still its own.
        process::signal(self.pid(), signal);
    }

    /// Returns whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns what it has printed on standard output until now.
    pub fn stdout(&self) -> String {
        self.stdout.as_ref().map(Captured::so_far).unwrap_or_default()
    }

    /// Returns what it has printed on standard error until now.
    pub fn stderr(&self) -> String {
        self.stderr.as_ref().map(Captured::so_far).unwrap_or_default()
    }

    /// Waits for its end. One that does not end is killed, and the test fails.
    pub fn end(mut self) -> Outcome {
        if !process::ended_within(self.pid(), self.limit) {
            self.kill();
            panic!(
                "vfsync still ran after {} s: {}\nstandard error: {}",
                self.limit.as_secs(),
                self.line,
                self.stderr()
            );
        }
        let status = self.child.wait().expect("a child can be awaited");
        Outcome {
            line: self.line.clone(),
            code: status.code(),
            signal: status.signal(),
            stdout: self.stdout.take().map(Captured::finish).unwrap_or_default(),
            stderr: self.stderr.take().map(Captured::finish).unwrap_or_default(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream that is read as it comes.
struct Captured {
    text: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Captured {
    fn of(mut stream: impl Read + Send + 'static) -> Captured {
        let text = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&text);
        let thread = std::thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut chunk) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend(&chunk[..n]);
            }
        });
        Captured { text, thread }
    }

    fn so_far(&self) -> String {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn finish(self) -> String {
        // A process that outlives vfsync may hold the stream: what it says is not awaited for ever.
        let _ = crate::wait_for_up_to(Duration::from_secs(5), || self.thread.is_finished().then_some(()));
        self.so_far()
    }
}
