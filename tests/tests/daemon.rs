//! `vfsync daemon`: what a configuration names is kept the same, whatever happens to hosts, files and the configuration.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use vfsync_tests::{
    Daemon, Pair, Tree, assert_same,
    daemon::{Hosts, ask, control_socket, status},
    over_both_links,
    pair::block,
    wait_for,
};

over_both_links! {
    fn what_a_block_names_is_kept_the_same(pair) {
        pair.first.file("d/f", "1");
        pair.second.file("g", "2");
        let mut daemon = Daemon::of(pair);
        pair.first.file("d/f", "changed");
        daemon.carries(&pair.first, &pair.second);
        pair.second.remove("g").file("h", "3");
        daemon.carries(&pair.first, &pair.second);
        daemon.stop().code(0);
        assert_eq!(pair.first.names(), ["d", "h"]);
    }

    fn a_stop_leaves_everything_in_order(pair) {
        pair.first.file("f", "1");
        let mut daemon = Daemon::of(pair);
        for n in 0..500 {
            pair.first.file(format!("{}/{n}", n % 7), format!("{n}"));
        }
        wait_for("some of it", || pair.second.has("0/0").then_some(()));
        daemon.process();
        daemon.stop().code(0);
        let clean = |state: &std::path::Path| {
            let replicas = fs::read_dir(state.join("replicas")).unwrap().flatten();
            replicas.filter(|replica| replica.path().join("clean").exists()).count()
        };
        assert!(clean(&pair.near_state()) > 0, "no archive was closed in the orderly way");
        pair.sync().run().code(0);
        assert_same(&pair.first, &pair.second);
    }

    /// Whoever answered a link waited for the end of the first look, and so did who closed the replica, for each other.
    fn a_daemon_that_is_stopped_at_once_stops_at_once(pair) {
        pair.first.file("f", "1");
        for _ in 0..3 {
            let mut daemon = Daemon::start(pair, &(pair.defaults() + &pair.block()));
            daemon.says("following the configuration");
            let began = std::time::Instant::now();
            daemon.stop().code(0);
            assert!(began.elapsed() < vfsync_tests::LIMIT);
        }
    }

    fn a_killed_daemon_goes_on_where_it_was(pair) {
        pair.first.file("f", "1");
        let mut daemon = Daemon::of(pair);
        for n in 0..300 {
            pair.first.file(format!("{}/{n}", n % 7), format!("{n}"));
        }
        wait_for("some of it", || pair.second.has("0/0").then_some(()));
        daemon.process().kill();
        drop(daemon);
        pair.second.file("meanwhile", "4");
        let daemon = Daemon::of(pair);
        assert!(pair.first.has("meanwhile"));
        daemon.stop().code(0).tells_not("conflict");
    }
}

#[test]
fn two_blocks_that_share_a_root_carry_through_it() {
    let pair = Pair::over_ssh();
    let third = Tree::new(pair.home().path("third"));
    let apart = [Tree::new(pair.home().path("a")), Tree::new(pair.home().path("b"))];
    let root = |tree: &Tree| tree.root().display().to_string();
    let blocks = [
        block(&pair.first_root(), &[&pair.second_root()]),
        "[[sync]]\nname = 'again'\n".to_owned()
            + &block(&pair.first_root(), &[&root(&third)])["[[sync]]\n".len()..],
        block(&root(&apart[0]), &[&root(&apart[1])]),
    ];
    pair.second.file("from-the-second", "1");
    let mut daemon = Daemon::start(&pair, &(pair.defaults() + &blocks.concat()));
    daemon.carries(&pair.second, &third);
    third.file("from-the-third", "2");
    apart[1].file("elsewhere", "3");
    daemon.carries(&pair.second, &third).carries(&apart[0], &apart[1]);
    assert_eq!(apart[0].names(), ["elsewhere"]);
    daemon.stop().code(0);
    assert_same(&pair.first, &pair.second);
}

