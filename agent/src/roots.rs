//! A [`Root`] is where a replica lies, as a person names it: a local folder, or one on another host.

use crate::core::escaped::Escaped;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Where a replica lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A folder of this host, as it was written; it may be relative to the working directory.
    Local(PathBuf),
    /// A folder of another host.
    Remote(RemoteRoot),
}

/// A folder of another host, reached over SSH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRoot {
    /// The user to log in as; else ssh decides.
    pub user: Option<String>,
    /// The host, as ssh is to be given it: a name, an alias of `~/.ssh/config`, or an address without brackets.
    pub host: String,
    /// The port; else ssh decides.
    pub port: Option<u16>,
    /// Absolute, or relative to the home directory there. Empty is the home directory itself.
    pub path: PathBuf,
}

/// Why a root cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("root \"{}\": {why}", Escaped(.root.as_bytes()))]
pub struct RootError {
    root: std::ffi::OsString,
    why: RootFault,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum RootFault {
    #[error("it is empty")]
    Empty,
    #[error("it holds a NUL byte")]
    Nul,
    #[error("vfsync reaches other hosts by ssh:// only")]
    Protocol,
    #[error("write a local folder as a plain path, without file://")]
    File,
    #[error("two slashes have to follow \"ssh:\", as in ssh://host/path")]
    Slashes,
    #[error("no host is named; write ssh://host/path")]
    NoHost,
    #[error("a host must not start with a dash, ssh would take it for an option")]
    HostDash,
    #[error("a host is made of letters, digits, dots, dashes and underscores; an IPv6 address stands in [ ]")]
    Host,
    #[error("the [ of an IPv6 address has no ]")]
    Bracket,
    #[error("a user must neither be empty, start with a dash nor hold spaces, slashes or control characters")]
    User,
    #[error("a port is a number from 1 to 65535")]
    Port,
    #[error("after the host comes a slash: ssh://host/path (from home) or ssh://host//path (absolute)")]
    AfterHost,
    #[error("another user's home is not looked up; write the path in full")]
    OtherHome,
}

impl Root {
    /// Parses a root: `path`, `ssh://[user@]host[:port]/path/from/home`, `ssh://[user@]host[:port]//absolute/path` or
    /// `[user@]host:path`.
    pub fn parse(text: &OsStr) -> Result<Root, RootError> {
        parse(text.as_bytes()).map_err(|why| RootError { root: text.to_owned(), why })
    }

    /// Returns whether the root is on this host.
    pub fn is_local(&self) -> bool {
        matches!(self, Root::Local(_))
    }
}

fn parse(text: &[u8]) -> Result<Root, RootFault> {
    if text.is_empty() {
        return Err(RootFault::Empty);
    }
    if text.contains(&0) {
        return Err(RootFault::Nul);
    }
    if let Some(rest) = text.strip_prefix(b"ssh://") {
        return parse_url(rest);
    }
    if let Some(at) = text.windows(3).position(|w| w == b"://")
        && text[..at].iter().all(u8::is_ascii_alphabetic)
    {
        return Err(if &text[..at] == b"file" { RootFault::File } else { RootFault::Protocol });
    }
    match scp_colon(text)? {
        Some(_) if text.starts_with(b"ssh:/") => Err(RootFault::Slashes),
        Some(at) => {
            let (user, host) = split_user(&text[..at])?;
            let remote =
                RemoteRoot { user, host: parse_host(host)?, port: None, path: parse_path(&text[at + 1..])? };
            Ok(Root::Remote(remote))
        }
        None => Ok(Root::Local(PathBuf::from(OsStr::from_bytes(text)))),
    }
}

/// Finds the colon that makes a text `host:path`, as scp does: before any slash, brackets apart.
fn scp_colon(text: &[u8]) -> Result<Option<usize>, RootFault> {
    let before_slash = text.split(|&b| b == b'/').next().unwrap_or_default();
    let start = before_slash.iter().rposition(|&b| b == b'@').map_or(0, |at| at + 1);
    if before_slash[start..].starts_with(b"[") && before_slash.contains(&b':') {
        let close = before_slash.iter().position(|&b| b == b']').ok_or(RootFault::Bracket)?;
        return Ok((before_slash.get(close + 1) == Some(&b':')).then_some(close + 1));
    }
    Ok(before_slash.iter().position(|&b| b == b':'))
}

/// Parses what follows `ssh://`.
fn parse_url(rest: &[u8]) -> Result<Root, RootFault> {
    let (authority, path) = match rest.iter().position(|&b| b == b'/') {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, &b""[..]),
    };
    let (user, host_port) = split_user(authority)?;
    let (host, after) = match host_port {
        [b'[', ..] => {
            let close = host_port.iter().position(|&b| b == b']').ok_or(RootFault::Bracket)?;
            host_port.split_at(close + 1)
        }
        _ => host_port.split_at(host_port.iter().position(|&b| b == b':').unwrap_or(host_port.len())),
    };
    let port = match after {
        [] => None,
        [b':', digits @ ..] => Some(parse_port(digits)?),
        _ => return Err(RootFault::AfterHost),
    };
    Ok(Root::Remote(RemoteRoot { user, host: parse_host(host)?, port, path: parse_path(path)? }))
}

