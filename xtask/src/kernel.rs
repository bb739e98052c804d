//! A kernel is a Debian kernel image with its modules, unpacked, for guests to boot.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{
    apt::{Apt, Suite},
    kit::Kit,
    place,
};

/// The kernels that the tests know: one of each of Debian's releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// Debian 11.
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13.
    #[value(name = "6.12")]
    V6_12,
    /// Debian's newest.
    #[value(name = "sid")]
    Sid,
}

impl Kernel {
    /// Every kernel, oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::Sid];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Sid => "sid",
        }
    }

    fn suites(self) -> Vec<Suite> {
        let plain = |name| Suite { name, security: false };
        let security = |name| Suite { name, security: true };
        match self {
            Self::V5_10 => vec![plain("bullseye"), security("bullseye-security")],
            Self::V6_1 => vec![plain("bookworm"), security("bookworm-security")],
            Self::V6_12 => vec![plain("trixie"), security("trixie-security")],
            Self::Sid => vec![plain("sid")],
        }
    }

    fn kit(self) -> Kit {
        Kit::new(&format!("kernel-{}", self.name()), "linux-image-cloud-amd64, 2")
    }

    /// Downloads and unpacks the kernel, unless it is there.
    pub fn set_up(self) -> Result<()> {
        self.kit().ensure(&format!("kernel {self}"), |dir| {
            let apt = Apt::of_suites(&place::tools().join(format!("apt-{}", self.name())), &self.suites())?;
            let meta = "linux-image-cloud-amd64";
            let image = apt.depends(meta)?.into_iter().find(|name| name.starts_with("linux-image-"));
            let image = image.with_context(|| format!("{meta} depends on no kernel"))?;
            let release = image.trim_start_matches("linux-image-");
            let mut brought = vec![apt.unpack_alone(&image, dir)?];
            // Newer releases split a kernel over several packages of one version.
            for part in apt.depends(&image)?.iter().filter(|name| name.ends_with(release)) {
                brought.push(apt.unpack_alone(part, dir)?);
            }
            Ok(brought)
        })
    }

    /// Returns the files that [`Kernel::set_up`] left.
    pub fn find(self) -> Result<KernelFiles> {
        let kit = self.kit();
        let dir = kit.require(&format!("kernel {self}"), "vm")?;
        let modules = modules_folder(dir).with_context(|| format!("{} holds no modules", dir.display()))?;
        let release = modules.file_name().expect("a folder has a name").to_string_lossy().into_owned();
        let places = [dir.join("boot").join(format!("vmlinuz-{release}")), modules.join("vmlinuz")];
        let image = places.into_iter().find(|path| path.exists());
        let image = image.with_context(|| format!("{} holds no vmlinuz", dir.display()))?;
        Ok(KernelFiles { image, modules, release })
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The files of an unpacked kernel.
#[derive(Clone, Debug)]
pub struct KernelFiles {
    /// The image to boot.
    pub image: PathBuf,
    /// The folder of its modules.
    pub modules: PathBuf,
    /// Its version as `uname -r` says it.
    pub release: String,
}

fn modules_folder(dir: &Path) -> Option<PathBuf> {
    ["usr/lib/modules", "lib/modules"].iter().find_map(|place| {
        let entry = fs::read_dir(dir.join(place)).ok()?.flatten().next()?;
        Some(entry.path())
    })
}
