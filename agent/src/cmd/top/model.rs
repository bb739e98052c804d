//! The [`Screen`] is what `top` knows: the last answers, and how fast things went before. Pure: time is passed in.

use crate::daemon::status::{ConflictLine, Line, LinkLine, Process, ReplicaLine};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Instant;

/// So many seconds are kept for the sparklines: a wide terminal's worth.
const KEPT: usize = 240;
/// So many conflicts are kept for a screen.
pub(super) const SHOWN: usize = 50;
/// So many remarks are kept.
const REMARKS: usize = 20;

/// What one process said.
pub(super) struct Answer {
    pub(super) pid: u32,
    pub(super) lines: Vec<Line>,
    pub(super) conflicts: Vec<ConflictLine>,
    /// Why it said nothing.
    pub(super) why: Option<String>,
}

/// What counts up as long as a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sums {
    events: u64,
    sent: u64,
    received: u64,
}

/// How fast something went in the seconds before, the last one last.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<u64>);

impl History {
    fn push(&mut self, rate: u64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(rate);
    }

    /// Returns the last so many.
    pub(super) fn last(&self, n: usize) -> Vec<u64> {
        self.0.iter().skip(self.0.len().saturating_sub(n)).copied().collect()
    }

    /// Returns the rate of the last second.
    pub(super) fn now(&self) -> u64 {
        self.0.back().copied().unwrap_or(0)
    }
}

/// Everything that is shown.
pub(super) struct Screen {
    pub(super) state_dir: PathBuf,
    pub(super) processes: Vec<Process>,
    pub(super) replicas: Vec<ReplicaLine>,
    pub(super) links: Vec<LinkLine>,
    pub(super) conflicts: Vec<ConflictLine>,
    /// Processes that do not answer, and why.
    pub(super) silent: Vec<(u32, String)>,
    pub(super) events: History,
    pub(super) sent: History,
    pub(super) received: History,
    /// What happened, and at what time of day; the last one last.
    pub(super) remarks: VecDeque<String>,
    /// The processes that were there, and what they are.
    known: BTreeMap<u32, String>,
    before: BTreeMap<u32, Sums>,
    asked: Option<Instant>,
}

impl Screen {
    /// Makes one that knows nothing yet.
    pub(super) fn new(state_dir: PathBuf) -> Screen {
        Screen {
            state_dir,
            processes: Vec::new(),
            replicas: Vec::new(),
            links: Vec::new(),
            conflicts: Vec::new(),
            silent: Vec::new(),
            events: History::default(),
            sent: History::default(),
            received: History::default(),
            remarks: VecDeque::new(),
            known: BTreeMap::new(),
            before: BTreeMap::new(),
            asked: None,
        }
    }

    /// Returns whether anybody has been asked.
    pub(super) fn has_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Takes what the processes answered, at a moment that people call `clock`.
    pub(super) fn take(&mut self, answers: Vec<Answer>, at: Instant, clock: &str) {
        self.processes.clear();
        self.replicas.clear();
        self.links.clear();
        self.conflicts.clear();
        self.silent.clear();
        let mut sums = BTreeMap::new();
        for Answer { pid, lines, conflicts, why } in answers {
            self.conflicts.extend(conflicts);
            self.silent.extend(why.map(|why| (pid, why)));
            let of: &mut Sums = sums.entry(pid).or_default();
            for line in lines {
                match line {
                    Line::Process(process) => {
                        of.events += process.events;
                        self.processes.push(process);
                    }
                    Line::Replica(replica) => self.replicas.push(replica),
                    Line::Link(link) => {
                        of.sent += link.bytes_sent;
                        of.received += link.bytes_received;
                        self.links.push(link);
                    }
                }
            }
        }
        // What a person has to see comes first.
        self.links.sort_by_key(|link| link.state == "live");
        self.replicas.sort_by_key(|replica| replica.state == "following");
        self.remark(clock);
        if let Some(asked) = self.asked {
            self.rate(&sums, at.saturating_duration_since(asked).as_secs_f64());
        }
        // One that was too busy to answer has not begun anew.
        let silent: Vec<u32> = self.silent.iter().map(|(pid, _)| *pid).collect();
        self.before.retain(|pid, _| silent.contains(pid));
        self.before.extend(sums.into_iter().filter(|(pid, _)| !silent.contains(pid)));
        self.asked = Some(at);
    }

    /// Notes which processes have come and gone. Those that are there at first need no remark.
    fn remark(&mut self, clock: &str) {
        let (processes, silent) = (&self.processes, &self.silent);
        let is_there = |pid: u32| {
            processes.iter().any(|process| process.pid == pid)
                || silent.iter().any(|(silent, _)| *silent == pid)
        };
        let gone = self.known.extract_if(.., |pid, _| !is_there(*pid));
        let gone = gone.map(|(pid, role)| format!("{clock} the {role}, process {pid}, has ended"));
        self.remarks.extend(gone);
        for Process { pid, role, .. } in &self.processes {
            if self.known.insert(*pid, role.clone()).is_none() && self.asked.is_some() {
                self.remarks.push_back(format!("{clock} a {role}, process {pid}, is there"));
            }
        }
        let more = self.remarks.len().saturating_sub(REMARKS);
        self.remarks.drain(..more);
    }

