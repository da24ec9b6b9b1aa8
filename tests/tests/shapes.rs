//! Dags of every shape, through the real binary: mapped tasks, groups, setups, branches.

use std::time::Duration;

use airlock_tests::{Client, Server, build, until};
use serde_json::{Value, json};

async fn shapes() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    (server, client)
}

/// Triggers a run and waits for its end.
async fn run(client: &Client, dag_id: &str, conf: Value) -> (String, Value) {
    let run_id = client.trigger(dag_id, conf).await;
    let run = client.finished(dag_id, &run_id).await;
    (run_id, run["state"].clone())
}

/// The states of the instances as `task` or `task[map_index]`, in order.
async fn states(client: &Client, dag_id: &str, run_id: &str) -> Vec<String> {
    let instances = client.instances(dag_id, run_id).await;
    let mut states: Vec<_> = instances
        .iter()
        .map(|instance| {
            let (task_id, state) = (instance["task_id"].as_str().unwrap(), instance["state"].as_str().unwrap());
            match instance["map_index"].as_i64().unwrap() {
                -1 => format!("{task_id} {state}"),
                index => format!("{task_id}[{index}] {state}"),
            }
        })
        .collect();
    states.sort();
    states
}

#[tokio::test]
async fn a_task_is_mapped_over_a_list_and_its_results_are_one() {
    let (_server, client) = shapes().await;
    let (run_id, state) = run(&client, "mapped", json!({"length": 4})).await;
    assert_eq!(state, "success");
    assert_eq!(client.xcom("mapped", &run_id, "sum", "return_value").await, 12);
    let expected = ["count success", "double[0] success", "double[1] success", "double[2] success"];
    assert_eq!(states(&client, "mapped", &run_id).await[..4], expected);

    let (run_id, state) = run(&client, "mapped", json!({"length": 0})).await;
    assert_eq!(state, "success");
    assert_eq!(states(&client, "mapped", &run_id).await, ["count success", "double skipped", "sum skipped"]);

    let (run_id, state) = run(&client, "mapped", json!({"length": 100_001})).await;
    assert_eq!(state, "failed");
    let count = &client.instances("mapped", &run_id).await[0];
    let log = client.log("mapped", &run_id, count["task_id"].as_str().unwrap(), 1).await;
    assert_eq!(states(&client, "mapped", &run_id).await[0], "count failed", "{log}");
}

#[tokio::test]
async fn runs_come_about_as_the_dag_allows() {
    let (_server, client) = shapes().await;
    let dag = client.get("/api/v2/dags/not_by_hand").await.ok();
    assert_eq!(dag["allowed_run_types"], json!(["scheduled", "backfill"]));
    let why = "dag `not_by_hand` has no `manual` runs: its `allowed_run_types` are `scheduled`, `backfill`";
    let told = client.post("/api/v2/dags/not_by_hand/dagRuns", &json!({"logical_date": null})).await.refused(422);
    assert!(told.contains(why), "{told}");
    let page = client.text("/dags/not_by_hand", "text/html").await;
    assert!(page.contains("not_by_hand") && !page.contains("id=\"trigger\""), "{page}");
    client.upload(build::component("control")).await.ok();
    let starts = "dag_id: starts\ngrants: {dags: [not_by_hand]}\ntasks: {t: {uses: control/trigger_dag_run, with: {dag_id: not_by_hand}}}\n";
    client.upload(starts.into()).await.ok();
    let (run_id, state) = run(&client, "starts", json!({})).await;
    assert_eq!(state, "failed");
    assert!(client.log("starts", &run_id, "t", 1).await.contains("has no `operator_triggered` runs"));
    // Of a run that is there: by the dag as it is now.
    let again =
        async || client.text(&format!("/dags/starts/runs/{run_id}"), "text/html").await.contains("trigger-again");
    assert!(again().await);
    client.upload(format!("allowed_run_types: [backfill]\n{starts}").into()).await.ok();
    assert!(!again().await);
    let scheduled =
        "dag_id: never\nschedule: '@daily'\nallowed_run_types: [manual]\ntasks: {t: {uses: control/empty}}\n";
    let told = client.upload(scheduled.into()).await.refused(422);
    assert!(told.contains("it has a schedule, and dag `never` has no `scheduled` runs"), "{told}");
    let nothing = scheduled.replace("schedule: '@daily'\n", "").replace("manual", "backfill");
    client.upload(nothing.into()).await.ok();
    let range = json!({"dag_id": "never", "from_date": "2026-01-01T00:00:00Z", "to_date": "2026-01-02T00:00:00Z"});
    assert!(!client.post("/api/v2/backfills", &range).await.refused(422).contains("allowed_run_types"));
}

