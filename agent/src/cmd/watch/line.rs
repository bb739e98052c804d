//! One line of `vfsync watch`.

use crate::{
    capture::{Event, EventKind, Tier},
    core::escaped::Escaped,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use std::{io::Write, os::unix::ffi::OsStrExt, path::Path};

/// A line of JSON: the fields are a contract with scripts.
#[derive(Serialize)]
struct Line<'a> {
    event: &'a str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<bool>,
    is_dir: bool,
    pid: u32,
    comm: String,
    tier: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Writes one line.
pub fn write(text: &mut Vec<u8>, event: &Event, path: &Path, to: Option<&Path>, tier: Tier, json: bool) {
    if json {
        let (path, path_bytes) = lossy(path);
        let (to, to_bytes) = to.map(lossy).unzip();
        let line = Line {
            event: name(event.kind),
            path,
            path_bytes,
            to,
            to_bytes: to_bytes.flatten(),
            exchange: (event.kind == EventKind::Exchange).then_some(true),
            is_dir: event.is_dir,
            pid: event.pid,
            comm: String::from_utf8_lossy(&event.comm).into_owned(),
            tier: tier.name(),
            inode: (event.kind == EventKind::Elsewhere).then_some(event.inode),
            reason: reason(event.kind),
        };
        serde_json::to_writer(&mut *text, &line).expect("every field is text or a number");
        text.push(b'\n');
        return;
    }
    let arrow = to.map(|to| format!(" -> {}", shown(to))).unwrap_or_default();
    let reason = reason(event.kind).map(|why| format!(" ({why})")).unwrap_or_default();
    let who = match event.pid {
        0 => String::new(),
        pid => format!("  {}[{pid}]", Escaped(&event.comm)),
    };
    let name = name(event.kind);
    writeln!(text, "{name:<11} {}{arrow}{reason}{who}", shown(path)).expect("memory takes everything");
}

/// Returns the event's name in the contract.
fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Write => "write",
        EventKind::CloseWrite => "close_write",
        EventKind::Create => "create",
        EventKind::Mkdir => "mkdir",
        EventKind::Mknod => "mknod",
        EventKind::Symlink => "symlink",
        EventKind::Link => "link",
        EventKind::Delete => "delete",
        EventKind::Rmdir => "rmdir",
        EventKind::Rename | EventKind::Exchange => "rename",
        EventKind::Truncate => "truncate",
        EventKind::Attributes => "attrib",
        EventKind::Xattr => "xattr",
        EventKind::List | EventKind::Elsewhere => "changed",
        EventKind::Lost(_) => "overflow",
    }
}

fn reason(kind: EventKind) -> Option<String> {
    match kind {
        EventKind::Lost(why) => Some(why.to_string()),
        EventKind::Elsewhere => Some("a file with several names, by one outside".into()),
        _ => None,
    }
}

/// Returns the path as text, and in base64 if that is not the whole truth.
fn lossy(path: &Path) -> (String, Option<String>) {
    let bytes = path.as_os_str().as_bytes();
    match str::from_utf8(bytes) {
        Ok(text) => (text.to_string(), None),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), Some(BASE64_STANDARD.encode(bytes))),
    }
}

fn shown(path: &Path) -> String {
    Escaped(path.as_os_str().as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::path::RelPath;

    #[test]
    fn a_line_has_the_fields_of_the_contract() {
        let event = Event {
            is_dir: true,
            pid: 7,
            comm: b"mv".to_vec(),
            ..Event::new(0, EventKind::Rename, RelPath::root())
        };
        let mut text = Vec::new();
        write(&mut text, &event, Path::new("/a"), Some(Path::new("/b")), Tier::Kprobe, true);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "{\"event\":\"rename\",\"path\":\"/a\",\"to\":\"/b\",\"is_dir\":true,\"pid\":7,\"comm\":\"mv\",\"tier\":\"kprobe\"}\n"
        );
    }

    #[test]
    fn a_path_that_is_no_text_comes_in_base64_too() {
        let mut text = Vec::new();
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/\xff"));
        write(&mut text, &Event::new(0, EventKind::Write, RelPath::root()), path, None, Tier::Kprobe, true);
        assert!(String::from_utf8(text).unwrap().contains("\"path_bytes\":\"L/8=\""));
    }
}
