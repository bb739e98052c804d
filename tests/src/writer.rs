//! A [`Writer`] changes a directory as a busy program does, and knows what must be in it in the end.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use crate::Tree;

/// A program that writes in the background.
pub struct Writer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Written>>,
}

/// What a writer leaves behind: each of its files with its content.
pub struct Written {
    tree: Tree,
    files: BTreeMap<String, String>,
    /// How many operations it did.
    pub operations: u64,
}

impl Writer {
    /// Starts one in a directory of its own. The same seed makes the same operations, as far as it gets.
    pub fn start(tree: Tree, seed: u64) -> Writer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut written = Written { tree, files: BTreeMap::new(), operations: 0 };
            let mut random = Random(seed);
            while !stopped.load(Ordering::Relaxed) {
                written.operate(&mut random);
                // A breath, or two processors are busy with nothing but this.
                std::thread::sleep(std::time::Duration::from_micros(500));
            }
            written
        });
        Writer { stop, thread: Some(thread) }
    }

    /// Stops it, after the operation at hand.
    pub fn stop(mut self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it is stopped once");
        thread.join().expect("a writer does not fail")
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A test that has failed takes the tree away: what the writer says to that is of no interest.
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Written {
    fn operate(&mut self, random: &mut Random) {
        self.operations += 1;
        let content = format!("{} {}", self.operations, "x".repeat(random.below(3000)));
        let name = |random: &mut Random| format!("d{}/f{}", random.below(5), random.below(40));
        let path = name(random);
        match random.below(10) {
            // Written in place.
            0..3 => {
                self.tree.file(&path, &content);
                self.files.insert(path, content);
            }
            // Written beside it and renamed over it, as editors do.
            3..6 => {
                let aside = format!("{path}.new");
                self.tree.file(&aside, &content).rename(&aside, &path);
                self.files.insert(path, content);
            }
            6 => {
                self.tree.append(&path, "more");
                self.files.entry(path).or_default().push_str("more");
            }
            7 => {
                if self.files.remove(&path).is_some() {
                    self.tree.remove(&path);
                }
            }
            8 => {
                let to = name(random);
                if to != path
                    && let Some(content) = self.files.remove(&path)
                {
                    self.tree.rename(&path, &to);
                    self.files.insert(to, content);
                }
            }
            // A whole directory goes.
            _ => {
                if self.operations.is_multiple_of(20) {
                    let dir = format!("d{}", random.below(5));
                    if self.tree.has(&dir) {
                        self.tree.remove(&dir);
                        self.files.retain(|path, _| !path.starts_with(&format!("{dir}/")));
                    }
                }
            }
        }
    }

    /// Asserts that a tree holds exactly these files.
    #[track_caller]
    pub fn is_all_in(&self, tree: &Tree) {
        let mut wrong = Vec::new();
        for (path, content) in &self.files {
            if !tree.has(path) {
                wrong.push(format!("{path} is missing"));
            } else if &tree.text(path) != content {
                wrong.push(format!("{path} holds {:.20}, not {content:.20}", tree.text(path)));
            }
        }
        let there: Vec<String> = (0..5)
            .map(|d| format!("d{d}"))
            .filter(|dir| tree.has(dir))
            .flat_map(|dir| tree.below(&dir).names().into_iter().map(move |name| format!("{dir}/{name}")))
            .filter(|path| !self.files.contains_key(path))
            .map(|path| format!("{path} should not be there"))
            .collect();
        wrong.extend(there);
        assert!(wrong.is_empty(), "{}:\n{}", tree.root().display(), crate::snapshot::shortened(&wrong));
    }
}

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> usize {
        // Knuth's constants; the low bits are the poor ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((self.0 >> 33) % bound).expect("a small number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_for;

    #[test]
    fn a_writer_knows_what_it_wrote() {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(dir.path());
        let writer = Writer::start(tree.clone(), 7);
        wait_for("some files", || (tree.snapshot().len() > 100).then_some(()));
        let written = writer.stop();
        written.is_all_in(&tree);
        tree.file("d0/not-its-own", "");
        std::panic::catch_unwind(|| written.is_all_in(&tree)).unwrap_err();
    }
}
