//! A pattern as a sequence of units: characters where the bytes are UTF-8, single bytes where they are not; and what
//! globs and regular expressions share, sets of characters in brackets.

use std::fmt::Write;

/// Any one byte that cannot start an ASCII character. A wildcard takes it too, so that one `?` stands for one
/// character, and as many of them as the character has bytes stand for it as well (which is how Unison counts).
pub(super) const HIGH_BYTE: &str = r"(?-u:[\x80-\xFF])";

/// One character of a pattern, or one byte that is not part of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Char(char),
    Byte(u8),
}

/// Splits the bytes of a pattern into units.
pub(super) fn units(bytes: &[u8]) -> Vec<Unit> {
    let mut units = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        units.extend(chunk.valid().chars().map(Unit::Char));
        units.extend(chunk.invalid().iter().copied().map(Unit::Byte));
    }
    units
}

/// Appends a regular expression that matches just this unit.
pub(super) fn push_literal(regex: &mut String, unit: Unit) {
    let written = match unit {
        Unit::Char(c) if c.is_ascii_alphanumeric() || !c.is_ascii() => {
            regex.push(c);
            Ok(())
        }
        Unit::Char(c) => write!(regex, "\\x{{{:X}}}", u32::from(c)),
        Unit::Byte(b) => write!(regex, "(?-u:\\x{b:02X})"),
    };
    written.expect("writing to a String does not fail");
}

/// Whether a backslash inside brackets takes the next character literally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backslash {
    Escapes,
    IsLiteral,
}

/// What stands between brackets: `[a-z_]`, `[^0-9]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    negated: bool,
    ranges: Vec<(char, char)>,
}

impl Class {
    /// Parses the class whose `[` stands just before `units[*at]`, and leaves `*at` after its `]`. `negations` are the
    /// characters that negate it when they come first.
    pub(super) fn parse(
        units: &[Unit],
        at: &mut usize,
        backslash: Backslash,
        negations: &[char],
    ) -> Result<Class, &'static str> {
        let negated = matches!(units.get(*at), Some(Unit::Char(c)) if negations.contains(c));
        *at += usize::from(negated);
        let mut ranges = Vec::new();
        let is = |at: usize, c: char| units.get(at) == Some(&Unit::Char(c));
        while ranges.is_empty() || !is(*at, ']') {
            let first = class_char(units, at, backslash)?;
            if !is(*at, '-') {
                ranges.push((first, first));
                continue;
            }
            *at += 1;
            if is(*at, ']') {
                ranges.extend([(first, first), ('-', '-')]);
                continue;
            }
            let last = class_char(units, at, backslash)?;
            ranges.push((first.min(last), first.max(last)));
        }
        *at += 1;
        Ok(Class { negated, ranges })
    }

    /// Returns whether the class matches `c`.
    pub(super) fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|&(first, last)| (first..=last).contains(&c)) != self.negated
    }

    /// Appends a regular expression that matches what the class matches, except the characters `without`.
    pub(super) fn push_regex(&self, regex: &mut String, without: &str) {
        let mut set = String::new();
        for &(first, last) in &self.ranges {
            push_in_class(&mut set, first);
            set.push('-');
            push_in_class(&mut set, last);
        }
        let mut excluded = String::new();
        without.chars().for_each(|c| push_in_class(&mut excluded, c));
        if self.negated {
            regex.push_str(&format!("(?:[^{set}{excluded}]|{HIGH_BYTE})"));
        } else if excluded.is_empty() {
            regex.push_str(&format!("[{set}]"));
        } else {
            regex.push_str(&format!("[{set}&&[^{excluded}]]"));
        }
    }
}

fn push_in_class(set: &mut String, c: char) {
    write!(set, "\\x{{{:X}}}", u32::from(c)).expect("writing to a String does not fail");
}

fn class_char(units: &[Unit], at: &mut usize, backslash: Backslash) -> Result<char, &'static str> {
    if backslash == Backslash::Escapes && units.get(*at) == Some(&Unit::Char('\\')) {
        *at += 1;
    }
    let unit = units.get(*at).ok_or("a [ has no ]")?;
    *at += 1;
    match *unit {
        Unit::Char('[') if matches!(units.get(*at), Some(Unit::Char(':' | '=' | '.'))) => {
            Err("named classes like [:alpha:] are not understood; write the ranges, as in [A-Za-z]")
        }
        Unit::Char(c) => Ok(c),
        Unit::Byte(_) => Err("a byte that is not UTF-8 cannot stand between [ and ]"),
    }
}
