//! The `vfsync` binary: parse, set up logging, call one command, exit code.

use std::io;
use std::process::ExitCode;
use vfsync::cli::{self, Command};
use vfsync::cmd;
use vfsync::core::escaped::EscapedLines;
use vfsync::environment::Environment;
use vfsync::exit::ExitStatus;
use vfsync::logging::{self, LogLevel};
use vfsync::options::Debug;

fn main() -> ExitCode {
    let environment = Environment::read();
    match cli::parse(std::env::args_os(), &environment) {
        Ok(command) => run(command, &environment).into(),
        Err(error) => error.print().into(),
    }
}

fn run(command: Command, environment: &Environment) -> ExitStatus {
    logging::init(level(&command), environment.no_color.then_some(false));
    raise_file_limit();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vfsync: cannot start: {error}");
            return ExitStatus::Nothing;
        }
    };
    let result = runtime.block_on(dispatch(command, environment));
    // A thread that still waits for a disk or a peer does not keep the process.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        eprintln!("vfsync: {}", EscapedLines(&format!("{error:#}")));
        ExitStatus::Nothing
    })
}

async fn dispatch(command: Command, environment: &Environment) -> anyhow::Result<ExitStatus> {
    match command {
        Command::Sync(args) => cmd::sync::run(args).await,
        Command::Live(args) => cmd::live::run(args).await,
        Command::Daemon(args) => cmd::daemon::run(args, environment).await,
        Command::Cron(args) => cmd::cron::run(args, environment).await,
        Command::Import(args) => cmd::import::run(args, environment),
        Command::Ask(args) => cmd::ask::run(args).await,
        Command::Top(args) => cmd::top::run(args).await,
        Command::Watch(args) => cmd::watch::run(args).await,
        Command::Serve(args) => cmd::serve::run(args).await,
        Command::Conflicts(args) => cmd::conflicts::list(args).await,
        Command::Resolve(args) => cmd::conflicts::resolve(args).await,
        Command::Doctor(args) => cmd::doctor::run(args, environment).await,
        Command::Completions(shell) => cli::completions(shell, &mut io::stdout()),
        Command::Man(command) => cli::man(command.as_deref(), &mut io::stdout()),
    }
}

/// Returns how much is logged where `VFSYNC_LOG` says nothing.
fn level(command: &Command) -> LogLevel {
    let debug = match command {
        Command::Sync(args) => args.options.command.debug,
        Command::Live(args) => args.options.command.debug,
        Command::Daemon(_) => return LogLevel::Batches,
        _ => Debug::No,
    };
    match debug {
        Debug::No => LogLevel::Warnings,
        Debug::Paths => LogLevel::Paths,
        Debug::Everything => LogLevel::Everything,
    }
}

/// Lets the process open as many files as it may: a batch prepares hundreds of them at once.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused, it stays as it is, and large batches may fail with a clear error.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
