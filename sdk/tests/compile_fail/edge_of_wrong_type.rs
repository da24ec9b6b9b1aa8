use airlock_sdk::prelude::*;

#[task]
fn extract() -> Vec<u32> {
    vec![1, 2, 3]
}

#[task]
fn shout(text: String) -> String {
    text.to_uppercase()
}

#[dag]
fn wrong(dag: &Dag) {
    let numbers = extract(dag);
    shout(dag, numbers);
}

fn main() {}
