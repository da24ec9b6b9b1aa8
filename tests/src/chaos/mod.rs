//! Real processes, real databases, faults by chance, and whether the promises were kept.
//!
//! ```text
//! load ──asks──> servers, workers <──faults── place
//!   │                 │ database, objects
//!   └─ history ───────┴───────> evidence ──> promises
//! ```
//!
//! The load notes what it was told, a watcher what the database says four times a second. When the faults are over all must come to
//! rest; then the ten promises are checked on what the client knows, what was seen, and what is there.

pub mod database;
pub mod evidence;
mod faults;
mod load;
mod place;
pub mod promises;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use chrono::{DateTime, SecondsFormat};
use rand::{SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::{
    evidence::{Asked, Dag, Evidence, Found, Sample, Task},
    faults::Fault,
    load::{History, TICK_US, TICKING},
    place::Place,
    promises::PROMISES,
};
use crate::{Database, build, http::Client, wait::until};

/// As in `host/src/cli/cluster.rs`.
const LEASE: Duration = Duration::from_secs(10);
/// What is left to do when the faults are over, on two cores that others use too.
const WORK: Duration = Duration::from_mins(1);
/// How long is waited for rest, whether or not it comes in time.
const MAX_REST: Duration = Duration::from_mins(4);
/// How often the database is looked at.
const LOOK: Duration = Duration::from_millis(250);
const NARROW: i64 = 3;

/// What is done, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How long things go wrong.
    pub time: Duration,
    pub seed: u64,
    /// One server on SQLite instead of several processes on PostgreSQL.
    pub sqlite: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub options: Options,
    /// By kind of fault: how long it took until the client was answered again.
    pub faults: BTreeMap<&'static str, Vec<Duration>>,
    pub sent: usize,
    pub acknowledged: usize,
    pub runs_finished: usize,
    pub tries: usize,
    pub restarts: i64,
    pub leaders: usize,
    pub samples: usize,
    pub at_rest_after: Option<Duration>,
    /// By promise.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// Where the processes' words are, if a promise was broken.
    pub logs: Option<PathBuf>,
}

impl Report {
    pub fn is_well(&self) -> bool {
        self.broken.iter().all(|(_, how)| how.is_empty())
    }
}

/// Starts all, disturbs it, and checks the promises.
pub async fn run(options: Options) -> Report {
    let mut place = Place::start(!options.sqlite).await;
    let server = place.servers().next().expect("there is a server");
    let client = server.client().await;
    let clients: Vec<_> = place.servers().map(|server| Client { base: server.url.clone(), ..client.clone() }).collect();
    let database = place.database();
    let mut evidence = prepare(&client, &database).await;

    let history = History::default();
    let load = load::begin(&clients, options.seed, &history);
    let mut injected = disturb(&mut place, options, &mut evidence.samples).await;
    drop(load);
    let calm_at = Instant::now();
    evidence.rest_limit = 2 * LEASE + WORK;
    let paused_at = pause(&mut place, &clients, &database, &mut evidence.samples).await;
    evidence.at_rest_after = rest(&mut place, &database, &mut evidence.samples, calm_at).await;
    if let Some(dag) = evidence.dags.get_mut(TICKING) {
        (dag.period_us, dag.paused_at) = (Some(TICK_US), Some(paused_at));
    }

    let known = std::mem::take(&mut *history.known());
    evidence.sent = known.sent;
    gather(&place, &clients, &database, &mut evidence).await;
    let broken: Vec<_> = PROMISES.iter().map(|promise| (promise.name, (promise.broken)(&evidence))).collect();
    let mut faults: BTreeMap<_, Vec<_>> = BTreeMap::new();
    injected.retain(|(_, at)| *at < calm_at);
    for (fault, at) in injected {
        let answered = known.acknowledged.iter().find(|answered| **answered > at);
        let recovery = answered.map_or(Duration::ZERO, |answered| *answered - at);
        faults.entry(fault.kind()).or_default().push(recovery);
    }
    let leases = evidence.samples.iter().flat_map(|sample| &sample.leases);
    let leaders: BTreeSet<_> = leases.map(|lease| &lease.holder).collect();
    let mut report = Report {
        options,
        faults,
        sent: evidence.sent.len(),
        acknowledged: known.acknowledged.len(),
        runs_finished: evidence.runs.iter().filter(|run| run.is_finished()).count(),
        tries: evidence.tries.len() + evidence.instances.iter().filter(|it| it.start_date.is_some()).count(),
        restarts: evidence.instances.iter().chain(&evidence.tries).map(|instance| instance.restarts).sum(),
        leaders: leaders.len().max(1),
        samples: evidence.samples.len(),
        at_rest_after: evidence.at_rest_after,
        broken,
        logs: None,
    };
    if !report.is_well() {
        let folder = build::target_dir().join("chaos").join(options.seed.to_string());
        match place.keep_logs(&folder) {
            Ok(()) => report.logs = Some(folder),
            Err(error) => eprintln!("the logs can't be kept: {error}"),
        }
    }
    report
}

