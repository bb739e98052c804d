//! The coverage is what each tier of capture reports on each kernel and file system. A [`Cell`] of it is an operation, a
//! [`Word`] what became of it. The [`Table`] of all of them stands in `tests/coverage.txt`, and nothing may become worse.

use std::{collections::BTreeSet, fmt};

use crate::kernel::Kernel;

/// The operation of a cell that stands for all of them: the tier is refused on the file system.
pub const EVERYTHING: &str = "everything";

/// The file systems of the table, in the order of its letters.
pub const FILE_SYSTEMS: [&str; 6] = ["tmpfs", "ext4", "xfs", "btrfs", "overlay", "nfsd"];

/// What separates the parts of a line that a guest prints.
const BORDER: &str = " | ";

/// The letter of what was not looked at.
const UNKNOWN: char = '_';

/// The letters of one row: a group of a letter for each file system, for each kernel.
const WIDTH: usize = FILE_SYSTEMS.len() * Kernel::ALL.len();

/// An operation on a file system, watched by a tier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The tier.
    pub tier: String,
    /// The file system.
    pub file_system: String,
    /// The operation's name.
    pub operation: String,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// It was reported.
    Seen,
    /// Which name has changed was not reported, but the directory that has to be listed.
    Listed,
    /// Its loss was announced.
    Lost,
    /// It was not reported; and what was instead.
    Missed(String),
    /// The file system or kernel does not have it.
    Absent,
    /// The tier is refused there; and why.
    Refused(String),
}

impl Word {
    fn letter(&self) -> char {
        match self {
            Word::Seen => '+',
            Word::Listed => 'd',
            Word::Lost => '!',
            Word::Missed(_) => '-',
            Word::Absent => '.',
            Word::Refused(_) => 'x',
        }
    }

    /// Returns the word and, where it has one, the reason.
    fn parts(&self) -> (&'static str, &str) {
        match self {
            Word::Seen => ("seen", ""),
            Word::Listed => ("listed", ""),
            Word::Lost => ("lost", ""),
            Word::Missed(why) => ("missed", why),
            Word::Absent => ("absent", ""),
            Word::Refused(why) => ("refused", why),
        }
    }
}

/// Returns what a letter means.
fn meaning(letter: char) -> &'static str {
    match letter {
        '+' => "seen",
        'd' => "its directory is named",
        '!' => "lost and announced",
        '-' => "not seen",
        '.' => "not performed",
        'x' => "the tier is refused",
        _ => "not looked at",
    }
}

impl Cell {
    /// Returns the line that a guest prints.
    pub fn line(&self, word: &Word) -> String {
        let Cell { tier, file_system, operation } = self;
        let (word, why) = word.parts();
        let why = why.replace('\n', " ");
        format!("{tier}{BORDER}{file_system}{BORDER}{operation}{BORDER}{word}{BORDER}{why}")
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}, {}", self.tier, self.file_system, self.operation)
    }
}

/// Reads the lines that a guest has printed; others are passed over.
pub fn printed(output: &str) -> Vec<(Cell, Word)> {
    let line = |line: &str| {
        let mut parts = line.trim_end_matches(['\r', '\n']).splitn(5, BORDER);
        let mut part = || parts.next().map(str::to_owned);
        let cell = Cell { tier: part()?, file_system: part()?, operation: part()? };
        let (word, why) = (part()?, part()?);
        let word = match word.as_str() {
            "seen" => Word::Seen,
            "listed" => Word::Listed,
            "lost" => Word::Lost,
            "missed" => Word::Missed(why),
            "absent" => Word::Absent,
            "refused" => Word::Refused(why),
            _ => return None,
        };
        Some((cell, word))
    };
    output.lines().filter_map(line).collect()
}

/// Every cell of every kernel: for each tier a row for each operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    head: String,
    tiers: Vec<(String, Vec<Row>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    operation: String,
    letters: [char; WIDTH],
}

