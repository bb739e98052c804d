//! Asking `getent`, which asks whoever the host is configured to ask.

use super::{Account, AccountKind, Key};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long an answer may take. A directory service that is not there takes longer; then the name is unknown.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of an answer is read. A group comes with all its members.
const ANSWER_MAX: u64 = 1 << 20;

/// Asks for one account; `None` if nobody knows it, or nobody answers.
pub(super) fn ask(getent: &Path, kind: AccountKind, key: &Key) -> Option<Account> {
    let database = match kind {
        AccountKind::User => "passwd",
        AccountKind::Group => "group",
    };
    let argument = match key {
        Key::Id(id) => id.to_string(),
        Key::Name(name) => name.clone(),
    };
    let mut command = Command::new(getent);
    command
        // No name begins with a dash, and not every getent knows `--`.
        .args([database, &argument])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    let answer = match command.spawn() {
        Ok(child) => read(child)?,
        Err(error) => {
            tracing::debug!(why = %error, "getent cannot be asked");
            return None;
        }
    };
    let account = Account::parse(answer.lines().next()?)?;
    // A name of digits is taken for an id there.
    let is_it = match key {
        Key::Id(id) => account.id == *id,
        Key::Name(name) => account.name == *name,
    };
    is_it.then_some(account)
}

/// Reads what the program prints, and ends it if it takes too long.
fn read(mut child: Child) -> Option<String> {
    let stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        // What has been read when it fails is judged like any answer.
        let _ = stdout.take(ANSWER_MAX).read_to_end(&mut answer);
        let _ = send.send(answer);
    });
    let answer = receive.recv_timeout(PATIENCE);
    // Ends it if it has not ended by itself; then it can be waited for, and nothing holds the reader.
    let killed = answer.is_err() && child.kill().is_ok();
    let status = child.wait();
    if killed {
        tracing::warn!(why = "no answer in time", "getent was ended: an owner stays unknown");
        return None;
    }
    // It has sent its answer, and ends.
    let _ = reader.join();
    let ended_well = status.is_ok_and(|status| status.success());
    answer.ok().filter(|_| ended_well).map(|answer| String::from_utf8_lossy(&answer).into_owned())
}
