//! Every form that the macros read, in one file.
#![deny(warnings)]
#![forbid(unsafe_code)]

use std::time::Duration;

use airlock_sdk as airlock;
use airlock::prelude::*;

#[data]
#[derive(PartialEq)]
struct Row {
    shop: String,
    sold: Option<u32>,
}

/// Documented.
#[task(
    retries = 3,
    retry_delay = "30s",
    backoff = 2.0,
    max_retry_delay = "10m",
    timeout = "1h30m",
    trigger_rule = "all_done",
    pool = "mail",
    pool_slots = 2,
    queue = "gpu",
    priority_weight = -2,
    depends_on_past,
    wait_for_downstream = false,
    max_active_tis_per_dag = 4,
    max_active_tis_per_dagrun = 2,
    record = "failure",
    display_name = "Rows",
    doc = "Reads rows."
)]
fn rows(ctx: &Context, path: &str, least: Option<u32>) -> Result<Vec<Row>> {
    ensure!(!path.is_empty(), "no path in {}", ctx.run_id());
    Ok(vec![Row { shop: path.to_owned(), sold: least }])
}

#[task(name = "rows.count")]
fn count(rows: &[Row], first: &Row) -> usize {
    rows.iter().filter(|row| *row != first).count()
}

#[task]
fn first(rows: Vec<Row>) -> std::result::Result<Row, String> {
    rows.into_iter().next().ok_or_else(|| "there are no rows".to_owned())
}

#[task]
fn anyhow_task() -> anyhow::Result<()> {
    anyhow::bail!("no")
}

#[task(branch)]
fn choose(rows: &[Row]) -> Result<Branch> {
    Ok(if rows.is_empty() { Branch::none() } else { Branch::to_all([count::ID, "rest"]) })
}

#[task]
fn picture() -> Bytes {
    Bytes::new("image/png", [])
}

#[task]
fn nothing() {}

#[dag(
    id = "every.form",
    display_name = "Every form",
    description = "Short",
    doc = "Long",
    schedule = "0 6 * * mon-fri",
    timezone = "Asia/Seoul",
    start = "2026-01-01",
    end = "2027-01-01T00:00:00+09:00",
    data_interval,
    catchup = true,
    max_active_runs = 1,
    max_active_tasks = 8,
    jitter = "10m",
    business_days,
    holidays = ["2026-12-25"],
    weekend = ["fri", "sat"],
    nth_business_days = [1, -1],
    run_timeout = "2h",
    fail_fast = false,
    record = "always",
    max_consecutive_failed_dag_runs = 3,
    paused = false,
    allowed_run_types = ["scheduled", "backfill"],
    owners = ["data team"],
    tags = ["a", "b"],
    variables = ["target", "reports/*"],
    connections = ["warehouse"],
    connection_secrets = ["legacy"],
    hosts = ["api.example.org:8443"],
    memory = "1GiB"
)]
fn every_form(dag: &mut Dag) -> Result<()> {
    let path = dag.param_with_default("path", "a".to_owned()).description("Where.");
    let list = rows(dag, path, 3).retries(1).retry_delay(Duration::from_secs(1)).retry_backoff(1.0);
    let other = rows(dag, "b", None::<u32>).id("other").timeout(Duration::from_secs(60)).doc("The others.");
    let top = first(dag, list).pool("default_pool").pool_slots(1).queue("default").priority_weight(3);
    let chosen = choose(dag, list).after(&other);
    count(dag, list, top).after((chosen, other)).trigger_rule(TriggerRule::NoneFailed);
    let rest = count(dag, vec![Row { shop: String::new(), sold: None }], top).id("rest").after([chosen]);
    let ends: Vec<_> = (0..3).map(|index| nothing(dag).id(format!("end_{index}"))).collect();
    rest.before(&ends);
    picture(dag).max_retry_delay(Duration::from_secs(9)).display_name("Picture").before(anyhow_task(dag));
    Ok(())
}

/// Triggered only.
#[dag]
fn plain(dag: &Dag) {
    nothing(dag);
}

airlock_sdk::export!(dags = [every_form, plain], tasks = [rows]);

fn main() {
    let run = airlock::testing::Host::new().run_dag::<every_form>().unwrap();
    assert_eq!(run.result::<usize>("rest"), Some(1));
    assert_eq!(run.message("anyhow_task"), Some("no"));
}
