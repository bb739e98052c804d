//! `vfsync conflicts` and `vfsync resolve`: the conflicts that the archives of this host hold, and the end of one. An
//! archive that a daemon or a `live` owns is asked of its owner; the others are opened.

use super::ask;
use crate::archive::ArchiveError;
use crate::cli::{AskArgs, ConflictsArgs, ResolveArgs};
use crate::core::escaped::Escaped;
use crate::core::filter::Filter;
use crate::core::path::RelPath;
use crate::daemon::control::Request;
use crate::daemon::status::{ConflictLine, conflict_lines};
use crate::exit::ExitStatus;
use crate::options::ReplicaOptions;
use crate::replica::{OpenError, Replica, known_roots};
use anyhow::{Context, Result, bail};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Lists the conflicts.
pub async fn list(args: ConflictsArgs) -> Result<ExitStatus> {
    let only = args.root.as_ref().map(|root| root.canonicalize().unwrap_or_else(|_| root.clone()));
    let mut roots = known_roots(&args.state_dir);
    roots.retain(|root| only.as_ref().is_none_or(|only| only == root));
    if let Some(root) = args.root.as_ref().filter(|_| roots.is_empty()) {
        bail!("{} has no archive in {}: it was never synchronised", root.display(), args.state_dir.display());
    }
    let (mut status, mut owned) = (ExitStatus::InStep, None);
    for root in roots {
        match open(&root, &args.state_dir) {
            Ok(replica) => {
                let lines = conflict_lines(&root, &replica.conflicts()?);
                replica.archive.close()?;
                if !lines.is_empty() {
                    status = status.max(ExitStatus::Skipped);
                }
                lines.iter().try_for_each(|line| show(line, args.json))?;
            }
            Err(error) if is_owned(&error) => owned = Some(error),
            Err(error) => {
                eprintln!("vfsync: {}", Escaped(crate::replica::apply::words(&error).as_bytes()));
                status = ExitStatus::Nothing;
            }
        }
    }
    if let Some(error) = owned {
        let asked = ask(Request::Conflicts, args.json, args.state_dir).await;
        // A pass that is under way owns an archive, too, and answers nobody.
        status = status.max(asked.map_err(|_| error)?);
    }
    if status == ExitStatus::InStep && !args.json {
        println!("No conflicts.");
    }
    Ok(status)
}

/// Ends conflicts.
pub async fn resolve(args: ResolveArgs) -> Result<ExitStatus> {
    let mut status = ExitStatus::InStep;
    for path in &args.paths {
        let (root, below) = place(path, &args.state_dir)?;
        match open(&root, &args.state_dir) {
            Ok(replica) => {
                let done = replica.resolve(&below, args.keep);
                replica.archive.close()?;
                for (path, how) in done.with_context(|| root.display().to_string())? {
                    println!("{path}: {how}; the next pass carries it out");
                }
            }
            Err(error) if is_owned(&error) => {
                let whole = root.join(std::ffi::OsStr::from_bytes(below.as_bytes()));
                let asked =
                    ask(Request::Resolve { path: whole, keep: args.keep }, false, args.state_dir.clone());
                match asked.await {
                    Ok(asked) => status = status.max(asked),
                    Err(_) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(status)
}

async fn ask(request: Request, json: bool, state_dir: PathBuf) -> Result<ExitStatus> {
    ask::run(AskArgs { request, json, state_dir }).await
}

fn show(line: &ConflictLine, json: bool) -> Result<()> {
    match json {
        true => println!("{}", serde_json::to_string(line)?),
        false => print!("{}", ask::conflict(line)),
    }
    Ok(())
}

fn is_owned(error: &OpenError) -> bool {
    matches!(error, OpenError::Archive(ArchiveError::InUse { .. }))
}

/// Opens the replica of a root only to look at its archive.
fn open(root: &Path, state: &Path) -> Result<Replica, OpenError> {
    Replica::open(root, state, ReplicaOptions::default(), Filter::default())
}

/// Finds the replica that a path lies in, and its place there. The path itself need not exist.
fn place(path: &Path, state: &Path) -> Result<(PathBuf, RelPath)> {
    let absolute = std::path::absolute(path).with_context(|| format!("{}", path.display()))?;
    // Of what exists, the real name; what was deleted keeps the name that it had.
    let exists = absolute.ancestors().find(|above| *above != absolute && above.is_dir());
    let real = match exists
        .and_then(|above| Some((above.canonicalize().ok()?, absolute.strip_prefix(above).ok()?)))
    {
        Some((above, rest)) => above.join(rest),
        None => absolute,
    };
    let root = known_roots(state)
        .into_iter()
        .filter(|root| real.starts_with(root))
        .max_by_key(|root| root.as_os_str().len());
    let Some(root) = root else {
        bail!(
            "{} lies in no tree that is synchronised from this host (archives: {})",
            path.display(),
            state.display()
        );
    };
    let below = real.strip_prefix(&root).unwrap_or(Path::new(""));
    let below = RelPath::new(below.as_os_str().as_bytes()).with_context(|| format!("{}", path.display()))?;
    Ok((root, below))
}
