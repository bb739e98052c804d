//! `vfsync doctor`: what this machine, each root and the other hosts can do, and why not. A [`Finding`] is one answer.

mod capture;
mod config;
mod far_end;
mod finding;
mod machine;
mod root;
#[cfg(test)]
mod tests;

pub use finding::{Finding, State};

use crate::cli::DoctorArgs;
use crate::environment::Environment;
use crate::exit::ExitStatus;
use crate::options::SshOptions;
use crate::output::plural;
use crate::roots::Root;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Write};

/// Looks at everything, prints what it finds, and says by its exit status whether something necessary is missing.
pub async fn run(args: DoctorArgs, environment: &Environment) -> anyhow::Result<ExitStatus> {
    match look(args, environment).await {
        // Whoever reads has seen enough.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) =>
        {
            Ok(ExitStatus::InStep)
        }
        ended => ended,
    }
}

async fn look(args: DoctorArgs, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let mut report = Report { json: args.json, worst: State::Info, counts: [0; 2], place: None };
    let named = args.config.is_some();
    let path = args.config.clone().or_else(|| environment.config.clone());
    let (of_config, config) = config::look(path.as_deref(), named, environment);
    // Roots that are named are all that is looked at: a far end that is asked of its root asks nobody else.
    let roots: Vec<(Root, SshOptions)> = match &config {
        Some(config) if args.roots.is_empty() => {
            let of_block = |block: &crate::config::Block| {
                let ssh = block.options.ssh.clone();
                block.options.roots.clone().into_iter().map(move |root| (root, ssh.clone()))
            };
            let mut seen = BTreeSet::new();
            let all = config.blocks.iter().flat_map(of_block);
            all.filter(|(root, _)| seen.insert(root.to_string())).collect()
        }
        Some(_) | None => args.roots.iter().map(|root| (root.clone(), args.ssh.clone())).collect(),
    };
    let needs_ssh = roots.iter().any(|(root, _)| !root.is_local());
    let state_dir = config.as_ref().map(|config| config.state_dir.clone()).or_else(|| args.state_dir.clone());
    let ssh = roots.iter().find(|(root, _)| !root.is_local()).map_or(&args.ssh, |(_, ssh)| ssh);
    report.print_all("this machine", machine::look(state_dir.as_deref(), &ssh.command, needs_ssh))?;
    report.print_all("this machine", of_config)?;
    report.print_all("this machine", config::processes(state_dir.as_deref(), config.is_some()).await)?;
    let local = roots.iter().filter_map(|(root, _)| match root {
        Root::Local(path) => Some(path.clone()),
        Root::Remote(_) => None,
    });
    report.print_all("this machine", capture::look(local.collect()).await)?;
    for (root, ssh) in &roots {
        let findings = match root {
            Root::Local(path) => root::look(path),
            Root::Remote(remote) => far_end::look(remote, ssh).await,
        };
        report.print_all(&root.to_string(), findings)?;
    }
    report.end()?;
    Ok(match report.worst {
        State::Missing => ExitStatus::Nothing,
        State::Ok | State::Info | State::Limited => ExitStatus::InStep,
    })
}

/// Prints findings as they come: far ends can be slow.
struct Report {
    json: bool,
    worst: State,
    /// How many are missing, and how many limited.
    counts: [u64; 2],
    place: Option<String>,
}

impl Report {
    fn print_all(&mut self, place: &str, findings: Vec<Finding>) -> io::Result<()> {
        let mut out = std::io::stdout().lock();
        for finding in findings {
            self.worst = self.worst.max(finding.state);
            match finding.state {
                State::Missing => self.counts[0] += 1,
                State::Limited => self.counts[1] += 1,
                State::Info | State::Ok => {}
            }
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

    /// Says in the end what it comes to.
    fn end(&self) -> io::Result<()> {
        if self.json {
            return Ok(());
        }
        let [missing, limited] = self.counts;
        let mut out = std::io::stdout().lock();
        match missing {
            0 => write!(out, "\nnothing that is necessary is missing")?,
            _ => write!(out, "\n{} missing: nothing works before that is mended", plural(missing, "thing"))?,
        }
        match limited {
            0 => writeln!(out),
            _ => writeln!(out, "; {} limited: see what each says", plural(limited, "thing")),
        }
    }
}
