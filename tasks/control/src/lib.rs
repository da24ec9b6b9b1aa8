//! Entries that do no work of their own: for dags in YAML, to give them their shape.
//!
//! ```yaml
//! dag_id: nightly
//! tasks:
//!   decide: {uses: control/branch, with: {follow: [full]}}
//!   full: {uses: control/empty, needs: [decide]}
//!   quick: {uses: control/empty, needs: [decide]}
//! ```

#![expect(clippy::too_many_arguments, reason = "they are inputs of entries, which are bound by name")]

use std::time::Duration;

use airlock_sdk::{
    ShortCircuit,
    chrono::{DateTime, TimeDelta, Utc},
    prelude::*,
    serde_json::{Map, Value},
};

/// Does nothing. Airflow: EmptyOperator.
#[task]
fn empty() {}

/// Fails. `retry`: whether another try may be made; true if it is left out.
#[task]
fn fail(message: Option<String>, retry: Option<bool>) -> Result<()> {
    let message = message.unwrap_or_else(|| "it was told to fail".to_owned());
    if retry.unwrap_or(true) { Err(Error::new(message)) } else { Err(Fatal::new(message).into()) }
}

/// Is skipped.
#[task]
fn skip(reason: Option<String>) -> Result<()> {
    Err(reason.map_or_else(Skip::new, Skip::because).into())
}

/// How [`end`] ends.
#[data]
#[serde(rename_all = "snake_case")]
enum Ending {
    Ok,
    Skip,
    Fail,
    /// No other try is made.
    FailNoRetry,
}

/// Ends as it is told: mapped over a list of endings, each instance in its own way.
#[task]
fn end(how: Ending) -> Result<()> {
    match how {
        Ending::Ok => Ok(()),
        Ending::Skip => Err(Skip::new().into()),
        Ending::Fail => Err(Error::new("it was told to fail")),
        Ending::FailNoRetry => Err(Fatal::new("it was told to fail").into()),
    }
}

/// Fails in its first `n` tries, and succeeds then.
#[task]
fn fail_first_n(ctx: &Context, n: u32) -> Result<()> {
    ensure!(ctx.try_number() > n, "try {} of {n} that fail", ctx.try_number());
    Ok(())
}

/// Of what stands directly downstream, only the tasks and groups in `follow` run. Airflow: BranchPythonOperator.
#[task(branch)]
fn branch(follow: Vec<String>) -> Branch {
    Branch::to_all(follow)
}

/// Unless `condition` holds, what is downstream is skipped, but for teardowns. Airflow: ShortCircuitOperator.
///
/// `ignore_downstream_trigger_rules`: all of it, whatever their trigger rules say; otherwise only what is directly
/// downstream. True if it is left out.
#[task(short_circuit)]
fn short_circuit(condition: bool, ignore_downstream_trigger_rules: Option<bool>) -> ShortCircuit {
    match ignore_downstream_trigger_rules {
        _ if condition => ShortCircuit::GoOn,
        Some(false) => ShortCircuit::SkipDirectlyDownstream,
        Some(true) | None => ShortCircuit::SkipDownstream,
    }
}

/// Waits, and holds nothing meanwhile. `duration` as `90s`, `1h 30m`.
#[task]
fn sleep(ctx: &Context, duration: String) -> Result<()> {
    wait_until_instant(later_than(ctx.started_at(), length(&duration)?))
}

/// Starts a run of another dag, and waits for its end unless `wait_for_completion` is false; fails if that fails. Answers the run's
/// id. Airflow: TriggerDagRunOperator, which does not wait unless it is told to.
#[task]
fn trigger_dag_run(
    ctx: &Context,
    dag_id: &str,
    conf: Option<Map<String, Value>>,
    logical_date: Option<DateTime<Utc>>,
    run_id: Option<String>,
    note: Option<String>,
    reset_dag_run: Option<bool>,
    wait_for_completion: Option<bool>,
) -> Result<String> {
    let mut trigger = dags::trigger(dag_id).reset(reset_dag_run.unwrap_or(false));
    for (name, value) in conf.unwrap_or_default() {
        trigger = trigger.param(name, value);
    }
    if let Some(run_id) = run_id {
        trigger = trigger.run_id(run_id);
    }
    if let Some(date) = logical_date {
        trigger = trigger.logical_date(date);
    }
    if let Some(note) = note {
        trigger = trigger.note(note);
    }
    let run = trigger.start()?;
    if wait_for_completion.unwrap_or(true) { Ok(run.wait(ctx)?.run_id) } else { Ok(run.run_id) }
}

