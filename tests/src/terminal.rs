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
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
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
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal can be opened");
        grantpt(&master).expect("a terminal can be used");
        unlockpt(&master).expect("a terminal can be used");
        let name = ptsname(&master, Vec::new()).expect("a terminal has a name");
        let slave = || {
            let slave = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
            Stdio::from(slave.expect("a terminal can be opened"))
        };
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

    /// Waits until some words are on the screen.
    pub fn shows(&mut self, words: &str) -> &mut Terminal {
        wait_for(&format!("{words:?} on the screen"), || {
            let there = self.screen().contains(words);
            assert!(there || self.running.is_running(), "it ended without {words:?}:\n{}", self.screen());
            there.then_some(())
        });
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
