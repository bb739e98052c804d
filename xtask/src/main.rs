//! `cargo xtask`: everything a developer or CI does with vfsync.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use xtask::{
    build::{self, Profile},
    setup,
};

/// Everything a developer or CI does with vfsync.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Brings the tools that are missing into target/tools (or what VFSYNC_TOOLS names); installs nothing.
    Setup {
        /// Only these parts.
        #[arg(long, value_name = "PART", value_enum, value_delimiter = ',')]
        only: Vec<setup::Part>,
    },
    /// Builds one static binary with the eBPF programs inside: target/dist/vfsync.
    Build {
        /// A debug build whose eBPF programs write their own messages: target/dist-debug/vfsync.
        #[arg(long)]
        debug: bool,
    },
    /// Builds the eBPF programs alone and prints the path of the object.
    BuildEbpf {
        /// With the programs' own messages.
        #[arg(long)]
        debug: bool,
    },
}

fn main() -> ExitCode {
    match perform(Cli::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<ExitCode> {
    match task {
        Task::Setup { only } => setup::run(&only)?,
        Task::Build { debug } => {
            setup::run(&[setup::Part::Ebpf])?;
            println!("{}", build::dist(profile(debug))?.display());
        }
        Task::BuildEbpf { debug } => {
            setup::run(&[setup::Part::Ebpf])?;
            println!("{}", build::ebpf(profile(debug))?.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn profile(debug: bool) -> Profile {
    if debug { Profile::Debug } else { Profile::Release }
}
