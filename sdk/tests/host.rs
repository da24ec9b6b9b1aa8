//! What tasks and dags do on `testing::Host`, as on Airlock.

use std::{cell::Cell, io::Read, time::Duration};

use airlock_sdk::{
    Level,
    chrono::{DateTime, TimeZone, Utc},
    prelude::*,
    testing::{Host, TaskState},
};

thread_local! {
    static TRIES: Cell<u32> = const { Cell::new(0) };
}

#[task(retries = 2)]
fn flaky(ctx: &Context, good_from: u32) -> Result<u32> {
    TRIES.set(TRIES.get() + 1);
    xcom::push("seen", &ctx.try_number())?;
    ensure!(ctx.try_number() >= good_from, "try {} of {}", ctx.try_number(), ctx.max_tries());
    Ok(ctx.try_number())
}

#[task(retries = 2)]
fn reads(key: &str) -> Result<String> {
    TRIES.set(TRIES.get() + 1);
    variables::get(key).context("the setting")
}

#[task]
fn waits() -> Result<()> {
    Err(Later::at(DateTime::UNIX_EPOCH + Duration::from_mins(1)).into())
}

#[task]
fn follows() {}

#[dag(variables = ["granted/*"])]
fn many(dag: &Dag) {
    flaky(dag, dag.param_with_default("good_from", 2));
    reads(dag, "granted/a").id("granted");
    reads(dag, "other").id("denied");
    follows(dag).after(waits(dag));
}

#[test]
fn tries_end_with_success_or_with_what_no_try_can_mend() {
    let run = Host::new().variable("granted/a", "1").variable("other", "2").run_dag::<many>().unwrap();
    assert_eq!((run.state("flaky"), run.tries("flaky"), run.result("flaky")), (TaskState::Success, 2, Some(2)));
    assert_eq!(run.xcom("flaky", "seen"), Some(2));
    assert_eq!(run.result::<String>("granted").as_deref(), Some("1"));
    assert_eq!((run.state("denied"), run.tries("denied")), (TaskState::Failed, 1));
    assert_eq!(run.message("denied"), Some("the setting: denied: variable:other"));
    assert_eq!((run.state("waits"), run.state("follows")), (TaskState::UpForReschedule, TaskState::None));
    assert_eq!(run.later("waits"), Some(DateTime::UNIX_EPOCH + Duration::from_mins(1)));

    let run = Host::new().param("good_from", 9).run_dag::<many>().unwrap();
    assert_eq!((run.state("flaky"), run.tries("flaky")), (TaskState::Failed, 3));
    assert_eq!(run.message("flaky"), Some("try 3 of 3"));
    assert_eq!(run.xcom::<u32>("flaky", "seen"), None);
}

#[task]
fn talks() {
    log::debug!("low");
    log::warn!(shop = "Seoul", rows:? = Some(2); "by log");
    let span = tracing::info_span!("load", shop = "Seoul");
    let _entered = span.enter();
    tracing::info!(rows = 3, "by tracing");
}

use airlock_sdk::{log, tracing};

#[test]
fn both_facades_end_in_the_log_at_its_level() {
    let host = Host::new().log_level(Level::Info);
    host.run(|_| talks::run());
    let logs = host.logs();
    assert_eq!(logs.len(), 2);
    assert_eq!((logs[0].level, logs[0].message.as_str(), logs[0].target.as_str()), (Level::Warn, "by log", "host"));
    assert_eq!(logs[1].message, "by tracing");
    let fields = |line: usize| -> Vec<(&str, &str)> {
        logs[line].fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    };
    assert_eq!(fields(0), [("shop", "Seoul"), ("rows", "Some(2)")]);
    assert_eq!(fields(1), [("rows", "3"), ("shop", "Seoul"), ("span", "load")]);
}

#[task]
fn parts() {
    tracing::info_span!("part", shop = "Seoul", rows = tracing::field::Empty).in_scope(|| {
        tracing::Span::current().record("rows", 42);
        tracing::info!("read");
    });
    assert!(tracing::Span::current().is_none(), "no span is entered any more");
}

#[test]
fn what_is_recorded_into_the_current_span_is_among_the_fields() {
    let host = Host::new();
    host.run(|_| parts::run());
    let logs = host.logs();
    let fields: Vec<_> = logs[0].fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields, [("shop", "Seoul"), ("rows", "42"), ("span", "part")]);
}

#[test]
fn threads_have_hosts_of_their_own() {
    let read = |value: &'static str| {
        std::thread::spawn(move || Host::new().variable("key", value).run(|_| reads::run("key")).unwrap())
    };
    let (one, two) = (read("one"), read("two"));
    assert_eq!((one.join().unwrap(), two.join().unwrap()), ("one".to_owned(), "two".to_owned()));
    assert!(reads::run("key").unwrap_err().to_string().contains("testing::Host::run"));
}

