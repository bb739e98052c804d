//! The one question that `vfsync sync` asks.

use std::io::{self, BufRead, IsTerminal, Write};

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Do nothing.
    No,
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

/// Asks whether to proceed, and waits for the answer. Anything but a yes is a no, and so is the end of the input.
pub fn proceed() -> Result<Answer, AskError> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(AskError::NoTerminal);
    }
    ask(&mut io::stdin().lock(), &mut io::stderr().lock()).map_err(AskError::Terminal)
}

pub(super) fn ask(input: &mut impl BufRead, output: &mut impl Write) -> io::Result<Answer> {
    write!(output, "Proceed? [y/N] ")?;
    output.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Answer::Yes,
        _ => Answer::No,
    })
}