#[test]
fn a_reload_brings_a_block_and_takes_one_away() {
    let pair = Pair::over_ssh();
    let apart = [Tree::new(pair.home().path("a")), Tree::new(pair.home().path("b"))];
    let root = |tree: &Tree| tree.root().display().to_string();
    let more = block(&root(&apart[0]), &[&root(&apart[1])]);
    pair.first.file("f", "1");
    let mut daemon = Daemon::of(&pair);
    let master = pair.far_ends();
    daemon.reload(&(pair.defaults() + &pair.block() + &more)).says("read again");
    apart[0].file("new", "2");
    daemon.carries(&apart[0], &apart[1]);
    pair.first.file("f", "2");
    daemon.carries(&pair.first, &pair.second);
    assert_eq!(pair.far_ends(), master, "the link that stayed was made again");
    daemon.reload(&(pair.defaults() + &more)).says_times("read again", 2);
    wait_for("the far end to stop", || pair.far_ends().is_empty().then_some(()));
    pair.first.file("f", "3");
    apart[0].file("new", "3");
    daemon.carries(&apart[0], &apart[1]);
    assert_eq!(pair.second.text("f"), "2");
    daemon.stop().code(0);
}

/// The link was taken for the same, and waited for ever for a replica that was kept no more.
#[test]
fn a_root_that_leads_elsewhere_is_kept_there_after_a_reload() {
    let pair = Pair::over_ssh();
    let home = pair.home();
    let (one, two) = (Tree::new(home.path("one")), Tree::new(home.path("two")));
    one.file("f", "1");
    two.file("g", "2");
    home.symlink("current", "one");
    let config =
        pair.defaults() + &block(&home.path("current").display().to_string(), &[&pair.second_root()]);
    let mut daemon = Daemon::start(&pair, &config);
    daemon.carries(&one, &pair.second);
    home.symlink("new", "two").rename("new", "current");
    daemon.reload(&config).says("read again");
    daemon.carries(&two, &pair.second);
    assert_eq!((one.names(), two.names()), (vec!["f".to_owned()], vec!["f".to_owned(), "g".to_owned()]));
    daemon.stop().code(0);
}

#[test]
fn a_bad_configuration_is_refused_with_its_place_and_changes_nothing() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let good = pair.defaults() + &pair.block();
    let mut daemon = Daemon::of(&pair);
    daemon
        .reload(&format!("{good}tmes = true\n"))
        .says("vfsync.toml:8:1: there is no option")
        .says("nearest is times");
    daemon.reload("[[sync]\n").says("nothing has changed: ").says("vfsync.toml:1:");
    pair.first.file("f", "2");
    daemon.carries(&pair.first, &pair.second);
    daemon.stop().code(0);
    let path = pair.home().path("vfsync.toml");
    pair.vfsync().arg("daemon").arg("--config").arg(&path).run().code(3).says("vfsync.toml:1:");
    pair.vfsync().arg("daemon").env("VFSYNC_CONFIG", "/no/such").run().code(3).says("/no/such");
}

#[test]
fn a_peer_that_is_away_holds_up_no_other() {
    let pair = Pair::over_ssh();
    let third = Tree::new(pair.home().path("third"));
    let away = pair.home().path("away");
    let peers = [pair.second_root(), third.root().display().to_string(), away.display().to_string()];
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    let config = pair.defaults() + &block(&pair.first_root(), &peers);
    pair.first.file("f", "1");
    let mut daemon = Daemon::start(&pair, &config);
    daemon.carries(&pair.first, &pair.second).carries(&pair.first, &third).says("does not exist");
    pair.second.file("g", "2");
    daemon.carries(&pair.first, &third);
    // Since when it is away is told, and not since when it was last tried.
    let (name, mut tries, mut since) = (away.display().to_string(), BTreeSet::new(), BTreeSet::new());
    wait_for("it to be tried some times", || {
        for line in status(&pair, "link").iter().filter(|line| line["peer"] == name.as_str()) {
            if line["state"] == "broken" {
                tries.insert(line["again"].to_string());
                since.insert(line["since"].to_string());
            }
        }
        let waiting = |line: &&serde_json::Value| line["root"] == name.as_str() && line["state"] == "waiting";
        since.extend(status(&pair, "replica").iter().filter(waiting).map(|line| line["since"].to_string()));
        (tries.len() >= 3).then_some(())
    });
    // The replica is found to be missing a moment before the link.
    assert!(since.len() <= 2, "{since:?}");
    let back = Tree::new(&away);
    daemon.carries(&pair.first, &back);
    daemon.stop().code(0);
}

#[test]
fn a_link_that_breaks_is_made_again() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let mut daemon = Daemon::of(&pair);
    for pid in pair.far_ends() {
        vfsync_tests::process::signal(pid, rustix::process::Signal::KILL);
    }
    pair.first.file("f", "2");
    pair.second.file("g", "2");
    daemon.carries(&pair.first, &pair.second);
    daemon.stop().code(0);
}

