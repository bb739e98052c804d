//! From settings to [`Options`]: each setting is applied to a draft, in order; then what needs all of them is settled.

use super::naming::{Named, check_roots};
use super::setting::Followed;
use super::*;
use super::{table::Kind, value};
use crate::core::extended::names_access_lists;
use crate::environment::Environment;

/// What starts vfsync on the other host where nothing else is said.
const DEFAULT_SERVER: &str = "vfsync";

/// How many roots a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootsWanted {
    /// Two.
    Pair,
    /// Two, or more: the first is linked to each of the others.
    Star,
}

/// What has been said so far, not yet settled.
struct Draft {
    options: Options,
    written_roots: Vec<(OsString, Origin)>,
    force: Option<Setting>,
    prefer: Option<Setting>,
    forbidding: Vec<Setting>,
    /// Options for some paths, each with its pattern.
    partial: Vec<(Setting, Pathspec)>,
    log: Option<bool>,
    logfile: Option<PathBuf>,
    changelog_dir: Option<PathBuf>,
    state_dir: Option<PathBuf>,
    /// Which vfsync is used on the other host has been said.
    server_is_named: bool,
}

impl Options {
    /// Turns settings into what they mean. Profiles come first, the command line after them.
    pub fn from_settings(
        settings: &[Setting],
        wanted: RootsWanted,
        environment: &Environment,
    ) -> Result<Options, OptionError> {
        let mut draft = Draft::new();
        let mut errors = Vec::new();
        for setting in settings {
            let done = setting.check_status().and_then(|followed| match followed {
                Followed::Apply => draft.apply(setting),
                Followed::Notice(line) => {
                    draft.options.notices.push(line);
                    Ok(())
                }
                Followed::Already => Ok(()),
            });
            errors.extend(done.err());
        }
        OptionError::all_of(errors)?;
        draft.settle(wanted, environment)
    }
}

impl Draft {
    fn new() -> Draft {
        let attributes = AttributeOptions {
            perms: 0o1777,
            owner: false,
            group: false,
            numeric_ids: false,
            times: false,
            xattrs: false,
            acl: false,
        };
        Draft {
            options: Options {
                roots: Vec::new(),
                replica: ReplicaOptions::default(),
                policy: Policy {
                    paths: Vec::new(),
                    ignore: Vec::new(),
                    ignorenot: Vec::new(),
                    attributes,
                    copy_local: true,
                    compress: Compress::Auto,
                    bwlimit: None,
                    prefer: None,
                    force: None,
                    forbidden: Vec::new(),
                    force_partial: Vec::new(),
                    prefer_partial: Vec::new(),
                    forbidden_partial: Vec::new(),
                    too_large: None,
                    order: Order::default(),
                },
                ssh: SshOptions::new("ssh".into(), OsStr::new(""), DEFAULT_SERVER.into()),
                command: CommandOptions {
                    batch: false,
                    auto: false,
                    verbosity: Verbosity::Normal,
                    debug: Debug::No,
                    json: false,
                    color: None,
                    dry_run: false,
                    test_server: false,
                    repeat: Repeat::Once,
                    retry: 0,
                    logfile: None,
                    changelog_dir: None,
                    state_dir: PathBuf::new(),
                },
                notices: Vec::new(),
            },
            written_roots: Vec::new(),
            force: None,
            prefer: None,
            forbidding: Vec::new(),
            partial: Vec::new(),
            log: None,
            logfile: None,
            changelog_dir: None,
            state_dir: None,
            server_is_named: false,
        }
    }

    fn apply(&mut self, setting: &Setting) -> Result<(), OptionError> {
        let result = match setting.def.kind {
            Kind::Bool => value::bool(&setting.value).map(|on| self.apply_bool(setting.def.name, on)),
            Kind::BoolOrDefault => value::bool_or_default(&setting.value)
                .map(|on| self.apply_bool_or_default(setting.def.name, on)),
            Kind::Int => self.apply_int(setting),
            Kind::Text | Kind::List => self.apply_text(setting),
            Kind::Pathspecs => return self.apply_pathspec(setting),
        };
        result.map_err(|why| setting.refused(why))
    }

