//! An [`Outcome`] is how a run of vfsync ended and what it printed.

use serde_json::Value;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The command line.
    pub line: String,
    /// The exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Outcome {
    /// Asserts the exit code, and that nothing panicked.
    #[track_caller]
    pub fn code(&self, code: i32) -> &Outcome {
        assert!(self.code == Some(code), "not exit code {code}:\n{self}");
        assert!(!self.stderr.contains("panicked at"), "a panic:\n{self}");
        self
    }

    /// Asserts that standard error holds some words, whatever their case.
    #[track_caller]
    pub fn says(&self, words: &str) -> &Outcome {
        let there = self.stderr.to_lowercase().contains(&words.to_lowercase());
        assert!(there, "nothing of {words:?}:\n{self}");
        self
    }

    /// Asserts that some words were printed, whatever their case and wherever.
    #[track_caller]
    pub fn tells(&self, words: &str) -> &Outcome {
        let all = format!("{}{}", self.stdout, self.stderr).to_lowercase();
        assert!(all.contains(&words.to_lowercase()), "nothing of {words:?}:\n{self}");
        self
    }

    /// Asserts that neither output contains the words.
    #[track_caller]
    pub fn tells_not(&self, words: &str) -> &Outcome {
        let all = format!("{}{}", self.stdout, self.stderr).to_lowercase();
        assert!(!all.contains(&words.to_lowercase()), "something of {words:?}:\n{self}");
        self
    }

    /// Returns the lines of standard output, each parsed as JSON.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}\n{self}"))
            })
            .collect()
    }

    /// Returns the lines of one kind of event.
    #[track_caller]
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.json().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// Returns the paths that conflicts were reported for and that nothing resolved, sorted.
    #[track_caller]
    pub fn conflicts(&self) -> Vec<String> {
        let mut paths: Vec<String> = self
            .events("conflict")
            .iter()
            .filter(|line| line["resolved"] == "no")
            .map(|line| line["path"].as_str().expect("a conflict has a path").to_owned())
            .collect();
        paths.sort();
        paths
    }

    /// Returns the last line, the summary.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.json().pop().unwrap_or_else(|| panic!("nothing on standard output:\n{self}"));
        assert_eq!(last["event"], "summary", "the last line is not the summary:\n{self}");
        last
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome { line, code, signal, stdout, stderr } = self;
        writeln!(f, "{line}\nexit code {code:?}, signal {signal:?}")?;
        writeln!(f, "-- standard output\n{stdout}-- standard error\n{stderr}--")
    }
}
