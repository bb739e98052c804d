//! [`Barriers`] tell when everything that happened before a moment has been handed out.

use super::{CaptureError, cookie::Cookie, source::BARRIER_TIMEOUT};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Asks for barriers, from any task.
#[derive(Clone)]
pub struct Barriers {
    /// None where nothing is captured, and so nothing has to be waited for.
    cookie: Option<Arc<Cookie>>,
    waiting: Arc<Mutex<Vec<Waiting>>>,
}

/// Someone who waits for a barrier.
struct Waiting {
    number: u64,
    done: oneshot::Sender<()>,
}

impl Barriers {
    pub(super) fn new(cookie: Option<Arc<Cookie>>) -> Barriers {
        Barriers { cookie, waiting: Arc::default() }
    }

    /// Waits until everything that happened before this call has been handed out by [`super::Capture::next`] and the
    /// next batch was asked for. So it must not be awaited by the task that asks, except beside that.
    pub async fn barrier(&self) -> Result<(), CaptureError> {
        let Some(cookie) = &self.cookie else { return Ok(()) };
        let (done, reached) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let number = cookie.ask().map_err(|e| CaptureError::Broken(format!("the cookie: {e}")))?;
            waiting.push(Waiting { number, done });
        }
        match tokio::time::timeout(BARRIER_TIMEOUT, reached).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(CaptureError::Broken("capture was closed".into())),
            Err(_) => Err(CaptureError::Broken("a barrier did not come back".into())),
        }
    }

    /// Returns whether someone waits for a higher number than this one.
    pub(super) fn wait_beyond(&self, reached: u64) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().any(|waiting| waiting.number > reached)
    }

    /// Tells those whose barrier has this number or a lower one.
    pub(super) fn settle(&self, reached: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for settled in waiting.extract_if(.., |w| w.number <= reached) {
            // Who no longer waits need not be told.
            let _ = settled.done.send(());
        }
    }
}
