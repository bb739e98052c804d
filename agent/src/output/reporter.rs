//! The [`Reporter`] prints what happens as it happens, to people or to a script, and into the log file.

use super::ask::{self, AskError, Decided};
use super::human::{self, Dress};
use super::json::{self, Of};
use super::progress::Progress;
use super::{Cause, ChangeLog, ConflictReport, Item, ItemResult, LogFile, Planned, Resolved, Summary};
use crate::core::escaped::{Escaped, EscapedLines};
use crate::options::{CommandOptions, Verbosity};
use crate::replica::Count;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Who reads, and how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// How much people are told; scripts are told everything.
    pub verbosity: Verbosity,
    /// Whether standard output gets JSON lines instead of lines for people.
    pub json: bool,
    /// Whether to use colours; `None` is where they fit.
    pub color: Option<bool>,
}

impl Style {
    /// Returns the style that the options of a command ask for.
    pub fn of(options: &CommandOptions) -> Style {
        Style { verbosity: options.verbosity, json: options.json, color: options.color }
    }
}

/// Prints outcomes. It can be shared: each line is printed whole.
///
/// That nobody reads any more, or that a log cannot be written, does not stop a synchronisation: it is said once on
/// standard error, and the rest goes on.
pub struct Reporter {
    style: Style,
    dress: Dress,
    /// Standard error is a terminal, and people want to be told.
    shows_progress: bool,
    /// The root at the other end of the link that it tells of.
    peer: Option<String>,
    sinks: Arc<Mutex<Sinks>>,
}

struct Sinks {
    out: Option<Box<dyn Write + Send>>,
    err: Box<dyn Write + Send>,
    log: Option<LogFile>,
    changes: Option<ChangeLog>,
    progress: Option<Progress>,
    /// What is to be printed above the progress.
    pending: String,
}

impl Reporter {
    /// Makes a reporter on standard output and standard error.
    pub fn new(style: Style, log: Option<LogFile>) -> Reporter {
        let dress = match style.color {
            Some(true) => Dress::Colored,
            None if io::stdout().is_terminal() && !style.json => Dress::Colored,
            Some(false) | None => Dress::Plain,
        };
        let shows_progress = style.verbosity == Verbosity::Normal && io::stderr().is_terminal();
        let reporter = Reporter::to(style, dress, log, Box::new(io::stdout()), Box::new(io::stderr()));
        Reporter { shows_progress, ..reporter }
    }

    pub(super) fn to(
        style: Style,
        dress: Dress,
        log: Option<LogFile>,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Reporter {
        let sinks = Sinks { out: Some(out), err, log, changes: None, progress: None, pending: String::new() };
        Reporter { style, dress, shows_progress: false, peer: None, sinks: Arc::new(Mutex::new(sinks)) }
    }

    /// Returns one that prints to the same places, and tells scripts that it is about the link with this root.
    pub fn of_link(&self, peer: String) -> Reporter {
        let Reporter { style, dress, shows_progress, .. } = *self;
        Reporter { style, dress, shows_progress, peer: Some(peer), sinks: self.sinks.clone() }
    }

    fn of(&self) -> Of<'_> {
        Of { peer: self.peer.as_deref(), time: SystemTime::now() }
    }

    /// From now on notes each change that was carried in a change log as well.
    pub fn with_changes(self, changes: Option<ChangeLog>) -> Reporter {
        self.sinks().changes = changes;
        self
    }

    fn sinks(&self) -> MutexGuard<'_, Sinks> {
        // A panic elsewhere while the lock was held leaves at worst half a line.
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes in the log file that a pass begins.
    pub fn start(&self, what: &str) {
        self.sinks().log(|log| log.start(what));
    }

    /// Shows how far the work has come, if somebody is looking at a terminal. To be called a few times a second, until
    /// [`Reporter::end_progress`].
    pub fn progress(&self, count: &Count) {
        if !self.shows_progress {
            return;
        }
        let mut sinks = self.sinks();
        sinks.progress.get_or_insert_with(Progress::new).show(count);
        sinks.print_pending();
    }

    /// Takes the progress away.
    pub fn end_progress(&self) {
        let mut sinks = self.sinks();
        sinks.print_pending();
        if let Some(progress) = sinks.progress.take() {
            progress.end();
        }
    }

    /// Opens the log file again under its name: what it was may have been rotated away.
    pub fn reopen(&self) {
        let mut sinks = self.sinks();
        sinks.log(LogFile::reopen);
        if let Some(changes) = &mut sinks.changes {
            changes.reopen();
        }
    }

    /// Prints an outcome.
    pub fn item(&self, item: &Item) {
        let mut sinks = self.sinks();
        sinks.log(|log| log.item(item));
        if item.result == ItemResult::Done {
            sinks.change(item);
        }
        // What never takes part (a named pipe) is neither a conflict nor an error, and would be said again each time.
        let left_out = item.cause == Cause::Look && item.result == ItemResult::Skipped;
        let trouble = item.result != ItemResult::Done && !left_out;
        if self.style.json {
            sinks.out(&json::item(item, self.of()));
        } else if trouble || self.style.verbosity > Verbosity::Silent {
            sinks.out(&format!("{}\n", human::item(item, self.dress)));
        }
    }

