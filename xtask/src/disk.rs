//! A disk for a guest: an image with an empty file system in it.

use std::{fs::File, path::Path, process::Command};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    exec,
    kit::{self, Kit},
};

/// A file system on a disk of its own, made for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Disk {
    /// Mounted on `/mnt/ext4`.
    Ext4,
    /// Mounted on `/mnt/xfs`.
    Xfs,
    /// Mounted on `/mnt/btrfs`.
    Btrfs,
}

impl Disk {
    /// Returns the name of the file system, as mount takes it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Makes a disk of 2 GiB, most of it a hole, with an empty file system.
    pub fn make(self, image: &Path) -> Result<()> {
        let file = File::create(image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(2 << 30).with_context(|| format!("cannot size {}", image.display()))?;
        let kit = guest_kit();
        let dir = kit.require("guest programs", "vm")?;
        let name = format!("mkfs.{}", self.kind());
        let places = ["sbin", "usr/sbin", "bin", "usr/bin"].map(|place| dir.join(place).join(&name));
        let program = places.iter().find(|path| path.exists());
        let mut mkfs = Command::new(program.with_context(|| format!("the packages hold no {name}"))?);
        mkfs.arg("-q").arg(image).env("LD_LIBRARY_PATH", kit::library_path(dir));
        exec::quietly(&mut mkfs)
    }
}

/// Returns the kit with what goes into guests and what makes their disks.
pub fn guest_kit() -> Kit {
    Kit::new("guest", "busybox-static e2fsprogs xfsprogs btrfs-progs, 1")
}
