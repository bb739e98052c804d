//! Draws a [`Screen`]: from the top the processes, how fast things go, the replicas, the links, and what is the matter. What
//! does not fit is said to be there.

use super::model::{History, Screen};
use crate::cmd::ask::ago;
use crate::core::escaped::Escaped;
use crate::daemon::status::{LinkLine, ReplicaLine, Trouble};
use crate::output::size;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use std::time::SystemTime;

/// How it is drawn.
pub(super) struct Look {
    /// Whether with colours.
    pub(super) color: bool,
    /// The time of day.
    pub(super) clock: String,
}

/// How grave something is, which gives its colour.
#[derive(Clone, Copy)]
enum Tone {
    Good,
    Warning,
    Bad,
    Quiet,
}

impl Look {
    fn style(&self, tone: Tone) -> Style {
        let style = Style::default();
        match (tone, self.color) {
            (Tone::Quiet, _) => style.add_modifier(Modifier::DIM),
            (_, false) => style,
            (Tone::Good, true) => style.fg(Color::Green),
            (Tone::Warning, true) => style.fg(Color::Yellow),
            (Tone::Bad, true) => style.fg(Color::Red),
        }
    }
}

/// Below so many lines there are no sparklines: the tables matter more.
const LEAST_FOR_CHARTS: u16 = 18;
/// The lines of the sparklines with their frame.
const CHARTS: u16 = 4;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, screen: &Screen, now: SystemTime, look: &Look) {
    let area = frame.area();
    let charts = if area.height >= LEAST_FOR_CHARTS { CHARTS } else { 0 };
    // A third each for replicas and links at the most; what they do not need goes to what is the matter.
    let third = area.height.saturating_sub(charts + 3) / 3;
    let table = |rows: usize| (u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(1)).min(third.max(2));
    let [head, sparks, replicas, links, matters, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(charts),
        Constraint::Length(table(screen.replicas.len())),
        Constraint::Length(table(screen.links.len())),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(heading(screen, now, look)), head);
    if charts > 0 {
        draw_charts(frame, screen, sparks, look);
    }
    draw_replicas(frame, &screen.replicas, replicas, look);
    draw_links(frame, &screen.links, now, links, look);
    draw_matters(frame, screen, now, matters, look);
    let left = format!(" {}  q quits", look.clock);
    frame.render_widget(Paragraph::new(left).style(look.style(Tone::Quiet)), foot);
}

fn heading(screen: &Screen, now: SystemTime, look: &Look) -> Vec<Line<'static>> {
    if screen.processes.is_empty() && screen.silent.is_empty() {
        let why = match screen.has_asked() {
            false => " …".to_owned(),
            true => {
                let place = screen.state_dir.display().to_string();
                format!(" no daemon and no `vfsync live` runs with the state directory {}", escaped(&place))
            }
        };
        return vec![Line::styled(why, look.style(Tone::Bad)), Line::from(" it is waited for")];
    }
    let processes: Vec<String> = screen
        .processes
        .iter()
        .map(|p| {
            let (role, version) = (escaped(&p.role), escaped(&p.version));
            format!(
                "vfsync {role} {version}, process {}, for {}, by {}",
                p.pid,
                ago(&p.since, now),
                escaped(&p.tier)
            )
        })
        .collect();
    let sum = |of: fn(&crate::daemon::status::Process) -> u64| screen.processes.iter().map(of).sum::<u64>();
    let lost = sum(|p| p.lost);
    let tone = if lost > 0 { look.style(Tone::Bad) } else { Style::default() };
    let counted =
        format!(" {} events, {} coalesced, ", grouped(sum(|p| p.events)), grouped(sum(|p| p.coalesced)));
    vec![
        Line::styled(format!(" {}", processes.join("; ")), Style::default().add_modifier(Modifier::BOLD)),
        Line::from(vec![Span::raw(counted), Span::styled(format!("{} lost", grouped(lost)), tone)]),
    ]
}

