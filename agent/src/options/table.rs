//! The table of every option: Unison's and vfsync's own. The command line, its help, profiles and the notices about
//! what has no effect all come from it.

use Kind::{Bool, BoolOrDefault, Int, List, Pathspecs, Text};
use Status::{Instead, Later, NoEffect, Works};
use Topic::{Advanced, Basic, Own};

/// What values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`; on the command line the name alone means true.
    Bool,
    /// `true`, `false` or `default`.
    BoolOrDefault,
    /// A number as OCaml writes them: `493`, `0o755`, `0x1ff`, `-1`.
    Int,
    /// Any text; the last one given counts.
    Text,
    /// Any text; all that are given count.
    List,
    /// A pathspec; all that are given count.
    Pathspecs,
}

/// What this version makes of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It does what it says.
    Works,
    /// It is accepted with a line of notice, which gives this reason for ignoring it.
    NoEffect(&'static str),
    /// It is an error, except with these values, which say what vfsync does anyway.
    Later(&'static [&'static str]),
    /// It is an error that says what to do instead.
    Instead(&'static str),
}

/// Where an option stands in the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Unison's basic options.
    Basic,
    /// Unison's advanced options.
    Advanced,
    /// What vfsync has beyond Unison.
    Own,
}

/// One line of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct OptionDef {
    /// The name, without dashes before it.
    pub name: &'static str,
    /// Other names for the same.
    pub aliases: &'static [&'static str],
    /// What values it takes.
    pub kind: Kind,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// What this version makes of it.
    pub status: Status,
    /// Where it stands in the help.
    pub topic: Topic,
    /// What it does.
    pub help: &'static str,
}

/// Returns the option of this name or alias.
pub fn find(name: &str) -> Option<&'static OptionDef> {
    OPTIONS.iter().find(|def| def.name == name || def.aliases.contains(&name))
}

/// Returns the name that comes nearest to one that does not exist, if any comes near.
pub fn nearest(name: &str) -> Option<&'static str> {
    let useful = OPTIONS.iter().filter(|def| !matches!(def.status, Instead(_)));
    useful
        .flat_map(|def| std::iter::once(&def.name).chain(def.aliases))
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()), *known))
        .filter(|(distance, known)| {
            let typo = *distance <= known.len().min(name.len()).div_ceil(4) && *distance < name.len();
            // Somebody thought that the start of a name would do.
            typo || (name.len() >= 3 && known.starts_with(name))
        })
        .min()
        .map(|(_, known)| known)
}

const fn def(
    topic: Topic,
    name: &'static str,
    kind: Kind,
    value: &'static str,
    status: Status,
    help: &'static str,
) -> OptionDef {
    OptionDef { name, aliases: &[], kind, value, status, topic, help }
}

impl OptionDef {
    const fn also(mut self, aliases: &'static [&'static str]) -> OptionDef {
        self.aliases = aliases;
        self
    }
}

const PLATFORM: Status = NoEffect("it is for platforms or mechanisms that vfsync does not have");
const NO_COPYPROG: Status = NoEffect("vfsync copies by itself");
const NO_GUI: Status = NoEffect("vfsync has no such screen");
const NEVER: Status = Later(&[]);
const FALSE_ONLY: Status = Later(&["false", "default"]);

