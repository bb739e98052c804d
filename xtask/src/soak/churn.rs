//! The [`Churn`] is changes without end below one folder: files come, are written, appended to, renamed and deleted,
//! folders get other names.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use fastrand::Rng;

/// So many folders.
const FOLDERS: usize = 50;
/// About so many files at a time.
const FILES: usize = 5000;
/// Most files have one of so many names, so that names come back.
const NAMES: u64 = 20_000;
/// One in so many gets a name that never was there.
const FRESH: u64 = 10;
/// One in so many changes gives a folder another name.
const RENAMED_FOLDER: u32 = 2000;
/// One in so many files is large.
const LARGE: u32 = 500;

/// Changes below a folder.
pub struct Churn {
    root: PathBuf,
    rng: Rng,
    /// How often each folder got another name.
    folders: Vec<u32>,
    /// What is there: the number of the folder, the name.
    files: Vec<(usize, u64)>,
    fresh: u64,
}

impl Churn {
    /// Makes the folder, with nothing in it yet. Nobody else may change anything there.
    pub fn new(root: PathBuf, seed: u64) -> Result<Self> {
        let churn = Self {
            root,
            rng: Rng::with_seed(seed),
            folders: vec![0; FOLDERS],
            files: Vec::new(),
            fresh: NAMES,
        };
        for folder in 0..FOLDERS {
            let path = churn.folder(folder);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        Ok(churn)
    }

    fn folder(&self, folder: usize) -> PathBuf {
        self.root.join(format!("{folder}-{}", self.folders[folder]))
    }

    fn path(&self, (folder, name): (usize, u64)) -> PathBuf {
        self.folder(folder).join(format!("file-{name}"))
    }

    /// Makes so many changes, and returns how many.
    pub fn change(&mut self, count: u32) -> Result<u32> {
        for _ in 0..count {
            self.one()?;
        }
        Ok(count)
    }

    fn one(&mut self) -> Result<()> {
        if self.rng.u32(0..RENAMED_FOLDER) == 0 {
            let folder = self.rng.usize(0..FOLDERS);
            let from = self.folder(folder);
            self.folders[folder] += 1;
            let to = self.folder(folder);
            return fs::rename(&from, &to).with_context(|| format!("cannot rename {}", from.display()));
        }
        let (what, full) = (self.rng.u32(0..100), self.files.len() >= FILES);
        let Some(place) = self.any() else { return self.create() };
        let path = self.path(self.files[place]);
        let done = match what {
            0..30 if !full => return self.create(),
            0..30 | 80..95 => {
                self.files.swap_remove(place);
                fs::remove_file(&path)
            }
            30..55 => fs::write(&path, self.content()),
            55..65 => append(&path, &self.content()),
            65..80 => {
                self.files.swap_remove(place);
                let to = self.name();
                let target = self.path(to);
                // Its own name, or one that is taken: what was there is gone then.
                self.files.retain(|&file| file != to);
                self.files.push(to);
                fs::rename(&path, target)
            }
            _ => fs::set_permissions(&path, Permissions::from_mode(0o600 | self.rng.u32(0..0o100))),
        };
        done.with_context(|| format!("cannot change {}", path.display()))
    }

    fn create(&mut self) -> Result<()> {
        let file = self.name();
        let path = self.path(file);
        fs::write(&path, self.content()).with_context(|| format!("cannot write {}", path.display()))?;
        if !self.files.contains(&file) {
            self.files.push(file);
        }
        Ok(())
    }

    fn any(&mut self) -> Option<usize> {
        (!self.files.is_empty()).then(|| self.rng.usize(0..self.files.len()))
    }

    fn name(&mut self) -> (usize, u64) {
        let folder = self.rng.usize(0..FOLDERS);
        if self.rng.u64(0..FRESH) == 0 {
            self.fresh += 1;
            return (folder, self.fresh);
        }
        // The folder belongs to the name: what comes back comes back to the same place.
        let name = self.rng.u64(0..NAMES);
        ((name % FOLDERS as u64) as usize, name)
    }

    fn content(&mut self) -> Vec<u8> {
        let size = if self.rng.u32(0..LARGE) == 0 { 200_000 } else { self.rng.usize(20..4000) };
        let word = self.rng.u64(..).to_le_bytes();
        word.iter().copied().cycle().take(size).collect()
    }
}

/// Adds to a file, until it is so large that it begins anew.
fn append(path: &Path, more: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    if file.metadata()?.len() > 1_000_000 {
        file.set_len(0)?;
    }
    file.write_all(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_remembers_is_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut churn = Churn::new(dir.path().join("churn"), 7).unwrap();
        churn.change(20_000).unwrap();
        let mut known: Vec<PathBuf> = churn.files.iter().map(|&file| churn.path(file)).collect();
        let mut there: Vec<PathBuf> = fs::read_dir(&churn.root)
            .unwrap()
            .flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
            .map(|file| file.unwrap().path())
            .collect();
        known.sort();
        there.sort();
        assert_eq!(known, there);
        assert!(known.len() > 1000 && known.len() <= FILES, "{}", known.len());
        assert!(churn.folders.iter().any(|&names| names > 0));
    }
}