#[test]
fn a_guard_halts_its_link_and_no_other_and_resume_lets_through_what_it_showed() {
    let pair = Pair::over_ssh();
    let apart = [Tree::new(pair.home().path("a")), Tree::new(pair.home().path("b"))];
    let root = |tree: &Tree| tree.root().display().to_string();
    for n in 0..20 {
        pair.first.file(format!("{n}"), "");
    }
    let config =
        pair.defaults() + &pair.block() + "max-delete = 5\n" + &block(&root(&apart[0]), &[&root(&apart[1])]);
    let mut daemon = Daemon::start(&pair, &config);
    daemon.carries(&pair.first, &pair.second).links(&pair, "live", 3);
    for n in 0..10 {
        pair.first.remove(format!("{n}"));
    }
    daemon.says("more than the 5 that max-delete allows").links(&pair, "waiting", 1);
    let halted =
        status(&pair, "replica").into_iter().find(|line| line["state"] == "halted").expect("it is halted");
    assert_eq!(halted["root"], pair.first_root());
    assert!(halted["why"].as_str().unwrap().contains("max-delete"), "{halted}");
    apart[1].file("f", "1");
    daemon.carries(&apart[0], &apart[1]);
    assert!(pair.second.files() >= 15);
    // What was not shown is not approved: more of them may have to be shown, and approved again.
    wait_for("all of them to be approved", || {
        ask(&pair, &["resume"]).code(0);
        (!pair.second.has("9")).then_some(())
    });
    daemon.carries(&pair.first, &pair.second).links(&pair, "live", 3);
    assert_eq!(pair.first.files(), 10);
    daemon.stop().code(0);
}

over_both_links! {
    fn status_tells_how_everything_stands(pair) {
        pair.first.file("f", "1").file("clash", "old");
        let mut daemon = Daemon::of(pair);
        daemon.links(pair, "live", if pair.is_local() { 2 } else { 1 });
        let link = status(pair, "link").into_iter().find(|link| link["dials"] == true).unwrap();
        assert_eq!((link["root"].as_str(), link["peer"].as_str()), (Some(&*pair.first_root()), Some(&*pair.second_root())));
        assert_eq!((&link["backlog"], &link["carried"], &link["failure_count"]), (&0.into(), &2.into(), &0.into()));
        let replica = status(pair, "replica").into_iter().find(|line| line["root"] == pair.first_root()).unwrap();
        assert_eq!((&replica["state"], &replica["entries"], &replica["conflicts"]), (&"following".into(), &2.into(), &0.into()));
        let process = status(pair, "process").pop().unwrap();
        assert_eq!(process["pid"], daemon.process().pid());
        pair.second.file("g", "3");
        daemon.carries(&pair.first, &pair.second);
        wait_for("the last change to be told", || {
            let links = status(pair, "link");
            links.iter().any(|link| link["last"]["path"] == "g" && link["bytes_received"].as_u64() > Some(0)).then_some(())
        });
        ask(pair, &["status"]).code(0).tells("live for").tells(&pair.first_root());
        ask(pair, &["conflicts"]).code(0);
        daemon.stop().code(0);
        ask(pair, &["status"]).code(3).says("no daemon");
    }

    fn a_conflict_is_listed_until_it_is_settled(pair) {
        pair.first.file("d/clash", "old");
        pair.in_step();
        pair.first.file("d/clash", "mine");
        pair.second.file("d/clash", "yours, longer");
        let mut daemon = Daemon::start(pair, &(pair.defaults() + &pair.block()));
        let listed = || ask(pair, &["conflicts", "--json"]).events("conflict");
        wait_for("the conflict", || (!listed().is_empty()).then_some(()));
        let conflict = listed().into_iter().find(|line| line["root"] == pair.first_root()).expect("it is listed here");
        assert_eq!((conflict["path"].as_str(), conflict["here"].as_str()), (Some("d/clash"), Some("file, 4 bytes")));
        ask(pair, &["conflicts"]).code(1).tells("d/clash");
        // What is not on the peer is not said to be.
        ask(pair, &["flush", "--json"]).code(2).tells("d/clash");
        pair.second.file("d/clash", "mine");
        wait_for("the end of it", || listed().is_empty().then_some(()));
        ask(pair, &["flush"]).code(0);
        daemon.carries(&pair.first, &pair.second);
        daemon.stop().code(0);
    }

    fn after_a_flush_everything_is_there(pair) {
        pair.first.file("f", "1");
        let mut daemon = Daemon::of(pair);
        daemon.links(pair, "live", if pair.is_local() { 2 } else { 1 });
        for round in 0..5 {
            for n in 0..100 {
                pair.first.file(format!("{}/{n}", n % 3), format!("{round}"));
            }
            ask(pair, &["flush"]).code(0);
            vfsync_tests::assert_same(&pair.first, &pair.second);
        }
        pair.first.file("one/f", "6").file("two/f", "6");
        let path = pair.first.path("one");
        ask(pair, &["flush", path.to_str().unwrap()]).code(0);
        assert_eq!(pair.second.text("one/f"), "6");
        ask(pair, &["flush", "/no/such/place"]).code(3).says("no root");
        daemon.stop().code(0);
    }
}

