//! Deploying: the vfsync that runs here is copied to the other host's user, over the connection that is there, and used.
//!
//! It goes to `$XDG_DATA_HOME/vfsync/bin` (`~/.local/share` without that) under a name with its version and digest, so
//! that several hosts with several versions do not take each other's away. Each time it is looked at before it is used: its
//! checksum, and whether it runs. A copy is written under a name of its own and renamed when it is whole, so that several
//! that deploy at once do not disturb each other. Copies that nobody has used for a month go when another one comes.
//!
//! What runs there is POSIX shell on one line without single quotes, so that any login shell hands it on.

use super::error::{Quoted, TransportError, escape};
use super::ssh::{Answer, SshLink, quoted};
use sha2::{Digest, Sha256};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::OnceLock;

/// How a line begins that is meant for us, whatever else a login shell prints.
const MARK: &str = "vfsync-deploy ";
/// The program of this process, also after another one has been installed in its place.
const OURSELVES: &str = "/proc/self/exe";

/// Why there is no copy at the far end.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The connection does not run commands.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The far end runs something else than it was told.
    #[error(
        "{peer} does not run what it takes to copy vfsync there (is there a forced command in authorized_keys?): take \
         deploy out, and install vfsync there{}",
        Quoted(said)
    )]
    NotRun {
        /// The host.
        peer: String,
        /// What it said.
        said: String,
    },
    /// The far end is another machine.
    #[error(
        "{peer} is {theirs}, and this vfsync is for {ours}: install one for {theirs} there, and name it with servercmd \
         where it is not on the PATH"
    )]
    OtherMachine {
        /// The host.
        peer: String,
        /// What it is.
        theirs: String,
        /// What it would have to be.
        ours: String,
    },
    /// The program of this process cannot be read.
    #[error("cannot read the program of this process to copy it to another host: install vfsync there")]
    OwnProgram(#[source] io::Error),
    /// The copy cannot be written.
    #[error(
        "cannot copy vfsync to {place} at {peer}: make room or set the rights there, or install vfsync and name it with \
         servercmd{}",
        Quoted(said)
    )]
    NotWritten {
        /// The host.
        peer: String,
        /// Where it was to be.
        place: String,
        /// What was said there.
        said: String,
    },
    /// What was written there is not what was sent.
    #[error(
        "what was copied to {place} at {peer} did not arrive as it was sent; try again, and look at the disk there"
    )]
    Changed {
        /// The host.
        peer: String,
        /// Where it was to be.
        place: String,
    },
    /// The copy does not run there.
    #[error("vfsync was copied to {place} at {peer}, and does not run there: {why}{}", Quoted(said))]
    DoesNotRun {
        /// The host.
        peer: String,
        /// Where it is.
        place: String,
        /// Why, as far as that can be told, and what to do.
        why: &'static str,
        /// What was said there.
        said: String,
    },
}

/// What was found at the far end, or done there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployed {
    /// It was there.
    Present,
    /// It was copied to this path.
    Copied(String),
}

/// Sees to it that the vfsync of this process is at the far end of a link, and has the link use it.
///
/// # Errors
/// With what failed there and what to do.
pub async fn deploy(link: &mut SshLink, own: &Own) -> Result<Deployed, DeployError> {
    let found = Found::read(&link.shell(&look(own), &[]).await?, link.peer())?;
    if !runs_on(&found.machine) {
        let ours = format!("Linux {}", std::env::consts::ARCH);
        return Err(DeployError::OtherMachine { peer: link.peer().to_owned(), theirs: found.machine, ours });
    }
    let deployed = match found.is_whole {
        true => {
            found.check(own, link.peer())?;
            Deployed::Present
        }
        false => {
            let program = tokio::task::spawn_blocking(|| std::fs::read(OURSELVES)).await;
            let program = program.map_err(io::Error::other).and_then(|read| read);
            let program = program.map_err(DeployError::OwnProgram)?;
            tracing::info!(peer = link.peer(), path = found.place, n = program.len(), "copying vfsync there");
            let copied = Found::read(&link.shell(&put(own), &program).await?, link.peer())?;
            copied.check(own, link.peer())?;
            Deployed::Copied(found.place.clone())
        }
    };
    link.use_server(quoted(&found.place));
    Ok(deployed)
}

/// What can be told of the program of this process.
#[derive(Debug)]
pub struct Own {
    /// In hexadecimal digits.
    sha256: String,
    /// As `cksum` prints them.
    crc_and_size: String,
    /// Whether it needs a loader that the other host may not have.
    is_static: bool,
}

