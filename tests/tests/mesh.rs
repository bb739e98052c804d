//! Three hosts, each with a network, processes and a daemon of its own, and with the same configuration: whatever happens to
//! cables, daemons and hosts, they are equal in the end, and `status` tells at every step how it stands.

use serde_json::Value;
use vfsync_tests::{Compare, LIMIT, Network, hosts::VANISHED, wait_for_up_to};

const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

/// The same on every host.
const CONFIG: &str = "[[sync]]\nname = 'www'\nroot = '/srv/www'\ntimes = true\nperms = -1\n\
    peers = ['ssh://alpha//srv/www', 'ssh://beta//srv/www', 'ssh://gamma//srv/www']\n";

/// A mesh, and what of it is there.
struct Mesh {
    network: Network,
    /// Whether the daemon of each host runs.
    runs: [bool; 3],
    /// Which cable is cut.
    cut: Option<(usize, usize)>,
    round: u32,
}

impl Mesh {
    fn start() -> Mesh {
        let mut network = Network::of(&NAMES);
        for host in 0..3 {
            network.host(host).configure(CONFIG);
            network.host(host).start_daemon();
        }
        Mesh { network, runs: [true; 3], cut: None, round: 0 }
    }

    fn linked(&self, one: usize, other: usize) -> bool {
        self.runs[one] && self.runs[other] && self.cut != Some((one.min(other), one.max(other)))
    }

    /// Changes something on every host at once: each makes, changes, renames and deletes what is its own.
    fn change(&mut self) {
        self.round += 1;
        let round = self.round;
        std::thread::scope(|scope| {
            for host in 0..3 {
                let tree = self.network.hosts()[host].tree("/srv/www");
                scope.spawn(move || {
                    for n in 0..20 {
                        tree.file(format!("{host}/{}/{n}", n % 3), format!("{host} {round} {n}"));
                    }
                    tree.file(format!("all/{host}-{round}"), "x".repeat(5000));
                    if tree.has(format!("{host}/0/0")) {
                        tree.rename(format!("{host}/0/0"), format!("{host}/0/was-{round}"));
                    }
                    if tree.has(format!("{host}/0/was-{}", round - 1)) {
                        tree.remove(format!("{host}/0/was-{}", round - 1));
                    }
                });
            }
        });
    }

    /// Waits until these hosts have the same.
    #[track_caller]
    fn equal(&self, hosts: &[usize]) {
        let tree = |host: usize| self.network.hosts()[host].tree("/srv/www").snapshot();
        for pair in hosts.windows(2) {
            let mut differences = Vec::new();
            let same = wait_for_up_to(VANISHED, || {
                differences = tree(pair[0]).differences(&tree(pair[1]), Compare::default());
                differences.is_empty().then_some(())
            });
            assert!(
                same.is_some(),
                "{} and {} differ:\n{}",
                NAMES[pair[0]],
                NAMES[pair[1]],
                differences.join("\n")
            );
        }
    }

    /// Waits until there is one link for each two hosts that can reach each other, and `status` says so on both, and
    /// nothing else.
    #[track_caller]
    fn settles(&self) {
        let began = std::time::Instant::now();
        let mut wrong = Vec::new();
        let right = wait_for_up_to(VANISHED, || {
            wrong = self.wrong();
            wrong.is_empty().then_some(())
        });
        assert!(right.is_some(), "after {} s:\n{}", VANISHED.as_secs(), wrong.join("\n"));
        println!("line {}: settled after {:.1?}", std::panic::Location::caller().line(), began.elapsed());
    }

