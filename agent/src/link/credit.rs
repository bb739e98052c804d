//! [`Credit`] is how much more may be sent to a peer that has not asked for more: what bounds the memory of both ends.

use std::sync::{Condvar, Mutex};

/// The bytes of offers that may be under way in one direction ([`crate::wire::Offer::cost`]).
pub const OFFER_WINDOW: u64 = 32 << 20;
/// The bytes of content that may be under way in one direction.
pub const DATA_WINDOW: u64 = 8 << 20;

/// A counter of bytes that threads wait for.
#[derive(Debug)]
pub struct Credit {
    state: Mutex<State>,
    changed: Condvar,
    window: u64,
}

#[derive(Debug)]
struct State {
    left: u64,
    closed: bool,
}

/// The session ended while a thread waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl Credit {
    /// Makes a full window.
    pub fn new(window: u64) -> Credit {
        Credit { state: Mutex::new(State { left: window, closed: false }), changed: Condvar::new(), window }
    }

    /// Takes `cost` bytes, waiting until they are there. What costs more than the window takes all of it.
    ///
    /// # Errors
    /// When the session ends meanwhile.
    pub fn take(&self, cost: u64) -> Result<(), Closed> {
        let cost = cost.min(self.window);
        let mut state = self.state.lock().expect("no thread panics with this locked");
        while state.left < cost && !state.closed {
            state = self.changed.wait(state).expect("no thread panics with this locked");
        }
        if state.closed {
            return Err(Closed);
        }
        state.left -= cost;
        Ok(())
    }

    /// Takes `cost` bytes if they are there, without waiting. Returns whether they were.
    ///
    /// # Errors
    /// When the session has ended.
    pub fn try_take(&self, cost: u64) -> Result<bool, Closed> {
        let cost = cost.min(self.window);
        let mut state = self.state.lock().expect("no thread panics with this locked");
        if state.closed {
            return Err(Closed);
        }
        let there = state.left >= cost;
        if there {
            state.left -= cost;
        }
        Ok(there)
    }

    /// Gives `cost` bytes back. A peer that gives back more than there was changes nothing by it.
    pub fn give(&self, cost: u64) {
        let mut state = self.state.lock().expect("no thread panics with this locked");
        state.left = state.left.saturating_add(cost).min(self.window);
        self.changed.notify_all();
    }

    /// Ends the waiting of every thread.
    pub fn close(&self) {
        self.state.lock().expect("no thread panics with this locked").closed = true;
        self.changed.notify_all();
    }
}
