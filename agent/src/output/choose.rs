//! Choosing what of a plan is done, item by item, with the keys of Unison's text interface.

use super::ask::{self, Answer};
use super::human::{self, Dress};
use super::{Action, Direction, ItemKind, Planned};
use crate::core::path::RelPath;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

/// What a person wants done about an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pick {
    /// What the plan says; a conflict is left as it is.
    #[default]
    Recommended,
    /// Nothing.
    Skip,
    /// The first root gets what the second has.
    ToFirst,
    /// The second root gets what the first has.
    ToSecond,
}

/// What is gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Everything.
    All,
    /// What the plan cannot decide.
    Conflicts,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a pick for each item.
    Go(Vec<Pick>),
    /// With nothing to be done.
    Quit,
}

const KEYS: &str = "\
  f or Enter  as the arrow says; a conflict stays one
  /           leave both as they are
  >           the second root gets what the first has
  <           the first root gets what the second has
  d           details
  n           the next item         p  the one before
  g           go: the rest as the arrows say
  q           quit, and do nothing
  ?           this list
Several keys may stand on one line.
";

/// Goes through the items with a person, who types keys and Enter. The end of the input is a quit.
///
/// # Errors
/// When the terminal fails.
pub(super) fn choose(
    plan: &[Planned],
    which: Which,
    dress: Dress,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> io::Result<Ended> {
    let mut picking = Picking::new(plan, which);
    loop {
        let Some(item) = picking.current() else {
            return match ask::confirm(input, output)? {
                Answer::Yes => Ok(Ended::Go(picking.picks)),
                Answer::No => Ok(Ended::Quit),
            };
        };
        write!(output, "{}  [{}] ", human::planned(&plan[item], dress), picking.mark(item))?;
        output.flush()?;
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(Ended::Quit);
        }
        let keys = match line.trim() {
            "" => "f",
            keys => keys,
        };
        for key in keys.chars().filter(|key| !key.is_whitespace()) {
            match picking.press(key) {
                Pressed::Moved => {}
                Pressed::Go => return Ok(Ended::Go(picking.picks)),
                Pressed::Quit => return Ok(Ended::Quit),
                Pressed::Details(item) => writeln!(output, "{}", human::details(&plan[item]))?,
                Pressed::Help => write!(output, "{KEYS}")?,
                Pressed::Unknown => {
                    writeln!(output, "? shows the keys")?;
                    break;
                }
            }
        }
    }
}

/// What a key has done.
enum Pressed {
    Moved,
    Go,
    Quit,
    Details(usize),
    Help,
    Unknown,
}

/// The state of the choosing.
struct Picking<'p> {
    plan: &'p [Planned],
    by_path: BTreeMap<&'p RelPath, usize>,
    /// The items that are gone through.
    asked: Vec<usize>,
    at: usize,
    picks: Vec<Pick>,
}

impl<'p> Picking<'p> {
    fn new(plan: &'p [Planned], which: Which) -> Picking<'p> {
        let is_asked = |item: &usize| which == Which::All || matches!(plan[*item], Planned::Conflict(_));
        let mut picking = Picking {
            plan,
            by_path: plan.iter().enumerate().map(|(item, planned)| (planned.path(), item)).collect(),
            asked: (0..plan.len()).filter(is_asked).collect(),
            at: 0,
            picks: vec![Pick::default(); plan.len()],
        };
        picking.pass_covered();
        picking
    }

    fn current(&self) -> Option<usize> {
        self.asked.get(self.at).copied()
    }

    /// Goes on past what a directory above speaks for.
    fn pass_covered(&mut self) {
        while self.current().is_some_and(|item| self.is_covered(item)) {
            self.at += 1;
        }
    }

    fn is_covered(&self, item: usize) -> bool {
        self.plan[item].path().ancestors().any(|dir| {
            let above = self.by_path.get(&dir);
            above.is_some_and(|&above| {
                self.picks[above] != Pick::Recommended && self.plan[above].holds_below()
            })
        })
    }

    /// Returns the key that stands for what is done about an item.
    fn mark(&self, item: usize) -> char {
        match (self.picks[item], &self.plan[item]) {
            (Pick::Recommended, Planned::Change { .. }) => 'f',
            (Pick::Skip, _) | (Pick::Recommended, Planned::Conflict(_)) => '/',
            (Pick::ToFirst, _) => '<',
            (Pick::ToSecond, _) => '>',
        }
    }

    fn press(&mut self, key: char) -> Pressed {
        let Some(item) = self.current() else { return Pressed::Moved };
        let pick = match key {
            'f' => Some(Pick::Recommended),
            '/' => Some(Pick::Skip),
            '>' | '.' => Some(Pick::ToSecond),
            '<' | ',' => Some(Pick::ToFirst),
            'n' | 'j' => None,
            'p' | 'b' => {
                self.at = self.at.saturating_sub(1);
                while self.at > 0 && self.current().is_some_and(|item| self.is_covered(item)) {
                    self.at -= 1;
                }
                return Pressed::Moved;
            }
            'd' | 'x' => return Pressed::Details(item),
            'g' => return Pressed::Go,
            'q' => return Pressed::Quit,
            '?' => return Pressed::Help,
            _ => return Pressed::Unknown,
        };
        if let Some(pick) = pick {
            self.picks[item] = pick;
        }
        self.at += 1;
        self.pass_covered();
        Pressed::Moved
    }
}

impl Planned {
    /// Returns where it is.
    pub fn path(&self) -> &RelPath {
        match self {
            Planned::Change { path, .. } => path,
            Planned::Conflict(conflict) => &conflict.path,
        }
    }

