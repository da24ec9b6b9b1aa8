use airlock_sdk::prelude::*;

type Rows = std::result::Result<u32, String>;

#[task]
fn result_by_another_name() -> Rows {
    Err("no rows".into())
}

#[task]
fn error_of_one_thread() -> Result<(), Box<dyn std::error::Error>> {
    Ok(())
}

#[task]
fn reference_in_an_input(name: Option<&str>) {}

#[task]
fn lifetime_of_an_input(name: &'static str) {}

#[task]
fn reference_as_result(name: &str) -> Vec<&str> {
    vec![name]
}

#[dag]
fn by_value(dag: Dag) {}

fn main() {}
