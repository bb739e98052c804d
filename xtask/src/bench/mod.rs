//! The benchmarks: vfsync beside what Debian packages for the same job, over the same sshd, on the same tree.
//!
//! Ratios are what counts: the seconds of a machine that does other things too are not comparable between runs.

mod capturing;
mod carrying;
mod figures;
mod following;
mod grow;
pub mod guests;
mod machine;
mod memory;
mod road;
mod stage;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{place, setup::say};
pub use machine::describe;
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
    /// A pass over two equal replicas that meet for the first time.
    FirstMeet,
    /// A pass that finds one changed file; and the same while live, in processor time.
    OneChange,
    /// From a new file on one side to the complete file on the other.
    Latency,
    /// A little of a large file has changed.
    Delta,
    /// Many small files to an empty replica far away.
    Far,
    /// A folder of many files gets another name, while live.
    Rename,
    /// Changes without end, while live.
    Churn,
    /// From the start of a watch to its first event.
    Attach,
    /// What a write costs while its file is watched.
    WriteCost,
    /// How many of many deletions a watch tells of.
    Storm,
}

/// A tree to measure with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tree {
    /// 100,000 files in 1,000 folders, log-normal sizes around 2 KiB.
    Small,
    /// 1,000,000 files of up to 600 bytes in 10,100 folders.
    Million,
}

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// These figures; empty: all.
    pub figures: Vec<Figure>,
    /// Which tree.
    pub tree: Tree,
    /// How large the tree is: 1 is as [`Tree`] says.
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
    let grown = match plan.tree {
        Tree::Small => grow::small(&stage.tree(), plan.scale)?,
        Tree::Million => {
            let (files, folders) = (grow::scaled(1_000_000, plan.scale), grow::scaled(10_100, plan.scale));
            grow::even(&stage.tree(), files, folders, 600)?
        }
    };
    let mut rows: Vec<Row> = Vec::new();
    let on_replicas =
        [Figure::FirstSync, Figure::NoChange, Figure::OneChange, Figure::Latency, Figure::FirstMeet];
    if on_replicas.into_iter().any(wants) {
        let first = figures::first_sync(&stage, wants(Figure::FirstSync))?;
        rows.extend(first.into_iter().filter(|_| wants(Figure::FirstSync)));
    }
    if wants(Figure::NoChange) {
        rows.extend(figures::no_change(&stage)?);
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
    if wants(Figure::FirstMeet) {
        rows.push(carrying::first_meet(&stage)?);
    }
    if wants(Figure::WriteCost) {
        rows.extend(capturing::write_cost(&stage)?);
    }
    if wants(Figure::Storm) {
        rows.push(capturing::storm(&stage)?);
    }
    drop(stage);
    if wants(Figure::Delta) {
        rows.extend(carrying::delta(&folder, binary, plan.scale)?);
    }
    if wants(Figure::Far) {
        rows.push(carrying::far(&folder, binary, plan.scale)?);
    }
    if wants(Figure::Rename) || wants(Figure::Churn) {
        let (rename, churn) = (wants(Figure::Rename), wants(Figure::Churn));
        rows.extend(carrying::busy(&folder, binary, plan.scale, rename, churn)?);
    }
    println!("{}", describe(&folder).context("cannot describe the machine")?);
    println!(
        "tree: {} files in {} folders, {:.0} MB\n",
        grown.files,
        grown.folders,
        grown.bytes as f64 / 1e6
    );
    table::print(&rows);
    Ok(())
}
