//! A [`Watched`] directory is one that the programs know: a root, or the top of a file system that is mounted below a
//! root. The programs report paths relative to the innermost one; its homes say where that is in which root.

use super::mounts::{self, Mount};
use crate::core::path::RelPath;
use std::{
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// A place below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// The root, by index.
    pub root: usize,
    /// Where below it.
    pub at: RelPath,
}

/// A directory that the programs are to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Where it is found.
    pub path: PathBuf,
    /// The number of the mount that it is found in.
    pub mount: u32,
    /// Its superblock, in the kernel's encoding.
    pub dev: u32,
    /// Where it lies within its file system.
    pub within: PathBuf,
    /// Where its contents show up.
    pub homes: Vec<Home>,
}

/// Works out which directories have to be watched for these roots (absolute, without symlinks) with these mounts.
pub fn plan(roots: &[PathBuf], mounts: &[Mount]) -> Vec<Watched> {
    let below = mounts
        .iter()
        .filter(|m| !m.is_pseudo() && roots.iter().any(|root| m.point.starts_with(root) && m.point != *root))
        .map(|m| &m.point);
    let mut watched: Vec<Watched> = Vec::new();
    for path in roots.iter().chain(below) {
        let Some(mount) = mounts::of_path(mounts, path) else { continue };
        if mount.is_pseudo() && !roots.contains(path) {
            continue;
        }
        let rest = path.strip_prefix(&mount.point).unwrap_or(Path::new(""));
        let within = if rest.as_os_str().is_empty() { mount.root.clone() } else { mount.root.join(rest) };
        let homes = roots.iter().enumerate().filter_map(|(root, top)| {
            let at = RelPath::new(path.strip_prefix(top).ok()?.as_os_str().as_bytes()).ok()?;
            Some(Home { root, at })
        });
        // The same directory seen at two places is one to the kernel.
        let same = watched.iter().position(|w| w.dev == mount.kernel_dev() && w.within == within);
        let index = same.unwrap_or_else(|| {
            let (mount, dev) = (mount.id, mount.kernel_dev());
            watched.push(Watched { path: path.clone(), mount, dev, within, homes: Vec::new() });
            watched.len() - 1
        });
        for home in homes {
            add(&mut watched[index].homes, home);
        }
    }
    inherit(&mut watched);
    watched
}

/// Adds the homes that a directory has through others of the same file system that it lies in, as with bind mounts:
/// the programs stop at the innermost.
fn inherit(watched: &mut [Watched]) {
    let outer = watched.to_vec();
    for inner in watched {
        for other in &outer {
            if other.dev != inner.dev || other.within == inner.within {
                continue;
            }
            let Ok(rest) = inner.within.strip_prefix(&other.within) else { continue };
            let Ok(rest) = RelPath::new(rest.as_os_str().as_bytes()) else { continue };
            for home in &other.homes {
                if let Some(at) = rest.rebase(&RelPath::root(), &home.at) {
                    add(&mut inner.homes, Home { root: home.root, at });
                }
            }
        }
    }
}

fn add(homes: &mut Vec<Home>, home: Home) {
    if !homes.contains(&home) {
        homes.push(home);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(paths: &[&str]) -> Vec<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    fn homes(watched: &[Watched], path: &str) -> Vec<(usize, String)> {
        let found = watched.iter().find(|w| w.path == Path::new(path)).expect("it is watched");
        found.homes.iter().map(|h| (h.root, h.at.to_string())).collect()
    }

    fn at(root: usize, at: &str) -> (usize, String) {
        (root, at.to_string())
    }

    #[test]
    fn a_mount_below_a_root_is_watched_with_its_place() {
        let mounts = mounts::parse(
            b"1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / /r/m rw - xfs y rw\n3 1 0:5 / /r/p rw - proc p rw\n",
        );
        let watched = plan(&roots(&["/r"]), &mounts);
        assert_eq!(watched.len(), 2);
        assert_eq!(homes(&watched, "/r"), [at(0, ".")]);
        assert_eq!(homes(&watched, "/r/m"), [at(0, "m")]);
        assert_eq!(watched[0].within, Path::new("/r"));
    }

    #[test]
    fn what_happens_in_an_inner_root_happens_in_the_outer_one_too() {
        let mounts = mounts::parse(b"1 0 8:1 / / rw - ext4 x rw\n");
        let watched = plan(&roots(&["/r", "/r/a/b"]), &mounts);
        assert_eq!(homes(&watched, "/r/a/b"), [at(0, "a/b"), at(1, ".")]);
    }

    #[test]
    fn a_bind_mount_shows_the_same_file_at_two_places() {
        // /r/src is mounted at /r/dst, and /r is the root; and /other/deep of the same disk at /r/o.
        let mounts = mounts::parse(
            b"1 0 8:1 / / rw - ext4 x rw\n2 1 8:1 /r/src /r/dst rw - ext4 x rw\n3 1 8:1 /other/deep /r/o rw - ext4 x rw\n",
        );
        let watched = plan(&roots(&["/r"]), &mounts);
        assert_eq!(homes(&watched, "/r/dst"), [at(0, "dst"), at(0, "src")]);
        assert_eq!(homes(&watched, "/r/o"), [at(0, "o")]);
    }

    #[test]
    fn a_root_that_is_given_by_two_paths_is_one_directory() {
        let mounts = mounts::parse(b"1 0 8:1 / / rw - ext4 x rw\n2 1 8:1 /r /s rw - ext4 x rw\n");
        let watched = plan(&roots(&["/r", "/s"]), &mounts);
        assert_eq!(watched.len(), 1);
        assert_eq!(homes(&watched, "/r"), [at(0, "."), at(1, ".")]);
    }
}
