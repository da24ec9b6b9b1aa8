//! Dags that make assets, and one that runs after them.

use airlock_sdk::{prelude::*, serde_json::json};

const ORDERS: Asset = Asset::new("orders").uri("s3://shop/orders").group("tables").extra(r#"{"owner": "ann"}"#);
const PRICES: Asset = Asset::new("prices");

#[task]
fn orders(rows: u32) -> Result<()> {
    ensure!(rows > 0, "there are no rows");
    assets::set_extra(ORDERS, &json!({"rows": rows}))
}

#[dag]
pub fn make_orders(dag: &Dag) {
    orders(dag, dag.param_with_default("rows", 3)).outlet(ORDERS);
}

const TABLES: Asset = Asset::alias("tables");
const LEDGER: Asset = Asset::new("tables/ledger").uri("s3://shop/ledger");
const OWN: Asset = Asset::new("tables/own");

/// What it updates is known when it runs.
#[task]
fn tables(names: Vec<String>, fails: bool) -> Result<()> {
    for (place, name) in (0..).zip(names) {
        assets::add(TABLES, name, &json!({"rows": place}))?;
    }
    ensure!(!fails, "it was told to fail");
    Ok(())
}

#[dag]
pub fn make_tables(dag: &Dag) {
    let names =
        dag.param_with_default("names", vec!["tables/a".to_owned(), "tables/b".to_owned(), LEDGER.name().to_owned()]);
    tables(dag, names, dag.param_with_default("fails", false)).outlet(TABLES);
}

/// The assets and rows that the run was made for.
#[task]
fn updated() -> Result<Vec<(String, u64)>> {
    let rows = |event: airlock_sdk::assets::AssetEvent| {
        let rows = event.extra.get("rows").and_then(airlock_sdk::serde_json::Value::as_u64);
        (event.asset, rows.unwrap_or(0))
    };
    Ok(assets::triggering()?.into_iter().map(rows).collect())
}

/// Runs after whatever goes through the alias, and after one asset that may.
#[dag(assets = TABLES | LEDGER)]
pub fn on_tables(dag: &Dag) {
    updated(dag);
}

/// Would start itself for ever if the task could say what it says.
#[dag(assets = OWN)]
pub fn on_own(dag: &Dag) {
    tables(dag, vec![OWN.name().to_owned()], false).outlet(TABLES);
}

#[task]
fn prices() {}

#[dag]
pub fn make_prices(dag: &Dag) {
    prices(dag).outlet(PRICES);
}

/// The rows of the orders that the run was made for, and of the newest.
#[task]
fn rows() -> Result<(u64, u64)> {
    let rows = |event: &airlock_sdk::assets::AssetEvent| {
        event.extra.get("rows").and_then(airlock_sdk::serde_json::Value::as_u64).unwrap_or(0)
    };
    let triggering: u64 = assets::triggering()?.iter().map(rows).sum();
    Ok((triggering, assets::events(ORDERS, 1)?.iter().map(rows).sum()))
}

#[dag(assets = ORDERS & PRICES)]
pub fn on_both(dag: &Dag) {
    rows(dag).inlet(ORDERS);
}