    fn apply_bool(&mut self, name: &str, on: bool) {
        let Options { command, replica, ssh, policy: Policy { attributes, copy_local, order, .. }, .. } =
            &mut self.options;
        match name {
            "batch" => command.batch = on,
            "silent" if on => {
                command.batch = true;
                command.verbosity = Verbosity::Silent;
            }
            "terse" if on => command.verbosity = command.verbosity.min(Verbosity::Terse),
            "silent" | "terse" => {}
            "auto" => command.auto = on,
            "times" => attributes.times = on,
            "owner" => attributes.owner = on,
            "group" => attributes.group = on,
            "numericids" => attributes.numeric_ids = on,
            "xattrs" => replica.extended.xattrs = on,
            "acl" => replica.extended.acl = on,
            "confirmbigdel" => replica.confirm_big_delete = on,
            "xferbycopying" => *copy_local = on,
            "sortbysize" => order.by_size = on,
            "sortnewfirst" => order.new_first = on,
            "testserver" => command.test_server = on,
            "dry-run" => command.dry_run = on,
            "json" => command.json = on,
            "deploy" => ssh.deploy = on,
            "log" => self.log = Some(on),
            other => unreachable!("the table has no bool {other} that works"),
        }
    }

    fn apply_bool_or_default(&mut self, name: &str, on: Option<bool>) {
        let Options { command, replica, .. } = &mut self.options;
        match name {
            "fastcheck" => {
                replica.fastcheck = if on == Some(false) { FastCheck::Contents } else { FastCheck::Stamps }
            }
            "links" => {
                replica.links =
                    if on == Some(false) { SymbolicLinks::LeaveOut } else { SymbolicLinks::Synchronise };
            }
            "color" => command.color = on,
            other => unreachable!("the table has no bool or default {other} that works"),
        }
    }

    fn apply_int(&mut self, setting: &Setting) -> Result<(), value::Why> {
        let text = &setting.value;
        let Options { command, replica, policy, notices, .. } = &mut self.options;
        match setting.def.name {
            "perms" => {
                policy.attributes.perms = value::perms(text)?;
                if value::looks_octal(text) {
                    let digits = String::from_utf8_lossy(text);
                    notices.push(format!(
                        "perms = {digits} is a decimal number, as for Unison; octal is 0o{}",
                        &digits[1..]
                    ));
                }
            }
            // Unison counts in thousands, and takes every negative number for no limit.
            "maxsizethreshold" => {
                policy.too_large = u64::try_from(value::int(text)?).ok().map(|kb| kb.saturating_mul(1000));
            }
            "maxbackups" => replica.backup.most = value::count(text)?,
            "retry" => command.retry = value::count(text)?,
            "maxthreads" => replica.max_threads = Some(value::count(text)?).filter(|&n| n > 0),
            "confirm-deletes" => replica.confirm_deletes = Some(value::count(text)?),
            other => unreachable!("the table has no number {other} that works"),
        }
        Ok(())
    }