/// Waits for a run of another dag of the same logical date (`execution_delta` earlier, as `1d`; or its newest run), or for a task or
/// group of it. Airflow: ExternalTaskSensor.
#[task]
fn external_task_sensor(
    ctx: &Context,
    dag_id: &str,
    task_ids: Option<Vec<String>>,
    execution_delta: Option<String>,
    newest: Option<bool>,
    timeout: Option<String>,
    soft_fail: Option<bool>,
) -> Result<()> {
    let mut run = dags::run(dag_id).soft_fail(soft_fail.unwrap_or(false));
    if let Some(timeout) = timeout {
        run = run.timeout(length(&timeout)?);
    }
    if let Some(delta) = execution_delta {
        let earlier = TimeDelta::from_std(length(&delta)?).map_err(Fatal::because)?;
        run = run.logical_date_delta(-earlier);
    }
    if newest.unwrap_or(false) {
        run = run.newest();
    }
    task_ids.unwrap_or_default().into_iter().fold(run, dags::RunOf::task).wait(ctx)?;
    Ok(())
}

/// Asks people whether to go on; if they reject it, what is directly downstream is skipped, whatever its trigger rule says, but for
/// teardowns. Of a list of questions, what is rejected is skipped itself, and what is downstream goes by its trigger rule. `timeout` as
/// `2h`, 7 days if it is left out. Airflow: ApprovalOperator.
#[task(short_circuit)]
fn approve(
    ctx: &Context,
    subject: &str,
    body: Option<String>,
    assignees: Option<Vec<String>>,
    timeout: Option<String>,
) -> Result<ShortCircuit> {
    match question(subject, body, assignees, timeout)?.approve(ctx) {
        Ok(_) => Ok(ShortCircuit::GoOn),
        // One of a list decides for its own index only: what waits for all of them would go on.
        Err(error) if error.find::<Skip>().is_some() && ctx.map_index().is_none() => {
            info!("{error}");
            Ok(ShortCircuit::SkipDirectlyDownstream)
        }
        Err(error) => Err(error),
    }
}

/// What people answered.
#[data]
struct Answered {
    chosen: Vec<String>,
    /// The values of `params`.
    values: Map<String, Value>,
    /// Who answered; none: nobody did in time, and these are the defaults.
    username: Option<String>,
}

/// Asks people to choose of `options` (`OK` if they are left out), several if it is `multiple`, and for values: `params` are JSON
/// Schemas by name, with a `default` unless the value must be given. Nobody answers within `timeout`: `defaults` are chosen, or the
/// task fails. Airflow: HITLOperator, HITLEntryOperator.
#[task]
fn ask(
    ctx: &Context,
    subject: &str,
    body: Option<String>,
    options: Option<Vec<String>>,
    multiple: Option<bool>,
    defaults: Option<Vec<String>>,
    params: Option<Map<String, Value>>,
    assignees: Option<Vec<String>>,
    timeout: Option<String>,
) -> Result<Answered> {
    let mut ask = question(subject, body, assignees, timeout)?;
    if let Some(options) = options {
        ask = ask.options(options);
    }
    if multiple.unwrap_or(false) {
        ask = ask.multiple();
    }
    ask = defaults.unwrap_or_default().into_iter().fold(ask, approval::Ask::default);
    for (name, schema) in params.unwrap_or_default() {
        ask = match schema.get("default").cloned() {
            Some(default) => ask.field(name, schema, default),
            None => ask.required_field(name, schema),
        };
    }
    let approval::Answer { chosen, values, username, .. } = ask.wait(ctx)?;
    Ok(Answered { chosen, values, username })
}

