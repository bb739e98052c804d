//! The question that `vfsync sync` asks about a plan.

use super::Planned;
use super::choose::{Ended, Pick, Which, choose};
use super::human::Dress;
use std::io::{self, BufRead, IsTerminal, Write};

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Go on.
    Yes,
    /// Do nothing.
    No,
}

/// What a person wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// This about each item.
    Go(Vec<Pick>),
    /// Nothing.
    Nothing,
}

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is there.
    #[error(
        "there is no terminal to ask on; run with -batch to do what is clear without asking, or with -dry-run"
    )]
    NoTerminal,
    /// The terminal failed.
    #[error("cannot ask on the terminal")]
    Terminal(#[source] io::Error),
}

/// Returns whether there is somebody to ask.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks what of a plan, which was shown, is to be done, and waits for the answer. With `auto` only conflicts are asked
/// about one by one.
pub(super) fn decide(plan: &[Planned], auto: bool, dress: Dress) -> Result<Decided, AskError> {
    if !can_ask() {
        return Err(AskError::NoTerminal);
    }
    ask(plan, auto, dress, &mut io::stdin().lock(), &mut io::stderr().lock()).map_err(AskError::Terminal)
}

pub(super) fn ask(
    plan: &[Planned],
    auto: bool,
    dress: Dress,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> io::Result<Decided> {
    let conflicts = plan.iter().any(|planned| matches!(planned, Planned::Conflict(_)));
    if auto && conflicts {
        return Ok(choose(plan, Which::Conflicts, dress, input, output)?.into());
    }
    write!(output, "Proceed? [y/N, or c to choose item by item] ")?;
    match line(input, output)?.as_str() {
        "y" | "yes" | "g" => Ok(Decided::Go(vec![Pick::Recommended; plan.len()])),
        "c" => Ok(choose(plan, Which::All, dress, input, output)?.into()),
        _ => Ok(Decided::Nothing),
    }
}

/// Asks whether to proceed. Anything but a yes is a no, and so is the end of the input.
pub(super) fn confirm(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<Answer> {
    write!(output, "Proceed? [y/N] ")?;
    Ok(match line(input, output)?.as_str() {
        "y" | "yes" | "g" => Answer::Yes,
        _ => Answer::No,
    })
}

fn line(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<String> {
    output.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim().to_lowercase())
}

impl From<Ended> for Decided {
    fn from(ended: Ended) -> Decided {
        match ended {
            Ended::Go(picks) => Decided::Go(picks),
            Ended::Quit => Decided::Nothing,
        }
    }
}
