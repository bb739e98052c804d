//! The mounts that this process sees, from `/proc/self/mountinfo`: which device number the kernel itself uses, which
//! part of a file system is where, what is mounted below a root.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its number: another mount at the same place has another one.
    pub id: u32,
    /// The device number of the superblock: major and minor. Not what `stat` shows on btrfs.
    pub dev: (u32, u32),
    /// Which directory of the file system is mounted.
    pub root: PathBuf,
    /// Where.
    pub point: PathBuf,
    /// The file system's type.
    pub kind: String,
}

impl Mount {
    /// Returns whether others can change this file system without this kernel seeing it.
    pub fn is_remote(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "ceph" | "afs" | "virtiofs"
        ) || self.kind.starts_with("fuse")
            || self.kind.starts_with("gfs2")
            || self.kind.starts_with("ocfs2")
            || self.kind.starts_with("lustre")
    }

    /// Returns whether this is a window into the kernel and no place for files.
    pub fn is_pseudo(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "proc"
                | "sysfs"
                | "cgroup"
                | "cgroup2"
                | "devpts"
                | "debugfs"
                | "tracefs"
                | "securityfs"
                | "bpf"
                | "mqueue"
                | "pstore"
                | "configfs"
                | "fusectl"
                | "binfmt_misc"
                | "hugetlbfs"
                | "autofs"
                | "nsfs"
                | "efivarfs"
                | "selinuxfs"
                | "rpc_pipefs"
                | "nfsd"
        )
    }

    /// Returns the device number in the kernel's own encoding.
    pub fn kernel_dev(&self) -> u32 {
        self.dev.0 << 20 | self.dev.1
    }
}

/// Reads the mounts of this process.
pub fn read() -> std::io::Result<Vec<Mount>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Parses mount information; lines that make no sense are left out.
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n').filter_map(line).collect()
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let dev = std::str::from_utf8(fields.nth(1)?).ok()?;
    let (major, minor) = dev.split_once(':')?;
    let (root, point) = (unescape(fields.next()?), unescape(fields.next()?));
    let kind = fields.skip_while(|f| *f != b"-").nth(1)?;
    Some(Mount {
        id,
        dev: (major.parse().ok()?, minor.parse().ok()?),
        root,
        point,
        kind: String::from_utf8_lossy(kind).into_owned(),
    })
}

/// Undoes `\040` and its like.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Returns the mount that an absolute path without symlinks lies in.
pub fn of_path<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    // The last of those at one point covers the others.
    mounts.iter().filter(|m| path.starts_with(&m.point)).max_by_key(|m| m.point.as_os_str().as_bytes().len())
}

/// Returns, by index, the roots of which others change a part without this kernel seeing it: the root itself, or what is
/// mounted below it, lies on another machine.
pub fn changed_by_others(roots: &[PathBuf], mounts: &[Mount]) -> Vec<usize> {
    let is_remote = |root: &PathBuf| {
        of_path(mounts, root).is_some_and(Mount::is_remote)
            || mounts.iter().any(|mount| mount.is_remote() && mount.point.starts_with(root))
    };
    (0..roots.len()).filter(|&root| is_remote(&roots[root])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_understood() {
        let mounts = parse(
            b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw\n\
              37 36 0:40 / / rw - btrfs /dev/sda rw\ngarbage\n",
        );
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/mnt 2"));
        assert_eq!(mounts[0].root, Path::new("/mnt1"));
        assert_eq!(mounts[0].kind, "ext3");
        assert_eq!(mounts[0].kernel_dev(), 98 << 20);
        assert_eq!(of_path(&mounts, Path::new("/mnt 2/a")).unwrap().kind, "ext3");
        assert_eq!(of_path(&mounts, Path::new("/mnt 22/a")).unwrap().kind, "btrfs");
    }

    #[test]
    fn the_last_mount_at_a_point_is_the_one_that_is_seen() {
        let mounts = parse(b"1 0 8:1 / /a rw - ext4 x rw\n2 1 8:2 / /a rw - xfs y rw\n");
        assert_eq!(of_path(&mounts, Path::new("/a/b")).unwrap().kind, "xfs");
    }

    #[test]
    fn a_root_with_a_remote_mount_below_it_is_changed_by_others() {
        let mounts = parse(
            b"1 0 8:1 / / rw - ext4 x rw\n2 1 0:50 / /a/deep/nfs rw - nfs4 h:/ rw\n3 1 0:51 / /b rw - fuse.sshfs h: rw\n",
        );
        let roots = ["/a", "/a/other", "/b/c", "/d"].map(PathBuf::from);
        assert_eq!(changed_by_others(&roots, &mounts), [0, 2]);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            parse(&text);
        }
    }
}