/// Asks people which of the tasks and groups in `options`, which stand directly downstream, run. Airflow: HITLBranchOperator.
#[task(branch)]
fn ask_branch(
    ctx: &Context,
    subject: &str,
    body: Option<String>,
    options: Vec<String>,
    multiple: Option<bool>,
    defaults: Option<Vec<String>>,
    assignees: Option<Vec<String>>,
    timeout: Option<String>,
) -> Result<Branch> {
    let mut ask = question(subject, body, assignees, timeout)?.options(options);
    if multiple.unwrap_or(false) {
        ask = ask.multiple();
    }
    let ask = defaults.unwrap_or_default().into_iter().fold(ask, approval::Ask::default);
    Ok(Branch::to_all(ask.wait(ctx)?.chosen))
}

fn question(
    subject: &str,
    body: Option<String>,
    assignees: Option<Vec<String>>,
    timeout: Option<String>,
) -> Result<approval::Ask> {
    let mut ask = approval::ask(subject).assignees(assignees.unwrap_or_default());
    if let Some(body) = body {
        ask = ask.body(body);
    }
    Ok(match timeout {
        Some(timeout) => ask.timeout(length(&timeout)?),
        None => ask,
    })
}

/// Waits for the next event of an asset, which is an inlet of the task, and answers what the event carries.
#[task]
fn wait_for_asset(ctx: &Context, asset: &str, timeout: Option<String>) -> Result<Map<String, Value>> {
    Ok(assets::next(asset, ctx, length(timeout.as_deref().unwrap_or("7d"))?)?.extra)
}

/// Waits until another system posts to the task's webhook, and answers the payload. `name` tells several waits of a task apart.
#[task]
fn wait_for_webhook(ctx: &Context, name: Option<String>, timeout: Option<String>) -> Result<Value> {
    let wait = webhook::wait_for(name.unwrap_or_else(|| "payload".to_owned()));
    wait.timeout(length(timeout.as_deref().unwrap_or("7d"))?).wait(ctx)
}

/// Waits until an instant, and holds nothing meanwhile. Airflow: DateTimeSensor.
#[task]
fn wait_until(at: DateTime<Utc>) -> Result<()> {
    wait_until_instant(at)
}

/// Waits for `satisfied`, which does not change: without it, until `timeout` has passed since the first look. Then it
/// fails for good, or is skipped if it may `soft_fail`. It shows what dags do while they wait.
#[task]
fn sensor(
    ctx: &Context,
    satisfied: bool,
    poke_interval: Option<String>,
    timeout: Option<String>,
    soft_fail: Option<bool>,
) -> Result<()> {
    if satisfied {
        return Ok(());
    }
    let end = later_than(ctx.started_at(), length(timeout.as_deref().unwrap_or("7d"))?);
    if now() < end {
        let next = later_than(now(), length(poke_interval.as_deref().unwrap_or("1m"))?);
        return Err(Later::at(next.min(end)).into());
    }
    let message = "what it waits for did not come in time";
    if soft_fail.unwrap_or(false) { Err(Skip::because(message).into()) } else { Err(Fatal::new(message).into()) }
}

/// Returns `items`, to be mapped over.
#[task]
fn map_list(items: Vec<Value>) -> Vec<Value> {
    items
}

/// Skips what is directly downstream, unless the run is the newest of its schedule. Runs that were triggered by hand go
/// on. Airflow: LatestOnlyOperator.
#[task(short_circuit)]
fn latest_only(ctx: &Context) -> ShortCircuit {
    match ctx.next_run_after() {
        Some(next) if next <= now() => ShortCircuit::SkipDirectlyDownstream,
        Some(_) | None => ShortCircuit::GoOn,
    }
}

fn wait_until_instant(at: DateTime<Utc>) -> Result<()> {
    if now() < at { Err(Later::at(at).into()) } else { Ok(()) }
}

fn length(text: &str) -> Result<Duration> {
    match humantime::parse_duration(text) {
        Ok(length) => Ok(length),
        Err(error) => Err(Fatal::new(format!("`{text}` is not a length of time: {error}")).into()),
    }
}

