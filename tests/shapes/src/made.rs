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
