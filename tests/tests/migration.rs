//! The usual deployment of Unison between two hosts, step by step, with vfsync in its place; and what the README's chapter
//! about that says, line by line.

use std::fs;

use vfsync_tests::{LIMIT, Network, Pair, Tree, binary, wait_for, wait_for_up_to};

const README: &str = include_str!("../../README.md");

/// Returns the README's chapter.
fn chapter() -> &'static str {
    let (_, rest) = README.split_once("## Coming from Unison\n").expect("the README has the chapter");
    rest.split("\n## ").next().expect("there is a first part")
}

/// Returns the first block of a language in the chapter.
fn block(language: &str) -> &'static str {
    let (_, rest) = chapter().split_once(&format!("```{language}\n")).expect("there is such a block");
    rest.split("```").next().expect("there is a first part")
}

/// Two hosts with the addresses that the deployment has, a tree `/data` each, and vfsync where Unison was.
fn hosts() -> Network {
    let mut network = Network::of(&["first", "second"]);
    network.give_address(0, 1, "192.168.1.15/24");
    network.give_address(1, 0, "192.168.1.16/24");
    for host in 0..2 {
        let host = network.host(host);
        host.run("mkdir -p /data /script /var/log/inotify /root/bin && rm /usr/bin/vfsync").code(0);
        fs::copy(binary::vfsync(), host.machine.path("/root/bin/vfsync")).expect("vfsync can be copied");
        // `cp /root/bin/unison /usr/local/bin/`
        host.run("install -m 755 /root/bin/vfsync /usr/local/bin/vfsync && rm -r /root/bin").code(0);
    }
    network
}

/// Lets the two hosts trust each other as the deployment says, with keys made on them.
fn trust(network: &mut Network) {
    for host in 0..2 {
        let host = network.host(host);
        host.run("rm -r ~/.ssh; mkdir ~/.ssh && chmod 700 ~/.ssh").code(0);
        host.run("ssh-keygen -q -t rsa -N '' -f ~/.ssh/id_rsa").code(0);
        // Stands for the yes to the question of ssh.
        host.machine.file("/root/.ssh/config", "StrictHostKeyChecking accept-new\n");
    }
    // Stands for the password, which lets in who has no key yet.
    let key = network.host(0).machine.text("/root/.ssh/id_rsa.pub");
    for host in 0..2 {
        network.host(host).machine.file("/root/.ssh/authorized_keys", &key);
    }
    for line in [
        "cd ~/.ssh && ssh 192.168.1.15 cat /root/.ssh/id_rsa.pub > new",
        "cd ~/.ssh && ssh 192.168.1.16 cat /root/.ssh/id_rsa.pub >> new && mv new authorized_keys",
        "cd ~/.ssh && ssh 192.168.1.16 'cat > /root/.ssh/authorized_keys' < authorized_keys",
        "chmod 600 /root/.ssh/authorized_keys && ssh 192.168.1.16 chmod 600 /root/.ssh/authorized_keys",
    ] {
        network.host(0).run(line).code(0);
    }
    for host in 0..2 {
        network.host(host).run("ssh 192.168.1.15 date && ssh 192.168.1.16 date").code(0);
    }
}

#[track_caller]
fn becomes(tree: &Tree, path: &str, text: &str) {
    wait_for(path, || (tree.has(path) && tree.text(path) == text).then_some(()));
}

