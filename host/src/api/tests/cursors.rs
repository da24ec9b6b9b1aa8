//! Lists that are read on from a row to the next.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{TestApi, at, task};
use crate::{
    model::{
        ids::{EntryName, RunId},
        state::{RunState, TaskState},
    },
    store::{Commit, DagRunKey, DagRunNew, DagRunUpdate, InstanceKey, InstanceNew, InstanceUpdate, Placement, Store},
};

const RUNS: i64 = 9;
const INSTANCES: i32 = 5;

/// Runs and instances of them with dates that some share and others lack.
async fn seed(store: &Store) {
    let done = store.dag_run_get_by_key(DagRunKey(1)).await.unwrap().unwrap();
    let some = |number: i64, of: i64| (number % of != 0).then(|| at(number / of));
    let run = |number: i64| {
        let run_id = RunId::new(&format!("run-{number}")).unwrap();
        DagRunNew {
            // No two runs are about the same.
            logical_date: (number % 3 != 0).then(|| at(100 + (number * 7) % 10)),
            run_after: at(number / 2),
            ..DagRunNew::queued(DagRunKey(1 + number), done.dag_id.clone(), run_id, done.version, at(0))
        }
    };
    let begun = |number: i64| {
        let state = if number % 2 == 0 { RunState::Failed } else { RunState::Running };
        let update = DagRunUpdate::of_test(DagRunKey(1 + number), state);
        DagRunUpdate { start_date: some(number, 4), end_date: some(number, 2), ..update }
    };
    let key = |number: i64, map_index| InstanceKey { dag_run: DagRunKey(1 + number), map_index, ..task("load") };
    let pairs = || (1..=RUNS).flat_map(|number| (0..INSTANCES).map(move |map_index| (number, map_index)));
    let update = |(number, map_index): (i64, i32)| {
        let state = if map_index % 3 == 1 { TaskState::Success } else { TaskState::Failed };
        let update = InstanceUpdate::of_test(key(number, map_index), state, 1);
        InstanceUpdate { start_date: some(map_index.into(), 3), end_date: some(map_index.into(), 2), ..update }
    };
    let new = |(number, map_index)| InstanceNew {
        key: key(number, map_index),
        state: TaskState::None,
        max_tries: 1,
        placement: Placement::usual(EntryName::new("work").unwrap()),
    };
    let commit = Commit {
        dag_runs_new: (1..=RUNS).map(run).collect(),
        dag_runs: (1..=RUNS).map(begun).collect(),
        instances_new: pairs().map(new).collect(),
        instances: pairs().map(update).collect(),
        now: at(9),
        ..Commit::default()
    };
    store.commit(&commit).await.unwrap();
}

/// A list, and what its items are told apart by.
#[derive(Clone, Copy)]
struct List<'a> {
    api: &'a TestApi,
    path: &'a str,
    field: &'a str,
    id: &'a str,
}

impl List<'_> {
    fn ids(&self, page: &Value) -> Vec<String> {
        page[self.field].as_array().unwrap().iter().map(|item| item[self.id].as_str().unwrap().to_owned()).collect()
    }

    async fn page(&self, query: &str) -> Value {
        self.api.get(&format!("{}?{query}", self.path)).await.ok()
    }

    /// The pages from the one at `cursor` on, and the last of them; `beside` names the cursor of the next.
    async fn walk(&self, query: &str, beside: &str, mut cursor: String) -> (Vec<Vec<String>>, Value) {
        let mut pages = Vec::new();
        loop {
            let page = self.page(&format!("{query}&cursor={cursor}&offset=3")).await;
            pages.push(self.ids(&page));
            match page[beside].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => return (pages, page),
            }
        }
    }

    /// Pages by cursors have what one page has, there and back again.
    async fn check(&self, orders: &[&str]) {
        for order in orders.iter().flat_map(|order| [(*order).to_owned(), format!("-{order}")]) {
            let whole = self.page(&format!("order_by={order}&limit=100")).await;
            let expected = self.ids(&whole);
            assert!(expected.len() > 8 && whole["next_cursor"].is_null() && whole["previous_cursor"].is_null());
            for limit in [1, 4, expected.len(), 100] {
                let query = format!("order_by={order}&limit={limit}");
                let (forth, last) = self.walk(&query, "next_cursor", String::new()).await;
                assert_eq!(forth.concat(), expected, "{} {query}", self.path);
                assert!(forth.iter().all(|page| !page.is_empty()), "{query}");
                assert_eq!(last["total_entries"], whole["total_entries"]);
                let Some(cursor) = last["previous_cursor"].as_str() else {
                    assert_eq!(forth.len(), 1, "{query}");
                    continue;
                };
                let (mut back, first) = self.walk(&query, "previous_cursor", cursor.to_owned()).await;
                back.reverse();
                let before_last = &expected[..expected.len() - forth.last().unwrap().len()];
                assert_eq!(back.concat(), before_last, "{} {query}", self.path);
                let (again, _) =
                    self.walk(&query, "next_cursor", first["next_cursor"].as_str().unwrap().to_owned()).await;
                assert_eq!(again.concat(), expected[back[0].len()..], "{} {query}", self.path);
            }
        }
    }
}

