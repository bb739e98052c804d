//! `capture-check VFSYNC TIER NAME=DIR…`: performs every operation in each directory and looks whether `vfsync watch`
//! reports it. Runs in guests, where there is no cargo. Prints a line of [`vfsync_tests::coverage`] each; the exit code is 1 if it
//! could not look.

use std::{path::Path, process::ExitCode};

use vfsync_tests::{
    coverage::{Cell, EVERYTHING, Word},
    operations::{Ground, OPERATIONS},
    watching::Watching,
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vfsync, tier, grounds @ ..] = args.as_slice() else {
        eprintln!("usage: capture-check VFSYNC TIER NAME=DIR...");
        return ExitCode::from(2);
    };
    let mut code = ExitCode::SUCCESS;
    for ground in grounds {
        let (name, dir) = ground.split_once('=').unwrap_or(("", ground));
        if let Err(error) = check(Path::new(vfsync), tier, name, Path::new(dir)) {
            eprintln!("{tier} on {name}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn check(vfsync: &Path, tier: &str, name: &str, dir: &Path) -> Result<(), String> {
    let ground = Ground::make(dir).map_err(|e| e.to_string())?;
    let cell = |operation: &str| Cell {
        tier: tier.to_owned(),
        file_system: name.to_owned(),
        operation: operation.to_owned(),
    };
    let mut watching = match Watching::start(vfsync, tier, &[&ground.root]) {
        Ok(watching) => watching,
        Err(why) if why.contains("is not possible here") => {
            println!("{}", cell(EVERYTHING).line(&Word::Missed(why.trim().to_owned())));
            return Ok(());
        }
        Err(why) => return Err(why),
    };
    for operation in OPERATIONS {
        let word = Word::from(watching.demand(&ground, operation)?);
        println!("{}", cell(operation.name).line(&word));
    }
    Ok(())
}
