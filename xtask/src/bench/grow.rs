//! Trees for the benchmarks, the same for the same seed.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use fastrand::Rng;

/// The sizes of `small`: a median of 2 KiB and a mean of 5.4 KB, log-normal.
const MEDIAN: f64 = 2048.0;
const SIGMA: f64 = 1.39;

/// What was made.
#[derive(Clone, Copy, Debug)]
pub struct Grown {
    /// How many files.
    pub files: usize,
    /// How many folders.
    pub folders: usize,
    /// How many bytes.
    pub bytes: u64,
}

/// Makes the tree `small`: 100,000 files in 1,000 folders, times a scale.
pub fn small(root: &Path, scale: f64) -> Result<Grown> {
    let mut rng = Rng::with_seed(2);
    let files = scaled(100_000, scale);
    let folders = make_folders(root, scaled(1_000, scale))?;
    let mut bytes = 0;
    for number in 0..files {
        let size = size(&mut rng);
        let path = root.join(&folders[number % folders.len()]).join(format!("file-{number:06}.txt"));
        make(&path, &text(&mut rng, size), &mut rng)?;
        bytes += size as u64;
    }
    Ok(Grown { files, folders: folders.len(), bytes })
}

/// Makes a tree of files of up to so many bytes, evenly over the folders.
pub fn even(root: &Path, files: usize, folders_in_all: usize, longest: usize) -> Result<Grown> {
    let mut rng = Rng::with_seed(5);
    let folders = make_folders(root, folders_in_all)?;
    let mut bytes = 0;
    for number in 0..files {
        let size = longest / 2 + rng.usize(0..=longest / 2);
        let path = root.join(&folders[number % folders.len()]).join(format!("file-{number:06}.txt"));
        make(&path, &text(&mut rng, size), &mut rng)?;
        bytes += size as u64;
    }
    Ok(Grown { files, folders: folders.len(), bytes })
}

/// Makes a file of the past, so that no program takes it for one that may still be changing; at a whole second, as finer
/// times are not kept by all of the peers.
fn make(path: &Path, content: &[u8], rng: &mut Rng) -> Result<()> {
    let newest = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(content).with_context(|| format!("cannot write {}", path.display()))?;
    file.set_modified(newest - Duration::from_secs(rng.u64(0..31_536_000)))
        .with_context(|| format!("cannot set the time of {}", path.display()))
}

/// Returns a number times a scale, and one at least.
pub fn scaled(number: usize, scale: f64) -> usize {
    ((number as f64 * scale) as usize).max(1)
}

/// Makes so many folders, and returns their paths from the root.
fn make_folders(root: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let folders = folders(count);
    for folder in &folders {
        let folder = root.join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    Ok(folders)
}

/// Returns the paths of so many folders, a hundred to each at the top, that one counted too.
fn folders(count: usize) -> Vec<PathBuf> {
    let path = |number: usize| {
        let top = PathBuf::from(format!("part-{:03}", number / 100));
        if number.is_multiple_of(100) { top } else { top.join(format!("folder-{:02}", number % 100)) }
    };
    (0..count).map(path).collect()
}

fn size(rng: &mut Rng) -> usize {
    // Box and Muller's way from two even numbers to a normal one.
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (MEDIAN * (SIGMA * normal).exp()).min(4e6) as usize
}

/// Returns text of the compressibility of text: words of a small vocabulary.
fn text(rng: &mut Rng, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        let word = rng.u64(0..40_000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let length = 3 + word as usize % 8;
        bytes.extend(word.to_le_bytes().iter().cycle().take(length).map(|byte| b'a' + byte % 26));
        bytes.push(b' ');
    }
    bytes.truncate(size);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_the_same_each_time_and_of_the_right_size() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let make = |name: &str| small(&dir.path().join(name), 0.01);
        let (one, two) = (make("a")?, make("b")?);
        assert_eq!((one.files, one.folders, one.bytes), (1000, 10, two.bytes));
        let mean = one.bytes as f64 / one.files as f64;
        assert!((3000.0..9000.0).contains(&mean), "{mean}");
        let path = "part-000/folder-03/file-000003.txt";
        assert_eq!(fs::read(dir.path().join("a").join(path))?, fs::read(dir.path().join("b").join(path))?);
        Ok(())
    }
}
