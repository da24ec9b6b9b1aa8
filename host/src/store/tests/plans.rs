//! Every statement prepares, and none of them reads the whole history.

use std::path::Path;

use sqlx::{AssertSqlSafe, Row as _};

use super::*;
use crate::store::{EventOrder, Order, Place, asset, dag, dag_run, db::Builder, event_log, task_instance, xcom};

/// Tables that grow with history, and the names they go by in statements.
const HISTORY: [&str; 14] = [
    "dag_run",
    "r",
    "newest",
    "of_dag",
    "task_instance",
    "t",
    "task_instance_history",
    "xcom",
    "x",
    "artifact",
    "log_chunk",
    "garbage",
    "cached_result",
    "dag_version",
];

/// Statements that filters complete: those are looked at with their filters.
const FILTERED: [&str; 18] = [
    "dag_list.",
    "dag_count.",
    "dag_version_list.",
    "dag_version_count.",
    "dag_run_list.",
    "dag_run_count.",
    "task_instance_list.",
    "task_instance_list_by_runs.",
    "task_instance_list_keys.",
    "task_instance_count.",
    "task_instance_count_by_runs.",
    "xcom_list.",
    "xcom_list_by_runs.",
    "xcom_count",
    "component_list.",
    "component_count.",
    "approval_list.",
    "approval_count.",
];

/// The lines of `statement`'s query plan.
pub(super) async fn plan(store: &Store, statement: &str) -> Vec<String> {
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
    let db::Pool::Sqlite(readers) = store.readers() else { panic!("these are plans of SQLite") };
    let rows = sqlx::query(explain).fetch_all(readers).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error}\n{statement}"));
    rows.iter().map(|row| row.get("detail")).collect()
}

/// Whether all rows of a table that grows are read; those of a partial index are few.
fn scans_history(line: &str) -> bool {
    let partial = ["unfinished", "failed", "active", "unsuccessful"].iter().any(|index| line.ends_with(index));
    !partial && line.strip_prefix("SCAN ").is_some_and(|rest| HISTORY.contains(&rest.split(' ').next().unwrap_or("")))
}

#[tokio::test]
async fn statement_files_prepare_and_scan_no_history() {
    let store = TestStore::on_sqlite().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sql");
    let mut files = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if name.ends_with(".postgres.sql") || FILTERED.iter().any(|filtered| name.starts_with(filtered)) {
            continue;
        }
        for statement in text.split_inclusive(";\n").filter(|statement| !statement.trim().is_empty()) {
            for line in plan(&store, statement).await {
                // The first row by an index, and what is left of a walk that LIMIT ends.
                let ordered = ["garbage_list", "dag_run_next_key", "dag_version_unused", "dag_run_any_of"]
                    .iter()
                    .any(|own| name.starts_with(own));
                assert!(ordered || !scans_history(&line), "{name}: {line}");
            }
        }
        files += 1;
    }
    assert!(files > 80, "{files}");
}

/// A list may walk a table or an index in the list's order, because its limit ends the walk, but not sort all of it.
async fn assert_walks_in_order(store: &Store, what: &str, query: &Builder) {
    let plan = plan(store, query.sql()).await;
    let sorts = plan.iter().any(|line| line.contains("B-TREE FOR ORDER BY"));
    assert!(!sorts || !plan.iter().any(|line| scans_history(line)), "{what}: {plan:#?}");
    // Nor all of some dags.
    assert!(!sorts || !what.contains("states: []"), "{what}: {plan:#?}");
    let found = |index: &str| plan.iter().any(|line| line.contains(index));
    for (states, index) in
        [("[Failed]", "_failed _unsuccessful"), ("[Running", "_unfinished _active"), ("[Queued", "_unfinished")]
    {
        let uses = index.split(' ').any(found);
        assert!(!what.contains(states) || uses, "{what}: {plan:#?}");
    }
}

/// All dags, one and several, as those are that somebody may see.
fn sets() -> [DagSet; 3] {
    [DagSet::all(), DagSet::one(dag_id("a")), [dag_id("a"), dag_id("b")].into_iter().collect()]
}

