//! From what links tell to what a person or a script reads.

use crate::core::entry::Kind;
use crate::core::path::RelPath;
use crate::core::reconcile::Side;
use crate::link::{Event, Outcome, Totals};
use crate::output::{
    Action, Cause, ConflictReport, Direction, Item, ItemKind, ItemResult, Planned, Reporter, Resolved,
    Summary,
};
use crate::replica::{Problem, Severity};
use crate::wire;
use std::collections::BTreeSet;

/// Counts and prints what happens on the link between the first root and another.
pub struct Teller<'a> {
    reporter: &'a Reporter,
    local_is_first: bool,
    /// In place of printing: what would be done.
    plan: Option<Vec<Planned>>,
    summary: Summary,
    conflicts: BTreeSet<RelPath>,
    /// Those of them that are in the summary.
    counted: BTreeSet<RelPath>,
    problems: BTreeSet<(bool, RelPath)>,
    /// The first of the paths that failed, with the reason.
    failures: Vec<String>,
    /// Paths that were asked for, and of which nothing has been told.
    untold: Vec<RelPath>,
}

/// So many conflicts and problems are kept in mind, to tell each of them once. A link lasts for weeks: beyond that one may be
/// told again.
const REMEMBERED: usize = 10_000;

/// So many paths are named in the message about what went wrong; all of them stand in the list before it.
const NAMED: usize = 5;