/// Uploads the dags, and learns what they ask for.
async fn prepare(client: &Client, database: &Database) -> Evidence {
    client.post("/api/v2/pools", &json!({"name": "narrow", "slots": NARROW})).await.ok();
    for component in ["hostile", "control", "shapes"] {
        client.upload(build::component(component)).await.ok();
    }
    let now = database.now().await.expect("the database answers");
    let start = DateTime::from_timestamp_micros(now).expect("the database's clock is right");
    let start = start.to_rfc3339_opts(SecondsFormat::Secs, true);
    client.upload(load::YAML.replace("{start}", &start).into_bytes()).await.ok();
    let mut dags = BTreeMap::new();
    for dag_id in load::dag_ids() {
        let details = client.get(&format!("/api/v2/dags/{dag_id}/details")).await.ok();
        let tasks = client.get(&format!("/api/v2/dags/{dag_id}/tasks")).await.ok();
        let number = |field: &str| details[field].as_i64().unwrap_or_else(|| panic!("no `{field}` in {details}"));
        let task = |task: &Value| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let downstream = task["downstream_task_ids"].as_array().into_iter().flatten().map(text).collect();
            (text(&task["task_id"]), Task { trigger_rule: text(&task["trigger_rule"]), downstream })
        };
        let dag = Dag {
            max_active_runs: number("max_active_runs"),
            max_active_tasks: number("max_active_tasks"),
            tasks: tasks["tasks"].as_array().into_iter().flatten().map(task).collect(),
            period_us: None,
            paused_at: None,
        };
        dags.insert(dag_id.to_owned(), dag);
    }
    let starts = vec![(load::STARTS.0.to_owned(), load::STARTS.1.to_owned())];
    Evidence { dags, starts, parallelism: i64::from(place::PARALLELISM), ..Evidence::default() }
}

/// Lets things go wrong for as long as it was asked to; what, and when.
async fn disturb(place: &mut Place, options: Options, samples: &mut Vec<Sample>) -> Vec<(Fault, Instant)> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let database = place.database();
    let begun = Instant::now();
    let mut injected = Vec::new();
    let (mut pause, mut next) = Fault::next(&mut random, !options.sqlite);
    let mut next_at = begun + Duration::from_secs(3) + pause;
    while begun.elapsed() < options.time {
        if next_at <= Instant::now() {
            injected.push((next, Instant::now()));
            place.suffer(next);
            (pause, next) = Fault::next(&mut random, !options.sqlite);
            next_at += pause;
        }
        step(place, &database, samples).await;
    }
    injected
}

/// Starts again what ended, and looks at the database.
async fn step(place: &mut Place, database: &Database, samples: &mut Vec<Sample>) {
    let begun = Instant::now();
    place.tend().await;
    samples.extend(database.sample().await);
    tokio::time::sleep(LOOK.saturating_sub(begun.elapsed())).await;
}

/// Ends the faults, and the ticking; when, by the database's clock.
async fn pause(place: &mut Place, clients: &[Client], database: &Database, samples: &mut Vec<Sample>) -> i64 {
    place.calm().await;
    let begun = Instant::now();
    loop {
        step(place, database, samples).await;
        let now = database.now().await;
        for client in clients {
            let request = client.request(Method::PATCH, &format!("/api/v2/dags/{TICKING}"));
            let answer = tokio::time::timeout(LEASE, client.try_send(request.json(&json!({"is_paused": true})))).await;
            let is_paused = answer.ok().flatten().is_some_and(|answer| answer.status.is_success());
            if let (true, Some(now)) = (is_paused, now) {
                return now;
            }
        }
        assert!(begun.elapsed() < MAX_REST, "no server answers after the faults");
    }
}

