//! Dags of every shape that a dag may have, each as small as its point allows.

mod asked;
mod databases;
mod left;
mod made;
mod others;
mod recorded;
mod remembered;
mod stored;

use std::time::Duration;

use airlock_sdk::prelude::*;

/// Counts from 0.
#[task]
fn count(length: u32) -> Vec<u32> {
    (0..length).collect()
}

#[task]
fn double(n: u32) -> u32 {
    n * 2
}

#[task]
fn pair(a: u32, b: u32) -> String {
    format!("{a}{b}")
}

#[task]
fn sum(numbers: Vec<u32>) -> u32 {
    numbers.iter().sum()
}

#[task]
fn join(texts: Vec<String>) -> String {
    texts.join(" ")
}

/// Fails for one number.
#[task]
fn picky(n: u32, bad: u32) -> Result<u32> {
    ensure!(n != bad, "{n} is not welcome");
    Ok(n)
}

#[task]
fn wait() {
    std::thread::sleep(std::time::Duration::from_mins(10));
}

#[task]
fn say_and_wait(text: &str) {
    info!("{text}");
    wait::run();
}

#[task]
fn say(text: &str) {
    info!("{text}");
}

#[task]
fn name_cluster() -> String {
    "cluster-7".to_owned()
}

#[task(short_circuit)]
fn is_worth_it(answer: bool) -> bool {
    answer
}

#[task(short_circuit, ignore_downstream_trigger_rules = false)]
fn is_worth_a_step(answer: bool) -> bool {
    answer
}

#[task(branch)]
fn choose(choice: &str) -> Branch {
    Branch::to(choice)
}

/// A task for each element of a list that is known when the run gets there, and one that takes all results.
#[dag(max_active_tasks = 64)]
fn mapped(dag: &Dag) {
    let doubled = double(dag, count(dag, dag.param_with_default("length", 3_u32)).each());
    sum(dag, doubled.all());
}

/// Inputs that are rendered, and instances that have names.
#[dag]
fn labelled(dag: &Dag) {
    dag.param_with_default("half", 21_u32);
    double(dag, dag.template("{{ params.half }}"));
    let names = pair(dag, count(dag, 2).each(), dag.template("{{ ds_nodash | int }}"));
    names.map_index_template("number {{ inputs.a }}");
}

/// Says itself what the instance is called, whatever becomes of it.
#[task]
fn named(ctx: &Context, a: u32) -> Result<u32> {
    ctx.set_map_label(format!("{} rows {}", a + 7, "x".repeat(300)))?;
    ensure!(a != 1, "one is too few");
    Ok(a)
}

/// A mapped task that names its instances, and one that has nothing to name.
#[dag]
fn self_named(dag: &Dag) {
    named(dag, count(dag, 2).each()).map_index_template("{{ inputs.a }}");
    named(dag, 0).id("alone");
}

/// Fails at first, and says when it is to be tried again.
#[task(retries = 1, retry_delay = "1h")]
fn busy(ctx: &Context, wait_ms: u64) -> Result<u32> {
    if ctx.try_number() == 1 {
        return Err(Retry::after(Duration::from_millis(wait_ms), "the quota is used up").into());
    }
    Ok(ctx.try_number())
}

/// Nobody starts it by hand.
#[dag(schedule = "@yearly", data_interval, start = "2026-01-01", allowed_run_types = ["scheduled", "backfill"])]
fn not_by_hand(dag: &Dag) {
    count(dag, 1);
}

/// Two that fail, of which one is tried again at once and the other tomorrow.
#[dag]
fn told_when(dag: &Dag) {
    busy(dag, 10).id("soon");
    busy(dag, 86_400_000).id("tomorrow");
}

/// Lists that multiply, and lists that go along with each other.
#[dag]
fn multiplied(dag: &Dag) {
    let pairs = pair(dag, count(dag, 2).each(), dag.list([7, 8, 9]).each());
    join(dag, pairs.all());
    let (a, b) = count(dag, 3).each().zip(dag.list([7, 8]).each());
    join(dag, pair(dag, a, b).id("zipped").all());
}

/// A mapped task over the results of another.
#[dag]
fn mapped_again(dag: &Dag) {
    let once = double(dag, dag.list([1, 2, 3]).each());
    sum(dag, double(dag, once.all().each()).all());
}

/// A group that is run for each element: the second task of it follows the first of the same element.
#[dag]
fn mapped_group(dag: &Dag) {
    let bad = dag.param_with_default("bad", 1_u32);
    let each = dag.mapped_group("each", count(dag, 3).each(), |n| double(dag, picky(dag, n, bad)));
    sum(dag, each.output.all()).trigger_rule(TriggerRule::AllDone);
}

