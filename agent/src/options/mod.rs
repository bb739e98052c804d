//! [`Options`] are what a person wants of a run, read once from the command line and from profiles. Nothing below this
//! module looks at flags.
//!
//! The way: [`table`] knows every name; a [`Setting`] is one name with its value and where it was written;
//! [`Options::from_settings`] turns settings into meaning, or into an error that says where the mistake is.

mod build;
mod setting;
pub mod table;
#[cfg(test)]
mod tests;
mod value;

pub use build::RootsWanted;
pub use setting::{OptionError, Origin, Setting};

use crate::core::filter::Pathspec;
use crate::core::path::RelPath;
use crate::roots::Root;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The roots, in the order given.
    pub roots: Vec<Root>,
    /// How each replica is kept.
    pub replica: ReplicaOptions,
    /// What is synchronised, and who wins; [`Options::link`] gives it for one link.
    pub policy: Policy,
    /// How other hosts are reached.
    pub ssh: SshOptions,
    /// How this command behaves.
    pub command: CommandOptions,
    /// Lines to tell the user: options that have no effect, values that look mistaken.
    pub notices: Vec<String>,
}

/// How a replica is kept. These hold for every link of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaOptions {
    /// Whether stamps are trusted, or every file is read.
    pub fastcheck: FastCheck,
    /// Whether symbolic links are synchronised or left out.
    pub links: SymbolicLinks,
    /// Paths that must exist, or nothing is done.
    pub mountpoints: Vec<RelPath>,
    /// Whether an emptied root stops everything.
    pub confirm_big_delete: bool,
    /// How many deletions stop everything.
    pub max_delete: MaxDelete,
    /// How many deletions this run may do whatever the guards say.
    pub confirm_deletes: Option<u64>,
    /// When data is made durable.
    pub fsync: Fsync,
    /// How changes are noticed.
    pub capture: CaptureChoice,
    /// How many threads read and hash; `None` is one a processor.
    pub max_threads: Option<u32>,
}

/// How changed files are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FastCheck {
    /// A file whose stamp is unchanged is unchanged.
    Stamps,
    /// Every file is read.
    Contents,
}

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SymbolicLinks {
    /// They are synchronised as links.
    Synchronise,
    /// They are left out.
    LeaveOut,
}

/// How many deletions are alarming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MaxDelete {
    /// More than half of the entries, and more than 100.
    Default,
    /// More than so many.
    Count(u64),
    /// More than this share of the entries, in percent.
    Percent(u8),
}

/// When data is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fsync {
    /// Once a batch, before anything of it gets a visible name.
    Batch,
    /// Each file.
    File,
    /// When the kernel likes: a power cut can cost data.
    None,
}

/// How changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptureChoice {
    /// The best that passes its self-test.
    Auto,
    /// The best of the eBPF ones.
    Ebpf,
    /// eBPF on kprobes.
    Kprobe,
    /// eBPF on trampolines.
    Fentry,
    /// eBPF on system call tracepoints.
    Tracepoint,
    /// fanotify marks.
    Fanotify,
    /// Only by scanning.
    Scan,
}

/// What is synchronised, and who wins, before it is known which link it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Only these paths; empty means everything. None lies below another.
    pub paths: Vec<RelPath>,
    /// What is left out.
    pub ignore: Vec<Pathspec>,
    /// Exceptions to `ignore`.
    pub ignorenot: Vec<Pathspec>,
    /// Which attributes are synchronised.
    pub attributes: AttributeOptions,
    /// Who wins conflicts.
    pub prefer: Option<Preferred>,
    /// Who wins every difference.
    pub force: Option<Preferred>,
    /// What may not be done in each root, in the order of the roots.
    pub forbidden: Vec<Forbidden>,
}

/// Which attributes are synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributeOptions {
    /// The permission bits, a mask.
    pub perms: u32,
    /// Whether owners are.
    pub owner: bool,
    /// Whether groups are.
    pub group: bool,
    /// Whether owners and groups go by number instead of by name.
    pub numeric_ids: bool,
    /// Whether modification times are.
    pub times: bool,
}

/// Who wins, among all roots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preferred {
    /// The root at this place in [`Options::roots`].
    Root(usize),
    /// The side with the newer modification time.
    Newer,
    /// The side with the older modification time.
    Older,
}

/// Who wins, on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Preference {
    /// The first root.
    First,
    /// The second root.
    Second,
    /// The side with the newer modification time.
    Newer,
    /// The side with the older modification time.
    Older,
}

/// What may not be done in a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forbidden {
    /// Nothing may be created.
    pub creation: bool,
    /// Nothing may be deleted.
    pub deletion: bool,
    /// Nothing may be changed or deleted.
    pub update: bool,
}

/// What one link between two roots synchronises, and who wins. It travels to the peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkOptions {
    /// Only these paths; empty means everything. None lies below another.
    pub paths: Vec<RelPath>,
    /// What is left out.
    pub ignore: Vec<Pathspec>,
    /// Exceptions to `ignore`.
    pub ignorenot: Vec<Pathspec>,
    /// Which attributes are synchronised.
    pub attributes: AttributeOptions,
    /// Who wins conflicts.
    pub prefer: Option<Preference>,
    /// Who wins every difference.
    pub force: Option<Preference>,
    /// What may not be done in the first root.
    pub forbidden_in_first: Forbidden,
    /// What may not be done in the second root.
    pub forbidden_in_second: Forbidden,
}

/// How other hosts are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshOptions {
    /// The ssh program.
    pub command: PathBuf,
    /// More arguments for it, split.
    pub args: Vec<OsString>,
    /// The vfsync on the other host.
    pub server_command: String,
}

/// How a command behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOptions {
    /// Whether anything may be asked.
    pub batch: bool,
    /// How much is printed.
    pub verbosity: Verbosity,
    /// Whether standard output gets JSON.
    pub json: bool,
    /// Whether to use colours; `None` is where they fit.
    pub color: Option<bool>,
    /// Whether only to show what would be done.
    pub dry_run: bool,
    /// Whether only to connect.
    pub test_server: bool,
    /// How often to start again.
    pub repeat: Repeat,
    /// How often to try failed paths again.
    pub retry: u32,
    /// The log file, absolute, if there is to be one.
    pub logfile: Option<PathBuf>,
    /// Where archives lie.
    pub state_dir: PathBuf,
}

/// How much is printed. Each prints what those before it print, and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Only conflicts and errors.
    Silent,
    /// Also what was done.
    Terse,
    /// Also notices, progress and the summary.
    Normal,
}

/// How often a pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Once.
    Once,
    /// Again and again, with this pause.
    Every(Duration),
}

impl Options {
    /// Returns what holds for the link between the first root and `roots[peer]`.
    pub fn link(&self, peer: usize) -> LinkOptions {
        let on_this_link = |preferred: Option<Preferred>| match preferred? {
            Preferred::Root(0) => Some(Preference::First),
            Preferred::Root(root) => (root == peer).then_some(Preference::Second),
            Preferred::Newer => Some(Preference::Newer),
            Preferred::Older => Some(Preference::Older),
        };
        let forbidden = |root: usize| self.policy.forbidden.get(root).copied().unwrap_or_default();
        LinkOptions {
            paths: self.policy.paths.clone(),
            ignore: self.policy.ignore.clone(),
            ignorenot: self.policy.ignorenot.clone(),
            attributes: self.policy.attributes,
            prefer: on_this_link(self.policy.prefer),
            force: on_this_link(self.policy.force),
            forbidden_in_first: forbidden(0),
            forbidden_in_second: forbidden(peer),
        }
    }
}