    /// Notes how fast things went since the last time. A process that is new has no past.
    fn rate(&mut self, sums: &BTreeMap<u32, Sums>, seconds: f64) {
        let seconds = seconds.max(0.001);
        let rate = |of: fn(&Sums) -> u64| {
            let more =
                sums.iter().filter_map(|(pid, now)| Some(of(now).saturating_sub(of(self.before.get(pid)?))));
            (more.sum::<u64>() as f64 / seconds).round() as u64
        };
        let (events, sent, received) = (rate(|s| s.events), rate(|s| s.sent), rate(|s| s.received));
        self.events.push(events);
        self.sent.push(sent);
        self.received.push(received);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    /// Returns the answer of a daemon with a replica and two links, of which one is broken.
    pub(in crate::cmd::top) fn answer(pid: u32, events: u64, sent: u64) -> Answer {
        let lines = json!([
            {"event": "process", "role": "daemon", "pid": pid, "version": "0.1.0", "since": "2026-03-01T10:00:00Z",
             "tier": "kprobe", "events": events, "coalesced": 4, "lost": 0},
            {"event": "replica", "root": "/var/www", "state": "following", "since": "2026-03-01T10:00:01Z",
             "entries": 100_000, "capture": "kprobe", "events": events, "lost": 0, "rescans": 0, "waiting": 3,
             "conflicts": 1, "problems": [{"path": "a/locked", "why": "cannot read it", "at": "here"}],
             "problem_count": 1},
            {"event": "link", "block": "www", "root": "/var/www", "peer": "ssh://192.168.1.7//var/www", "dials": true,
             "state": "live", "since": "2026-03-01T10:00:02Z", "backlog": 2, "incoming": 0, "sessions": 1,
             "carried": 12_345, "last": {"path": "index.html", "time": "2026-03-01T11:59:57Z"}, "bytes_sent": sent,
             "bytes_received": 0, "rate_sent": 0, "rate_received": 0, "failures": [], "failure_count": 0},
            {"event": "link", "block": "www", "root": "/var/www", "peer": "ssh://192.168.1.8//var/www", "dials": true,
             "state": "broken", "since": "2026-03-01T11:58:00Z", "why": "the host does not answer\u{1b}[2J",
             "again": "2026-03-01T12:00:20Z", "backlog": 40, "incoming": 0, "sessions": 1, "carried": 7,
             "bytes_sent": 0, "bytes_received": 0, "rate_sent": 0, "rate_received": 0, "failures": [],
             "failure_count": 0}
        ]);
        let conflicts = json!([{"event": "conflict", "root": "/var/www", "path": "clash", "peer": "ssh://192.168.1.7//var/www",
            "here": "file, 4 bytes", "there": "deleted", "decided": "no"}]);
        Answer {
            pid,
            lines: serde_json::from_value(lines).unwrap(),
            conflicts: serde_json::from_value(conflicts).unwrap(),
            why: None,
        }
    }

    fn take(screen: &mut Screen, answers: Vec<Answer>, second: u64) {
        let at = screen.asked.unwrap_or_else(Instant::now) + Duration::from_secs(second);
        screen.take(answers, at, "12:00:00");
    }

    #[test]
    fn rates_are_what_was_added_since_the_last_answer() {
        let mut screen = Screen::new("/s".into());
        take(&mut screen, vec![answer(1, 100, 1000)], 0);
        assert_eq!(screen.events.last(10), [0; 0]);
        take(&mut screen, vec![answer(1, 110, 3000)], 1);
        take(&mut screen, vec![answer(1, 150, 3000)], 2);
        assert_eq!((screen.events.last(10), screen.sent.last(1)), (vec![10, 20], vec![0]));
        assert_eq!(screen.sent.last(2), [2000, 0]);
        assert_eq!(screen.links[0].state, "broken", "what is wrong comes first");
    }

    #[test]
    fn a_process_that_ends_and_another_that_comes_are_told_and_count_from_nothing() {
        let mut screen = Screen::new("/s".into());
        take(&mut screen, vec![answer(1, 100, 0)], 0);
        take(&mut screen, vec![], 1);
        assert_eq!(screen.remarks, ["12:00:00 the daemon, process 1, has ended"]);
        take(&mut screen, vec![], 1);
        take(&mut screen, vec![answer(2, 7, 0)], 1);
        take(&mut screen, vec![answer(2, 8, 0)], 1);
        assert_eq!(screen.remarks[1], "12:00:00 a daemon, process 2, is there");
        assert_eq!(screen.events.last(10), [0, 0, 0, 1]);
    }

    #[test]
    fn one_that_does_not_answer_has_not_ended() {
        let mut screen = Screen::new("/s".into());
        let silent = || Answer { pid: 1, lines: vec![], conflicts: vec![], why: Some("busy".into()) };
        take(&mut screen, vec![answer(1, 100, 0)], 0);
        take(&mut screen, vec![silent()], 1);
        assert_eq!((screen.silent.len(), screen.remarks.len()), (1, 0));
        take(&mut screen, vec![answer(1, 130, 0)], 1);
        assert_eq!((screen.events.now(), screen.remarks.len()), (30, 0));
    }

    #[test]
    fn a_history_has_an_end() {
        let mut history = History::default();
        (0..2 * KEPT as u64).for_each(|n| history.push(n));
        assert_eq!((history.0.len(), history.now()), (KEPT, 2 * KEPT as u64 - 1));
        assert_eq!(history.last(2), [2 * KEPT as u64 - 2, 2 * KEPT as u64 - 1]);
    }
}
