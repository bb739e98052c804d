use super::AccountKind::{Group, User};
use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

struct Host {
    folder: tempfile::TempDir,
    accounts: Accounts,
}

/// A host with these files, whose `getent` knows `ldap` (5000) and `toor` (0), and counts how often it is asked.
fn host() -> Host {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let passwd = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/:\n+::::::\nbad\nalias:x:1000:1000::/:\n";
    fs::write(file("passwd"), passwd).unwrap();
    fs::write(file("group"), "wheel:x:0:\nstaff:x:50:alice,bob\n").unwrap();
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\ncase \"$2\" in ldap|5000) echo ldap:x:5000:5000:::;; toor) echo toor:x:0:0:::;; \
         77) echo root:x:0:0:::;; *) exit 2;; esac\n",
        file("asked").display()
    );
    fs::write(file("getent"), script).unwrap();
    fs::set_permissions(file("getent"), fs::Permissions::from_mode(0o755)).unwrap();
    Host { accounts: Accounts::of(file("passwd"), file("group"), file("getent")), folder }
}

impl Host {
    fn asked(&self) -> usize {
        fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default().lines().count()
    }
}

fn unknown(name: &str) -> Result<u32, OwnerError> {
    Err(OwnerError::Unknown { kind: User, name: name.into() })
}

#[test]
fn names_come_from_the_files_first() {
    let host = host();
    assert_eq!(host.accounts.name(User, 1000).as_deref(), Some("alice"));
    assert_eq!(host.accounts.name(Group, 50).as_deref(), Some("staff"));
    assert_eq!(host.accounts.local_id(User, 7, Some("alice")), Ok(1000));
    assert_eq!(host.accounts.local_id(User, 7, Some("alias")), Ok(1000));
    assert_eq!(host.accounts.local_id(Group, 7, Some("staff")), Ok(50));
    assert_eq!(host.asked(), 0);
}

#[test]
fn root_goes_by_number_and_nobody_becomes_root() {
    let host = host();
    assert_eq!(host.accounts.name(User, 0), None);
    assert_eq!(host.accounts.local_id(User, 0, Some("alice")), Ok(0));
    for (kind, name) in [(User, "root"), (Group, "wheel"), (User, "toor")] {
        let refused = Err(OwnerError::WouldBeRoot { kind, name: name.into() });
        assert_eq!(host.accounts.local_id(kind, 1000, Some(name)), refused);
    }
}

#[test]
fn what_the_files_lack_is_asked_for_once() {
    let host = host();
    for _ in 0..3 {
        assert_eq!(host.accounts.local_id(User, 9, Some("ldap")), Ok(5000));
        assert_eq!(host.accounts.name(User, 5000).as_deref(), Some("ldap"));
        assert_eq!(host.accounts.local_id(User, 9, Some("nobody-here")), unknown("nobody-here"));
        assert_eq!(host.accounts.name(User, 4711), None);
    }
    assert_eq!(host.asked(), 4);
}

#[test]
fn an_id_without_a_name_keeps_its_number() {
    assert_eq!(host().accounts.local_id(User, 4711, None), Ok(4711));
}

#[test]
fn what_is_no_name_reaches_no_program() {
    let host = host();
    let long = "x".repeat(300);
    for bad in ["", "-s", "+", "a:b", "a\nb", "a\0b", &long] {
        assert_eq!(host.accounts.local_id(User, 9, Some(bad)), unknown(bad));
    }
    assert_eq!(host.asked(), 0);
    // Digits are asked for, and the answer is for somebody else.
    assert_eq!(host.accounts.local_id(User, 9, Some("77")), unknown("77"));
}

#[test]
fn a_changed_file_shows_at_once() {
    let host = host();
    assert_eq!(host.accounts.local_id(User, 9, Some("carol")), unknown("carol"));
    fs::write(host.folder.path().join("passwd"), "carol:x:1001:1001:::\n").unwrap();
    assert_eq!(host.accounts.local_id(User, 9, Some("carol")), Ok(1001));
    assert_eq!(host.accounts.name(User, 1000), None);
}

#[test]
fn a_host_without_getent_knows_its_files() {
    let host = host();
    fs::remove_file(host.folder.path().join("getent")).unwrap();
    assert_eq!(host.accounts.local_id(User, 7, Some("alice")), Ok(1000));
    assert_eq!(host.accounts.local_id(User, 9, Some("ldap")), unknown("ldap"));
}

#[test]
fn this_host_knows_its_own() {
    let accounts = Accounts::system();
    assert_eq!(accounts.local_id(User, 7, Some("daemon")), Ok(1));
    assert_eq!(accounts.name(User, 1).as_deref(), Some("daemon"));
    assert_eq!(accounts.name(User, 4_000_000_001), None);
}
