//! A kit is a folder of tools that was filled by a recipe, with a stamp that says what it holds.

use std::{
    fmt::Display,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{place, setup::say};

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

    /// Returns the folder if it is complete, and else says how to fill it.
    pub fn require(&self, what: &str, part: &str) -> Result<&Path> {
        ensure!(self.contents().is_some(), "{what} is missing: run `cargo xtask setup --only {part}`");
        Ok(&self.dir)
    }

    /// Fills the folder unless its stamp says that it is complete. `fill` starts from an empty folder and returns
    /// what it brought.
    pub fn ensure(&self, what: &str, fill: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<()> {
        if self.contents().is_some() {
            return Ok(());
        }
        say(format_args!("{what}: fetching into {}", self.dir.display()));
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
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

/// Returns the complete kits in the tools folder: name, and the first thing that each holds.
pub fn list() -> Result<Vec<(String, String)>> {
    let tools = place::tools();
    let mut kits = Vec::new();
    for entry in fs::read_dir(&tools).with_context(|| format!("cannot list {}", tools.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", tools.display()))?;
        let Ok(stamp) = fs::read_to_string(entry.path().join(".stamp")) else { continue };
        let first = stamp.lines().nth(1).unwrap_or_default();
        kits.push((entry.file_name().to_string_lossy().into_owned(), first.to_owned()));
    }
    kits.sort();
    Ok(kits)
}

/// Writes `bin/NAME` for each program: a script that starts it with the libraries unpacked beside it.
pub fn write_wrappers(dir: &Path, programs: &[&str]) -> Result<()> {
    let bin = dir.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot create {}", bin.display()))?;
    for program in programs {
        let program = dir.join(program);
        ensure!(program.exists(), "the packages hold no {}", program.display());
        let name = program.file_name().expect("a program has a name");
        write_wrapper(dir, &program, &bin.join(name))?;
    }
    Ok(())
}

/// Writes a script that starts one program with the libraries unpacked beside it.
pub fn write_wrapper(dir: &Path, program: &Path, wrapper: &Path) -> Result<()> {
    let script =
        format!("#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n", library_path(dir), program.display());
    fs::write(wrapper, script).with_context(|| format!("cannot write {}", wrapper.display()))?;
    fs::set_permissions(wrapper, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", wrapper.display()))
}

/// Returns the library folders of unpacked packages, for `LD_LIBRARY_PATH`.
pub fn library_path(dir: &Path) -> String {
    let multiarch = place::multiarch();
    format!("{0}/usr/lib/{multiarch}:{0}/lib/{multiarch}", dir.display())
}
