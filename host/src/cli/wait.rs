//! Waiting for a run to end.

use std::time::Duration;

use serde_json::Value;

use super::{
    client::Client,
    error::{CliError, Kind, Result},
    output::note,
    progress,
};

/// How often a server that does not answer is asked again, and when.
const TRIES: u32 = 60;
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Task states in which nothing more happens by itself.
const FINISHED: &[&str] = &["success", "failed", "skipped", "upstream_failed", "removed"];

/// Whether nothing more happens by itself to a task instance in this state.
pub fn is_finished(state: &str) -> bool {
    FINISHED.contains(&state)
}

/// What is at `segments`, where something was a moment ago. A server that does not answer is asked again: what is waited for goes
/// on when it was restarted, or another took over.
///
/// # Errors
/// If it does not answer any more, or refuses.
pub async fn ask(client: &Client, segments: &[&str]) -> Result<Value> {
    for number in 0..TRIES {
        match client.get(segments, &[]).await {
            Err(error) if error.kind() == Kind::Unreachable => {
                if number == 0 {
                    note("the server does not answer; it is asked again for a minute");
                }
                tokio::time::sleep(TRY_AGAIN).await;
            }
            answer => return answer,
        }
    }
    client.get(segments, &[]).await
}

/// Waits until `run` is over and answers it as it is then; on a terminal with a bar of its task instances.
///
/// # Errors
/// As [`ask`].
pub async fn run_to_end(client: &Client, dag_id: &str, run_id: &str, mut run: Value) -> Result<Value> {
    let bar = progress::count(format!("{dag_id} {run_id}"), 0);
    let mut pause = Duration::from_millis(50);
    loop {
        if matches!(run.get("state").and_then(Value::as_str), Some("success" | "failed")) {
            bar.finish_and_clear();
            return Ok(run);
        }
        if !bar.is_hidden() {
            let finished: Vec<_> = FINISHED.iter().map(|state| ("state", (*state).to_owned())).collect();
            if let Ok(total) = count_instances(client, dag_id, run_id, &[]).await {
                bar.set_length(total);
            }
            if let Ok(finished) = count_instances(client, dag_id, run_id, &finished).await {
                bar.set_position(finished);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
        run = ask(client, &["dags", dag_id, "dagRuns", run_id]).await?;
    }
}

async fn count_instances(client: &Client, dag_id: &str, run_id: &str, query: &[(&str, String)]) -> Result<u64> {
    let mut query = query.to_vec();
    query.push(("limit", "1".into()));
    let answer = client.get(&["dags", dag_id, "dagRuns", run_id, "taskInstances"], &query).await?;
    Ok(answer.get("total_entries").and_then(Value::as_u64).unwrap_or(0))
}

/// Fails if `run`, which is over, did not succeed.
///
/// # Errors
/// If it did not.
pub fn require_success(run: &Value) -> Result<()> {
    let text = |field| run.get(field).and_then(Value::as_str).unwrap_or("?");
    if text("state") == "success" {
        return Ok(());
    }
    let (dag_id, run_id) = (text("dag_id"), text("dag_run_id"));
    Err(CliError::text(Kind::Failed, format!("run `{run_id}` of dag `{dag_id}` ended as {}", text("state")))
        .hint(format!("`airlock tasks states {dag_id} '{run_id}'` shows which task, `airlock tasks logs` why")))
}