    fn apply_text(&mut self, setting: &Setting) -> Result<(), value::Why> {
        let text = &setting.value;
        let some = |text: &[u8]| (!text.is_empty()).then(|| setting.clone());
        let path_buf = || match &text[..] {
            [] => Err("it is empty".to_string()),
            bytes if bytes.contains(&0) => Err("it holds a NUL byte".to_string()),
            bytes => Ok(PathBuf::from(OsStr::from_bytes(bytes))),
        };
        let Options { command, replica, policy, ssh, .. } = &mut self.options;
        match setting.def.name {
            "root" => self.written_roots.push((OsString::from_vec(text.clone()), setting.origin.clone())),
            "path" => policy.paths.push(value::path(text)?),
            "mountpoint" => replica.mountpoints.push(value::path(text)?),
            "force" => self.force = some(text),
            "prefer" => self.prefer = some(text),
            "nocreation" | "nodeletion" | "noupdate" => self.forbidding.push(setting.clone()),
            "servercmd" => {
                ssh.server_command = server_command(text)?;
                self.server_is_named = !text.is_empty();
            }
            "sshcmd" if text.is_empty() => ssh.command = "ssh".into(),
            "sshcmd" => ssh.command = path_buf()?,
            "sshargs" => ssh.args = value::words(text).into_iter().map(OsString::from_vec).collect(),
            "backupdir" => {
                let folder = path_buf()?;
                let absolute = std::path::absolute(&folder);
                replica.backup.folder =
                    Some(absolute.map_err(|_| "the working directory cannot be told".to_owned())?);
            }
            "backupprefix" => replica.backup.prefix = part_of_a_name(text)?,
            "backupsuffix" => replica.backup.suffix = part_of_a_name(text)?,
            "debug" => {
                let wanted = match text.as_slice() {
                    b"all" | b"verbose" => Debug::Everything,
                    _ => Debug::Paths,
                };
                command.debug = command.debug.max(wanted);
            }
            "logfile" => self.logfile = Some(path_buf()?),
            "changelog-dir" => self.changelog_dir = Some(path_buf()?),
            "state-dir" => self.state_dir = Some(path_buf()?),
            "repeat" => {
                command.repeat = value::repeat(text)?;
                command.batch |= command.repeat != Repeat::Once;
            }
            "max-delete" => replica.max_delete = value::max_delete(text)?,
            "capture" => replica.capture = value::capture(text)?,
            "capture-ring" => replica.capture_ring = value::ring(text)?,
            "compress" => policy.compress = value::compress(text)?,
            "bwlimit" => policy.bwlimit = value::rate(text)?,
            "fsync" => replica.fsync = value::fsync(text)?,
            "profile" | "include" | "source" => return Err("profiles are read before options are".into()),
            other => unreachable!("the table has no text {other} that works"),
        }
        Ok(())
    }

    fn apply_pathspec(&mut self, setting: &Setting) -> Result<(), OptionError> {
        let (name, origin) = (setting.def.name, setting.origin.clone());
        let spec =
            Pathspec::parse(&setting.value).map_err(|fault| OptionError::Pattern { name, fault, origin })?;
        match name {
            "ignore" => self.options.policy.ignore.push(spec),
            "ignorenot" => self.options.policy.ignorenot.push(spec),
            "backup" => self.options.replica.backup.which.push(spec),
            "backupnot" => self.options.replica.backup.not.push(spec),
            "xattrignore" => self.options.replica.extended.ignore.push(spec),
            "xattrignorenot" => self.options.replica.extended.ignorenot.push(spec),
            "immutable" => self.options.replica.immutable.push(spec),
            "immutablenot" => self.options.replica.immutable_not.push(spec),
            "sortfirst" => self.options.policy.order.first.push(spec),
            "sortlast" => self.options.policy.order.last.push(spec),
            "forcepartial" | "preferpartial" | "nocreationpartial" | "nodeletionpartial"
            | "noupdatepartial" => {
                let Some(root) = spec.value.clone().filter(|root| !root.is_empty()) else {
                    let why = "it has to say which root is meant, as in \"BelowPath cache -> /data\"";
                    return Err(setting.refused(why.to_string()));
                };
                // What follows the arrow is a value like that of the option for all paths.
                self.partial.push((Setting { value: root, ..setting.clone() }, spec));
            }
            other => unreachable!("the table has no pathspec {other} that works"),
        }
        Ok(())
    }