/// Groups in groups, and what comes before and after them.
#[dag]
fn grouped(dag: &Dag) {
    let first = say(dag, "first");
    let outer = dag.group("outer", || {
        let n = double(dag, 1);
        dag.group("inner", || double(dag, n)).doc("The inner group.").output
    });
    outer.after(first);
    say(dag, "last").after_labelled("when all is done", outer);
}

/// A setup, work that fails, and a teardown that runs all the same.
#[dag]
fn on_a_cluster(dag: &Dag) {
    let cluster = name_cluster(dag).setup();
    let work = picky(dag, 1, dag.param_with_default("bad", 1_u32)).after(cluster);
    say(dag, cluster).id("delete_cluster").teardown(cluster).after(work);
}

/// What is downstream of a task that says no: all of it, or what follows directly.
#[dag]
fn cut_short(dag: &Dag) {
    let answer = dag.param_with_default("answer", false);
    let all = say(dag, "never").id("after_all").after(is_worth_it(dag, answer));
    say(dag, "never").id("after_that").trigger_rule(TriggerRule::AllDone).after(all);
    let step = say(dag, "never").id("after_step").after(is_worth_a_step(dag, answer));
    say(dag, "still").id("after_all_that").trigger_rule(TriggerRule::AllDone).after(step);
}

/// Two tasks at once, the first to fail of which ends the other.
#[dag(fail_fast = true)]
fn fail_fast(dag: &Dag) {
    let slow = wait(dag);
    say(dag, "never").after(slow);
    picky(dag, 1, 1);
}

/// Waits until enough time has passed, and tells how long that was in milliseconds.
#[task(sensor, poke_interval = "200ms", poke_timeout = "1m")]
#[expect(clippy::disallowed_methods, reason = "a task has no clock but WASI's")]
fn some_time(ctx: &Context, millis: i64) -> Poke<i64> {
    let waited = (airlock_sdk::chrono::Utc::now() - ctx.started_at()).num_milliseconds();
    info!("waited {waited} ms");
    if waited >= millis { Poke::Done(waited) } else { Poke::NotYet }
}

/// Waits for what never comes.
#[task(sensor, poke_interval = "100ms", poke_timeout = "500ms", soft_fail = true, retries = 3)]
fn godot() -> Poke {
    Poke::NotYet
}

/// Sensors: one that finds what it waits for, and one that gives up.
#[dag]
fn waiting(dag: &Dag) {
    some_time(dag, dag.param_with_default("millis", 700_i64));
    godot(dag);
}

/// Two schedules in one: a run whenever one of them fires.
#[dag(schedule = ["0 6 * * *", "30 18 * * 5"], timezone = "Asia/Seoul", paused = true)]
fn twice_on_fridays(dag: &Dag) {
    say(dag, "tick");
}

/// Equal periods, counted from the start.
#[dag(schedule = "every 90m", start = "2026-01-01", data_interval = true, paused = true)]
fn periodic(dag: &Dag) {
    say(dag, "tick");
}

/// The first and the last business day of each month.
#[dag(
    schedule = "0 9 * * *",
    timezone = "Asia/Seoul",
    business_days,
    holidays = ["2026-01-01", "2026-01-30"],
    nth_business_days = [1, -1],
    jitter = "10m",
    paused = true
)]
fn month_ends(dag: &Dag) {
    say(dag, "tick");
}

/// At two instants.
#[dag(schedule = ["2030-01-01T06:00:00", "2030-07-01T06:00:00+09:00"], timezone = "Asia/Seoul", paused = true)]
fn twice(dag: &Dag) {
    say(dag, "tick");
}

/// Again and again.
#[dag(schedule = "@continuous", max_active_runs = 1, paused = true)]
fn ever(dag: &Dag) {
    say(dag, "tick");
}

/// Waits for what others do, in this run and in the one before.
#[task(depends_on_past, max_active_tis_per_dag = 2, max_active_tis_per_dagrun = 1)]
fn one_by_one(n: u32) -> u32 {
    n
}

/// Runs that follow each other, and a task that is limited.
#[dag(max_consecutive_failed_dag_runs = 2)]
fn limited(dag: &Dag) {
    let bad = picky(dag, 1, dag.param_with_default("bad", 0_u32));
    let each = one_by_one(dag, dag.list([1, 2, 3]).each()).after(bad);
    sum(dag, each.all()).wait_for_downstream();
}

