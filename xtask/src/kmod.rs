//! Kernel modules: which files a set of modules needs, and the index that `modprobe` in a guest reads.
//!
//! An unpacked kernel package has no index (its installation would run depmod), so the modules are asked themselves:
//! each carries what it depends on, and the names that the kernel asks for it by, in its section `.modinfo`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use object::{Object, ObjectSection};

/// Modules, uncompressed, and the index over them.
pub struct Modules {
    /// File name and content of each.
    pub files: Vec<(String, Vec<u8>)>,
    /// The content of `modules.dep`.
    pub dependencies: String,
    /// The content of `modules.alias`.
    pub aliases: String,
}

/// What a module says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    /// What should be loaded first where it exists.
    before: Vec<String>,
    aliases: Vec<String>,
}

/// Collects the modules named and all that they need from the folder of a kernel's modules. A name that the kernel
/// does not have is built in, or not built at all: it is left out.
pub fn collect(folder: &Path, wanted: &[&str]) -> Result<Modules> {
    let mut paths = BTreeMap::new();
    list(folder, &mut paths)?;
    let mut open: Vec<String> = wanted.iter().map(|name| canonical(name)).collect();
    let mut infos: BTreeMap<String, Info> = BTreeMap::new();
    let mut files = Vec::new();
    while let Some(name) = open.pop() {
        let Some(path) = paths.get(&name).filter(|_| !infos.contains_key(&name)) else { continue };
        let data = read(path)?;
        let info = parse(&modinfo(&data).with_context(|| format!("cannot read {}", path.display()))?);
        open.extend(info.depends.iter().chain(&info.before).cloned());
        infos.insert(name.clone(), info);
        files.push((format!("{name}.ko"), data));
    }
    let (mut dependencies, mut aliases) = (String::new(), String::new());
    for (name, info) in &infos {
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        needed(name, &infos, &mut seen, &mut all);
        // The last one is loaded first.
        let line: Vec<String> = all.iter().rev().map(|dependency| format!("{dependency}.ko")).collect();
        writeln!(dependencies, "{name}.ko: {}", line.join(" "))?;
        for alias in &info.aliases {
            writeln!(aliases, "alias {alias} {name}")?;
        }
    }
    Ok(Modules { files, dependencies, aliases })
}

/// Adds all that a module needs, through others too: each behind what it needs itself.
fn needed(name: &str, infos: &BTreeMap<String, Info>, seen: &mut BTreeSet<String>, all: &mut Vec<String>) {
    let Some(info) = infos.get(name) else { return };
    for dependency in info.depends.iter().chain(&info.before) {
        if infos.contains_key(dependency) && seen.insert(dependency.clone()) {
            needed(dependency, infos, seen, all);
            all.push(dependency.clone());
        }
    }
}

fn list(folder: &Path, into: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let path = entry.path();
        if entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?.is_dir() {
            list(&path, into)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            into.insert(canonical(name), path);
        }
    }
    Ok(())
}

/// Returns the name as the kernel writes it.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns a module's content, unpacked.
fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_some_and(|e| e == "ko") {
        return fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    }
    let program = if path.extension().is_some_and(|e| e == "zst") { "zstd" } else { "xz" };
    let out = Command::new(program).arg("-dc").arg(path).output();
    let out = out.with_context(|| format!("cannot start {program}: install the package of that name"))?;
    anyhow::ensure!(out.status.success(), "{program} cannot unpack {}", path.display());
    Ok(out.stdout)
}

fn modinfo(data: &[u8]) -> Result<Vec<u8>> {
    let file = object::File::parse(data)?;
    let section = file.section_by_name(".modinfo").context("it has no section .modinfo")?;
    Ok(section.data()?.to_vec())
}

/// Reads `key=value` strings, each ended by a zero byte.
fn parse(modinfo: &[u8]) -> Info {
    let mut info = Info::default();
    for text in modinfo.split(|&byte| byte == 0) {
        let text = String::from_utf8_lossy(text);
        let Some((key, value)) = text.split_once('=') else { continue };
        match key {
            "depends" => info.depends.extend(value.split(',').filter(|v| !v.is_empty()).map(canonical)),
            "alias" => info.aliases.push(value.to_owned()),
            "softdep" => {
                let before = value.split("post:").next().unwrap_or_default();
                for name in before.split_whitespace().filter(|word| *word != "pre:") {
                    // Checksums and ciphers are named for what they compute; the plain implementation will do.
                    info.before.extend([canonical(name), canonical(name) + "_generic"]);
                }
            }
            _ => {}
        }
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_needs() {
        let info = parse(b"license=GPL\0softdep=pre: crc32c\0alias=fs-ext4\0depends=jbd2,mbcache,crc-16\0");
        assert_eq!(info.depends, ["jbd2", "mbcache", "crc_16"]);
        assert_eq!(info.before, ["crc32c", "crc32c_generic"]);
        assert_eq!(info.aliases, ["fs-ext4"]);
    }

    #[test]
    fn a_circle_of_modules_ends() {
        let module = |depends: &str| Info { depends: vec![depends.to_owned()], ..Info::default() };
        let infos = BTreeMap::from([("a".to_owned(), module("b")), ("b".to_owned(), module("a"))]);
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        needed("a", &infos, &mut seen, &mut all);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn each_module_comes_behind_what_it_needs() {
        let module = |depends: &[&str]| Info {
            depends: depends.iter().map(|name| (*name).to_owned()).collect(),
            ..Info::default()
        };
        let infos = BTreeMap::from([
            ("nfsd".to_owned(), module(&["lockd", "grace"])),
            ("lockd".to_owned(), module(&["sunrpc", "grace"])),
            ("grace".to_owned(), module(&[])),
            ("sunrpc".to_owned(), module(&[])),
        ]);
        let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
        needed("nfsd", &infos, &mut seen, &mut all);
        assert_eq!(all, ["sunrpc", "grace", "lockd"]);
    }
}
