//! The regular expressions of Unison's `Regex` keyword: POSIX extended ones, where `.` matches every byte.
//!
//! They are translated unit by unit, so that nothing of the richer syntax of the `regex` crate gets through and means
//! something else than it does for Unison.

use super::units::{Backslash, Class, HIGH_BYTE, Unit, push_literal, units};

/// How often `{n,m}` may repeat. The compiled form grows with it, and a peer may send anything.
const MAX_REPEAT: u32 = 1000;

/// Translates an expression to the syntax of the `regex` crate, without anchors.
pub(super) fn to_regex(expression: &[u8]) -> Result<String, &'static str> {
    let units = units(expression);
    let mut regex = String::new();
    let mut at = 0;
    let mut open_groups = 0_usize;
    let mut repeatable = false;
    // Whether nothing stands in this branch of `a|b` yet. It would match the root, and so everything.
    let mut branch_is_empty = true;
    const EMPTY: &str = "nothing stands on one side of a | or between ( and )";
    while let Some(&unit) = units.get(at) {
        at += 1;
        if branch_is_empty && matches!(unit, Unit::Char('|' | ')')) {
            return Err(EMPTY);
        }
        branch_is_empty = matches!(unit, Unit::Char('|' | '('));
        repeatable = match unit {
            Unit::Char('.') => {
                regex.push_str(&format!("(?:.|{HIGH_BYTE})"));
                true
            }
            Unit::Char('(') => {
                open_groups += 1;
                regex.push_str("(?:");
                false
            }
            Unit::Char(')') => {
                open_groups = open_groups.checked_sub(1).ok_or("a ) has no (")?;
                regex.push(')');
                true
            }
            Unit::Char('|') => {
                regex.push('|');
                false
            }
            Unit::Char('^') => {
                regex.push_str("(?m:^)");
                false
            }
            Unit::Char('$') => {
                regex.push_str("(?m:$)");
                false
            }
            Unit::Char('*' | '+' | '?' | '{') if !repeatable => {
                return Err("a * + ? or { has nothing before it to repeat");
            }
            Unit::Char(c @ ('*' | '+' | '?')) => {
                regex.push(c);
                false
            }
            Unit::Char('{') => {
                push_repeat(&mut regex, &units, &mut at)?;
                false
            }
            Unit::Char('[') => {
                Class::parse(&units, &mut at, Backslash::IsLiteral, &['^'])?.push_regex(&mut regex, "");
                true
            }
            Unit::Char('\\') => {
                match units.get(at) {
                    Some(&Unit::Char(c)) if c.is_ascii_punctuation() => {
                        push_literal(&mut regex, Unit::Char(c))
                    }
                    Some(_) => return Err("a \\ may only stand before a punctuation character"),
                    None => return Err("nothing follows the \\ at the end"),
                }
                at += 1;
                true
            }
            unit => {
                push_literal(&mut regex, unit);
                true
            }
        };
    }
    match open_groups {
        0 if branch_is_empty => Err(EMPTY),
        0 => Ok(regex),
        _ => Err("a ( has no )"),
    }
}

/// Parses `n}`, `n,}` or `n,m}` after the brace.
fn push_repeat(regex: &mut String, units: &[Unit], at: &mut usize) -> Result<(), &'static str> {
    const MALFORMED: &str = "a { must be followed by a number, as in {2} {2,} or {2,5}";
    let least = number(units, at)?.ok_or(MALFORMED)?;
    let mut most = Some(least);
    if units.get(*at) == Some(&Unit::Char(',')) {
        *at += 1;
        most = number(units, at)?;
    }
    if units.get(*at) != Some(&Unit::Char('}')) {
        return Err(MALFORMED);
    }
    *at += 1;
    match most {
        Some(most) if most < least => return Err("in {n,m} the second number is smaller than the first"),
        Some(most) => regex.push_str(&format!("{{{least},{most}}}")),
        None => regex.push_str(&format!("{{{least},}}")),
    }
    Ok(())
}

fn number(units: &[Unit], at: &mut usize) -> Result<Option<u32>, &'static str> {
    let mut number = None;
    while let Some(digit) = units.get(*at).and_then(|u| match u {
        Unit::Char(c) => c.to_digit(10),
        Unit::Byte(_) => None,
    }) {
        *at += 1;
        let next = number.unwrap_or(0) * 10 + digit;
        if next > MAX_REPEAT {
            return Err("a repetition in { } is more than 1000");
        }
        number = Some(next);
    }
    Ok(number)
}