#[test]
fn a_flush_says_what_does_not_get_there() {
    let pair = Pair::over_ssh();
    let away = pair.home().path("away");
    let peers = [pair.second_root(), away.display().to_string()];
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    let mut daemon = Daemon::start(&pair, &(pair.defaults() + &block(&pair.first_root(), &peers)));
    pair.first.file("f", "1");
    daemon.carries(&pair.first, &pair.second);
    let flush = ask(&pair, &["flush", "--timeout", "3", "--json"]);
    flush.code(3);
    let of = |peer: &str| {
        let lines = flush.events("flush");
        lines
            .into_iter()
            .find(|line| line["peer"] == peer)
            .unwrap_or_else(|| panic!("nothing of {peer}:\n{flush}"))
    };
    assert_eq!(of(peers[0])["result"], "done");
    assert_eq!(of(peers[1])["result"], "failed");
    assert!(of(peers[1])["why"].as_str().unwrap().contains("in time"), "{flush}");
    daemon.stop().code(0);
}

#[test]
fn a_paused_root_is_let_go_and_resumed() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let mut daemon = Daemon::of(&pair);
    ask(&pair, &["pause", "no-such-block"]).code(3).says("nothing here is named");
    ask(&pair, &["pause"]).code(0);
    wait_for("the pause", || (status(&pair, "replica")[0]["state"] == "paused").then_some(()));
    let mut held = || {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.process().pid())).unwrap().flatten();
        open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(pair.first.root()))).count()
    };
    wait_for("the root to be let go", || (held() == 0).then_some(()));
    pair.first.file("f", "2");
    pair.second.file("g", "2");
    ask(&pair, &["flush", "--timeout", "0.5"]).code(3);
    assert_eq!(pair.second.text("f"), "1");
    ask(&pair, &["resume", &pair.first_root()]).code(0);
    daemon.carries(&pair.first, &pair.second);
    daemon.stop().code(0);
}

#[test]
fn live_has_a_socket_too() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1");
    let live = pair.live();
    pair.first.file("f", "2");
    ask(&pair, &["flush"]).code(0);
    assert_eq!(pair.second.text("f"), "2");
    live.interrupt().code(0);
}

#[test]
fn the_control_socket_is_for_its_owner() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let daemon = Daemon::of(&pair);
    let folder = pair.near_state().join("control");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let socket = control_socket(&pair);
    assert_eq!((mode(&folder), mode(&socket)), (0o700, 0o600));
    // What is no request is answered, and what has no end is not read for ever.
    let answer = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // It may be cut off while it writes.
        let _ = stream.write_all(bytes);
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    };
    assert!(answer(b"{\"command\":\"reboot\"}\n").contains("cannot be understood"));
    assert!(!answer(&vec![b'x'; 1 << 20]).contains("process"));
    ask(&pair, &["status"]).code(0);
    daemon.stop().code(0);
    assert!(!socket.exists());
}

/// Sessions took the places of questions, for as long as they lasted.
#[test]
fn sessions_leave_room_for_questions() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let daemon = Daemon::of(&pair);
    let socket = control_socket(&pair);
    let request = format!(
        "{{\"command\":\"serve\",\"protocol\":{},\"root\":{:?},\"pinned\":null}}\n",
        vfsync::transport::PROTOCOL_VERSION,
        pair.first_root().as_bytes()
    );
    let session = |_| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(vfsync_tests::LIMIT / 4)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).expect("the session is taken");
        stream
    };
    let sessions: Vec<UnixStream> = (0..70).map(session).collect();
    ask(&pair, &["status"]).code(0);
    drop(sessions);
    daemon.stop().code(0);
}

