//! The `vfsync` binary: parse, set up logging, call one command, exit code.

use std::process::ExitCode;
use vfsync::cli::{self, Command};
use vfsync::cmd;
use vfsync::environment::Environment;
use vfsync::exit::ExitStatus;
use vfsync::logging::{self, LogLevel};

fn main() -> ExitCode {
    let environment = Environment::read();
    let command = match cli::parse(std::env::args_os(), &environment) {
        Ok(command) => command,
        Err(error) => return error.print().into(),
    };
    logging::init(LogLevel::Warnings, None);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vfsync: cannot start: {error}");
            return ExitStatus::Nothing.into();
        }
    };
    let result = runtime.block_on(async {
        match command {
            Command::Sync(args) => cmd::sync::run(args).await,
            Command::Live(args) => cmd::live::run(args).await,
            Command::Serve(args) => cmd::serve::run(args).await,
            Command::Watch(args) => cmd::watch::run(args).await,
            Command::Doctor(args) => cmd::doctor::run(args).await,
            _ => Ok(ExitStatus::Nothing),
        }
    });
    runtime.shutdown_background();
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("vfsync: {error:#}");
            ExitStatus::Nothing.into()
        }
    }
}
