use super::*;
use crate::options::{Preferred, Verbosity};

fn environment() -> Environment {
    Environment { state_dir: Some("/state".into()), ..Environment::default() }
}

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("/c.toml"), text, &environment())
        .map_err(|e| format!("{:#}", anyhow::Error::new(e)))
}

fn refused(text: &str) -> String {
    parse(text).expect_err(text)
}

const WWW: &str = "[[sync]]\nroot = \"/var/www\"\npeers = [\"ssh://192.168.1.7//var/www\"]\n";

#[test]
fn the_example_of_the_contract_is_understood() {
    let text = r#"
[defaults]
times = true
owner = true
group = true
perms = -1
sshargs = "-C"

[[sync]]
name = "www"
root = "/var/www"
peers = ["ssh://192.168.1.7//var/www"]
ignore = ["Path cache", "Name *.swp"]
"#;
    let config = parse(text).unwrap();
    assert_eq!(config.state_dir, Path::new("/state"));
    let [block] = &config.blocks[..] else { panic!("one block") };
    assert_eq!(block.name, "www");
    let options = &block.options;
    assert_eq!(
        options.roots.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["/var/www", "ssh://192.168.1.7//var/www"]
    );
    let attributes = options.policy.attributes;
    assert!(attributes.times && attributes.owner && attributes.group);
    assert_eq!((attributes.perms, options.policy.ignore.len()), (0o7777, 2));
    assert_eq!(options.ssh.args, ["-C"]);
    assert_eq!(options.command.verbosity, Verbosity::Normal);
}

#[test]
fn a_block_wins_over_the_defaults_and_lists_add_up() {
    let text = format!(
        "[defaults]\ntimes = true\nignore = [\"Name a\"]\nmax-delete = \"10%\"\nperms = 0o700\n{WWW}times = false\n\
         ignore = \"Name b\"\nprefer = \"newer\"\nmax-delete = 7\n"
    );
    let config = parse(&text).unwrap();
    let options = &config.blocks[0].options;
    assert_eq!(config.blocks[0].name, "/var/www");
    assert!(!options.policy.attributes.times);
    assert_eq!(options.policy.attributes.perms, 0o700);
    assert_eq!((options.policy.ignore.len(), options.policy.prefer), (2, Some(Preferred::Newer)));
    assert_eq!(options.replica.max_delete, crate::options::MaxDelete::Count(7));
}

#[test]
fn several_peers_make_one_star() {
    let text = "[[sync]]\nroot = \"/a\"\npeers = [\"h:/a\", \"/b\"]\nforce = \"/a\"\n";
    let config = parse(text).unwrap();
    assert_eq!(config.blocks[0].options.roots.len(), 3);
    assert_eq!(config.blocks[0].options.policy.force, Some(Preferred::Root(0)));
}

#[test]
fn every_mistake_is_said_with_its_line_and_column() {
    for (text, says) in [
        ("x = ", "/c.toml:1:5: "),
        ("[daemon]\nmetrics = \"9464\"\n", "/c.toml:2:11: metrics takes an address"),
        ("[daemon]\nmetric = \"/m\"\n", "/c.toml:2:1: there is no key \"metric\"; the nearest is metrics"),
        ("[defaults]\ntimes = true\n", "/c.toml:1:1: there is no [[sync]]"),
        ("[sync]\nroot = \"/a\"\n", "/c.toml:1:2: write [[sync]] with two brackets"),
        ("[default]\n", "/c.toml:1:2: there is no table \"default\"; the nearest is defaults"),
        ("[[sync]]\nname = \"x\"\n", "/c.toml:1:1: this [[sync]] has no root"),
        ("[[sync]]\nroot = \"/a\"\n", "/c.toml:1:1: this [[sync]] has no peers"),
        ("[[sync]]\nroot = \"a\"\npeers = [\"/b\"]\n", "/c.toml:2:8: \"a\" is relative"),
        (
            "[[sync]]\nroot = \"h:/a\"\npeers = [\"/b\"]\n",
            "/c.toml:2:8: the root of a [[sync]] is on this host",
        ),
        (
            "[[sync]]\nroot = \"/a\"\npeers = [\"h:/b\", \"ssh://\"]\n",
            "/c.toml:3:18: root \"ssh://\": no host",
        ),
        ("[[sync]]\nroot = \"/a\"\npeers = [\"/a\"]\n", "/c.toml:1:1: both roots are the same"),
        ("[[sync]]\nroot = 1\n", "/c.toml:2:8: a text is wanted, not an integer"),
    ] {
        let said = refused(text);
        assert!(said.contains(says), "{text:?}: {said}");
    }
    for (line, says) in [
        ("time = true", "/c.toml:4:1: there is no option \"time\"; the nearest is times"),
        ("peer = \"x\"", "the nearest is peers"),
        ("times = 1", "/c.toml:4:9: times takes true or false, not an integer"),
        ("perms = 4096", "/c.toml:4:9: option perms"),
        ("ignore = [\"Name a\", \"Nam b\"]", "/c.toml:4:21: option ignore"),
        ("ignore = [1]", "/c.toml:4:11: a text is wanted"),
        ("prefer = \"/nowhere\"", "/c.toml:4:10: option prefer"),
        ("dry-run = true", "/c.toml:4:1: dry-run cannot stand here"),
        ("confirm-deletes = 3", "vfsync resume"),
        ("state-dir = \"/s\"", "/c.toml:4:1: state-dir stands in [defaults]"),
        ("prefer = \"older\"", "/c.toml:1:1: `older` compares"),
        ("times = true\ntimes = false", "/c.toml:5:1: "),
        ("backupdir = 1.5", "/c.toml:4:13: backupdir takes a text"),
    ] {
        let said = refused(&format!("{WWW}{line}\n"));
        assert!(said.contains(says), "{line:?}: {said}");
        // The cause was said twice.
        assert!(said.matches("compares modification times").count() <= 1, "{said}");
    }
    assert!(refused("[defaults]\nroot = \"/a\"\n[[sync]]\n").contains(":2:1: this stands in a [[sync]]"));
}

#[test]
fn blocks_that_contradict_each_other_are_refused() {
    let second = "[[sync]]\nname = \"b\"\nroot = \"/var/www/\"\npeers = [\"h:/c\"]\n";
    assert!(parse(&format!("{WWW}{second}")).is_ok());
    let said = refused(&format!("{WWW}{second}links = false\n"));
    assert!(said.contains("/c.toml:4:1: this root is in \"/var/www\" as well"), "{said}");
    let said = refused(&format!("{WWW}{WWW}"));
    assert!(said.contains("the name \"/var/www\" already"), "{said}");
    let other = "[[sync]]\nroot = \"/b\"\npeers = [\"h:/b\"]\n";
    let said = refused(&format!("{WWW}capture = \"kprobe\"\n{other}"));
    assert!(said.contains("one capture serves all"), "{said}");
    assert!(parse(&format!("{WWW}capture = \"scan\"\n{other}")).is_ok());
}

#[test]
fn a_mistake_behind_letters_of_several_bytes_is_counted_in_characters() {
    let said = refused("[[sync]]\nroot = \"/ä\"\npeers = [\"/öö\", \"x\"]\n");
    assert!(said.contains("/c.toml:3:17: "), "{said}");
}
