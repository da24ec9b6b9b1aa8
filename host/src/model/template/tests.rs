use std::collections::BTreeSet;

use chrono_tz::Tz;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::{
    grants::Grants,
    ids::{ConnectionId, TaskId, VariableKey, XComKey},
    spec::GrantsSpec,
    state::RunType,
    time::{DataInterval, Timestamp},
};

fn grants() -> Grants {
    let spec = GrantsSpec {
        variables: vec!["bucket".into(), "limits".into(), "none".into()],
        connections: vec!["lake".into()],
        ..GrantsSpec::default()
    };
    Grants::from_spec(&spec).unwrap()
}

/// What may be named in these tests.
fn with_names<T>(act: impl FnOnce(&Names<'_>) -> T) -> T {
    let (params, inputs, grants) = (BTreeSet::from(["customer", "n"]), BTreeSet::from(["file"]), grants());
    act(&Names { params: &params, grants: Some(&grants), has_task: true, inputs: Some(&inputs) })
}

fn new(text: &str) -> Result<TextTemplate, TemplateError> {
    with_names(|names| TextTemplate::new(text, names))
}

fn known() -> Known {
    let mut known = Known::default();
    for (key, value) in [("bucket", Some("lake-1")), ("limits", Some(r#"{"rows": 5}"#)), ("none", None)] {
        known.variables.insert(VariableKey::new(key).unwrap(), value.map(ToOwned::to_owned));
    }
    let facts = ConnectionFacts {
        conn_type: "http".into(),
        host: Some("lake.example.org".into()),
        schema: None,
        login: Some("ann".into()),
        port: Some(8443),
    };
    known.connections.insert(ConnectionId::new("lake").unwrap(), Some(facts));
    let mut pulls = |task: &str, key: &str, map_index, value| {
        let (task_id, key) = (TaskId::new(task).unwrap(), XComKey::new(key).unwrap());
        known.xcoms.insert(Pull { task_id, key, map_index }, value);
    };
    pulls("count", "return_value", None, Some(json!({"rows": 5})));
    pulls("count", "path", None, Some(json!("a.csv")));
    pulls("parts", "return_value", None, Some(json!([1, 2])));
    pulls("parts", "return_value", Some(1), Some(json!(2)));
    pulls("parts", "return_value", Some(7), None);
    pulls("quiet", "return_value", None, None);
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    known.previous_success = Some(Some(PreviousRun {
        data_interval: Some(DataInterval { start: at("2026-01-30T00:00:00Z"), end: at("2026-01-31T00:00:00Z") }),
        start_date: Some(at("2026-01-31T00:00:01Z")),
        end_date: None,
    }));
    known.asset_events = Some(json!({"orders": [{"uri": "s3://orders", "extra": {"rows": 3}}]}));
    known
}

fn render_in<T>(known: &Known, is_dated: bool, act: impl FnOnce(&Scope<'_>) -> T) -> T {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let params = json!({"customer": "acme", "n": 3, "extra": {"a": [1, 2, {"b": "c"}]}, "flag": false});
    let inputs = json!({"file": "a.csv"});
    let scope = Scope {
        run: RunScope {
            dag_id: "sales",
            run_id: "manual__1",
            run_type: RunType::Manual,
            timezone: Tz::Asia__Seoul,
            logical_date: is_dated.then(|| at("2026-01-31T22:04:05.5Z")),
            data_interval: is_dated
                .then(|| DataInterval { start: at("2026-01-31T00:00:00Z"), end: at("2026-02-01T00:00:00Z") }),
            run_after: at("2026-02-01T00:00:00Z"),
            params: &params,
        },
        task: Some(TaskScope { task_id: "load", map_index: 2, try_number: 1, max_tries: 4, inputs: Some(&inputs) }),
        known,
    };
    act(&scope)
}

fn render(text: &str) -> Result<String, String> {
    let template = new(text).map_err(|error| error.to_string())?;
    render_in(&known(), true, |scope| template.render(scope)).map_err(|halt| halt.to_string())
}

#[test]
fn texts_are_rendered_with_airflows_names() {
    let cases = [
        ("plain }} text", "plain }} text"),
        ("s3://{{ var.value.bucket }}/{{ ds_nodash }}/", "s3://lake-1/20260131/"),
        ("{{ ds }} {{ ts }}", "2026-01-31 2026-01-31T22:04:05.500000+00:00"),
        ("{{ ts_nodash }} {{ ts_nodash_with_tz }}", "20260131T220405 20260131T220405+0000"),
        ("{{ data_interval_start | ds }} {{ data_interval_end | ts }}", "2026-01-31 2026-02-01T00:00:00+00:00"),
        ("{{ data_interval_end }}", "2026-02-01T00:00:00+00:00"),
        ("{{ dag.dag_id }}.{{ task.task_id }} {{ run_id }} {{ dag_run.run_type }}", "sales.load manual__1 manual"),
        ("{{ ti.try_number }}/{{ task_instance.max_tries }} [{{ ti.map_index }}]", "1/4 [2]"),
        ("{{ params.customer | upper }} {{ params['n'] * 2 }} {{ inputs.file }}", "ACME 6 a.csv"),
        ("{{ conf.extra.a[2].b }} {{ dag_run.conf.get('x', 'y') }} {{ conf.extra.a[-1] }}", "c y {\"b\":\"c\"}"),
        ("{{ var.json.limits.rows }} {{ var.value.get('none', 'x') }}", "5 x"),
        ("{{ conn.lake.host }}:{{ conn.lake.port }} {{ conn.lake.schema }}", "lake.example.org:8443 null"),
        ("{{ macros.ds_add(ds, -31) }} {{ macros.ds_add('2026-02-28', days=1) }}", "2025-12-31 2026-03-01"),
        ("{{ macros.ds_format(ds, '%Y-%m-%d', '%d.%m.%y') }}", "31.01.26"),
        (
            "{{ (logical_date - macros.timedelta(days=1, hours=2)).strftime('%m/%d %H:%M:%S.%f') }}",
            "01/30 20:04:05.500000",
        ),
        ("{{ logical_date.in_timezone(dag.timezone).strftime('%Y-%m-%d %H') }}", "2026-02-01 07"),
        ("{{ logical_date.add(months=1).day }} {{ logical_date.year }}", "28 2026"),
        ("{{ logical_date.replace(day=1, hour=0) | ds }}", "2026-01-01"),
        (
            "{{ macros.datetime(2026, 3, 1).weekday() }} {{ macros.datetime.strptime('01/02/26', '%d/%m/%y') | ds }}",
            "6 2026-02-01",
        ),
        ("{{ data_interval_end - data_interval_start }}", "1 day, 0:00:00"),
        ("{% if params.n > 2 and not conf.flag %}many{% else %}few{% endif %}", "many"),
        ("{% for i in range(3) if i != 1 %}{{ i }}{{ ',' if not loop.last }}{% endfor %}", "0,2"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% else %}none{% endfor %}", "a=1"),
        ("{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "none"),
        ("{% set x = params.customer ~ '!' %}{{ x * 2 }}", "acme!acme!"),
        ("{{ params.missing | default('d') }} {{ params.missing is defined }}", "d false"),
        ("{{ [3, 1, 2] | sort | join('-') }} {{ 'a b' | split | length }} {{ 'a.b'.split('.')[1] }}", "1-2-3 2 b"),
        (
            "{{ ['b', 'a', 'C'] | sort }} {{ ['b', 'C'] | max }} {{ ['B', 'a', 'b'] | unique }}",
            r#"["a","b","C"] C ["B","a"]"#,
        ),
        (
            "{{ \"they're here\" | title }} {{ \"they're (x-y)\".title() }} {{ 'a(b-c d' | title }}",
            "They're Here They'Re (X-Y) A(B-C D",
        ),
        (
            "{{ 2.5 | round }} {{ 3.5 | round }} {{ -2.5 | round }} {{ 7 | round }} {{ 0.5 | round }}",
            "2.0 4.0 -2.0 7 0.0",
        ),
        (
            "{{ 2.675 | round(2) }} {{ 0.15 | round(1) }} {{ 1234.5678 | round(-2) }} {{ 2.567 | round(2) }}",
            "2.67 0.1 1200.0 2.57",
        ),
        ("{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 1 < 2 <= 2 }}", "3 -4 2 3.5 true"),
        ("{{ '{{' }} {% raw %}{{ ds }}{% endraw %} {# unseen #}.\n", "{{ {{ ds }} .\n"),
        ("{{ 'abc'[1:] }} {{ 'x' in 'xyz' }} {{ 4 not in [1] }} {{ none }} {{ true }}", "bc true true null true"),
        ("{{ ' a '.strip() | replace('a', 'b') | tojson }}", "\"b\""),
        ("{{ ti.xcom_pull('count').rows }} {{ task_instance.xcom_pull(task_ids='count', key='path') }}", "5 a.csv"),
        ("{{ ti.xcom_pull('parts') }} {{ ti.xcom_pull('parts', map_indexes=1) }}", "[1,2] 2"),
        ("{{ ti.xcom_pull(['parts', 'quiet']) }}", "[[1,2],null]"),
        ("{{ ti.xcom_pull('parts', map_indexes=[1, 7], default='-') | join }}", "2-"),
        ("{{ ti.xcom_pull('quiet') }} {{ ti.xcom_pull('quiet', none, default=7) }}", "null 7"),
        (
            "{{ prev_data_interval_start_success | ds }} {{ prev_data_interval_end_success | ds }}",
            "2026-01-30 2026-01-31",
        ),
        ("{{ prev_start_date_success.second }} {{ prev_end_date_success }}", "1 null"),
        (
            "{% for asset, events in triggering_asset_events.items() %}{{ asset }} {{ events[0].extra.rows }}{% endfor %}",
            "orders 3",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_is_wrong_is_refused_with_line_and_column() {
    let cases = [
        ("a\n{{ dss }}", "line 2, column 4: there is no `dss`; there are ds"),
        ("{{ ds ", "line 1, column "),
        ("{% include 'x' %}", "unknown statement include"),
        ("{% macro f() %}{% endmacro %}", "unknown statement macro"),
        ("{% with a = 1 %}{% endwith %}", "there is no `with` here"),
        ("{{ 2 ** 9 }}", "there is no `**` here"),
        ("{{ ds | shout }}", "there is no filter `shout`; there are default"),
        ("{{ ds is odd }}", "there is no test `odd`"),
        ("{{ params.customr }}", "the dag has no param `customr`; it has customer, n"),
        ("{{ inputs.path }}", "the task has no input `path`; it has file"),
        ("{{ ti.hostname }}", "`ti` has no `hostname`; it has task_id"),
        ("{{ macros.random() }}", "there is no chance here"),
        ("{{ var.value.secret }}", "grant `variable:secret` is missing in the dag"),
        ("{{ conn.mail.host }}", "grant `connection:mail` is missing in the dag"),
        ("{{ conn.lake.password }}", "a template can't have the `password` of a connection"),
        ("{{ prev_ds }}", "there is no `prev_ds` any more"),
        ("{{ ti.xcom_push('x', 1) }}", "let the task push it"),
        ("{{ ti.xcom_pull() }}", "`task_ids` is missing"),
        ("{{ ti.xcom_pull(3) }}", "`task_ids` is a task_id, or a list of them"),
        ("{{ ti.xcom_pull('x y') }}", "x y"),
        ("{{ ti.xcom_pull('count', 'other') }}", "XComs of its own run only"),
        ("{{ ti.xcom_pull('count', include_prior_dates=true) }}", "xcom::pull_runs"),
        ("{{ ti.xcom_pull('count', map_indexes='a') }}", "`map_indexes` is a number"),
        ("{{ ti.xcom_pull('count', run_id='r') }}", "it takes no `run_id`"),
        ("{{ var.value.none }}", "there is no variable `none`"),
        ("{{ conf.nothing }}", "there is no `nothing` in the map"),
        ("{{ params.customer.x }}", "a text has no `x`"),
        ("{{ 1 / 0 }}", "it divides by zero"),
        ("{{ ds + 1 }}", "a text and a number don't go together here"),
        ("{{ dag }}", "name one of what it holds"),
        ("{{ macros.datetime.now() }}", "there is no clock here"),
        ("{{ logical_date.strftime('%Q') }}", "`%Q` is not a format"),
        ("{{ ds | replace('a') }}", "`new` is missing"),
        ("{{ ds.upper(1) }}", "1 arguments too many"),
        ("{{ macros.datetime(2026, 2, 30) }}", "it is no date"),
        ("{{ range(1000000) }}", "a range may have 10000 numbers"),
    ];
    for (text, expected) in cases {
        let error = render(text).unwrap_err();
        assert!(error.contains(expected) && error.starts_with("line "), "{text}: {error}");
    }
    let run = BTreeSet::new();
    let names = Names { params: &run, grants: None, has_task: false, inputs: None };
    for (text, expected) in [
        ("{{ ti.map_index }}", "it is rendered for a run"),
        ("{{ var.value.x }}", "can't be read here"),
        ("{{ prev_start_date_success }}", "can't be read here"),
    ] {
        let error = TextTemplate::new(text, &names).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_run_without_a_date_has_no_date() {
    let template = new("{{ ds }}").unwrap();
    let error = render_in(&known(), false, |scope| template.render(scope)).unwrap_err().to_string();
    assert!(error.contains("the run has no logical date"), "{error}");
    let template = new("{{ ds | default(dag_run.run_after | ds) }}").unwrap();
    assert_eq!(render_in(&known(), false, |scope| template.render(scope)).unwrap(), "2026-02-01");
}

#[test]
fn what_is_not_known_yet_is_asked_for() {
    let text = "{{ var.value['bucket'] }}{{ ti.xcom_pull('x') }}{{ prev_end_date_success }}{{ triggering_asset_events }}\
                {{ conn.lake.host }}";
    let template = new(text).unwrap();
    let mut known = Known::default();
    let mut asked = Vec::new();
    let text = loop {
        match render_in(&known, true, |scope| template.render(scope)) {
            Err(Halt::Needs(need)) => {
                match &need {
                    Need::Variable(key) => drop(known.variables.insert(key.clone(), Some("v".into()))),
                    Need::Connection(id) => drop(known.connections.insert(id.clone(), None)),
                    Need::XCom(pull) => drop(known.xcoms.insert(pull.clone(), Some(json!([1])))),
                    Need::PreviousSuccess => known.previous_success = Some(None),
                    Need::AssetEvents => known.asset_events = Some(json!({})),
                }
                asked.push(need.to_string());
            }
            other => break other,
        }
    };
    let run = "the newest run before it that succeeded";
    let events = "the events that the run was made for";
    assert_eq!(asked, ["variable `bucket`", "xcom `return_value` of task `x`", run, events, "connection `lake`"]);
    assert!(text.unwrap_err().to_string().contains("there is no connection `lake`"));
}

/// The value that `value` becomes for an input of this schema.
fn input(value: &Value, schema: &Value) -> Result<Value, String> {
    let template =
        with_names(|names| Template::new(value, schema, names)).map_err(|(at, error)| format!("{at}: {error}"))?;
    render_in(&known(), true, |scope| template.render(scope)).map_err(|(at, halt)| format!("{at}: {halt}"))
}

#[test]
fn a_single_expression_keeps_its_type_where_text_is_not_wanted() {
    let any = json!({});
    assert_eq!(input(&json!("{{ params.n }}"), &json!({"type": "integer"})), Ok(json!(3)));
    assert_eq!(input(&json!("{{ params.n }}"), &json!({"type": "string"})), Ok(json!("3")));
    assert_eq!(input(&json!("{{ conf.extra.a }}"), &any), Ok(json!([1, 2, {"b": "c"}])));
    assert_eq!(input(&json!("{{ params.n }} "), &any), Ok(json!("3 ")));
    assert_eq!(input(&json!("{{ logical_date }}"), &any), Ok(json!("2026-01-31T22:04:05.500000+00:00")));
    let schema = json!({
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/Text"}}, "n": {"type": "integer"}},
        "$defs": {"Text": {"type": "string"}}
    });
    let value = json!({"rows": ["{{ params.n }}", "x"], "n": "{{ params.n }}", "other": [true, "{{ params.n }}"]});
    assert_eq!(input(&value, &schema), Ok(json!({"rows": ["3", "x"], "n": 3, "other": [true, 3]})));
    let error = input(&json!({"a/b": ["x", "{{ nix }}"]}), &any).unwrap_err();
    assert!(error.starts_with("/a~1b/1: line 1, column 4: there is no `nix`"), "{error}");
    assert!(has_template(&json!([{"a": "{% if %}"}])) && !has_template(&json!({"{{": "}}"})));
}

/// What would take a machine's memory or minutes ends with an error at once.
#[test]
fn no_template_takes_more_than_it_may() {
    let doubling = format!("{{% set x = 'aaaaaaaaaa' %}}{}{{{{ x }}}}", "{% set x = x ~ x %}".repeat(60));
    let nested = "{% for a in range(1000) %}{% for b in range(1000) %}{{ a * b }}{% endfor %}{% endfor %}";
    let wide = "{{ 'a' * 1000000000 }}";
    let replaced = "{{ ('a' * 100000) | replace('a', 'a' * 100000) }}";
    let joined = "{{ ('x' * 3000) | list | join('y' * 100000) }}";
    let joined_by = "{{ ('y' * 100000).join(('x' * 3000) | list) }}";
    let grown = format!("{{% set x = [1] %}}{}{{{{ x }}}}", "{% set x = [x] %}".repeat(2_000));
    let listed = format!("{{% set x = range(1000) %}}{}{{{{ x }}}}", "{% set x = x + x %}".repeat(60));
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(300), ")".repeat(300));
    let long = format!("{{{{ 1{} }}}}", " + 1".repeat(10_000));
    let blocks = format!("{}{}", "{% if 1 %}".repeat(60), "{% endif %}".repeat(60));
    let large = "x".repeat(MAX_TEMPLATE_BYTES + 1);
    let cases = [
        (doubling.as_str(), "handles more than"),
        (nested, "steps"),
        (wide, "handles more than"),
        (replaced, "it would have"),
        (joined, "it would have"),
        (joined_by, "it would have"),
        (&grown, "nested more than"),
        (&listed, "handles more than"),
        (&deep, "more than"),
        (&long, "a tag has more than"),
        (&blocks, "nested more than"),
        (&large, "a template may have"),
    ];
    for (text, expected) in cases {
        let error = render(text).unwrap_err();
        assert!(error.contains(expected), "{}: {error}", &text[..40]);
    }
}

#[test]
fn lists_of_one_kind_are_sorted_whatever_they_hold() {
    let mixed = "{{ [3, 'a', 1] | sort }}";
    assert!(render(mixed).unwrap_err().contains("can't be put in order"));
    assert_eq!(render("{{ [[2]] | sort }}").unwrap(), "[[2]]", "one alone is in order, whatever it is");
    let sorted = render("{{ [9007199254740993, 9007199254740992.0, 2.5, 2, -1, 9007199254740992] | sort }}").unwrap();
    assert_eq!(sorted, "[-1,2,2.5,9007199254740992,9007199254740992,9007199254740993]");
}

proptest! {
    /// Sorting panics where the order contradicts itself.
    #[test]
    fn no_list_is_sorted_in_contradictions(list in prop::collection::vec(prop_oneof![
        (-3_i64..3).prop_map(|n| json!(9_007_199_254_740_992 + n)),
        (-3_i32..3).prop_map(|n| json!(9_007_199_254_740_992.0 + f64::from(2 * n))),
        any::<u64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        "[a-c]{0,2}".prop_map(|text| json!(text)),
        any::<bool>().prop_map(|flag| json!(flag)),
    ], 0..60)) {
        let numbers: Vec<_> = list.iter().filter(|item| item.is_number()).cloned().collect();
        for list in [list, numbers] {
            drop(render(&format!("{{{{ {} | sort | length }}}}", json!(list))));
        }
    }

    /// Whatever is written, nothing panics and what comes is bounded.
    #[test]
    fn any_text_is_rendered_or_refused(parts in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{%", "%}", "{#", "#}", " ", "ds", "params", ".n", "['n']", "[-1]", "[1:]", "|", "length", "join", "(", ")",
        "logical_date", ".add(", "days=", "9223372036854775807", "-", "*", "+", "//", "%", "'é'", "for", "x", "in", "range",
        "endfor", "if", "else", "endif", "set", "=", "loop.index", "macros", ".timedelta(", ".datetime(", "1.5e308", "var.value",
        "ti.xcom_pull(", "'count'", "map_indexes=", "prev_end_date_success", "raw", "endraw", "~", "==", "is", "defined", "not", ",", "[", "]", "{", "}", ":", "\n", "strftime", "round", "sum",
    ]), 0..40)) {
        let text = parts.concat();
        let spaced = parts.join(" ");
        for text in [text, spaced] {
            if let Ok(rendered) = render(&text) {
                prop_assert!(rendered.len() <= MAX_RENDERED_BYTES);
            }
        }
    }
}
