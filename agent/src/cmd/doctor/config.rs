//! What the configuration says, and whether the process that follows it is there.

use super::finding::{Finding, State};
use crate::config::{Config, ConfigError};
use crate::core::escaped::Escaped;
use crate::daemon::client::{ask, connect, sockets};
use crate::daemon::control::Request;
use crate::daemon::status::{Line, LinkLine, ReplicaLine};
use crate::environment::Environment;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads the configuration. One that was not asked for by name need not be there.
pub(super) fn look(
    path: Option<&Path>,
    named: bool,
    environment: &Environment,
) -> (Vec<Finding>, Option<Config>) {
    let finding = |state, detail: String| Finding::new("configuration", "file", state, detail);
    let Some(path) = path else {
        return (vec![finding(State::Info, "there is no HOME to look for one in".to_owned())], None);
    };
    let shown = Escaped(path.as_os_str().as_bytes()).to_string();
    match Config::load(path, environment) {
        Ok(config) => {
            let links: usize = config.blocks.iter().map(|block| block.options.roots.len() - 1).sum();
            let detail = format!("{shown}: valid; blocks: {}, peers: {links}", config.blocks.len());
            let mut findings = vec![finding(State::Ok, detail)];
            for block in &config.blocks {
                let said = |notice: &String| {
                    Finding::new("configuration", &block.name, State::Limited, notice.clone())
                };
                findings.extend(block.options.notices.iter().map(said));
            }
            (findings, Some(config))
        }
        Err(ConfigError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound && !named => {
            let detail = format!("none at {shown}; only `vfsync daemon` and `vfsync cron` need one");
            (vec![finding(State::Info, detail)], None)
        }
        Err(error @ ConfigError::Empty { .. }) => {
            (vec![finding(State::Info, format!("{error}; until then the daemon waits"))], None)
        }
        Err(error) => {
            let why = format!("{:#}", anyhow::Error::new(error));
            (vec![finding(State::Missing, format!("{why}; a daemon that runs keeps to what it had"))], None)
        }
    }
}

/// Asks the processes that keep replicas here how they are.
pub(super) async fn processes(state_dir: Option<&Path>, configured: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (pid, path) in state_dir.map(sockets).unwrap_or_default() {
        let name = format!("process {pid}");
        let stream = match connect(&path) {
            Ok(stream) => stream,
            // It has ended, and left that behind.
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
                ) =>
            {
                continue;
            }
            Err(e) => {
                let detail = format!("it cannot be asked: {e}");
                findings.push(Finding::new("daemon", &name, State::Limited, detail));
                continue;
            }
        };
        let answer = ask(stream, &Request::Status, PATIENCE, |_, value| {
            if let Ok(line) = serde_json::from_value::<Line>(value) {
                findings.extend(of_line(line));
            }
            Ok(std::ops::ControlFlow::Continue(()))
        });
        match answer.await {
            Ok(Some(_)) => {}
            Ok(None) => {
                let detail =
                    "it does not answer: it is stopped, or very busy; if it stays so, start it again";
                findings.push(Finding::new("daemon", &name, State::Limited, detail));
            }
            Err(error) => {
                let detail = format!("{error:#}");
                findings.push(Finding::new("daemon", &name, State::Limited, detail));
            }
        }
    }
    if findings.is_empty() && configured {
        let detail = "none runs with this state directory: start it (systemctl enable --now vfsync), or let a \
                      timer or a crontab run `vfsync cron`";
        findings.push(Finding::new("daemon", "process", State::Limited, detail));
    }
    findings
}

/// Says what of a line of `status` concerns who looks for trouble.
pub(super) fn of_line(line: Line) -> Option<Finding> {
    match line {
        Line::Process(process) => {
            let detail = format!(
                "{} {}, since {}; capture by {}, {} lost",
                process.role, process.version, process.since, process.tier, process.lost
            );
            let other = process.version != env!("CARGO_PKG_VERSION");
            let (state, more) = if other {
                (State::Limited, "; it is of another version: restart it")
            } else {
                (State::Ok, "")
            };
            Some(Finding::new("daemon", &format!("process {}", process.pid), state, detail + more))
        }
        Line::Replica(replica) => of_replica(replica),
        Line::Link(link) => of_link(link),
    }
}

fn of_replica(replica: ReplicaLine) -> Option<Finding> {
    let what_to_do = match replica.state.as_str() {
        "halted" => "look at it, and let it through with `vfsync resume`",
        "paused" => "`vfsync resume` goes on",
        "waiting" => "it is tried again by itself",
        _ if replica.conflicts > 0 => "`vfsync conflicts` lists them, `vfsync resolve` ends them",
        _ if replica.problem_count > 0 => "`vfsync status` names the paths",
        _ => return None,
    };
    let mut found = vec![format!("{} since {}", replica.state, replica.since)];
    found.extend(replica.why);
    found.extend((replica.conflicts > 0).then(|| format!("conflicts: {}", replica.conflicts)));
    found.extend(
        (replica.problem_count > 0).then(|| format!("paths with trouble: {}", replica.problem_count)),
    );
    let detail = format!("{}; {what_to_do}", found.join("; "));
    Some(Finding::new("daemon", &replica.root, State::Limited, detail))
}

fn of_link(link: LinkLine) -> Option<Finding> {
    let what_to_do = match link.state.as_str() {
        "broken" => "it is tried again by itself; the reason says what is to be mended",
        "halted" => "look at it, and let it through with `vfsync resume`",
        "paused" => "`vfsync resume` goes on",
        _ => return None,
    };
    let why = link.why.map(|why| format!(": {why}")).unwrap_or_default();
    let detail = format!("{} since {}{why}; {what_to_do}", link.state, link.since);
    Some(Finding::new("daemon", &format!("link to {}", link.peer), State::Limited, detail))
}
