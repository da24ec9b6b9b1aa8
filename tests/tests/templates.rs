//! Templates and labels, through the real binary.

use std::time::Duration;

use airlock_tests::{Client, Server, build, until};
use reqwest::Method;
use serde_json::{Value, json};

const RENDERED: &str = r#"
dag_id: rendered
grants: {variables: [bucket], connections: [lake]}
params: {n: 3, customer: acme}
tasks:
  shown:
    uses: control/map_list
    with:
      items:
        - "s3://{{ var.value.bucket }}/{{ ds_nodash }}/{{ params.customer | upper }}"
        - "{{ params.n }}"
        - {host: "{{ conn.lake.host }}:{{ conn.lake.port }}", try: "{{ ti.try_number }} of {{ dag.dag_id }}", plain: true}
        - "{{ dag_run.conf.get('more', 'none') }} {% raw %}{{ ds }}{% endraw %}"
  broken:
    uses: control/fail
    retries: 3
    retry_delay: 1s
    with: {message: "line one\n  {{ conf.missing }}"}
"#;

async fn control() -> (Server, Client) {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("control")).await.ok();
    (server, client)
}

async fn page(client: &Client, path: &str) -> String {
    client.request(Method::GET, path).send().await.unwrap().text().await.unwrap()
}

fn instance<'a>(instances: &'a [Value], task: &str) -> &'a Value {
    instances.iter().find(|instance| instance["task_id"] == task).unwrap()
}

#[tokio::test]
async fn inputs_are_rendered_shown_without_secrets_and_kept_over_a_crash() {
    let (mut server, client) = control().await;
    client.post("/api/v2/variables", &json!({"key": "bucket", "value": "lake-one"})).await.ok();
    let lake = json!({"connection_id": "lake", "conn_type": "http", "host": "lake.example.org", "port": 8443,
        "password": "swordfish"});
    client.post("/api/v2/connections", &lake).await.ok();
    client.upload(RENDERED.into()).await.ok();
    let body = json!({"logical_date": "2026-01-31T06:00:00Z", "conf": {"more": "much"}});
    let run = client.post("/api/v2/dags/rendered/dagRuns", &body).await.ok();
    let run_id = run["dag_run_id"].as_str().unwrap().to_owned();
    assert_eq!(client.finished("rendered", &run_id).await["state"], "failed");

    let why = "dag `rendered`, task `broken`: the template of input `message`: line 2, column 6: there is no `missing`";
    assert!(client.log("rendered", &run_id, "broken", 1).await.contains(why));
    let items = json!(["s3://lake-one/20260131/ACME", 3,
        {"host": "lake.example.org:8443", "try": "1 of rendered", "plain": true}, "much {{ ds }}"]);
    assert_eq!(client.xcom("rendered", &run_id, "shown", "return_value").await, items);
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let instances = client.instances("rendered", &run_id).await;
    let shown = &instance(&instances, "shown")["rendered_fields"]["items"];
    assert_eq!((&shown[0], &shown[1]), (&json!("s3://***/20260131/ACME"), &json!(3)), "{shown}");
    let path = format!("/api/v2/dags/rendered/dagRuns/{run_id}/taskInstances/shown/tries/1");
    assert_eq!(client.get(&path).await.ok()["rendered_fields"]["items"][2]["plain"], true);
    let inputs = page(&client, &format!("/dags/rendered/runs/{run_id}/tasks/shown?tab=inputs")).await;
    assert!(inputs.contains("/20260131/ACME") && !inputs.contains("lake-one"), "{inputs}");

    // What can't be rendered is not tried again.
    let broken = instance(&instances, "broken");
    assert_eq!((&broken["state"], &broken["try_number"]), (&json!("failed"), &json!(1)));
    assert!(broken["message"].as_str().unwrap().starts_with(why), "{broken}");
}

#[tokio::test]
async fn what_is_wrong_with_a_template_is_refused_at_the_upload() {
    let (_server, client) = control().await;
    for (from, to, why) in [
        (
            "{{ params.n }}",
            "{{ params.m }}",
            "input `items`: the template at `/1` is wrong in line 1, column 4: the dag has no",
        ),
        ("{{ params.n }}", "{{ parms }}", "there is no `parms`; there are ds"),
        ("{{ params.n }}", "{% if %}", "line 1, column"),
        ("variables: [bucket], ", "", "grant `variable:bucket` is missing in the dag"),
        ("conn.lake.port", "conn.lake.password", "a template can't have the `password` of a connection"),
    ] {
        let refused = client.upload(RENDERED.replace(from, to).into()).await.refused(422);
        assert!(refused.contains("task `shown`") && refused.contains(why), "{refused}");
    }
}

const PULLING: &str = r#"
dag_id: pulling
schedule: "@daily"
start: "2026-01-01"
paused_upon_creation: true
tasks:
  rows: {uses: control/map_list, with: {items: [3, 4]}}
  parts: {uses: control/map_list, each: {items: [[1], [2, 3]]}}
  none: {uses: control/empty}
  shown:
    uses: control/map_list
    needs: [rows, parts, none]
    with:
      items:
        - "{{ ti.xcom_pull('rows') }}"
        - "{{ ti.xcom_pull(task_ids='parts') }}"
        - "{{ ti.xcom_pull('parts', map_indexes=1)[0] }} of {{ ti.xcom_pull('rows') | length }}"
        - "{{ ti.xcom_pull('none', default='nothing') }} {{ ti.xcom_pull('rows', key='other') }}"
        - "{{ prev_data_interval_start_success }}"
        - "{{ prev_start_date_success is none }}"
