//! How lists are narrowed, and what they are not narrowed by.

use serde_json::json;

use super::{HOSTILE, TestApi, dag_access};

/// How many of the list `path` names in `field` there are for each query.
async fn counts(api: &TestApi, path: &str, field: &str, expected: &[(&str, usize)]) {
    for (query, count) in expected {
        let answer = api.get(&format!("{path}?{query}")).await.ok();
        assert_eq!(answer[field].as_array().unwrap().len(), *count, "{query}");
        assert_eq!(answer["total_entries"], *count, "{query}");
    }
}

#[tokio::test]
async fn entries_of_the_audit_log_are_found_by_what_they_came_after_and_before() {
    let api = TestApi::new().await;
    for key in ["first", "second", "third"] {
        api.post("/api/v2/variables", json!({"key": key, "value": "x"})).await.ok();
    }
    let logs = api.get("/api/v2/eventLogs?event=variable.write&order_by=id").await.ok();
    let when = |at: usize| logs["event_logs"][at]["when"].as_str().unwrap();
    let of = |span: String| format!("event=variable.write&{span}");
    let between = of(format!("after={}&before={}", when(0), when(2)));
    let (after, before) = (of(format!("after={}", when(2))), of(format!("before={}", when(0))));
    let expected = [(&*between, 1), (&*after, 0), (&*before, 0)];
    counts(&api, "/api/v2/eventLogs", "event_logs", &expected).await;
}

#[tokio::test]
async fn dags_are_found_by_their_last_runs_and_versions_by_their_numbers() {
    let api = TestApi::new().await;
    let expected = [
        ("dag_run_state=success", 1),
        ("dag_run_state=failed&dag_run_state=success&last_dag_run_state=success", 1),
        ("dag_run_state=failed&last_dag_run_state=success", 0),
        ("dag_run_start_date_gte=2020-01-01", 1),
        ("dag_run_end_date_gt=2030-01-01", 0),
        ("has_asset_schedule=false", 1),
        ("has_asset_schedule=true", 0),
        ("asset_dependency=a", 0),
        ("dag_display_name_pattern=HE%20F", 1),
        ("dag_display_name_pattern=flow%7Cno&dag_display_name_prefix_pattern=The", 1),
        ("dag_display_name_prefix_pattern=the", 0),
        ("order_by=-dag_display_name", 1),
        ("has_import_errors=false", 1),
        ("has_import_errors=true", 0),
    ];
    counts(&api, "/api/v2/dags", "dags", &expected).await;
    let (its_own, another) =
        (format!("bundle_version={}", "07".repeat(32)), format!("bundle_version={}", "08".repeat(32)));
    let of_both = format!("bundle_name=component&{its_own}");
    let bundles = [
        ("bundle_name=component", 1),
        ("bundle_name=dags-folder", 0),
        (&*its_own, 1),
        (&*of_both, 1),
        (&*another, 0),
        ("bundle_version=main", 0),
    ];
    counts(&api, "/api/v2/dags", "dags", &bundles).await;
    // Whoever pauses what a list showed pauses no more than that.
    let paused = async |query: &str| {
        let path = format!("/api/v2/dags?dag_id_pattern=~&{query}");
        api.patch(&path, json!({"is_paused": false})).await.ok()["total_entries"].clone()
    };
    assert_eq!(paused("dag_run_end_date_gt=2030-01-01").await, 0);
    assert_eq!(api.get("/api/v2/dags/flow").await.ok()["is_paused"], true);
    let versions = "/api/v2/dags/flow/dagVersions";
    counts(&api, versions, "dag_versions", &[("version_number=1", 1), ("version_number=2", 0)]).await;
    counts(&api, versions, "dag_versions", &bundles).await;
    for (query, count) in bundles {
        let answer = api.get(&format!("{versions}?version_number=1&{query}")).await.ok();
        assert_eq!(answer["total_entries"], count, "{query}");
    }
}

