//! `vfsync doctor`: what it finds on this host, in the configuration and at its peers, and what it says to do.

use vfsync_tests::{Daemon, Outcome, Pair, daemon::status, pair::block, wait_for};

/// Runs it with a configuration.
fn doctor(pair: &Pair, config: &str) -> Outcome {
    pair.home().file("looked-at.toml", config);
    pair.vfsync().args(["doctor", "--json", "--config", "looked-at.toml"]).run()
}

/// Returns the state and the detail of the first finding of an area and a name, at a host or here.
#[track_caller]
fn found(outcome: &Outcome, host: Option<&str>, area: &str, name: &str) -> (String, String) {
    let findings = outcome.events("check");
    let is_it = |line: &&serde_json::Value| {
        line["host"].as_str() == host && line["area"] == area && line["name"] == name
    };
    let Some(line) = findings.iter().find(is_it) else { panic!("nothing of {area} {name}:\n{outcome}") };
    let text = |key: &str| line[key].as_str().expect("it is a text").to_owned();
    (text("state"), text("detail"))
}

#[test]
fn the_configuration_its_roots_and_its_peers_are_looked_at() {
    let pair = Pair::over_ssh();
    let config = pair.defaults() + &pair.block();
    let out = doctor(&pair, &config);
    out.code(0);
    assert_eq!(found(&out, None, "configuration", "file").0, "ok");
    assert_eq!(found(&out, None, "state", "free space").0, "ok");
    assert_eq!(found(&out, None, "root", "file system").0, "ok");
    // It is this host, by another way.
    for name in ["ssh", "vfsync", "clock"] {
        let (state, detail) = found(&out, Some("127.0.0.1"), "connection", name);
        assert_eq!(state, "ok", "{name}: {detail}");
    }
    assert_eq!(found(&out, Some("127.0.0.1"), "root", "file system").0, "ok");
    // Nobody follows it yet, and it is said who could.
    let (state, detail) = found(&out, None, "daemon", "process");
    assert!(state == "limited" && detail.contains("systemctl enable --now vfsync"), "{detail}");
    // What people read ends with what it comes to.
    let text = pair.vfsync().args(["doctor", "--config", "looked-at.toml"]).run();
    text.code(0).tells("nothing that is necessary is missing");
}

#[test]
fn a_mistake_in_the_configuration_and_a_peer_that_is_not_there_are_missing() {
    let pair = Pair::over_ssh();
    let good = pair.defaults() + &pair.block();
    let out = doctor(&pair, &format!("{good}tmes = true\n"));
    out.code(3);
    let (state, detail) = found(&out, None, "configuration", "file");
    assert!(
        state == "missing" && detail.contains("looked-at.toml:8:1") && detail.contains("nearest is times"),
        "{detail}"
    );
    let nowhere = "ssh://127.0.0.1:1//nowhere";
    let out = doctor(&pair, &(pair.defaults() + &block(&pair.first_root(), &[nowhere])));
    out.code(3);
    assert_eq!(found(&out, Some("127.0.0.1"), "connection", "ssh").0, "missing");
    pair.vfsync().args(["doctor", "--config", "no-such.toml"]).run().code(3).tells("no-such.toml");
    pair.vfsync()
        .args(["doctor", "--config", "looked-at.toml"])
        .run()
        .code(3)
        .tells("nothing works before that is mended");
}

#[test]
fn a_daemon_tells_what_is_the_matter_with_its_links() {
    let pair = Pair::over_ssh();
    let away = pair.home().path("away").display().to_string();
    let config = pair.defaults() + &block(&pair.first_root(), &[&pair.second_root(), &away]);
    pair.first.file("f", "1");
    let mut daemon = Daemon::start(&pair, &config);
    daemon.carries(&pair.first, &pair.second);
    wait_for("the link to be broken", || {
        status(&pair, "link").iter().any(|link| link["state"] == "broken").then_some(())
    });
    let out = doctor(&pair, &config);
    let process = format!("process {}", daemon.process().pid());
    assert_eq!(found(&out, None, "daemon", &process).0, "ok");
    let (state, detail) = found(&out, None, "daemon", &format!("link to {away}"));
    assert!(
        state == "limited" && detail.contains("does not exist") && detail.contains("tried again"),
        "{detail}"
    );
    daemon.stop().code(0);
}