/// A `live` of other roots that somebody had stopped made every `serve` refuse, and every question wait for ever.
#[test]
fn a_process_that_is_stopped_holds_up_no_other() {
    let Hosts { pair, there } = Hosts::new();
    let apart = [Tree::new(there.home().path("a")), Tree::new(there.home().path("b"))];
    apart[0].file("f", "1");
    let live = there.vfsync().arg("live").args([apart[0].root(), apart[1].root()]).start();
    wait_for("its socket", || (!status(&there, "process").is_empty()).then_some(()));
    live.signal(rustix::process::Signal::STOP);
    pair.first.file("g", "2");
    let config = Hosts::defaults(&pair, &there) + &pair.block();
    let mut near = Daemon::start(&pair, &config);
    near.carries(&pair.first, &pair.second);
    ask(&there, &["status"]).code(3).says(&format!("process {} does not answer", live.pid()));
    live.signal(rustix::process::Signal::CONT);
    ask(&there, &["status"]).code(0);
    near.stop().code(0);
}

over_both_links! {
    fn cron_makes_a_pass_over_every_block_and_is_quiet(pair) {
        pair.first.file("f", "1");
        pair.second.file("g", "2");
        let config = pair.home().path("vfsync.toml");
        pair.home().file("vfsync.toml", pair.defaults() + &pair.block());
        let cron = || pair.vfsync().arg("cron").arg("--config").arg(&config).run();
        let quiet = |outcome: vfsync_tests::Outcome, code: i32| {
            assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(code), "", ""), "{outcome}");
        };
        quiet(cron(), 0);
        assert_same(&pair.first, &pair.second);
        quiet(cron(), 0);
        pair.first.file("f", "mine");
        pair.second.file("f", "yours").file("h", "3");
        cron().code(1).tells("f");
        assert_eq!(pair.first.text("h"), "3");
        pair.second.file("f", "mine");
        // Where the daemon is at work there is nothing to do.
        let mut daemon = Daemon::of(pair);
        daemon.links(pair, "live", if pair.is_local() { 2 } else { 1 });
        quiet(cron(), 0);
        daemon.stop().code(0);
        fs::remove_dir_all(pair.second.root()).unwrap();
        cron().code(3).says("does not exist");
    }
}

#[test]
fn two_crons_never_run_at_a_time() {
    let pair = Pair::local();
    pair.first.file("f", "1");
    let config = pair.home().path("vfsync.toml");
    pair.home().file("vfsync.toml", pair.block());
    let cron = || pair.vfsync().arg("cron").arg("--config").arg(&config).run();
    fs::create_dir_all(pair.near_state()).unwrap();
    let lock = fs::File::create(pair.near_state().join("cron.lock")).unwrap();
    lock.lock().unwrap();
    cron().code(0);
    assert!(!pair.second.has("f"));
    drop(lock);
    cron().code(0);
    assert!(pair.second.has("f"));
}

#[test]
fn a_host_with_a_daemon_serves_through_it() {
    let Hosts { pair, there } = Hosts::new();
    // There, a daemon keeps the second root together with one of its own.
    let local = Tree::new(there.home().path("local"));
    let root = |tree: &Tree| tree.root().display().to_string();
    let mut far = Daemon::start(&there, &block(&root(&pair.second), &[&root(&local)]));
    pair.second.file("f", "1");
    far.carries(&pair.second, &local);
    let config = Hosts::defaults(&pair, &there) + &pair.block();
    let mut near = Daemon::start(&pair, &config);
    near.carries(&pair.first, &local);
    local.file("g", "2");
    near.carries(&pair.first, &local);
    let answered = status(&there, "link")
        .into_iter()
        .find(|link| link["dials"] == false && link["peer"] == format!("127.0.0.1:{}", pair.first_root()));
    assert_eq!(answered.expect("it came through the daemon")["state"], "live");
    // A pass from elsewhere goes the same way.
    far.stop().code(0);
    let far = Daemon::start(&there, &block(&root(&pair.second), &[&root(&local)]));
    pair.first.file("h", "3");
    near.carries(&pair.first, &local);
    near.stop().code(0);
    far.stop().code(0);
}