#[task]
fn copies() -> Result<u64> {
    let mut reader = artifacts::open("maker", "in.bin")?;
    let mut content = Vec::new();
    reader.read_to_end(&mut content)?;
    assert_eq!(reader.size(), content.len() as u64);
    Ok(artifacts::write("out/copy.bin", "application/octet-stream", content)?)
}

#[test]
fn artifacts_of_any_size_are_read_and_written_in_pieces() {
    let content: Vec<u8> = (0..3_000_000_u32).map(|index| index.to_le_bytes()[0]).collect();
    let host = Host::new().artifact_of("maker", "in.bin", Bytes::new("application/octet-stream", content.clone()));
    assert_eq!(host.run(|_| copies::run()).unwrap(), 3_000_000);
    assert_eq!(host.artifact("out/copy.bin").unwrap().bytes, content);
    for name in ["", "../x", "/etc/passwd", "a//b", "a/./b", "a\nb"] {
        let error = host.run(|_| artifacts::create(name, "text/plain").map(drop)).unwrap_err();
        assert!(matches!(error, HostError::Invalid(_)), "{name}");
    }
}

#[test]
fn xcoms_of_other_runs_come_in_order_of_their_dates() {
    let day = |day| Utc.with_ymd_and_hms(2026, 1, day, 0, 0, 0).unwrap();
    let host = Host::new();
    let host = [3, 1, 2, 4].into_iter().fold(host, |host, at| host.xcom_of_run(day(at), "count", "rows", &at));
    let found = host.run(|_| xcom::pull_runs::<u32>("count", "rows", day(1)..day(4))).unwrap();
    assert_eq!(found.iter().map(|run| run.value).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(host.run(|_| xcom::find::<u32>("count", "rows")).unwrap(), None);
}

#[dag]
fn circle(dag: &Dag) {
    let (one, two) = (follows(dag).id("one"), follows(dag).id("two"));
    one.after(two).before(two);
}

#[dag]
fn twins(dag: &Dag) {
    follows(dag).id("one");
    follows(dag).id("one");
}

#[dag]
fn spaced(dag: &Dag) {
    follows(dag).id("task one");
}

#[dag]
fn twin_groups(dag: &Dag) {
    for _ in 0..2 {
        dag.group("load", || follows(dag));
    }
}

#[dag]
fn asks(dag: &Dag) {
    flaky(dag, dag.param("good_from"));
}

#[task]
fn shows(picture: Option<Bytes>) -> usize {
    picture.map_or(0, |picture| picture.bytes.len())
}

#[dag]
fn framed(dag: &Dag) {
    shows(dag, dag.param_with_default("picture", Bytes::new("image/png", [1])));
}

#[dag]
fn unframed(dag: &Dag) {
    shows(dag, dag.param_with_default("picture", None::<Bytes>));
}

#[test]
fn dags_that_cannot_be_are_refused_with_a_reason() {
    assert_eq!(Host::new().run_dag::<unframed>().unwrap().result("shows"), Some(0_usize));
    let refused = [
        (Host::new().run_dag::<circle>().unwrap_err(), "dag `circle`: there is a cycle"),
        (Host::new().run_dag::<twins>().unwrap_err(), "dag `twins`: two tasks are called `one`"),
        (Host::new().run_dag::<spaced>().unwrap_err(), "dag `spaced`: `task one` can't be a task's id"),
        (Host::new().run_dag::<twin_groups>().unwrap_err(), "dag `twin_groups`: two groups are called `load`"),
        (Host::new().run_dag::<asks>().unwrap_err(), "dag `asks`: param `good_from` has no value"),
        (
            Host::new().run_dag::<framed>().unwrap_err(),
            "dag `framed`: the default of param `picture`: a param is JSON, which `Bytes` are not",
        ),
    ];
    for (error, start) in refused {
        assert!(error.to_string().starts_with(start), "{error}");
    }
}

#[task]
fn huge(number: i128, dag: &str) -> String {
    format!("{number} {dag}")
}

#[task(short_circuit)]
fn stop() -> bool {
    false
}

#[task(branch)]
fn choose() -> Branch {
    Branch::to(talks::ID)
}

/// Sixty layers of two tasks, each after both before it: more ways through it than can be walked.
#[dag]
fn odd(dag: &Dag) {
    huge(dag, dag.list([i128::MAX]).each(), "given");
    let (stop, choose) = (stop(dag), choose(dag));
    let mut layer = [talks(dag).after(choose), talks(dag).after((choose, stop))];
    for _ in 1..60 {
        layer = [talks(dag).after(layer), talks(dag).after(layer)];
    }
    talks(dag).id("last").after(layer);
}

#[test]
fn a_graph_of_many_ways_is_run_and_elements_are_handed_over_as_they_are() {
    let run = Host::new().run_dag::<odd>().unwrap();
    assert_eq!(run.results::<String>("huge"), [Some(format!("{} given", i128::MAX))]);
    assert_eq!((run.state("talks"), run.state("talks__1")), (TaskState::Success, TaskState::Skipped));
    assert_eq!(run.state("last"), TaskState::Skipped);
}

/// A group after each task, and a task after each group.
#[dag]
fn grouped(dag: &Dag) {
    let mut before = talks(dag).id("first");
    for n in 0..2_000 {
        let group = dag.group(&format!("g{n}"), || {
            let (a, b) = (talks(dag), talks(dag));
            dag.group("inner", || talks(dag)).after(a);
            talks(dag).id("end").after(b);
        });
        before = talks(dag).id(format!("gate{n}")).after(group.after(before));
    }
}

#[task(retries = 1)]
fn dated(day: &str, note: Option<String>) -> String {
    format!("{day} {note:?}")
}

#[dag]
fn templated(dag: &Dag) {
    dated(dag, dag.template("{{ ds }}"), dag.template("{{ ts }}"));
}

#[test]
fn a_template_that_the_test_says_nothing_of_is_told() {
    let run = Host::new().run_dag::<templated>().unwrap();
    assert_eq!((run.state("dated"), run.tries("dated")), (TaskState::Failed, 1));
    let why = "input `day`: say what `\"{{ ds }}\"` is rendered to, with `Host::rendered`";
    assert_eq!(run.message("dated"), Some(why));
    let run = Host::new().rendered("{{ ds }}", "2026-01-31").run_dag::<templated>().unwrap();
    assert_eq!(run.result::<String>("dated").as_deref(), Some("2026-01-31 None"));
}

#[task]
fn numbers() -> Vec<u32> {
    (0..10_000).collect()
}

#[task]
fn half(number: u32, sign: i32) -> i64 {
    i64::from(sign) * i64::from(number / 2)
}

#[dag]
fn halves(dag: &Dag) {
    half(dag, numbers(dag).each(), dag.list([1, -1]).each());
}

#[test]
fn thousands_of_instances_have_their_elements() {
    let halves = Host::new().run_dag::<halves>().unwrap().results::<i64>("half");
    assert_eq!((halves.len(), halves[19_998], halves[19_999]), (20_000, Some(4_999), Some(-4_999)));
}

#[test]
fn thousands_of_groups_are_put_in_order() {
    let run = Host::new().run_dag::<grouped>().unwrap();
    assert_eq!(run.task_ids().count(), 1 + 2_000 * 5);
    assert_eq!((run.state("gate1999"), run.state("g1999.inner.talks")), (TaskState::Success, TaskState::Success));
}

#[test]
fn what_the_server_would_refuse_is_refused_here() {
    let lake = objects::bucket("lake");
    Host::new().object("lake", "../a", "").run(|_| {
        for key in ["", "/a", "a/", "a//b", "../a", "a\n", &"k".repeat(1_025)] {
            let told = [
                lake.write(key, "text/csv", "x").unwrap_err(),
                lake.head(key).unwrap_err(),
                lake.delete(key).unwrap_err(),
            ];
            assert!(told.iter().all(|error| matches!(error, HostError::Invalid(_))), "{key}: {told:?}");
        }
        assert!(lake.list("..").next().unwrap().is_err());
        for media_type in ["csv", "", "text/csv\r\nx: y"] {
            assert!(lake.write("a", media_type, "x").is_err());
            assert!(artifacts::write("a", media_type, "x").is_err());
            assert!(xcom::push("a", &Bytes::new(media_type, "x")).is_err());
        }
        xcom::push(xcom::RETURN_VALUE, &1).unwrap();
    });
}

#[task]
fn length(halves: Option<Vec<i64>>) -> Option<usize> {
    halves.map(|halves| halves.len())
}

#[dag]
fn optional(dag: &Dag) {
    length(dag, half(dag, dag.list([1_u32, 2]).each(), 1).all());
}

#[test]
fn all_results_are_given_to_an_input_that_may_have_none() {
    assert_eq!(Host::new().run_dag::<optional>().unwrap().result::<usize>("length"), Some(2));
}

/// ### The halves
///
/// - of numbers
#[dag]
fn headed(dag: &Dag) {
    follows(dag);
}

#[test]
fn a_dag_is_described_by_the_first_line_of_its_doc() {
    let definition = <headed as airlock_sdk::DagFunction>::definition();
    assert_eq!(definition.description, Some("The halves"));
    assert_eq!(definition.doc, Some("### The halves\n\n- of numbers"));
}
