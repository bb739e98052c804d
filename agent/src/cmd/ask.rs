//! The commands that talk to the processes that keep replicas: `status`, `conflicts`, `flush`, `pause`, `resume`.

use crate::cli::AskArgs;
use crate::core::escaped::Escaped;
use crate::daemon::client::{ask, connect, sockets};
use crate::daemon::control::{Ending, Request};
use crate::daemon::status::{ConflictLine, Line, LinkLine, ReplicaLine, Trouble};
use crate::exit::ExitStatus;
use crate::output::plural;
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};
use tokio::net::UnixStream;

/// How long a process may take to begin its answer; what is asked to wait may take longer by that.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one may take that has a folder's conflicts to end.
const RESOLVING: Duration = Duration::from_secs(600);

/// Asks every process with this state directory, and shows what they answer.
pub async fn run(args: AskArgs) -> Result<ExitStatus> {
    let mut asked = 0;
    let mut worst = 0;
    let mut found_nothing = Vec::new();
    let processes = sockets(&args.state_dir);
    for (pid, path) in &processes {
        let stream = match connect(path) {
            Ok(stream) => stream,
            // It has ended, or is about to.
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
                ) =>
            {
                continue;
            }
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                asked += 1;
                worst = 3;
                unanswered(*pid);
                continue;
            }
            Err(e) => {
                return Err(e)
                    .with_context(|| format!("cannot talk to process {pid}, at {}", path.display()));
            }
        };
        asked += 1;
        let ending =
            shown(stream, &args.request, args.json).await.with_context(|| format!("process {pid}"))?;
        let Some(ending) = ending else {
            worst = 3;
            unanswered(*pid);
            continue;
        };
        match ending {
            // Another process may be the one that is meant.
            Ending { exit: 3, say: Some(say) } if processes.len() > 1 => found_nothing.push(say),
            Ending { exit, say } => {
                worst = worst.max(exit);
                if let Some(say) = say {
                    eprintln!("vfsync: {}", Escaped(say.as_bytes()));
                }
            }
        }
    }
    if asked == 0 {
        bail!(
            "no daemon and no `vfsync live` runs with the state directory {}; start one (systemctl start vfsync), or name \
             another with --state-dir",
            args.state_dir.display()
        );
    }
    if found_nothing.len() == asked
        && let Some(say) = found_nothing.first()
    {
        bail!("{say}");
    }
    Ok(match worst {
        0 => ExitStatus::InStep,
        1 => ExitStatus::Skipped,
        2 => ExitStatus::Failed,
        _ => ExitStatus::Nothing,
    })
}

/// Says that a process does not answer.
fn unanswered(pid: u32) {
    eprintln!(
        "vfsync: process {pid} does not answer: is it stopped (Ctrl-Z)? `kill -CONT {pid}` lets it go on"
    );
}

/// Returns how long a process may take to begin its answer.
fn patience(request: &Request) -> Duration {
    match request {
        Request::Flush { milliseconds, .. } => PATIENCE.saturating_add(Duration::from_millis(*milliseconds)),
        Request::Resolve { .. } => RESOLVING,
        Request::Status
        | Request::Conflicts
        | Request::Pause { .. }
        | Request::Resume { .. }
        | Request::Serve { .. } => PATIENCE,
    }
}

/// Asks one process and shows its answer. `None`: it does not answer.
async fn shown(stream: UnixStream, request: &Request, json: bool) -> Result<Option<Ending>> {
    let show = |line: &[u8], value: serde_json::Value| {
        let shown = if json { String::from_utf8_lossy(line).into_owned() } else { for_people(&value)? };
        let mut out = std::io::stdout();
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(ControlFlow::Continue(())),
            // A reader that has seen enough is no failure.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(e) => Err(e.into()),
        }
    };
    ask(stream, request, patience(request), show).await
}

/// Returns a line of an answer as people read it.
fn for_people(value: &serde_json::Value) -> Result<String> {
    Ok(match value["event"].as_str() {
        Some("conflict") => conflict(&serde_json::from_value(value.clone())?),
        Some("flush") => flushed(value),
        Some("resolved") => resolved(value),
        _ => match serde_json::from_value(value.clone()).context("its answer cannot be understood")? {
            Line::Process(process) => format!(
                "vfsync {} {}, process {}, for {}; capture by {}: {} events, {} coalesced, {} lost\n",
                process.role,
                process.version,
                process.pid,
                ago(&process.since, SystemTime::now()),
                process.tier,
                process.events,
                process.coalesced,
                process.lost
            ),
            Line::Replica(line) => replica(&line),
            Line::Link(line) => link(&line),
        },
    })
}

