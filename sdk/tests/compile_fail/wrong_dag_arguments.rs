use airlock_sdk::prelude::*;

#[dag(schedule = "0 6 * *")]
fn four_fields(_: &Dag) {}

#[dag(schedule = "0 25 * * *")]
fn hour(_: &Dag) {}

#[dag(schedule = "@fortnightly")]
fn preset(_: &Dag) {}

#[dag(timezone = "Asia/Soul")]
fn zone(_: &Dag) {}

#[dag(start = "1.1.2026")]
fn date(_: &Dag) {}

#[dag(start = "2026-03-29T02:30", timezone = "Europe/Berlin")]
fn skipped_hour(_: &Dag) {}

#[dag(start = "2026-01-02", end = "2026-01-01")]
fn backwards(_: &Dag) {}

#[dag(catchup = true)]
fn no_start(_: &Dag) {}

#[dag(memory = "512MB")]
fn memory(_: &Dag) {}

#[dag(max_active_runs = 0)]
fn runs(_: &Dag) {}

#[dag(tags = "one")]
fn tags(_: &Dag) {}

#[dag(run_timeout = "1 week")]
fn timeout(_: &Dag) {}

fn main() {}
