use airlock_sdk::prelude::*;

fn plain(_: &Dag) {}

airlock_sdk::export!(dags = [plain]);

fn main() {}
