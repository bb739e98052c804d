//! `capture-check VFSYNC TIER DIR…`: performs every operation in each directory and requires `vfsync watch` to report
//! it. Runs in guests, where there is no cargo. Prints a table; the exit code is 1 if something was missed.

use std::{path::Path, process::ExitCode};

use vfsync_tests::{
    operations::{Ground, OPERATIONS},
    watching::{Outcome, Watching},
};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vfsync, tier, dirs @ ..] = args.as_slice() else {
        eprintln!("usage: capture-check VFSYNC TIER DIR...");
        return ExitCode::from(2);
    };
    let mut missed = 0;
    for dir in dirs {
        match check(Path::new(vfsync), tier, Path::new(dir)) {
            Ok(count) => missed += count,
            Err(error) => {
                println!("{tier} {dir}: {error}");
                missed += 1;
            }
        }
    }
    ExitCode::from(u8::from(missed > 0))
}

/// Returns how many operations were missed.
fn check(vfsync: &Path, tier: &str, dir: &Path) -> Result<usize, String> {
    let ground = Ground::make(dir).map_err(|e| e.to_string())?;
    let mut watching = Watching::start(vfsync, tier, &[&ground.root])?;
    let mut missed = 0;
    for operation in OPERATIONS {
        let outcome = watching.demand(&ground, operation)?;
        let word = match &outcome {
            Outcome::Seen => "seen".to_string(),
            Outcome::Lost => "announced as lost".to_string(),
            Outcome::Missed(why) => {
                missed += 1;
                format!("MISSED: {why}")
            }
            Outcome::NotPerformed(why) => format!("not performed: {why}"),
        };
        println!("{tier} {} {}: {word}", dir.display(), operation.name);
    }
    Ok(missed)
}
