//! `cargo xtask demo`: the whole of Airlock on real input, with the commands that a user types.

use std::{
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    shell::{self, say},
    tools,
};

/// Runs of the dag `weather` from 2012 to 2015, one a month.
const WEATHER_RUNS: usize = 48;
const LIMIT: Duration = Duration::from_mins(5);

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Exit with 0 if every run succeeded and with 1 otherwise, and leave nothing behind.
    #[arg(long)]
    check: bool,
    /// Keep the data folder when the demo ends.
    #[arg(long)]
    keep_data: bool,
    /// Build Airlock with all optimisations (takes some minutes more).
    #[arg(long)]
    release: bool,
    /// Where the page and the API listen [default: 127.0.0.1:8080, or a free port].
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
}

/// Builds, starts, uploads, runs, tells, and serves on (or checks).
pub fn run(args: &DemoArgs) -> Result<()> {
    let start = Instant::now();
    tools::wasm_target()?;
    let airlock = tools::airlock(args.release)?;
    let components = tools::components(&["tasks"])?;
    say(&format!("built in {:.0?}", start.elapsed()));

    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    ctrlc::set_handler(move || flag.store(true, Ordering::SeqCst)).context("can't listen for Ctrl-C")?;

    let home = TempDir::with_prefix("airlock-demo-")?;
    let listen = args.listen.as_deref().unwrap_or_else(|| default_address(args.check));
    let mut demo = Demo::start(airlock, home.path(), listen, interrupted)?;
    let outcome = demo.play(&components);
    if !args.check && outcome.is_ok() {
        demo.serve_on()?;
    }
    demo.stop();
    if args.keep_data {
        say(&format!("the data is in {}", home.keep().join("data").display()));
    }
    if outcome.is_ok() && args.check {
        println!("every run succeeded");
    }
    outcome
}

/// The port that people know, if it is free and somebody is to look.
fn default_address(check: bool) -> &'static str {
    let known = "127.0.0.1:8080";
    if !check && TcpListener::bind(known).is_ok() { known } else { "127.0.0.1:0" }
}

struct Demo {
    airlock: PathBuf,
    home: PathBuf,
    server: Child,
    url: String,
    password: String,
    interrupted: Arc<AtomicBool>,
}

impl Demo {
    /// Starts a server on an empty folder and reads its address and the admin's password from what it prints.
    fn start(airlock: PathBuf, home: &Path, listen: &str, interrupted: Arc<AtomicBool>) -> Result<Self> {
        let (out, log) = (home.join("serve.out"), home.join("serve.log"));
        let mut command = Command::new(&airlock);
        command.arg("serve").arg("--data-dir").arg(home.join("data")).args(["--listen", listen]);
        command.env_remove("AIRLOCK_ADMIN_PASSWORD").current_dir(home).stdin(Stdio::null());
        command.stdout(File::create(&out)?).stderr(File::create(&log)?);
        let started = Instant::now();
        let server = command.spawn().with_context(|| format!("can't start `{}`", airlock.display()))?;
        let mut demo =
            Self { airlock, home: home.to_owned(), server, url: String::new(), password: String::new(), interrupted };
        let found = demo.wait("the server's start", |_| {
            let text = std::fs::read_to_string(&out).unwrap_or_default();
            let after = |mark: &str| text.split_once(mark)?.1.split_whitespace().next().map(str::to_owned);
            Ok(after("password: ").zip(after("http://").map(|rest| format!("http://{rest}"))))
        });
        match found {
            Ok((password, url)) => (demo.password, demo.url) = (password, url),
            Err(error) => {
                demo.stop();
                return Err(error);
            }
        }
        say(&format!("airlock serves on {} after {:.0?}", demo.url, started.elapsed()));
        Ok(demo)
    }

