//! The client: asks for runs all the time, and keeps its own history.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::evidence::{Asked, Outcome, Sent};
use crate::http::Client;

/// How long the client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two requests of one of its hands.
const PAUSE: Duration = Duration::from_millis(120);

/// What a run of a dag is given.
type Params = fn(&mut StdRng) -> Value;

/// Dags of `tests/shapes` and `tests/hostile`, and what they are given. Undisturbed, all of their runs succeed.
const MIX: &[(&str, Params)] = &[
    ("canary", |_| json!({"text": "tweet"})),
    ("busy_bees", |random| json!({"steps": random.random_range(1..4)})),
    ("retried", |_| json!({})),
    ("mapped", |random| json!({"length": random.random_range(0..30)})),
    ("multiplied", |_| json!({})),
    ("mapped_group", |_| json!({})),
    ("grouped", |_| json!({})),
    ("on_a_cluster", |_| json!({"bad": 0})),
    ("cut_short", |random| json!({"answer": random.random_bool(0.5)})),
    ("branched", |random| json!({"choice": if random.random_bool(0.5) { "left" } else { "right" }})),
    ("waiting", |random| json!({"millis": random.random_range(100..1_500)})),
    ("remembered", |random| json!({"sides": random.random_range(2..1_000)})),
    ("starter", |_| json!({})),
    ("chained", |_| json!({})),
    ("pooled", |_| json!({})),
    ("one_at_a_time", |_| json!({})),
];

/// Dags put together from entries, for what the others lack: a chain, a pool, one run at a time, a schedule.
pub const YAML: &str = "
dag_id: chained
tasks:
  a: {uses: hostile/echo, with: {text: link}}
  b: {uses: hostile/echo, from: {text: tasks.a}}
  c: {uses: hostile/echo, from: {text: tasks.b}, retries: 2, retry_delay: 100ms}
  d: {uses: control/fail_first_n, with: {n: 1}, needs: [c], retries: 2, retry_delay: 100ms}
  e: {uses: control/sleep, with: {duration: 300ms}, needs: [d]}
  f: {uses: hostile/echo, from: {text: tasks.c}, needs: [e]}
---
dag_id: pooled
max_active_tasks: 3
tasks:
  narrow: {uses: hostile/slow, each: {steps: [1, 2, 1, 2]}, pool: narrow}
  wide: {uses: hostile/slow, with: {steps: 1}, pool: narrow, pool_slots: 2, needs: [narrow]}
---
dag_id: one_at_a_time
max_active_runs: 1
tasks:
  only: {uses: hostile/slow, with: {steps: 1}}
---
dag_id: ticking
schedule: every 2s
start: \"{start}\"
catchup: true
tasks:
  tick: {uses: hostile/echo, with: {text: tick}}
  tock: {uses: hostile/echo, from: {text: tasks.tick}}
";

/// The dag that runs by itself.
pub const TICKING: &str = "ticking";
pub const TICK_US: i64 = 2_000_000;

/// A dag of which each run starts one run of another.
pub const STARTS: (&str, &str) = ("starter", "awaited");

/// All dags of which there are runs.
pub fn dag_ids() -> impl Iterator<Item = &'static str> {
    MIX.iter().map(|(dag_id, _)| *dag_id).chain([TICKING, STARTS.1])
}

/// What the client knows of what it asked for.
#[derive(Debug, Clone, Default)]
pub struct History(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
pub struct Known {
    pub sent: Vec<Sent>,
    /// When something was acknowledged.
    pub acknowledged: Vec<Instant>,
}

impl History {
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, what: Asked, outcome: Outcome) {
        let mut known = self.known();
        known.sent.push(Sent { what, outcome });
        if outcome == Outcome::Acknowledged {
            known.acknowledged.push(Instant::now());
        }
    }
}

/// Begins to ask: one hand for each of `clients`. Ends when the set is dropped; what is under way then is unknown for good.
pub fn begin(clients: &[Client], seed: u64, history: &History) -> JoinSet<()> {
    let mut hands = JoinSet::new();
    for (hand, client) in clients.iter().enumerate() {
        let random = StdRng::seed_from_u64(seed.wrapping_add(hand as u64));
        hands.spawn(ask(client.clone(), hand, random, history.clone()));
    }
    hands
}

async fn ask(client: Client, hand: usize, mut random: StdRng, history: History) {
    for number in 0_u64.. {
        // Named by the client, so that it can be looked for when no answer came.
        let (what, request) = if number % 10 == 9 {
            let (key, value) = (format!("chaos/{hand}/{number}"), format!("value {number} of {hand}"));
            let request = client.request(Method::POST, "/api/v2/variables").json(&json!({"key": key, "value": value}));
            (Asked::Variable { key, value, found: None }, request)
        } else {
            let (dag_id, conf) = MIX[random.random_range(0..MIX.len())];
            let run_id = format!("chaos-{hand}-{number}");
            let body = json!({"logical_date": null, "conf": conf(&mut random), "dag_run_id": run_id});
            let request = client.request(Method::POST, &format!("/api/v2/dags/{dag_id}/dagRuns")).json(&body);
            (Asked::Run { dag_id: dag_id.to_owned(), run_id }, request)
        };
        // Noted before it is sent: whatever happens to it then, it was asked for.
        let outcome = match tokio::time::timeout(PATIENCE, client.try_send(request)).await {
            Ok(Some(answer)) if answer.status.is_success() => Outcome::Acknowledged,
            Ok(Some(answer)) if answer.status.is_client_error() => Outcome::Refused(answer.status.as_u16()),
            Ok(_) | Err(_) => Outcome::Unknown,
        };
        history.add(what, outcome);
        tokio::time::sleep(PAUSE).await;
    }
}
