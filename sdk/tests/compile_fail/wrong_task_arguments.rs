use airlock_sdk::prelude::*;

#[task(retry_delay = "30 seconds")]
fn duration() {}

#[task(trigger_rule = "all_finished")]
fn rule() {}

#[task(retrys = 3)]
fn spelling() {}

#[task(retries = "3")]
fn kind() {}

#[task(pool_slots = 0)]
fn slots() {}

#[task(name = "../etc")]
fn name() {}

#[task]
async fn asynchronous() {}

#[task]
fn generic<T>(value: T) {}

#[task]
fn pattern((one, two): (u32, u32)) {}

#[task(sensor, cache = "1h")]
fn poke() -> Poke<()> {
    Poke::NotYet
}

#[task(cache = "10ms")]
fn brief() {}

fn main() {}
