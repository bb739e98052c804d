//! What reaches the disk, and in which order, as the kernel is asked for it: contents before they get a visible name, then
//! the names, then the archive, and then the other end is told.

use std::{fs, path::Path};
use vfsync_tests::{Pair, assert_same};

/// A system call of the far end.
#[derive(Debug)]
struct Call {
    name: String,
    line: String,
}

/// Runs a pass with the far end under strace, and returns its calls: one that waits for the disk where it ended, every other
/// where it began.
fn calls(pair: &Pair, args: &[&str]) -> Vec<Call> {
    let out = pair.home().path("calls");
    let strace = xtask::tracer::strace().expect("`cargo xtask setup` brings it");
    let traced = format!(
        "{} -f -y -s 0 -e trace=linkat,renameat2,fsync,fdatasync,syncfs,write,writev -o {} {}",
        strace.display(),
        out.display(),
        pair.server_command()
    );
    pair.sync().args(args).args(["-servercmd", &traced]).run().code(0);
    assert_same(&pair.first, &pair.second);
    let text = fs::read_to_string(&out).expect("strace has written something");
    let mut under_way = std::collections::HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, rest) = line.split_once(' ').unwrap_or_default();
        let rest = rest.trim_start();
        if rest.starts_with("<...") {
            calls.extend(under_way.remove(pid));
            continue;
        }
        let Some((name, _)) = rest.split_once('(') else { continue };
        let call = Call { name: name.to_owned(), line: rest.to_owned() };
        if rest.ends_with("<unfinished ...>") && call.waits() {
            under_way.insert(pid.to_owned(), call);
        } else {
            calls.push(call);
        }
    }
    calls
}

impl Call {
    fn waits(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync" | "syncfs")
    }

    /// Makes `name` in the tree visible.
    fn publishes(&self, name: &str) -> bool {
        matches!(self.name.as_str(), "linkat" | "renameat2") && self.line.contains(&format!("\"{name}\""))
    }

    /// Waits for the content of a file that has no name, or a reserved one, or for all there is.
    fn syncs_content(&self) -> bool {
        self.name == "syncfs"
            || self.waits() && (self.line.contains("(deleted)") || self.line.contains("/.vfsync."))
    }

    fn syncs_names(&self, dir: &Path) -> bool {
        self.name == "syncfs" || self.name == "fsync" && self.line.contains(&format!("<{}>", dir.display()))
    }

    fn syncs_archive(&self) -> bool {
        self.waits() && self.line.contains("archive.redb")
    }

    /// Says something to the other end.
    fn tells(&self) -> bool {
        self.name.starts_with("write")
            && (self.line.contains("(1<") || self.line.contains("<pipe:") || self.line.contains("<socket:"))
            && !self.line.contains("anon_inode")
    }
}

#[track_caller]
fn in_order(calls: &[Call], name: &str, dir: &Path, contents: usize) {
    let shown = || calls.iter().map(|call| call.line.as_str()).collect::<Vec<_>>().join("\n");
    let at = |what: &str, from: usize, is_it: &dyn Fn(&Call) -> bool| -> usize {
        let found = calls[from..].iter().position(is_it).map(|n| from + n);
        found.unwrap_or_else(|| panic!("nothing {what} after call {from}:\n{}", shown()))
    };
    let published = at("publishes it", 0, &|call| call.publishes(name));
    let synced = calls[..published].iter().filter(|call| call.syncs_content()).count();
    assert!(synced >= contents, "{synced} contents were waited for before {name}:\n{}", shown());
    let noted = calls[..published].iter().rposition(Call::syncs_archive);
    assert!(noted.is_some(), "that {name} is about to appear is not in the archive:\n{}", shown());
    let names = at("syncs the names", published, &|call| call.syncs_names(dir));
    let recorded = at("syncs the archive", names, &Call::syncs_archive);
    let told = at("tells the other end", published, &Call::tells);
    assert!(told > recorded, "it was told at {told}, before {recorded}:\n{}", shown());
}

#[test]
fn a_new_file_is_on_the_disk_before_it_has_a_name_and_is_told_of_last() {
    let pair = Pair::over_ssh();
    pair.first.file("d/old", "there from the start");
    pair.in_step();
    pair.first.file("d/new", "x".repeat(5000));
    in_order(&calls(&pair, &[]), "new", &pair.second.path("d"), 1);
    // In place of one that stands there.
    pair.first.file("d/old", "changed");
    in_order(&calls(&pair, &["-fsync", "file"]), "old", &pair.second.path("d"), 1);
}

#[test]
fn of_many_files_the_file_system_is_waited_for_before_the_first_has_its_name() {
    let pair = Pair::over_ssh();
    pair.first.file("d/old", "");
    pair.in_step();
    for n in 0..40 {
        pair.first.file(format!("d/n{n}"), format!("content {n}"));
    }
    let calls = calls(&pair, &[]);
    let first = (0..40)
        .min_by_key(|n| calls.iter().position(|call| call.publishes(&format!("n{n}"))).unwrap_or(usize::MAX))
        .expect("there are some");
    in_order(&calls, &format!("n{first}"), &pair.second.path("d"), 1);
    assert!(calls.iter().any(|call| call.name == "syncfs"), "{calls:?}");
}

#[test]
fn a_renamed_directory_is_noted_before_and_on_the_disk_before_it_is_told_of() {
    let pair = Pair::over_ssh();
    pair.first.file("d/m/f", "1").file("d/m/g", "2");
    pair.in_step();
    pair.first.rename("d/m", "d/z");
    in_order(&calls(&pair, &[]), "z", &pair.second.path("d"), 0);
}

#[test]
fn without_fsync_nothing_is_waited_for_but_the_end() {
    let pair = Pair::over_ssh();
    pair.first.file("d/old", "");
    pair.in_step();
    pair.first.file("d/new", "x".repeat(5000));
    let calls = calls(&pair, &["-fsync", "none"]);
    assert!(calls.iter().any(|call| call.publishes("new")));
    assert!(!calls.iter().any(Call::syncs_content), "{calls:?}");
}