    /// Returns what `status` says that is not so, or not yet.
    fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let links: Vec<Vec<Value>> = (0..3).map(|host| self.network.hosts()[host].status("link")).collect();
        for (host, here) in self.network.hosts().iter().enumerate() {
            if !self.runs[host] {
                if !links[host].is_empty() {
                    wrong.push(format!("{} answers without a daemon", here.name));
                }
                continue;
            }
            let replica = here.status("replica").pop().unwrap_or_default();
            let entries = here.tree("/srv/www").snapshot().len() as u64;
            if replica["state"] != "following" || replica["entries"] != entries || replica["waiting"] != 0 {
                wrong.push(format!("{}: {entries} entries: {replica}", here.name));
            }
            for (other, name) in NAMES.into_iter().enumerate() {
                let of: Vec<&Value> = links[host]
                    .iter()
                    .filter(|link| self.network.meant(host, link["peer"].as_str().unwrap()) == Some(other))
                    .collect();
                let states: Vec<String> = of
                    .iter()
                    .map(|link| {
                        let ready = link["state"] == "live"
                            && ["backlog", "incoming", "failure_count"].iter().all(|key| link[key] == 0);
                        let state = if ready { "ready" } else { link["state"].as_str().unwrap() };
                        format!("{}{state}", if link["dials"] == true { ">" } else { "<" })
                    })
                    .collect();
                let states: Vec<&str> = states.iter().map(String::as_str).collect();
                let right: &[&[&str]] = if host == other {
                    &[&[">itself"]]
                } else if self.linked(host, other) {
                    // One of the two has dialled, and only one.
                    &[&[">ready"], &[">by-other-end", "<ready"]]
                } else if self.cut != Some((host.min(other), host.max(other))) {
                    // Without a daemon `vfsync serve` answers by itself, one at a time.
                    &[&[">ready"], &[">broken"], &[">connecting"]]
                } else {
                    &[&[">broken"], &[">connecting"]]
                };
                if !right.contains(&&*states) {
                    wrong.push(format!("{} -> {}: {states:?}", here.name, name));
                } else if states == [">broken"] && of[0]["why"].as_str().unwrap_or_default().is_empty() {
                    wrong.push(format!("{} -> {}: broken without a reason", here.name, name));
                }
            }
            // What carries a link that was answered is one process.
            let answered = links[host].iter().filter(|link| link["dials"] == false).count();
            let serving = here.processes("serve");
            if answered != serving {
                wrong.push(format!("{}: {answered} links are answered by {serving} processes", here.name));
            }
        }
        for host in (0..3).filter(|&host| !self.runs[host]) {
            let ready = |from: &usize| {
                let to =
                    |link: &&Value| self.network.meant(*from, link["peer"].as_str().unwrap()) == Some(host);
                links[*from].iter().filter(to).any(|link| link["state"] == "live")
            };
            if (0..3).filter(ready).count() != 1 {
                wrong.push(format!("{}: not one of the others is served there", NAMES[host]));
            }
        }
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let answers = |host: usize, to: usize| {
                links[host].iter().any(|link| {
                    link["dials"] == false
                        && self.network.meant(host, link["peer"].as_str().unwrap()) == Some(to)
                })
            };
            if self.linked(one, other) && answers(one, other) == answers(other, one) {
                wrong.push(format!("{} and {}: not one link", NAMES[one], NAMES[other]));
            }
        }
        wrong
    }

    /// Returns what `flush` says of each host that is meant: whether everything is there.
    fn flush(&self, from: usize) -> Vec<(usize, bool)> {
        let flush = self.network.hosts()[from].run("vfsync flush --timeout 5 --json");
        println!("{flush}");
        let mut told: Vec<(usize, bool)> = flush
            .events("flush")
            .iter()
            .filter_map(|line| {
                let to = self.network.meant(from, line["peer"].as_str()?)?;
                (to != from).then_some((to, line["result"] == "done"))
            })
            .collect();
        told.sort_unstable();
        told.dedup();
        told
    }
}

#[test]
#[ignore = "on a busy machine one link of the six is now and then not made within two minutes after a cut or a kill, and \
            nobody knows why: until that is found it is run by hand, with --run-ignored all"]
fn a_mesh_is_equal_in_the_end_and_status_tells_the_truth_at_every_step() {
    let mut mesh = Mesh::start();
    mesh.change();
    mesh.equal(&[0, 1, 2]);
    mesh.settles();

    // All three at once, with everything whole.
    for _ in 0..3 {
        mesh.change();
    }
    mesh.equal(&[0, 1, 2]);
    mesh.settles();
    assert_eq!(mesh.flush(0), [(1, true), (2, true)]);

    // A cable is cut: the third host carries on between the two.
    mesh.network.cable(0, 1, false);
    mesh.cut = Some((0, 1));
    mesh.change();
    mesh.equal(&[0, 1, 2]);
    assert_eq!(mesh.flush(0), [(1, false), (2, true)]);
    mesh.settles();
    mesh.change();
    mesh.network.cable(0, 1, true);
    mesh.cut = None;
    mesh.change();
    mesh.equal(&[0, 1, 2]);
    mesh.settles();

    // A daemon is killed: the others go on, and one of them has that host served without it.
    mesh.network.host(2).kill_daemon();
    mesh.runs[2] = false;
    mesh.change();
    mesh.equal(&[0, 1, 2]);
    mesh.settles();
    mesh.network.host(2).start_daemon();
    mesh.runs[2] = true;
    mesh.equal(&[0, 1, 2]);
    mesh.settles();

    // A host loses its power, and comes back.
    mesh.network.cable(0, 1, false);
    mesh.network.cable(1, 2, false);
    mesh.network.host(1).halt();
    mesh.change();
    mesh.network.cable(0, 1, true);
    mesh.network.cable(1, 2, true);
    mesh.network.host(1).boot();
    mesh.network.host(1).start_daemon();
    mesh.equal(&[0, 1, 2]);
    mesh.settles();
    mesh.change();
    mesh.equal(&[0, 1, 2]);
    mesh.settles();

    for host in 0..3 {
        mesh.network.host(host).stop_daemon().code(0).tells_not("conflict");
    }
    let _ = LIMIT;
}
