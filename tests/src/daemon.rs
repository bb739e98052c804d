//! A [`Daemon`] is a `vfsync daemon` that runs while a test changes its trees and its configuration.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::{Compare, LIMIT, Outcome, Pair, Running, Tree, wait_for, wait_for_up_to};

/// A running `vfsync daemon`.
pub struct Daemon {
    running: Running,
    config: PathBuf,
}

impl Daemon {
    /// Starts it with this configuration, in the environment of a pair.
    pub fn start(pair: &Pair, config: &str) -> Daemon {
        Daemon::start_with(pair, config, &[])
    }

    /// Starts it with this configuration and more in its environment.
    pub fn start_with(pair: &Pair, config: &str, environment: &[(&str, &str)]) -> Daemon {
        let path = pair.home().path("vfsync.toml");
        pair.home().file("vfsync.toml", config);
        let mut vfsync = pair.vfsync().args(["daemon".as_ref(), "--config".as_ref(), path.as_os_str()]);
        for (name, value) in environment {
            vfsync = vfsync.env(name, value);
        }
        Daemon { running: vfsync.start(), config: path }
    }

    /// Starts it for both roots of a pair, and waits until they are the same.
    pub fn of(pair: &Pair) -> Daemon {
        let mut daemon = Daemon::start(pair, &(pair.defaults() + &pair.block()));
        daemon.carries(&pair.first, &pair.second);
        daemon
    }

    /// Waits until two trees are the same, and panics with their differences if they do not become so.
    #[track_caller]
    pub fn carries(&mut self, first: &Tree, second: &Tree) -> &mut Daemon {
        let mut differences = Vec::new();
        let same = wait_for_up_to(LIMIT, || {
            assert!(self.running.is_running(), "vfsync daemon has ended:\n{}", self.running.stderr());
            differences = first.snapshot().differences(&second.snapshot(), Compare::default());
            differences.is_empty().then_some(())
        });
        if same.is_none() {
            let said = self.running.stderr();
            panic!("not carried over in {} s:\n{}{said}", LIMIT.as_secs(), differences.join("\n"));
        }
        self
    }

    /// Waits until its log holds some words.
    #[track_caller]
    pub fn says(&mut self, words: &str) -> &mut Daemon {
        self.says_times(words, 1)
    }

    /// Waits until its log holds some words so often.
    #[track_caller]
    pub fn says_times(&mut self, words: &str, times: usize) -> &mut Daemon {
        wait_for(&format!("{words:?} in the log"), || {
            let said = self.running.stderr();
            assert!(self.running.is_running(), "vfsync daemon has ended:\n{said}");
            (said.matches(words).count() >= times).then_some(())
        });
        self
    }

    /// Gives it another configuration, and tells it so.
    pub fn reload(&mut self, config: &str) -> &mut Daemon {
        std::fs::write(&self.config, config).expect("the configuration can be written");
        self.running.signal(Signal::HUP);
        self
    }

    /// Waits until `vfsync status` says that there are so many links in a state.
    #[track_caller]
    pub fn links(&mut self, pair: &Pair, state: &str, count: usize) -> &mut Daemon {
        wait_for(&format!("{count} links to be {state}"), || {
            assert!(self.running.is_running(), "vfsync daemon has ended:\n{}", self.running.stderr());
            let links = status(pair, "link");
            (links.iter().filter(|link| link["state"] == state).count() == count).then_some(())
        });
        self
    }

    /// Returns the process.
    pub fn process(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Stops it as the service manager does, and waits for its end.
    pub fn stop(self) -> Outcome {
        self.running.signal(Signal::TERM);
        self.running.end()
    }
}

/// Returns the control socket of the process that runs at a pair's near end.
pub fn control_socket(pair: &Pair) -> PathBuf {
    let folder = std::fs::read_dir(pair.near_state().join("control"));
    let mut sockets = folder.expect("there is a folder for sockets").flatten();
    sockets.next().expect("there is a socket").path()
}

/// Asks the processes of a pair's near end with a command such as `status`.
pub fn ask(pair: &Pair, args: &[&str]) -> Outcome {
    pair.vfsync().args(args).run()
}

/// Returns the lines of one kind that `vfsync status --json` prints; none if nobody answers.
pub fn status(pair: &Pair, event: &str) -> Vec<serde_json::Value> {
    ask(pair, &["status", "--json"]).events(event)
}

/// Two hosts with a daemon each, which share this one: each has its own state.
pub struct Hosts {
    /// The first host, whose trees are those of both.
    pub pair: Pair,
    /// The other one.
    pub there: Pair,
}

impl Hosts {
    /// Makes two, of which each is reached over ssh.
    pub fn new() -> Hosts {
        let (pair, there) = (Pair::over_ssh(), Pair::over_ssh());
        Hosts { pair, there }
    }

    /// Returns the `[defaults]` of one with the command that starts vfsync on the other.
    pub fn defaults(of: &Pair, peer: &Pair) -> String {
        of.defaults().replace(&of.server_command(), &peer.near_server_command())
    }

    /// Returns configurations with which each of the two names the other, and says this besides.
    pub fn naming_each_other(&self, here: &str, there: &str) -> [String; 2] {
        let address = |tree: &Tree| self.pair.sshd().root(tree.root());
        let (first, second) = (&self.pair.first, &self.pair.second);
        let block = |root: &Tree, peer: &Tree| {
            crate::pair::block(&root.root().display().to_string(), &[&address(peer)])
        };
        [
            Hosts::defaults(&self.pair, &self.there) + &block(first, second) + here,
            Hosts::defaults(&self.there, &self.pair) + &block(second, first) + there,
        ]
    }

    /// Returns how many links of each are live.
    pub fn live(&self) -> [usize; 2] {
        [&self.pair, &self.there]
            .map(|of| status(of, "link").iter().filter(|link| link["state"] == "live").count())
    }
}

impl Default for Hosts {
    fn default() -> Hosts {
        Hosts::new()
    }
}
