//! A private sshd: on the loopback device, on a free port, with keys of its own, for this user alone.
//!
//! It comes from Debian's package, unpacked: installing that would open port 22 to the network.

use std::{
    env,
    ffi::OsString,
    fs,
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{apt::Apt, exec, kit, kit::Kit, place};

/// Returns the kit that holds sshd, ssh and ssh-keygen.
pub fn kit() -> Kit {
    Kit::new("ssh", "openssh-server openssh-client, 1")
}

/// Downloads and unpacks sshd and the client, unless they are there.
pub fn set_up() -> Result<()> {
    kit().ensure("sshd", |dir| {
        let apt = Apt::of_this_machine(&place::tools().join("apt"))?;
        let mut brought = apt.unpack(&["openssh-server", "openssh-client"], dir)?;
        kit::write_wrappers(dir, &["usr/sbin/sshd", "usr/bin/ssh", "usr/bin/ssh-keygen"])?;
        brought.sort_by_key(|package| !package.starts_with("openssh-server "));
        Ok(brought)
    })
}

/// Returns a PATH with the unpacked ssh behind the machine's own.
pub fn search_path() -> OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":");
    path.push(kit().dir().join("bin"));
    path
}

/// Two key pairs: the host's and the user's.
pub struct Keys {
    /// The host's private key.
    pub host: String,
    /// The host's public key.
    pub host_public: String,
    /// The user's private key.
    pub user: String,
    /// The user's public key.
    pub user_public: String,
}

/// Makes new keys in a folder: `host_key` and `user_key`, each with its `.pub`.
pub fn make_keys(dir: &Path) -> Result<Keys> {
    let kit = kit();
    let keygen = kit.require("sshd", "ssh")?.join("bin/ssh-keygen");
    let make = |name: &str| -> Result<(String, String)> {
        let path = dir.join(name);
        exec::quietly(
            Command::new(&keygen).args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]).arg(&path),
        )?;
        let public = path.with_extension("pub");
        let read =
            |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
        Ok((read(&path)?, read(&public)?))
    };
    let (host, host_public) = make("host_key")?;
    let (user, user_public) = make("user_key")?;
    Ok(Keys { host, host_public, user, user_public })
}

/// Returns a configuration for a private sshd.
pub fn config(host_key: &str, authorized_keys: &str, port: u16) -> String {
    format!(
        "ListenAddress 127.0.0.1\n\
         Port {port}\n\
         HostKey {host_key}\n\
         AuthorizedKeysFile {authorized_keys}\n\
         PidFile none\n\
         UsePAM no\n\
         # The keys lie in a temporary folder, whose parents anyone may write to.\n\
         StrictModes no\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         # Tests open many connections at a time.\n\
         MaxStartups 100\n\
         PrintMotd no\n\
         LogLevel VERBOSE\n"
    )
}

/// A running private sshd. It ends with the value.
pub struct Sshd {
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Sshd {
    /// Starts one with its files in `dir`, which must exist.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, "")
    }

