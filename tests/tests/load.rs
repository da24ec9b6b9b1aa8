//! Runs that are asked for while processes die, and whether they ended right.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use airlock_tests::Client;
use reqwest::Method;
use serde_json::json;

/// Triggers runs until it is aborted, and notes those that the server accepted.
pub async fn load(client: Client, accepted: Arc<Mutex<Vec<(String, String)>>>) {
    for number in 0_u64.. {
        let (dag_id, conf) = match number % 3 {
            0 => ("canary", json!({"text": format!("n{number}")})),
            1 => ("busy_bees", json!({"steps": 2})),
            _ => ("retried", json!({})),
        };
        let body = json!({"logical_date": null, "conf": conf});
        let request = client.request(Method::POST, &format!("/api/v2/dags/{dag_id}/dagRuns")).json(&body);
        let answer = tokio::time::timeout(Duration::from_secs(5), client.try_send(request)).await.ok().flatten();
        match answer.filter(|answer| answer.status.is_success()) {
            Some(answer) => {
                let run_id = answer.body["dag_run_id"].as_str().unwrap().to_owned();
                accepted.lock().unwrap().push((dag_id.to_owned(), run_id));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Every run that was accepted succeeded, and each of its tasks once.
pub async fn all_ended_right(client: &Client, accepted: &[(String, String)]) {
    for (dag_id, run_id) in accepted {
        let run = client.finished(dag_id, run_id).await;
        assert_eq!(run["state"], "success", "{dag_id} {run_id}");
        let instances = client.instances(dag_id, run_id).await;
        assert!(instances.iter().all(|instance| instance["state"] == "success"), "{instances:?}");
        for instance in &instances {
            let task_id = instance["task_id"].as_str().unwrap();
            let successes = successes(client, dag_id, run_id, task_id).await;
            assert_eq!(successes, 1, "{dag_id} {run_id} {task_id} succeeded {successes} times");
        }
    }
}

/// How many tries of a task instance succeeded.
async fn successes(client: &Client, dag_id: &str, run_id: &str, task_id: &str) -> usize {
    let path = format!("/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/tries");
    let tries = client.get(&path).await.ok();
    tries["task_instances"].as_array().unwrap().iter().filter(|attempt| attempt["state"] == "success").count()
}
