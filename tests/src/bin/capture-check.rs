//! `capture-check VFSYNC TIER NAME=DIR[@THROUGH]…`: performs every operation in each directory and looks whether `vfsync watch`
//! reports it; by way of another place that leads there, where one is given. Runs in guests, where there is no cargo. Prints a line of [`xtask::coverage`] each; the exit code is 1 if it
//! could not look.

use std::{path::Path, process::ExitCode};

use vfsync_tests::{
    operations::{self, Ground},
    watching::Watching,
};
use xtask::coverage::{Cell, EVERYTHING, Word};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vfsync, tier, grounds @ ..] = args.as_slice() else {
        eprintln!("usage: capture-check VFSYNC TIER NAME=DIR[@THROUGH]...");
        return ExitCode::from(2);
    };
    match check_all(Path::new(vfsync), tier, grounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{tier}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Where the operations are performed: the name in the table, what is watched, and by way of what it is changed.
struct Place {
    name: String,
    watched: Ground,
    through: Ground,
}

fn check_all(vfsync: &Path, tier: &str, grounds: &[String]) -> Result<(), String> {
    let made = |ground: &String| {
        let (name, dir) = ground.split_once('=').unwrap_or(("", ground));
        let (dir, through) = dir.split_once('@').unwrap_or((dir, dir));
        let make = |dir: &str| Ground::make(Path::new(dir)).map_err(|e| format!("{dir}: {e}"));
        Ok::<_, String>(Place { name: name.to_owned(), watched: make(dir)?, through: make(through)? })
    };
    let grounds = grounds.iter().map(made).collect::<Result<Vec<_>, _>>()?;
    // Starting it takes most of the time in a guest: one for all, unless it is refused on one of them.
    match check(vfsync, tier, &grounds)? {
        None => Ok(()),
        Some(_) => grounds.chunks(1).try_for_each(|alone| {
            if let Some(why) = check(vfsync, tier, alone)? {
                println!("{}", cell(tier, &alone[0].name, EVERYTHING).line(&Word::Refused(why)));
            }
            Ok(())
        }),
    }
}

fn cell(tier: &str, file_system: &str, operation: &str) -> Cell {
    Cell { tier: tier.to_owned(), file_system: file_system.to_owned(), operation: operation.to_owned() }
}

/// Performs the operations; returns why the tier is refused, if so.
fn check(vfsync: &Path, tier: &str, grounds: &[Place]) -> Result<Option<String>, String> {
    let roots: Vec<&Path> = grounds.iter().map(|place| place.watched.root.as_path()).collect();
    let mut watching = match Watching::start(vfsync, tier, &roots) {
        Ok(watching) => watching,
        Err(why) if why.contains("is not possible here") => return Ok(Some(why.trim().to_owned())),
        Err(why) => return Err(why),
    };
    for Place { name, watched, through } in grounds {
        let is_remote = watched.root != through.root;
        let all: Vec<_> =
            operations::all().into_iter().filter(|o| !is_remote || !o.is_about_closing()).collect();
        for (operation, outcome) in all.iter().zip(watching.demand_through(watched, through, &all)?) {
            println!("{}", cell(tier, name, operation.name).line(&Word::from(outcome)));
        }
    }
    Ok(None)
}