/// Returns the place of a cell in a row; none for a file system that the table does not have.
fn column(kernel: Kernel, file_system: &str) -> Option<usize> {
    let file_system = FILE_SYSTEMS.iter().position(|name| *name == file_system)?;
    let kernel = Kernel::ALL.iter().position(|one| *one == kernel)?;
    Some(kernel * FILE_SYSTEMS.len() + file_system)
}

impl Table {
    /// Reads a table: a head of comments, then for each tier its name and its rows.
    ///
    /// # Errors
    /// The line that is none of these.
    pub fn parse(text: &str) -> Result<Table, String> {
        let mut table = Table { head: String::new(), tiers: Vec::new() };
        for line in text.lines() {
            if line.starts_with('#') {
                table.head += line;
                table.head.push('\n');
            } else if let Some((letters, operation)) = line.split_once("  ") {
                let (_, rows) = table.tiers.last_mut().ok_or_else(|| format!("a row of no tier: {line}"))?;
                let letters: Vec<char> = letters.chars().filter(|letter| *letter != ' ').collect();
                let letters =
                    letters.try_into().map_err(|_| format!("{WIDTH} letters are wanted: {line}"))?;
                rows.push(Row { operation: operation.to_owned(), letters });
            } else if !line.is_empty() {
                table.tiers.push((line.to_owned(), Vec::new()));
            }
        }
        Ok(table)
    }

    /// Returns the letter of a cell on a kernel.
    fn letter(&self, kernel: Kernel, cell: &Cell) -> char {
        let rows = self.tiers.iter().find(|(tier, _)| *tier == cell.tier).map(|(_, rows)| rows);
        let row = rows.and_then(|rows| rows.iter().find(|row| row.operation == cell.operation));
        let column = column(kernel, &cell.file_system);
        row.zip(column).map_or(UNKNOWN, |(row, column)| row.letters[column])
    }

    /// Takes over what a guest with a kernel has printed, for the tiers that it tells of. What it tells nothing of any
    /// more is forgotten.
    pub fn take(&mut self, kernel: Kernel, printed: &[(Cell, Word)]) {
        let told: BTreeSet<&str> = printed.iter().map(|(cell, _)| cell.tier.as_str()).collect();
        let columns: Vec<usize> = FILE_SYSTEMS.iter().filter_map(|name| column(kernel, name)).collect();
        for (_, rows) in self.tiers.iter_mut().filter(|(tier, _)| told.contains(tier.as_str())) {
            for row in rows {
                columns.iter().for_each(|&column| row.letters[column] = UNKNOWN);
            }
        }
        for (cell, word) in printed {
            let Some(column) = column(kernel, &cell.file_system) else { continue };
            self.row(cell).letters[column] = word.letter();
        }
        for (_, rows) in &mut self.tiers {
            rows.retain(|row| row.letters != [UNKNOWN; WIDTH]);
        }
    }

    /// Returns the row of a cell, a new one if there is none.
    fn row(&mut self, cell: &Cell) -> &mut Row {
        let tier = self.tiers.iter().position(|(tier, _)| *tier == cell.tier).unwrap_or_else(|| {
            self.tiers.push((cell.tier.clone(), Vec::new()));
            self.tiers.len() - 1
        });
        let rows = &mut self.tiers[tier].1;
        let row = rows.iter().position(|row| row.operation == cell.operation).unwrap_or_else(|| {
            rows.push(Row { operation: cell.operation.clone(), letters: [UNKNOWN; WIDTH] });
            rows.len() - 1
        });
        &mut rows[row]
    }

