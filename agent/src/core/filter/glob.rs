//! Unison's globs as regular expressions.
//!
//! `*` and `?` match neither `/` nor a dot at the start of a component; `[…]` neither; `{a,b}` is one or the other;
//! `\` takes the next character literally; `**` is nothing special.

use super::units::{Backslash, Class, HIGH_BYTE, Unit, push_literal, units};

/// How many alternatives `{…}` may spell out in one pattern. They multiply, and a peer may send anything.
const MAX_ALTERNATIVES: usize = 1024;
/// How deep `{…}` may nest.
const MAX_DEPTH: usize = 16;

/// Bytes of a component after its first.
const REST: &str = "(?-u:[^/]*)";
/// A component that does not start with a dot.
const VISIBLE: &str = "(?-u:[^./][^/]*)";

/// Translates a glob to a regular expression without anchors.
pub(super) fn to_regex(glob: &[u8]) -> Result<String, &'static str> {
    let units = units(glob);
    let mut at = 0;
    let spelled = alternatives(&units, &mut at, 0)?;
    let regexes: Result<Vec<_>, _> = spelled.iter().map(|alternative| simple_to_regex(alternative)).collect();
    Ok(regexes?.join("|"))
}

/// Multiplies out `{a,b}`. It comes before everything else, as in Unison: braces count inside brackets too.
fn alternatives(units: &[Unit], at: &mut usize, depth: usize) -> Result<Vec<Vec<Unit>>, &'static str> {
    if depth > MAX_DEPTH {
        return Err("{ } are nested too deep");
    }
    let mut done: Vec<Vec<Unit>> = Vec::new();
    let mut current: Vec<Vec<Unit>> = vec![Vec::new()];
    loop {
        let unit = units.get(*at).copied();
        *at += 1;
        match unit {
            None if depth > 0 => return Err("a { has no }"),
            None => break,
            Some(Unit::Char('}')) if depth > 0 => break,
            Some(Unit::Char(',')) if depth > 0 => {
                done.append(&mut std::mem::replace(&mut current, vec![Vec::new()]))
            }
            Some(Unit::Char('{')) => {
                let inner = alternatives(units, at, depth + 1)?;
                if current.len() * inner.len() > MAX_ALTERNATIVES {
                    return Err("{ } spell out too many alternatives");
                }
                current = current
                    .iter()
                    .flat_map(|head| inner.iter().map(|tail| [head.as_slice(), tail].concat()))
                    .collect();
            }
            Some(escape @ Unit::Char('\\')) => {
                let escaped = *units.get(*at).ok_or("nothing follows the \\ at the end")?;
                *at += 1;
                current.iter_mut().for_each(|c| c.extend([escape, escaped]));
            }
            Some(unit) => current.iter_mut().for_each(|c| c.push(unit)),
        }
        if done.len() + current.len() > MAX_ALTERNATIVES {
            return Err("{ } spell out too many alternatives");
        }
    }
    done.append(&mut current);
    Ok(done)
}

/// What stands before the next unit, within its component.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing: a wildcard must not take a dot here.
    Nothing,
    /// Only `*`, which has not been written yet: what it may match depends on what comes next.
    Star,
    /// Something that has been written.
    Something,
}

fn simple_to_regex(units: &[Unit]) -> Result<String, &'static str> {
    let mut regex = String::new();
    let mut before = Before::Nothing;
    let mut at = 0;
    while let Some(&unit) = units.get(at) {
        at += 1;
        before = match unit {
            Unit::Char('*') if before == Before::Something => {
                regex.push_str(REST);
                Before::Something
            }
            Unit::Char('*') => Before::Star,
            Unit::Char('?') => {
                match before {
                    Before::Nothing => regex.push_str(&format!("(?:[^./]|{HIGH_BYTE})")),
                    Before::Star => regex.push_str(VISIBLE),
                    Before::Something => regex.push_str(&format!("(?:[^/]|{HIGH_BYTE})")),
                }
                Before::Something
            }
            Unit::Char('[') => {
                let class = Class::parse(units, &mut at, Backslash::Escapes, &['^', '!'])?;
                push_class(&mut regex, &class, before);
                Before::Something
            }
            Unit::Char('\\') => {
                let escaped = *units.get(at).ok_or("nothing follows the \\ at the end")?;
                at += 1;
                push_after(&mut regex, escaped, before)
            }
            unit => push_after(&mut regex, unit, before),
        };
    }
    if before == Before::Star {
        regex.push_str(VISIBLE);
        regex.push('?');
    }
    Ok(regex)
}

/// Writes a literal unit, and before it a `*` that waits.
fn push_after(regex: &mut String, unit: Unit, before: Before) -> Before {
    if before == Before::Star {
        regex.push_str(VISIBLE);
        // `*.c` needs something before the dot, or the star would let a leading dot through.
        if unit != Unit::Char('.') {
            regex.push('?');
        }
    }
    push_literal(regex, unit);
    if unit == Unit::Char('/') { Before::Nothing } else { Before::Something }
}

fn push_class(regex: &mut String, class: &Class, before: Before) {
    match before {
        Before::Something => class.push_regex(regex, "/"),
        Before::Nothing => class.push_regex(regex, "./"),
        Before::Star => {
            regex.push_str(&format!("(?:{VISIBLE}?"));
            class.push_regex(regex, "./");
            if class.has('.') {
                regex.push_str(&format!(r"|{VISIBLE}\."));
            }
            regex.push(')');
        }
    }
}
