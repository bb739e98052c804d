//! The [`LogFile`]: one dated line for everything that was done, skipped or failed, appended for good.

use super::human::{self, Dress};
use super::{ConflictReport, Item, ItemResult, Resolved, Summary};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens the file for appending; makes it, and the directory that it is to lie in, if they are not there.
    pub fn open(path: &Path) -> io::Result<LogFile> {
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        Ok(LogFile { path: path.to_path_buf(), file })
    }

    /// Opens it again under its name, which may have been given to another file: logs are rotated so.
    pub fn reopen(&mut self) -> io::Result<()> {
        *self = LogFile::open(&self.path)?;
        Ok(())
    }

    /// Returns where the file lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn start(&mut self, what: &str) -> io::Result<()> {
        self.line("START", what)
    }

    pub(super) fn item(&mut self, item: &Item) -> io::Result<()> {
        let word = match item.result {
            ItemResult::Done => "END",
            ItemResult::Failed => "ERROR",
            ItemResult::Skipped => "SKIP",
        };
        self.line(word, &human::item(item, Dress::Plain))
    }

    pub(super) fn conflict(&mut self, conflict: &ConflictReport) -> io::Result<()> {
        let word = if conflict.resolved == Resolved::No { "CONFLICT" } else { "RESOLVED" };
        self.line(word, &human::conflict(conflict, Dress::Plain))
    }

    pub(super) fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        self.line("DONE", &human::summary(summary, Dress::Plain))
    }

    pub(super) fn message(&mut self, text: &str) -> io::Result<()> {
        self.line("NOTE", text)
    }

    /// One write a line, so that the lines of several processes do not mix.
    fn line(&mut self, word: &str, text: &str) -> io::Result<()> {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let tag = format!("[{word}]");
        self.file.write_all(format!("{now} {tag:<10} {text}\n").as_bytes())
    }
}