fn draw_charts(frame: &mut Frame<'_>, screen: &Screen, area: Rect, look: &Look) {
    let parts: [Rect; 3] = Layout::horizontal([Constraint::Fill(1); 3]).areas(area);
    let titled = [
        (&screen.events, format!(" events {}/s ", grouped(screen.events.now()))),
        (&screen.sent, format!(" sent {}/s ", size(screen.sent.now()))),
        (&screen.received, format!(" received {}/s ", size(screen.received.now()))),
    ];
    for ((history, title), part) in titled.into_iter().zip(parts) {
        frame.render_widget(chart(history, title, part, look), part);
    }
}

/// Returns a sparkline that ends with the last second at its right.
fn chart<'a>(history: &History, title: String, area: Rect, look: &Look) -> Sparkline<'a> {
    let width = usize::from(area.width.saturating_sub(2));
    let last = history.last(width);
    let empty = vec![0; width - last.len()];
    Sparkline::default()
        .block(Block::bordered().title(title).border_style(look.style(Tone::Quiet)))
        .style(look.style(Tone::Good))
        .data([empty, last].concat())
}

/// Returns as many rows as there is room for below the heading, the last of which says how many more there are.
fn rows_for<T>(all: &[T], area: Rect, row: impl Fn(&T) -> Row<'static>) -> Vec<Row<'static>> {
    let room = usize::from(area.height.saturating_sub(1));
    if all.len() <= room {
        return all.iter().map(row).collect();
    }
    let shown = room.saturating_sub(1);
    let more = Row::new(vec![Cell::from(format!(" and {} more", all.len() - shown))]);
    all.iter().take(shown).map(row).chain(std::iter::once(more)).take(room).collect()
}

/// The columns behind the names of a table: their titles, their widths, and whether they stay on a narrow terminal.
type Columns = [(&'static str, u16, bool)];

/// A name has at least so much room; before it has less, columns give way.
const LEAST_NAME: usize = 16;

/// What of a table fits.
struct Fitting<'c> {
    columns: &'c Columns,
    shown: Vec<usize>,
    /// The room for names, behind a space.
    room: usize,
}

impl Fitting<'_> {
    fn new(columns: &Columns, width: u16) -> Fitting<'_> {
        let taken =
            |shown: &[usize]| -> usize { shown.iter().map(|&at| usize::from(columns[at].1) + 1).sum() };
        let room = |shown: &[usize]| usize::from(width).saturating_sub(taken(shown) + 1);
        let all: Vec<usize> = (0..columns.len()).collect();
        let few: Vec<usize> = all.iter().copied().filter(|&at| columns[at].2).collect();
        let shown = if room(&all) >= LEAST_NAME { all } else { few };
        Fitting { columns, room: room(&shown), shown }
    }

    fn row(&self, name: Cell<'static>, cells: Vec<Cell<'static>>) -> Row<'static> {
        let shown = cells.into_iter().enumerate().filter(|(at, _)| self.shown.contains(at));
        Row::new(std::iter::once(name).chain(shown.map(|(_, cell)| cell)))
    }

    fn table(&self, name: &'static str, rows: Vec<Row<'static>>, look: &Look) -> Table<'static> {
        // The first of them is a word, the others are numbers.
        let titles = self.columns.iter().enumerate();
        let titles = titles.map(|(at, (title, ..))| if at == 0 { text(*title) } else { number(*title) });
        let header = self.row(text(name), titles.collect()).style(look.style(Tone::Quiet));
        let widths = self.shown.iter().map(|&at| Constraint::Length(self.columns[at].1));
        Table::new(rows, std::iter::once(Constraint::Fill(1)).chain(widths)).header(header)
    }
}

fn text(text: impl Into<String>) -> Cell<'static> {
    Cell::from(Line::from(text.into()))
}

fn number(text: impl Into<String>) -> Cell<'static> {
    Cell::from(Line::from(text.into()).right_aligned())
}

