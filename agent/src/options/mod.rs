//! [`Options`] are what a person wants of a run, read once from the command line and from profiles. Nothing below this
//! module looks at flags.
//!
//! The way: [`table`] knows every name; a [`Setting`] is one name with its value and where it was written;
//! [`Options::from_settings`] turns settings into meaning, or into an error that says where the mistake is.

mod build;
mod link;
mod naming;
mod setting;
pub mod table;
#[cfg(test)]
mod tests;
mod value;

pub use build::RootsWanted;
pub use link::{AttributeOptions, Compress, Forbidden, LinkOptions, Order, Policy, Preference, Preferred};
pub use setting::{OptionError, Origin, Setting};

use crate::core::extended::ExtendedNames;
use crate::core::filter::{FilterError, Pathspec};
use crate::core::path::RelPath;
use crate::roots::Root;
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
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
    /// Which extended attributes are looked at.
    pub extended: ExtendedOptions,
    /// Directories whose children are not looked at again once they are known.
    pub immutable: Vec<Pathspec>,
    /// Exceptions to `immutable`.
    pub immutable_not: Vec<Pathspec>,
    /// Paths that must exist, or nothing is done.
    pub mountpoints: Vec<RelPath>,
    /// Whether an emptied root stops everything.
    pub confirm_big_delete: bool,
    /// How many deletions stop everything.
    pub max_delete: MaxDelete,
    /// How many deletions this run may do whatever the guards say.
    pub confirm_deletes: Option<u64>,
    /// No link passes deletions on, so that there is nothing to guard against.
    pub deletions_stay: bool,
    /// Of which paths old versions are kept.
    pub backup: BackupOptions,
    /// When data is made durable.
    pub fsync: Fsync,
    /// How changes are noticed.
    pub capture: CaptureChoice,
    /// How many bytes of events the kernel keeps for this process, if not as many as usual. Never taken from a peer.
    #[serde(skip)]
    pub capture_ring: Option<u32>,
    /// How many threads read and hash; `None` is one a processor.
    pub max_threads: Option<u32>,
}

impl Default for ReplicaOptions {
    fn default() -> ReplicaOptions {
        ReplicaOptions {
            fastcheck: FastCheck::Stamps,
            links: SymbolicLinks::Synchronise,
            extended: ExtendedOptions::default(),
            immutable: Vec::new(),
            immutable_not: Vec::new(),
            mountpoints: Vec::new(),
            confirm_big_delete: true,
            max_delete: MaxDelete::Default,
            confirm_deletes: None,
            deletions_stay: false,
            backup: BackupOptions::default(),
            fsync: Fsync::Batch,
            capture: CaptureChoice::Auto,
            capture_ring: None,
            max_threads: None,
        }
    }
}

/// Which extended attributes are looked at, and whether access lists are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExtendedOptions {
    /// Whether extended attributes are.
    pub xattrs: bool,
    /// Whether access lists are.
    pub acl: bool,
    /// Names that are left out.
    pub ignore: Vec<Pathspec>,
    /// Exceptions to `ignore`, and to what is left out without being told.
    pub ignorenot: Vec<Pathspec>,
}

impl ExtendedOptions {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// When they are too many or too large together.
    pub fn names(&self) -> Result<ExtendedNames, FilterError> {
        let patterns = (&self.ignore[..], &self.ignorenot[..]);
        ExtendedNames::new(self.xattrs.then_some(patterns), self.acl)
    }

    /// Returns whether a replica that is looked at like this can have a link that wants what `other` says: what one end
    /// sees and the other does not would look like a change.
    pub fn suits(&self, link: &LinkOptions, other: &ReplicaOptions) -> bool {
        let wants = link.attributes.xattrs || link.attributes.acl;
        !wants || self.number() == other.extended.number()
    }

    /// Returns a number that stands for what is looked at; 0 is nothing.
    pub fn number(&self) -> u64 {
        if !self.xattrs && !self.acl {
            return 0;
        }
        let patterns = if self.xattrs { Some((&self.ignore, &self.ignorenot)) } else { None };
        let bytes =
            postcard::to_stdvec(&(patterns, self.acl)).expect("options can be encoded: they are sent, too");
        let hash = blake3::hash(&bytes);
        u64::from_be_bytes(*hash.as_bytes().first_chunk().expect("a hash is longer")).max(1)
    }
}

/// Of which paths old versions are kept, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOptions {
    /// Of these.
    pub which: Vec<Pathspec>,
    /// But not of these.
    pub not: Vec<Pathspec>,
    /// How many of each path.
    pub most: u32,
    /// What comes before the name; `$VERSION` is the number of the version.
    pub prefix: String,
    /// What comes after it.
    pub suffix: String,
    /// Where they lie, if not below the state directory. Each end has a place of its own: this one does not travel.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
}

impl Default for BackupOptions {
    fn default() -> BackupOptions {
        BackupOptions {
            which: Vec::new(),
            not: Vec::new(),
            most: 2,
            prefix: ".bak.$VERSION.".to_owned(),
            suffix: String::new(),
            folder: None,
        }
    }
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

/// How other hosts are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshOptions {
    /// The ssh program.
    pub command: PathBuf,
    /// More arguments for it, split.
    pub args: Vec<OsString>,
    /// The vfsync on the other host.
    pub server_command: String,
    /// Whether this vfsync is copied there, and that is the one.
    pub deploy: bool,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Debug {
    /// What a person should look at.
    No,
    /// Also each path.
    Paths,
    /// Everything.
    Everything,
}

/// How a command behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOptions {
    /// Whether anything may be asked.
    pub batch: bool,
    /// Whether only conflicts are asked about one by one.
    pub auto: bool,
    /// How much is printed.
    pub verbosity: Verbosity,
    /// How much is logged on standard error beside that.
    pub debug: Debug,
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
    /// The folder of the change log, absolute, if there is to be one.
    pub changelog_dir: Option<PathBuf>,
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
    /// Once, and then as things change.
    Watch,
}

impl SshOptions {
    /// Returns the options that say this, `args` split at spaces as Unison does: a backslash takes the next character
    /// literally.
    pub fn new(command: PathBuf, args: &OsStr, server_command: String) -> SshOptions {
        let args = value::words(args.as_bytes()).into_iter().map(OsString::from_vec).collect();
        SshOptions { command, args, server_command, deploy: false }
    }
}

impl std::str::FromStr for CaptureChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<CaptureChoice, String> {
        value::capture(text.as_bytes())
    }
}