/// The daemon there was asked for the root as it was written, and looked for it in its own working directory.
#[test]
fn a_root_below_the_home_there_is_served_through_the_daemon() {
    let Hosts { pair, there } = Hosts::new();
    let local = Tree::new(there.home().path("local"));
    let root = |tree: &Tree| tree.root().display().to_string();
    let mut far = Daemon::start(&there, &block(&root(&pair.second), &[&root(&local)]));
    pair.second.file("f", "1");
    far.carries(&pair.second, &local);
    let home = std::env::home_dir().expect("who runs this has a home");
    let up = "../".repeat(home.components().count() - 1);
    let address = pair.second_root().replacen(&root(&pair.second), &(up + &root(&pair.second)[1..]), 1);
    let config = Hosts::defaults(&pair, &there) + &block(&pair.first_root(), &[&address]);
    let mut near = Daemon::start(&pair, &config);
    near.carries(&pair.first, &local);
    // Its name there has the host before it.
    let is_first = |peer: &str| peer.ends_with(&pair.first_root());
    let answered =
        |link: &serde_json::Value| link["dials"] == false && link["peer"].as_str().is_some_and(is_first);
    assert!(status(&there, "link").iter().any(answered), "it came through no daemon");
    near.stop().code(0);
    far.stop().code(0);
}

#[test]
fn the_same_configuration_on_both_hosts_gives_one_link() {
    let Hosts { pair, there } = Hosts::new();
    let address = |tree: &Tree| pair.sshd().root(tree.root());
    let peers = [address(&pair.first), address(&pair.second)];
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    let root = |tree: &Tree| tree.root().display().to_string();
    // Each has both as peers, and so itself, too.
    let here = Hosts::defaults(&pair, &there) + &block(&root(&pair.first), &peers[1..]);
    let other = Hosts::defaults(&there, &pair) + &block(&root(&pair.second), &peers[..1]);
    pair.first.file("f", "1");
    pair.second.file("g", "2");
    let (mut near, mut far) = (Daemon::start(&pair, &here), Daemon::start(&there, &other));
    near.carries(&pair.first, &pair.second);
    let live = |of: &Pair| status(of, "link").iter().filter(|link| link["state"] == "live").count();
    wait_for("one link at each end", || (live(&pair) == 1 && live(&there) == 1).then_some(()));
    for n in 0..20 {
        pair.first.file(format!("a{n}"), "");
        pair.second.file(format!("b{n}"), "");
    }
    near.carries(&pair.first, &pair.second);
    // The one of the lower id may have come up later than the other, and has taken its place then.
    wait_for("one link at each end", || (live(&pair) == 1 && live(&there) == 1).then_some(()));
    // What is not there is not said to be: not even while the link of the other end, which is dialled by it, is gone.
    let stands_by = |of: &Pair| status(of, "link").iter().any(|link| link["state"] == "by-other-end");
    let near_waits =
        wait_for("one end to stand by", || (stands_by(&pair) != stands_by(&there)).then(|| stands_by(&pair)));
    let (waits, dials) = if near_waits { (&pair, &mut far) } else { (&there, &mut near) };
    ask(waits, &["flush"]).code(0).tells("done");
    dials.process().kill();
    wait_for("the link to be gone", || (live(waits) == 0).then_some(()));
    ask(waits, &["flush", "--timeout", "0.5"]).code(3).tells("not everything was answered");
    if near_waits {
        drop(far);
        far = Daemon::start(&there, &other);
    } else {
        drop(near);
        near = Daemon::start(&pair, &here);
    }
    near.carries(&pair.first, &pair.second);
    wait_for("one link at each end", || (live(&pair) == 1 && live(&there) == 1).then_some(()));
    // Whichever of the two it is that has dialled: it is killed, and comes back.
    near.process().kill();
    drop(near);
    pair.second.file("meanwhile", "1");
    let mut near = Daemon::start(&pair, &here);
    near.carries(&pair.first, &pair.second);
    wait_for("one link at each end", || (live(&pair) == 1 && live(&there) == 1).then_some(()));
    far.carries(&pair.first, &pair.second);
    near.stop().code(0).tells_not("conflict");
    far.stop().code(0).tells_not("conflict");
}

#[test]
fn a_configuration_may_name_the_host_that_it_is_on() {
    let Hosts { pair, there } = Hosts::new();
    let itself = pair.sshd().root(pair.first.root());
    let third = pair.home().path("third");
    let config =
        Hosts::defaults(&pair, &pair) + &block(&pair.first_root(), &[&itself, third.to_str().unwrap()]);
    let third = Tree::new(&third);
    pair.first.file("f", "1");
    let mut daemon = Daemon::start(&pair, &config);
    daemon.carries(&pair.first, &third).links(&pair, "itself", 1);
    daemon.stop().code(0);
    drop(there);
}