/// Waits until nothing is left to do; how long after `calm_at` that was.
async fn rest(place: &mut Place, database: &Database, samples: &mut Vec<Sample>, calm_at: Instant) -> Option<Duration> {
    while calm_at.elapsed() < MAX_REST {
        step(place, database, samples).await;
        if database.unfinished().await == Some(0) {
            return Some(calm_at.elapsed());
        }
    }
    None
}

/// Reads what is there.
async fn gather(place: &Place, clients: &[Client], database: &Database, evidence: &mut Evidence) {
    let limit = Duration::from_mins(1);
    // Logs are stored within a second.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let remains = until("the database", limit, async || database.remains().await).await;
    evidence.runs = remains.runs;
    evidence.instances = remains.instances;
    evidence.tries = remains.tries;
    evidence.outputs = remains.xcoms.into_iter().chain(remains.artifacts).collect();
    evidence.chunks = remains.chunks;
    evidence.pools = remains.pools.into_iter().map(|(name, slots)| (name, (slots >= 0).then_some(slots))).collect();
    let callbacks = remains.callbacks.iter().map(|(run,)| format!("somebody was not told of run {run}"));
    let waits = remains.waits.iter().map(|(run, task_id)| format!("`{task_id}` of run {run} waits still"));
    evidence.left_over = callbacks.chain(waits).collect();
    for output in &mut evidence.outputs {
        output.found = output
            .blob
            .as_ref()
            .and_then(|key| place.object(key))
            .map(|object| Found { size_bytes: object.len() as u64, sha256: hexadecimal(&Sha256::digest(&object)) });
    }
    let mut sizes: BTreeMap<String, Option<u64>> = BTreeMap::new();
    for chunk in &mut evidence.chunks {
        let size = sizes.entry(chunk.blob.clone());
        chunk.object_bytes = *size.or_insert_with(|| place.object(&chunk.blob).map(|object| object.len() as u64));
    }
    for sent in &mut evidence.sent {
        let Asked::Variable { key, found, .. } = &mut sent.what else { continue };
        let path = format!("/api/v2/variables/{}", key.replace('/', "%2F"));
        let mut asked = clients.iter().cycle();
        *found = until("a variable", limit, async || {
            let client = asked.next()?;
            let answer = client.try_send(client.request(Method::GET, &path)).await?;
            let is_answer = answer.status.is_success() || answer.status.as_u16() == 404;
            is_answer.then(|| answer.body["value"].as_str().map(ToOwned::to_owned))
        })
        .await;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { time, seed, sqlite } = self.options;
        let place = if sqlite { "SQLite, one server" } else { "PostgreSQL, S3, three servers, three workers" };
        writeln!(f, "chaos on {place}: {} s, seed {seed}\n", time.as_secs())?;
        let all: usize = self.faults.values().map(Vec::len).sum();
        writeln!(f, "{all:>6} faults; until the client was answered again, median and most:")?;
        for (kind, recoveries) in &self.faults {
            let mut sorted = recoveries.clone();
            sorted.sort_unstable();
            let (median, most) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            writeln!(f, "{:>6} {kind}: {:.1} s, {:.1} s", sorted.len(), median.as_secs_f64(), most.as_secs_f64())?;
        }
        writeln!(f, "{:>6} requests, {} of them acknowledged", self.sent, self.acknowledged)?;
        writeln!(f, "{:>6} runs finished, by {} tries and {} restarts", self.runs_finished, self.tries, self.restarts)?;
        writeln!(f, "{:>6} leaders, one after the other", self.leaders)?;
        writeln!(f, "{:>6} looks at the database", self.samples)?;
        match self.at_rest_after {
            Some(after) => writeln!(f, "at rest {:.1} s after the last fault\n", after.as_secs_f64())?,
            None => writeln!(f, "never at rest\n")?,
        }
        for (name, how) in &self.broken {
            writeln!(
                f,
                "{name}: {}",
                if how.is_empty() { "kept".to_owned() } else { format!("BROKEN {}x", how.len()) }
            )?;
            for text in how.iter().take(10) {
                writeln!(f, "    {text}")?;
            }
        }
        let broken = self.broken.iter().filter(|(_, how)| !how.is_empty()).count();
        writeln!(f, "\npromises broken: {broken}")?;
        match &self.logs {
            Some(folder) => writeln!(f, "the processes' logs are in {}", folder.display()),
            None => Ok(()),
        }
    }
}
