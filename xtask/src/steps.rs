//! The steps of the demonstration: a change of each kind, on either side.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

/// Where a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the first replica.
    A,
    /// In the second.
    B,
}

/// One change.
pub struct Step {
    /// Where.
    pub side: Side,
    /// What, in a few words.
    pub what: &'static str,
    /// The paths of which an event must come, one of them at least.
    pub paths: &'static [&'static str],
    /// Does it, below a root.
    pub act: fn(&Path) -> io::Result<()>,
}

/// Returns the steps, in order: each builds on those before.
pub fn all() -> Vec<Step> {
    let step = |side, what, paths, act| Step { side, what, paths, act };
    vec![
        step(Side::A, "create notes.txt", &["notes.txt"], |r| fs::write(r.join("notes.txt"), "one\n")),
        step(Side::B, "edit notes.txt", &["notes.txt"], |r| fs::write(r.join("notes.txt"), "one, edited\n")),
        step(Side::A, "append to notes.txt", &["notes.txt"], |r| append(&r.join("notes.txt"), b"two\n")),
        step(Side::B, "append to notes.txt", &["notes.txt"], |r| append(&r.join("notes.txt"), b"three\n")),
        step(Side::A, "replace notes.txt by a rename", &["notes.txt"], |r| {
            fs::write(r.join(".notes.new"), "a new file under the old name\n")?;
            fs::rename(r.join(".notes.new"), r.join("notes.txt"))
        }),
        step(Side::B, "rename notes.txt to letter.txt", &["notes.txt", "letter.txt"], |r| {
            fs::rename(r.join("notes.txt"), r.join("letter.txt"))
        }),
        step(Side::A, "chmod 0600 letter.txt", &["letter.txt"], |r| chmod(&r.join("letter.txt"), 0o600)),
        step(Side::B, "chmod 0755 letter.txt", &["letter.txt"], |r| chmod(&r.join("letter.txt"), 0o755)),
        step(Side::A, "symlink latest to letter.txt", &["latest"], |r| {
            symlink("letter.txt", r.join("latest"))
        }),
        step(Side::B, "mkdir photos", &["photos"], |r| fs::create_dir(r.join("photos"))),
        step(Side::A, "create photos/cat.raw, 3 MB", &["photos/cat.raw"], |r| {
            fs::write(r.join("photos/cat.raw"), noise(3_000_000))
        }),
        step(Side::B, "mkdir and create photos/2026/dog.raw", &["photos/2026", "photos/2026/dog.raw"], |r| {
            fs::create_dir(r.join("photos/2026"))?;
            fs::write(r.join("photos/2026/dog.raw"), noise(10_000))
        }),
        step(Side::A, "rename the folder photos to pictures", &["photos", "pictures"], |r| {
            fs::rename(r.join("photos"), r.join("pictures"))
        }),
        step(Side::B, "truncate pictures/cat.raw to 1000", &["pictures/cat.raw"], |r| {
            fs::File::options().write(true).open(r.join("pictures/cat.raw"))?.set_len(1000)
        }),
        step(Side::B, "rename pictures/2026 to 2026", &["pictures/2026", "2026"], |r| {
            fs::rename(r.join("pictures/2026"), r.join("2026"))
        }),
        step(Side::A, "delete letter.txt", &["letter.txt"], |r| fs::remove_file(r.join("letter.txt"))),
        step(Side::B, "delete the folder pictures", &["pictures"], |r| {
            fs::remove_dir_all(r.join("pictures"))
        }),
    ]
}

fn append(path: &Path, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(&mut fs::File::options().append(true).open(path)?, bytes)
}

fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Returns bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}
