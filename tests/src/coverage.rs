//! The coverage is what each tier reports on each kernel and file system. A [`Cell`] of it is an operation, a [`Word`]
//! what became of it. What is not seen stands in `tests/uncovered.txt`, and nothing else may be missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::watching::Outcome;

/// The operation of a cell that stands for all of them: the tier is refused on the file system.
pub const EVERYTHING: &str = "everything";

/// What separates the parts of a line.
const BORDER: &str = " | ";

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
    /// Its loss was announced.
    Lost,
    /// It was not reported; and what was instead.
    Missed(String),
    /// The file system or kernel does not have it.
    Absent,
}

impl From<Outcome> for Word {
    fn from(outcome: Outcome) -> Word {
        match outcome {
            Outcome::Seen => Word::Seen,
            Outcome::Lost => Word::Lost,
            Outcome::Missed(why) => Word::Missed(why),
            Outcome::NotPerformed(_) => Word::Absent,
        }
    }
}

impl Cell {
    /// Returns the line that a guest prints.
    pub fn line(&self, word: &Word) -> String {
        let text = match word {
            Word::Seen => "seen",
            Word::Lost => "lost",
            Word::Missed(why) => &format!("missed{BORDER}{why}"),
            Word::Absent => "absent",
        };
        format!("{self}{BORDER}{text}")
    }

    fn parse<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<Cell> {
        let mut part = || parts.next().map(str::to_owned);
        Some(Cell { tier: part()?, file_system: part()?, operation: part()? })
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { tier, file_system, operation } = self;
        write!(f, "{tier}{BORDER}{file_system}{BORDER}{operation}")
    }
}

/// Returns the file systems for which a tier has told neither of each of these operations nor that it is refused.
pub fn holes<'a>(
    printed: &BTreeMap<Cell, Word>,
    tier: &str,
    file_systems: &[&'a str],
    operations: &[&str],
) -> Vec<&'a str> {
    let told = |file_system: &str, operation: &str| {
        printed.keys().any(|c| c.tier == tier && c.file_system == file_system && c.operation == operation)
    };
    let complete =
        |name: &&str| told(name, EVERYTHING) || operations.iter().all(|operation| told(name, operation));
    file_systems.iter().copied().filter(|name| !complete(name)).collect()
}

/// Reads the lines that a guest has printed; others are passed over.
pub fn printed(output: &str) -> BTreeMap<Cell, Word> {
    let line = |line: &str| {
        let mut parts = line.trim().split(BORDER);
        let cell = Cell::parse(&mut parts)?;
        let word = match parts.next()? {
            "seen" => Word::Seen,
            "lost" => Word::Lost,
            "missed" => Word::Missed(parts.next().unwrap_or_default().to_owned()),
            "absent" => Word::Absent,
            _ => return None,
        };
        Some((cell, word))
    };
    output.lines().filter_map(line).collect()
}

/// Returns what is known not to be seen on a kernel: lines of kernel, tier, file system and operation.
pub fn known(table: &str, kernel: &str) -> BTreeSet<Cell> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let of_kernel = lines.filter_map(|line| line.strip_prefix(kernel)?.strip_prefix(BORDER));
    of_kernel.filter_map(|line| Cell::parse(&mut line.split(BORDER))).collect()
}

/// Compares what a guest has printed with what is known: returns one line for each cell that is missed and not known,
/// known and seen after all, or of an operation that nothing has performed.
pub fn differences(printed: &BTreeMap<Cell, Word>, known: &BTreeSet<Cell>) -> Vec<String> {
    let mut all = Vec::new();
    let mut performed: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for (cell, word) in printed {
        *performed.entry((&cell.tier, &cell.operation)).or_default() |= *word != Word::Absent;
        match (word, known.contains(cell)) {
            (Word::Missed(why), false) => all.push(format!("not seen any more: {cell}: {why}")),
            (Word::Lost, false) => all.push(format!("lost: {cell}")),
            (Word::Seen, true) => all.push(format!("seen now, take it out of the table: {cell}")),
            (Word::Seen | Word::Absent, false) | (Word::Missed(_) | Word::Lost | Word::Absent, true) => {}
        }
    }
    let nowhere = performed.into_iter().filter(|(_, performed)| !performed);
    all.extend(nowhere.map(|((tier, operation), _)| format!("performed nowhere: {tier}{BORDER}{operation}")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(operation: &str) -> Cell {
        Cell { tier: "kprobe".into(), file_system: "ext4".into(), operation: operation.into() }
    }

    #[test]
    fn a_line_comes_back_as_it_was() {
        let words = [Word::Seen, Word::Lost, Word::Absent, Word::Missed("it | was".into())];
        for word in words {
            let read = printed(&format!("noise\n{}\r\n", cell("write").line(&word)));
            let expected = if let Word::Missed(_) = word { Word::Missed("it".into()) } else { word };
            assert_eq!(read, BTreeMap::from([(cell("write"), expected)]));
        }
    }

    #[test]
    fn a_file_system_that_nothing_was_told_of_is_a_hole() {
        let on =
            |file_system: &str, operation: &str| Cell { file_system: file_system.into(), ..cell(operation) };
        let printed = BTreeMap::from([
            (on("ext4", "write"), Word::Seen),
            (on("ext4", "link"), Word::Seen),
            (on("xfs", "write"), Word::Seen),
            (on("overlay", EVERYTHING), Word::Missed("refused".into())),
        ]);
        let holes = |tier| holes(&printed, tier, &["ext4", "xfs", "overlay"], &["write", "link"]);
        assert_eq!(holes("kprobe"), ["xfs"]);
        assert_eq!(holes("fentry"), ["ext4", "xfs", "overlay"]);
    }

    #[test]
    fn better_worse_and_never_performed_are_all_differences() {
        let table = "# a comment\n6.1 | kprobe | ext4 | chattr\n6.1 | kprobe | ext4 | rename\n5.10 | kprobe | ext4 | write\n";
        let known = known(table, "6.1");
        assert_eq!(known, BTreeSet::from([cell("chattr"), cell("rename")]));
        let missed = || Word::Missed("nothing came".into());
        let printed = BTreeMap::from([
            (cell("chattr"), missed()),
            (cell("rename"), Word::Seen),
            (cell("write"), missed()),
            (cell("link"), Word::Absent),
            (cell("mkdir"), Word::Seen),
        ]);
        let differences = differences(&printed, &known);
        assert_eq!(differences.len(), 3, "{differences:#?}");
        assert!(differences[0].starts_with("seen now") && differences[0].ends_with("rename"));
        assert!(differences[1].starts_with("not seen any more: kprobe | ext4 | write"));
        assert_eq!(differences[2], "performed nowhere: kprobe | link");
    }
}