fn draw_replicas(frame: &mut Frame<'_>, replicas: &[ReplicaLine], area: Rect, look: &Look) {
    const COLUMNS: &Columns = &[
        ("STATE", 9, true),
        ("ENTRIES", 11, false),
        ("EVENTS", 11, false),
        ("WAIT", 6, false),
        ("LOST", 4, false),
        ("CONFL", 5, true),
        ("TROUBLE", 7, false),
    ];
    let fitting = Fitting::new(COLUMNS, area.width);
    let row = |line: &ReplicaLine| {
        let tone = match &line.state[..] {
            "following" => Tone::Good,
            "halted" | "waiting" => Tone::Bad,
            _ => Tone::Warning,
        };
        let cells = vec![
            text(escaped(&line.state)).style(look.style(tone)),
            number(grouped(line.entries)),
            number(grouped(line.events)),
            number(grouped(line.waiting)),
            counted(line.lost, Tone::Bad, look),
            counted(line.conflicts, Tone::Warning, look),
            counted(line.problem_count, Tone::Warning, look),
        ];
        fitting.row(text(format!(" {}", tail(&escaped(&line.root), fitting.room))), cells)
    };
    frame.render_widget(fitting.table(" REPLICA", rows_for(replicas, area, row), look), area);
}

/// Returns a number that is good when it is nothing.
fn counted(n: u64, tone: Tone, look: &Look) -> Cell<'static> {
    let cell = number(grouped(n));
    if n > 0 { cell.style(look.style(tone)) } else { cell }
}

fn draw_links(frame: &mut Frame<'_>, links: &[LinkLine], now: SystemTime, area: Rect, look: &Look) {
    const COLUMNS: &Columns = &[
        ("STATE", 12, true),
        ("BACKLOG", 7, false),
        ("CARRIED", 9, false),
        ("OPEN", 6, false),
        ("LAST", 7, false),
    ];
    let fitting = Fitting::new(COLUMNS, area.width);
    let row = |line: &LinkLine| {
        let tone = match &line.state[..] {
            "live" => Tone::Good,
            "broken" | "halted" | "closed" => Tone::Bad,
            "by-other-end" | "itself" => Tone::Quiet,
            _ => Tone::Warning,
        };
        let arrow = if line.dials { "->" } else { "<-" };
        let last = line.last.as_ref().map(|last| ago(&last.time, now)).unwrap_or_default();
        let cells = vec![
            text(escaped(&line.state)).style(look.style(tone)),
            number(grouped(line.backlog + line.incoming)),
            number(grouped(line.carried)),
            counted(line.failure_count, Tone::Warning, look),
            number(last),
        ];
        fitting.row(text(between(&escaped(&line.root), arrow, &escaped(&line.peer), fitting.room)), cells)
    };
    frame.render_widget(fitting.table(" LINK", rows_for(links, area, row), look), area);
}

fn draw_matters(frame: &mut Frame<'_>, screen: &Screen, now: SystemTime, area: Rect, look: &Look) {
    let remarks = screen.remarks.iter().rev().take(2).rev();
    let remarks: Vec<Line<'_>> =
        remarks.map(|text| Line::styled(format!(" {text}"), look.style(Tone::Quiet))).collect();
    let mut room = usize::from(area.height).saturating_sub(remarks.len());
    let mut lines = Vec::new();
    let all = matters(screen, now);
    for (nth, (tone, text)) in all.iter().enumerate() {
        let wrapped = wrapped(text, usize::from(area.width));
        let is_last = nth + 1 == all.len();
        // A line has to stay for the word that there is more.
        if wrapped.len() + usize::from(!is_last) > room {
            if room > 0 {
                let more = all.len() - nth;
                lines.push(Line::from(format!(" and {more} more: `vfsync status`, `vfsync conflicts`")));
            }
            break;
        }
        room -= wrapped.len();
        lines.extend(wrapped.into_iter().map(|line| Line::styled(line, look.style(*tone))));
    }
    lines.extend(remarks);
    frame.render_widget(Paragraph::new(lines), area);
}