    /// Starts one with its files in `dir`, which must exist, and with these further lines of configuration.
    pub fn start_with(dir: &Path, lines: &str) -> Result<Self> {
        make_keys(dir)?;
        fs::copy(dir.join("user_key.pub"), dir.join("authorized_keys"))
            .context("cannot copy the user's key")?;
        let log = dir.join("sshd.log");
        // Between finding a free port and taking it another program may be faster.
        for _ in 0..5 {
            let port = free_port()?;
            let path = |name: &str| dir.join(name).display().to_string();
            let config = config(&path("host_key"), &path("authorized_keys"), port);
            fs::write(dir.join("sshd_config"), config + lines)
                .context("cannot write sshd's configuration")?;
            let mut child = exec::spawn(command(dir, &log)?).context("cannot start sshd")?;
            if wait_until_it_answers(&mut child, port)? {
                let mut sshd = Self { child, port, dir: dir.to_owned() };
                sshd.write_client_config()?;
                return Ok(sshd);
            }
        }
        bail!("sshd does not start:\n{}", fs::read_to_string(&log).unwrap_or_default())
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the arguments for ssh with which a connection needs nothing of the user's own configuration.
    pub fn ssh_args(&self) -> String {
        let path = |name: &str| self.dir.join(name).display().to_string();
        format!(
            "-F {} -i {} -o UserKnownHostsFile={}",
            path("ssh_config"),
            path("user_key"),
            path("known_hosts")
        )
    }

    /// Returns the address of a folder, as vfsync and Unison take it.
    pub fn root(&self, path: &Path) -> String {
        root(self.port, path)
    }

    fn write_client_config(&mut self) -> Result<()> {
        let public =
            fs::read_to_string(self.dir.join("host_key.pub")).context("cannot read the host's key")?;
        // Whatever port leads to it.
        fs::write(self.dir.join("known_hosts"), format!("[127.0.0.1]:* {}\n", public.trim()))
            .context("cannot write known_hosts")?;
        let config = "BatchMode yes\n\
             IdentitiesOnly yes\n\
             IdentityAgent none\n\
             StrictHostKeyChecking yes\n\
             GlobalKnownHostsFile /dev/null\n";
        fs::write(self.dir.join("ssh_config"), config).context("cannot write ssh's configuration")
    }
}

/// Returns the address of a folder behind a port of this machine, as vfsync and Unison take it.
pub fn root(port: u16, path: &Path) -> String {
    format!("ssh://127.0.0.1:{port}/{}", path.display())
}

impl Drop for Sshd {
    fn drop(&mut self) {
        end_group(&mut self.child);
    }
}

/// Ends a process that leads its group, and all in the group.
pub fn end_group(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // Gone already is as good.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.wait();
}

/// Returns the command that starts sshd.
///
/// As root, sshd wants an account `sshd` and a folder `/run/sshd` for its unprivileged half, and an account of root
/// that is not locked. Neither may exist, and neither is ours to make in the machine's own `/etc`. So sshd gets a
/// mount namespace of its own in which copies lie over `/etc/passwd` and `/etc/shadow`. Another user's sshd
/// separates no privileges and needs none of this.
fn command(dir: &Path, log: &Path) -> Result<Command> {
    let kit = kit();
    let sshd = kit.require("sshd", "ssh")?.join("bin/sshd");
    let mut command = if rustix::process::getuid().is_root() {
        fs::create_dir_all("/run/sshd").context("cannot create /run/sshd")?;
        private_accounts(dir)?;
        let script =
            "mount --bind \"$0/passwd\" /etc/passwd && mount --bind \"$0/shadow\" /etc/shadow && exec \"$@\"";
        let mut command = exec::tied(Path::new("unshare"));
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(dir).arg(sshd);
        command
    } else {
        exec::tied(&sshd)
    };
    command.arg("-D").arg("-f").arg(dir.join("sshd_config")).arg("-E").arg(log);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Writes the copies that lie over the machine's accounts.
fn private_accounts(dir: &Path) -> Result<()> {
    let mut passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    if !passwd.lines().any(|line| line.starts_with("sshd:")) {
        passwd.push_str("sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin\n");
    }
    fs::write(dir.join("passwd"), passwd).context("cannot write a copy of /etc/passwd")?;
    // No password fits "*", and unlike "!" it does not mean that the account is locked. No other account is needed.
    let shadow = dir.join("shadow");
    fs::write(&shadow, "root:*:1::::::\n").context("cannot write a copy of /etc/shadow")?;
    fs::set_permissions(&shadow, fs::Permissions::from_mode(0o600))
        .context("cannot protect a copy of /etc/shadow")
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr().context("cannot find a free port")?.port())
}

/// Waits until sshd greets on its port. False: it ended.
fn wait_until_it_answers(child: &mut Child, port: u16) -> Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let start = Instant::now();
    loop {
        if let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            let mut greeting = [0; 4];
            stream.set_read_timeout(Some(Duration::from_secs(5))).context("cannot wait for sshd")?;
            if stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-" {
                return Ok(true);
            }
        }
        if child.try_wait().context("cannot wait for sshd")?.is_some() {
            return Ok(false);
        }
        ensure!(start.elapsed() < Duration::from_secs(20), "sshd does not answer on port {port}");
        thread::sleep(Duration::from_millis(10));
    }
}