"#;

#[tokio::test]
async fn templates_pull_xcoms_and_know_the_run_before() {
    let (_server, client) = control().await;
    client.upload(PULLING.into()).await.ok();
    client.patch("/api/v2/dags/pulling", &json!({"is_paused": false})).await.ok();
    let run_on = async |date: &str| {
        let body = json!({"logical_date": format!("{date}T00:00:00Z"), "conf": {}});
        let run = client.post("/api/v2/dags/pulling/dagRuns", &body).await.ok();
        let run_id = run["dag_run_id"].as_str().unwrap().to_owned();
        assert_eq!(client.finished("pulling", &run_id).await["state"], "success");
        client.xcom("pulling", &run_id, "shown", "return_value").await
    };
    let first = run_on("2026-01-10").await;
    assert_eq!(first, json!([[3, 4], [[1], [2, 3]], "2 of 2", "nothing null", null, true]));
    run_on("2026-01-12").await;
    let between = run_on("2026-01-11").await;
    assert_eq!((&between[4], &between[5]), (&json!("2026-01-10T00:00:00+00:00"), &json!(false)));
}

#[tokio::test]
async fn a_template_pulls_from_tasks_upstream_only() {
    let (_server, client) = control().await;
    for (from, to, why) in [
        ("xcom_pull('rows') }}", "xcom_pull('row') }}", "line 1, column 17: there is no task `row` in this dag"),
        ("needs: [rows, parts, none]", "needs: [rows, none]", "task `parts` is not upstream of it and may not be over"),
    ] {
        let refused = client.upload(PULLING.replacen(from, to, 1).into()).await.refused(422);
        assert!(refused.contains("task `shown`: input `items`") && refused.contains(why), "{refused}");
    }
    let large = "dag_id: large\ntasks:\n  a: {uses: control/map_list, with: {items: [\"{{ 'x' * 3000000 }}\"]}}\n  b: {uses: \
                 control/map_list, each: {items: [[1], [2]]}}\n  c: {uses: control/empty, needs: [a]}\n  d: {uses: \
                 control/map_list, needs: [a], with: {items: [\"{{ (ti.xcom_pull('a') | tojson) ~ (ti.xcom_pull('a') | \
                 tojson) }}\"]}}\n";
    client.upload(large.into()).await.ok();
    let run_id = client.trigger("large", json!({})).await;
    assert_eq!(client.finished("large", &run_id).await["state"], "failed");
    assert!(client.log("large", &run_id, "d", 1).await.contains("it handles more than 4194304 bytes"));
}

#[tokio::test]
async fn an_instance_says_itself_what_it_is_called() {
    let mut server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    let run_id = client.trigger("self_named", json!({})).await;
    assert_eq!(client.finished("self_named", &run_id).await["state"], "failed");
    let log = client.log("self_named", &run_id, "alone", 1).await;
    assert!(log.contains("task `alone` is not mapped and has no label"), "{log}");
    server.kill();
    server.restart().await;
    let client = server.client().await;
    let instances = client.instances("self_named", &run_id).await;
    let named = instances.iter().filter(|instance| instance["task_id"] == "named");
    let named: Vec<_> =
        named.map(|instance| (&instance["state"], instance["rendered_map_index"].as_str().unwrap())).collect();
    let label = |rows: u32| format!("{rows} rows {}", "x".repeat(300))[..250].to_owned();
    assert_eq!(named, [(&json!("success"), label(7).as_str()), (&json!("failed"), label(8).as_str())]);
}

#[tokio::test]
async fn mapped_instances_have_names_and_rust_dags_have_templates() {
    let server = Server::start().await;
    let client = server.client().await;
    client.upload(build::component("shapes")).await.ok();
    let body = json!({"logical_date": "2026-01-31T06:00:00Z", "conf": {}});
    let run = client.post("/api/v2/dags/labelled/dagRuns", &body).await.ok();
    let run_id = run["dag_run_id"].as_str().unwrap().to_owned();
    let of_pair = |instances: Vec<Value>| -> Vec<Value> {
        let pairs = instances.into_iter().filter(|instance| instance["task_id"] == "pair");
        pairs.map(|instance| instance["rendered_map_index"].clone()).collect()
    };
    until("the names", Duration::from_secs(30), async || {
        (of_pair(client.instances("labelled", &run_id).await) == [json!("number 0"), json!("number 1")]).then_some(())
    })
    .await;
    assert_eq!(client.finished("labelled", &run_id).await["state"], "success");
    assert_eq!(client.xcom("labelled", &run_id, "double", "return_value").await, json!(42));
    assert!(page(&client, &format!("/dags/labelled/runs/{run_id}")).await.contains("pair [number 1]"));
    let path = format!("/dags/labelled/runs/{run_id}/tasks/pair?map_index=1");
    assert!(page(&client, &path).await.contains("number 0"));
}
