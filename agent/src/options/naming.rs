//! How roots go together, and how options name them.

use super::{Forbidden, OptionError, Preferred, RootsWanted, Setting};
use crate::roots::Root;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Checks that the roots can be kept the same by one command.
pub(super) fn check_roots(roots: &[Root], wanted: RootsWanted) -> Result<(), OptionError> {
    let refuse = |why: String| Err(OptionError::Roots(why));
    match (roots.len(), wanted) {
        (0, _) => {
            return refuse(
                "no roots are given: two are needed, as in `vfsync sync /data ssh://host//data`".into(),
            );
        }
        (1, _) => {
            return refuse(format!(
                "only one root is given ({}), two are needed; a Unison profile is named with -profile NAME",
                roots[0]
            ));
        }
        (2, _) | (_, RootsWanted::Star) => {}
        (n, RootsWanted::Pair) => {
            return refuse(format!("{n} roots are given; this command takes two, `vfsync live` takes more"));
        }
    }
    for (at, peer) in roots.iter().enumerate().skip(1) {
        if roots[..at].contains(peer) {
            return refuse(format!("both roots are the same, {peer}; name two different folders"));
        }
        if !roots[0].is_local() && !peer.is_local() {
            return refuse(format!(
                "neither {} nor {peer} is on this host; run vfsync on one of the two",
                roots[0]
            ));
        }
    }
    Ok(())
}

/// The roots under the names that options may call them by.
pub(super) struct Named<'a> {
    pub(super) written: &'a [OsString],
    pub(super) roots: &'a [Root],
}

impl Named<'_> {
    /// Reads who wins.
    pub(super) fn preferred(&self, setting: &Setting) -> Result<Preferred, OptionError> {
        match &setting.value[..] {
            b"newer" => Ok(Preferred::Newer),
            b"older" => Ok(Preferred::Older),
            _ => self.find(setting).map(Preferred::Root),
        }
    }

    /// Reads what may not be done, for each root.
    pub(super) fn forbidden(&self, settings: &[Setting]) -> Result<Vec<Forbidden>, OptionError> {
        let mut forbidden = vec![Forbidden::default(); self.roots.len()];
        for setting in settings {
            let (at, more) = self.forbidden_at(setting)?;
            let root = &mut forbidden[at];
            root.creation |= more.creation;
            root.deletion |= more.deletion;
            root.update |= more.update;
        }
        Ok(forbidden)
    }

    /// Reads what may not be done, and in which root.
    pub(super) fn forbidden_at(&self, setting: &Setting) -> Result<(usize, Forbidden), OptionError> {
        let none = Forbidden::default();
        let forbidden = match setting.def.name {
            "nocreation" | "nocreationpartial" => Forbidden { creation: true, ..none },
            "nodeletion" | "nodeletionpartial" => Forbidden { deletion: true, ..none },
            _ => Forbidden { update: true, ..none },
        };
        Ok((self.find(setting)?, forbidden))
    }

    /// Finds the root that an option names: as it was written, or by the start or the end of its path, or by the start
    /// of its host, if only one root fits.
    fn find(&self, setting: &Setting) -> Result<usize, OptionError> {
        let name = &setting.value[..];
        let is_exactly = |at: usize| {
            let same = Root::parse(OsStr::from_bytes(name)).is_ok_and(|root| same(&root, &self.roots[at]));
            self.written[at].as_bytes() == name || same
        };
        let fits = |at: usize| match &self.roots[at] {
            Root::Local(path) => path_fits(path, name),
            Root::Remote(remote) => path_fits(&remote.path, name) || remote.host.as_bytes().starts_with(name),
        };
        let all = 0..self.roots.len();
        let mut found: Vec<usize> = all.clone().filter(|&at| is_exactly(at)).collect();
        if found.is_empty() && !name.is_empty() {
            found = all.filter(|&at| fits(at)).collect();
        }
        match found[..] {
            [at] => Ok(at),
            [] => Err(setting.refused("it names none of the roots".into())),
            _ => Err(setting.refused("it fits more than one of the roots".into())),
        }
    }
}

fn same(a: &Root, b: &Root) -> bool {
    match (a, b) {
        (Root::Local(a), Root::Local(b)) => match (std::path::absolute(a), std::path::absolute(b)) {
            (Ok(a), Ok(b)) => a.components().eq(b.components()),
            _ => a == b,
        },
        _ => a == b,
    }
}

fn path_fits(path: &Path, name: &[u8]) -> bool {
    let path = path.as_os_str().as_bytes();
    let path = path.strip_suffix(b"/").filter(|p| !p.is_empty()).unwrap_or(path);
    let name = name.strip_suffix(b"/").filter(|n| !n.is_empty()).unwrap_or(name);
    path.starts_with(name) || path.ends_with(name)
}
