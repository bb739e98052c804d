//! `-deploy`: a far end that has no vfsync gets this one.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};

use vfsync_tests::{
    Daemon, Link, Outcome, Pair, Vfsync, assert_same, binary, live::Live, mount::SmallDisk, sshd::TestSshd,
};

/// A far end whose user has nothing but what a test gives: a PATH without vfsync, and a folder for data.
struct Bare {
    pair: Pair,
    data: PathBuf,
}

impl Bare {
    fn new() -> Bare {
        Bare::with(|_| "/usr/bin:/bin".to_owned(), None)
    }

    /// Makes one with the PATH that `path` makes in a folder, and data there or elsewhere.
    fn with(path: impl FnOnce(&Path) -> String, data: Option<PathBuf>) -> Bare {
        let sshd = TestSshd::own_with(|dir| {
            let data = data.clone().unwrap_or_else(|| dir.join("data"));
            let state = dir.join("state");
            let path = path(dir);
            format!(
                "SetEnv XDG_DATA_HOME={} VFSYNC_STATE_DIR={} PATH={path}\n",
                data.display(),
                state.display()
            )
        });
        let data = data.unwrap_or_else(|| sshd.dir().join("data"));
        let pair = Pair::over(Link::Ssh(Arc::new(sshd)));
        pair.first.file("d/f", "1");
        pair.second.file("g", "2");
        Bare { pair, data }
    }

    fn command(&self, command: &str) -> Vfsync {
        let ssh = xtask::sshd::kit().dir().join("bin/ssh");
        let args = self.pair.sshd().ssh_args();
        let vfsync = self.pair.vfsync().args([command, "-deploy", "-sshargs", &args, "-sshcmd"]).arg(ssh);
        vfsync.args([self.pair.first_root(), self.pair.second_root()])
    }

    fn sync(&self) -> Outcome {
        self.command("sync").arg("-batch").run()
    }

    fn folder(&self) -> PathBuf {
        self.data.join("vfsync/bin")
    }

    /// Returns the one copy, with nothing beside it.
    #[track_caller]
    fn copy(&self) -> PathBuf {
        let mut all = self.everything();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn everything(&self) -> Vec<PathBuf> {
        let listed = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        listed.map(|entry| entry.path()).collect()
    }
}

#[test]
fn a_far_end_without_vfsync_gets_this_one_once() {
    let bare = Bare::new();
    bare.sync().code(0).says("vfsync was copied to");
    assert_same(&bare.pair.first, &bare.pair.second);
    let copy = bare.copy();
    let meta = copy.metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o755);
    assert!(fs::read(&copy).unwrap() == fs::read(binary::vfsync()).unwrap());
    let name = copy.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(concat!("vfsync-", env!("CARGO_PKG_VERSION"), "-")), "{name}");
    bare.pair.first.file("d/f", "3");
    bare.sync().code(0).tells_not("copied");
    assert_eq!(bare.copy().metadata().unwrap().ino(), meta.ino(), "it was copied again");
    assert_eq!(bare.pair.second.text("d/f"), "3");
}

#[test]
fn a_copy_that_is_not_what_it_should_be_is_replaced() {
    let bare = Bare::new();
    bare.sync().code(0);
    let spoils: [fn(&mut Vec<u8>); 2] = [|bytes| bytes.truncate(1000), |bytes| bytes[5000] ^= 1];
    for spoil in spoils {
        let mut bytes = fs::read(bare.copy()).unwrap();
        spoil(&mut bytes);
        fs::write(bare.copy(), bytes).unwrap();
        bare.sync().code(0).says("vfsync was copied to");
        assert!(fs::read(bare.copy()).unwrap() == fs::read(binary::vfsync()).unwrap());
    }
}

#[test]
fn servercmd_wins() {
    let bare = Bare::new();
    let server = bare.pair.server_command();
    bare.command("sync").args(["-batch", "-servercmd", &server]).run().code(0).says("deploy has no effect");
    assert_same(&bare.pair.first, &bare.pair.second);
    assert!(!bare.data.exists());
}

#[test]
fn several_at_once_do_not_disturb_each_other() {
    let bare = Bare::new();
    let running: Vec<_> = (0..4).map(|_| bare.command("sync").arg("-testserver").start()).collect();
    for one in running {
        one.end().code(0);
    }
    assert!(fs::read(bare.copy()).unwrap() == fs::read(binary::vfsync()).unwrap());
}

