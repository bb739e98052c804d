//! Debian packages as a source of tools: downloaded with apt into folders of our own and unpacked, never installed.
//!
//! Nothing on the machine changes: apt keeps its lists and downloads below the tools folder, so this needs no root,
//! and a package that would start a service or conflict with an installed one does neither. apt checks Debian's
//! signatures as ever.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::exec;

/// apt with its own state and cache.
pub struct Apt {
    home: PathBuf,
    options: Vec<OsString>,
}

impl Apt {
    /// Returns an apt that reads the machine's package sources and keeps everything else below `home`.
    pub fn of_this_machine(home: &Path) -> Result<Self> {
        Self::new(home, Vec::new())
    }

    /// Returns an apt that reads other suites of Debian, from the mirror that the machine uses, and keeps everything
    /// else below `home`. What it gets is for guests, not for this machine.
    pub fn of_suites(home: &Path, suites: &[Suite]) -> Result<Self> {
        let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        ensure!(
            keyring.exists(),
            "{} is missing: the package debian-archive-keyring has it",
            keyring.display()
        );
        let mirror = mirror();
        let line = |suite: &Suite| {
            let security = if suite.security { "-security" } else { "" };
            format!("deb [signed-by={}] {mirror}{security} {} main\n", keyring.display(), suite.name)
        };
        fs::create_dir_all(home).with_context(|| format!("cannot create {}", home.display()))?;
        let list = home.join("sources.list");
        fs::write(&list, suites.iter().map(line).collect::<String>())
            .with_context(|| format!("cannot write {}", list.display()))?;
        let mut sources = vec!["-o".into(), OsString::from("Dir::Etc::sourcelist=")];
        sources[1].push(&list);
        for option in ["Dir::Etc::sourceparts=-", "Dir::Etc::preferencesparts=-", "Acquire::Languages=none"] {
            sources.extend(["-o".into(), option.into()]);
        }
        Self::new(home, sources)
    }

    fn new(home: &Path, sources: Vec<OsString>) -> Result<Self> {
        ensure!(
            Path::new("/usr/bin/apt-get").exists() && Path::new("/usr/bin/dpkg-deb").exists(),
            "apt-get or dpkg-deb is missing: the set-up takes its tools from Debian's packages (Debian 12 or newer)"
        );
        for dir in ["state/lists/partial", "cache/archives/partial"] {
            let dir = home.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        let mut options = sources;
        for (key, dir) in [("Dir::State", "state"), ("Dir::Cache", "cache")] {
            let mut option = OsString::from(format!("{key}="));
            option.push(home.join(dir));
            options.extend(["-o".into(), option]);
        }
        Ok(Self { home: home.to_owned(), options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Fetches the package lists, unless that was done within the last hour.
    pub fn update(&self) -> Result<()> {
        let mark = self.home.join("updated");
        let fresh = fs::metadata(&mark)
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age < Duration::from_secs(3600)));
        if fresh {
            return Ok(());
        }
        exec::quietly(self.command("apt-get").arg("update").arg("-qq")).context(
            "cannot fetch the package lists (no network, or the machine's apt sources are broken?)",
        )?;
        fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))
    }

    /// Downloads the packages and what of their dependencies is not installed, unpacks all into `into` and returns
    /// their names with versions. What is installed on the machine is used from there.
    pub fn unpack(&self, packages: &[&str], into: &Path) -> Result<Vec<String>> {
        self.update()?;
        let install = ["install", "--no-install-recommends", "--reinstall"];
        let plan = exec::read(self.command("apt-get").arg("-s").args(install).args(packages))
            .with_context(|| format!("apt finds no way to get {}", packages.join(" ")))?;
        let wanted = planned(&plan);
        exec::quietly(
            self.command("apt-get").args(["-y", "-q", "--download-only"]).args(install).args(packages),
        )
        .with_context(|| format!("cannot download {}", packages.join(" ")))?;
        for (name, version) in &wanted {
            let deb = self.archive(name, version)?;
            unpack_deb(&deb, into)?;
            fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
        }
        Ok(wanted.into_iter().map(|(name, version)| format!("{name} {version}")).collect())
    }

