use airlock_sdk::prelude::*;

#[task]
fn one() -> u32 {
    1
}

#[dag]
fn last(dag: &Dag) -> Handle<'_, u32> {
    one(dag)
}

fn main() {}