#[test]
fn a_guard_of_the_other_host_is_resumed_from_here() {
    let pair = Pair::over_ssh();
    for n in 0..20 {
        pair.first.file(format!("{n}"), "");
    }
    let mut daemon = Daemon::start(&pair, &(pair.defaults() + &pair.block() + "max-delete = 5\n"));
    daemon.carries(&pair.first, &pair.second).links(&pair, "live", 1);
    for n in 0..10 {
        pair.second.remove(format!("{n}"));
    }
    daemon.links(&pair, "halted", 1);
    let halted = status(&pair, "link").pop().unwrap();
    assert!(halted["deletions"].as_u64().is_some_and(|n| n > 5), "{halted}");
    assert!(pair.first.files() >= 15);
    wait_for("all of them to be approved", || {
        ask(&pair, &["resume"]).code(0);
        (!pair.first.has("9")).then_some(())
    });
    daemon.carries(&pair.first, &pair.second);
    daemon.stop().code(0);
}

/// A job that pauses everything for a snapshot approved what a guard had halted meanwhile.
#[test]
fn the_end_of_a_pause_approves_nothing() {
    let pair = Pair::over_ssh();
    for n in 0..20 {
        pair.first.file(format!("{n}"), "");
    }
    let mut daemon = Daemon::start(&pair, &(pair.defaults() + &pair.block() + "max-delete = 5\n"));
    daemon.carries(&pair.first, &pair.second).links(&pair, "live", 1);
    for n in 0..10 {
        pair.second.remove(format!("{n}"));
    }
    daemon.links(&pair, "halted", 1);
    ask(&pair, &["pause"]).code(0);
    ask(&pair, &["resume"]).code(0).says("still so").says(&pair.second_root());
    ask(&pair, &["flush", "--timeout", "3"]).code(3);
    daemon.links(&pair, "halted", 1);
    assert!(pair.first.files() >= 15);
    wait_for("all of them to be approved", || {
        ask(&pair, &["resume"]).code(0);
        (!pair.first.has("9")).then_some(())
    });
    daemon.carries(&pair.first, &pair.second);
    daemon.stop().code(0);
}

/// Any number that a peer named overruled the guard of this host.
#[test]
fn a_guard_believes_no_number_that_it_has_not_shown() {
    let Hosts { pair, there } = Hosts::new();
    let local = Tree::new(there.home().path("local"));
    let root = |tree: &Tree| tree.root().display().to_string();
    for n in 0..20 {
        pair.second.file(format!("{n}"), "");
    }
    let config = block(&root(&pair.second), &[&root(&local)]) + "max-delete = 5\n";
    let mut far = Daemon::start(&there, &config);
    far.carries(&pair.second, &local).links(&there, "live", 2);
    for n in 0..10 {
        pair.second.remove(format!("{n}"));
    }
    far.says("more than the 5 that max-delete allows");
    let ssh = xtask::sshd::kit().dir().join("bin/ssh");
    let pass = pair.vfsync().args(["sync", "-batch", "-confirm-deletes", "1000000", "-sshcmd"]).arg(ssh);
    let pass = pass.args(["-sshargs", &pair.sshd().ssh_args(), "-servercmd", &there.near_server_command()]);
    pass.args([pair.first_root(), pair.second_root()])
        .run()
        .code(3)
        .says("more than the 5 that max-delete allows");
    let is_halted = status(&there, "replica").iter().any(|line| line["state"] == "halted");
    assert!(is_halted && local.files() >= 15, "{:?}", local.names());
    far.stop().code(0);
}

#[test]
fn a_change_log_has_a_line_for_each_change_and_metrics_count_them() {
    let pair = Pair::over_ssh();
    let (log, socket) = (pair.home().path("changes"), pair.home().path("metrics.sock"));
    let config = format!(
        "{}changelog-dir = '{}'\n[daemon]\nmetrics = '{}'\n{}",
        pair.defaults(),
        log.display(),
        socket.display(),
        pair.block()
    );
    let mut daemon = Daemon::start(&pair, &config);
    pair.first.file("some-file", "1");
    daemon.carries(&pair.first, &pair.second);
    pair.second.remove("some-file").file("other", "2");
    daemon.carries(&pair.first, &pair.second);
    ask(&pair, &["flush"]).code(0);
    let lines = || {
        let files = fs::read_dir(&log).unwrap().flatten();
        files.map(|file| fs::read_to_string(file.path()).unwrap()).collect::<String>()
    };
    for change in
        ["create file to-second some-file", "delete file to-first some-file", "create file to-first other"]
    {
        wait_for("the lines of the changes", || lines().contains(change).then_some(()));
    }
    assert!(lines().lines().all(|line| line.starts_with("20")), "{}", lines());
    let metrics = |target: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let text = metrics("/metrics");
    for stage in ["contents", "record", "answer"] {
        let counted = format!("stage=\"{stage}\"}} ");
        assert!(text.contains(&counted), "no time of {stage}: {text}");
    }
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    let root = format!("vfsync_replica_entries{{root=\"{}\"}} 1\n", pair.first_root());
    assert!(text.contains(&root) && text.contains("vfsync_link_live{"), "{text}");
    assert!(metrics("/etc/passwd").starts_with("HTTP/1.1 404"));
    daemon.stop().code(0);
    assert!(!socket.exists());
}

