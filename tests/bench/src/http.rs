//! What a workload asks of a server.

use std::time::{Duration, Instant};

use airlock_tests::{Client, Server, build};
use reqwest::{Method, header};
use serde_json::{Value, json};

/// A server, signed in to, with the dags of `tasks/bench`.
pub struct Bench {
    pub server: Server,
    pub client: Client,
}

impl Bench {
    pub async fn start(flags: &[(&str, &str)]) -> Self {
        let mut builder = Server::builder();
        for (flag, value) in flags {
            builder = builder.flag(flag, value);
        }
        let server = builder.start().await;
        let client = server.client().await;
        client.upload(build::component("bench")).await.ok();
        let bench = Self { server, client };
        // The first run loads the code.
        bench.run("one_task").await;
        bench
    }

    /// Lets a dag run and answers how long that took, from the request to the news of its end.
    pub async fn run(&self, dag_id: &str) -> Duration {
        self.run_of(dag_id).await.1
    }

    /// As [`run`](Self::run), and the run's id.
    pub async fn run_of(&self, dag_id: &str) -> (String, Duration) {
        let begin = Instant::now();
        let run_id = self.client.trigger(dag_id, json!({})).await;
        let request = self.client.request(Method::GET, &format!("{}/wait", run_path(dag_id, &run_id)));
        let lines = request.send().await.expect("the server answers").text().await.expect("the answer is whole");
        let time = begin.elapsed();
        let last = lines.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        assert_eq!(last.unwrap_or_default()["state"], "success", "run `{run_id}` of `{dag_id}`");
        (run_id, time)
    }

    /// Lets a dag run `count` times, one run after another.
    pub async fn runs(&self, dag_id: &str, count: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            times.push(self.run(dag_id).await);
        }
        times
    }

    /// How long an answer takes, and how many bytes it has on the wire.
    pub async fn get(&self, path: &str) -> (Duration, usize) {
        let begin = Instant::now();
        let request = self.client.request(Method::GET, path).header(header::ACCEPT_ENCODING, "gzip");
        let answer = request.send().await.expect("the server answers");
        let status = answer.status();
        let body = answer.bytes().await.expect("the answer is whole");
        let time = begin.elapsed();
        assert!(status.is_success(), "HTTP {status} for {path}");
        (time, body.len())
    }

    /// Each path in turn, `count` times in all.
    pub async fn gets(&self, paths: &[String], count: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(count);
        for path in paths.iter().cycle().take(count) {
            times.push(self.get(path).await.0);
        }
        times
    }

    /// Sets how many slots the pool has that tasks take if they name none.
    pub async fn set_default_pool(&self, slots: u32) {
        self.client.patch("/api/v2/pools/default_pool", &json!({"slots": slots})).await.ok();
    }
}

/// The address of a run in the API.
pub fn run_path(dag_id: &str, run_id: &str) -> String {
    format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}")
}