#[test]
fn copies_that_nobody_has_used_for_long_go_with_the_next_one() {
    let bare = Bare::new();
    fs::create_dir_all(bare.folder()).unwrap();
    let day = std::time::Duration::from_secs(86_400);
    for (name, days) in
        [("vfsync-0.0.1-old", 40), ("vfsync-0.0.2-used", 10), (".new-left", 2), ("other", 400)]
    {
        let file = fs::File::create(bare.folder().join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - days * day).unwrap();
    }
    bare.sync().code(0);
    let there = |name: &str| bare.folder().join(name).exists();
    assert!(!there("vfsync-0.0.1-old") && !there(".new-left"));
    assert!(there("vfsync-0.0.2-used") && there("other"));
}

/// Makes a folder with these programs of the machine alone.
fn only(programs: &[&str], dir: &Path) -> String {
    let folder = dir.join("programs");
    fs::create_dir_all(&folder).unwrap();
    for program in programs {
        let found = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(program));
        symlink(found.iter().find(|path| path.exists()).expect(program), folder.join(program)).unwrap();
    }
    folder.display().to_string()
}

#[test]
fn a_far_end_without_a_tool_for_sha256_compares_what_it_has() {
    let tools = ["sh", "cat", "chmod", "cksum", "find", "mkdir", "mv", "rm", "touch", "uname"];
    let bare = Bare::with(|dir| only(&tools, dir), None);
    bare.sync().code(0).says("vfsync was copied to");
    let first = bare.copy().metadata().unwrap().ino();
    bare.sync().code(0).tells_not("copied");
    assert_eq!(bare.copy().metadata().unwrap().ino(), first);
    let mut bytes = fs::read(bare.copy()).unwrap();
    bytes[5000] ^= 1;
    fs::write(bare.copy(), bytes).unwrap();
    bare.sync().code(0).says("vfsync was copied to");
}

#[test]
fn another_kind_of_machine_is_said_and_nothing_is_copied() {
    let other = |dir: &Path| {
        let uname = dir.join("programs/uname");
        fs::create_dir(dir.join("programs")).unwrap();
        fs::write(&uname, "#!/bin/sh\necho Linux sparc64\n").unwrap();
        fs::set_permissions(&uname, fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}/programs:/usr/bin:/bin", dir.display())
    };
    let bare = Bare::with(other, None);
    bare.sync().code(3).says("is Linux sparc64, and this vfsync is for Linux").says("install one");
    assert!(bare.everything().is_empty());
}

#[test]
fn a_full_disk_is_said_and_nothing_stays_there() {
    let disk = SmallDisk::new(1 << 20);
    // An sshd sees what is mounted when it starts.
    let bare = Bare::with(|_| "/usr/bin:/bin".to_owned(), Some(disk.path().join("data")));
    bare.sync().code(3).says("cannot copy vfsync to").says("No space left").says("make room");
    assert!(bare.everything().is_empty(), "{:?}", bare.everything());
}

#[test]
fn a_home_whose_programs_may_not_run_is_said() {
    let disk = SmallDisk::new(1 << 30);
    disk.forbid_programs();
    let bare = Bare::with(|_| "/usr/bin:/bin".to_owned(), Some(disk.path().join("data")));
    for _ in 0..2 {
        bare.sync().code(3).says("does not run there").says("noexec").says("servercmd");
    }
}

#[test]
fn a_forced_command_is_said() {
    let bare = Bare::new();
    let keys = bare.pair.sshd().dir().join("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, format!("command=\"echo only this\" {key}")).unwrap();
    bare.sync().code(3).says("forced command").says("only this");
}

#[test]
fn live_deploys_too() {
    let bare = Bare::new();
    let mut live = Live::of(bare.command("live").arg("--json").start(), &bare.pair);
    bare.pair.second.file("h", "3");
    live.carries();
    live.interrupt().code(0);
    bare.copy();
}

#[test]
fn the_daemon_deploys_too() {
    let bare = Bare::new();
    let ssh = xtask::sshd::kit().dir().join("bin/ssh");
    let args = bare.pair.sshd().ssh_args();
    let defaults = format!("[defaults]\ndeploy = true\nsshcmd = '{}'\nsshargs = '{args}'\n", ssh.display());
    let mut daemon = Daemon::start(&bare.pair, &(defaults + &bare.pair.block()));
    daemon.carries(&bare.pair.first, &bare.pair.second);
    bare.copy();
    daemon.stop().code(0);
}
