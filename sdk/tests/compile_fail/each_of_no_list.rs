//! A task that is mapped over what is not a list.

use airlock_sdk::prelude::*;

#[task]
fn count() -> u32 {
    3
}

#[task]
fn double(n: u32) -> u32 {
    n * 2
}

#[dag]
fn wrong(dag: &Dag) {
    double(dag, count(dag).each());
}

fn main() {}