/// Breaks a text at spaces into lines of a width, those behind the first one further in.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one");
        let is_empty = line.trim().is_empty();
        if !is_empty && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(format!("     {word}"));
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines
}

/// Returns the end of a text, if that is too long for so many columns: of a path it tells more than the beginning.
fn tail(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(length + 1 - width.max(1))).collect()
}

/// Returns two names with an arrow between them, of which the longer one has to give way first.
fn between(here: &str, arrow: &str, there: &str, width: usize) -> String {
    let room = width.saturating_sub(arrow.len() + 2);
    let half = room / 2;
    let (first, second) = (here.chars().count(), there.chars().count());
    let (first, second) = match (first <= half, second <= half) {
        (true, _) => (first, room - first),
        (false, true) => (room - second, second),
        (false, false) => (half, room - half),
    };
    format!(" {} {arrow} {}", tail(here, first), tail(there, second))
}

/// Returns what a person should know, the gravest first.
fn matters(screen: &Screen, now: SystemTime) -> Vec<(Tone, String)> {
    let (mut bad, mut warnings) = (Vec::new(), Vec::new());
    for (pid, why) in &screen.silent {
        bad.push(format!("process {pid}: {}", escaped(why)));
    }
    for line in &screen.replicas {
        let root = escaped(&line.root);
        bad.extend(line.why.as_ref().map(|why| format!("{root}: {}", escaped(why))));
        bad.extend(line.deletions.map(|n| format!("`vfsync resume {root}` approves these {n} deletions")));
        warnings.extend(troubles(&root, &line.problems));
    }
    for line in &screen.links {
        let peer = escaped(&line.peer);
        let again =
            line.again.as_ref().map(|time| format!("; again {}", until(time, now))).unwrap_or_default();
        bad.extend(line.why.as_ref().map(|why| format!("{peer}: {}{again}", escaped(why))));
        warnings.extend(troubles(&peer, &line.failures));
    }
    for line in &screen.conflicts {
        let (root, path, peer) = (escaped(&line.root), escaped(&line.path), escaped(&line.peer));
        let (here, there) = (escaped(&line.here), escaped(&line.there));
        warnings.push(format!("conflict {root}/{path}: {here} here, {there} at {peer}"));
    }
    if bad.is_empty() && warnings.is_empty() && !screen.processes.is_empty() {
        return vec![(Tone::Good, "nothing is the matter".to_owned())];
    }
    let marked = |tone: Tone| move |text: String| (tone, format!("! {text}"));
    bad.into_iter().map(marked(Tone::Bad)).chain(warnings.into_iter().map(marked(Tone::Warning))).collect()
}

/// Returns the troubles of a replica or a link, but not its conflicts: they are shown with what both sides have.
fn troubles(of: &str, named: &[Trouble]) -> Vec<String> {
    named
        .iter()
        .filter(|t| t.why != "conflict")
        .map(|t| format!("{of}: {}: {} ({})", escaped(&t.path), escaped(&t.why), escaped(&t.at)))
        .collect()
}

/// Says how long it is until a moment.
fn until(time: &str, now: SystemTime) -> String {
    let Ok(then) = humantime::parse_rfc3339(time) else { return String::new() };
    match then.duration_since(now) {
        Ok(wait) => format!("in {} s", wait.as_secs()),
        Err(_) => "now".to_owned(),
    }
}

