//! An [`Event`] is a hint: look at this path again. What is true is on the disk.

use crate::core::path::RelPath;
use std::fmt;

/// What happened to a path, as far as capture knows. Wrong or too many hints do no harm; a missing one is
/// [`EventKind::Lost`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Content is being written: the file may be in the middle of it.
    Write,
    /// A descriptor that could write was closed.
    CloseWrite,
    /// A regular file appeared, or was moved in.
    Create,
    /// A directory appeared, or was moved in.
    Mkdir,
    /// A fifo, socket or device node appeared.
    Mknod,
    /// A symbolic link appeared.
    Symlink,
    /// An existing inode got this name.
    Link,
    /// A name that was no directory went, or was moved out.
    Delete,
    /// A directory went, or was moved out.
    Rmdir,
    /// The path was renamed to [`Event::to`].
    Rename,
    /// The path and [`Event::to`] have changed places.
    Exchange,
    /// The size was changed.
    Truncate,
    /// Mode, owner, times or flags were changed.
    Attributes,
    /// An extended attribute or ACL was changed.
    Xattr,
    /// Something in this directory changed, and which name is not known: list it. Also for a path that something was
    /// renamed to or from, when which of the two is not known.
    List,
    /// An inode with several names was changed by a name outside: look at its other names ([`Event::inode`]). The
    /// path is the root.
    Elsewhere,
    /// Events were lost: look at everything. The path is the root.
    Lost(Loss),
}

/// Why events were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The ring buffer was full.
    RingFull,
    /// A program had no memory to put its record together.
    Scratch,
    /// A path could not be followed, or is too deep or too long.
    Path,
    /// The programs' table of running system calls was full.
    Tasks,
    /// The kernel skipped programs because others of the kind were running.
    Skipped,
    /// A record made no sense.
    Garbled,
    /// The root was moved, replaced or mounted over.
    RootChanged,
    /// The file system does not report what others do to it.
    Remote,
    /// The kernel's queue of notifications was full.
    QueueFull,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Loss::RingFull => "the ring buffer was full",
            Loss::Scratch => "a program had no memory for its record",
            Loss::Path => "a path could not be followed",
            Loss::Tasks => "too many system calls at once",
            Loss::Skipped => "the kernel skipped programs",
            Loss::Garbled => "a record made no sense",
            Loss::RootChanged => "the root was moved or mounted over",
            Loss::Remote => "the file system changes from elsewhere",
            Loss::QueueFull => "the notification queue was full",
        })
    }
}

/// One hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which root, as an index into those given to [`super::Capture::open`].
    pub root: usize,
    /// What happened.
    pub kind: EventKind,
    /// Where, below the root.
    pub path: RelPath,
    /// The other path of [`EventKind::Rename`] and [`EventKind::Exchange`].
    pub to: Option<RelPath>,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Whether everything below the path (or `to`) is to be looked at: it was moved there as a whole.
    pub recursive: bool,
    /// Whether the last writer has closed the file, so that no quiet period is needed.
    pub closed: bool,
    /// Whether someone has it open for writing or mapped: look again later, as stores to a mapping may go unseen.
    pub writers: bool,
    /// Whether the inode has several names.
    pub linked: bool,
    /// The inode number as the kernel has it; 0 if not known.
    pub inode: u64,
    /// The process, in the kernel's numbering; 0 if not known.
    pub pid: u32,
    /// The name of the task, as the kernel has it: up to 15 bytes.
    pub comm: Vec<u8>,
}

impl Event {
    /// Returns a bare event of this kind.
    pub fn new(root: usize, kind: EventKind, path: RelPath) -> Event {
        Event {
            root,
            kind,
            path,
            to: None,
            is_dir: false,
            recursive: false,
            closed: false,
            writers: false,
            linked: false,
            inode: 0,
            pid: 0,
            comm: Vec::new(),
        }
    }

    /// Returns "look at everything of this root".
    pub fn lost(root: usize, why: Loss) -> Event {
        Event { is_dir: true, recursive: true, ..Event::new(root, EventKind::Lost(why), RelPath::root()) }
    }
}