    /// Compares what a guest with a kernel has printed with the table: a line for each cell that has become worse, and
    /// one for each that has become better, which the table has to say then. What is new is neither.
    pub fn differences(&self, kernel: Kernel, printed: &[(Cell, Word)]) -> (Vec<String>, Vec<String>) {
        let (mut worse, mut better) = (Vec::new(), Vec::new());
        let told: BTreeSet<&Cell> = printed.iter().map(|(cell, _)| cell).collect();
        for (cell, word) in printed {
            let letter = self.letter(kernel, cell);
            let (was, is) = (letter, word.letter());
            let line = || format!("{cell}: was {}, is {} {}", meaning(was), meaning(is), word.parts().1);
            match (rank(was), rank(is)) {
                _ if was == is || letter == UNKNOWN => {}
                (was, is) if is < was => worse.push(line()),
                _ => better.push(line()),
            }
        }
        let tiers: BTreeSet<&str> = printed.iter().map(|(cell, _)| cell.tier.as_str()).collect();
        for (tier, rows) in self.tiers.iter().filter(|(tier, _)| tiers.contains(tier.as_str())) {
            for (row, file_system) in rows.iter().flat_map(|row| FILE_SYSTEMS.map(|name| (row, name))) {
                let cell = Cell {
                    tier: tier.clone(),
                    file_system: file_system.to_owned(),
                    operation: row.operation.clone(),
                };
                if self.letter(kernel, &cell) != UNKNOWN && !told.contains(&cell) {
                    worse.push(format!("{cell}: nothing is told of it any more"));
                }
            }
        }
        (worse, better)
    }

    /// Returns the cells with this letter.
    #[cfg(test)]
    fn with(&self, wanted: char) -> Vec<(Kernel, Cell)> {
        let mut all = Vec::new();
        for (tier, row) in self.tiers.iter().flat_map(|(tier, rows)| rows.iter().map(move |row| (tier, row)))
        {
            for kernel in Kernel::ALL {
                let cells = FILE_SYSTEMS.map(|file_system| Cell {
                    tier: tier.clone(),
                    file_system: file_system.to_owned(),
                    operation: row.operation.clone(),
                });
                let wanted = |cell: &Cell| self.letter(kernel, cell) == wanted;
                all.extend(cells.into_iter().filter(wanted).map(|cell| (kernel, cell)));
            }
        }
        all
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.head)?;
        for (tier, rows) in &self.tiers {
            writeln!(f, "\n{tier}")?;
            for row in rows {
                let groups: Vec<String> =
                    row.letters.chunks(FILE_SYSTEMS.len()).map(|group| group.iter().collect()).collect();
                writeln!(f, "{}  {}", groups.join(" "), row.operation)?;
            }
        }
        Ok(())
    }
}

/// Returns how good it is.
fn rank(letter: char) -> u8 {
    match letter {
        '+' => 4,
        'd' => 3,
        '!' => 2,
        // What is not seen was performed at least, as nobody knows of what was not.
        '-' => 1,
        _ => 0,
    }
}

/// What a tier does not see by its nature: the tier, or none for each of them; the start of the operation's name; and
/// words of the line with which `vfsync doctor` says so.
const SAID: &[(Option<&str>, &str, &str)] = &[
    (Some("fanotify"), "store ", "stores to a mapping"),
    (Some("fanotify"), "munmap after stores", "stores to a mapping"),
    (Some("fanotify"), "aio ", "writes by aio"),
    (Some("fanotify"), "FS_IOC_", "chattr"),
    (Some("fanotify"), "file_setattr", "chattr"),
    (Some("fanotify"), "write to a loop device on a file", "loop device"),
    (None, "store ", "stores to a page of a mapping"),
    (None, "munmap after stores", "stores to a page of a mapping"),
];

