//! Whether this kernel preempts its own code, which decides which programs lose events: see [`Preemption::certain`].

use std::fs;

/// The kernel's preemption mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preemption {
    /// Kernel code is never interrupted by another task.
    None,
    /// Only where it offers it itself, or not at all.
    Voluntary,
    /// As late as possible, but it is.
    Lazy,
    /// Anywhere.
    Full,
    /// Could not be found out: taken for the worst.
    Unknown,
}

impl Preemption {
    /// Returns whether no program can be interrupted by another task's. Trampolines lose events where that can be,
    /// and kprobes do where a map is read from user space meanwhile.
    pub fn certain(self) -> bool {
        matches!(self, Preemption::None | Preemption::Voluntary)
    }

    /// Finds out the running kernel's mode: from debugfs, else from its configuration and command line.
    pub fn of_this_kernel() -> Preemption {
        if let Ok(text) = fs::read_to_string("/sys/kernel/debug/sched/preempt") {
            return Preemption::from_debugfs(&text);
        }
        let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        match configuration() {
            Some(config) => Preemption::from_configuration(&config, &command_line),
            None => Preemption::from_version(&rustix::system::uname().version().to_string_lossy()),
        }
    }

    /// Reads the kernel's own name for its build: `#1 SMP PREEMPT_DYNAMIC Debian 6.1.1-1 (2022-12-21)`. One that can be
    /// preempted at all says so.
    fn from_version(version: &str) -> Preemption {
        match version.split_whitespace().find(|word| word.starts_with("PREEMPT")) {
            None => Preemption::Voluntary,
            Some("PREEMPT" | "PREEMPT_RT") => Preemption::Full,
            Some("PREEMPT_LAZY") => Preemption::Lazy,
            Some(_) => Preemption::Unknown,
        }
    }

    /// Reads `none (voluntary) full lazy`.
    fn from_debugfs(text: &str) -> Preemption {
        text.split_whitespace()
            .find_map(|word| word.strip_prefix('(')?.strip_suffix(')'))
            .map_or(Preemption::Unknown, Preemption::from_name)
    }

    fn from_name(name: &str) -> Preemption {
        match name {
            "none" => Preemption::None,
            "voluntary" => Preemption::Voluntary,
            "lazy" => Preemption::Lazy,
            "full" => Preemption::Full,
            _ => Preemption::Unknown,
        }
    }

    fn from_configuration(config: &str, command_line: &str) -> Preemption {
        let has = |option: &str| {
            config.lines().any(|line| line.strip_prefix(option).is_some_and(|rest| rest.trim() == "=y"))
        };
        if has("CONFIG_PREEMPT_RT") {
            return Preemption::Full;
        }
        if has("CONFIG_PREEMPT_DYNAMIC")
            && let Some(name) =
                command_line.split_whitespace().filter_map(|w| w.strip_prefix("preempt=")).next_back()
        {
            return Preemption::from_name(name);
        }
        match () {
            _ if has("CONFIG_PREEMPT_NONE") => Preemption::None,
            _ if has("CONFIG_PREEMPT_VOLUNTARY") => Preemption::Voluntary,
            _ if has("CONFIG_PREEMPT_LAZY") => Preemption::Lazy,
            _ if has("CONFIG_PREEMPT") => Preemption::Full,
            _ => Preemption::Unknown,
        }
    }
}

impl std::fmt::Display for Preemption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Preemption::None => "none",
            Preemption::Voluntary => "voluntary",
            Preemption::Lazy => "lazy",
            Preemption::Full => "full",
            Preemption::Unknown => "unknown (taken for full)",
        })
    }
}

/// Returns the kernel's configuration, from where distributions leave it.
fn configuration() -> Option<String> {
    if let Ok(packed) = fs::read("/proc/config.gz") {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).ok()?;
        return Some(text);
    }
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    fs::read_to_string(format!("/boot/config-{release}"))
        .or_else(|_| fs::read_to_string(format!("/lib/modules/{release}/config")))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_beats_the_configuration_where_the_kernel_listens() {
        let dynamic = "CONFIG_PREEMPT_VOLUNTARY=y\nCONFIG_PREEMPT_DYNAMIC=y\n";
        assert_eq!(Preemption::from_configuration(dynamic, "ro quiet"), Preemption::Voluntary);
        assert_eq!(Preemption::from_configuration(dynamic, "ro preempt=full"), Preemption::Full);
        let fixed = "# CONFIG_PREEMPT is not set\nCONFIG_PREEMPT_NONE=y\n";
        assert_eq!(Preemption::from_configuration(fixed, "preempt=full"), Preemption::None);
        assert_eq!(Preemption::from_configuration("CONFIG_PREEMPT_RT=y", ""), Preemption::Full);
        assert_eq!(Preemption::from_configuration("", ""), Preemption::Unknown);
    }

    #[test]
    fn a_kernel_that_can_be_preempted_says_so_in_its_version() {
        assert_eq!(Preemption::from_version("#1 SMP Debian 5.10.1-1 (2021-01-01)"), Preemption::Voluntary);
        assert_eq!(Preemption::from_version("#1 SMP PREEMPT Fri"), Preemption::Full);
        assert_eq!(Preemption::from_version("#1 SMP PREEMPT_DYNAMIC Fri"), Preemption::Unknown);
    }

    #[test]
    fn debugfs_shows_the_mode_in_brackets() {
        assert_eq!(Preemption::from_debugfs("none (voluntary) full\n"), Preemption::Voluntary);
        assert_eq!(Preemption::from_debugfs("full (lazy)\n"), Preemption::Lazy);
        assert_eq!(Preemption::from_debugfs("nonsense"), Preemption::Unknown);
    }
}