/// Every option.
#[rustfmt::skip] // A table: one line each.
pub static OPTIONS: &[OptionDef] = &[
    // What Unison calls basic.
    def(Basic, "batch", Bool, "", Works, "Ask nothing: do what is clear, skip and report conflicts"),
    def(Basic, "auto", Bool, "", Works, "Ask one by one only about conflicts, and once before all of it is done"),
    def(Basic, "silent", Bool, "", Works, "Print only conflicts and errors; implies batch"),
    def(Basic, "terse", Bool, "", Works, "Print no progress and no summary"),
    def(Basic, "times", Bool, "", Works, "Synchronise modification times"),
    def(Basic, "owner", Bool, "", Works, "Synchronise owners, by name unless numericids"),
    def(Basic, "group", Bool, "", Works, "Synchronise groups, by name unless numericids"),
    def(Basic, "perms", Int, "MASK", Works, "Permission bits to synchronise, such as 0o1777 or -1 for all [default: 0o1777]"),
    def(Basic, "root", List, "ROOT", Works, "A root, instead of an argument"),
    def(Basic, "path", List, "PATH", Works, "Synchronise only this path below the roots; may be repeated"),
    def(Basic, "ignore", Pathspecs, "SPEC", Works, "Leave out what matches, such as 'Name *.tmp' or 'Path cache'; may be repeated"),
    def(Basic, "ignorenot", Pathspecs, "SPEC", Works, "Exceptions to ignore, for the same path; may be repeated"),
    def(Basic, "nocreation", List, "ROOT", Works, "Create nothing in this root"),
    def(Basic, "nodeletion", List, "ROOT", Works, "Delete nothing in this root"),
    def(Basic, "noupdate", List, "ROOT", Works, "Change and delete nothing in this root"),
    def(Basic, "i", Bool, "", NO_GUI, "Choose a profile interactively"),
    def(Basic, "doc", Text, "TOPIC", Instead("see `vfsync --help` and `vfsync man`"), "Print a section of the manual"),
    // What Unison calls advanced.
    def(Advanced, "prefer", Text, "ROOT", Works, "Resolve conflicts towards this root, or `newer` or `older`"),
    def(Advanced, "force", Text, "ROOT", Works, "Resolve every difference towards this root, or `newer` or `older`"),
    def(Advanced, "fastcheck", BoolOrDefault, "BOOL", Works, "Find changed files by their stamps; `false` reads every file [default: true]"),
    def(Advanced, "links", BoolOrDefault, "BOOL", Works, "Synchronise symbolic links; `false` leaves them out [default: true]"),
    def(Advanced, "numericids", Bool, "", Works, "Owners and groups by number, not by name").also(&["numericIds"]),
    def(Advanced, "mountpoint", List, "PATH", Works, "Stop unless this path exists in both roots; may be repeated"),
    def(Advanced, "confirmbigdel", Bool, "", Works, "Stop when a whole root was emptied [default: true]").also(&["confirmbigdeletes"]),
    def(Advanced, "testserver", Bool, "", Works, "Connect to the other host, say so and exit").also(&["testServer"]),
    def(Advanced, "servercmd", Text, "PATH", Works, "Where vfsync lies on the other host [default: vfsync]"),
    def(Advanced, "sshcmd", Text, "PATH", Works, "The ssh program [default: ssh]"),
    def(Advanced, "sshargs", Text, "ARGS", Works, "More arguments for ssh, such as -C"),
    def(Advanced, "log", Bool, "", Works, "Write a log file [default: if logfile is set]"),
    def(Advanced, "logfile", Text, "FILE", Works, "The log file; a relative path lies in the state directory"),
    def(Advanced, "repeat", Text, "SECONDS", Works, "Start again this many seconds after each pass, or `watch`: follow changes as `live` does; implies batch"),
    def(Advanced, "retry", Int, "N", Works, "Try failed paths again up to N times"),
    def(Advanced, "maxthreads", Int, "N", Works, "How many threads scan at once [default: one a processor, at least 2 and at most 16]"),
    def(Advanced, "color", BoolOrDefault, "BOOL", Works, "Colours on the terminal"),
    def(Advanced, "include", Text, "NAME", Works, "Read a profile here"),
    def(Advanced, "source", Text, "FILE", Works, "Read a file of options here"),
    def(Advanced, "acl", Bool, "", Works, "Synchronise POSIX access lists, those whom they name by name unless numericids"),
    def(Advanced, "atomic", Pathspecs, "SPEC", NEVER, "Directories that are in conflict as a whole"),
    def(Advanced, "follow", Pathspecs, "SPEC", NEVER, "Treat symbolic links as what they point to"),
    def(Advanced, "forcepartial", Pathspecs, "SPEC -> ROOT", Works, "force, for some paths"),
    def(Advanced, "preferpartial", Pathspecs, "SPEC -> ROOT", Works, "prefer, for some paths"),
    def(Advanced, "ignorecase", BoolOrDefault, "BOOL", FALSE_ONLY, "Names that differ only in case are the same"),
    def(Advanced, "immutable", Pathspecs, "SPEC", Works, "Directories whose known children are not looked at again"),
    def(Advanced, "immutablenot", Pathspecs, "SPEC", Works, "Exceptions to immutable"),
    def(Advanced, "merge", Pathspecs, "SPEC", NEVER, "A command that merges conflicting files"),
    def(Advanced, "moves-experimental", Bool, "", NoEffect("vfsync needs no option for renames"), "Detect renames"),
    def(Advanced, "nocreationpartial", Pathspecs, "SPEC -> ROOT", Works, "nocreation, for some paths"),
    def(Advanced, "nodeletionpartial", Pathspecs, "SPEC -> ROOT", Works, "nodeletion, for some paths"),
    def(Advanced, "noupdatepartial", Pathspecs, "SPEC -> ROOT", Works, "noupdate, for some paths"),
    def(Advanced, "xattrs", Bool, "", Works, "Synchronise extended attributes: the user's, and others that xattrignorenot names"),
    def(Advanced, "xattrignore", Pathspecs, "SPEC", Works, "Extended attributes to leave out, such as 'Path comment' for user.comment; may be repeated"),
    def(Advanced, "xattrignorenot", Pathspecs, "SPEC", Works, "Exceptions to it, such as 'Path !trusted.x' for trusted.x; may be repeated"),
    def(Advanced, "backup", Pathspecs, "SPEC", Works, "Keep old versions of what is replaced or deleted").also(&["mirror"]),
    def(Advanced, "backupnot", Pathspecs, "SPEC", Works, "Exceptions to backup").also(&["mirrornot"]),
    def(Advanced, "backupcurr", Pathspecs, "SPEC", NEVER, "Keep the current version too").also(&["backupcurrent"]),
    def(Advanced, "backupcurrnot", Pathspecs, "SPEC", NEVER, "Exceptions to backupcurr").also(&["backupcurrentnot"]),
    def(Advanced, "backuploc", Text, "WHERE", Later(&["central"]), "Where backups go").also(&["backuplocation"]),
    def(Advanced, "backupdir", Text, "DIR", Works, "Where the versions of this end lie [default: backup in the state directory]"),
    def(Advanced, "backupprefix", Text, "TEXT", Works, "What stands before the name of a version [default: .bak.$VERSION.]"),
    def(Advanced, "backupsuffix", Text, "TEXT", Works, "What stands behind it"),
    def(Advanced, "backups", Bool, "", FALSE_ONLY, "Keep backups of everything"),
    def(Advanced, "maxbackups", Int, "N", Works, "How many versions of each path are kept [default: 2]").also(&["backupversions", "mirrorversions"]),
    def(Advanced, "copyonconflict", Bool, "", FALSE_ONLY, "Keep a copy of the losing side"),
    def(Advanced, "dontchmod", Bool, "", FALSE_ONLY, "Never use chmod"),
    def(Advanced, "ignorearchives", Bool, "", FALSE_ONLY, "Forget what is known and start as at a first pass"),
    def(Advanced, "maxsizethreshold", Int, "KB", Works, "Skip files of this many thousand bytes or more"),
    def(Advanced, "confirmmerge", Bool, "", NoEffect("this version does not merge"), "Ask before a merge is taken"),
    def(Advanced, "xferbycopying", Bool, "", Works, "Copy what the receiving root has elsewhere; `false` sends it [default: true]"),
    def(Advanced, "rsync", Bool, "", NoEffect("vfsync chooses how to transfer"), "Transfer only what changed within a file"),
    def(Advanced, "stream", Bool, "", NoEffect("vfsync always streams"), "Stream contents"),
    def(Advanced, "maxerrors", Int, "N", NoEffect("vfsync goes on with the other paths"), "Errors before a directory is given up"),
    def(Advanced, "sortbysize", Bool, "", Works, "Small files first"),
    def(Advanced, "sortnewfirst", Bool, "", Works, "New files first"),
    def(Advanced, "sortfirst", Pathspecs, "SPEC", Works, "What goes first"),
    def(Advanced, "sortlast", Pathspecs, "SPEC", Works, "What goes last"),
    def(Advanced, "addprefsto", Text, "FILE", NoEffect("vfsync writes no profiles"), "Where new preferences are written"),
    def(Advanced, "contactquietly", Bool, "", NoEffect("vfsync contacts quietly anyway"), "Do not say what is contacted"),
    def(Advanced, "clientHostName", Text, "NAME", NoEffect("archives are not named after hosts"), "The name of this host in archives"),
    def(Advanced, "rootalias", List, "ALIAS", NoEffect("a root is known by itself, not by its name"), "Other names of a root"),
    def(Advanced, "showarchive", Bool, "", NoEffect("`vfsync doctor` shows it"), "Print the archive's name").also(&["showArchiveName"]),
    def(Advanced, "ignorelocks", Bool, "", NoEffect("locks end with the process that holds them"), "Ignore stale locks"),
    def(Advanced, "key", Text, "KEY", NO_GUI, "A key for this profile"),
    def(Advanced, "label", Text, "TEXT", NO_GUI, "A label for this profile"),
    def(Advanced, "diff", Text, "COMMAND", NO_GUI, "The command that shows differences"),
    def(Advanced, "dumbtty", Bool, "", NO_GUI, "Do not use the terminal's abilities"),
    def(Advanced, "copyprog", Text, "COMMAND", NO_COPYPROG, "External copy program"),
    def(Advanced, "copyprogrest", Text, "COMMAND", NO_COPYPROG, "External copy program, to go on with a copy"),
    def(Advanced, "copythreshold", Int, "KB", NO_COPYPROG, "When the external program is used"),
    def(Advanced, "copymax", Int, "N", NO_COPYPROG, "How many external copies at once"),
    def(Advanced, "watch", Bool, "", NoEffect("`vfsync live` follows changes"), "Use the file system watcher"),
    def(Advanced, "rsrc", BoolOrDefault, "BOOL", PLATFORM, "Resource forks"),
    def(Advanced, "fat", Bool, "", PLATFORM, "FAT file systems"),
    def(Advanced, "unicode", BoolOrDefault, "BOOL", PLATFORM, "Compare names as Unicode"),
    def(Advanced, "halfduplex", Bool, "", PLATFORM, "One direction at a time"),
    def(Advanced, "killserver", Bool, "", PLATFORM, "End the server").also(&["killServer"]),
    def(Advanced, "listen", List, "HOST", PLATFORM, "Listen on this address").also(&["host"]),
    def(Advanced, "socket", Text, "PORT", PLATFORM, "Listen on this port"),
    def(Advanced, "ui", Text, "UI", PLATFORM, "The user interface"),
    def(Advanced, "height", Int, "N", PLATFORM, "Lines of the window"),
    def(Advanced, "addversionno", Bool, "", PLATFORM, "Put the version into the command on the other host"),
    def(Advanced, "ignoreinodenumbers", Bool, "", PLATFORM, "Do not look at inode numbers").also(&["pretendwin"]),
    def(Advanced, "fastercheckUNSAFE", Bool, "", PLATFORM, "Do not read new files"),
    def(Advanced, "dumparchives", Bool, "", NoEffect("archives are not written as text"), "Write archives as text"),
    def(Advanced, "debug", List, "MODULE", Works, "Say on standard error what is done; `all` and `verbose` in every detail. VFSYNC_LOG picks parts"),
    def(Advanced, "selftest", Bool, "", Instead("`vfsync doctor` tests what this machine can do"), "Test Unison"),
    // What vfsync has beyond Unison.
    def(Own, "profile", Text, "PROFILE", Works, "Read a Unison profile: a file, or a name under ~/.unison"),
    def(Own, "dry-run", Bool, "", Works, "Show what would be done, and do nothing").also(&["dryrun"]),
    def(Own, "json", Bool, "", Works, "One JSON object a line on standard output, what people read on standard error"),
    def(Own, "max-delete", Text, "N|N%", Works, "Stop when a pass would delete more [default: 50%, and more than 100]"),
    def(Own, "confirm-deletes", Int, "N", Works, "Allow this pass up to N deletions"),
    def(Own, "capture", Text, "TIER", Works, "How changes are noticed: auto, ebpf, kprobe, fentry, tracepoint, fanotify, scan [default: auto]"),
    def(Own, "capture-ring", Text, "SIZE", Works, "Room in the kernel for events that wait, from 64K to 256M; more than it holds has everything looked at [default: 4M]"),
    def(Own, "fsync", Text, "WHEN", Works, "When data is made durable: batch, file, none [default: batch]"),
    def(Own, "changelog-dir", Text, "DIR", Works, "Note each change with its time there, in a file for each day of the week"),
    def(Own, "state-dir", Text, "DIR", Works, "Where archives lie [default: /var/lib/vfsync, or ~/.local/state/vfsync without root]"),
    def(Own, "compress", Text, "HOW", Works, "Compress what is sent: auto (on slow connections), none, zstd, zstd:LEVEL [default: auto]"),
    def(Own, "bwlimit", Text, "RATE", Works, "Send no faster, in bytes a second, such as 500K or 2M; 0 is no limit"),
    def(Own, "deploy", Bool, "", Works, "Copy this vfsync to the other host's user where it is missing or another one, and use it"),
    def(Own, "channels", Int, "N", NEVER, "SSH channels for data"),
];