#[tokio::test]
async fn runs_are_found_by_their_names_lengths_versions_and_conf() {
    let api = TestApi::new().await;
    let run = json!({"dag_run_id": "new_1", "logical_date": null, "conf": {"shop": "Bonn"}});
    api.post("/api/v2/dags/flow/dagRuns", run).await.ok();
    let expected = [
        ("run_id_pattern=new", 1),
        ("run_id_prefix_pattern=ew", 0),
        ("run_id_pattern=new%7Cdone", 2),
        ("dag_id_prefix_pattern=fl&run_id_prefix_pattern=don", 1),
        ("triggering_user_name_pattern=adm", 1),
        ("conf_contains=bonn", 1),
        ("conf_contains=", 2),
        ("dag_version=1", 2),
        ("dag_version=1&dag_version=7", 2),
        ("dag_version=7", 0),
        // The new one has not ended.
        ("duration_gte=0", 1),
        ("duration_gt=1000000", 0),
        ("duration_lt=1000000.5", 1),
    ];
    counts(&api, "/api/v2/dags/flow/dagRuns", "dag_runs", &expected).await;
    let listed = |body| api.post("/api/v2/dags/~/dagRuns/list", body);
    assert_eq!(listed(json!({"dag_ids": ["flow"], "conf_contains": "bonn"})).await.ok()["total_entries"], 1);
    assert_eq!(listed(json!({"dag_ids": ["flow"], "duration_gte": 1e6})).await.ok()["total_entries"], 0);
    // Of all dags it would read all history.
    listed(json!({"conf_contains": "bonn"})).await.refused(400);
    for (query, _) in expected.iter().filter(|(query, _)| *query != "conf_contains=") {
        api.get(&format!("/api/v2/dags/~/dagRuns?{query}")).await.refused(400);
    }
    for wrong in ["duration_gte=-1", "duration_gte=NaN", "duration_gte=x", "dag_version=one"] {
        api.get(&format!("/api/v2/dags/flow/dagRuns?{wrong}")).await.refused(422);
    }
}

#[tokio::test]
async fn runs_are_found_by_what_they_consumed_and_came_with_and_events_by_names_and_times() {
    let api = TestApi::new().await;
    dag_access::seed(&api.store).await;
    let component = format!("bundle_version={}", "16".repeat(32));
    let another = format!("bundle_version={}", "07".repeat(32));
    let expected = [
        ("consuming_asset_pattern=HARE", 1),
        ("consuming_asset_pattern=sh_red", 0),
        ("consuming_asset_pattern=shared%7Cother", 0),
        ("consuming_asset_pattern=~", 0),
        (&*component, 1),
        (&*another, 0),
    ];
    counts(&api, "/api/v2/dags/open/dagRuns", "dag_runs", &expected).await;
    counts(&api, "/api/v2/dags/open/dagRuns", "dag_runs", &[("consuming_asset_pattern=", 1), ("bundle_version=x", 0)])
        .await;
    for (query, _) in expected {
        api.get(&format!("/api/v2/dags/~/dagRuns?{query}")).await.refused(400);
    }

    let expected = [
        ("name_pattern=HARE", 2),
        ("name_pattern=hare%7Czz", 3),
        ("name_prefix_pattern=hare", 0),
        ("name_prefix_pattern=sh&source_dag_id=zzhidden", 1),
        ("timestamp_gte=2023-11-14T22:13:22Z", 3),
        ("timestamp_gt=2023-11-14T22:13:22Z", 0),
        ("timestamp_lte=2023-11-14T22:13:22Z&order_by=timestamp", 3),
        ("timestamp_lt=2023-11-14T22:13:22Z", 0),
        ("timestamp_gte=2020-01-01&timestamp_lte=2030-01-01&name_pattern=shared", 2),
    ];
    counts(&api, "/api/v2/assets/events", "asset_events", &expected).await;
    api.get("/api/v2/assets/events?timestamp_gte=yesterday").await.refused(422);
    api.get(&format!("/api/v2/assets/events?name_pattern={}", "a%7C".repeat(101))).await.refused(400);
    let id = api.get("/api/v2/assets?name_pattern=shared").await.ok()["assets"][0]["id"].clone();
    counts(
        &api,
        "/api/v2/assets/events",
        "asset_events",
        &[
            (&*format!("asset_id={id}&timestamp_gte=2020-01-01"), 2),
            (&*format!("asset_id={id}&timestamp_lt=2020-01-01"), 0),
        ],
    )
    .await;
}