fn split_user(authority: &[u8]) -> Result<(Option<String>, &[u8]), RootFault> {
    let Some(at) = authority.iter().rposition(|&b| b == b'@') else { return Ok((None, authority)) };
    let user = str::from_utf8(&authority[..at]).map_err(|_| RootFault::User)?;
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if user.is_empty() || user.starts_with('-') || user.contains(bad) {
        return Err(RootFault::User);
    }
    Ok((Some(user.to_string()), &authority[at + 1..]))
}

fn parse_host(host: &[u8]) -> Result<String, RootFault> {
    let (host, allowed): (_, fn(&u8) -> bool) = match host {
        [] => return Err(RootFault::NoHost),
        [b'-', ..] => return Err(RootFault::HostDash),
        [b'[', inner @ .., b']'] => (inner, |b| b.is_ascii_alphanumeric() || b":.%-_~".contains(b)),
        plain => (plain, |b| b.is_ascii_alphanumeric() || b".-_".contains(b)),
    };
    match str::from_utf8(host) {
        Ok("") => Err(RootFault::NoHost),
        Ok(text) if text.starts_with('-') => Err(RootFault::HostDash),
        Ok(text) if host.iter().all(allowed) => Ok(text.to_string()),
        _ => Err(RootFault::Host),
    }
}

fn parse_port(digits: &[u8]) -> Result<u16, RootFault> {
    let digits_only = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let port = digits_only.then(|| str::from_utf8(digits).ok()?.parse().ok()).flatten();
    port.filter(|&p| p > 0).ok_or(RootFault::Port)
}

/// Parses a path of the far end: slashes and dots that mean nothing go, `~/` is the home it is relative to anyway.
fn parse_path(path: &[u8]) -> Result<PathBuf, RootFault> {
    let path = match path {
        b"~" => b"",
        [b'~', b'/', rest @ ..] => &rest[rest.iter().take_while(|&&b| b == b'/').count()..],
        [b'~', ..] => return Err(RootFault::OtherHome),
        path => path,
    };
    Ok(Path::new(OsStr::from_bytes(path)).components().filter(|c| *c != Component::CurDir).collect())
}

/// Shows the root in a way that [`Root::parse`] understands, control characters and odd bytes escaped.
impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Root::Local(path) => Escaped(path.as_os_str().as_bytes()).fmt(f),
            Root::Remote(remote) => remote.fmt(f),
        }
    }
}