#[test]
fn a_profile_that_is_imported_does_the_same() {
    let pair = Pair::over_ssh();
    pair.first.file("f", "1").file("x.tmp", "2");
    let profile = format!(
        "root = {}\nroot = {}\nignore = Name *.tmp\nbatch = true\nfastcheck = true\n",
        pair.first_root(),
        pair.second_root()
    );
    pair.home().file("www.prf", profile);
    let imported = pair.vfsync().args(["import", "www.prf"]).run();
    imported.code(0);
    let mut daemon = Daemon::start(&pair, &(pair.defaults() + &imported.stdout));
    wait_for("the file", || pair.second.has("f").then_some(()));
    ask(&pair, &["flush"]).code(0);
    assert_eq!(pair.second.names(), ["f"]);
    daemon.process();
    daemon.stop().code(0);
}

#[test]
fn a_mesh_of_three_hosts_is_equal_in_the_end_with_one_link_between_each_two() {
    let hosts: [Pair; 3] = std::array::from_fn(|_| Pair::over_ssh());
    let config = |at: usize| {
        let defaults = hosts[at].defaults();
        let mut text: String = defaults
            .lines()
            .filter(|line| !line.starts_with("servercmd"))
            .map(|line| format!("{line}\n"))
            .collect();
        for peer in (0..3).filter(|&peer| peer != at) {
            let address = hosts[at].sshd().root(hosts[peer].first.root());
            text += &block(&hosts[at].first_root(), &[&address]);
            text += &format!("name = 'to-{peer}'\nservercmd = '{}'\n", hosts[peer].near_server_command());
        }
        text
    };
    let trees = || (&hosts[0].first, &hosts[1].first, &hosts[2].first);
    let equal = |daemon: &mut Daemon| {
        let (a, b, c) = trees();
        daemon.carries(a, b).carries(b, c);
    };
    let links = || {
        wait_for("two links at each host", || {
            let live =
                |host: &Pair| status(host, "link").iter().filter(|link| link["state"] == "live").count();
            hosts.iter().all(|host| live(host) == 2).then_some(())
        });
    };
    for (n, host) in hosts.iter().enumerate() {
        host.first.file(format!("from-{n}"), format!("{n}")).file("common", "the same");
    }
    let mut daemons: Vec<Daemon> = (0..3).map(|at| Daemon::start(&hosts[at], &config(at))).collect();
    equal(&mut daemons[0]);
    links();
    for round in 0..5 {
        for (n, host) in hosts.iter().enumerate() {
            host.first
                .file(format!("d{n}/{round}"), format!("{round}"))
                .file(format!("from-{n}"), format!("{round}"));
        }
    }
    equal(&mut daemons[0]);
    // One host goes down, and everybody goes on meanwhile.
    daemons[1].process().kill();
    drop(daemons.remove(1));
    for (n, host) in hosts.iter().enumerate() {
        host.first.file(format!("meanwhile-{n}"), "1").remove(format!("d{n}/0"));
    }
    let (a, _, c) = trees();
    daemons[0].carries(a, c);
    daemons.push(Daemon::start(&hosts[1], &config(1)));
    equal(&mut daemons[2]);
    links();
    assert_eq!(
        hosts[1].first.names(),
        [
            "common",
            "d0",
            "d1",
            "d2",
            "from-0",
            "from-1",
            "from-2",
            "meanwhile-0",
            "meanwhile-1",
            "meanwhile-2"
        ]
    );
    for daemon in daemons {
        daemon.stop().code(0).tells_not("conflict");
    }
    for host in &hosts {
        assert!(ask(host, &["status"]).code == Some(3));
    }
}
