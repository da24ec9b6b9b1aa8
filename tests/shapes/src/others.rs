//! Dags that start other dags and wait for them.

use airlock_sdk::prelude::*;

#[task]
fn work(fail: bool) -> Result<()> {
    ensure!(!fail, "it was told to fail");
    Ok(())
}

/// What the others wait for.
#[dag]
pub fn awaited(dag: &Dag) {
    work(dag, dag.param_with_default("fail", false));
}

/// Starts a run, waits for its end and answers its id.
#[task]
fn start(ctx: &Context, fail: bool) -> Result<String> {
    let run = dags::trigger("awaited").param("fail", fail).note("started by a test").start()?;
    info!("run {} is {:?}", run.run_id, run.state);
    Ok(run.wait(ctx)?.run_id)
}

#[dag(dags = ["awaited"])]
pub fn starter(dag: &Dag) {
    start(dag, dag.param_with_default("fail", false));
}

/// Starts what is not granted, not there, or not as its params want it.
#[task]
fn start_wrong(dag_id: &str) -> Result<()> {
    dags::trigger(dag_id).param("fail", "maybe").start()?;
    Ok(())
}

#[dag(dags = ["awaited", "missing"])]
pub fn wrong_starter(dag: &Dag) {
    start_wrong(dag, dag.param::<String>("dag_id"));
}

#[task]
fn start_itself() -> Result<()> {
    dags::trigger("endless").start()?;
    Ok(())
}

/// Would go on for ever.
#[dag(dags = ["endless"])]
pub fn endless(dag: &Dag) {
    start_itself(dag);
}

/// The id of the newest run of a dag, once its task `work` has succeeded.
#[task]
fn newest(ctx: &Context, dag_id: String) -> Result<String> {
    Ok(dags::run(dag_id).newest().task("work").wait(ctx)?.run_id)
}

#[dag(dags = ["awaited", "missing"])]
pub fn waiter(dag: &Dag) {
    newest(dag, dag.param_with_default("dag_id", "awaited".to_owned()));
}
