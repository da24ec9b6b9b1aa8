use serde_json::json;

use super::*;
use crate::model::{
    asset::AssetCondition,
    dag::{Catalog, Dag},
    recording::Recording,
    spec::{
        DagSpec, EntrySpec, ExpandSpec, ListSpec, NodeSpec, ParameterSpec, RoleSpec, ScheduleSpec, SourceSpec,
        WeekdaySpec,
    },
    trigger_rule::TriggerRule,
};

fn entry(name: &str, inputs: &[(&str, &str, bool)]) -> EntrySpec {
    let input = |(name, schema, required): &(&str, &str, bool)| ParameterSpec {
        name: (*name).to_owned(),
        schema: (*schema).to_owned(),
        required: *required,
    };
    EntrySpec { inputs: inputs.iter().map(input).collect(), ..EntrySpec::new(name) }
}

fn libraries() -> Libraries {
    let text = r#"{"type": "string"}"#;
    let http = ModuleSpec {
        entries: vec![entry("get", &[("url", text, true), ("attempts", r#"{"type": "integer"}"#, false)])],
        ..ModuleSpec::default()
    };
    let entries = vec![entry("run", &[]), entry("two", &[("a", "{}", false), ("b", "{}", false)])];
    let work = ModuleSpec { entries, ..ModuleSpec::default() };
    Libraries::from([
        ("http".to_owned(), (Digest([1; 32]), Arc::new(http))),
        ("work".to_owned(), (Digest([2; 32]), Arc::new(work))),
    ])
}

/// The spec of the one dag in `text`, whose graph holds.
fn read(text: &str) -> Result<DagSpec, YamlError> {
    let file = parse(text)?.remove(0);
    let libraries = libraries();
    let spec = file.to_spec(&libraries)?;
    let catalog =
        libraries.values().fold(Catalog::default(), |catalog, (digest, module)| catalog.with(*digest, &module.entries));
    Dag::from_new_spec(&spec, &catalog).map_err(|error| file.locate(&error))?;
    Ok(spec)
}

fn node<'a>(spec: &'a DagSpec, task_id: &str) -> &'a NodeSpec {
    spec.nodes.iter().find(|node| node.task_id == task_id).unwrap()
}

#[test]
fn a_dag_makes_assets_and_runs_after_others() {
    let spec = read(
        r#"
dag_id: nightly
asset_schedule: [orders, {any: [prices, {all: [a, b]}]}]
assets: {orders: {uri: "s3://shop/orders", group: tables, extra: {owner: ann}}}
tasks:
  load: {uses: work/run, outlets: [report], inlets: [orders]}
"#,
    )
    .unwrap();
    let condition = AssetCondition::from_spec(spec.asset_schedule.as_ref().unwrap()).unwrap();
    assert_eq!(condition.to_string(), "orders & (prices | (a & b))");
    let names: Vec<_> = spec.assets.iter().map(|asset| asset.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "orders", "prices", "report"]);
    let (orders, prices) = (&spec.assets[2], &spec.assets[3]);
    assert_eq!((orders.uri.as_str(), orders.extra.as_deref()), ("s3://shop/orders", Some(r#"{"owner":"ann"}"#)));
    assert_eq!((prices.uri.as_str(), prices.group.as_str()), ("prices", "asset"));
    assert_eq!(node(&spec, "load").outlets, ["report"]);
}

#[test]
fn a_dag_says_all_that_a_component_can() {
    let spec = read(
        r#"
dag_id: nightly
description: What it does
tags: [finance]
schedule: ["0 6 * * *", "30 18 * * FRI"]
data_interval: true
timezone: Asia/Seoul
start: 2026-01-01
catchup: true
max_active_runs: 1
run_timeout: 2h
params:
  city: Seoul
  days: {type: integer, minimum: 1, default: 7}
grants: {hosts: [api.example.org], memory_mib: 512}
default_args: {retries: 2, retry_delay: 30s}
tasks:
  extract:
    uses: http/get
    with: {url: "https://api.example.org", attempts: 3}
  load:
    uses: work/two
    from: {a: tasks.extract, b: params.city}
    retries: 0
    trigger_rule: all_done
  tell:
    uses: work/run
    needs: [load]
    labels: {load: done}
"#,
    )
    .unwrap();
    let expressions = vec!["0 6 * * *".to_owned(), "30 18 * * FRI".to_owned()];
    assert_eq!(spec.schedule, ScheduleSpec::Cron { expressions, data_interval: true, calendar: None });
    assert_eq!(spec.start, Some("2025-12-31T15:00:00Z".parse().unwrap()), "midnight in Seoul");
    assert_eq!((spec.max_active_runs, spec.max_active_tasks, spec.run_timeout_ms), (1, 16, Some(7_200_000)));
    assert_eq!(spec.params[0].default.as_deref(), Some("\"Seoul\""));
    assert_eq!(spec.params[1].default.as_deref(), Some("7"));
    assert_eq!(spec.grants.memory_mib, Some(512));
    let (extract, load) = (node(&spec, "extract"), node(&spec, "load"));
    assert_eq!((extract.component, extract.entry.as_str()), (Some(Digest([1; 32])), "get"));
    assert_eq!((extract.retries, extract.retry_delay_ms), (2, 30_000));
    assert_eq!(extract.inputs[0].source, SourceSpec::Literal(json!("https://api.example.org").to_string()));
    assert_eq!((load.retries, load.trigger_rule), (0, TriggerRule::AllDone));
    assert_eq!(load.inputs[0].source, SourceSpec::Output("extract".to_owned()));
    assert_eq!(load.inputs[1].source, SourceSpec::Param("city".to_owned()));
    assert_eq!(spec.edges, [("load".to_owned(), "tell".to_owned())]);
    assert_eq!(spec.labels[0].label, "done");
}

#[test]
fn lists_multiply_or_go_along() {
    let spec = read(
        "
dag_id: mapped
tasks:
  list: {uses: work/run}
  product: {uses: work/two, each: {a: tasks.list, b: [1, 2]}}
  along: {uses: work/two, zip: {a: tasks.list, b: [1, 2]}}
  inner: {uses: work/two, group: g, from: {a: each.row}}
  after: {uses: work/run, needs: [g]}
groups:
  g: {each: {row: tasks.list}, needs: [along]}
",
    )
    .unwrap();
    let (list, two) = (ListSpec::Output("list".to_owned()), ListSpec::Literal("[1,2]".to_owned()));
    let product = ExpandSpec { axes: vec![vec![list.clone()], vec![two.clone()]] };
    assert_eq!(node(&spec, "product").expand, Some(product));
    assert_eq!(node(&spec, "product").inputs[1].source, SourceSpec::Element { axis: 1, list: 0 });
    assert_eq!(node(&spec, "along").expand, Some(ExpandSpec { axes: vec![vec![list, two]] }));
    assert_eq!(node(&spec, "along").inputs[1].source, SourceSpec::Element { axis: 0, list: 1 });
    assert_eq!(node(&spec, "inner").inputs[0].source, SourceSpec::Element { axis: 0, list: 0 });
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(spec.edges, [edge("inner", "after"), edge("along", "inner")]);
}

#[test]
fn edges_to_and_from_a_group_are_of_its_first_and_last_tasks() {
    let spec = read(
        "
dag_id: grouped
tasks:
  before: {uses: work/run}
  one: {uses: work/run, group: inner}
  two: {uses: work/run, group: outer, needs: [one]}
  after: {uses: work/run, needs: [outer]}
groups:
  outer: {needs: [before]}
  inner: {parent: outer}
",
    )
    .unwrap();
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(spec.edges, [edge("one", "two"), edge("two", "after"), edge("before", "one")]);
}

#[test]
fn setups_teardowns_and_schedules() {
    let spec = read(
        "
dag_id: scoped
schedule: every 1h 30m
tasks:
  up: {uses: work/run, setup: true}
  work: {uses: work/run, needs: [up]}
  down: {uses: work/run, needs: [work], teardown: [up], on_failure_fail_dagrun: true}
",
    )
    .unwrap();
    assert_eq!(spec.schedule, ScheduleSpec::Every { period_ms: 5_400_000, data_interval: false });
    assert_eq!(node(&spec, "up").role, RoleSpec::Setup);
    let down = node(&spec, "down");
    assert_eq!(down.role, RoleSpec::Teardown { setups: vec!["up".to_owned()], on_failure_fail_dagrun: true });
    assert_eq!(down.trigger_rule, TriggerRule::AllDoneSetupSuccess);
}

#[test]
fn a_text_holds_several_dags() {
    let text = "dag_id: a\ntasks: {t: {uses: work/run}}\n---\ndag_id: b\ntasks: {t: {uses: http/get}}\n";
    let files = parse(text).unwrap();
    assert_eq!(files.iter().map(|file| file.dag_id.value.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(files[1].libraries(), BTreeSet::from(["http"]));
}

/// What is wrong is said with its place.
#[test]
fn errors_have_a_line_and_a_column() {
    let task = |text: &str| format!("dag_id: d\ntasks:\n  t: {{uses: work/run}}\n  u:\n    uses: {text}\n");
    let cases: Vec<(String, u64, u64, &str)> = vec![
        (String::new(), 1, 1, "there is no dag in it"),
        ("just words".into(), 1, 1, "expected"),
        ("dag_id: d\n".into(), 1, 1, "tasks"),
        ("dag_id: d\ntasks: {}\n".into(), 1, 9, "has no tasks; name at least one under `tasks`"),
        ("dag_id: d\ntags: x\ntasks: {}\n".into(), 2, 7, "a list is expected here; write it as `[one, two]`"),
        ("dag_id: [d]\ntasks: {}\n".into(), 1, 9, "one value is expected here"),
        ("dag_id: d\ntasks: [".into(), 2, 8, "mapping"),
        ("dag_id: d\ndag_id: e\ntasks: {}\n".into(), 2, 1, "dag_id"),
        ("dag_id: d\nschedul: x\ntasks: {}\n".into(), 2, 1, "schedul"),
        ("dag_id: d\nschedule: 61 * * * *\ntasks:\n  t: {uses: work/run}\n".into(), 2, 11, "61"),
        ("dag_id: d\nschedule: every fortnight\ntasks: {}\n".into(), 2, 11, "length of time"),
        ("dag_id: d\ntimezone: Seoul\ntasks:\n  t: {uses: work/run}\n".into(), 2, 11, "IANA"),
        ("dag_id: d\nstart: yesterday\ntasks:\n  t: {uses: work/run}\n".into(), 2, 8, "2026-01-01"),
        (
            "dag_id: d\nstart: 2026-04-24T00:30\ntimezone: Africa/Cairo\ntasks:\n  t: {uses: work/run}\n".into(),
            2,
            8,
            "clocks go forward",
        ),
        ("dag_id: a/b\ntasks:\n  t: {uses: work/run}\n".into(), 1, 9, "dag id"),
        (task("nothing"), 5, 11, "http/get"),
        (task("ftp/get"), 5, 11, "no component named `ftp`"),
        (task("http/put"), 5, 11, "it has `get`"),
        (task("http/get"), 5, 11, "input `url` of entry `get` is not bound"),
        (task("http/get\n    with: {url: 7}"), 6, 17, "is not of type \"string\""),
        (task("http/get\n    with: {uri: a}"), 6, 17, "it has `url`, `attempts`"),
        (task("work/two\n    from: {a: tasks.x}"), 6, 15, "`x` is not a task"),
        (task("work/two\n    from: {a: params.x}"), 6, 15, "`x` is not a param"),
        (task("work/two\n    from: {a: each.x}"), 6, 15, "no group"),
        (task("work/two\n    from: {a: x}"), 6, 15, "tasks.<task_id>"),
        (task("work/two\n    each: {a: 7}"), 6, 15, "write a list"),
        (task("work/two\n    each: {a: [1]}\n    zip: {b: [1]}"), 6, 15, "not both"),
        (task("work/run\n    needs: [x]"), 6, 13, "`x` is no task or group"),
        (task("work/run\n    needs: [u]"), 1, 9, "cycle"),
        (task("work/run\n    needs: [g]\ngroups: {g: {}}"), 6, 13, "group `g` has no task"),
        (task("work/run\n    group: x"), 5, 11, "group `x`"),
        (task("work/run\n    retry_delay: soon"), 6, 18, "length of time"),
        (task("work/run\n    trigger_rule: sometimes"), 6, 19, "sometimes"),
        (task("work/run\n    setup: yes please"), 6, 12, "bool"),
        (task("work/run\n    retries: -1"), 6, 14, "it must be a whole number from 0 to 4294967295"),
        (task("work/run\n    retries: 1.5"), 6, 14, "it must be a whole number from 0 to 4294967295"),
        (task("work/run\n    retries: 4294967296"), 6, 14, "it must be a whole number from 0 to 4294967295"),
        (task("work/run\n    pool_slots: few"), 6, 17, "it must be a whole number from 0 to 4294967295"),
        (
            task("work/run\n    priority_weight: high"),
            6,
            22,
            "it must be a whole number from -2147483648 to 2147483647",
        ),
        (task("work/run\n    retry_backoff: twice"), 6, 20, "it must be a number"),
        ("dag_id: d\nmax_active_runs: -1\ntasks:\n  t: {uses: work/run}\n".into(), 2, 18, "from 0 to 4294967295"),
        ("dag_id: d\nbusiness_days: {nth: [x]}\ntasks:\n  t: {uses: work/run}\n".into(), 2, 23, "whole number from -"),
    ];
    let mut wrong = Vec::new();
    for (text, line, column, part) in cases {
        match read(&text) {
            Ok(_) => wrong.push(format!("accepted:\n{text}")),
            Err(error) => {
                if (error.line, error.column) != (line, column) || !error.message.contains(part) {
                    wrong.push(format!("{error}\n  not {line}:{column} .. {part} of\n{text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (text, misses_component) in [(task("ftp/get"), true), (task("http/put"), false), ("tags: x".into(), false)] {
        assert_eq!(read(&text).unwrap_err().misses_component, misses_component, "{text}");
    }
    let twice = read("dag_id: d\ndag_id: e\ntasks: {}\n").unwrap_err().message;
    assert!(!twice.contains("Policy"), "{twice}");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let level = |level: usize| {
        let before = if level == 0 { "x".to_owned() } else { format!("*l{}", level - 1) };
        format!("  l{level}: &l{level} [{}]\n", vec![before; 9].join(", "))
    };
    let levels: String = (0..12).map(level).collect();
    let text = format!("dag_id: d\nparams:\n{levels}tasks: {{t: {{uses: work/run}}}}\n");
    let began = std::time::Instant::now();
    assert!(read(&text).is_err());
    assert!(began.elapsed() < std::time::Duration::from_secs(5));
}

#[test]
fn a_group_that_lies_in_itself_is_refused() {
    let text = "dag_id: d\ntasks:\n  t: {uses: work/two, group: a, from: {a: each.x}}\ngroups:\n  a: {parent: b}\n  b: {parent: a}\n";
    assert!(read(text).unwrap_err().message.contains("no group"));
}

proptest::proptest! {
    #[test]
    fn no_text_is_too_strange(text in ".{0,200}") {
        drop(read(&text));
    }

    #[test]
    fn no_dag_is_too_strange(words in proptest::collection::vec("(dag_id|tasks|uses|work/run|[-:{}\\[\\]&*|>%@ \n]|a|1)", 0..60)) {
        drop(read(&words.concat()));
    }
}

#[test]
fn schedules_and_limits_are_those_of_the_sdk() {
    let dag = |head: &str| read(&format!("dag_id: d\n{head}\ntasks: {{t: {{uses: work/run}}}}\n"));
    let spec = dag("schedule: 0 9 * * *\nbusiness_days: {holidays: [2026-12-25], nth: [-1]}\njitter: 10m").unwrap();
    let ScheduleSpec::Cron { calendar: Some(calendar), .. } = &spec.schedule else { panic!("{:?}", spec.schedule) };
    assert_eq!((calendar.holidays.as_slice(), calendar.nth.as_slice()), (&["2026-12-25".to_owned()][..], &[-1][..]));
    assert_eq!(calendar.weekend, [WeekdaySpec::Saturday, WeekdaySpec::Sunday]);
    assert_eq!(spec.jitter_ms, Some(600_000));
    let events = dag("schedule: [2026-04-15T09:00:00, 2026-07-15T09:00:00]\ntimezone: Asia/Seoul").unwrap();
    let instants = ["2026-04-15T00:00:00Z", "2026-07-15T00:00:00Z"].map(|at| at.parse().unwrap());
    assert_eq!(events.schedule, ScheduleSpec::Events(instants.to_vec()));
    for (head, expected) in [
        ("schedule: 0 6 * * SAT", &["0 6 * * SAT"][..]),
        ("schedule: [0 6 * * TUE, 0 6 * OCT THU]\nbusiness_days: {}", &["0 6 * * TUE", "0 6 * OCT THU"][..]),
    ] {
        let ScheduleSpec::Cron { expressions, .. } = dag(head).unwrap().schedule else { panic!("{head}") };
        assert_eq!(expressions, expected);
    }
    let twice = dag("schedule: [2026-10-25T02:30]\ntimezone: Europe/Berlin").unwrap();
    assert_eq!(twice.schedule, ScheduleSpec::Events(vec!["2026-10-25T01:30:00Z".parse().unwrap()]), "the second");
    let late = dag("start: 2026-04-24\ntimezone: Africa/Cairo").unwrap();
    assert_eq!(late.start, Some("2026-04-23T22:00:00Z".parse().unwrap()), "clocks go forward over midnight");
    let continuous = dag("schedule: \"@continuous\"\nmax_active_runs: 1\nmax_consecutive_failed_dag_runs: 3").unwrap();
    assert_eq!((continuous.schedule, continuous.max_consecutive_failed_dag_runs), (ScheduleSpec::Continuous, 3));
    for (head, why) in [
        ("schedule: \"@continuous\"", "max_active_runs is 16, set it to 1"),
        ("schedule: every 5m\nbusiness_days: {}", "go with cron expressions"),
        ("schedule: [\"@daily\", 2026-07-15T09:00:00]", "all cron expressions, or all instants"),
        ("schedule: \"@once\"\njitter: 5m", "only a schedule of cron expressions"),
        ("params: {n: {type: string, pattern: \"(?=a)\"}}", "param `n`: its schema can't be used"),
        ("schedule: \"@once\"\nparams: {n: {type: integer, default: a}}", "a scheduled dag needs a default that fits"),
        (
            "schedule: \"@once\"\nparams: {n: {type: integer, default: null}}",
            "a scheduled dag needs a default that fits",
        ),
        ("schedule: \"@once\"\nparams: {n: {type: integer}}", "a scheduled dag needs a default for each param"),
    ] {
        let error = dag(head).unwrap_err().to_string();
        assert!(error.contains(why), "{head}: {error}");
    }
    let nulls = dag("schedule: \"@once\"\nparams: {n: null, m: {type: [integer, 'null'], default: null}}").unwrap();
    assert!(nulls.params.iter().all(|param| param.default.as_deref() == Some("null")), "{:?}", nulls.params);
    let text = "dag_id: d\ndefault_args: {depends_on_past: true}\ntasks:\n  a: {uses: work/run, max_active_tis_per_dag: 2}\n  b: {uses: work/run, depends_on_past: false}\n";
    let spec = read(text).unwrap();
    let (a, b) = (node(&spec, "a"), node(&spec, "b"));
    assert_eq!((a.depends_on_past, a.max_active_tis_per_dag, b.depends_on_past), (true, Some(2), false));
}

#[test]
fn what_is_recorded_is_said_for_a_task_its_siblings_or_the_dag() {
    let text = "dag_id: d\nrecord: always\ndefault_args: {record: failure}\ntasks:\n  a: {uses: work/run, record: off}\n  b: {uses: work/run}\n";
    let spec = read(text).unwrap();
    assert_eq!(spec.record, Some(Recording::Always));
    assert_eq!((node(&spec, "a").record, node(&spec, "b").record), (Some(Recording::Off), Some(Recording::Failure)));
    assert!(read("dag_id: d\nrecord: sometimes\ntasks: {}\n").is_err());
}
