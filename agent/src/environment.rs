//! What the environment says, read once at the start: where things lie when nothing else says so.

use std::ffi::OsString;
use std::path::PathBuf;

/// What the environment variables mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// Where archives lie if no option says otherwise; `None` if there is no home.
    pub state_dir: Option<PathBuf>,
    /// Where Unison keeps profiles; `None` if there is no home.
    pub unison_dir: Option<PathBuf>,
    /// Where the configuration of the daemon is; `None` if there is no home.
    pub config: Option<PathBuf>,
    /// Whether colours are unwanted everywhere.
    pub no_color: bool,
    /// The address of the host from which somebody has logged in, in a session of sshd.
    pub client: Option<String>,
}

impl Environment {
    /// Reads the environment of this process.
    pub fn read() -> Environment {
        Environment::from_lookup(|name| std::env::var_os(name), rustix::process::geteuid().is_root())
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Environment {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let dir = |name: &str| set(name).map(PathBuf::from);
        // The XDG specification has relative values ignored.
        let xdg_state = dir("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let home = dir("HOME");
        let xdg_config = dir("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        let of_user = || xdg_state.or_else(|| Some(home.as_ref()?.join(".local/state")));
        let state_dir = dir("VFSYNC_STATE_DIR").or_else(|| match is_root {
            true => Some("/var/lib/vfsync".into()),
            false => of_user().map(|state| state.join("vfsync")),
        });
        let config = dir("VFSYNC_CONFIG").or_else(|| match is_root {
            true => Some("/etc/vfsync/vfsync.toml".into()),
            false => {
                let below = xdg_config.or_else(|| Some(home.as_ref()?.join(".config")));
                below.map(|config| config.join("vfsync/vfsync.toml"))
            }
        });
        let unison_dir = dir("UNISON").or_else(|| Some(home.as_ref()?.join(".unison")));
        let connection = set("SSH_CONNECTION").and_then(|value| value.into_string().ok());
        let client = connection.and_then(|value| Some(value.split(' ').next()?.to_owned()));
        Environment { state_dir, unison_dir, config, no_color: set("NO_COLOR").is_some(), client }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)], is_root: bool) -> Environment {
        let find = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into());
        Environment::from_lookup(find, is_root)
    }

    #[test]
    fn state_lies_where_the_environment_says_and_else_where_it_belongs() {
        let state = |vars, is_root| read(vars, is_root).state_dir.map(|p| p.display().to_string());
        assert_eq!(state(&[("HOME", "/root")], true).as_deref(), Some("/var/lib/vfsync"));
        assert_eq!(state(&[("HOME", "/h")], false).as_deref(), Some("/h/.local/state/vfsync"));
        assert_eq!(state(&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")], false).as_deref(), Some("/s/vfsync"));
        assert_eq!(
            state(&[("HOME", "/h"), ("XDG_STATE_HOME", "s")], false).as_deref(),
            Some("/h/.local/state/vfsync")
        );
        assert_eq!(state(&[("VFSYNC_STATE_DIR", "/v"), ("HOME", "/h")], true).as_deref(), Some("/v"));
        assert_eq!(state(&[("VFSYNC_STATE_DIR", "")], false), None);
        let config = |vars, is_root| read(vars, is_root).config.map(|p| p.display().to_string());
        assert_eq!(config(&[("HOME", "/root")], true).as_deref(), Some("/etc/vfsync/vfsync.toml"));
        assert_eq!(config(&[("HOME", "/h")], false).as_deref(), Some("/h/.config/vfsync/vfsync.toml"));
        assert_eq!(config(&[("VFSYNC_CONFIG", "/c"), ("HOME", "/h")], true).as_deref(), Some("/c"));
        let unison = read(&[("HOME", "/h"), ("UNISON", "/u"), ("NO_COLOR", "1")], false);
        assert_eq!((unison.unison_dir, unison.no_color, unison.client), (Some("/u".into()), true, None));
        let login = read(&[("SSH_CONNECTION", "192.168.1.7 50000 192.168.1.8 22")], false);
        assert_eq!(login.client.as_deref(), Some("192.168.1.7"));
    }
}