    /// Returns the packages that a package depends on, first alternatives only.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        self.update()?;
        let text = exec::read(self.command("apt-cache").args(["depends", package]))
            .with_context(|| format!("there is no package {package}"))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        Ok(names.map(str::to_owned).collect())
    }

    /// Downloads one package without what it depends on, unpacks it and returns its name with the version.
    pub fn unpack_alone(&self, package: &str, into: &Path) -> Result<String> {
        self.update()?;
        let dir = self.home.join("cache/archives");
        exec::quietly(self.command("apt-get").current_dir(&dir).args(["-q", "download", package]))
            .with_context(|| format!("cannot download {package}"))?;
        let deb = newest(&dir, &format!("{package}_"))?;
        unpack_deb(&deb, into)?;
        let version = exec::read(Command::new("dpkg-deb").arg("-f").arg(&deb).arg("Version"))?;
        fs::remove_file(&deb).with_context(|| format!("cannot remove {}", deb.display()))?;
        Ok(format!("{package} {}", version.trim()))
    }

    fn archive(&self, name: &str, version: &str) -> Result<PathBuf> {
        // apt writes "1:2.3" as "1%3a2.3" in file names.
        let start = format!("{name}_{}_", version.replace(':', "%3a"));
        newest(&self.home.join("cache/archives"), &start)
    }
}

/// A suite of Debian.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// Its name in the archive.
    pub name: &'static str,
    /// Whether it lies in the archive of security updates.
    pub security: bool,
}

/// Returns the address of Debian's archive: that of the machine's own sources, which may be a mirror near by.
fn mirror() -> String {
    let mut texts = vec![fs::read_to_string("/etc/apt/sources.list").unwrap_or_default()];
    if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
        let paths = entries.flatten().map(|entry| entry.path());
        let used = paths.filter(|p| p.extension().is_some_and(|e| e == "sources" || e == "list"));
        texts.extend(used.filter_map(|path| fs::read_to_string(path).ok()));
    }
    mirror_in(&texts.join("\n")).unwrap_or_else(|| "http://deb.debian.org/debian".to_owned())
}

/// Returns the first address of Debian's own archive in the text of package sources of either format.
fn mirror_in(sources: &str) -> Option<String> {
    let lines = sources.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_whitespace).map(|word| word.trim_end_matches('/'));
    words.find(|word| word.contains("://") && word.ends_with("/debian")).map(str::to_owned)
}

/// Returns the newest package file in `dir` whose name has this start.
fn newest(dir: &Path, start: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(start) && name.ends_with(".deb") {
            found.push((entry.metadata().and_then(|m| m.modified()).ok(), entry.path()));
        }
    }
    let newest = found.into_iter().max();
    newest.map(|(_, path)| path).with_context(|| format!("apt left no {start}*.deb in {}", dir.display()))
}

/// Unpacks one Debian package.
fn unpack_deb(deb: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    exec::quietly(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into))
}

/// Returns the (name, version) pairs that a simulated `apt-get install` would unpack:
/// lines such as `Inst rsync [3.2.7-1] (3.5.0+ds1-0+deb12u1 Debian-Security:12/… [amd64])`.
fn planned(plan: &str) -> Vec<(String, String)> {
    plan.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix("Inst ")?;
            let name = rest.split_whitespace().next()?;
            let version = rest.split_once('(')?.1.split_whitespace().next()?;
            Some((name.to_owned(), version.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_simulated_install_names_packages_and_their_new_versions() {
        let plan = "NOTE: This is only a simulation!\n\
            Inst openssh-client [1:9.2p1-2+deb12u6] (1:9.2p1-2+deb12u10 Debian:12.15/oldstable [amd64])\n\
            Inst rust-web-src (1.96.0+dfsg1-1 Debian-Security:12/oldstable-security [all])\n\
            Conf rust-web-src (1.96.0+dfsg1-1 Debian-Security:12/oldstable-security [all])\n";
        assert_eq!(
            planned(plan),
            [
                ("openssh-client".to_owned(), "1:9.2p1-2+deb12u10".to_owned()),
                ("rust-web-src".to_owned(), "1.96.0+dfsg1-1".to_owned())
            ]
        );
    }

    #[test]
    fn the_mirror_is_found_in_both_formats_of_sources() {
        let new =
            "Types: deb\n# http://old.example/debian\nURIs: http://near.example/debian/\nSuites: bookworm\n";
        assert_eq!(mirror_in(new).as_deref(), Some("http://near.example/debian"));
        let old = "# deb http://no.example/debian x main\n\
            deb [signed-by=/k.gpg] http://x.example/debian-security b main\n\
            deb https://y.example/debian bookworm main\n";
        assert_eq!(mirror_in(old).as_deref(), Some("https://y.example/debian"));
        assert_eq!(mirror_in("deb https://apt.example/node x main\n"), None);
    }
}