impl fmt::Display for RemoteRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "/{}", Escaped(self.path.as_os_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn root(s: &str) -> Root {
        Root::parse(OsStr::new(s)).unwrap_or_else(|e| panic!("{e}"))
    }

    fn remote(user: Option<&str>, host: &str, port: Option<u16>, path: &str) -> Root {
        let (user, host, path) = (user.map(String::from), host.into(), path.into());
        Root::Remote(RemoteRoot { user, host, port, path })
    }

    #[test]
    fn the_four_spellings() {
        assert_eq!(root("/data/"), Root::Local("/data/".into()));
        assert_eq!(root("data/x"), Root::Local("data/x".into()));
        assert_eq!(root("//data"), Root::Local("//data".into()));
        assert_eq!(root("./a:b"), Root::Local("./a:b".into()));
        assert_eq!(root("/a:b"), Root::Local("/a:b".into()));
        assert_eq!(root("[x]"), Root::Local("[x]".into()));
        assert_eq!(root("ssh://h/data"), remote(None, "h", None, "data"));
        assert_eq!(root("ssh://192.168.1.16//data/"), remote(None, "192.168.1.16", None, "/data"));
        assert_eq!(root("ssh://u@h:2222//d"), remote(Some("u"), "h", Some(2222), "/d"));
        assert_eq!(root("ssh://h"), remote(None, "h", None, ""));
        assert_eq!(root("ssh://h/"), remote(None, "h", None, ""));
        assert_eq!(root("ssh://h/~/d"), remote(None, "h", None, "d"));
        assert_eq!(root("ssh://h///d//e/./f"), remote(None, "h", None, "/d/e/f"));
        assert_eq!(
            root("ssh://u@realm@[fe80::1%eth0]:22/d"),
            remote(Some("u@realm"), "fe80::1%eth0", Some(22), "d")
        );
        assert_eq!(root("h:d"), remote(None, "h", None, "d"));
        assert_eq!(root("h:"), remote(None, "h", None, ""));
        assert_eq!(root("h:~/d"), remote(None, "h", None, "d"));
        assert_eq!(root("h:./~d"), remote(None, "h", None, "~d"));
        assert_eq!(root("u@h:/d:e"), remote(Some("u"), "h", None, "/d:e"));
        assert_eq!(root("[::1]:/d"), remote(None, "::1", None, "/d"));
        assert_eq!(root("u@[::1]:d"), remote(Some("u"), "::1", None, "d"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_the_reason() {
        for (bad, says) in [
            ("", "empty"),
            ("a\0b", "NUL"),
            ("ssh:///data", "no host"),
            ("ssh://", "no host"),
            ("ssh://u@/d", "no host"),
            (":d", "no host"),
            ("ssh://[]/d", "no host"),
            ("ssh:/h/d", "two slashes"),
            ("ssh://-oProxyCommand=x/d", "dash"),
            ("ssh://[-x]/d", "dash"),
            ("-oProxyCommand=x:d", "dash"),
            ("ssh://-x@h/d", "user"),
            ("ssh://@h/d", "user"),
            ("-l@h:d", "user"),
            ("ssh://h:0/d", "port"),
            ("ssh://h:99999/d", "port"),
            ("ssh://h:+22/d", "port"),
            ("ssh://h:/d", "port"),
            ("ssh://h x/d", "host"),
            ("ssh://[::1/d", "no ]"),
            ("[::1:d", "no ]"),
            ("ssh://[::1]x/d", "slash"),
            ("ssh://h/~bob/d", "home"),
            ("socket://h:1/d", "ssh://"),
            ("rsh://h/d", "ssh://"),
            ("file:///d", "plain path"),
        ] {
            let error = Root::parse(OsStr::new(bad)).expect_err(bad).to_string();
            assert!(error.contains(says), "{bad:?}: {error}");
        }
        let error = Root::parse(OsStr::new("ssh://\x1b[2J")).unwrap_err().to_string();
        assert!(!error.contains('\x1b'));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_understood_again(text in "(ssh://)?([a-z]{1,3}@)?[a-z.]{1,5}(:[0-9]{1,4})?(//?[a-z.]{1,3}){0,3}/?") {
            if let Ok(root @ Root::Remote(_)) = Root::parse(OsStr::new(&text)) {
                prop_assert_eq!(Root::parse(OsStr::new(&root.to_string())), Ok(root));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..30), scheme in any::<bool>()) {
            let text = if scheme { [b"ssh://", &bytes[..]].concat() } else { bytes };
            if let Ok(Root::Remote(remote)) = Root::parse(OsStr::from_bytes(&text)) {
                prop_assert!(!remote.host.starts_with('-') && !remote.host.is_empty());
                prop_assert!(!remote.user.is_some_and(|u| u.starts_with('-')));
            }
        }
    }
}