fn escaped(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

/// Returns a number with its thousands apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::answer;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::{Duration, Instant};

    fn drawn(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let now = humantime::parse_rfc3339("2026-03-01T12:00:00Z").unwrap();
        let look = Look { color: true, clock: "13:00:00".to_owned() };
        terminal.draw(|frame| draw(frame, screen, now, &look)).unwrap();
        let buffer = terminal.backend().buffer();
        let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(usize::from(width)).map(|row| row.concat().trim_end().to_owned()).collect()
    }

    fn busy() -> Screen {
        let mut screen = Screen::new("/var/lib/vfsync".into());
        let start = Instant::now();
        for second in 0..30 {
            let at = start + Duration::from_secs(second);
            screen.take(vec![answer(41, 1000 + second * second, 4096 * second)], at, "12:59:00");
        }
        screen
    }

    #[test]
    fn everything_has_its_place_on_an_ordinary_terminal() {
        let rows = drawn(&busy(), 80, 24);
        assert_eq!(rows[0], " vfsync daemon 0.1.0, process 41, for 2 h, by kprobe");
        assert_eq!(rows[1], " 1,841 events, 4 coalesced, 0 lost");
        assert!(rows[2].contains("events 57/s") && rows[2].contains("sent 4.0 KiB/s"), "{}", rows[2]);
        let all = rows.join("\n");
        let find = |words: &str| {
            rows.iter().position(|row| row.contains(words)).unwrap_or_else(|| panic!("{words}:\n{all}"))
        };
        assert!(
            rows[find("REPLICA") + 1].starts_with(" /var/www")
                && rows[find("REPLICA") + 1].contains("following  ")
        );
        let broken = find("broken");
        assert!(rows[broken].contains("192.168.1.8") && rows[broken + 1].contains("live"), "{all}");
        assert!(rows[broken + 1].contains("12,345") && rows[broken + 1].ends_with("3 s"), "{all}");
        assert!(rows[find("does not answer")].ends_with("again in 20 s"), "{all}");
        assert!(!all.contains('\u{1b}') && all.contains("cannot read it (here)"), "{all}");
        assert!(all.contains("! conflict /var/www/clash: file, 4 bytes here, deleted at"), "{all}");
        assert_eq!(rows[23], " 13:00:00  q quits");
    }

    #[test]
    fn no_size_is_too_small_or_too_large() {
        for (width, height) in [(1, 1), (2, 3), (20, 5), (40, 10), (80, 17), (80, 18), (300, 100)] {
            drawn(&busy(), width, height);
            drawn(&Screen::new("/s".into()), width, height);
        }
        let rows = drawn(&busy(), 40, 10);
        let replica = rows.iter().find(|row| row.contains("/var/www  ")).expect("a name stays");
        assert!(replica.contains("following") && !replica.contains("100,000"), "{replica}");
    }

    #[test]
    fn what_does_not_fit_is_said_to_be_there() {
        let mut screen = busy();
        let link = screen.links[1].clone();
        screen.links.extend(std::iter::repeat_n(link, 30));
        let rows = drawn(&screen, 80, 24).join("\n");
        assert!(rows.contains(" and 29 more"), "{rows}");
        assert!(rows.contains("nothing") || rows.contains("does not answer"), "{rows}");
    }

    #[test]
    fn a_daemon_that_is_away_is_said_to_be() {
        let mut screen = busy();
        screen.take(Vec::new(), Instant::now() + Duration::from_secs(60), "13:00:00");
        let rows = drawn(&screen, 80, 24).join("\n");
        assert!(
            rows.contains("no daemon and no `vfsync live` runs with the state directory /var/lib/vfsync"),
            "{rows}"
        );
        assert!(rows.contains("13:00:00 the daemon, process 41, has ended"), "{rows}");
    }

    #[test]
    fn long_texts_are_broken_and_long_names_keep_their_ends() {
        assert_eq!(wrapped("! aa bb cc", 8), [" ! aa bb", "     cc"]);
        assert_eq!(wrapped("abcdefghij", 4), [" abcdefghij"]);
        assert_eq!(
            (tail("/var/www", 8), tail("/var/www", 5), tail("x", 0)),
            ("/var/www".into(), "…/www".into(), "…".into())
        );
        assert_eq!(between("/a", "->", "/b", 40), " /a -> /b");
        assert_eq!(between("/a", "->", "ssh://h//srv/data", 16), " /a -> …/srv/data");
        assert_eq!(between("/long/here", "->", "/long/there", 16), " …/here -> …there");
    }

    #[test]
    fn thousands_are_told_apart() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
    }
}
