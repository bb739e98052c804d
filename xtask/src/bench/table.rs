//! The table: a row for each figure, with its peers, the ratio to the best of them, and the goal.

/// What one contestant reached.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Who.
    pub name: &'static str,
    /// How much, or why not.
    pub value: Result<f64, String>,
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub figure: String,
    /// What is counted: seconds, milliseconds.
    pub unit: &'static str,
    /// vfsync first.
    pub cells: Vec<Cell>,
    /// Whom vfsync is compared with.
    pub base: &'static str,
    /// The goal, in words.
    pub goal: String,
    /// Whether it is met.
    pub met: bool,
}

impl Row {
    /// Returns a contestant's value.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.cells.iter().find(|cell| cell.name == name)?.value.clone().ok()
    }
}

/// Prints rows as a table in Markdown, which also reads well as it is, and below it what went wrong.
pub fn print(rows: &[Row]) {
    let heads = ["figure", "vfsync", "peers", "ratio", "goal", ""];
    let mut lines = vec![heads.map(str::to_owned)];
    for row in rows {
        let (ours, peers) = row.cells.split_first().expect("a row has cells");
        let shown = |cell: &Cell| match &cell.value {
            Ok(value) => format!("{} {}", rounded(*value), row.unit),
            Err(_) => "failed".to_owned(),
        };
        let beside: Vec<String> = peers.iter().map(|peer| format!("{} {}", peer.name, shown(peer))).collect();
        let ratio = match (&ours.value, row.value(row.base)) {
            (Ok(ours), Some(base)) if ours * 10.0 < base && *ours > 0.0 => {
                format!("1/{:.0} of {}", base / ours, row.base)
            }
            (Ok(ours), Some(base)) if base > 0.0 => format!("{:.2} × {}", ours / base, row.base),
            _ => "–".to_owned(),
        };
        let mark = if row.met { "✓" } else { "✗" };
        lines.push([
            row.figure.clone(),
            shown(ours),
            beside.join(" · "),
            ratio,
            row.goal.clone(),
            mark.to_owned(),
        ]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3, 4, 5].map(width);
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("| {} |", cells.join(" | "));
        if number == 0 {
            let rules = widths.map(|width| "-".repeat(width.max(3)));
            println!("| {} |", rules.join(" | "));
        }
    }
    for (row, cell) in rows.iter().flat_map(|row| row.cells.iter().map(move |cell| (row, cell))) {
        if let Err(why) = &cell.value {
            println!("\n{}, {}: {why}", row.figure, cell.name);
        }
    }
}

fn rounded(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