/// Returns which cells are missed without `doctor` saying so, in what it has printed.
pub fn unsaid(printed: &[(Cell, Word)], doctor: &str) -> Vec<String> {
    let said: Vec<&str> = doctor.lines().filter(|line| line.contains("does not see")).collect();
    let is_said = |cell: &Cell| {
        SAID.iter().any(|(tier, start, words)| {
            tier.is_none_or(|tier| tier == cell.tier)
                && cell.operation.starts_with(start)
                && said.iter().any(|line| line.contains(words))
        })
    };
    let missed = printed.iter().filter(|(_, word)| matches!(word, Word::Missed(_)));
    missed
        .filter(|(cell, _)| !is_said(cell))
        .map(|(cell, word)| format!("{cell}: {}", word.parts().1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(file_system: &str, operation: &str) -> Cell {
        Cell { tier: "kprobe".into(), file_system: file_system.into(), operation: operation.into() }
    }

    fn missed() -> Word {
        Word::Missed("it | was".into())
    }

    #[test]
    fn a_line_comes_back_as_it_was() {
        let refused = Word::Refused("not | here".into());
        for word in [Word::Seen, Word::Listed, Word::Lost, Word::Absent, missed(), refused] {
            let read = printed(&format!("noise\n{}\r\n", cell("ext4", "write").line(&word)));
            assert_eq!(read, [(cell("ext4", "write"), word)]);
        }
    }

    #[test]
    fn a_table_comes_back_as_it_was() {
        let mut table = Table::parse("# a head\n").unwrap();
        table.take(Kernel::V6_1, &[(cell("ext4", "write"), Word::Seen), (cell("xfs", "write"), missed())]);
        table.take(Kernel::Sid, &[(cell("overlay", "rename"), Word::Lost)]);
        let text = table.to_string();
        assert_eq!(
            text,
            "# a head\n\nkprobe\n______ _+-___ ______ ______  write\n______ ______ ______ ____!_  rename\n"
        );
        assert_eq!(Table::parse(&text).unwrap(), table);
        // What nothing is told of any more goes.
        table.take(Kernel::Sid, &[(cell("overlay", "write"), Word::Seen)]);
        assert_eq!(table.to_string(), "# a head\n\nkprobe\n______ _+-___ ______ ____+_  write\n");
        Table::parse("+++++  write").unwrap_err();
        Table::parse("kprobe\n+++++  write").unwrap_err();
    }

    #[test]
    fn better_worse_and_untold_are_all_differences() {
        let mut table = Table::parse("").unwrap();
        let known = [
            (cell("ext4", "write"), Word::Seen),
            (cell("ext4", "chattr"), missed()),
            (cell("ext4", "rename"), missed()),
            (cell("ext4", "link"), Word::Seen),
            (cell("ext4", "exchange"), Word::Seen),
        ];
        table.take(Kernel::V6_1, &known);
        let printed = [
            (cell("ext4", "write"), Word::Listed),
            (cell("ext4", "chattr"), missed()),
            (cell("ext4", "rename"), Word::Seen),
            (cell("ext4", "link"), Word::Absent),
            (cell("ext4", "new"), missed()),
        ];
        let (worse, better) = table.differences(Kernel::V6_1, &printed);
        let operations = |lines: &[String]| -> Vec<String> {
            lines
                .iter()
                .map(|l| l.split_once(", ").unwrap().1.split(':').next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(operations(&worse), ["write", "link", "exchange"]);
        assert_eq!(operations(&better), ["rename"]);
        // Of another kernel nothing is known yet.
        assert!(table.differences(Kernel::Sid, &printed).0.is_empty());
    }

    #[test]
    fn what_is_missed_has_to_be_said() {
        let printed = [(cell("tmpfs", "store after msync"), missed()), (cell("tmpfs", "write"), missed())];
        let doctor = "  does not see: stores to a page of a mapping that is dirty already\nsees: write";
        assert_eq!(unsaid(&printed, doctor), ["kprobe on tmpfs, write: it | was"]);
        assert_eq!(unsaid(&printed, "").len(), 2);
    }

    #[test]
    fn every_operation_of_the_table_is_performed_somewhere_and_no_loss_is_normal() {
        let table = Table::parse(include_str!("../../tests/coverage.txt")).unwrap();
        let performed: BTreeSet<String> =
            ['+', 'd', '-'].into_iter().flat_map(|l| table.with(l)).map(|(_, cell)| cell.operation).collect();
        // What the newest kernel does not have, none has.
        let absent = table.with('.').into_iter().filter(|(kernel, _)| *kernel == Kernel::Sid);
        let nowhere: Vec<_> = absent.filter(|(_, cell)| !performed.contains(&cell.operation)).collect();
        assert!(nowhere.is_empty(), "{nowhere:#?}");
        assert!(table.with('!').is_empty());
        assert_eq!(Table::parse(&table.to_string()).unwrap(), table);
    }
}
