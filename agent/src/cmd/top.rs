//! `vfsync top`: how everything stands, live on a screen. A [`model::Screen`] holds what is known, [`view`] draws it.

mod model;
mod view;

use crate::cli::TopArgs;
use crate::daemon::client::{ask, connect, sockets};
use crate::daemon::control::Request;
use crate::daemon::status::{ConflictLine, Line};
use crate::exit::ExitStatus;
use anyhow::{Context, Result, bail};
use model::{Answer, Screen};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};

/// How often the processes are asked.
const PULSE: Duration = Duration::from_secs(1);
/// How long an answer may take; then the process is shown as one that does not answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the keyboard looks whether anybody still listens.
const KEYBOARD: Duration = Duration::from_millis(250);

/// Shows it until somebody has seen enough.
pub async fn run(args: TopArgs) -> Result<ExitStatus> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!(
            "top draws on a terminal, and this is none: `vfsync status` says the same in lines, with --json for scripts"
        );
    }
    let (mut terminate, mut hangup, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?);
    let mut terminal = Restored(ratatui::try_init().context("cannot draw on this terminal")?);
    let mut keys = keyboard();
    let mut screen = Screen::new(args.state_dir.clone());
    let mut pulse = tokio::time::interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (answers, mut answered) = mpsc::channel(1);
    let mut asking = false;
    loop {
        let look = view::Look { color: args.color, clock: clock() };
        terminal
            .0
            .draw(|frame| view::draw(frame, &screen, SystemTime::now(), &look))
            .context("cannot draw")?;
        tokio::select! {
            // Asked beside the keyboard: a process that is slow to answer does not keep anybody here.
            _ = pulse.tick(), if !asking => {
                asking = true;
                let (answers, state_dir) = (answers.clone(), args.state_dir.clone());
                tokio::spawn(async move { answers.send(ask_all(&state_dir).await).await });
            }
            Some(all) = answered.recv() => {
                asking = false;
                screen.take(all, Instant::now(), &clock());
            }
            key = keys.recv() => match key {
                Some(event) if pressed(&event).is_continue() => {}
                _ => break,
            },
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    Ok(ExitStatus::InStep)
}

/// A terminal that is as it was when this is dropped, on whichever way out.
struct Restored(DefaultTerminal);

impl Drop for Restored {
    fn drop(&mut self) {
        // One that is gone needs nothing.
        let _ = ratatui::try_restore();
    }
}

/// Returns the time of day, for people.
fn clock() -> String {
    jiff::Zoned::now().strftime("%H:%M:%S").to_string()
}

/// Reads the keyboard in a thread: what happens there, until the terminal is gone or nobody listens.
fn keyboard() -> mpsc::Receiver<Event> {
    let (keys, pressed) = mpsc::channel(16);
    std::thread::spawn(move || {
        while !keys.is_closed() {
            match event::poll(KEYBOARD) {
                Ok(false) => {}
                Ok(true) => {
                    let Ok(event) = event::read() else { return };
                    if keys.blocking_send(event).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    pressed
}

/// Says whether to go on after this. A new size of the terminal is drawn in without being told.
fn pressed(event: &Event) -> ControlFlow<()> {
    let Event::Key(key) = event else { return ControlFlow::Continue(()) };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        _ if key.kind == KeyEventKind::Release => ControlFlow::Continue(()),
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => ControlFlow::Break(()),
        KeyCode::Char('c') if control => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    }
}

/// Asks every process with this state directory.
async fn ask_all(state_dir: &Path) -> Vec<Answer> {
    let mut answers = Vec::new();
    for (pid, path) in sockets(state_dir) {
        let lines = match timeout(PATIENCE, lines_of(&path)).await {
            Ok(lines) => lines,
            Err(_) => Err("it does not answer in time".to_owned()),
        };
        match lines {
            // One that has ended has left its socket.
            Ok(None) => {}
            Ok(Some((lines, conflicts))) => answers.push(Answer { pid, lines, conflicts, why: None }),
            Err(why) => {
                answers.push(Answer { pid, lines: Vec::new(), conflicts: Vec::new(), why: Some(why) })
            }
        }
    }
    answers
}

type Told = (Vec<Line>, Vec<ConflictLine>);

/// Returns what a process says of itself; `None`: it is not there.
async fn lines_of(path: &Path) -> Result<Option<Told>, String> {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    let stream = match connect(path) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ConnectionRefused | NotFound) => return Ok(None),
        Err(e) => return Err(format!("{}: {e}", path.display())),
    };
    let mut lines: Vec<Line> = Vec::new();
    let said = ask(stream, &Request::Status, PATIENCE, |_, value| {
        // A line of another version says something that is not shown here.
        lines.extend(serde_json::from_value(value));
        Ok(ControlFlow::Continue(()))
    });
    let ending = said.await.map_err(|e| e.to_string())?;
    let Some(ending) = ending else {
        return Err(format!("{} does not answer: is it stopped?", path.display()));
    };
    if ending.exit != 0 {
        return Err(ending.say.unwrap_or_default());
    }
    let conflicts = lines.iter().any(|line| matches!(line, Line::Replica(replica) if replica.conflicts > 0));
    Ok(Some((lines, if conflicts { conflicts_of(path).await } else { Vec::new() })))
}

/// Returns as many of the conflicts as a screen can show.
async fn conflicts_of(path: &Path) -> Vec<ConflictLine> {
    let mut conflicts = Vec::new();
    let Ok(stream) = connect(path) else { return conflicts };
    let asked = ask(stream, &Request::Conflicts, PATIENCE, |_, value| {
        conflicts.extend(serde_json::from_value(value));
        let enough = conflicts.len() >= model::SHOWN;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    // What has come until then is shown.
    let _ = asked.await;
    conflicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::crossterm::event::KeyEvent;

    #[test]
    fn q_and_control_c_end_it_and_nothing_else_does() {
        let key = |code, modifiers| pressed(&Event::Key(KeyEvent::new(code, modifiers)));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE).is_break());
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL).is_break());
        assert!(key(KeyCode::Char('c'), KeyModifiers::NONE).is_continue());
        assert!(pressed(&Event::Resize(1, 1)).is_continue());
    }
}
