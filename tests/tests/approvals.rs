//! Tasks that ask people, through the real binary.

use std::time::Duration;

use airlock_tests::{Client, Server, Shell, build, until};
use reqwest::Method;
use serde_json::{Value, json};

async fn shapes() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    (server, client)
}

fn path_of(run_id: &str) -> String {
    format!("/api/v2/dags/asking/dagRuns/{run_id}/taskInstances/ask/-1/hitlDetails")
}

/// Waits until the run's task asks this.
async fn asked(client: &Client, run_id: &str, subject: &str) -> Value {
    until("the question", Duration::from_secs(30), async || {
        let list = client.list(&format!("/api/v2/dags/asking/dagRuns/{run_id}/hitlDetails"), "hitl_details").await;
        list.into_iter().find(|detail| detail["subject"] == subject && detail["waiting"] == true)
    })
    .await
}

async fn page(client: &Client, path: &str) -> String {
    client.request(Method::GET, path).send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_task_asks_and_goes_on_with_the_answer() {
    let (server, client) = shapes().await;
    let run_id = client.trigger("asking", json!({})).await;
    let detail = asked(&client, &run_id, "Go on?").await;
    assert_eq!((&detail["options"], &detail["body"]), (&json!(["Approve", "Reject"]), &json!("It is `ready`.")));
    assert_eq!(detail["task_instance"]["state"], "up_for_reschedule");
    assert!(page(&client, "/approvals").await.contains("Go on?"));

    let path = path_of(&run_id);
    let refused = client.patch(&path, &json!({"chosen_options": ["Perhaps"]})).await.refused(422);
    assert!(refused.contains("choose of `Approve`, `Reject`"), "{refused}");
    client.patch(&path, &json!({"chosen_options": []})).await.refused(422);
    let answer = client.patch(&path, &json!({"chosen_options": ["Approve"]})).await.ok();
    assert_eq!(answer["responded_by"]["name"], "admin");

    let detail = asked(&client, &run_id, "Which, and how many?").await;
    assert_eq!((&detail["defaults"], &detail["params"]["share"]["value"]), (&json!(["b"]), &json!(5)));
    let refused =
        client.patch(&path, &json!({"chosen_options": ["a"], "params_input": {"share": 0}})).await.refused(422);
    assert!(refused.contains("param `share`"), "{refused}");
    let shell = Shell::signed_in(&server).await;
    let listed = shell.run(&["approvals", "list", "--output", "json"]).await.json();
    assert_eq!(listed[0]["subject"], "Which, and how many?");
    let args = [
        "approvals",
        "answer",
        "asking",
        &run_id,
        "ask",
        "--option",
        "a",
        "--option",
        "c",
        "--params",
        r#"{"share": 7}"#,
    ];
    shell.run(&args).await.ok();
    assert_eq!(client.finished("asking", &run_id).await["state"], "success");
    assert_eq!(client.xcom("asking", &run_id, "ask", "return_value").await, json!([["a", "c"], 7, "admin"]));

    let refused = client.patch(&path, &json!({"chosen_options": ["a"]})).await.refused(409);
    assert!(refused.contains("was answered by `admin`"), "{refused}");
    let of_try = client.get(&format!("{path}/tries/1")).await.ok();
    assert_eq!((&of_try["subject"], &of_try["response_received"]), (&json!("Which, and how many?"), &json!(true)));
    assert_eq!(of_try["task_instance"]["try_number"], 1);
    let refused = client.get(&format!("{path}/tries/2")).await.refused(404);
    assert!(refused.contains("try 2 of task `ask`"), "{refused}");
    let waiting = client.get("/api/v2/dags/~/dagRuns/~/hitlDetails?response_received=false").await.ok();
    assert_eq!(waiting["total_entries"], 0);
    let answered = client.get("/api/v2/dags/~/dagRuns/~/hitlDetails?response_received=true").await.ok();
    assert_eq!(answered["total_entries"], 2);
    let of_run = async |query: &str| {
        let list = client.get(&format!("/api/v2/dags/asking/dagRuns/{run_id}/hitlDetails?{query}")).await.ok();
        list["total_entries"].clone()
    };
    assert_eq!(of_run("responded_by_user_name=zoe&responded_by_user_name=admin&state=success").await, 2);
    assert_eq!(of_run("responded_by_user_name=admin&responded_by_user_id=zoe").await, 0);
    assert_eq!(of_run("state=up_for_reschedule&state=none").await, 0);
    assert_eq!(of_run("state=deferred").await, 0);
    assert_eq!(client.instances("asking", &run_id).await[0]["try_number"], 1, "waiting is no try");
}

#[tokio::test]
async fn the_form_on_the_tasks_page_answers() {
    let (_server, client) = shapes().await;
    let run_id = client.trigger("asking", json!({})).await;
    asked(&client, &run_id, "Go on?").await;
    let task = format!("/dags/asking/runs/{run_id}/tasks/ask");
    let html = page(&client, &task).await;
    assert!(html.contains("id=\"answer-form\"") && html.contains("<code>ready</code>"), "{html}");
    let post = async |form: &'static str| {
        let request = client.request(Method::POST, &format!("{task}/answer")).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, html) = post("").await;
    assert_eq!(status, 422);
    assert!(html.contains("choose one of the options"), "{html}");
    assert!(post("option=0").await.0 < 400);
    asked(&client, &run_id, "Which, and how many?").await;
    let (status, html) = post("option.2=2&param.share=many").await;
    assert_eq!(status, 422);
    assert!(html.contains("value=\"2\" checked"), "what was chosen stays: {html}");
    assert!(post("option.2=2&param.share=9").await.0 < 400);
    assert_eq!(client.finished("asking", &run_id).await["state"], "success");
    assert_eq!(client.xcom("asking", &run_id, "ask", "return_value").await, json!([["c"], 9, "admin"]));
    assert!(page(&client, &task).await.contains("id=\"answers\""));
}

