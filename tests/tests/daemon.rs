//! `vfsync daemon`: what a configuration names is kept the same, whatever happens to hosts, files and the configuration.

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use vfsync_tests::{
    Daemon, Pair, Tree, assert_same,
    daemon::{ask, status},
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
    let socket = fs::read_dir(&folder).unwrap().flatten().next().expect("a socket").path();
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
