//! The set-up: brings the tools that are missing into the tools folder, once each.

use std::{
    fmt::Display,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{place, toolchain};

/// A part of the set-up that can be asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The compiler with library source and bpf-linker, for the eBPF programs.
    Ebpf,
}

/// Brings the parts named, or all of them.
pub fn run(only: &[Part]) -> Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    let _lock = lock()?;
    if wanted(Part::Ebpf) {
        toolchain::set_up()?;
    }
    Ok(())
}

/// Prints one line of progress; standard output stays free for results.
pub fn say(what: impl Display) {
    eprintln!("  {what}");
}

/// Takes the tools folder for this process: worktrees may share it.
fn lock() -> Result<File> {
    let tools = place::tools();
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let path = tools.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        say(format_args!("waiting for another set-up in {}", tools.display()));
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// A folder of tools with a stamp that says what it holds, so that nothing is brought twice.
pub struct Kit {
    dir: PathBuf,
    recipe: String,
}

impl Kit {
    /// Names a folder below the tools folder and the recipe that fills it. Another recipe, or another place, makes
    /// it anew.
    pub fn new(name: &str, recipe: impl Display) -> Self {
        let dir = place::tools().join(name);
        // Wrappers hold absolute paths: a tools folder that was moved is filled again.
        let recipe = format!("{recipe} in {}", dir.display());
        Self { dir, recipe }
    }

    /// Returns the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what the stamp says was brought, if the folder is complete.
    pub fn contents(&self) -> Option<String> {
        let stamp = fs::read_to_string(self.stamp()).ok()?;
        let (recipe, contents) = stamp.split_once('\n')?;
        (recipe == self.recipe).then(|| contents.trim_end().to_owned())
    }

    /// Fills the folder unless its stamp says that it is complete. `fill` starts from an empty folder and returns
    /// what it brought.
    pub fn ensure(&self, what: &str, fill: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<()> {
        if let Some(contents) = self.contents() {
            say(format_args!("{what}: there ({})", contents.lines().next().unwrap_or_default()));
            return Ok(());
        }
        say(format_args!("{what}: fetching into {}", self.dir.display()));
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot clear {}", self.dir.display()));
            }
            _ => {}
        }
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot create {}", self.dir.display()))?;
        let contents = fill(&self.dir).with_context(|| format!("cannot set up {what}"))?;
        let stamp = self.stamp();
        fs::write(&stamp, format!("{}\n{}\n", self.recipe, contents.join("\n")))
            .with_context(|| format!("cannot write {}", stamp.display()))?;
        say(format_args!("{what}: done ({})", contents.first().map_or("", String::as_str)));
        Ok(())
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join(".stamp")
    }
}
