//! Two hosts that name each other, with other options: neither is overruled by the other, and both say why.

use vfsync_tests::{
    Daemon, Pair, Tree,
    daemon::{Hosts, ask, status},
    pair::block,
    wait_for,
};

/// Waits until a host says of its link that the other one is configured otherwise, and returns the words.
fn refused(host: &Pair) -> String {
    wait_for("the link to be refused", || {
        let link = status(host, "link").into_iter().find(|link| link["dials"] == true)?;
        let why = link["why"].as_str()?.to_owned();
        (link["state"] == "broken" && why.contains("configured otherwise")).then_some(why)
    })
}

/// The one that dialled first had its way, against what the other's administrator wrote.
#[test]
fn hosts_that_name_each_other_with_other_options_are_not_linked_and_both_say_why() {
    let hosts = Hosts::new();
    let (first, second) = (&hosts.pair.first, &hosts.pair.second);
    first.file("f", "mine").set_mtime("f", 1_000_000_000_000_000_000);
    second.file("f", "yours, longer");
    let [here, there] = hosts.naming_each_other(
        "prefer = 'newer'\ntimes = true\nignore = ['Name *.tmp']\n",
        "prefer = 'older'\ntimes = true\n",
    );
    let mut near = Daemon::start(&hosts.pair, &here);
    let mut far = Daemon::start(&hosts.there, &there);
    for host in [&hosts.pair, &hosts.there] {
        let why = refused(host);
        for part in ["prefer is ", "newer at ", "older at ", "ignore is ", "Name *.tmp", "not set at "] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
    for daemon in [&mut near, &mut far] {
        daemon.says("configured otherwise");
    }
    assert_eq!(hosts.live(), [0, 0]);
    assert_eq!((first.text("f"), second.text("f")), ("mine".to_owned(), "yours, longer".to_owned()));
    wait_for("flush to say why", || {
        let flush = ask(&hosts.pair, &["flush", "--timeout", "1"]);
        flush.code(3).stdout.contains("configured otherwise").then_some(())
    });
    // One of them is mended, and each has one link.
    far.reload(&hosts.naming_each_other("", "prefer = 'newer'\ntimes = true\nignore = ['Name *.tmp']\n")[1]);
    far.says("read again").carries(first, second);
    assert_eq!(first.text("f"), "yours, longer");
    wait_for("one link at each end", || (hosts.live() == [1, 1]).then_some(()));
    // And is changed while they are linked.
    far.reload(&hosts.naming_each_other("", "prefer = 'newer'\ntimes = true\n")[1]);
    for host in [&hosts.pair, &hosts.there] {
        assert!(refused(host).contains("Name *.tmp"));
    }
    assert_eq!(hosts.live(), [0, 0]);
    near.stop().code(0);
    far.stop().code(0);
}

#[test]
fn the_same_options_seen_from_both_ends_are_the_same() {
    let hosts = Hosts::new();
    let (first, second) = (&hosts.pair.first, &hosts.pair.second);
    let here = format!("force = '{0}'\nnodeletion = ['{0}']\n", first.root().display());
    let there = format!("force = '{0}'\nnodeletion = ['{0}']\n", hosts.pair.sshd().root(first.root()));
    first.file("f", "mine");
    second.file("f", "yours").file("g", "2");
    let [here, there] = hosts.naming_each_other(&here, &there);
    let mut near = Daemon::start(&hosts.pair, &here);
    let far = Daemon::start(&hosts.there, &there);
    near.carries(first, second);
    assert_eq!(second.text("f"), "mine");
    wait_for("one link at each end", || (hosts.live() == [1, 1]).then_some(()));
    near.stop().code(0).tells_not("configured otherwise");
    far.stop().code(0).tells_not("configured otherwise");
}

#[test]
fn who_is_not_named_states_the_options() {
    let hosts = Hosts::new();
    let local = Tree::new(hosts.there.home().path("local"));
    let root = |tree: &Tree| tree.root().display().to_string();
    let there = block(&root(&hosts.pair.second), &[&root(&local)])
        + "prefer = 'older'\ntimes = true\nignore = ['Name x']\n";
    let mut far = Daemon::start(&hosts.there, &there);
    hosts.pair.second.file("f", "1");
    far.carries(&hosts.pair.second, &local);
    let here =
        Hosts::defaults(&hosts.pair, &hosts.there) + &hosts.pair.block() + "prefer = 'newer'\ntimes = true\n";
    let mut near = Daemon::start(&hosts.pair, &here);
    near.carries(&hosts.pair.first, &hosts.pair.second);
    near.stop().code(0);
    far.stop().code(0);
}
