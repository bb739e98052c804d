//! Reaching the other root of a pair, on this host or another.

use super::serve::{self, Place};
use crate::link::session::Session;
use crate::link::{LinkError, Setup, initiate};
use crate::options::{Options, SshOptions};
use crate::roots::{RemoteRoot, Root};
use crate::transport::{self, Connection, Deployed, Own, SshLink, SshTarget, greet_as_initiator};
use anyhow::{Context, Result, bail};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A root that has been reached, before the session is opened.
pub struct Reached {
    connection: Connection,
    host: Option<SshLink>,
    /// The root as its session will ask for it.
    root: Vec<u8>,
    /// What a person should know of the way there.
    pub notices: Vec<String>,
}

/// A session, and what it runs on.
pub struct Connected {
    /// The session.
    pub session: Session,
    host: Option<SshLink>,
}

impl Connected {
    /// Ends the session in the orderly way.
    pub async fn end(self) {
        self.session.end(true).await;
        if let Some(host) = self.host {
            host.close().await;
        }
    }
}

/// Returns the places of the local and the other root in `options.roots`: the local one leads.
pub fn leading_root(options: &Options) -> Result<(usize, PathBuf)> {
    for (place, root) in options.roots.iter().enumerate() {
        if let Root::Local(path) = root
            && (place == 0 || options.roots.len() == 2)
        {
            return Ok((place, path.clone()));
        }
    }
    if options.roots.len() > 2 {
        bail!(
            "with more than two roots the first has to be on this host: it is linked to each of the others"
        );
    }
    bail!(
        "both roots are on other hosts: one of them has to be on this one (run vfsync on one of those hosts)"
    )
}

/// Refuses local roots that are the same directory, or lie one in the other.
pub fn check_apart(options: &Options) -> Result<()> {
    let mut seen: Vec<(PathBuf, &Root)> = Vec::new();
    for root in &options.roots {
        let Root::Local(path) = root else { continue };
        // A root that cannot be resolved gets its own error when it is opened.
        let Ok(canonical) = path.canonicalize() else { continue };
        for (other, name) in &seen {
            if *other == canonical {
                bail!("{name} and {root} are the same directory: give two different ones");
            }
            if lies_in(&canonical, other) || lies_in(other, &canonical) {
                bail!("one of the roots {name} and {root} lies in the other: they cannot be kept the same");
            }
        }
        seen.push((canonical, root));
    }
    Ok(())
}

fn lies_in(inner: &Path, outer: &Path) -> bool {
    inner != outer && inner.starts_with(outer)
}

/// Reaches a root: the far end answers, and is a vfsync that speaks the same protocol.
///
/// # Errors
/// With what failed, on which host, and what to do.
pub async fn reach(options: &Options, root: &Root) -> Result<Reached> {
    match root {
        Root::Remote(remote) => reach_host(&options.ssh, remote).await,
        Root::Local(path) => {
            let (here, there) = transport::local::pair("this host", path.display().to_string());
            let place = Place { state_dir: options.command.state_dir.clone(), pinned: None, client: None };
            tokio::spawn(async move {
                if let Err(error) = serve::serve(there, place).await {
                    tracing::debug!(error = format!("{error:#}"), "the local far end has ended");
                }
            });
            reached_here(here, path).await
        }
    }
}

/// Reaches a root on another host.
///
/// # Errors
/// With what failed, on which host, and what to do.
pub async fn reach_host(ssh: &SshOptions, remote: &RemoteRoot) -> Result<Reached> {
    let target = SshTarget { user: remote.user.clone(), host: remote.host.clone(), port: remote.port };
    let options = transport::SshOptions {
        sshcmd: ssh.command.clone(),
        sshargs: ssh.args.clone(),
        servercmd: ssh.server_command.clone(),
        ..transport::SshOptions::default()
    };
    let own = if ssh.deploy { Some(Own::read().await?) } else { None };
    let mut link = transport::dial(&target, &options).await?;
    let mut notices = Vec::new();
    if let Some(own) = own
        && let Deployed::Copied(place) = transport::deploy(&mut link, own).await?
    {
        notices.push(format!("vfsync was copied to {place} at {}", link.peer()));
    }
    let connection = link.open_channel(&[]).await?;
    let (connection, greeting) = greet_as_initiator(connection).await?;
    tracing::debug!(peer = link.peer(), version = greeting.theirs.program, "the far end answers");
    let root = remote.path.as_os_str().as_bytes().to_vec();
    Ok(Reached { connection, host: Some(link), root, notices })
}

/// Makes a root of this host, whose end answers at `connection`, a reached one.
pub async fn reached_here(connection: Connection, path: &Path) -> Result<Reached> {
    let (connection, _) = greet_as_initiator(connection).await?;
    let absolute = std::path::absolute(path).with_context(|| format!("{}", path.display()))?;
    let root = absolute.as_os_str().as_bytes().to_vec();
    Ok(Reached { connection, host: None, root, notices: Vec::new() })
}

impl Reached {
    /// Opens the session.
    ///
    /// # Errors
    /// With what the far end says, where it says something.
    pub async fn open(self, mut setup: Setup, name: &Root) -> Result<Connected> {
        setup.peer_name = match name {
            Root::Local(_) => String::from_utf8_lossy(&self.root).into_owned(),
            Root::Remote(_) => name.to_string(),
        };
        setup.remote_root = self.root;
        let mut connection = self.connection;
        let far_end = std::mem::replace(&mut connection.far_end, transport::FarEnd::none());
        match initiate(connection, setup).await {
            Ok(session) => Ok(Connected { session, host: self.host }),
            Err(error @ (LinkError::Closed | LinkError::Broken(_))) if far_end.is_known() => {
                let ended = far_end.finish().await;
                let said = if ended.said.is_empty() {
                    String::new()
                } else {
                    format!(": {}", ended.said.trim_end())
                };
                Err(anyhow::Error::new(error)
                    .context(format!("{name}: the far end stopped ({}){said}", ended.exit)))
            }
            Err(error) => Err(anyhow::Error::new(error).context(name.to_string())),
        }
    }

    /// Closes the connection without a session.
    pub async fn close(self) {
        self.connection.finish().await;
        if let Some(host) = self.host {
            host.close().await;
        }
    }
}
