use super::*;
use proptest::prelude::*;

/// Writes files into a directory that stands for `~/.unison`, and loads one of them.
fn load_from(files: &[(&str, &str)], name: &str) -> Result<Vec<(String, String, usize)>, String> {
    let dir = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let name = name.replace("DIR", dir.path().to_str().unwrap());
    let settings = load(OsStr::new(&name), Some(dir.path()));
    let settings = settings.map_err(|e| e.to_string().replace(dir.path().to_str().unwrap(), "DIR"))?;
    Ok(settings
        .into_iter()
        .map(|s| {
            let Origin::File { line, .. } = s.origin else { panic!("not from a file") };
            (s.def.name.to_string(), String::from_utf8(s.value).unwrap(), line)
        })
        .collect())
}

fn entry(name: &str, value: &str, line: usize) -> (String, String, usize) {
    (name.into(), value.into(), line)
}

#[test]
fn lines_become_settings() {
    let text = "\u{feff}# comment\r\n\nroot = /a b \nignore=Name x = y\n\t perms = -1 # not a comment\nnumericIds = true\n";
    let expected = [
        entry("root", "/a b", 3),
        entry("ignore", "Name x = y", 4),
        entry("perms", "-1 # not a comment", 5),
        entry("numericids", "true", 6),
    ];
    assert_eq!(load_from(&[("www.prf", text)], "www"), Ok(expected.to_vec()));
    assert_eq!(load_from(&[("www.prf", text)], "www.prf"), Ok(expected.to_vec()));
    assert_eq!(load_from(&[("www.prf", text)], "DIR/www.prf"), Ok(expected.to_vec()));
}

#[test]
fn included_files_stand_in_the_place_of_the_line() {
    let files = [
        ("a.prf", "retry = 1\ninclude b\nretry = 4\nsource? gone\ninclude? gone\nsource sub/c"),
        ("b.prf", "retry = 2\nsource raw"),
        ("raw", "retry = 3"),
        ("sub/c", "include beside\ninclude b"),
        ("sub/beside", "retry = 5"),
    ];
    let values = |r: Vec<(String, String, usize)>| r.into_iter().map(|(_, v, _)| v).collect::<String>();
    assert_eq!(load_from(&files, "a").map(values), Ok("1234523".into()));
}

#[test]
fn mistakes_are_named_with_their_line() {
    for (text, says) in [
        ("\nbatch", "DIR/x.prf:2: the line has no =: batch"),
        ("= x", "no name stands before the ="),
        ("include", "the name of a file"),
        ("include = y", "the name of a file"),
        ("include y", "DIR/x.prf:1: there is no profile y; looked for DIR/y, DIR/y.prf"),
        ("source y", "DIR/x.prf:1: there is no profile y; looked for DIR/y"),
        ("btach = true", "DIR/x.prf:1: option btach: there is no such option; the nearest is -batch"),
        ("\u{1b} = x", "DIR/x.prf:1: option \\u{1b}: there is no such option"),
    ] {
        let error = load_from(&[("x.prf", text)], "x").unwrap_err();
        assert!(error.contains(says), "{text:?}: {error}");
    }
    assert!(load_from(&[], "nothing").unwrap_err().contains("there is no profile nothing"));
}

#[test]
fn files_that_include_each_other_in_a_circle_are_an_error() {
    let files = [("a.prf", "include b"), ("b.prf", "\nsource sub/../a.prf"), ("sub/x", "")];
    assert!(load_from(&files, "a").unwrap_err().starts_with("DIR/b.prf:2: "));
    assert!(load_from(&[("a", "include? a")], "a").unwrap_err().contains("circle"));
    let doubling: Vec<(String, String)> =
        (0..20).map(|n| (n.to_string(), format!("source {0}\nsource {0}", n + 1))).collect();
    let mut files: Vec<(&str, &str)> = doubling.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
    files.push(("20", "retry = 1"));
    assert!(load_from(&files, "0").unwrap_err().contains("more than 256"));
}

#[test]
fn a_device_that_never_ends_is_not_read_for_ever() {
    let error = load(OsStr::new("/dev/zero"), None).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("longer"));
}

proptest! {
    #[test]
    fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), &text).unwrap();
        let _ = load(OsStr::new("x"), Some(dir.path()));
    }
}