    /// Returns whether what is chosen about it holds for all that lies below.
    pub fn holds_below(&self) -> bool {
        match self {
            // Of what goes at the other end it is not known here what it was.
            Planned::Change { action: Action::Delete, .. } => true,
            Planned::Change { kind, action, .. } => *kind == ItemKind::Dir && *action != Action::Props,
            Planned::Conflict(_) => false,
        }
    }

    /// Returns whether a pick is just what the plan says.
    pub fn is_recommended(&self, pick: Pick) -> bool {
        match (self, pick) {
            (_, Pick::Recommended) | (Planned::Conflict(_), Pick::Skip) => true,
            (Planned::Change { direction, .. }, Pick::ToFirst) => *direction == Direction::ToFirst,
            (Planned::Change { direction, .. }, Pick::ToSecond) => *direction == Direction::ToSecond,
            (Planned::Change { .. }, Pick::Skip) | (Planned::Conflict(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{ConflictReport, Resolved};

    fn path(text: &str) -> RelPath {
        RelPath::new(text.as_bytes()).unwrap()
    }

    fn change(at: &str, kind: ItemKind, action: Action) -> Planned {
        Planned::Change { path: path(at), from: None, kind, action, direction: Direction::ToSecond }
    }

    fn conflict(at: &str) -> Planned {
        let words = "file, 1 bytes".to_owned();
        let report =
            ConflictReport { path: path(at), first: words.clone(), second: words, resolved: Resolved::No };
        Planned::Conflict(report)
    }

    fn plan() -> Vec<Planned> {
        vec![
            change("a", ItemKind::File, Action::Update),
            conflict("b"),
            change("d", ItemKind::File, Action::Delete),
            change("d/e", ItemKind::File, Action::Delete),
            change("f", ItemKind::File, Action::Create),
        ]
    }

    fn typed(which: Which, keys: &str) -> (Ended, String) {
        let mut screen = Vec::new();
        let ended = choose(&plan(), which, Dress::Plain, &mut keys.as_bytes(), &mut screen).unwrap();
        (ended, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn items_are_gone_through_and_a_directory_speaks_for_what_is_in_it() {
        use Pick::{Recommended, Skip, ToFirst, ToSecond};
        let (ended, screen) = typed(Which::All, "\n>\n/\n<\ny\n");
        assert_eq!(ended, Ended::Go(vec![Recommended, ToSecond, Skip, Recommended, ToFirst]));
        assert!(!screen.contains("d/e"), "{screen}");
        // Of a directory that goes as planned each path is asked about.
        let (ended, screen) = typed(Which::All, "ff f\n/\ng\n");
        assert_eq!(ended, Ended::Go(vec![Recommended, Recommended, Recommended, Skip, Recommended]));
        assert!(screen.contains("d/e"), "{screen}");
    }

    #[test]
    fn one_can_go_back_and_see_details_and_quit() {
        let (ended, screen) = typed(Which::All, "/p\nf\n?\nd\nz\nq\n");
        assert_eq!(ended, Ended::Quit);
        assert!(screen.contains("leave both") && screen.contains("? shows the keys"), "{screen}");
        assert_eq!(typed(Which::All, "/").0, Ended::Quit, "the end of the input");
        let (ended, _) = typed(Which::All, "/p\nf\ng\n");
        assert_eq!(ended, Ended::Go(vec![Pick::Recommended; 5]));
        assert_eq!(typed(Which::All, "nnnnn\nn\n").0, Ended::Quit);
    }

    #[test]
    fn only_conflicts_are_gone_through_where_the_rest_is_taken() {
        let (ended, screen) = typed(Which::Conflicts, "<\ny\n");
        let mut picks = vec![Pick::Recommended; 5];
        picks[1] = Pick::ToFirst;
        assert_eq!(ended, Ended::Go(picks));
        assert!(!screen.contains("  a"), "{screen}");
    }
}