impl Own {
    /// Reads it, once in the life of this process. To be called before there is a connection, which does not wait for ever.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn read() -> Result<&'static Own, DeployError> {
        static OWN: OnceLock<Own> = OnceLock::new();
        if let Some(own) = OWN.get() {
            return Ok(own);
        }
        let read = tokio::task::spawn_blocking(|| std::fs::read(OURSELVES).map(|bytes| Own::of(&bytes)));
        let own = read.await.map_err(io::Error::other).and_then(|read| read);
        let own = own.map_err(DeployError::OwnProgram)?;
        Ok(OWN.get_or_init(|| own))
    }

    fn of(program: &[u8]) -> Own {
        let sha256 = Sha256::digest(program).iter().map(|byte| format!("{byte:02x}")).collect();
        let crc_and_size = format!("{} {}", cksum(program), program.len());
        Own { sha256, crc_and_size, is_static: !asks_for_a_loader(program) }
    }

    fn name(&self) -> String {
        format!("vfsync-{}-{}", env!("CARGO_PKG_VERSION"), &self.sha256[..16])
    }
}

/// Returns the CRC that `cksum` of POSIX prints: the polynomial of Ethernet, highest bit first, with the length behind.
fn cksum(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04c1_1db7;
    let table: [u32; 256] = std::array::from_fn(|byte| {
        (0..8).fold((byte as u32) << 24, |crc, _| (crc << 1) ^ if crc >> 31 == 1 { POLYNOMIAL } else { 0 })
    });
    let step = |crc: u32, byte: u8| (crc << 8) ^ table[usize::from((crc >> 24) as u8 ^ byte)];
    let length = bytes.len().to_le_bytes();
    let digits = length.len() - length.iter().rev().take_while(|&&byte| byte == 0).count();
    !bytes.iter().chain(&length[..digits]).fold(0, |crc, &byte| step(crc, byte))
}

/// Returns whether an ELF file of 64 bits names a loader (PT_INTERP): it runs only where that and its libraries are.
fn asks_for_a_loader(program: &[u8]) -> bool {
    let number = |at: usize, length: usize| {
        let bytes = program.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0_usize, |number, &byte| number << 8 | usize::from(byte)))
    };
    let (Some(table), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2)) else {
        return false;
    };
    const PT_INTERP: usize = 3;
    (0..count).any(|nth| {
        let at = nth.checked_mul(size).and_then(|offset| offset.checked_add(table));
        at.filter(|at| *at < program.len()).and_then(|at| number(at, 4)) == Some(PT_INTERP)
    })
}

/// Returns whether a machine, as `uname -sm` calls it, runs this program.
fn runs_on(machine: &str) -> bool {
    let Some(("Linux", processor)) = machine.split_once(' ') else { return false };
    match std::env::consts::ARCH {
        "powerpc64" => matches!(processor, "ppc64" | "ppc64le"),
        "x86" => matches!(processor, "i386" | "i486" | "i586" | "i686" | "x86_64"),
        "arm" => processor.starts_with("armv") || processor == "aarch64",
        ours => ours == processor,
    }
}

/// Returns what both scripts begin with: where the copy belongs, and how a checksum is made.
fn beginning(own: &Own) -> String {
    format!(
        "d=${{XDG_DATA_HOME:-$HOME/.local/share}}; case $d in /*) ;; *) d=$HOME/.local/share;; esac; \
         d=$d/vfsync/bin; f=$d/{name}; \
         has() {{ command -v \"$1\" > /dev/null; }}; \
         sum() {{ if has sha256sum; then sha256sum; elif has openssl; then openssl dgst -sha256 -r; \
         else cksum; fi < \"$1\" 2> /dev/null; }}; \
         whole() {{ case $(sum \"$1\") in {sha256}*|\"{crc}\"|\"{crc} \"*) true;; *) false;; esac; }}; \
         say() {{ echo \"{MARK}$*\"; }}; \
         run() {{ v=$(\"$f\" --version 2>&1); say runs $? \"$v\"; }}; \
         say place \"$f\"; say machine \"$(uname -sm)\"; ",
        name = own.name(),
        sha256 = own.sha256,
        crc = own.crc_and_size,
    )
}

/// Returns the script that looks for the copy.
fn look(own: &Own) -> String {
    let script = "if [ -f \"$f\" ] && whole \"$f\"; then say whole; touch \"$f\" 2> /dev/null; run; fi";
    one_line(beginning(own) + script)
}

/// Returns the script that takes the copy from its standard input.
fn put(own: &Own) -> String {
    let random = RandomState::new().hash_one(std::process::id());
    let script = format!(
        "t=$d/.new-{random:016x}; \
         if mkdir -p \"$d\" && cat > \"$t\" && chmod 755 \"$t\"; then \
         if whole \"$t\"; then mv -f \"$t\" \"$f\" && say whole && run; else say changed; fi; fi; \
         rm -f \"$t\"; \
         find \"$d\" -type f -name \"vfsync-*\" -mtime +30 -exec rm -f {{}} + 2>/dev/null; \
         find \"$d\" -type f -name \".new-*\" -mtime +1 -exec rm -f {{}} + 2>/dev/null"
    );
    one_line(beginning(own) + &script)
}

