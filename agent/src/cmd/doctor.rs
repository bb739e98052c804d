//! `vfsync doctor`: what this machine, each root and the other hosts can do, and why not. A [`Finding`] is one answer.

mod capture;
mod far_end;
mod finding;
mod machine;
mod root;
#[cfg(test)]
mod tests;

pub use finding::{Finding, State};

use crate::cli::DoctorArgs;
use crate::exit::ExitStatus;
use crate::roots::Root;
use std::io::{self, ErrorKind, Write};

/// Looks at everything, prints what it finds, and says by its exit status whether something necessary is missing.
pub async fn run(args: DoctorArgs) -> anyhow::Result<ExitStatus> {
    match look(args).await {
        // Whoever reads has seen enough.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) =>
        {
            Ok(ExitStatus::InStep)
        }
        ended => ended,
    }
}

async fn look(args: DoctorArgs) -> anyhow::Result<ExitStatus> {
    let mut report = Report { json: args.json, worst: State::Info, place: None };
    let needs_ssh = args.roots.iter().any(|root| !root.is_local());
    report.print_all("this machine", machine::look(&args, needs_ssh))?;
    let local = args.roots.iter().filter_map(|root| match root {
        Root::Local(path) => Some(path.clone()),
        Root::Remote(_) => None,
    });
    report.print_all("this machine", capture::look(local.collect()).await)?;
    for root in &args.roots {
        let findings = match root {
            Root::Local(path) => root::look(path),
            Root::Remote(remote) => far_end::look(remote, &args.ssh).await,
        };
        report.print_all(&root.to_string(), findings)?;
    }
    Ok(match report.worst {
        State::Missing => ExitStatus::Nothing,
        State::Ok | State::Info | State::Limited => ExitStatus::InStep,
    })
}

/// Prints findings as they come: far ends can be slow.
struct Report {
    json: bool,
    worst: State,
    place: Option<String>,
}

impl Report {
    fn print_all(&mut self, place: &str, findings: Vec<Finding>) -> io::Result<()> {
        let mut out = std::io::stdout().lock();
        for finding in findings {
            self.worst = self.worst.max(finding.state);
            if self.json {
                serde_json::to_writer(&mut out, &finding)?;
                writeln!(out)?;
                continue;
            }
            if self.place.as_deref() != Some(place) {
                let gap = if self.place.is_some() { "\n" } else { "" };
                writeln!(out, "{gap}{place}")?;
                self.place = Some(place.to_string());
            }
            writeln!(out, "{finding}")?;
        }
        out.flush()
    }
}
