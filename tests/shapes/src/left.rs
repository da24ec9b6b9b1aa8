//! A dag whose task leaves something large in every place where a task may, long before it ends.

use std::time::Duration;

use airlock_sdk::prelude::*;

/// Ends as soon as the variable `go_on` says so.
#[task(record = "always")]
fn leaves() -> Result<String> {
    xcom::push("large", &"x".repeat(100_000))?;
    artifacts::write("left.txt", "text/plain", "left")?;
    while variables::get("go_on")? != "yes" {
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok("y".repeat(100_000))
}

#[dag(variables = ["go_on"])]
pub fn left(dag: &Dag) {
    leaves(dag);
}
