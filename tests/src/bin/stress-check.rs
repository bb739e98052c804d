//! `stress-check VFSYNC TIER DIR STRESS_NG SECONDS`: has `stress-ng` work in a tree that `vfsync watch` looks at, as
//! [`vfsync_tests::stress`] says. The exit code is 1 if a path differs that was neither reported nor announced as lost.

use std::{path::Path, process::ExitCode, time::Duration};

use vfsync_tests::{operations::Ground, stress};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [vfsync, tier, dir, stress_ng, seconds] = args.as_slice() else {
        eprintln!("usage: stress-check VFSYNC TIER DIR STRESS_NG SECONDS");
        return ExitCode::from(2);
    };
    let each = Duration::from_secs(seconds.parse().unwrap_or(10));
    let run = Ground::make(Path::new(dir))
        .map_err(|e| e.to_string())
        .and_then(|ground| stress::run(Path::new(vfsync), tier, &ground, Path::new(stress_ng), each));
    match run {
        Ok(report) => {
            println!("stress-ng, {tier}: {report}");
            report.silent.iter().for_each(|path| println!("{tier}: not told: {}", path.display()));
            ExitCode::from(u8::from(!report.silent.is_empty()))
        }
        Err(error) => {
            eprintln!("{tier}: {error}");
            ExitCode::from(3)
        }
    }
}
