//! The benchmarks: vfsync beside what Debian packages for the same job, over the same sshd, on the same tree.
//!
//! Ratios are what counts: the seconds of a machine that does other things too are not comparable between runs.

mod capturing;
mod figures;
mod following;
mod grow;
mod machine;
mod stage;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{place, setup::say};
use stage::Stage;
pub use stage::set_up;
use table::Row;

/// A figure to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Figure {
    /// The tree to an empty replica.
    FirstSync,
    /// A pass over two equal replicas.
    NoChange,
    /// A pass that finds one changed file; and the same while live, in processor time.
    OneChange,
    /// From a new file on one side to the complete file on the other.
    Latency,
    /// From the start of a watch to its first event.
    Attach,
    /// What a write costs while its file is watched.
    WriteCost,
    /// How many of many deletions a watch tells of.
    Storm,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// These figures; empty: all.
    pub figures: Vec<Figure>,
    /// How large the tree is: 1 is 100,000 files.
    pub scale: f64,
    /// Where; none: in cargo's target folder.
    pub folder: Option<PathBuf>,
}

/// Measures and prints the table.
pub fn run(plan: &Plan, binary: &Path) -> Result<()> {
    let wants = |figure| plan.figures.is_empty() || plan.figures.contains(&figure);
    let folder = plan.folder.clone().unwrap_or_else(|| place::target().join("bench"));
    let stage = Stage::new(&folder, binary)?;
    say(format_args!("bench: making the tree in {}", stage.tree().display()));
    let grown = grow::small(&stage.tree(), plan.scale)?;
    let mut rows: Vec<Row> = Vec::new();
    if [Figure::FirstSync, Figure::NoChange, Figure::OneChange, Figure::Latency].into_iter().any(wants) {
        let row = figures::first_sync(&stage, wants(Figure::FirstSync))?;
        rows.extend(row.filter(|_| wants(Figure::FirstSync)));
    }
    if wants(Figure::NoChange) {
        rows.push(figures::no_change(&stage)?);
    }
    if wants(Figure::OneChange) {
        rows.push(figures::one_change(&stage)?);
    }
    if wants(Figure::Latency) || wants(Figure::OneChange) {
        rows.extend(figures::live(&stage, wants(Figure::Latency), wants(Figure::OneChange))?);
    }
    if wants(Figure::Attach) {
        rows.push(figures::attach(&stage)?);
    }
    if wants(Figure::WriteCost) {
        rows.extend(capturing::write_cost(&stage)?);
    }
    if wants(Figure::Storm) {
        rows.push(capturing::storm(&stage)?);
    }
    println!("{}", machine::describe(&stage.tree()).context("cannot describe the machine")?);
    println!(
        "tree: {} files in {} folders, {:.0} MB\n",
        grown.files,
        grown.folders,
        grown.bytes as f64 / 1e6
    );
    table::print(&rows);
    Ok(())
}