fn escaped(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

/// Returns how long ago a moment was: `3 s`, `5 min`, `2 h`, `4 days`. What is no moment is shown as it is, escaped.
pub(super) fn ago(time: &str, now: SystemTime) -> String {
    let Ok(then) = humantime::parse_rfc3339(time) else { return escaped(time) };
    let seconds = now.duration_since(then).unwrap_or(Duration::ZERO).as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn replica(line: &ReplicaLine) -> String {
    let mut text =
        format!("\n{}  {} for {}", escaped(&line.root), line.state, ago(&line.since, SystemTime::now()));
    if let Some(why) = &line.why {
        text.push_str(&format!(": {}", escaped(why)));
    }
    if let Some(deletions) = line.deletions {
        text.push_str(&format!("\n  `vfsync resume {}` approves these {deletions}", escaped(&line.root)));
    }
    text.push_str(&format!(
        "\n  {} entries, {}; {}, {} lost, {}; {} to be looked at\n",
        line.entries,
        plural(line.conflicts, "conflict"),
        plural(line.events, "event"),
        line.lost,
        plural(line.rescans, "rescan"),
        plural(line.waiting, "path"),
    ));
    // One that is not open is not watched.
    if !line.capture.is_empty() {
        text.push_str(&format!("  {}\n", escaped(&line.capture)));
    }
    text + &troubles(&line.problems, line.problem_count)
}

fn link(line: &LinkLine) -> String {
    let arrow = if line.dials { "->" } else { "<-" };
    let mut text = format!(
        "\n{} {arrow} {}  {} for {}",
        escaped(&line.root),
        escaped(&line.peer),
        line.state,
        ago(&line.since, SystemTime::now())
    );
    if let Some(why) = &line.why {
        text.push_str(&format!(": {}", escaped(why)));
    }
    text.push_str(&format!(
        "\n  backlog {}, {} coming in; {} carried; {} sent, {} received ({}/s, {}/s)",
        line.backlog,
        line.incoming,
        line.carried,
        crate::output::size(line.bytes_sent),
        crate::output::size(line.bytes_received),
        crate::output::size(line.rate_sent),
        crate::output::size(line.rate_received),
    ));
    if let Some(last) = &line.last {
        text.push_str(&format!(
            "; the last {} ago: {}",
            ago(&last.time, SystemTime::now()),
            escaped(&last.path)
        ));
    }
    text.push('\n');
    text + &troubles(&line.failures, line.failure_count)
}

fn troubles(named: &[Trouble], count: u64) -> String {
    let line = |t: &Trouble| format!("  ! {}: {} ({})\n", escaped(&t.path), escaped(&t.why), t.at);
    let mut text: String = named.iter().map(line).collect();
    if count > named.len() as u64 {
        text.push_str(&format!("  ! and {} more\n", count - named.len() as u64));
    }
    text
}

pub(super) fn conflict(line: &ConflictLine) -> String {
    format!(
        "{}/{}: {} here, {} at {}{}\n",
        escaped(&line.root),
        escaped(&line.path),
        escaped(&line.here),
        escaped(&line.there),
        escaped(&line.peer),
        if line.decided == "no" { "" } else { "; decided: what stands there is kept" }
    )
}

fn resolved(value: &serde_json::Value) -> String {
    let text = |name: &str| escaped(value[name].as_str().unwrap_or_default());
    format!("{}: {}\n", text("path"), text("kept"))
}

fn flushed(value: &serde_json::Value) -> String {
    let text = |name: &str| escaped(value[name].as_str().unwrap_or_default());
    let mut said = match value["peer"].as_str() {
        Some("") | None => format!("{}: {}", text("root"), text("result")),
        Some(_) => format!("{} -> {}: {}", text("root"), text("peer"), text("result")),
    };
    if value["why"].is_string() {
        said.push_str(&format!(": {}", text("why")));
    }
    said.push('\n');
    let left: Vec<Trouble> = serde_json::from_value(value["left"].clone()).unwrap_or_default();
    said + &troubles(&left, value["left_count"].as_u64().unwrap_or_default())
}