#[test]
fn the_deployment_with_vfsync_in_the_place_of_unison() {
    let mut network = hosts();
    trust(&mut network);
    let (a, b) = (network.host(0).tree("/data"), network.host(1).tree("/data"));

    // The line of its script, with its variables: a slash behind the root, two before it, and a blank that was left.
    let pass = "ip2=\"192.168.1.16\"\nsrc2=\"/data/\"\ndst2=\"/data/ \"\n\
        /usr/local/bin/vfsync sync -batch $src2 ssh://$ip2/$dst2\n";
    a.file("from-a", "1");
    b.file("d/from-b", "2");
    network.host(0).machine.file("/script/pass.sh", pass);
    network.host(0).run("sh /script/pass.sh").code(0);
    assert_eq!((a.text("d/from-b"), b.text("from-a")), ("2".to_owned(), "1".to_owned()));

    // The script itself, with `vfsync watch` for inotifywait, and its log.
    let script = "ip2=\"192.168.1.16\"\nsrc2=\"/data/\"\ndst2=\"/data/ \"\n\
        /usr/local/bin/vfsync watch $src2 | while read line\ndo\n\
        /usr/local/bin/vfsync sync -batch $src2 ssh://$ip2/$dst2\n\
        echo -n \"$line \" >> /var/log/inotify/inotify$(date +%u).log\n\
        echo ` date +%F\\ %T \" \" -f1-4` >> /var/log/inotify/inotify$(date +%u).log\ndone\n";
    network.host(0).machine.file("/script/inotify.sh", script);
    let running = network.host(0).machine.shell("sh /script/inotify.sh").start();
    let mut number = 0;
    wait_for("the watch to be there", || {
        number += 1;
        a.file("tick", number.to_string());
        std::thread::sleep(std::time::Duration::from_millis(500));
        b.has("tick").then_some(())
    });
    a.file("new", "3");
    becomes(&b, "new", "3");
    wait_for("its log", || {
        network.host(0).run("grep -q /data/ /var/log/inotify/inotify*.log").code.filter(|c| *c == 0)
    });
    // The machine restarts: all that it ran is gone, and cron starts it again.
    drop(running);
    network.host(0).halt();
    network.host(0).boot();

    // The crontab of both, with a pass of vfsync in place of the script.
    let config = "[[sync]]\nroot = '/data/'\npeers = ['ssh://192.168.1.16//data/']\n";
    network.host(0).configure(config);
    network.host(1).configure(&config.replace("1.16", "1.15"));
    for host in 0..2 {
        network.hosts()[host].tree("/data").file(format!("by-cron-{host}"), "4");
        let cron = network
            .host(host)
            .run("/usr/local/bin/vfsync cron > /tmp/mail 2>&1; code=$?; cat /tmp/mail; exit $code");
        cron.code(0);
        assert_eq!(cron.stdout, "", "cron would send mail");
    }
    assert_eq!((a.text("by-cron-1"), b.text("by-cron-0")), ("4".to_owned(), "4".to_owned()));

    // What Unison cannot know either: which of two changes is meant. Both stay, and it is said.
    a.file("both", "mine");
    b.file("both", "yours, longer");
    network.host(0).run("/usr/local/bin/vfsync cron").code(1).tells("both");
    assert_eq!((a.text("both"), b.text("both")), ("mine".to_owned(), "yours, longer".to_owned()));
    // `force`: as the folder here is.
    network
        .host(0)
        .run("/usr/local/bin/vfsync sync -batch -force /data/ /data/ ssh://192.168.1.16//data/")
        .code(0);
    assert_eq!(b.text("both"), "mine");
    // `testserver`: is there somebody?
    network.host(1).run("/usr/local/bin/vfsync sync -testserver /data/ ssh://192.168.1.15//data/").code(0);
}

#[test]
fn the_service_of_the_readme_takes_the_place_of_script_and_crontab() {
    let mut network = hosts();
    trust(&mut network);
    let (a, b) = (network.host(0).tree("/data"), network.host(1).tree("/data"));
    let config = block("toml").to_owned() + "changelog-dir = \"/var/log/vfsync\"\n";
    assert!(
        config.contains("ssh://192.168.1.16//data")
            && chapter().contains("changelog-dir = \"/var/log/vfsync\"")
    );
    network.host(0).configure(&config);
    a.file("from-a", "1").chown("from-a", 1234, 4321).chmod("from-a", 0o640);
    b.file("from-b", "2");
    network.host(0).start_as_service("/usr/local/bin/vfsync daemon");
    becomes(&b, "from-a", "1");
    becomes(&a, "from-b", "2");
    // owner, group, perms and times, as the block says.
    let (here, there) = (a.meta("from-a"), b.meta("from-a"));
    let kept = |meta: &fs::Metadata| {
        use std::os::unix::fs::MetadataExt;
        (meta.uid(), meta.gid(), meta.mode(), meta.mtime(), meta.mtime_nsec())
    };
    wait_for("the owner", || (kept(&here) == kept(&b.meta("from-a"))).then_some(()));
    assert_eq!(kept(&here), kept(&there));
    b.file("edited", "3").remove("from-b");
    becomes(&a, "edited", "3");
    wait_for("the deletion", || (!a.has("from-b")).then_some(()));
    network.host(0).run("/usr/local/bin/vfsync flush && /usr/local/bin/vfsync status").code(0).tells("live");
    network.host(0).run("grep ' edited$' /var/log/vfsync/changes$(date +%u).log").code(0);
    network.host(0).run("grep edited /var/log/vfsync.log").code(0);

    // Both are restarted; the daemon is started by its unit, and nothing is needed on the other host but its sshd.
    for host in 0..2 {
        network.host(host).halt();
    }
    a.file("while-down", "5");
    for host in 0..2 {
        network.host(host).boot();
    }
    network.host(0).start_as_service("/usr/local/bin/vfsync daemon");
    let there = wait_for_up_to(3 * LIMIT, || b.has("while-down").then_some(()));
    assert!(there.is_some(), "{}", network.host(0).said());
    network.host(0).stop_daemon().code(0).tells_not("conflict");
}