/// Returns the command that runs a script. Every login shell takes a word in single quotes as it is, provided that there is
/// nothing in it that one of them takes otherwise.
fn one_line(script: String) -> String {
    debug_assert!(!script.contains(['\'', '!', '\n', '\\']), "{script}");
    script
}

/// What a script at the far end said.
#[derive(Debug, Default)]
struct Found {
    place: String,
    machine: String,
    /// The copy is there, and what it should be.
    is_whole: bool,
    /// What arrived is not what was sent.
    is_changed: bool,
    /// How the copy ended that was asked for its version, and what it said.
    ran: Option<(String, String)>,
    said: String,
}

impl Found {
    fn read(answer: &Answer, peer: &str) -> Result<Found, DeployError> {
        let stdout = escape(&answer.stdout);
        let mut found = Found { said: escape(&answer.stderr), ..Found::default() };
        for line in stdout.lines().filter_map(|line| line.strip_prefix(MARK)) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "place" => found.place = rest.to_owned(),
                "machine" => found.machine = rest.trim().to_owned(),
                "whole" => found.is_whole = true,
                "changed" => found.is_changed = true,
                "runs" => {
                    let (code, version) = rest.split_once(' ').unwrap_or((rest, ""));
                    found.ran = Some((code.to_owned(), version.to_owned()));
                }
                _ => {}
            }
        }
        if !found.place.starts_with('/') || found.machine.is_empty() {
            let said = format!("{stdout}{}", found.said);
            return Err(DeployError::NotRun { peer: peer.to_owned(), said });
        }
        Ok(found)
    }

    /// Checks that the copy is there and runs.
    fn check(&self, own: &Own, peer: &str) -> Result<(), DeployError> {
        let (peer, place) = (peer.to_owned(), self.place.clone());
        if self.is_changed {
            return Err(DeployError::Changed { peer, place });
        }
        if !self.is_whole {
            return Err(DeployError::NotWritten { peer, place, said: self.said.clone() });
        }
        let why = match &self.ran {
            Some((code, version)) if code == "0" && version.starts_with("vfsync ") => return Ok(()),
            Some((code, _)) if code == "126" => {
                "is the file system mounted with noexec? Install vfsync elsewhere, and name it with servercmd"
            }
            Some(_) | None if !own.is_static => {
                "it needs libraries that are not there. Deploy a static one, as `cargo xtask build` makes it"
            }
            Some(_) | None => "install vfsync there, and name it with servercmd",
        };
        let said = self.ran.as_ref().map(|(_, said)| said.clone()).unwrap_or_default();
        Err(DeployError::DoesNotRun { peer, place, why, said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_that_the_tools_print() {
        let own = Own::of(b"123456789");
        assert_eq!(own.crc_and_size, "930766865 9");
        assert_eq!(own.sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225");
        assert_eq!(Own::of(b"").crc_and_size, "4294967295 0");
        assert!(own.name().starts_with("vfsync-") && own.name().ends_with("-15e2b0d3c33891eb"));
    }

    #[test]
    fn scripts_reach_any_shell_as_one_word() {
        for script in [look(&Own::of(b"x")), put(&Own::of(b"x"))] {
            assert!(!script.contains(['\'', '!', '\n', '\\']), "{script}");
            assert_eq!(quoted(&script), format!("'{script}'"));
        }
    }

    #[test]
    fn only_the_same_kind_of_machine_is_taken() {
        assert!(runs_on(&format!("Linux {}", std::env::consts::ARCH)));
        assert!(!runs_on("FreeBSD x86_64") && !runs_on("Linux sparc64") && !runs_on(""));
    }

    #[test]
    fn a_loader_is_found_and_nonsense_names_none() {
        assert!(
            !asks_for_a_loader(b"") && !asks_for_a_loader(&[0xff; 100]) && !asks_for_a_loader(&[3; 4096])
        );
        let mut elf = vec![0; 64 + 2 * 56];
        (elf[32], elf[54], elf[56]) = (64, 56, 2);
        assert!(!asks_for_a_loader(&elf));
        elf[64 + 56] = 3;
        assert!(asks_for_a_loader(&elf));
    }

    #[test]
    fn what_a_login_shell_says_before_is_no_answer() {
        let answer = |text: &str| Answer { stdout: text.as_bytes().to_vec(), stderr: b"e".to_vec() };
        let found = Found::read(
            &answer("Welcome!\nvfsync-deploy place /h/x y\nvfsync-deploy machine Linux x86_64\n"),
            "p",
        );
        let found = found.unwrap();
        assert_eq!((found.place.as_str(), found.machine.as_str()), ("/h/x y", "Linux x86_64"));
        assert!(
            !found.is_whole && matches!(found.check(&Own::of(b""), "p"), Err(DeployError::NotWritten { .. }))
        );
        assert!(matches!(Found::read(&answer("\0vfsync\n"), "p"), Err(DeployError::NotRun { .. })));
    }
}
