//! The dags of the tests, whose every text would be seen if it were not escaped.

use serde_json::{Value, json};

use super::world::{EVIL, at};
use crate::model::spec::{
    BindingSpec, DagSpec, EntrySpec, ExpandSpec, GrantsSpec, ListSpec, ModuleSpec, NodeSpec, ParamSpec, ParameterSpec,
    ScheduleSpec, SourceSpec,
};

pub fn node(task_id: &str, upstream: &[&str]) -> NodeSpec {
    let bind = |(nth, task): (usize, &&str)| BindingSpec {
        name: format!("in{nth}"),
        source: SourceSpec::Output((*task).to_owned()),
    };
    NodeSpec {
        doc: Some(EVIL.into()),
        inputs: upstream.iter().take(3).enumerate().map(bind).collect(),
        retries: 2,
        retry_delay_ms: 30_000,
        retry_backoff: 2.0,
        timeout_ms: Some(600_000),
        ..NodeSpec::new(task_id, "work")
    }
}

pub fn dag(dag_id: &str, schedule: Option<&str>, nodes: Vec<NodeSpec>) -> DagSpec {
    let expression = schedule.map(str::to_owned);
    DagSpec {
        description: Some(format!("What {dag_id} does {EVIL}")),
        doc: Some(format!(
            "# {EVIL}

It does `{EVIL}`.

- {EVIL}"
        )),
        owners: vec![EVIL.into()],
        tags: vec!["demo".into(), EVIL.into()],
        schedule: expression.map_or(ScheduleSpec::Manual, |expression| ScheduleSpec::cron(expression, true)),
        timezone: "America/Los_Angeles".into(),
        start: Some(at("2012-01-01T08:00:00Z")),
        max_active_runs: 4,
        grants: GrantsSpec {
            variables: vec!["reports/*".into()],
            hosts: vec!["api.example.org".into()],
            ..GrantsSpec::default()
        },
        nodes,
        ..DagSpec::new(dag_id)
    }
}

pub fn module() -> ModuleSpec {
    let input = |nth| ParameterSpec { name: format!("in{nth}"), schema: "{}".into(), required: false };
    let entry = EntrySpec {
        name: "work".into(),
        doc: Some(EVIL.into()),
        inputs: (0..3).map(input).collect(),
        output: Some(json!({"title": EVIL}).to_string()),
    };
    let param = |name: &str, schema: Value, default: Option<Value>| ParamSpec {
        name: name.into(),
        schema: schema.to_string(),
        default: default.map(|value| value.to_string()),
    };
    let mut weather = dag(
        "weather",
        Some("0 6 1 * *"),
        vec![
            node("extract", &[]),
            node("check_quality", &["extract"]),
            node("monthly_figures", &["check_quality"]),
            node("quarantine", &["check_quality"]),
            node("report", &["monthly_figures", "quarantine"]),
            node("yearly_summary", &["report"]),
        ],
    );
    weather.params = vec![
        param("station", json!({"type": "string", "title": "Station", "description": EVIL}), Some(json!("Seattle"))),
        param("days", json!({"type": "integer", "minimum": 1, "maximum": 31}), Some(json!(31))),
        param("unit", json!({"enum": ["mm", "inch"]}), Some(json!("mm"))),
        param("strict", json!({"type": "boolean", "description": "Fail on a missing day"}), Some(json!(false))),
        param("from", json!({"type": "string", "format": "date"}), Some(json!("2012-01-01"))),
        param("extra", json!({"type": "object"}), Some(json!({"a": [1, 2]}))),
    ];
    let mut fan = vec![node("start", &[])];
    fan.extend((0..298).map(|nth| node(&format!("part_{nth:03}"), &["start"])));
    let mut fan = dag("fan_300", None, fan);
    fan.nodes.push(node("join", &[]));
    fan.edges = (0..298).map(|nth| (format!("part_{nth:03}"), "join".to_owned())).collect();
    let mut mapped = node("each", &["list"]);
    mapped.expand = Some(ExpandSpec { axes: vec![vec![ListSpec::Output("list".into())]] });
    let mut mapped = dag("mapped", None, vec![node("list", &[]), mapped, node("sum", &["each"])]);
    mapped.display_name = Some(format!("Each one of them {EVIL}"));
    let layers = (0..10_000).map(|nth: usize| {
        let upstream = (nth >= 100).then(|| format!("t{:05}", nth - 100));
        let more = (nth >= 100 && nth.is_multiple_of(7)).then(|| format!("t{:05}", nth - 99));
        let names: Vec<&str> = upstream.iter().chain(&more).map(String::as_str).collect();
        node(&format!("t{nth:05}"), &names)
    });
    let mut large = dag("large", None, layers.collect());
    large.nodes.iter_mut().for_each(|node| node.doc = None);
    ModuleSpec {
        name: "evil".into(),
        version: EVIL.into(),
        sdk: EVIL.into(),
        entries: vec![entry],
        dags: vec![weather, fan, mapped, large],
        ..ModuleSpec::default()
    }
}
