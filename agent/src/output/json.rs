//! One JSON object a line, with exactly the fields that scripts rely on.

use super::{Action, ConflictReport, Direction, Item, ItemKind, ItemResult, Planned, Resolved, Summary};
use crate::core::path::RelPath;
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use std::time::SystemTime;

/// On which link something happened, and when.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    /// The root at the other end, if that is known.
    pub(super) peer: Option<&'a str>,
    pub(super) time: SystemTime,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Line<'a> {
    Item {
        #[serde(flatten)]
        path: JsonPath,
        #[serde(flatten)]
        from: Option<JsonFrom>,
        kind: ItemKind,
        action: Action,
        direction: Direction,
        result: ItemResult,
        reason: &'a str,
    },
    Conflict {
        #[serde(flatten)]
        path: JsonPath,
        first: &'a str,
        second: &'a str,
        resolved: Resolved,
    },
    Plan {
        #[serde(flatten)]
        path: JsonPath,
        #[serde(flatten)]
        from: Option<JsonFrom>,
        kind: ItemKind,
        action: Action,
        direction: Direction,
    },
    Summary {
        transferred: u64,
        skipped: u64,
        failed: u64,
        bytes_sent: u64,
        bytes_received: u64,
        seconds: f64,
    },
}

/// A line with what is told of every one: on which link it happened, and when.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    line: Line<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
    time: String,
}

/// A path: lossy, and exactly beside it if that loses something.
#[derive(Serialize)]
struct JsonPath {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_bytes: Option<String>,
}

#[derive(Serialize)]
struct JsonFrom {
    from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from_bytes: Option<String>,
}

/// Returns the path as text, and in base64 if that is not the whole truth.
fn lossy(path: &RelPath) -> (String, Option<String>) {
    match str::from_utf8(path.as_bytes()) {
        Ok(text) => (text.to_string(), None),
        Err(_) => {
            let lossy = String::from_utf8_lossy(path.as_bytes()).into_owned();
            (lossy, Some(BASE64_STANDARD.encode(path.as_bytes())))
        }
    }
}

fn path_of(path: &RelPath) -> JsonPath {
    let (path, path_bytes) = lossy(path);
    JsonPath { path, path_bytes }
}

fn from_of(from: &Option<RelPath>) -> Option<JsonFrom> {
    let (from, from_bytes) = lossy(from.as_ref()?);
    Some(JsonFrom { from, from_bytes })
}

fn line(line: Line<'_>, of: Of<'_>) -> String {
    let time = humantime::format_rfc3339_millis(of.time).to_string();
    let told = Told { line, peer: of.peer, time };
    let mut text = serde_json::to_string(&told).expect("every field is text or a number");
    text.push('\n');
    text
}

pub(super) fn item(item: &Item, of: Of<'_>) -> String {
    line(
        Line::Item {
            path: path_of(&item.path),
            from: from_of(&item.from),
            kind: item.kind,
            action: item.action,
            direction: item.direction,
            result: item.result,
            reason: &item.reason,
        },
        of,
    )
}

pub(super) fn conflict(conflict: &ConflictReport, of: Of<'_>) -> String {
    line(
        Line::Conflict {
            path: path_of(&conflict.path),
            first: &conflict.first,
            second: &conflict.second,
            resolved: conflict.resolved,
        },
        of,
    )
}

pub(super) fn planned(planned: &Planned, of: Of<'_>) -> String {
    match planned {
        Planned::Change { path, from, kind, action, direction } => line(
            Line::Plan {
                path: path_of(path),
                from: from_of(from),
                kind: *kind,
                action: *action,
                direction: *direction,
            },
            of,
        ),
        Planned::Conflict(report) => conflict(report, of),
    }
}

pub(super) fn summary(summary: &Summary, of: Of<'_>) -> String {
    line(
        Line::Summary {
            transferred: summary.transferred,
            skipped: summary.skipped,
            failed: summary.failed,
            bytes_sent: summary.bytes_sent,
            bytes_received: summary.bytes_received,
            seconds: (summary.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
        },
        of,
    )
}
