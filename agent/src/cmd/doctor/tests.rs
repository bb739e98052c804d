use super::finding::{Finding, State};
use super::*;
use crate::fs::{Capabilities, Dir};
use std::path::Path;

#[test]
fn a_finding_travels_as_json() {
    let finding = Finding::new("root", "leases", State::Limited, "none\u{1b}").of_root("/a").on_host("h");
    let line = serde_json::to_string(&finding).unwrap();
    assert_eq!(
        line,
        r#"{"event":"check","host":"h","root":"/a","area":"root","name":"leases","state":"limited","detail":"none\u001b"}"#
    );
    let stdout = format!("Welcome!\n{{\"event\":\"item\"}}\n{line}\n\n");
    assert_eq!(far_end::parse(stdout.as_bytes()), std::slice::from_ref(&finding));
    assert!(!finding.to_string().contains('\u{1b}'));
}

#[test]
fn rights_are_told_from_the_effective_capabilities() {
    let states = |bits: u64| machine::rights(bits).into_iter().skip(1).map(|f| f.state).collect::<Vec<_>>();
    assert!(states(u64::MAX).iter().all(|s| *s == State::Ok));
    assert!(states(0).iter().all(|s| *s == State::Limited));
    let bpf_and_perfmon = 1 << 38 | 1 << 39;
    assert_eq!(states(bpf_and_perfmon)[3], State::Ok);
    assert_eq!(machine::effective_capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
    assert_eq!(machine::effective_capabilities(""), 0);
}

#[test]
fn a_root_is_tried_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let findings = root::look(dir.path());
    assert!(findings.iter().all(|f| f.state != State::Missing), "{findings:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let capabilities = Capabilities::probe(&Dir::open_root(dir.path()).unwrap()).unwrap();
    let read_only = Capabilities { writable: false, ..capabilities };
    assert!(root::of(&read_only).iter().any(|f| f.name == "writing" && f.state == State::Limited));
}

#[test]
fn a_root_that_is_not_there_or_no_folder_is_missing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for (path, says) in [(Path::new("/nowhere/at/all"), "not there"), (file.path(), "not a folder")] {
        let findings = root::look(path);
        assert_eq!(findings[0].state, State::Missing);
        assert!(findings[0].detail.contains(says), "{}", findings[0].detail);
    }
}

#[test]
fn the_state_directory_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    assert_eq!(machine::state_dir(Some(dir.path())).state, State::Ok);
    assert_eq!(machine::state_dir(Some(&dir.path().join("a/b"))).state, State::Ok);
    assert!(!dir.path().join("a").exists());
    assert_eq!(machine::state_dir(Some(file.path())).state, State::Missing);
    assert_eq!(machine::state_dir(None).state, State::Missing);
}

#[test]
fn ssh_is_only_missing_where_it_is_needed() {
    let nowhere = Path::new("/nowhere/ssh");
    assert_eq!(machine::ssh(nowhere, true).state, State::Missing);
    assert_eq!(machine::ssh(nowhere, false).state, State::Limited);
    assert_eq!(machine::ssh(Path::new("/bin/false"), true).state, State::Missing);
}

#[test]
fn a_tier_that_is_refused_is_only_a_limit_where_no_other_works() {
    use crate::capture::{Preemption, Seen, Tested, Tier, TierReport};
    let refused = |tier| TierReport::refused(tier, "no BTF");
    let tested =
        vec![Tested { operation: "create", seen: Seen::Yes }, Tested { operation: "mknod", seen: Seen::No }];
    let works = |tier| TierReport { refused: None, tested: tested.clone(), ..refused(tier) };
    let states = |reports: &[TierReport]| {
        capture::of(Preemption::Unknown, reports).into_iter().skip(1).map(|f| f.state).collect::<Vec<_>>()
    };
    let some = [refused(Tier::Kprobe), works(Tier::Fentry), works(Tier::Tracepoint), works(Tier::Scan)];
    assert_eq!(states(&some), [State::Info, State::Ok, State::Ok, State::Info]);
    let findings = capture::of(Preemption::Unknown, &some);
    assert!(!findings[2].detail.contains("taken") && findings[3].detail.contains("taken"));
    assert!(
        findings[3].detail.contains("1 operations") && findings[3].detail.contains("not reported: mknod")
    );
    assert_eq!(states(&[refused(Tier::Kprobe), works(Tier::Scan)]), [State::Limited, State::Limited]);
}

