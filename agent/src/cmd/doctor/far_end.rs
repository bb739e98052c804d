//! What the other host says: whether it answers, which vfsync is there, and what its own doctor finds.

use super::finding::{Finding, State};
use crate::options::SshOptions;
use crate::roots::RemoteRoot;
use crate::transport::{self, SshLink, SshTarget};

/// How many findings of a far end are taken.
const MAX_FINDINGS: usize = 200;

/// Connects to the host of a root and asks the vfsync there.
pub(super) async fn look(root: &RemoteRoot, ssh: &SshOptions) -> Vec<Finding> {
    let target = SshTarget { user: root.user.clone(), host: root.host.clone(), port: root.port };
    let options = transport::SshOptions {
        sshcmd: ssh.command.clone(),
        sshargs: ssh.args.clone(),
        servercmd: ssh.server_command.clone(),
        ..transport::SshOptions::default()
    };
    let host = target.to_string();
    let findings = match transport::dial(&target, &options).await {
        Ok(link) => {
            let mut findings = vec![Finding::new("connection", "ssh", State::Ok, "connected")];
            findings.extend(ask(&link, root, &ssh.server_command).await);
            findings.push(clock(&link).await);
            link.close().await;
            findings
        }
        Err(e) => vec![Finding::new("connection", "ssh", State::Missing, chain(&e))],
    };
    findings.into_iter().map(|finding| finding.on_host(&host)).collect()
}

async fn ask(link: &SshLink, root: &RemoteRoot, server_command: &str) -> Vec<Finding> {
    let finding = |state, detail| Finding::new("connection", "vfsync", state, detail);
    let answer = match link.run(&["--version"]).await {
        Ok(answer) => answer,
        Err(e) => return vec![finding(State::Missing, chain(&e))],
    };
    let said = String::from_utf8_lossy(&answer.stdout);
    let Some(version) = said.lines().find_map(|line| line.strip_prefix("vfsync ")) else {
        let error = String::from_utf8_lossy(&answer.stderr);
        let last = error.lines().chain(said.lines()).last().unwrap_or("it says nothing");
        let detail = format!(
            "`{server_command}` is not vfsync there ({last}); install it, say where it is with -servercmd, or have `sync` and `live` copy it there with -deploy"
        );
        return vec![finding(State::Missing, detail)];
    };
    let ours = env!("CARGO_PKG_VERSION");
    let version = version.trim();
    let mut findings = vec![match version == ours {
        true => finding(State::Ok, version.to_owned()),
        false => finding(
            State::Limited,
            format!("{version}, and {ours} here: bring both to the same version, or use -deploy"),
        ),
    }];
    let path = if root.path.as_os_str().is_empty() { Some(".") } else { root.path.to_str() };
    let Some(path) = path else {
        findings.push(finding(State::Info, "its doctor is not asked: the path is not UTF-8".to_string()));
        return findings;
    };
    match link.run(&["doctor", "--json", "--", path]).await {
        Ok(answer) => findings.extend(parse(&answer.stdout).into_iter().filter(|f| f.area != "vfsync")),
        Err(e) => {
            findings.push(finding(State::Limited, format!("its doctor cannot be asked: {}", chain(&e))))
        }
    }
    findings
}

/// So far clocks may be apart, beyond what the way there takes.
const APART: f64 = 2.0;

/// Compares the clock there with the one here. `newer` and `older`, and times of files, mean something only where they agree.
async fn clock(link: &SshLink) -> Finding {
    let seconds = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0.0, |since| since.as_secs_f64())
    };
    let before = seconds();
    let answer = link.shell("date +%s.%N", b"").await;
    let after = seconds();
    let there = answer.as_ref().ok().and_then(|answer| parse_clock(&answer.stdout));
    of_clock(there, before, after)
}

/// Reads what `date` said; one without parts of a second leaves them out.
pub(super) fn parse_clock(stdout: &[u8]) -> Option<f64> {
    let text = str::from_utf8(stdout).ok()?;
    let number = |line: &str| line.trim().trim_end_matches(['N', '%', '.']).parse::<f64>().ok();
    text.lines().rev().find_map(number).filter(|seconds| seconds.is_finite())
}

/// Says how far two clocks are apart, when one was asked between two moments of the other.
pub(super) fn of_clock(there: Option<f64>, before: f64, after: f64) -> Finding {
    let finding = |state, detail: String| Finding::new("connection", "clock", state, detail);
    let Some(there) = there else {
        return finding(State::Info, "not known: that login runs nothing but vfsync".to_owned());
    };
    let apart = there - f64::midpoint(before, after);
    let unsure = (after - before) / 2.0;
    if apart.abs() <= APART + unsure {
        return finding(State::Ok, format!("the same to {:.1} s", unsure.max(0.1)));
    }
    let way = if apart > 0.0 { "ahead of" } else { "behind" };
    finding(
        State::Limited,
        format!(
            "{:.0} s {way} the one here: times and `newer` mislead; let both follow the same source (timedatectl \
             set-ntp true, or chrony)",
            apart.abs()
        ),
    )
}

/// Reads what the doctor there printed; lines that are not findings (a login shell's greeting) are left out.
pub(super) fn parse(stdout: &[u8]) -> Vec<Finding> {
    let lines = stdout.split(|&b| b == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).take(MAX_FINDINGS).collect()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!(": {source}"));
        next = source.source();
    }
    text
}
