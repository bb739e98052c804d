//! More than two replicas, linked as a chain or a ring: everything comes to all of them, and nothing is a conflict that
//! is none.

use vfsync_tests::{Outcome, Pair, Tree, assert_same};

/// Trees of this host that share a state directory, as replicas of one machine.
struct Many {
    pair: Pair,
    trees: Vec<Tree>,
    links: Vec<(usize, usize)>,
}

impl Many {
    fn new(n: usize, links: &[(usize, usize)]) -> Many {
        let pair = Pair::local();
        let trees = (0..n).map(|i| pair.home().below(format!("tree{i}"))).collect();
        Many { pair, trees, links: links.to_vec() }
    }

    fn pass(&self, link: (usize, usize)) -> Outcome {
        let roots = [self.trees[link.0].root(), self.trees[link.1].root()];
        self.pair.vfsync().args(["sync", "-batch", "-times"]).args(roots).run()
    }

    /// Lets each link make a pass, so often that everything can have gone round.
    #[track_caller]
    fn round(&self) {
        for _ in 0..self.trees.len() {
            self.links.iter().for_each(|link| {
                self.pass(*link).code(0);
            });
        }
    }

    #[track_caller]
    fn all_same(&self) {
        self.trees.windows(2).for_each(|pair| assert_same(&pair[0], &pair[1]));
    }
}

/// Edits that follow one another, each made where the last one has arrived.
fn edits_go_round(links: &[(usize, usize)]) {
    let many = Many::new(3, links);
    let [a, b, c] = &many.trees[..] else { unreachable!("three trees") };
    a.file("f", "1").file("d/x", "1").file("d/y", "1");
    many.round();
    many.all_same();
    // Twice at the same place before it has gone round: the second must not meet the first as a stranger.
    a.file("f", "2, and longer");
    many.pass(links[0]).code(0);
    a.file("f", "3, and longer still");
    b.file("new", "of the middle");
    many.round();
    many.all_same();
    assert_eq!(c.text("f"), "3, and longer still");
    c.file("f", "4").remove("d");
    many.round();
    many.all_same();
    assert_eq!((a.text("f"), a.has("d")), ("4".to_owned(), false));
    // And nothing comes back.
    many.round();
    assert_eq!(b.names(), ["f", "new"]);
}

#[test]
fn edits_go_along_a_chain_of_three() {
    edits_go_round(&[(0, 1), (1, 2)]);
}

#[test]
fn edits_go_round_a_ring_of_three() {
    edits_go_round(&[(0, 1), (1, 2), (2, 0)]);
}

#[test]
fn edits_go_through_a_mesh_of_four() {
    edits_of_four(&[(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]);
}

fn edits_of_four(links: &[(usize, usize)]) {
    let many = Many::new(4, links);
    for (n, tree) in many.trees.iter().enumerate() {
        tree.file(format!("of{n}"), n.to_string()).file("common", "the same");
    }
    many.round();
    many.all_same();
    for (n, tree) in many.trees.iter().enumerate() {
        tree.file(format!("of{}", (n + 1) % 4), format!("changed by {n}"));
    }
    many.round();
    many.all_same();
    many.trees[3].remove("common");
    many.round();
    many.all_same();
    assert_eq!(many.trees[0].names(), ["of0", "of1", "of2", "of3"]);
}

#[test]
fn a_conflict_that_one_host_ends_is_ended_for_all() {
    let many = Many::new(3, &[(0, 1), (1, 2)]);
    let [a, _, c] = &many.trees[..] else { unreachable!("three trees") };
    a.file("f", "old");
    many.round();
    a.file("f", "mine");
    c.file("f", "yours, and longer");
    many.pass((0, 1)).code(0);
    many.pass((1, 2)).code(1);
    many.pair.vfsync().arg("resolve").arg(c.path("f")).args(["--keep", "local"]).run().code(0);
    many.round();
    many.all_same();
    assert_eq!(a.text("f"), "yours, and longer");
    many.pair.vfsync().arg("conflicts").run().code(0);
}

#[test]
fn a_replica_that_lost_its_archive_meets_the_others_as_a_new_one() {
    let many = Many::new(3, &[(0, 1), (1, 2)]);
    let [a, b, c] = &many.trees[..] else { unreachable!("three trees") };
    a.file("f", "1").file("g", "1").file("deleted", "1");
    many.round();
    // The state of the middle one alone is lost.
    let folders = std::fs::read_dir(many.pair.near_state().join("replicas")).unwrap().flatten();
    let root = format!("{}\n", b.root().display());
    let folder =
        folders.map(|f| f.path()).find(|f| std::fs::read_to_string(f.join("root")).unwrap() == root).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    c.file("g", "2, and longer");
    many.pass((0, 1)).code(0);
    many.pass((1, 2));
    assert!([a, b, c].iter().all(|tree| tree.has("f") && tree.has("g") && tree.has("deleted")));
    // An edit made after they have met is one again, whoever makes it.
    a.file("f", "3");
    for link in [(0, 1), (1, 2)] {
        many.pass(link);
    }
    assert_eq!((&*b.text("f"), &*c.text("f")), ("3", "3"));
}
