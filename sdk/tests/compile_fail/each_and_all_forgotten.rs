//! Lists that nobody took apart, and results that nobody gathered.

use airlock_sdk::prelude::*;

#[task]
fn numbers() -> Vec<u32> {
    vec![1, 2]
}

#[task]
fn double(n: u32) -> u32 {
    n * 2
}

#[task]
fn total(numbers: Vec<u32>) -> u32 {
    numbers.iter().sum()
}

#[dag]
fn wrong(dag: &Dag) {
    let doubled = double(dag, numbers(dag));
    total(dag, doubled);
    dag.mapped_group("each", numbers(dag), |_| ());
}

fn main() {}