    /// The pipelines, from upload to the last run.
    fn play(&mut self, components: &Path) -> Result<()> {
        self.show(&["login"])?;
        let files: Vec<_> = ["hello", "weather"].iter().map(|name| components.join(format!("{name}.wasm"))).collect();
        let files: Vec<_> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        self.show(&["deploy", &files[0], &files[1]])?;
        self.show(&["dags", "unpause", "hello"])?;
        self.show(&["dags", "trigger", "hello", "--wait"])?;

        self.show(&["dags", "unpause", "weather"])?;
        let started = Instant::now();
        let runs = self.wait("the runs of `weather`", |demo| {
            let runs = demo.runs_of("weather")?;
            let over = runs.iter().filter(|run| matches!(run["state"].as_str(), Some("success" | "failed"))).count();
            Ok((over >= WEATHER_RUNS && over == runs.len()).then_some(runs))
        })?;
        let took = started.elapsed();
        self.show(&["runs", "list", "weather", "--limit", "5"])?;
        let failed = runs.iter().filter(|run| run["state"] != "success").count();
        if failed > 0 {
            bail!("{failed} of {} runs of `weather` failed; see {}", runs.len(), self.url);
        }
        self.tell(&runs, took)
    }

    fn runs_of(&self, dag_id: &str) -> Result<Vec<Value>> {
        let text = shell::read(
            self.airlock(&["runs", "list", dag_id, "--limit", "1000", "--output", "json"]).env("NO_COLOR", "1"),
        )?;
        Ok(serde_json::from_str(&text)?)
    }

    /// What came out of it, and where to look.
    fn tell(&self, runs: &[Value], took: Duration) -> Result<()> {
        let newest = runs.iter().max_by_key(|run| run["logical_date"].as_str()).context("`weather` has no runs")?;
        let run_id = newest["dag_run_id"].as_str().context("a run has no id")?;
        let log = shell::read(&mut self.airlock(&["tasks", "logs", "weather", run_id, "report"]))?;
        let verdict = log.lines().find_map(|line| line.split_once("wettest month so far: "));
        let (_, wettest) = verdict.context("the report names no month")?;
        let Self { url, password, .. } = self;
        println!(
            "\n  hello     three tasks handed a greeting on\
             \n  weather   {} months of Seattle's weather in {took:.1?}; the wettest was {wettest}\n\
             \n  page      {url}\
             \n  chart     {url}/dags/weather/runs/{run_id}/tasks/report?tab=outputs\
             \n  user      admin\
             \n  password  {password}",
            runs.len(),
        );
        Ok(())
    }

    /// Serves until Ctrl-C or the server's end.
    fn serve_on(&mut self) -> Result<()> {
        say("serving until Ctrl-C");
        while !self.interrupted.load(Ordering::SeqCst) {
            if let Some(status) = self.server.try_wait()? {
                bail!("the server ended: {status}\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// `airlock <args>`, as the demo's admin.
    fn airlock(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.airlock);
        command.args(args).stdin(Stdio::null());
        command.env("AIRLOCK_URL", &self.url).env("AIRLOCK_PASSWORD", &self.password);
        // Where `login` keeps its token: in the demo's folder, which goes away with it.
        command.env("XDG_CONFIG_HOME", self.home.join("config")).env_remove("AIRLOCK_TOKEN");
        command
    }

    fn show(&self, args: &[&str]) -> Result<()> {
        shell::run(&mut self.airlock(args))
    }

    /// Asks `question` until it answers something.
    fn wait<T>(&mut self, what: &str, mut question: impl FnMut(&Self) -> Result<Option<T>>) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(answer) = question(self)? {
                return Ok(answer);
            }
            if let Some(status) = self.server.try_wait()? {
                bail!("the server ended: {status}\n{}", self.log());
            }
            if self.interrupted.load(Ordering::SeqCst) {
                bail!("interrupted");
            }
            if start.elapsed() > LIMIT {
                bail!("waited {LIMIT:?} in vain for {what}\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.join("serve.log")).unwrap_or_default()
    }

    /// Asks the server to end, and ends it if it does not.
    fn stop(&mut self) {
        if !matches!(self.server.try_wait(), Ok(None)) {
            return;
        }
        // The shell's `kill`: the standard library can only kill the hard way.
        let _ = Command::new("kill").args(["-TERM", &self.server.id().to_string()]).status();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            if !matches!(self.server.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.stop();
    }
}