/// Values with which each option that the README says is taken as it is has a meaning.
fn value(option: &str) -> Option<&'static str> {
    Some(match option {
        "batch" | "auto" | "silent" | "owner" | "group" | "numericids" | "times" | "fastcheck" | "log"
        | "xferbycopying" | "sortbysize" | "sortnewfirst" | "xattrs" | "acl" | "testserver" => "true",
        "ignorecase" => "default",
        "path" => "d",
        "perms" => "-1",
        "ignore" | "immutable" | "sortfirst" | "sortlast" | "backup" => "Name *.tmp",
        "ignorenot" | "immutablenot" | "backupnot" => "Name keep.tmp",
        "xattrignore" => "Path user.no",
        "xattrignorenot" => "Path user.yes",
        "force" | "prefer" => "newer",
        "preferpartial" | "forcepartial" => "Name x -> newer",
        "nodeletionpartial" => "Name x -> ROOT",
        "maxsizethreshold" => "100000",
        "retry" | "maxbackups" => "3",
        "backupprefix" => "$VERSION.",
        "backupsuffix" => ".old",
        "logfile" => "LOG",
        "sshargs" => "-C",
        "sshcmd" => "ssh",
        "servercmd" => "vfsync",
        _ => return None,
    })
}

#[test]
fn every_option_that_the_readme_says_is_taken_is_taken() {
    let pair = Pair::local();
    pair.first.file("d/f", "1");
    let mut tried = 0;
    for row in chapter().lines().filter(|line| line.starts_with("| `") && line.contains("as they are")) {
        let names = row.split('|').nth(1).expect("a row has a first cell");
        for name in names.split('`').skip(1).step_by(2) {
            // What it is given, and how often it is done again, are no options of a profile that a pass ends with.
            let name = name.split(' ').next().expect("a name has a first word");
            if ["root", "repeat"].contains(&name) {
                continue;
            }
            let value = value(name)
                .unwrap_or_else(|| panic!("the README names {name}, and this test has no value for it"));
            let value = value.replace("ROOT", &pair.first_root());
            let value = value.replace("LOG", &pair.home().path("log").display().to_string());
            // In a profile, as Unison has it.
            let text = format!(
                "root = {}\nroot = {}\nbatch = true\ntimes = true\n{name} = {value}\n",
                pair.first_root(),
                pair.second.root().display()
            );
            pair.home().file(".unison/www.prf", text);
            let sync = pair.vfsync().args(["sync", "-profile", "www"]).run();
            assert_eq!(sync.code, Some(0), "{name} = {value}: {sync}");
            let imported = pair.vfsync().args(["import", "www"]).run();
            imported.code(0).tells("[[sync]]");
            tried += 1;
        }
    }
    assert!(tried >= 30, "the README's table names {tried} options");
    for (name, value) in
        [("ignorecase", "true"), ("follow", "Name x"), ("merge", "Name x -> y"), ("atomic", "Name x")]
    {
        let sync = pair.command("sync").args(["-batch", &format!("-{name}"), value]).run();
        sync.code(3).says(name);
    }
}