fn later_than(at: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[expect(clippy::disallowed_methods, reason = "tasks have no clock but WASI's")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

airlock_sdk::export!(
    tasks = [
        empty,
        fail,
        skip,
        end,
        fail_first_n,
        branch,
        short_circuit,
        sleep,
        wait_until,
        sensor,
        map_list,
        latest_only,
        trigger_dag_run,
        external_task_sensor,
        approve,
        ask,
        ask_branch,
        wait_for_asset,
        wait_for_webhook
    ]
);

#[cfg(test)]
mod tests {
    use airlock_sdk::{serde_json::json, testing::Host};

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        now() + TimeDelta::seconds(seconds)
    }

    #[test]
    fn the_first_tries_fail() {
        let fails = |try_number| Host::new().try_number(try_number, 3).run(|ctx| fail_first_n::run(ctx, 2)).is_err();
        assert_eq!([1, 2, 3].map(fails), [true, true, false]);
    }

    #[test]
    fn waits_end_in_later_until_their_time_has_come() {
        let waits = |host: Host, wait: &str| {
            let ended = host.run(|ctx| sleep::run(ctx, wait.to_owned()));
            ended.err().map(|error| error.find::<Later>().is_some())
        };
        assert_eq!(waits(Host::new(), "1h"), Some(true));
        assert_eq!(waits(Host::new().started_at(at(-3_601)), "1h"), None);
        assert_eq!(waits(Host::new(), "a while"), Some(false));
        assert!(wait_until::run(at(60)).is_err());
        assert!(wait_until::run(at(-60)).is_ok());
    }

    #[test]
    fn a_sensor_that_waited_in_vain_is_skipped_or_fails_without_another_try() {
        let ends = |soft_fail| {
            Host::new().run(|ctx| sensor::run(ctx, false, None, Some("0s".to_owned()), Some(soft_fail))).unwrap_err()
        };
        assert!(ends(true).find::<Skip>().is_some());
        assert!(ends(false).find::<Skip>().is_none() && ends(false).find::<Fatal>().is_some());
        assert!(
            Host::new().run(|ctx| sensor::run(ctx, false, None, None, None)).unwrap_err().find::<Later>().is_some()
        );
    }

    #[test]
    fn people_decide_and_webhooks_tell() {
        let decided = |option| {
            let host = Host::new().answer("Ship?", [option], json!({}));
            host.run(|ctx| approve::run(ctx, "Ship?", None, None, None)).unwrap()
        };
        assert_eq!(decided("Approve"), ShortCircuit::GoOn);
        assert_eq!(decided("Reject"), ShortCircuit::SkipDirectlyDownstream);
        let host = Host::new().map_index(1).answer("Ship?", ["Reject"], json!({}));
        let one_of_a_list = host.run(|ctx| approve::run(ctx, "Ship?", None, None, None)).unwrap_err();
        assert!(one_of_a_list.find::<Skip>().is_some());
        let waits = Host::new().run(|ctx| approve::run(ctx, "Ship?", None, None, None)).unwrap_err();
        assert!(waits.find::<Later>().is_some());
        let params = json!({"percent": {"type": "integer", "default": 5}}).as_object().cloned();
        let options = Some(vec!["some".to_owned(), "all".to_owned()]);
        let host = Host::new().answer("How many?", ["some"], json!({"percent": 7}));
        let answer = host.run(|ctx| ask::run(ctx, "How many?", None, options, None, None, params, None, None)).unwrap();
        assert_eq!((answer.chosen, &answer.values["percent"]), (vec!["some".to_owned()], &json!(7)));
        let paid = Host::new().webhook("payload", &7).run(|ctx| wait_for_webhook::run(ctx, None, None));
        assert_eq!(paid.unwrap(), 7);
        let waits = Host::new().run(|ctx| wait_for_asset::run(ctx, "orders", None)).unwrap_err();
        assert!(waits.find::<Later>().is_some());
    }

    #[test]
    fn only_the_newest_run_goes_on() {
        let decides = |host: Host| host.run(latest_only::run);
        assert_eq!(decides(Host::new()), ShortCircuit::GoOn);
        assert_eq!(decides(Host::new().next_run_after(at(60))), ShortCircuit::GoOn);
        assert_eq!(decides(Host::new().next_run_after(at(-60))), ShortCircuit::SkipDirectlyDownstream);
    }
}
