//! An [`Operation`] changes a tree in one of the many ways in which programs do, and says what capture has to report.
//! The same list runs in tests on this machine and, through `capture-check`, in guests with other kernels.
//!
//! Each finds the same small tree: `f`, `x` and `d/g` are files, `d/e` is an empty directory, `l` a symbolic link to `f`.

mod attributes;
#[cfg(target_arch = "x86_64")]
mod compat;
mod contents;
mod data;
mod mapped;
mod names;
#[cfg(target_arch = "x86_64")]
mod older;
mod queued;
mod raw;
mod roads;

use std::{
    any::Any,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The size of the tree's files, in bytes: a few blocks of any file system.
const SIZE: u64 = 16 << 10;

/// Where operations take place: a watched tree, and a directory beside it on the same file system.
pub struct Ground {
    /// The watched tree.
    pub root: PathBuf,
    /// Beside it.
    pub outside: PathBuf,
}

impl Ground {
    /// Makes both in this directory.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn make(dir: &Path) -> io::Result<Ground> {
        let ground = Ground { root: dir.join("root"), outside: dir.join("outside") };
        fs::create_dir_all(&ground.root)?;
        fs::create_dir_all(&ground.outside)?;
        Ok(ground)
    }

    /// Returns a part of it that an operation can have to itself.
    pub fn part(&self, name: &str) -> Ground {
        Ground { root: self.root.join(name), outside: self.outside.join(name) }
    }

    /// Removes it with all that it holds and nobody holds.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn clear(&self) -> io::Result<()> {
        for dir in [&self.root, &self.outside] {
            match fs::remove_dir_all(dir) {
                // A client of NFS keeps a name for a file that someone still has open.
                Err(error) if is_busy(&error) => {}
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the small tree that operations find.
    fn set(&self) -> io::Result<()> {
        fs::create_dir_all(&self.outside)?;
        fs::create_dir_all(self.at("d/e"))?;
        for name in ["f", "x", "d/g"] {
            File::create(self.at(name))?.write_all(&[b'o'; SIZE as usize])?;
        }
        std::os::unix::fs::symlink("f", self.at("l"))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn file(&self, path: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.at(path))
    }

    fn dir(&self, path: &str) -> io::Result<File> {
        File::open(self.at(path))
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy)
}

/// One event that has to come: any of these names, at this path.
pub struct Expected {
    /// As in the contract of `vfsync watch`, separated by `|`.
    pub events: &'static str,
    /// Below the root.
    pub path: &'static str,
    /// Below the root, for a rename.
    pub to: Option<&'static str>,
}

/// What stays as it is until it was looked what was reported: open files, mappings. Closing them is an event as well, which
/// would hide that one was missing.
pub type Kept = Box<dyn Any>;

/// What changes the tree, when all is prepared.
pub type Act = Box<dyn FnOnce() -> io::Result<Kept>>;

/// How an operation is done.
#[derive(Clone, Copy)]
pub enum Way {
    /// By paths.
    Paths(fn(&Ground) -> io::Result<()>),
    /// With `f`, which is open for reading and writing, and stays open.
    Open(fn(&File) -> io::Result<()>),
    /// After something was prepared.
    Staged(fn(&Ground) -> io::Result<Act>),
    /// By an io_uring; whether from a thread of the kernel's own.
    Ring(fn(&Ground) -> io::Result<queued::Request>, bool),
}

/// One way to change a tree.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Its name.
    pub name: &'static str,
    way: Way,
    /// What capture has to report; nothing: that it reports nothing.
    pub expected: &'static [Expected],
}

impl Operation {
    /// Tells whether it is about a file being closed: whoever serves files to others does that when it likes.
    pub fn is_about_closing(&self) -> bool {
        self.expected.iter().any(|expected| expected.events.starts_with("close_write"))
    }

    /// Sets the tree up for it and returns what does it.
    ///
    /// # Errors
    /// The tree cannot be made, or this kernel or file system lacks what it needs.
    pub fn begin<'a>(&self, ground: &'a Ground) -> io::Result<Box<dyn FnOnce() -> io::Result<Kept> + 'a>> {
        ground.clear()?;
        ground.set()?;
        Ok(match self.way {
            Way::Paths(run) => Box::new(move || Ok(Box::new(run(ground)?))),
            Way::Open(run) => {
                let file = ground.file("f")?;
                Box::new(move || run(&file).map(|()| Box::new(file) as Kept))
            }
            Way::Staged(stage) => stage(ground)?,
            Way::Ring(request, asynchronous) => queued::by_ring(request(ground)?, asynchronous)?,
        })
    }
}

/// Returns every operation.
pub fn all() -> Vec<Operation> {
    let mut all = data::OPERATIONS.to_vec();
    all.extend(contents::OPERATIONS);
    all.extend(queued::operations());
    all.extend(mapped::OPERATIONS);
    all.extend(names::OPERATIONS);
    all.extend(attributes::OPERATIONS);
    all.extend(roads::OPERATIONS);
    #[cfg(target_arch = "x86_64")]
    all.extend(older::OPERATIONS.iter().chain(compat::OPERATIONS));
    all
}

const fn at(events: &'static str, path: &'static str) -> Expected {
    Expected { events, path, to: None }
}

const fn renamed(path: &'static str, to: &'static str) -> Expected {
    Expected { events: "rename", path, to: Some(to) }
}

const fn by_paths(
    name: &'static str,
    expected: &'static [Expected],
    run: fn(&Ground) -> io::Result<()>,
) -> Operation {
    Operation { name, way: Way::Paths(run), expected }
}

const fn open(
    name: &'static str,
    expected: &'static [Expected],
    run: fn(&File) -> io::Result<()>,
) -> Operation {
    Operation { name, way: Way::Open(run), expected }
}

const fn staged(
    name: &'static str,
    expected: &'static [Expected],
    stage: fn(&Ground) -> io::Result<Act>,
) -> Operation {
    Operation { name, way: Way::Staged(stage), expected }
}

/// Makes an [`Act`].
fn act<T: 'static>(run: impl FnOnce() -> io::Result<T> + 'static) -> io::Result<Act> {
    Ok(Box::new(move || Ok(Box::new(run()?) as Kept)))
}

/// What a change of the content of `f` is reported as.
const WRITTEN: &[Expected] = &[at("write", "f")];
/// What a change of its size is reported as.
const CUT: &[Expected] = &[at("truncate|write", "f")];
/// What a change of its attributes is reported as.
const ATTRIBUTES: &[Expected] = &[at("attrib", "f")];
/// What a change of its extended attributes is reported as.
const XATTRS: &[Expected] = &[at("xattr", "f")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_operations_have_one_name() {
        let mut names: Vec<_> = all().iter().map(|operation| operation.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| !name.contains(" | ")), "a line of the table has borders");
    }

    #[test]
    fn nearly_all_can_be_performed_on_this_machine() {
        let place = tempfile::tempdir().unwrap();
        let ground = Ground::make(place.path()).unwrap().part("one");
        let refused: Vec<_> = all()
            .iter()
            .filter_map(|operation| {
                let done = operation.begin(&ground).and_then(|act| act());
                done.err().map(|error| format!("{}: {error}", operation.name))
            })
            .collect();
        // Root's alone, or not on every file system: cloning, mounts, devices.
        assert!(refused.len() < 40, "{refused:#?}");
    }
}
