//! Dags whose tasks have a cache: that a task ran can be told from the number that it drew.

use std::{
    hash::{BuildHasher as _, RandomState},
    io::Read as _,
};

use airlock_sdk::prelude::*;

/// A number that nobody drew before.
fn draw() -> u64 {
    RandomState::new().hash_one(1) >> 12
}

const ROLLS: Asset = Asset::new("rolls");

/// Draws a number and leaves it in every place where a task may leave something.
#[task(cache = "1h")]
fn roll(sides: u32) -> Result<u64> {
    let drawn = draw();
    println!("rolled {drawn} of {sides}");
    xcom::push("small", &drawn)?;
    xcom::push("large", &format!("{drawn} ").repeat(20_000))?;
    artifacts::write("rolled/number.txt", "text/plain", drawn.to_string())?;
    artifacts::write("empty", "text/plain", "")?;
    assets::set_extra(ROLLS, &airlock_sdk::serde_json::json!({"drawn": drawn}))?;
    Ok(drawn)
}

/// What task `roll` left, in the order in which it was left.
#[task]
fn look(rolled: u64) -> Result<Vec<u64>> {
    let mut text = String::new();
    artifacts::open("roll", "rolled/number.txt")?.read_to_string(&mut text).context("its artifact")?;
    let large: String = xcom::pull("roll", "large")?;
    ensure!(large.len() > 64 << 10, "{} bytes", large.len());
    let first = large.split_whitespace().next().unwrap_or_default().parse().context("its large value")?;
    Ok(vec![xcom::pull("roll", "small")?, first, text.parse().context("its artifact")?, rolled])
}

#[dag]
pub fn remembered(dag: &Dag) {
    look(dag, roll(dag, dag.param_with_default("sides", 6)).outlet(ROLLS));
}

/// The same, granted more.
#[dag(variables = ["anything"])]
pub fn remembered_elsewhere(dag: &Dag) {
    roll(dag, dag.param_with_default("sides", 6)).outlet(ROLLS);
}

/// As long a list as asked for, larger than fits in the database.
#[task(cache = "1h")]
fn list(length: u64) -> Vec<u64> {
    let drawn = draw();
    (0..length).map(|n| drawn + n).collect()
}

#[task(cache = "1s")]
fn brief(n: u64) -> u64 {
    draw() + n
}

#[task(cache = "1h")]
fn kept(n: u64) -> u64 {
    draw() + n
}

#[dag]
pub fn remembered_each(dag: &Dag) {
    brief(dag, 1);
    kept(dag, dag.list([1, 1, 2]).each()).id("fixed");
    let all = list(dag, dag.param_with_default("length", 7_000));
    count_all(dag, all);
    kept(dag, list(dag, 3).each());
}

#[task]
fn count_all(all: Vec<u64>) -> usize {
    all.len()
}

#[task(retries = 1, retry_delay = "1s", cache = "1h")]
fn waits() -> Result<u64> {
    Err(Later::after(std::time::Duration::from_secs(1)).into())
}

#[dag]
pub fn remembered_wait(dag: &Dag) {
    waits(dag);
}
