//! The machine's description, without which a figure says nothing.

use std::{fs, path::Path, thread};

use anyhow::{Context, Result};

/// Returns a line with processors, memory, kernel, and the file system that a folder is on.
pub fn describe(folder: &Path) -> Result<String> {
    let cores = thread::available_parallelism().context("cannot count the processors")?;
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = after(&cpu, "model name").unwrap_or("unknown processor");
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory: f64 =
        after(&memory, "MemTotal").and_then(|kib| kib.split(' ').next()?.parse().ok()).unwrap_or(0.0);
    let kernel = rustix::system::uname();
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let folder = folder.canonicalize().context("the folder is gone")?;
    Ok(format!(
        "machine: {cores} × {model}, {:.0} GB, Linux {}, {}",
        memory * 1024.0 / 1e9,
        kernel.release().to_string_lossy(),
        file_system(&mounts, &folder).unwrap_or("unknown file system")
    ))
}

/// Returns what stands after a key in the kernel's tables.
fn after<'a>(table: &'a str, key: &str) -> Option<&'a str> {
    let line = table.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim())
}

/// Returns the kind of the file system that a path is on: of the mount with the longest path, the last one there.
fn file_system<'a>(mountinfo: &'a str, path: &Path) -> Option<&'a str> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (mount, rest) = line.split_once(" - ")?;
        let place = mount.split(' ').nth(4)?;
        path.starts_with(place).then(|| (place.len(), rest.split(' ').next().unwrap_or_default()))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_tells_the_file_system() {
        let mounts = "1 0 254:0 / / rw - ext4 /dev/vda rw\n\
            2 1 0:30 / /tmp rw shared:1 - tmpfs tmpfs rw\n\
            3 1 0:31 / /t rw - xfs x rw\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/x")), Some("tmpfs"));
        assert_eq!(file_system(mounts, Path::new("/temp")), Some("ext4"));
    }
}
