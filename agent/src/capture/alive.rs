//! [`Alive`]: whether what reports changes still does. Programs can be detached by others, and a tier can fall silent: the
//! cookie is written now and then, and has to come back.

use super::source::BARRIER_TIMEOUT;
use std::time::Duration;

/// How often it is asked when nothing else asks.
const ASKED_EVERY: Duration = Duration::from_secs(3600);

/// So many barriers in a row have to be missing, beside the time that they took: one may get lost in a full ring, and a
/// process that was stopped sees a long time go by in one moment.
const MISSING: u32 = 50;

/// What is known of the barriers that were written. Times are durations since a start that the caller chose.
#[derive(Debug, Default)]
pub struct Alive {
    answered: Duration,
    /// Since when barriers are missing, and how many.
    missing: Option<(Duration, u32)>,
}

impl Alive {
    /// Returns whether it is time to ask.
    pub fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.answered) >= ASKED_EVERY
    }

    /// Notes what became of a barrier; `false` once there can be no more hope.
    pub fn note(&mut self, came_back: bool, now: Duration) -> bool {
        if came_back {
            *self = Alive { answered: now, missing: None };
            return true;
        }
        let (since, count) = self.missing.unwrap_or((now, 0));
        self.missing = Some((since, count.saturating_add(1)));
        count < MISSING || now.saturating_sub(since) < BARRIER_TIMEOUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_once_an_hour_and_believed_for_a_while() {
        let mut alive = Alive::default();
        let at = Duration::from_millis;
        assert!(!alive.is_due(at(1)) && alive.is_due(ASKED_EVERY));
        assert!(alive.note(true, ASKED_EVERY) && !alive.is_due(ASKED_EVERY + at(1)));
        // After a stop of a minute it is not given up.
        assert!(alive.note(false, ASKED_EVERY) && alive.note(false, ASKED_EVERY + at(60_000)));
        assert!(alive.note(true, ASKED_EVERY + at(60_001)));
        let missing = |n: u64| 2 * ASKED_EVERY + at(100 * n);
        let given_up = (0..1000).position(|n| !alive.note(false, missing(n)));
        assert_eq!(given_up, Some(100), "after ten seconds");
        let mut alive = Alive::default();
        let given_up = (0..1000).position(|n| !alive.note(false, at(10_000 * n)));
        assert_eq!(given_up, Some(50), "not before there were many");
    }
}
