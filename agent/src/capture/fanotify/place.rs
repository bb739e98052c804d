//! From the kernel's own name of a directory to where it is now.

use super::decode::DirId;
use crate::{capture::roots::Watched, fs::open_handle};
use std::{
    collections::BTreeMap,
    fs::File,
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

/// Where a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirPlace {
    /// At this path within the file system that has this device number.
    At(u32, PathBuf),
    /// It has been removed: so has all that was in it, of which there is a notice.
    Gone,
    /// It cannot be found out.
    Unknown,
}

/// The directories by which handles are looked up, for the time of one drain: held longer, they would keep file
/// systems from being unmounted.
#[derive(Default)]
pub struct Anchors(BTreeMap<u64, Vec<Anchor>>);

struct Anchor {
    dir: File,
    dev: u32,
    /// Where the mount is, and which directory of the file system it shows.
    point: PathBuf,
    root: PathBuf,
}

impl Anchors {
    /// Looks a directory up.
    pub fn find(
        &mut self,
        id: &DirId,
        watched: &BTreeMap<u32, Watched>,
        file_systems: &BTreeMap<u32, u64>,
    ) -> DirPlace {
        let anchors = self.0.entry(id.file_system).or_insert_with(|| {
            let of_this = file_systems.iter().filter(|(_, number)| **number == id.file_system);
            let mut anchors: Vec<Anchor> = Vec::new();
            for watched in of_this.filter_map(|(slot, _)| watched.get(slot)) {
                let Some(anchor) = Anchor::of(watched) else { continue };
                if !anchors.iter().any(|other| other.point == anchor.point) {
                    anchors.push(anchor);
                }
            }
            anchors
        });
        if anchors.is_empty() {
            // Its file system is not watched any more.
            return DirPlace::Gone;
        }
        let mut outside = DirPlace::Unknown;
        for anchor in anchors {
            let dir = match open_handle(&anchor.dir, id.kind, &id.handle) {
                Ok(dir) => dir,
                Err(error) if error.raw_os_error() == Some(libc::ESTALE) => return DirPlace::Gone,
                Err(_) => continue,
            };
            match rustix::fs::fstat(&dir) {
                Ok(stat) if stat.st_nlink == 0 => return DirPlace::Gone,
                _ => {}
            }
            let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
            let Ok(path) = std::fs::read_link(link) else { continue };
            if path.as_os_str().as_bytes().ends_with(b" (deleted)") && !path.exists() {
                return DirPlace::Gone;
            }
            if let Ok(rest) = path.strip_prefix(&anchor.point) {
                return DirPlace::At(anchor.dev, anchor.root.join(rest));
            }
            // This mount does not show it; another one may.
            outside = DirPlace::At(anchor.dev, PathBuf::from("/"));
        }
        outside
    }

    /// Returns where something that is not watched is seen.
    pub fn outside(&self, file_system: u64, within: &Path) -> Option<PathBuf> {
        let anchors = self.0.get(&file_system)?;
        anchors.iter().find_map(|anchor| Some(anchor.point.join(within.strip_prefix(&anchor.root).ok()?)))
    }
}

impl Anchor {
    /// Opens a watched directory. The mount is where its path and its place within the file system part.
    fn of(watched: &Watched) -> Option<Anchor> {
        let (mut point, mut root) = (watched.path.as_path(), watched.within.as_path());
        while let (Some(a), Some(b)) = (point.file_name(), root.file_name())
            && a == b
            && !is_mount_point(point)
        {
            (point, root) = (point.parent()?, root.parent()?);
        }
        let dir = File::open(&watched.path).ok()?;
        Some(Anchor { dir, dev: watched.dev, point: point.to_owned(), root: root.to_owned() })
    }
}

/// Returns whether something is mounted here.
fn is_mount_point(path: &Path) -> bool {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS);
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