#[tokio::test]
async fn who_is_not_asked_is_refused_and_what_is_rejected_is_skipped() {
    let (_server, client) = shapes().await;
    let run_id = client.trigger("asking", json!({"assignee": "ann"})).await;
    asked(&client, &run_id, "Go on?").await;
    let path = path_of(&run_id);
    client.patch(&path, &json!({"chosen_options": ["Approve"]})).await.ok();
    asked(&client, &run_id, "Which, and how many?").await;
    let refused = client.patch(&path, &json!({"chosen_options": ["a"]})).await.refused(403);
    assert!(refused.contains("is asked of ann; user `admin` is not among them"), "{refused}");

    let run_id = client.trigger("asking", json!({})).await;
    asked(&client, &run_id, "Go on?").await;
    client.patch(&path_of(&run_id), &json!({"chosen_options": ["Reject"]})).await.ok();
    client.finished("asking", &run_id).await;
    assert_eq!(client.instances("asking", &run_id).await[0]["state"], "skipped");
    client.patch(&path_of("nothing"), &json!({"chosen_options": ["Reject"]})).await.refused(404);
}

#[tokio::test]
async fn a_question_outlives_the_server_and_so_does_its_answer() {
    let (mut server, client) = shapes().await;
    let run_id = client.trigger("asking", json!({})).await;
    asked(&client, &run_id, "Go on?").await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    client.patch(&path_of(&run_id), &json!({"chosen_options": ["Approve"]})).await.ok();
    server.kill();
    server.restart().await;
    let client = server.client().await;
    asked(&client, &run_id, "Which, and how many?").await;
    let listed = client.list(&format!("/api/v2/dags/asking/dagRuns/{run_id}/hitlDetails"), "hitl_details").await;
    let first = listed.iter().find(|detail| detail["subject"] == "Go on?").unwrap();
    assert_eq!((&first["chosen_options"], &first["waiting"]), (&json!(["Approve"]), &json!(false)));
    client.request(Method::DELETE, &format!("/api/v2/dags/asking/dagRuns/{run_id}")).send().await.unwrap();
}

#[tokio::test]
async fn who_hears_nothing_takes_the_default_or_fails_and_nonsense_is_not_asked() {
    let (_server, client) = shapes().await;
    let run_id = client.trigger("unheard", json!({"fall_back": true})).await;
    assert_eq!(client.finished("unheard", &run_id).await["state"], "success");
    assert_eq!(client.xcom("unheard", &run_id, "ask_briefly", "return_value").await, json!(["no"]));
    let path = format!("/api/v2/dags/unheard/dagRuns/{run_id}/taskInstances/ask_briefly/-1/hitlDetails");
    let refused = client.patch(&path, &json!({"chosen_options": ["yes"]})).await.refused(409);
    assert!(refused.contains("nobody waits for the answer"), "{refused}");

    let run_id = client.trigger("unheard", json!({})).await;
    assert_eq!(client.finished("unheard", &run_id).await["state"], "failed");
    let log = client.log("unheard", &run_id, "ask_briefly", 1).await;
    assert!(log.contains("nobody answered `Anybody?` within 1 s"), "{log}");

    let run_id = client.trigger("nonsense", json!({})).await;
    assert_eq!(client.finished("nonsense", &run_id).await["state"], "failed");
    let log = client.log("nonsense", &run_id, "ask_nonsense", 1).await;
    assert!(log.contains("field `n`: \"many\" is not of type \"integer\""), "{log}");
}