#[test]
fn a_configuration_is_valid_empty_or_wrong_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vfsync.toml");
    let environment = Environment { state_dir: Some("/state".into()), ..Environment::default() };
    let look = |named| config::look(Some(&path), named, &environment);
    let state = |named: bool| look(named).0[0].state;
    assert_eq!((state(false), state(true)), (State::Info, State::Missing));
    std::fs::write(&path, "# nothing\n").unwrap();
    assert_eq!(state(true), State::Info);
    std::fs::write(&path, "[[sync]]\nroot = '/a'\npeers = ['/b', 'ssh://h//c']\n").unwrap();
    let (findings, config) = look(true);
    assert!(findings[0].state == State::Ok && findings[0].detail.contains("peers: 2"), "{findings:?}");
    assert_eq!(config.unwrap().blocks.len(), 1);
    std::fs::write(&path, "[[sync]]\nroot = '/a'\npeers = ['/b']\ntmes = true\n").unwrap();
    let (findings, config) = look(false);
    assert!(
        findings[0].state == State::Missing && findings[0].detail.contains("vfsync.toml:4:1"),
        "{findings:?}"
    );
    assert!(config.is_none());
}

#[test]
fn clocks_that_differ_are_told_with_the_way_they_differ() {
    let of = |there| far_end::of_clock(Some(there), 1000.0, 1001.0);
    assert_eq!((of(1000.5).state, of(1002.9).state, of(998.1).state), (State::Ok, State::Ok, State::Ok));
    let (ahead, behind) = (of(1100.0), of(900.0));
    assert!(ahead.state == State::Limited && ahead.detail.starts_with("100 s ahead"), "{}", ahead.detail);
    assert!(behind.state == State::Limited && behind.detail.starts_with("100 s behind"), "{}", behind.detail);
    assert_eq!(far_end::of_clock(None, 0.0, 1.0).state, State::Info);
    for (said, seconds) in [("12.5\n", 12.5), ("Welcome 5\n12.000000001\n", 12.000000001), ("12.N\n", 12.0)] {
        assert_eq!(far_end::parse_clock(said.as_bytes()), Some(seconds), "{said}");
    }
    assert_eq!(far_end::parse_clock(b"inf\n"), None);
    assert_eq!(far_end::parse_clock(b"\xff"), None);
}

#[test]
fn locked_memory_matters_to_old_kernels_alone() {
    let state = |limit, release: &str, may| machine::locked_memory(limit, release.as_bytes(), may).state;
    assert_eq!(state(Some(64 << 10), "5.10.0-28-amd64", false), State::Limited);
    assert_eq!(state(Some(64 << 10), "5.10.0-28-amd64", true), State::Ok);
    assert_eq!(state(Some(64 << 10), "6.1.0", false), State::Ok);
    assert_eq!(state(Some(64 << 10), "5.11", false), State::Ok);
    assert_eq!(state(None, "4.19", false), State::Ok);
}

#[test]
fn a_kernel_that_is_locked_down_says_so() {
    assert_eq!(machine::lockdown("[none] integrity confidentiality\n"), None);
    assert_eq!(machine::lockdown(""), None);
    let state = |text| machine::lockdown(text).map(|finding| finding.state);
    assert_eq!(state("none [integrity] confidentiality\n"), Some(State::Info));
    assert_eq!(state("none integrity [confidentiality]\n"), Some(State::Limited));
}

#[test]
fn what_a_daemon_says_of_trouble_is_a_finding_with_what_to_do() {
    let line = |json: &str| config::of_line(serde_json::from_str(json).unwrap());
    let link = |state: &str, why: &str| {
        line(&format!(
            r#"{{"event":"link","block":"b","root":"/a","peer":"ssh://h//b","dials":true,"state":"{state}","since":"2026-01-01T00:00:00Z",{why}"backlog":0,"incoming":0,"sessions":1,"carried":0,"bytes_sent":0,"bytes_received":0,"rate_sent":0,"rate_received":0,"failures":[],"failure_count":0}}"#
        ))
    };
    assert_eq!(link("live", ""), None);
    let broken = link("broken", r#""why":"no route","#).unwrap();
    assert!(broken.state == State::Limited && broken.detail.contains("no route"), "{broken:?}");
    assert!(link("halted", "").unwrap().detail.contains("vfsync resume"));
}
