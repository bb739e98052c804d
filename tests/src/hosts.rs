//! A [`Network`] is several [`Machine`]s with a cable between each two of them: hosts that know each other by name, let
//! each other in by key, and run a daemon each.

use std::{fs, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::{LIMIT, Machine, Outcome, Running, Tree, binary, wait_for};

/// Starts what a host runs: an sshd.
const SSHD: &str = "mkdir -p /run/sshd && exec /usr/local/bin/sshd -D -e -f /etc/ssh/test_config";

/// A host.
pub struct Host {
    /// Its name in the network.
    pub name: String,
    /// What it is made of.
    pub machine: Machine,
    sshd: Option<Running>,
    daemon: Option<Running>,
}

/// Hosts with a cable between each two of them.
pub struct Network {
    hosts: Vec<Host>,
    _keys: TempDir,
}

/// Returns the address that a host has at the cable to another.
fn address(of: usize, to: usize) -> String {
    format!("10.77.{}.{}", of.min(to) * 16 + of.max(to), if of < to { 1 } else { 2 })
}

impl Network {
    /// Makes hosts of these names and boots them. Each has vfsync and lets the others in; none runs a daemon. Needs root.
    pub fn of(names: &[&str]) -> Network {
        let keys = tempfile::tempdir().expect("a temporary folder can be made");
        let ssh = xtask::sshd::kit();
        let hosts: Vec<Host> = names
            .iter()
            .map(|name| Host {
                name: (*name).to_owned(),
                machine: Machine::sharing(&[ssh.dir()]),
                sshd: None,
                daemon: None,
            })
            .collect();
        let mut network = Network { hosts, _keys: keys };
        network.exchange_keys();
        for host in 0..names.len() {
            network.install(host);
            network.ip(host, &["link", "set", "lo", "up"]);
        }
        for first in 0..names.len() {
            for second in first + 1..names.len() {
                network.lay_cable(first, second);
            }
        }
        network.hosts.iter_mut().for_each(Host::boot);
        network
    }

    /// Returns a host.
    pub fn host(&mut self, host: usize) -> &mut Host {
        &mut self.hosts[host]
    }

    /// Returns all of them.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Cuts the cable between two hosts, or mends it.
    pub fn cable(&self, first: usize, second: usize, whole: bool) {
        let state = if whole { "up" } else { "down" };
        self.ip(first, &["link", "set", &self.hosts[second].name, state]);
    }

    /// Gives a host one more address, at its cable to another.
    pub fn give_address(&self, host: usize, to: usize, address: &str) {
        self.ip(host, &["addr", "add", address, "dev", &self.hosts[to].name]);
    }

    /// Returns the host that is meant by an address or a name, as `status` has it: `ssh://name//root`, `address:/root`.
    pub fn meant(&self, seen_from: usize, peer: &str) -> Option<usize> {
        (0..self.hosts.len()).find(|&host| {
            peer.starts_with(&format!("ssh://{}/", self.hosts[host].name))
                || host != seen_from && peer.starts_with(&format!("{}:", address(host, seen_from)))
        })
    }

    fn exchange_keys(&self) {
        let made: Vec<_> = self
            .hosts
            .iter()
            .map(|host| {
                let dir = self._keys.path().join(&host.name);
                fs::create_dir(&dir).expect("a folder can be made");
                xtask::sshd::make_keys(&dir).unwrap_or_else(|e| panic!("no keys: {e:#}"))
            })
            .collect();
        let users: String = made.iter().map(|keys| keys.user_public.clone()).collect();
        let known: String = self
            .hosts
            .iter()
            .zip(&made)
            .map(|(host, keys)| format!("{} {}\n", host.name, keys.host_public.trim()))
            .collect();
        for (host, keys) in self.hosts.iter().zip(&made) {
            let machine = &host.machine;
            machine.file("/root/.ssh/authorized_keys", &users).file("/root/.ssh/known_hosts", &known);
            machine.file("/root/.ssh/id_ed25519", &keys.user).file("/etc/ssh/test_host_key", &keys.host);
            machine
                .run("chmod 700 /root/.ssh && chmod 600 /root/.ssh/* /etc/ssh/test_host_key && chown -R 0:0 /root/.ssh")
                .code(0);
        }
    }

    fn install(&self, host: usize) {
        let machine = &self.hosts[host].machine;
        let names: String = (0..self.hosts.len())
            .map(|other| {
                let at = if other == host { "127.0.0.1".to_owned() } else { address(other, host) };
                format!("{at} {}\n", self.hosts[other].name)
            })
            .collect();
        machine.file("/etc/hosts", format!("127.0.0.1 localhost\n{names}"));
        let config = xtask::sshd::config("/etc/ssh/test_host_key", "/root/.ssh/authorized_keys", 22);
        machine
            .file("/etc/ssh/test_config", config.replace("ListenAddress 127.0.0.1", "ListenAddress 0.0.0.0"));
        machine.run("grep -q ^sshd: /etc/passwd || echo 'sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin' >> /etc/passwd")
            .code(0);
        // No password fits "*", and unlike "!" it does not mean that the account is locked.
        machine.file("/etc/shadow", "root:*:1::::::\n");
        let bin = xtask::sshd::kit().dir().join("bin");
        machine.run(&format!("mkdir -p /etc/vfsync && ln -sf {}/* /usr/local/bin/", bin.display())).code(0);
        let vfsync = machine.path("/usr/bin/vfsync");
        fs::copy(binary::vfsync(), vfsync).expect("vfsync can be copied");
        // Not in an overlay: there files have no leases.
        for folder in ["/srv", "/var/lib/vfsync"] {
            machine.mount_tmpfs(folder);
        }
        machine.run("mkdir -p /srv/www").code(0);
    }

    fn lay_cable(&self, first: usize, second: usize) {
        let [one, two] = [first, second].map(|host| &self.hosts[host]);
        let pids = [one, two].map(|host| host.machine.keeper().to_string());
        let mut command = Command::new("ip");
        command
            .args(["link", "add", &two.name, "netns", &pids[0], "type", "veth", "peer", "name", &one.name]);
        run(command.args(["netns", &pids[1]]));
        for (at, to) in [(first, second), (second, first)] {
            let name = &self.hosts[to].name;
            self.ip(at, &["addr", "add", &format!("{}/30", address(at, to)), "dev", name]);
            self.ip(at, &["link", "set", name, "up"]);
        }
    }

    fn ip(&self, host: usize, args: &[&str]) {
        let pid = self.hosts[host].machine.keeper().to_string();
        run(Command::new("nsenter").args(["--target", &pid, "--net", "--", "ip"]).args(args));
    }
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
}

impl Host {
    /// Starts it: its sshd answers.
    pub fn boot(&mut self) {
        self.machine.boot();
        let sshd = self.machine.shell(SSHD);
        let sshd = sshd.start();
        wait_for("sshd to listen", || sshd.stderr().contains("Server listening").then_some(()));
        self.sshd = Some(sshd);
    }

    /// Ends everything that runs on it at once, as when the power fails.
    pub fn halt(&mut self) {
        self.machine.halt();
        self.sshd = None;
        self.daemon = None;
    }

    /// Gives it a configuration.
    pub fn configure(&self, config: &str) {
        self.machine.file("/etc/vfsync/vfsync.toml", config);
    }

    /// Starts its daemon.
    pub fn start_daemon(&mut self) {
        self.start_as_service("vfsync daemon");
    }

    /// Starts what a unit starts, in place of the daemon of the package.
    pub fn start_as_service(&mut self, command: &str) {
        assert!(self.daemon.is_none(), "it runs already");
        let line = &format!("echo $$ > /run/vfsync.pid && exec {command}");
        self.daemon = Some(self.machine.shell(line).env("VFSYNC_LOG", "info").start());
    }

    /// Returns what its daemon has said.
    pub fn said(&self) -> String {
        self.daemon.as_ref().map(Running::stderr).unwrap_or_default()
    }

    /// Ends its daemon as a crash would.
    pub fn kill_daemon(&mut self) {
        self.run("kill -KILL $(cat /run/vfsync.pid)").code(0);
        let ended = self.daemon.take().expect("a daemon runs").end();
        assert!(ended.code != Some(0), "it ended by itself: {ended}");
    }

    /// Ends its daemon as the service manager does, and returns what it left.
    pub fn stop_daemon(&mut self) -> Outcome {
        self.run("kill -TERM $(cat /run/vfsync.pid)").code(0);
        self.daemon.take().expect("a daemon runs").end()
    }

    /// Runs a line of shell on it.
    pub fn run(&self, line: &str) -> Outcome {
        self.machine.run(line)
    }

    /// Returns the lines of one kind that `vfsync status --json` prints there; none if nobody answers.
    pub fn status(&self, event: &str) -> Vec<Value> {
        self.run("vfsync status --json").events(event)
    }

    /// Returns a tree of it.
    pub fn tree(&self, root: &str) -> Tree {
        Tree::new(self.machine.path(root))
    }

    /// Returns how many processes of vfsync run there with this command.
    pub fn processes(&self, command: &str) -> usize {
        let line = "for p in /proc/[0-9]*; do [ \"$(readlink $p/exe)\" = /usr/bin/vfsync ] && \
            tr '\\0' ' ' < $p/cmdline && echo; done; true";
        let said = self.run(line);
        said.stdout.lines().filter(|words| words.split(' ').nth(1) == Some(command)).count()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What is wrong is seldom wrong on one host alone.
            eprintln!("--- {}:\n{}\n{}", self.name, self.said(), self.run("vfsync status").stdout);
        }
        self.halt();
    }
}

/// How long hosts may take to notice that another one has vanished without a word, and then to come together again.
pub const VANISHED: std::time::Duration = std::time::Duration::from_secs(4 * LIMIT.as_secs() + 30);
