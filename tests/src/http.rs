//! The API as a client sees it.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::wait::until;

/// How long a run of a few tasks may take, on a machine that is busy with other tests.
pub const RUN_LIMIT: Duration = Duration::from_mins(2);

/// Speaks to one server, as one user or as nobody.
#[derive(Debug, Clone)]
pub struct Client {
    pub http: reqwest::Client,
    /// As `http://127.0.0.1:40123`.
    pub base: String,
    pub token: Option<String>,
}

/// A status and its JSON; `null` if there is none.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Answer {
    /// The body of an answer that is a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "HTTP {}: {}", self.status, self.body);
        self.body
    }

    /// The `detail` of an answer that must have `status`.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        match &self.body["detail"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl Client {
    /// A client without a token.
    pub fn anonymous(base: &str) -> Self {
        // Built beside the host, reqwest has TLS without a provider of its own, and a client needs one even for plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::new(), base: base.to_owned(), token: None }
    }

    /// A client of `username`.
    pub async fn signed_in(base: &str, username: &str, password: &str) -> Self {
        Self::anonymous(base).sign_in(username, password).await
    }

    /// This client, as `username`.
    pub async fn sign_in(mut self, username: &str, password: &str) -> Self {
        let body = json!({"username": username, "password": password});
        let answer = self.post("/auth/token", &body).await.ok();
        self.token = answer["access_token"].as_str().map(str::to_owned);
        assert!(self.token.is_some(), "no token in {answer}");
        self
    }

    /// A request to `path`, which begins with `/`.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends `request`; none if the server is not there or goes away.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> Option<Answer> {
        let response = request.send().await.ok()?;
        let status = response.status();
        let text = response.text().await.ok()?;
        Some(Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.expect("the server must answer")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Uploads a component.
    pub async fn upload(&self, wasm: Vec<u8>) -> Answer {
        let request = self.request(Method::POST, "/api/v2/components").header("content-type", "application/wasm");
        self.send(request.body(wasm)).await
    }

    pub async fn set_paused(&self, dag_id: &str, is_paused: bool) {
        self.patch(&format!("/api/v2/dags/{dag_id}"), &json!({"is_paused": is_paused})).await.ok();
    }

    /// Triggers a run and answers its id.
    pub async fn trigger(&self, dag_id: &str, conf: Value) -> String {
        let body = json!({"logical_date": null, "conf": conf});
        let run = self.post(&format!("/api/v2/dags/{dag_id}/dagRuns"), &body).await.ok();
        run["dag_run_id"].as_str().expect("a run has an id").to_owned()
    }

    /// Waits until the run is over and answers it.
    pub async fn finished(&self, dag_id: &str, run_id: &str) -> Value {
        let path = format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}");
        until(&format!("the end of run `{run_id}` of `{dag_id}`"), RUN_LIMIT, async || {
            let run = self.get(&path).await.ok();
            matches!(run["state"].as_str(), Some("success" | "failed")).then_some(run)
        })
        .await
    }

    /// All items of a list; they are under `field`.
    pub async fn list(&self, path: &str, field: &str) -> Vec<Value> {
        let mut items = Vec::new();
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{mark}limit=1000&offset={}", items.len())).await.ok();
            let more = page[field].as_array().unwrap_or_else(|| panic!("no list `{field}` in {page}"));
            items.extend(more.iter().cloned());
            if more.len() < 1000 {
                return items;
            }
        }
    }

    /// The task instances of a run.
    pub async fn instances(&self, dag_id: &str, run_id: &str) -> Vec<Value> {
        self.list(&format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances"), "task_instances").await
    }

    /// The value of an XCom.
    pub async fn xcom(&self, dag_id: &str, run_id: &str, task_id: &str, key: &str) -> Value {
        let path = format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}");
        self.get(&path).await.ok()["value"].clone()
    }

    /// What is at `path`, which must be there, as text of type `accept`.
    pub async fn text(&self, path: &str, accept: &str) -> String {
        let request = self.request(Method::GET, path).header("accept", accept);
        let answer = request.send().await.expect("the server must answer");
        assert!(answer.status().is_success(), "HTTP {}", answer.status());
        answer.text().await.expect("a text must be whole")
    }

    /// What a try's log says, a line for each line.
    pub async fn log(&self, dag_id: &str, run_id: &str, task_id: &str, try_number: u32) -> String {
        let path = format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}");
        let text = self.text(&path, "application/x-ndjson").await;
        let said = |line: &str| {
            serde_json::from_str::<Value>(line).ok()?["event"].as_str().map(|event| event.to_owned() + "\n")
        };
        text.lines().filter_map(said).collect()
    }
}
