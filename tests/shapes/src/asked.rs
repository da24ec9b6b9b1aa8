//! Dags that ask people.

use airlock_sdk::{prelude::*, serde_json::json};
use std::time::Duration;

/// Asks two questions, one after the other.
#[task]
fn ask(ctx: &Context, assignee: &str) -> Result<(Vec<String>, u32, Option<String>)> {
    approval::ask("Go on?").body("It is `ready`.").approve(ctx)?;
    let share = json!({"type": "integer", "minimum": 1, "maximum": 100});
    let ask = approval::ask("Which, and how many?").options(["a", "b", "c"]).multiple().default("b");
    let ask = ask.field("share", share, 5);
    let ask = if assignee.is_empty() { ask } else { ask.assignees([assignee]) };
    let answer = ask.wait(ctx)?;
    let share = answer.value("share")?;
    Ok((answer.chosen, share, answer.username))
}

#[dag]
pub fn asking(dag: &Dag) {
    ask(dag, dag.param_with_default("assignee", String::new()));
}

/// Nobody answers.
#[task]
fn ask_briefly(ctx: &Context, fall_back: bool) -> Result<Vec<String>> {
    let ask = approval::ask("Anybody?").options(["yes", "no"]).timeout(Duration::from_secs(1));
    Ok(if fall_back { ask.default("no") } else { ask }.wait(ctx)?.chosen)
}

#[dag]
pub fn unheard(dag: &Dag) {
    ask_briefly(dag, dag.param_with_default("fall_back", false));
}

#[data]
struct Payment {
    amount: u32,
}

/// Waits for another system.
#[task]
fn paid(ctx: &Context) -> Result<u32> {
    let payment: Payment = webhook::wait_for("payment").wait(ctx)?;
    Ok(payment.amount)
}

#[dag]
pub fn paying(dag: &Dag) {
    paid(dag);
}

/// Asks what nobody could answer.
#[task]
fn ask_nonsense(ctx: &Context) -> Result<()> {
    approval::ask("Which?").field("n", json!({"type": "integer"}), "many").wait(ctx)?;
    Ok(())
}

#[dag]
pub fn nonsense(dag: &Dag) {
    ask_nonsense(dag);
}
