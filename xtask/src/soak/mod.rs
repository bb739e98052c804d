//! The soak: two hosts with a daemon each, which name each other, under changes from both sides for as long as is wanted.
//! What they take meanwhile is written down and drawn.

mod churn;
mod plot;
mod sample;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::{
    bench::describe,
    exec,
    pair::quoted,
    place,
    setup::say,
    sshd::{self, Sshd},
    tree::{self, Look},
};
use churn::Churn;
use sample::{Sample, Status};

/// How long both sides may take to become the same at the start and at the end.
const LIMIT: Duration = Duration::from_secs(600);

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For how long.
    pub duration: Duration,
    /// How many changes a second, both sides together.
    pub rate: u32,
    /// How often is looked.
    pub every: Duration,
    /// Where to write `soak.csv` and `soak.svg`.
    pub out: PathBuf,
    /// Where the trees are made; none: in cargo's target folder.
    pub folder: Option<PathBuf>,
}

/// Runs it, and says what came of it.
pub fn run(plan: &Plan, binary: &Path) -> Result<()> {
    let folder = plan.folder.clone().unwrap_or_else(|| place::target().join("soak"));
    for folder in [&folder, &plan.out] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let mut site = Site::start(&folder, binary)?;
    say(format_args!("soak: {}", describe(&folder)?));
    let mut churn = [Churn::new(site.root(0).join("a"), 1)?, Churn::new(site.root(1).join("b"), 2)?];
    site.until_equal()?;
    let path = plan.out.join("soak.csv");
    let mut csv = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    writeln!(csv, "{}", Sample::HEADS).context("cannot write the samples")?;
    let mut samples = Vec::new();
    let start = Instant::now();
    let mut look = |site: &mut Site, changes: u64| -> Result<()> {
        let sample = site.sample(start.elapsed(), changes)?;
        writeln!(csv, "{sample}").context("cannot write the samples")?;
        samples.push(sample);
        Ok(())
    };
    let mut due = Duration::ZERO;
    let mut changes = 0u64;
    while start.elapsed() < plan.duration {
        if start.elapsed() >= due {
            look(&mut site, changes)?;
            due += plan.every;
        }
        // In small portions, so that the pace is even.
        for churn in &mut churn {
            let portion = plan.rate.div_ceil(2 * PORTIONS);
            changes += u64::from(churn.change(portion)?);
        }
        let pace = Duration::from_secs(1).mul_f64(changes as f64 / f64::from(plan.rate.max(1)));
        thread::sleep(pace.saturating_sub(start.elapsed()));
    }
    say(format_args!("soak: {changes} changes in {} s; waiting for the end", start.elapsed().as_secs()));
    let caught_up = Instant::now();
    site.until_equal()?;
    let caught_up = caught_up.elapsed();
    look(&mut site, changes)?;
    site.stop()?;
    plot::draw(&samples, &plan.out.join("soak.svg"))?;
    report(&samples, caught_up);
    Ok(())
}

/// Into so many portions a second is cut.
const PORTIONS: u32 = 50;

/// Says how the last quarter compares with the second one: what fills up first has been filled by then.
fn report(samples: &[Sample], caught_up: Duration) {
    println!("the sides were equal {:.1} s after the last change", caught_up.as_secs_f64());
    let (early, late) = (sample::quarter(samples, 1), sample::quarter(samples, 3));
    for (name, value) in sample::FIGURES {
        let mean = |part: &[Sample]| part.iter().map(value).sum::<f64>() / part.len().max(1) as f64;
        let most = samples.iter().map(value).fold(0.0, f64::max);
        println!(
            "{name}: {:.1} in the second quarter, {:.1} in the last, {most:.1} at most",
            mean(early),
            mean(late)
        );
    }
}

/// Two hosts on this one, with a daemon each.
struct Site {
    daemons: [exec::Tied; 2],
    // Ends before the folder that its files are in.
    _sshd: Sshd,
    dir: TempDir,
    binary: PathBuf,
}

