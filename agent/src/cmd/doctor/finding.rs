//! A [`Finding`]: one thing that was looked at, how it is, and what follows.

use crate::core::escaped::Escaped;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How something is. Ordered by gravity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is worth knowing.
    Info,
    /// It is as it should be.
    Ok,
    /// vfsync works without it, but not as well.
    Limited,
    /// vfsync does not work without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Always `check`; what other JSON lines of vfsync have here, too.
    event: Event,
    /// The other host that it is about; this one if there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// The root that it is about, if it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root: Option<String>,
    /// What was looked at: `vfsync`, `kernel`, `rights`, `tools`, `state`, `configuration`, `daemon`, `capture`, `root`,
    /// `connection`.
    pub area: String,
    /// What of it.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What was found, and what to do where something can be done.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    Check,
}

impl Finding {
    /// Makes a finding about this machine.
    pub fn new(area: &str, name: &str, state: State, detail: impl Into<String>) -> Finding {
        let (area, name, detail) = (area.to_string(), name.to_string(), detail.into());
        Finding { event: Event::Check, host: None, root: None, area, name, state, detail }
    }

    /// Makes a finding that is either as it should be or a limit.
    pub fn either(area: &str, name: &str, good: bool, if_good: &str, if_not: &str) -> Finding {
        match good {
            true => Finding::new(area, name, State::Ok, if_good),
            false => Finding::new(area, name, State::Limited, if_not),
        }
    }

    /// Says which root it is about.
    pub fn of_root(mut self, root: &str) -> Finding {
        self.root = Some(root.to_string());
        self
    }

    /// Says which host it is about.
    pub fn on_host(mut self, host: &str) -> Finding {
        self.host = Some(host.to_string());
        self
    }
}

/// One line for people. What a far end says is escaped.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Info => "",
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "MISSING",
        };
        let what = format!("{} {}", Escaped(self.area.as_bytes()), Escaped(self.name.as_bytes()));
        write!(f, "  {state:<8} {what:<26}")?;
        let mut lines = self.detail.lines();
        write!(f, " {}", Escaped(lines.next().unwrap_or_default().as_bytes()))?;
        lines.try_for_each(|line| write!(f, "\n{:38}{}", "", Escaped(line.trim().as_bytes())))
    }
}