#[tokio::test]
async fn lists_of_runs_walk_in_order() {
    let store = TestStore::on_sqlite().await;
    for order_by in [
        DagRunOrder::Key,
        DagRunOrder::RunAfter,
        DagRunOrder::LogicalDate,
        DagRunOrder::StartDate,
        DagRunOrder::EndDate,
        DagRunOrder::DagId,
    ] {
        for order in [Order::Ascending, Order::Descending] {
            for dags in sets() {
                for states in
                    [vec![], vec![RunState::Failed], vec![RunState::Queued, RunState::Running], vec![RunState::Running]]
                {
                    let filter =
                        DagRunFilter { dags: dags.clone(), states, order_by, order, ..DagRunFilter::default() };
                    let what = format!("{filter:?}");
                    let query = dag_run::list_query(&filter, Page::default()).unwrap();
                    assert_walks_in_order(&store, &what, &query).await;
                    plan(&store, dag_run::count_query(&filter).unwrap().sql()).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn versions_of_dags_walk_in_order() {
    let store = TestStore::on_sqlite().await;
    for dags in sets() {
        let filter = DagVersionFilter { dags, ..DagVersionFilter::default() };
        let plan = plan(&store, dag::version_list_query(&filter, Page::default()).unwrap().sql()).await;
        assert!(!plan.iter().any(|line| line.contains("B-TREE FOR ORDER BY")), "{filter:?}: {plan:#?}");
    }
}

/// Whether they ran last long ago or just now.
#[tokio::test]
async fn runs_of_some_dags_are_found_by_their_dags() {
    let store = TestStore::on_sqlite().await;
    for order in [Order::Ascending, Order::Descending] {
        for states in [vec![], vec![RunState::Failed], vec![RunState::Success], vec![RunState::Running]] {
            let [.., dags] = sets();
            let filter = DagRunFilter { dags, states, order, ..DagRunFilter::default() };
            for query in [dag_run::list_query(&filter, Page::default()), dag_run::count_query(&filter)] {
                let plan = plan(&store, query.unwrap().sql()).await;
                let is_by_dag = plan.iter().any(|line| line.starts_with("SEARCH r") && line.contains("(dag_id=?"));
                assert!(is_by_dag && !plan.iter().any(|line| line.starts_with("SCAN r")), "{filter:?}: {plan:#?}");
            }
        }
    }
}

/// A page that goes on after a row finds it by an index.
#[tokio::test]
async fn pages_after_a_row_seek_it() {
    let store = TestStore::on_sqlite().await;
    for order in [Order::Ascending, Order::Descending] {
        let found = |plan: &[String], by: &str| plan.iter().any(|line| line.starts_with("SEARCH") && line.contains(by));
        for (order_by, place, by) in
            [(DagRunOrder::Key, "[7]", "rowid"), (DagRunOrder::RunAfter, "[5, 7]", "(run_after")]
        {
            let after = Some(serde_json::from_str(place).unwrap());
            let filter = DagRunFilter { order_by, order, after, ..DagRunFilter::default() };
            let plan = plan(&store, dag_run::list_query(&filter, Page::default()).unwrap().sql()).await;
            assert!(found(&plan, by) && !plan.iter().any(|line| line.contains("B-TREE")), "{filter:?}: {plan:#?}");
        }
        let after: Option<Place> = Some(serde_json::from_str(r#"[7, "t", 3]"#).unwrap());
        let all = TaskInstanceFilter { order, after, ..TaskInstanceFilter::default() };
        let of_dag = TaskInstanceFilter { dags: DagSet::one(dag_id("a")), ..all.clone() };
        for (filter, by) in [(all, "(dag_run,task_id,map_index)"), (of_dag, "(dag_id=? AND rowid")] {
            let plan = plan(&store, task_instance::list_query(&filter, Page::default()).unwrap().sql()).await;
            assert!(found(&plan, by) && !plan.iter().any(|line| line.contains("B-TREE")), "{filter:?}: {plan:#?}");
        }
    }
}

/// Events of a span of time are found by an index, which has them in the list's order: so the limit ends the walk.
#[tokio::test]
async fn events_of_a_span_of_time_walk_in_order() {
    let store = TestStore::on_sqlite().await;
    let timestamp = Range { gte: Some(at(1)), lte: None };
    for order in [Order::Ascending, Order::Descending] {
        let filter = AssetEventFilter { timestamp, order, ..AssetEventFilter::default() };
        for query in [asset::event_list_query(&filter, None, Page::default()), asset::event_count_query(&filter, None)]
        {
            let plan = plan(&store, query.unwrap().sql()).await;
            let seeks = plan.iter().any(|line| line.contains("asset_event_by_timestamp (timestamp>"));
            assert!(seeks && !plan.iter().any(|line| line.contains("B-TREE")), "{plan:#?}");
        }
        let of_asset = AssetEventFilter { asset: Some(1), ..filter };
        let plan = plan(&store, asset::event_list_query(&of_asset, None, Page::default()).unwrap().sql()).await;
        assert!(!plan.iter().any(|line| line.contains("B-TREE")), "{plan:#?}");
    }
}

/// Whether they were made long ago or just now.
#[tokio::test]
async fn events_of_assets_with_some_names_are_found_by_their_assets() {
    let store = TestStore::on_sqlite().await;
    for order in [Order::Ascending, Order::Descending] {
        let filter = AssetEventFilter { name: Like::one("%s"), order, ..AssetEventFilter::default() };
        let named = Some(&[1, 2][..]);
        for query in
            [asset::event_list_query(&filter, named, Page::default()), asset::event_count_query(&filter, named)]
        {
            let plan = plan(&store, query.unwrap().sql()).await;
            let is_by_asset = plan.iter().any(|line| line.contains("asset_event_by_asset (asset=?"));
            assert!(is_by_asset && !plan.iter().any(|line| line.starts_with("SCAN e")), "{plan:#?}");
        }
    }
}

#[tokio::test]
async fn entries_of_the_audit_log_walk_in_order() {
    let store = TestStore::on_sqlite().await;
    for order_by in [EventOrder::Id, EventOrder::Event, EventOrder::Username] {
        for order in [Order::Ascending, Order::Descending] {
            let filter = EventFilter { order_by, order, ..EventFilter::default() };
            let plan = plan(&store, event_log::list_query(&filter, Page::default()).unwrap().sql()).await;
            assert!(!plan.iter().any(|line| line.contains("B-TREE")), "{filter:?}: {plan:#?}");
        }
    }
}

#[tokio::test]
async fn lists_of_instances_and_xcoms_walk_in_order() {
    let store = TestStore::on_sqlite().await;
    let runs = [vec![], vec![DagRunKey(1)], vec![DagRunKey(1), DagRunKey(2)]];
    for order_by in [TaskInstanceOrder::Key, TaskInstanceOrder::StartDate, TaskInstanceOrder::Duration] {
        for order in [Order::Ascending, Order::Descending] {
            for (dags, dag_runs) in sets().iter().flat_map(|dags| runs.iter().map(move |runs| (dags, runs))) {
                for states in [
                    vec![],
                    vec![TaskState::Failed],
                    vec![TaskState::Running, TaskState::Queued],
                    vec![TaskState::Success],
                ] {
                    let filter = TaskInstanceFilter {
                        dags: dags.clone(),
                        dag_runs: dag_runs.clone(),
                        states,
                        order_by,
                        order,
                        ..TaskInstanceFilter::default()
                    };
                    let what = format!("{filter:?}");
                    let query = task_instance::list_query(&filter, Page::default()).unwrap();
                    assert_walks_in_order(&store, &what, &query).await;
                    plan(&store, task_instance::count_query(&filter).unwrap().sql()).await;
                }
            }
        }
    }
    for (order_by, order) in [TaskInstanceOrder::RunAfter, TaskInstanceOrder::LogicalDate]
        .into_iter()
        .flat_map(|by| [Order::Ascending, Order::Descending].map(|order| (by, order)))
    {
        for (dags, dag_runs) in sets().into_iter().flat_map(|dags| [(dags.clone(), vec![]), (dags, vec![DagRunKey(1)])])
        {
            let filter = TaskInstanceFilter { dags, dag_runs, order_by, order, ..TaskInstanceFilter::default() };
            let query = task_instance::list_query(&filter, Page::default()).unwrap();
            assert_walks_in_order(&store, &format!("{filter:?}"), &query).await;
            plan(&store, task_instance::count_query(&filter).unwrap().sql()).await;
        }
    }
    let dates = Range { gte: None, lte: Some(at(1)) };
    for filter in [Spans { logical_date: dates, ..Spans::default() }, Spans { run_after: dates, ..Spans::default() }]
        .into_iter()
        .flat_map(|spans| sets().map(|dags| TaskInstanceFilter { dags, spans, ..TaskInstanceFilter::default() }))
    {
        let query = task_instance::list_query(&filter, Page::default()).unwrap();
        assert_walks_in_order(&store, &format!("{filter:?}"), &query).await;
    }
    for (dag_id, dag_run) in [(None, None), (Some(dag_id("a")), None), (Some(dag_id("a")), Some(DagRunKey(1)))] {
        let filter = XComFilter { dag_id, dag_run, ..XComFilter::default() };
        assert_walks_in_order(&store, &format!("{filter:?}"), &xcom::list_query(&filter, Page::default()).unwrap())
            .await;
        plan(&store, xcom::count_query(&filter).unwrap().sql()).await;
    }
}

/// A search reads the index that it walks, or the runs that it looks in, and only as far as it is to look.
#[tokio::test]
async fn searches_for_instances_look_no_further_than_they_say() {
    let store = TestStore::on_sqlite().await;
    let place: Option<Place> = Some(serde_json::from_str(r#"[7, "t", 3]"#).unwrap());
    let until = serde_json::from_str(r#"[5, "t", 3]"#).unwrap();
    for (states, by) in [
        (vec![], "PRIMARY KEY"),
        (vec![TaskState::Success], "PRIMARY KEY"),
        (vec![TaskState::Running], "task_instance_active"),
        (vec![TaskState::Failed], "task_instance_unsuccessful"),
    ] {
        for (dag_runs, by) in [(vec![], by), (vec![DagRunKey(5), DagRunKey(7)], "(dag_run=?)")] {
            let filter = TaskInstanceFilter {
                dag_runs,
                states: states.clone(),
                pools: vec![PoolName::new("p").unwrap()],
                order: Order::Descending,
                after: place.clone(),
                ..TaskInstanceFilter::default()
            };
            for query in [
                task_instance::last_query(&filter, 10),
                task_instance::search_query(&filter, Some(&until), 10).unwrap(),
            ] {
                let plan = plan(&store, query.sql()).await;
                let found = plan.iter().any(|line| line.starts_with("SEARCH t") && line.contains(by));
                assert!(found && !plan.iter().any(|line| line.contains("B-TREE")), "{filter:?}: {plan:#?}");
            }
        }
    }
    for dags in &sets()[1..] {
        let filter = TaskInstanceFilter { dags: dags.clone(), after: place.clone(), ..TaskInstanceFilter::default() };
        let plan = plan(&store, task_instance::runs_query(&filter, Page::first(10)).unwrap().sql()).await;
        let is_by_dag = plan.iter().any(|line| line.starts_with("SEARCH r") && line.contains("(dag_id=?"));
        assert!(is_by_dag && !plan.iter().any(|line| line.starts_with("SCAN r")), "{plan:#?}");
    }
}

/// The lines of PostgreSQL's plan for `statement`, whatever its parameters are.
async fn postgres_plan(connection: &mut sqlx::PgConnection, name: &str, statement: &str) -> Vec<String> {
    let last = (1..=99).rev().find(|number| statement.contains(&format!("${number}"))).unwrap_or(0);
    let prepared = AssertSqlSafe(format!("PREPARE \"{name}\" AS {statement}"));
    let prepared = sqlx::raw_sql(prepared).execute(&mut *connection).await;
    prepared.unwrap_or_else(|error| panic!("{error}\n{statement}"));
    let nulls = if last == 0 { String::new() } else { format!("({})", vec!["NULL"; last].join(", ")) };
    let rows = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN EXECUTE \"{name}\"{nulls}"))).fetch_all(connection).await;
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn statement_files_prepare_on_postgresql_and_scan_no_history() {
    if !StoreConfig::tests_use_postgres() {
        return;
    }
    let store = TestStore::new().await;
    let db::Pool::Postgres(readers) = store.readers() else { panic!("a server is named") };
    let mut connection = readers.acquire().await.unwrap();
    let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off";
    sqlx::raw_sql(settings).execute(&mut *connection).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sql");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".sqlite.sql")
            || name.starts_with("commit_")
            || FILTERED.iter().any(|of| name.starts_with(of))
        {
            continue;
        }
        let mut statement = std::fs::read_to_string(&path).unwrap();
        for (parameter, cast) in UNTYPED {
            statement = statement.replace(parameter, cast);
        }
        let plan = postgres_plan(&mut connection, &name, &statement).await;
        let scans = |line: &String| {
            let table = line.split("Seq Scan on ").nth(1).and_then(|rest| rest.split(' ').next());
            table.is_some_and(|table| HISTORY.contains(&table))
        };
        assert!(!plan.iter().any(scans), "{name} reads a whole table:\n{}", plan.join("\n"));
        checked += 1;
    }
    assert!(checked > 100, "{checked}");
}

/// On PostgreSQL an index has a list's order only if it ends with the key and says where NULL comes.
#[tokio::test]
async fn lists_walk_in_order_on_postgresql() {
    if !StoreConfig::tests_use_postgres() {
        return;
    }
    let store = TestStore::new().await;
    let db::Pool::Postgres(readers) = store.readers() else { panic!("a server is named") };
    let mut connection = readers.acquire().await.unwrap();
    // It sorts where it must all the same.
    let settings = "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_sort = off; \
        SET enable_incremental_sort = off";
    sqlx::raw_sql(settings).execute(&mut *connection).await.unwrap();
    for order in [Order::Ascending, Order::Descending] {
        let entries = EventFilter { order_by: EventOrder::Username, order, ..EventFilter::default() };
        let runs = DagRunFilter { order_by: DagRunOrder::DagId, order, ..DagRunFilter::default() };
        for (what, query) in [
            ("entries", event_log::list_query(&entries, Page::default()).unwrap()),
            ("runs", dag_run::list_query(&runs, Page::default()).unwrap()),
        ] {
            let plan = postgres_plan(&mut connection, &format!("{what} {order:?}"), query.postgres()).await;
            assert!(!plan.iter().any(|line| line.contains("Sort")), "{what}: {plan:#?}");
        }
    }
}

/// Conditions that tell PostgreSQL nothing of their parameter's type, which a client does.
const UNTYPED: [(&str, &str); 8] = [
    ("$1 IS NULL OR username", "$1::text IS NULL OR username"),
    ("$1 IS NULL OR dag_id", "$1::text IS NULL OR dag_id"),
    ("$1 IS NULL OR q.dag_id", "$1::text IS NULL OR q.dag_id"),
    ("$2 IS NULL OR asset", "$2::bigint IS NULL OR asset"),
    ("$2 IS NULL OR q.asset", "$2::bigint IS NULL OR q.asset"),
    ("$1 IS NULL OR r.dag_id", "$1::text IS NULL OR r.dag_id"),
    ("$3 IS NULL OR e.timestamp", "$3::bigint IS NULL OR e.timestamp"),
    ("$3 IS NULL OR (SELECT timestamp", "$3::bigint IS NULL OR (SELECT timestamp"),
];