    fn settle(mut self, wanted: RootsWanted, environment: &Environment) -> Result<Options, OptionError> {
        // Roots on the command line stand for those of the profile, they do not add to them.
        if self.written_roots.iter().any(|(_, origin)| *origin == Origin::CommandLine) {
            self.written_roots.retain(|(_, origin)| *origin == Origin::CommandLine);
        }
        let written: Vec<OsString> = self.written_roots.into_iter().map(|(root, _)| root).collect();
        let roots = written.iter().map(|root| Root::parse(root)).collect::<Result<Vec<_>, _>>()?;
        check_roots(&roots, wanted)?;
        let mut options = self.options;
        let named = Named { written: &written, roots: &roots };
        options.policy.force = self.force.map(|s| named.preferred(&s)).transpose()?;
        options.policy.prefer = self.prefer.map(|s| named.preferred(&s)).transpose()?;
        options.policy.forbidden = named.forbidden(&self.forbidding)?;
        for (setting, spec) in self.partial {
            match setting.def.name {
                "forcepartial" => options.policy.force_partial.push((spec, named.preferred(&setting)?)),
                "preferpartial" => options.policy.prefer_partial.push((spec, named.preferred(&setting)?)),
                _ => {
                    let (root, forbidden) = named.forbidden_at(&setting)?;
                    options.policy.forbidden_partial.push((spec, root, forbidden));
                }
            }
        }
        let partial = options.policy.force_partial.iter().chain(&options.policy.prefer_partial);
        let older_somewhere = partial.into_iter().any(|(_, preferred)| *preferred == Preferred::Older);
        let older = older_somewhere
            || [options.policy.force, options.policy.prefer].contains(&Some(Preferred::Older));
        if older && !options.policy.attributes.times {
            let why = "`older` compares modification times, so it needs -times to keep them in step";
            return Err(OptionError::Contradiction(why.into()));
        }
        options.policy.paths = outermost(std::mem::take(&mut options.policy.paths));
        let state_dir =
            self.state_dir.or_else(|| environment.state_dir.clone()).ok_or(OptionError::NoStateDir)?;
        options.command.state_dir =
            std::path::absolute(&state_dir).map_err(|_| OptionError::NoWorkingDirectory(state_dir))?;
        options.command.logfile = match (self.log, self.logfile) {
            (Some(false), _) | (None, None) => None,
            (Some(true), None) => Some(options.command.state_dir.join("vfsync.log")),
            (_, Some(file)) => Some(options.command.state_dir.join(file)),
        };
        options.command.changelog_dir =
            self.changelog_dir.map(|folder| options.command.state_dir.join(folder));
        if environment.no_color && options.command.color.is_none() {
            options.command.color = Some(false);
        }
        let extended = &mut options.replica.extended;
        // That is how Unison is told to carry them.
        extended.acl |= extended.xattrs && names_access_lists(&extended.ignorenot);
        options.policy.attributes.xattrs = extended.xattrs;
        options.policy.attributes.acl = extended.acl;
        if options.ssh.deploy && self.server_is_named {
            options.ssh.deploy = false;
            let why = "deploy has no effect: servercmd says which vfsync is used on the other host";
            options.notices.push(why.into());
        }
        let backup = &options.replica.backup;
        if backup.prefix.is_empty() && backup.suffix.is_empty() && backup.folder.is_some() {
            options.notices.push("without a prefix and a suffix one version of each path is kept".into());
        }
        options.roots = roots;
        Ok(options)
    }
}

/// The words that start vfsync on the other host go through a shell there, so nothing is quoted; but a newline or a
/// NUL is a mistake.
fn server_command(text: &[u8]) -> Result<String, value::Why> {
    match str::from_utf8(text) {
        Ok("") => Ok(DEFAULT_SERVER.into()),
        Ok(command) if !command.contains(|c: char| c.is_control()) => Ok(command.to_string()),
        _ => Err("it has to be UTF-8 without control characters".into()),
    }
}

/// What stands before or behind the name of a version.
fn part_of_a_name(text: &[u8]) -> Result<String, value::Why> {
    match str::from_utf8(text) {
        Ok(text) if !text.contains(|c: char| c == '/' || c.is_control()) => Ok(text.to_string()),
        _ => Err("it has to be UTF-8 without slashes and control characters".into()),
    }
}

/// Drops paths that lie below others.
fn outermost(mut paths: Vec<RelPath>) -> Vec<RelPath> {
    paths.sort();
    let mut kept: Vec<RelPath> = Vec::new();
    for path in paths {
        if !kept.last().is_some_and(|above| path.starts_with(above)) {
            kept.push(path);
        }
    }
    kept
}
