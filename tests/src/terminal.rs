//! A [`Terminal`] is a terminal at which a test types and reads.

use std::{
    fs::File,
    io::{Read, Write},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags, open},
    process::Signal,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{Outcome, Running, Vfsync, wait_for, wait_for_up_to};

/// vfsync at a terminal: its three standard streams are one.
pub struct Terminal {
    running: Running,
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    reader: thread::JoinHandle<()>,
}

impl Terminal {
    /// Starts a command line at a new terminal.
    pub fn start(vfsync: Vfsync) -> Terminal {
        Terminal::sized(vfsync, 0, 0)
    }

    /// Starts a command line at a new terminal of this size; of one without columns it is not known.
    pub fn sized(vfsync: Vfsync, columns: u16, rows: u16) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be opened");
        grantpt(&master).expect("a terminal can be used");
        unlockpt(&master).expect("a terminal can be used");
        let name = ptsname(&master, Vec::new()).expect("a terminal has a name");
        let slave = || {
            let slave = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
            Stdio::from(slave.expect("a terminal can be opened"))
        };
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a terminal takes a size");
        let running = vfsync.streams(slave(), slave(), slave()).start();
        let keyboard = File::from(master);
        let mut from = keyboard.try_clone().expect("a terminal can be read");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&screen);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            // It ends with an error when the last process at the terminal has gone.
            while let Ok(n @ 1..) = from.read(&mut chunk) {
                to.lock().unwrap_or_else(PoisonError::into_inner).extend(&chunk[..n]);
            }
        });
        Terminal { running, keyboard, screen, reader }
    }

    /// Returns what is on the screen.
    pub fn screen(&self) -> String {
        let screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen).into_owned()
    }

    /// Forgets what was on the screen until now.
    pub fn forget(&mut self) -> &mut Terminal {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self
    }

    /// Waits until some words are on the screen.
    pub fn shows(&mut self, words: &str) -> &mut Terminal {
        wait_for(&format!("{words:?} on the screen"), || {
            let there = self.screen().contains(words);
            assert!(there || self.running.is_running(), "it ended without {words:?}:\n{}", self.screen());
            there.then_some(())
        });
        self
    }

    /// Gives the terminal another size. A program is told by a signal.
    pub fn resize(&mut self, columns: u16, rows: u16) -> &mut Terminal {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.keyboard, size).expect("a terminal takes a size");
        // It is not the program's controlling terminal, so the kernel tells nobody.
        self.signal(Signal::WINCH);
        self
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Presses keys.
    pub fn presses(&mut self, keys: &str) -> &mut Terminal {
        write!(self.keyboard, "{keys}").expect("a terminal takes keys");
        self
    }

    /// Types a line.
    pub fn types(&mut self, line: &str) -> &mut Terminal {
        writeln!(self.keyboard, "{line}").expect("a terminal takes a line");
        self
    }

    /// Waits for the end. What was on the screen stands for standard output and error.
    pub fn end(self) -> Outcome {
        let Terminal { running, keyboard, screen, reader } = self;
        let outcome = running.end();
        let _ = wait_for_up_to(Duration::from_secs(5), || reader.is_finished().then_some(()));
        drop(keyboard);
        let screen = screen.lock().unwrap_or_else(PoisonError::into_inner);
        let screen = String::from_utf8_lossy(&screen).into_owned();
        Outcome { stderr: screen.clone(), stdout: screen, ..outcome }
    }
}