#[tokio::test]
async fn an_error_says_when_it_is_tried_again() {
    let (mut server, client) = shapes().await;
    let run_id = client.trigger("told_when", json!({})).await;
    let both = async || {
        let states = states(&client, "told_when", &run_id).await;
        (states == ["soon success", "tomorrow up_for_retry"]).then_some(())
    };
    until("one to be tried again", Duration::from_secs(20), both).await;
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let task = format!("/api/v2/dags/told_when/dagRuns/{run_id}/taskInstances/tomorrow");
    let waits = client.get(&task).await.ok();
    let (end, wake) = (waits["end_date"].as_str().unwrap(), waits["wake_at"].as_str().unwrap());
    // The same time of another day.
    assert!(end[..10] < wake[..10] && end[10..] == wake[10..], "{waits}");
    assert_eq!((&waits["message"], &waits["try_number"]), (&json!("the quota is used up"), &json!(1)));
    assert_eq!(client.xcom("told_when", &run_id, "soon", "return_value").await, json!(2));
}

#[tokio::test]
async fn schedules_of_several_expressions_and_of_periods() {
    let (_server, client) = shapes().await;
    let next = async |dag_id: &str| {
        let path = format!("/api/v2/dags/{dag_id}/nextRuns?after=2026-01-02T00:00:01Z&limit=3");
        let runs = client.get(&path).await.ok()["next_runs"].clone();
        runs.as_array().unwrap().iter().map(|run| run["run_after"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // 2026-01-02 is a Friday; Seoul is nine hours ahead.
    let expected = ["2026-01-02T09:30:00Z", "2026-01-02T21:00:00Z", "2026-01-03T21:00:00Z"];
    assert_eq!(next("twice_on_fridays").await, expected);
    assert_eq!(next("periodic").await, ["2026-01-02T01:30:00Z", "2026-01-02T03:00:00Z", "2026-01-02T04:30:00Z"]);
    let dag = client.get("/api/v2/dags/periodic").await.ok();
    assert_eq!(dag["timetable_summary"], "every 1h 30m");
    assert_eq!(next("twice").await, ["2029-12-31T21:00:00Z", "2030-06-30T21:00:00Z"]);
    let days: Vec<_> = next("month_ends").await.into_iter().map(|at| at[..13].to_owned()).collect();
    assert_eq!(days, ["2026-01-29T00", "2026-02-02T00", "2026-02-27T00"], "9 in Seoul, some minutes late");
}

#[tokio::test]
async fn a_continuous_dag_runs_again_and_again_until_it_is_paused() {
    let (_server, client) = shapes().await;
    client.set_paused("ever", false).await;
    let ended = async || {
        let runs = client.list("/api/v2/dags/ever/dagRuns", "dag_runs").await;
        (runs.iter().filter(|run| run["state"] == "success").count() >= 3).then_some(())
    };
    until("three runs have ended", Duration::from_secs(30), ended).await;
    client.set_paused("ever", true).await;
    let runs = client.list("/api/v2/dags/ever/dagRuns", "dag_runs").await;
    assert!(runs.iter().all(|run| run["run_type"] == "scheduled"));
}

#[tokio::test]
async fn a_thousand_instances_of_a_mapped_task() {
    let (_server, client) = shapes().await;
    let (run_id, state) = run(&client, "mapped", json!({"length": 1_000})).await;
    assert_eq!(state, "success");
    assert_eq!(client.xcom("mapped", &run_id, "sum", "return_value").await, 999_000);
}

/// Also beyond the first page of its task's instances.
#[tokio::test]
async fn one_of_many_instances_is_noted_and_deleted_and_comes_back() {
    let (_server, client) = shapes().await;
    let (run_id, _) = run(&client, "mapped", json!({"length": 1_002})).await;
    let instance = |index: u32| format!("/api/v2/dags/mapped/dagRuns/{run_id}/taskInstances/double/{index}");
    let noted = client.patch(&instance(1_001), &json!({"note": "far"})).await.ok();
    assert_eq!(noted["task_instances"][0]["note"], "far");
    let refused = client.delete(&instance(1_001)).await.refused(409);
    assert!(refused.contains("the last of several"), "{refused}");
    for index in [5, 1_000] {
        client.delete(&instance(index)).await.ok();
        client.get(&instance(index)).await.refused(404);
    }
    let clear = json!({"dag_run_id": run_id, "task_ids": ["sum"], "only_failed": false, "dry_run": false});
    client.post("/api/v2/dags/mapped/clearTaskInstances", &clear).await.ok();
    assert_eq!(client.finished("mapped", &run_id).await["state"], "success");
    assert_eq!(client.xcom("mapped", &run_id, "sum", "return_value").await, 1_002 * 1_001);
    assert_eq!(client.get(&instance(5)).await.ok()["state"], "success");
}

#[tokio::test]
async fn lists_multiply_or_go_along() {
    let (_server, client) = shapes().await;
    let (run_id, _) = run(&client, "multiplied", json!({})).await;
    let joined = async |task_id: &str| client.xcom("multiplied", &run_id, task_id, "return_value").await;
    assert_eq!((joined("join").await, joined("join__1").await), (json!("07 08 09 17 18 19"), json!("07 18")));
    let (run_id, _) = run(&client, "mapped_again", json!({})).await;
    assert_eq!(client.xcom("mapped_again", &run_id, "sum", "return_value").await, 24);
}

#[tokio::test]
async fn a_mapped_group_goes_on_element_by_element() {
    let (_server, client) = shapes().await;
    let (run_id, state) = run(&client, "mapped_group", json!({})).await;
    assert_eq!(state, "success", "its last task takes what there is");
    assert_eq!(client.xcom("mapped_group", &run_id, "sum", "return_value").await, 4);
    let states = states(&client, "mapped_group", &run_id).await;
    assert!(states.contains(&"each.double[1] upstream_failed".to_owned()), "{states:?}");
    assert!(states.contains(&"each.double[2] success".to_owned()), "{states:?}");
}

#[tokio::test]
async fn groups_setups_branches_and_sensors_mean_what_airflow_means() {
    let (_server, client) = shapes().await;
    let (run_id, state) = run(&client, "grouped", json!({})).await;
    assert_eq!(state, "success");
    let of_group = ["outer.double success", "outer.inner.double success", "say success", "say__1 success"];
    assert_eq!(states(&client, "grouped", &run_id).await, of_group);

    let (run_id, state) = run(&client, "on_a_cluster", json!({})).await;
    assert_eq!(state, "failed", "the work counts, not the teardown");
    let of_cluster = ["delete_cluster success", "name_cluster success", "picky failed"];
    assert_eq!(states(&client, "on_a_cluster", &run_id).await, of_cluster);

    let (run_id, _) = run(&client, "cut_short", json!({})).await;
    let of_short = [
        "after_all skipped",
        "after_all_that success",
        "after_step skipped",
        "after_that skipped",
        "is_worth_a_step success",
        "is_worth_it success",
    ];
    assert_eq!(states(&client, "cut_short", &run_id).await, of_short);
    let (run_id, _) = run(&client, "cut_short", json!({"answer": true})).await;
    assert!(states(&client, "cut_short", &run_id).await.iter().all(|state| state.ends_with("success")));

    let (run_id, state) = run(&client, "waiting", json!({})).await;
    assert_eq!(state, "success");
    assert_eq!(states(&client, "waiting", &run_id).await, ["godot skipped", "some_time success"]);
    let waited = client.xcom("waiting", &run_id, "some_time", "return_value").await;
    assert!((700..30_000).contains(&waited.as_i64().unwrap()), "{waited}");
    let log = client.log("waiting", &run_id, "some_time", 1).await;
    assert!(log.matches("waited").count() >= 3, "the pokes of one try have one log: {log}");

    let (run_id, state) = run(&client, "fail_fast", json!({})).await;
    assert_eq!(state, "failed");
    assert_eq!(states(&client, "fail_fast", &run_id).await, ["picky failed", "say skipped", "wait failed"]);

    let (run_id, state) = run(&client, "branched", json!({"choice": "right"})).await;
    assert_eq!(state, "success");
    assert_eq!(
        states(&client, "branched", &run_id).await[1..4],
        ["left.double skipped", "left.double__1 skipped", "right.double success"]
    );
}

#[tokio::test]
async fn runs_wait_for_the_one_before_and_a_dag_that_fails_is_paused() {
    let (_server, client) = shapes().await;
    let trigger = async |date: &str, bad: u32| {
        let body = json!({"logical_date": date, "conf": {"bad": bad}});
        client.post("/api/v2/dags/limited/dagRuns", &body).await.ok()["dag_run_id"].as_str().unwrap().to_owned()
    };
    let first = trigger("2026-01-01T00:00:00Z", 0).await;
    assert_eq!(client.finished("limited", &first).await["state"], "success");
    let second = trigger("2026-01-02T00:00:00Z", 1).await;
    assert_eq!(client.finished("limited", &second).await["state"], "failed");
    let third = trigger("2026-01-03T00:00:00Z", 0).await;
    let path = format!("/api/v2/dags/limited/dagRuns/{third}/taskInstances");
    let waits = async || client.get(&format!("{path}/one_by_one/0/dependencies")).await.ok()["dependencies"].clone();
    let is_waiting = async || (waits().await[0]["name"] == "Previous Dagrun State").then_some(());
    until("it waits for the run before", Duration::from_secs(20), is_waiting).await;
    let reason = waits().await[0]["reason"].to_string();
    assert!(reason.contains("`one_by_one`"), "{reason}");
    let mark = json!({"new_state": "success"});
    let of_second = format!("/api/v2/dags/limited/dagRuns/{second}/taskInstances");
    client.patch(&format!("{of_second}/picky"), &mark).await.ok();
    assert_eq!(client.finished("limited", &third).await["state"], "success");

    let task = client.get("/api/v2/dags/limited/tasks/one_by_one").await.ok();
    assert_eq!((&task["depends_on_past"], &task["max_active_tis_per_dag"]), (&json!(true), &json!(2)));
    for date in ["2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z"] {
        let run = trigger(date, 1).await;
        assert_eq!(client.finished("limited", &run).await["state"], "failed");
    }
    let dag = client.get("/api/v2/dags/limited").await.ok();
    assert_eq!((&dag["is_paused"], &dag["max_consecutive_failed_dag_runs"]), (&json!(true), &json!(2)));
    assert!(dag["pause_reason"].as_str().unwrap().contains("its last 2 runs failed"), "{dag}");
}
