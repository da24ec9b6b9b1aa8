use airlock_sdk::prelude::*;

struct Row;

#[task]
fn load(row: Row) {
    let _ = row;
}

fn main() {}
