use airlock_sdk::prelude::*;

#[task]
fn wait(seconds: u64) {
    let _ = seconds;
}

#[dag]
fn wrong(dag: &Dag) {
    wait(dag, dag.param::<String>("seconds"));
}

fn main() {}
