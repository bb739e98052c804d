//! What `status` tells, in Prometheus' text format, over HTTP on a local address or a socket.

use super::site::Site;
use super::status::{self, Line};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The longest request that is read, in bytes.
const LONGEST: usize = 8 << 10;
/// How long a request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many are answered at once.
const MOST: usize = 16;

/// Where they are to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// At this address and port.
    Tcp(SocketAddr),
    /// At this socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Address, String> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Address::Unix(path.into()));
        }
        text.parse().map(Address::Tcp).map_err(|_| {
            "metrics takes an address with its port, as in \"127.0.0.1:9464\", or the absolute path of a socket".to_owned()
        })
    }
}

/// What answers. It stops when this is dropped.
pub struct Metrics {
    task: JoinHandle<()>,
    socket: Option<PathBuf>,
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(socket) = &self.socket {
            // Another process may have taken its place.
            let _ = std::fs::remove_file(socket);
        }
    }
}

impl Metrics {
    /// Begins to answer.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn listen(address: &Address, site: Arc<Site>) -> io::Result<Metrics> {
        let room = Arc::new(Semaphore::new(MOST));
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let task = tokio::spawn(async move {
                    loop {
                        match listener.accept().await {
                            Ok((stream, _)) => answer_in(&room, &site, stream).await,
                            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                        }
                    }
                });
                Ok(Metrics { task, socket: None })
            }
            Address::Unix(path) => {
                let listener = bind(path)?;
                let task = tokio::spawn(async move {
                    loop {
                        match listener.accept().await {
                            Ok((stream, _)) => answer_in(&room, &site, stream).await,
                            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                        }
                    }
                });
                Ok(Metrics { task, socket: Some(path.clone()) })
            }
        }
    }
}