/// A branch to a group.
#[dag]
fn branched(dag: &Dag) {
    let chosen = choose(dag, dag.param_with_default("choice", "left".to_owned()));
    let left = dag.group("left", || double(dag, double(dag, 1)));
    let right = dag.group("right", || double(dag, 2));
    left.after(chosen);
    right.after(chosen);
    say(dag, "end").trigger_rule(TriggerRule::NoneFailedMinOneSuccess).after((left, right));
}

airlock_sdk::export!(
    dags = [
        mapped,
        labelled,
        self_named,
        told_when,
        not_by_hand,
        multiplied,
        mapped_again,
        mapped_group,
        grouped,
        on_a_cluster,
        cut_short,
        branched,
        fail_fast,
        waiting,
        twice_on_fridays,
        periodic,
        others::awaited,
        others::starter,
        others::wrong_starter,
        others::endless,
        others::waiter,
        limited,
        month_ends,
        twice,
        ever,
        made::make_orders,
        made::make_prices,
        made::on_both,
        made::make_tables,
        made::on_tables,
        made::on_own,
        asked::asking,
        asked::unheard,
        asked::nonsense,
        asked::paying,
        recorded::recorded,
        remembered::remembered,
        remembered::remembered_elsewhere,
        remembered::remembered_each,
        remembered::remembered_wait,
        left::left,
    ],
    tasks = [say_and_wait, databases::statements, stored::stored]
);

#[cfg(test)]
mod tests {
    use airlock_sdk::testing::{Host, TaskState};

    use super::*;

    #[test]
    fn lists_are_taken_apart_and_put_together() {
        let run = Host::new().param("length", 4).run_dag::<mapped>().unwrap();
        assert_eq!(run.result::<u32>("sum"), Some(12));
        let run = Host::new().param("length", 0).run_dag::<mapped>().unwrap();
        assert_eq!((run.state("double"), run.state("sum")), (TaskState::Skipped, TaskState::Skipped));
        let run = Host::new().run_dag::<multiplied>().unwrap();
        assert_eq!(run.result::<String>("join").unwrap(), "07 08 09 17 18 19");
        assert_eq!(run.result::<String>("join__1").unwrap(), "07 18");
        let run = Host::new().run_dag::<mapped_again>().unwrap();
        assert_eq!(run.result::<u32>("sum"), Some(24));
    }

    #[test]
    fn a_mapped_group_goes_on_element_by_element() {
        let run = Host::new().run_dag::<mapped_group>().unwrap();
        assert_eq!(run.instance("each.picky", 1), TaskState::Failed);
        assert_eq!(run.instance("each.double", 1), TaskState::UpstreamFailed);
        assert_eq!(run.results::<u32>("each.double"), [Some(0), None, Some(4)]);
        assert_eq!(run.result::<u32>("sum"), Some(4));
    }

    #[test]
    fn groups_name_their_tasks_and_have_an_order() {
        let run = Host::new().run_dag::<grouped>().unwrap();
        let ids: Vec<_> = run.task_ids().collect();
        assert_eq!(ids, ["outer.double", "outer.inner.double", "say", "say__1"]);
        assert!(run.succeeded());
    }

    #[test]
    fn a_teardown_runs_however_the_work_ends() {
        let run = Host::new().run_dag::<on_a_cluster>().unwrap();
        assert_eq!((run.state("picky"), run.state("delete_cluster")), (TaskState::Failed, TaskState::Success));
        assert!(!run.succeeded());
    }

    #[test]
    fn no_cuts_short_what_follows() {
        let run = Host::new().run_dag::<cut_short>().unwrap();
        let states = ["after_all", "after_that", "after_step", "after_all_that"].map(|task| run.state(task));
        assert_eq!(states, [TaskState::Skipped, TaskState::Skipped, TaskState::Skipped, TaskState::Success]);
    }

    #[test]
    fn a_branch_may_lead_to_a_group() {
        let run = Host::new().run_dag::<branched>().unwrap();
        assert_eq!((run.state("left.double"), run.state("right.double")), (TaskState::Success, TaskState::Skipped));
        assert_eq!(run.state("say"), TaskState::Success);
    }

    #[test]
    fn a_mapped_task_and_another_are_not_mixed_up() {
        #[dag]
        fn not_all(dag: &Dag) {
            say(dag, join(dag, pair(dag, dag.list([1]).each(), 2).all()).all().each());
        }
        #[dag]
        fn not_one(dag: &Dag) {
            double(dag, double(dag, dag.list([1]).each()));
        }
        let wrong = |error: Error| error.to_string();
        assert!(wrong(Host::new().run_dag::<not_all>().unwrap_err()).contains("`join` is not mapped"));
        assert!(wrong(Host::new().run_dag::<not_one>().unwrap_err()).contains("`double` is mapped"));
    }
}