impl Site {
    fn start(folder: &Path, binary: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("soak-").tempdir_in(folder);
        let dir = dir.with_context(|| format!("cannot make a folder in {}", folder.display()))?;
        for name in ["ssh", "root-0", "root-1", "state-0", "state-1"] {
            fs::create_dir(dir.path().join(name)).with_context(|| format!("cannot create {name}"))?;
        }
        let sshd = Sshd::start(&dir.path().join("ssh"))?;
        let daemon = |host: usize| -> Result<exec::Tied> {
            let peer = 1 - host;
            let path = |name: &str, host: usize| dir.path().join(format!("{name}-{host}"));
            let far = format!("env VFSYNC_STATE_DIR={} {}", quoted(&path("state", peer)), quoted(binary));
            let config = format!(
                "[defaults]\ntimes = true\nperms = -1\nsshcmd = {:?}\nsshargs = {:?}\nservercmd = {far:?}\n\n\
                 [[sync]]\nname = \"soak\"\nroot = {:?}\npeers = [{:?}]\n",
                sshd::kit().dir().join("bin/ssh"),
                sshd.ssh_args(),
                path("root", host),
                sshd.root(&path("root", peer)),
            );
            let file = path("vfsync", host).with_extension("toml");
            fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
            let log = File::create(path("log", host)).context("cannot create the log")?;
            let mut command = exec::tied(binary);
            command.arg("daemon").arg("--config").arg(file);
            command.env("VFSYNC_STATE_DIR", path("state", host)).env_remove("VFSYNC_CONFIG");
            command.env("PATH", sshd::search_path()).stdin(std::process::Stdio::null());
            command.stdout(log.try_clone().context("cannot share the log")?).stderr(log);
            exec::Tied::start(command)
        };
        let daemons = [daemon(0)?, daemon(1)?];
        Ok(Self { daemons, _sshd: sshd, dir, binary: binary.to_owned() })
    }

    fn path(&self, name: &str, host: usize) -> PathBuf {
        self.dir.path().join(format!("{name}-{host}"))
    }

    fn root(&self, host: usize) -> PathBuf {
        self.path("root", host)
    }

    /// Fails if a daemon has ended.
    fn alive(&mut self) -> Result<()> {
        for (host, daemon) in self.daemons.iter_mut().enumerate() {
            if let Some(status) = daemon.ended()? {
                let log = fs::read_to_string(self.dir.path().join(format!("log-{host}"))).unwrap_or_default();
                bail!("a daemon has ended with {status}; it says:\n{log}");
            }
        }
        Ok(())
    }

    fn status(&self, host: usize) -> Result<Status> {
        Status::ask(&self.binary, &self.path("state", host))
    }

    fn sample(&mut self, at: Duration, changes: u64) -> Result<Sample> {
        self.alive()?;
        let pids = [self.daemons[0].pid(), self.daemons[1].pid()];
        let status = [self.status(0)?, self.status(1)?];
        let logs = [self.path("log", 0), self.path("log", 1)];
        let states = [self.path("state", 0), self.path("state", 1)];
        Sample::take(at, changes, pids, &status, &logs, &states)
    }

    /// Waits until both roots are the same, and neither daemon has anything left to do.
    fn until_equal(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            self.alive()?;
            let status = [self.status(0)?, self.status(1)?];
            if status.iter().all(Status::is_at_rest) {
                let look = |root: &Path| tree::read(root, Look::Contents);
                let differences = tree::differences(&look(&self.root(0))?, &look(&self.root(1))?);
                let Some(first) = differences.first() else { return Ok(()) };
                ensure!(
                    start.elapsed() < LIMIT,
                    "after {} s there are {} differences, such as {first}",
                    LIMIT.as_secs(),
                    differences.len()
                );
            }
            ensure!(start.elapsed() < LIMIT, "after {} s they still work: {status:?}", LIMIT.as_secs());
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends both daemons in the orderly way.
    fn stop(&mut self) -> Result<()> {
        for daemon in &mut self.daemons {
            daemon.terminate();
            let status = daemon.wait()?;
            ensure!(status.success(), "a daemon was told to stop and ended with {status}");
        }
        Ok(())
    }
}