/// Makes the socket, in place of one at which nobody listens. Its group may read: the folder says who gets there.
fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    if path.metadata().is_ok_and(|meta| meta.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path).is_err()
    {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn answer_in(
    room: &Arc<Semaphore>,
    site: &Arc<Site>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) {
    let Ok(place) = room.clone().acquire_owned().await else { return };
    let site = site.clone();
    tokio::spawn(async move {
        // Who asks and goes away has no answer.
        let _ = timeout(PATIENCE, answer(stream, &site)).await;
        drop(place);
    });
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, site: &Site) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut some = [0; 1024];
        match stream.read(&mut some).await? {
            0 => return Ok(()),
            n => request.extend(&some[..n]),
        }
        if request.len() > LONGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let asks = |target: &str| request.starts_with(format!("GET {target} ").as_bytes());
    let (status, body) = match asks("/metrics") || asks("/") {
        true => ("200 OK", text(&status::lines(site).await)),
        false => ("404 Not Found", "GET /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// A metric with its values.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: Vec<(String, u64)>,
}

/// Returns the lines of a status in Prometheus' format.
pub fn text(lines: &[Line]) -> String {
    let mut families: Vec<Family> = Vec::new();
    let mut add = |name: &'static str, kind: &'static str, help: &'static str, labels: String, value: u64| {
        match families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.values.push((labels, value)),
            None => families.push(Family { name, kind, help, values: vec![(labels, value)] }),
        }
    };
    for line in lines {
        match line {
            Line::Process(line) => {
                let of = labels(&[("version", &line.version), ("tier", &line.tier)]);
                add("vfsync_info", "gauge", "The version, and how it learns of changes", of, 1);
                let none = String::new;
                add(
                    "vfsync_capture_events_total",
                    "counter",
                    "Events that capture handed out",
                    none(),
                    line.events,
                );
                add(
                    "vfsync_capture_coalesced_total",
                    "counter",
                    "Records saved by coalescing",
                    none(),
                    line.coalesced,
                );
                add("vfsync_capture_lost_total", "counter", "Records that capture lost", none(), line.lost);
            }
            Line::Replica(line) => {
                let of = || labels(&[("root", &line.root)]);
                let state = labels(&[("root", &line.root), ("state", &line.state)]);
                add("vfsync_replica_state", "gauge", "1 for the state that a replica is in", state, 1);
                let following = u64::from(line.state == "following");
                add("vfsync_replica_following", "gauge", "Whether a replica is followed", of(), following);
                add("vfsync_replica_entries", "gauge", "Entries that stand", of(), line.entries);
                add("vfsync_replica_conflicts", "gauge", "Conflicts that stand", of(), line.conflicts);
                add(
                    "vfsync_replica_problems",
                    "gauge",
                    "Paths that could not be dealt with",
                    of(),
                    line.problem_count,
                );
                add("vfsync_replica_waiting", "gauge", "Paths that wait to be looked at", of(), line.waiting);
                add("vfsync_replica_events_total", "counter", "Events below a root", of(), line.events);
                add("vfsync_replica_losses_total", "counter", "Times when events were lost", of(), line.lost);
                add("vfsync_replica_rescans_total", "counter", "Looks at everything", of(), line.rescans);
                for time in &line.stages {
                    let of = || labels(&[("root", &line.root), ("stage", &time.stage)]);
                    let (count, help) = ("vfsync_replica_stage_total", "How often a stage was gone through");
                    add(count, "counter", help, of(), time.count);
                    let (micros, help) = ("vfsync_replica_stage_microseconds_total", "How long a stage took");
                    add(micros, "counter", help, of(), time.micros);
                }
            }
            Line::Link(line) => {
                let pair = [("root", line.root.as_str()), ("peer", &line.peer), ("block", &line.block)];
                let of = || labels(&pair);
                let state = labels(&[pair[0], pair[1], pair[2], ("state", &line.state)]);
                add("vfsync_link_state", "gauge", "1 for the state that a link is in", state, 1);
                let live = u64::from(line.state == "live");
                add("vfsync_link_live", "gauge", "Whether a link carries changes as they happen", of(), live);
                add(
                    "vfsync_link_backlog",
                    "gauge",
                    "Entries still to be offered or answered",
                    of(),
                    line.backlog,
                );
                add(
                    "vfsync_link_failures",
                    "gauge",
                    "Paths that one end could not take",
                    of(),
                    line.failure_count,
                );
                add(
                    "vfsync_link_sessions_total",
                    "counter",
                    "How often a link was made",
                    of(),
                    line.sessions,
                );
                add("vfsync_link_carried_total", "counter", "Changes carried, both ways", of(), line.carried);
                add("vfsync_link_sent_bytes_total", "counter", "Bytes to the peer", of(), line.bytes_sent);
                add(
                    "vfsync_link_received_bytes_total",
                    "counter",
                    "Bytes from the peer",
                    of(),
                    line.bytes_received,
                );
            }
        }
    }
    let mut text = String::new();
    for Family { name, kind, help, values } in families {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in values {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    }
    text
}

fn labels(pairs: &[(&str, &str)]) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::status::Process;

    #[test]
    fn the_dashboard_shows_every_metric_and_no_other() {
        let dashboard = include_str!("../../../contrib/grafana.json");
        let line = |text: &str| serde_json::from_str::<Line>(text).unwrap();
        let lines = [
            line(
                r#"{"event":"process","role":"daemon","pid":1,"version":"","since":"","tier":"","events":0,"coalesced":0,"lost":0}"#,
            ),
            line(
                r#"{"event":"replica","root":"","state":"","since":"","entries":0,"capture":"","events":0,"lost":0,"rescans":0,
                "waiting":0,"conflicts":0,"problems":[],"problem_count":0}"#,
            ),
            line(
                r#"{"event":"link","block":"","root":"","peer":"","dials":true,"state":"","since":"","backlog":0,"incoming":0,
                "sessions":0,"carried":0,"bytes_sent":0,"bytes_received":0,"rate_sent":0,"rate_received":0,"failures":[],
                "failure_count":0}"#,
            ),
        ];
        let text = text(&lines);
        let known: std::collections::BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let used: std::collections::BTreeSet<&str> =
            dashboard.split(|c| !is_name(c)).filter(|word| word.starts_with("vfsync_")).collect();
        assert_eq!(used, known);
        let panels = serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
        assert!(panels["panels"].as_array().is_some_and(|panels| panels.len() > 10));
    }

    #[test]
    fn addresses_are_sockets_or_ports() {
        assert_eq!("127.0.0.1:9464".parse(), Ok(Address::Tcp(([127, 0, 0, 1], 9464).into())));
        assert_eq!("unix:/run/m".parse(), Ok(Address::Unix("/run/m".into())));
        assert_eq!("/run/m".parse(), Ok(Address::Unix("/run/m".into())));
        assert!("9464".parse::<Address>().is_err());
    }

    #[test]
    fn each_family_has_one_head_and_labels_are_quoted() {
        let process = Process {
            role: "daemon".into(),
            pid: 1,
            version: "1\"2".into(),
            since: String::new(),
            tier: "kprobe".into(),
            events: 7,
            coalesced: 0,
            lost: 0,
        };
        let text = text(&[Line::Process(process.clone()), Line::Process(process)]);
        assert_eq!(text.matches("# TYPE vfsync_capture_events_total counter").count(), 1);
        assert!(text.contains("vfsync_info{version=\"1\\\"2\",tier=\"kprobe\"} 1\n"), "{text}");
        assert!(text.contains("vfsync_capture_events_total 7\n"));
    }
}
