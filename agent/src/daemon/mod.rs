//! What runs for long: a [`Site`] is the replicas of a process and the links between them and others. `vfsync daemon`
//! makes it from the configuration, `vfsync live` from its command line.
//!
//! - [`hub`]: one capture for all replicas;
//! - [`kept`]: a replica that is opened, followed and lent to links, halted by its guards, paused and resumed;
//! - [`dial`]: a link that this end dials, made again whenever it breaks;
//! - [`answer`]: a link that the other end dialled, if both want the same of it ([`agree`]);
//! - [`facts`]: what can be told of a link; [`status`]: of everything, as lines of JSON;
//! - [`metrics`]: the same for Prometheus;
//! - [`control`]: the socket over which that is asked, and orders come; [`client`]: who asks.
//!
//! Trouble has three sizes: with a path it is an outcome, with a link or a replica it is tried again with growing pauses
//! and holds up no other, and what contradicts a guard waits for a person's word.

mod agree;
pub mod answer;
pub mod client;
pub mod control;
pub mod dial;
pub mod facts;
mod flush;
pub mod hub;
pub mod kept;
pub mod metrics;
mod resolve;
mod said;
mod site;
pub mod status;

pub use site::{Link, Site, Stopped};

use crate::link::{Event, Outcome};
use crate::replica::apply::IN_MOTION;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// What a site tells whoever runs it.
#[derive(Debug)]
pub enum News {
    /// Something that a person may want to know.
    Note(String),
    /// Something that a person should look at; the work goes on.
    Warning(String),
    /// A guard has halted a replica.
    Halted(String),
    /// A replica cannot be had. It is tried again.
    Lapsed(String),
    /// A link is not there. It is made again, unless it cannot be.
    Unlinked {
        /// Why.
        why: String,
        /// After how long it is tried again; `None` where that waits for a person.
        again: Option<Duration>,
        /// It was there, and broke.
        broke: bool,
        /// It never was there since the start.
        first: bool,
        /// Another try is not likely to help.
        lasting: bool,
    },
}

/// Returns whether an event tells only that a file was written while it was sent: it is sent again when it rests. On a busy
/// host there are many of them, `status` shows those that stand, and nobody has to do anything.
fn passes_by_itself(event: &Event) -> bool {
    match event {
        Event::Change { path, outcome: Outcome::Failed(why), .. } if why == IN_MOTION => {
            tracing::debug!(%path, why, "it is sent again");
            true
        }
        Event::Change { .. } | Event::Conflict { .. } | Event::Problem { .. } | Event::Notice(_) => false,
    }
}

/// Returns a duration that is up to a quarter shorter or longer: what broke together is not tried again together.
fn jittered(pause: Duration) -> Duration {
    let share = RandomState::new().hash_one(0) % 501;
    pause.mul_f64(0.75 + share as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_quarter() {
        for _ in 0..1000 {
            let pause = jittered(Duration::from_secs(4));
            assert!((Duration::from_secs(3)..=Duration::from_secs(5)).contains(&pause), "{pause:?}");
        }
    }
}