#[tokio::test]
async fn task_instances_are_found_by_all_that_they_are() {
    let api = TestApi::new().await;
    let expected = [
        ("map_index=-1", 2),
        ("map_index=0&map_index=3", 0),
        ("try_number=1", 2),
        ("try_number=2", 0),
        ("version_number=1", 2),
        ("version_number=2", 0),
        ("operator=work", 2),
        ("operator=play", 0),
        ("operator_name_pattern=OR", 2),
        ("pool_name_prefix_pattern=default", 2),
        ("pool_name_pattern=gpu", 0),
        ("rendered_map_index_pattern=a", 0),
        ("run_id_pattern=don", 2),
        ("dag_id_pattern=other", 0),
        ("duration_gte=0", 2),
        ("duration_gte=1000000", 0),
        ("queue=default", 2),
        ("queue=default&task_id=load", 1),
        ("queue=gpu&queue=tpu", 0),
        ("queue_name_pattern=FAULT", 2),
        ("queue_name_prefix_pattern=gpu%7Cdef&task_id=load", 1),
        ("queue_name_prefix_pattern=Def", 0),
        ("task_display_name_pattern=DROP+table", 1),
        ("task_display_name_pattern=drop%7Cload", 2),
        ("task_display_name_prefix_pattern=extract", 0),
    ];
    counts(&api, "/api/v2/dags/flow/dagRuns/done/taskInstances", "task_instances", &expected).await;
    for (query, _) in expected {
        api.get(&format!("/api/v2/dags/flow/dagRuns/~/taskInstances?{query}")).await.refused(400);
    }
    api.get("/api/v2/dags/flow/dagRuns/done/taskInstances?task_group_id=none").await.refused(404);
    let list = "/api/v2/dags/~/dagRuns/~/taskInstances/list";
    let of_run = json!({"dag_ids": ["flow"], "dag_run_ids": ["done"], "duration_gt": 1e6});
    assert_eq!(api.post(list, of_run).await.ok()["total_entries"], 0);
    api.post(list, json!({"duration_gt": 1e6})).await.refused(400);
    let by_queue = |queue: &str| json!({"dag_ids": ["flow"], "dag_run_ids": ["done"], "queue": [queue]});
    assert_eq!(api.post(list, by_queue("default")).await.ok()["total_entries"], 2);
    assert_eq!(api.post(list, by_queue("gpu")).await.ok()["total_entries"], 0);
    api.post(list, json!({"queue": ["default"]})).await.refused(400);
}

#[tokio::test]
async fn xcoms_and_questions_are_found_by_names_within_a_run() {
    let api = TestApi::new().await;
    let xcoms = "/api/v2/dags/flow/dagRuns/done/taskInstances/~/xcomEntries";
    let of_load = "/api/v2/dags/flow/dagRuns/done/taskInstances/load/xcomEntries";
    for key in ["rows", "row_count"] {
        api.post(of_load, json!({"key": key, "value": 1})).await.ok();
    }
    let named = [
        ("xcom_key_pattern=ROW", 2),
        ("xcom_key_prefix_pattern=row_", 1),
        ("xcom_key_prefix_pattern=row_%7Crows", 2),
        ("xcom_key_pattern=row&task_id_pattern=oa", 2),
        ("xcom_key_pattern=row&task_id_prefix_pattern=oad", 0),
        ("xcom_key_pattern=row&run_id_prefix_pattern=do", 2),
        ("xcom_key_pattern=row&map_index_filter=-1", 2),
        ("xcom_key_pattern=row&map_index_filter=3", 0),
    ];
    counts(&api, xcoms, "xcom_entries", &named).await;
    // Those are names of dags, which are few, whatever their history is.
    let called = [("xcom_key=rows&dag_display_name_pattern=the", 1), ("dag_display_name_prefix_pattern=flow", 0)];
    counts(&api, xcoms, "xcom_entries", &called).await;
    counts(&api, "/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries", "xcom_entries", &called).await;
    api.get(&format!("{xcoms}?map_index=1&map_index_filter=2")).await.refused(422);
    for (query, _) in named {
        api.get(&format!("/api/v2/dags/~/dagRuns/~/taskInstances/~/xcomEntries?{query}")).await.refused(400);
    }

    let hidden = dag_access::seed(&api.store).await;
    let of_run = hidden.fill("/api/v2/dags/{dag_id}/dagRuns/{dag_run_id}/hitlDetails");
    let all = "/api/v2/dags/~/dagRuns/~/hitlDetails";
    let asked = [
        ("subject_search=ZZHID", 1),
        ("subject_search=sink", 0),
        ("body_search=DETAILS%25zz", 1),
        ("body_search=details&subject_search=zz", 1),
        ("body_search=other", 0),
        ("task_id=ask&map_index=-1", 1),
        ("task_id=show", 0),
        ("map_index=0", 0),
        ("task_id_pattern=SK", 1),
        ("dag_id_prefix_pattern=zz", 1),
        ("dag_id_pattern=other", 0),
        ("created_at_gte=2020-01-01", 1),
        ("created_at_lt=2020-01-01", 0),
        ("state=success", 1),
        ("state=failed&state=none", 0),
        ("responded_by_user_id=zoe", 0),
        ("responded_by_user_name=zoe", 0),
    ];
    counts(&api, &of_run, "hitl_details", &asked).await;
    for (query, count) in asked {
        api.get(&format!("{all}?{query}")).await.refused(400);
        let waiting = api.get(&format!("{all}?response_received=false&{query}")).await.ok();
        assert_eq!(waiting["total_entries"], count, "{query}");
    }
}