    /// Prints a conflict.
    pub fn conflict(&self, conflict: &ConflictReport) {
        let mut sinks = self.sinks();
        sinks.log(|log| log.conflict(conflict));
        let stays = conflict.resolved == Resolved::No;
        if self.style.json {
            sinks.out(&json::conflict(conflict, self.of()));
        } else if stays || self.style.verbosity > Verbosity::Silent {
            sinks.out(&format!("{}\n", human::conflict(conflict, self.dress)));
        }
    }

    /// Prints a whole plan, and what it comes to. People read it even beside JSON, for they are asked about it.
    pub fn plan(&self, plan: &[Planned]) {
        let mut sinks = self.sinks();
        for planned in plan {
            if self.style.json {
                sinks.out(&json::planned(planned, self.of()));
            }
            sinks.people(self.style, &format!("{}\n", human::planned(planned, self.dress)));
        }
        sinks.people(self.style, &format!("{}\n", human::plan_total(plan)));
    }

    /// Asks a person what of a plan is to be done. With `auto` only conflicts are asked about one by one.
    ///
    /// # Errors
    /// When there is no terminal, or it fails.
    pub fn decide(&self, plan: &[Planned], auto: bool) -> Result<Decided, AskError> {
        ask::decide(plan, auto, self.dress)
    }

    /// Prints the summary, the last line of a pass.
    pub fn summary(&self, summary: &Summary) {
        let mut sinks = self.sinks();
        sinks.log(|log| log.summary(summary));
        if self.style.json {
            sinks.out(&json::summary(summary, self.of()));
        } else if self.style.verbosity == Verbosity::Normal {
            sinks.out(&format!("{}\n", human::summary(summary, self.dress)));
        }
    }

    /// Tells the sums of a plan that is not carried out; `changes`: there was something to do.
    pub fn end_of_plan(&self, summary: &Summary, changes: bool) {
        if changes && !self.style.json && summary.skipped + summary.failed == 0 {
            return self.say("Nothing was done: this is what would be done.");
        }
        self.summary(summary);
    }

    /// Tells people something on standard error, unless they want it terse: progress, notices.
    pub fn note(&self, text: &str) {
        let mut sinks = self.sinks();
        sinks.log(|log| log.message(&Escaped(text.as_bytes()).to_string()));
        if self.style.verbosity == Verbosity::Normal {
            sinks.err(&format!("{}\n", EscapedLines(text)));
        }
    }

    /// Tells people what they asked for: on standard output, or on standard error beside JSON.
    pub fn say(&self, text: &str) {
        self.sinks().people(self.style, &format!("{}\n", EscapedLines(text)));
    }

    /// Tells people on standard error what went wrong, however silent they want it.
    pub fn error(&self, text: &str) {
        let mut sinks = self.sinks();
        sinks.log(|log| log.message(&Escaped(text.as_bytes()).to_string()));
        sinks.err(&format!("vfsync: {}\n", EscapedLines(text)));
    }
}

impl Sinks {
    fn people(&mut self, style: Style, line: &str) {
        if style.json { self.err(line) } else { self.out(line) }
    }

    /// Prints what was kept back while the progress is shown.
    fn print_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        match self.progress.take() {
            None => self.out_now(&pending),
            Some(progress) => {
                progress.above(|| self.out_now(&pending));
                self.progress = Some(progress);
            }
        }
    }

    fn out(&mut self, line: &str) {
        match self.progress {
            Some(_) => self.pending.push_str(line),
            None => self.out_now(line),
        }
    }

    fn out_now(&mut self, line: &str) {
        let Some(out) = &mut self.out else { return };
        if let Err(e) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
            self.out = None;
            self.err(&format!(
                "vfsync: cannot write to standard output, nothing more is printed there: {e}\n"
            ));
        }
    }

    fn err(&mut self, line: &str) {
        self.print_pending();
        match self.progress.take() {
            None => self.err_now(line),
            Some(progress) => {
                progress.above(|| self.err_now(line));
                self.progress = Some(progress);
            }
        }
    }

    fn err_now(&mut self, line: &str) {
        // There is nowhere left to say that standard error is gone.
        let _ = self.err.write_all(line.as_bytes());
    }

    fn change(&mut self, item: &Item) {
        let Some(changes) = &mut self.changes else { return };
        if let Err(e) = changes.item(item) {
            let folder = changes.folder().display().to_string();
            self.changes = None;
            let folder = Escaped(folder.as_bytes());
            self.err(&format!(
                "vfsync: cannot write the change log in {folder}, nothing more is written there: {e}\n"
            ));
        }
    }

    fn log(&mut self, write: impl FnOnce(&mut LogFile) -> io::Result<()>) {
        let Some(log) = &mut self.log else { return };
        if let Err(e) = write(log) {
            let path = log.path().display().to_string();
            self.log = None;
            let path = Escaped(path.as_bytes());
            self.err(&format!("vfsync: cannot write to the log file {path}, nothing more is logged: {e}\n"));
        }
    }
}