#[tokio::test]
async fn pages_by_cursors_have_every_run_once() {
    let api = TestApi::new().await;
    seed(&api.store).await;
    for path in ["/api/v2/dags/flow/dagRuns", "/api/v2/dags/~/dagRuns"] {
        let list = List { api: &api, path, field: "dag_runs", id: "dag_run_id" };
        list.check(&["id", "run_after", "logical_date", "start_date", "end_date", "dag_id"]).await;
        let within_a_dag = ["run_id", "dag_run_id", "state", "duration"];
        if path.contains("flow") {
            list.check(&within_a_dag).await;
        } else {
            for order in within_a_dag {
                let refused = api.get(&format!("{path}?order_by=-{order}")).await.refused(400);
                assert!(refused["detail"].as_str().unwrap().ends_with("name the dag"), "{refused}");
            }
        }
    }
}

#[tokio::test]
async fn pages_by_cursors_have_every_task_instance_once() {
    let api = TestApi::new().await;
    seed(&api.store).await;
    for path in ["/api/v2/dags/flow/dagRuns/~/taskInstances", "/api/v2/dags/~/dagRuns/~/taskInstances"] {
        let list = List { api: &api, path, field: "task_instances", id: "id" };
        list.check(&["id", "map_index", "state", "start_date", "end_date", "duration"]).await;
        list.check(&["try_number", "rendered_map_index", "operator", "run_after", "logical_date"]).await;
        let refused = api.get(&format!("{path}?order_by=data_interval_start")).await.refused(400);
        assert!(refused["detail"].as_str().unwrap().ends_with("name the run"), "{refused}");
    }
    let of_run = "/api/v2/dags/flow/dagRuns/run-3/taskInstances";
    for (order, field) in [("data_interval_end", "map_index"), ("-data_interval_start", "-map_index")] {
        let ids = async |order: &str| {
            let page = api.get(&format!("{of_run}?order_by={order}")).await.ok();
            page["task_instances"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(ids(order).await, ids(field).await, "{order}");
    }
}

#[tokio::test]
async fn a_page_goes_on_after_a_row_that_was_deleted() {
    let api = TestApi::new().await;
    seed(&api.store).await;
    let list = List { api: &api, path: "/api/v2/dags/flow/dagRuns", field: "dag_runs", id: "dag_run_id" };
    let first = list.page("limit=3&cursor=").await;
    assert_eq!(list.ids(&first), ["done", "run-1", "run-2"]);
    let next = first["next_cursor"].as_str().unwrap();
    api.delete("/api/v2/dags/flow/dagRuns/run-2").await.ok();
    let second = list.page(&format!("limit=3&cursor={next}")).await;
    assert_eq!(list.ids(&second), ["run-3", "run-4", "run-5"]);
    let (rest, _) = list.walk("limit=100", "next_cursor", second["next_cursor"].as_str().unwrap().to_owned()).await;
    assert_eq!(rest.concat(), ["run-6", "run-7", "run-8", "run-9"]);
}

#[tokio::test]
async fn a_cursor_that_is_none_of_the_list_is_refused() {
    let api = TestApi::new().await;
    seed(&api.store).await;
    let runs = List { api: &api, path: "/api/v2/dags/flow/dagRuns", field: "dag_runs", id: "dag_run_id" };
    let instances = "/api/v2/dags/flow/dagRuns/~/taskInstances";
    let cursor = runs.page("limit=1&cursor=").await["next_cursor"].as_str().unwrap().to_owned();
    let by_date = runs.page("limit=1&order_by=run_after&cursor=").await["next_cursor"].as_str().unwrap().to_owned();
    let of = |text: &str| URL_SAFE_NO_PAD.encode(text);
    for wrong in [
        format!("{}?cursor=x", runs.path),
        format!("{}?cursor=~", runs.path),
        format!("{}?cursor={cursor}&order_by=-id", runs.path),
        format!("{}?cursor={by_date}", runs.path),
        format!("{instances}?cursor={cursor}"),
        format!("{}?cursor={}", runs.path, of(r#"{"order_by":"","before":false,"place":[]}"#)),
        format!("{}?cursor={}", runs.path, of(r#"{"order_by":"","before":false,"place":[null]}"#)),
        format!("{}?cursor={}", runs.path, of(r#"{"order_by":"","before":false,"place":["1"]}"#)),
        format!("{instances}?cursor={}", of(r#"{"order_by":"","before":false,"place":[1,"a\u0000",1]}"#)),
    ] {
        api.get(&wrong).await.refused(400);
    }
}
