//! A task that takes numbers, mapped over a list of texts.

use airlock_sdk::prelude::*;

#[task]
fn names() -> Vec<String> {
    vec!["Ada".to_owned()]
}

#[task]
fn double(n: u32) -> u32 {
    n * 2
}

#[dag]
fn wrong(dag: &Dag) {
    double(dag, names(dag).each());
}

fn main() {}