impl<'a> Teller<'a> {
    /// Makes one that prints.
    pub fn new(reporter: &'a Reporter, local_is_first: bool) -> Teller<'a> {
        Teller {
            reporter,
            local_is_first,
            plan: None,
            summary: Summary::default(),
            conflicts: BTreeSet::new(),
            counted: BTreeSet::new(),
            problems: BTreeSet::new(),
            failures: Vec::new(),
            untold: Vec::new(),
        }
    }

    /// Is to know of which of these paths something is told.
    pub fn asked_for(&mut self, paths: &[RelPath]) {
        self.untold = paths.to_vec();
    }

    /// Returns those of them of which nothing was told, nor of anything below.
    pub fn untold(&self) -> &[RelPath] {
        &self.untold
    }

    /// From now on collects what would be done.
    pub fn plan(&mut self) {
        self.plan = Some(Vec::new());
    }

    /// Returns what would be done, in the order of the paths, and prints again from now on.
    pub fn take_plan(&mut self) -> Vec<Planned> {
        let mut plan = self.plan.take().unwrap_or_default();
        plan.sort_by(|a, b| path(a).cmp(path(b)));
        plan
    }

    /// Counts the conflicts of a plan that were not told of since, without printing them once more.
    pub fn count_conflicts(&mut self, plan: &[Planned]) {
        let reports = plan.iter().filter_map(|planned| match planned {
            Planned::Conflict(report) => Some(report),
            Planned::Change { .. } => None,
        });
        for report in reports {
            if !self.counted.contains(&report.path) {
                self.counted.insert(report.path.clone());
                self.conflicts.insert(report.path.clone());
                self.summary.count_conflict(report);
            }
        }
    }

    /// Returns the sums so far.
    pub fn summary(&self, totals: Totals, elapsed: std::time::Duration) -> Summary {
        Summary { bytes_sent: totals.sent, bytes_received: totals.received, elapsed, ..self.summary }
    }

    /// Forgets what was counted, for the next pass.
    pub fn reset(&mut self) {
        self.summary = Summary::default();
        self.conflicts.clear();
        self.counted.clear();
        self.problems.clear();
        self.failures.clear();
    }

    /// Says on standard error what went wrong, and what to do about it.
    pub fn trouble(&self) {
        if self.summary.failed > 0 {
            let more = self.summary.failed as usize - self.failures.len().min(self.summary.failed as usize);
            let more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let text = format!(
                "{} failed: {}{more}. What stands there is as it was; mend the cause and run it again",
                paths(self.summary.failed),
                self.failures.join("; ")
            );
            self.reporter.error(&text);
        }
        if !self.conflicts.is_empty() {
            let named: Vec<String> = self.conflicts.iter().take(NAMED).map(ToString::to_string).collect();
            let more = if self.conflicts.len() > NAMED { ", ..." } else { "" };
            let text = format!(
                "{} changed on both sides and left as they are: {}{more}. End each with `vfsync \
                 resolve PATH --keep local|remote|newer|both`, or say which side wins with -prefer",
                paths(self.conflicts.len() as u64),
                named.join(", ")
            );
            self.reporter.error(&text);
        }
    }

    fn direction(&self, side: Side) -> Direction {
        if (side == Side::Local) == self.local_is_first { Direction::ToFirst } else { Direction::ToSecond }
    }

    /// Takes one event.
    pub fn event(&mut self, event: Event) {
        match &event {
            Event::Change { path, .. } | Event::Conflict { path, .. } => self.told(path),
            Event::Problem { problem, .. } => self.told(&problem.path),
            Event::Notice(_) => {}
        }
        match event {
            Event::Change { path, from, kind, action, side, outcome } => {
                self.change((path, from), kind, action, side, outcome);
            }
            Event::Conflict { path, local, remote } => {
                // Both ends see it.
                forget_if_full(&mut self.conflicts);
                forget_if_full(&mut self.counted);
                if self.conflicts.insert(path.clone()) {
                    let (first, second) = if self.local_is_first { (local, remote) } else { (remote, local) };
                    self.conflict(ConflictReport { path, first, second, resolved: Resolved::No });
                }
            }
            Event::Problem { side, problem } => self.problem(side, problem),
            Event::Notice(text) => self.reporter.note(&text),
        }
    }

    fn told(&mut self, path: &RelPath) {
        self.untold.retain(|asked| !path.starts_with(asked));
    }

    fn change(
        &mut self,
        (path, from): (RelPath, Option<RelPath>),
        kind: Kind,
        action: wire::Action,
        side: Side,
        outcome: Outcome,
    ) {
        let kind = match kind {
            Kind::File => ItemKind::File,
            Kind::Dir => ItemKind::Dir,
            Kind::Symlink => ItemKind::Symlink,
        };
        let action = match action {
            wire::Action::Create => Action::Create,
            wire::Action::Update => Action::Update,
            wire::Action::Delete => Action::Delete,
            wire::Action::Props => Action::Props,
            wire::Action::Rename => Action::Rename,
        };
        let direction = self.direction(side);
        if outcome == Outcome::Done
            && let Some(plan) = &mut self.plan
        {
            plan.push(Planned::Change { path, from, kind, action, direction });
            return;
        }
        let (result, reason) = match outcome {
            Outcome::Done => (ItemResult::Done, String::new()),
            // What stays of a deletion was left out on purpose; what could not be set of a new state has failed.
            Outcome::Partly(why) if action == Action::Delete => (ItemResult::Skipped, why),
            Outcome::Partly(why) | Outcome::Failed(why) => (ItemResult::Failed, why),
            Outcome::Skipped(why) => (ItemResult::Skipped, why),
        };
        self.item(Item { cause: Cause::Change, path, from, kind, action, direction, result, reason });
    }

    fn problem(&mut self, side: Side, problem: Problem) {
        let Problem { path, severity, why } = problem;
        forget_if_full(&mut self.problems);
        if !self.problems.insert((side == Side::Local, path.clone())) {
            return;
        }
        let result = match severity {
            Severity::Skipped => ItemResult::Skipped,
            Severity::Failed => ItemResult::Failed,
        };
        // What cannot be read here does not get there.
        let direction = self.direction(side.flipped());
        let (kind, action) = (ItemKind::File, Action::Update);
        let (cause, from) = (Cause::Look, None);
        self.item(Item { cause, path, from, kind, action, direction, result, reason: why });
    }

    fn item(&mut self, item: Item) {
        if item.result == ItemResult::Failed && self.failures.len() < NAMED {
            self.failures.push(format!("{}: {}", item.path, item.reason));
        }
        if self.plan.is_none() {
            self.summary.count(&item);
            self.reporter.item(&item);
        } else if item.result != ItemResult::Done {
            // Said once more when it is carried out; without that it would not be said at all.
            self.reporter.note(&format!("{}: {}", item.path, item.reason));
            self.summary.count(&item);
        }
    }

    fn conflict(&mut self, conflict: ConflictReport) {
        match &mut self.plan {
            Some(plan) => plan.push(Planned::Conflict(conflict)),
            None => {
                self.counted.insert(conflict.path.clone());
                self.summary.count_conflict(&conflict);
                self.reporter.conflict(&conflict);
            }
        }
    }
}

fn forget_if_full<T>(told: &mut BTreeSet<T>) {
    if told.len() >= REMEMBERED {
        told.clear();
    }
}

fn paths(n: u64) -> String {
    if n == 1 { "1 path".to_owned() } else { format!("{n} paths") }
}

fn path(planned: &Planned) -> &RelPath {
    match planned {
        Planned::Change { path, .. } => path,
        Planned::Conflict(conflict) => &conflict.path,
    }
}
