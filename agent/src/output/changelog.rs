//! The [`ChangeLog`]: one line for each change that was carried, with its time, in a file for each day of the week. What the
//! file holds of a week ago is thrown away when the day comes again, so that it needs no rotation.

use super::Item;
use super::human;
use jiff::Zoned;
use jiff::civil::Date;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A folder with seven files.
#[derive(Debug)]
pub struct ChangeLog {
    folder: PathBuf,
    open: Option<(Date, File)>,
}

impl ChangeLog {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> io::Result<ChangeLog> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(ChangeLog { folder: folder.to_owned(), open: None })
    }

    /// Returns where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens the file of the day again: somebody may have taken it away.
    pub(super) fn reopen(&mut self) {
        self.open = None;
    }

    pub(super) fn item(&mut self, item: &Item) -> io::Result<()> {
        self.line(&Zoned::now(), &human::change(item))
    }

    fn line(&mut self, now: &Zoned, text: &str) -> io::Result<()> {
        let date = now.date();
        if self.open.as_ref().is_none_or(|(day, _)| *day != date) {
            self.open = Some((date, file_of(&self.folder, now)?));
        }
        let line = format!("{} {text}\n", now.strftime("%F %T"));
        match &mut self.open {
            // One write a line, so that the lines of several processes do not mix.
            Some((_, file)) => file.write_all(line.as_bytes()),
            None => Ok(()),
        }
    }
}

/// Opens the file of a day, emptied if what it holds is of another one. As `date +%u` numbers them, Monday is 1.
fn file_of(folder: &Path, now: &Zoned) -> io::Result<File> {
    let path = folder.join(format!("changes{}.log", now.weekday().to_monday_one_offset()));
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let written = file.metadata()?.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    let written = jiff::Timestamp::try_from(written).map_err(io::Error::other)?;
    if written.to_zoned(now.time_zone().clone()).date() != now.date() {
        file.set_len(0)?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().expect("a time")
    }

    #[test]
    fn each_day_has_its_file_and_a_week_later_it_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = ChangeLog::open(&dir.path().join("log")).unwrap();
        let read = |n: u8| {
            std::fs::read_to_string(dir.path().join(format!("log/changes{n}.log"))).unwrap_or_default()
        };
        log.line(&at("2026-11-23T23:59:59[UTC]"), "one").unwrap();
        log.line(&at("2026-11-24T00:00:00[UTC]"), "two").unwrap();
        assert_eq!(read(1), "2026-11-23 23:59:59 one\n");
        assert_eq!(read(2), "2026-11-24 00:00:00 two\n");
        // The file was last written today, whenever that is: of another day it is emptied, of the same it is kept.
        let now = Zoned::now();
        log.line(&now, "today").unwrap();
        log.reopen();
        log.line(&now, "again").unwrap();
        let today = u8::try_from(now.weekday().to_monday_one_offset()).unwrap();
        assert_eq!(read(today).lines().filter(|l| l.ends_with("today") || l.ends_with("again")).count(), 2);
        let week = now.checked_add(jiff::Span::new().days(7)).unwrap();
        log.line(&week, "a week later").unwrap();
        assert_eq!(read(today).lines().count(), 1, "{}", read(today));
    }
}