#[tokio::test]
async fn jobs_are_found_by_when_they_began() {
    let api = TestApi::new().await;
    let expected = [
        ("job_type=SchedulerJob", 1),
        // Since when it leads is not told, and no job has ended.
        ("start_date_gte=2020-01-01", 0),
        ("end_date_lte=2030-01-01", 0),
        ("executor_class=LocalExecutor", 0),
    ];
    counts(&api, "/api/v2/jobs", "jobs", &expected).await;
}

#[tokio::test]
async fn entries_of_the_audit_log_are_found_by_names() {
    let api = TestApi::new().await;
    api.post("/api/v2/dags/flow/dagRuns", json!({"dag_run_id": "new_1", "logical_date": null})).await.ok();
    let all = api.get("/api/v2/eventLogs").await.ok()["total_entries"].as_u64().unwrap();
    let count = async |query: &str| {
        api.get(&format!("/api/v2/eventLogs?{query}")).await.ok()["total_entries"].as_u64().unwrap()
    };
    let of_dag = count("dag_id=flow").await;
    assert!(0 < of_dag && of_dag < all);
    assert_eq!(count("dag_id_pattern=LO").await, of_dag);
    assert_eq!(count("owner_prefix_pattern=adm&event_pattern=sign").await, count("event=sign_in").await);
    assert_eq!(count("included_events=sign_in&included_events=x").await, count("event=sign_in").await);
    assert_eq!(count("excluded_events=sign_in&excluded_events=x").await, all - count("event=sign_in").await);
    assert_eq!(count("task_id_pattern=load").await + count("map_index=5").await, 0);

    let note = "/api/v2/dags/flow/dagRuns/done/taskInstances/extract";
    api.patch(note, json!({"note": "seen"})).await.ok();
    let called = async |query: &str| {
        let entries = api.get(&format!("/api/v2/eventLogs?{query}")).await.ok();
        let entry = entries["event_logs"][0].clone();
        let one = api.get(&format!("/api/v2/eventLogs/{}", entry["event_log_id"])).await.ok();
        assert_eq!(entry, one);
        json!([entry["dag_display_name"], entry["task_display_name"]])
    };
    assert_eq!(called("task_id=extract").await, json!(["The flow", HOSTILE]));
    assert_eq!(called("event=run.trigger").await, json!(["The flow", null]));
    assert_eq!(called("event=sign_in").await, json!([null, null]));
}

#[tokio::test]
async fn entries_of_the_audit_log_are_ordered_by_what_they_say() {
    let api = TestApi::new().await;
    for run in ["b", "a", "c"] {
        api.post("/api/v2/dags/flow/dagRuns", json!({"dag_run_id": run, "logical_date": null})).await.ok();
    }
    api.patch("/api/v2/dags/flow", json!({"is_paused": true})).await.ok();
    let listed = async |query: &str, field: &str| {
        let answer = api.get(&format!("/api/v2/eventLogs?{query}")).await.ok();
        let entries = answer["event_logs"].as_array().unwrap().iter();
        entries.filter_map(|entry| entry[field].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    for (field, shown) in [("event", "event"), ("owner", "owner"), ("dttm", "when")] {
        let values = listed(&format!("order_by={field}"), shown).await;
        assert!(values.len() > 4 && values.is_sorted(), "{values:?}");
        let back = listed(&format!("order_by=-{field}"), shown).await;
        assert!(back.iter().rev().eq(&values), "{back:?}");
    }
    assert_eq!(listed("dag_id=flow&order_by=run_id", "run_id").await, ["a", "b", "c"]);
    assert_eq!(listed("dag_id=flow&order_by=-run_id", "run_id").await, ["c", "b", "a"]);
    assert_eq!(listed("dag_id=flow&order_by=dag_id", "run_id").await, ["b", "a", "c"]);
    assert_eq!(listed("dag_id=flow&order_by=-task_id", "event").await.len(), 4);
    for field in ["dag_id", "run_id", "task_id"] {
        let refused = api.get(&format!("/api/v2/eventLogs?order_by={field}")).await.refused(400);
        assert!(refused["detail"].as_str().unwrap().ends_with("name `dag_id`"), "{refused}");
    }
    api.get("/api/v2/eventLogs?order_by=extra").await.refused(400);
}

#[tokio::test]
async fn what_airflow_filters_by_and_airlock_does_not_is_refused_by_name() {
    let api = TestApi::new().await;
    let body = api.get("/api/v2/dags?timetable_type=cron").await.refused(422);
    assert_eq!(body["detail"][0]["loc"], json!(["query", "timetable_type"]));
    api.get("/api/v2/dags/~/dagRuns/~/taskInstances?executor=local").await.refused(422);
    // What nobody knows is passed over, as Airflow does.
    api.get("/api/v2/dags?colour=red").await.ok();
}
