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
