//! A [`FarEnd`] is the process at the other end of a connection, as seen from here: its last words on standard error
//! and the way it ended.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::JoinHandle,
    time::timeout,
};

use super::error::escape;

/// How much of a process's standard error is kept: its last bytes.
const LAST_WORDS: usize = 8 * 1024;
/// How long a process may take to end once its input is closed.
const ENDING_LIMIT: Duration = Duration::from_secs(10);
/// How long standard error is awaited after the process has ended; a child of its own may still hold it.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// How a process at the other end ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was killed, or the connection to its host was lost: ssh does not tell which.
    Lost,
    /// It had not ended when the waiting had to.
    Running,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Lost => f.write_str("killed, or the connection was lost"),
            Exit::Running => f.write_str("still running"),
        }
    }
}

/// The end of a process at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// The last 8 KiB of its standard error, made safe for a terminal.
    pub said: String,
}

/// The process at the other end of a connection. Dropping it leaves the process and the connection alone.
pub struct FarEnd {
    exit: Option<JoinHandle<Exit>>,
    said: Option<LastWords>,
}

impl FarEnd {
    /// Returns the far end of a connection that has no process of its own behind it.
    pub fn none() -> FarEnd {
        FarEnd { exit: None, said: None }
    }

    /// Keeps what is needed to tell how a process ended: the task that waits for it, and its standard error.
    pub(super) fn new(exit: JoinHandle<Exit>, said: LastWords) -> FarEnd {
        FarEnd { exit: Some(exit), said: Some(said) }
    }

    /// Returns whether there is a process whose end can be told.
    pub fn is_known(&self) -> bool {
        self.exit.is_some()
    }

    /// Returns what the process has said on its standard error until now (its last 8 KiB).
    pub fn said(&self) -> String {
        self.said.as_ref().map(LastWords::so_far).unwrap_or_default()
    }

    /// Waits, within a limit, for the process to end. Both streams of the connection should have been dropped, or it
    /// will not.
    pub async fn finish(self) -> Ended {
        let exit = match self.exit {
            Some(task) => match timeout(ENDING_LIMIT, task).await {
                Ok(Ok(exit)) => exit,
                Ok(Err(_)) => Exit::Lost,
                Err(_) => Exit::Running,
            },
            None => Exit::Code(0),
        };
        let said = match self.said {
            Some(words) => words.finish().await,
            None => String::new(),
        };
        Ended { exit, said }
    }
}

/// The end of a stream of text, collected in the background.
pub(super) struct LastWords {
    kept: Arc<Mutex<VecDeque<u8>>>,
    task: JoinHandle<()>,
}

impl LastWords {
    /// Starts to collect `stream` until its end.
    pub(super) fn of(mut stream: impl AsyncRead + Send + Unpin + 'static) -> LastWords {
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let into = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let mut chunk = [0; 4096];
            // A stream that cannot be read is at its end: these are words for a message, not data.
            while let Ok(n @ 1..) = stream.read(&mut chunk).await {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend(&chunk[..n]);
                let excess = kept.len().saturating_sub(LAST_WORDS);
                kept.drain(..excess);
            }
        });
        LastWords { kept, task }
    }

    /// Returns what has been collected until now.
    pub(super) fn so_far(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        escape(&kept.iter().copied().collect::<Vec<u8>>())
    }

    /// Waits a moment for the end of the stream and returns what was collected.
    pub(super) async fn finish(mut self) -> String {
        if timeout(DRAIN_LIMIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.so_far()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_last_words_are_kept_of_a_long_speech() {
        let speech = [vec![b'x'; 100_000], b"the end".to_vec()].concat();
        let said = LastWords::of(std::io::Cursor::new(speech)).finish().await;
        assert_eq!(said.len(), LAST_WORDS);
        assert!(said.ends_with("xthe end"));
    }
}
