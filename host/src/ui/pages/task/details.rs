//! The settings of a task, and its tries.

use askama::Template;

use super::{super::run::shortened, Found, part, pool};
use crate::{
    model::{
        dag::Node,
        ids::AssetName,
        recording::Recording,
        spec::{NodeSpec, WeightRule},
        time::Timestamp,
    },
    ui::{
        UiState, doc,
        error::UiError,
        links,
        show::{Facts, Html, Lasting, Span, State as StateView, When, Zones},
    },
};

#[derive(Template)]
#[template(path = "task_details.html")]
struct DetailsPart {
    facts: Facts,
    tries: Vec<TryLine>,
    doc: Html,
}

struct TryLine {
    number: u32,
    href: String,
    state: StateView,
    started: When,
    duration: Lasting,
    host: String,
    message: Html,
}

/// The task's own weight, and what its rule makes of it.
fn priority(spec: &NodeSpec, node: Option<&Node>) -> String {
    match (spec.weight_rule, node) {
        (WeightRule::Absolute, _) | (_, None) => spec.priority_weight.to_string(),
        (rule, Some(node)) => format!("{} ({}), its own is {}", node.weight, rule.as_str(), spec.priority_weight),
    }
}

/// What it waits for in the run before.
fn past(spec: &NodeSpec) -> Option<&'static str> {
    match (spec.depends_on_past, spec.wait_for_downstream) {
        (_, true) => Some("for this task and those directly downstream"),
        (true, false) => Some("for this task"),
        (false, false) => None,
    }
}

pub async fn view(ui: &UiState, found: &Found, zone: Zones, now: Timestamp) -> Result<Html, UiError> {
    let tries = ui.store.task_instance_tries(&found.key).await?;
    let mut tries: Vec<_> = tries
        .into_iter()
        .map(|row| TryLine {
            number: row.try_number,
            href: found.href("", &[("try", &row.try_number.to_string())]),
            state: row.state.into(),
            started: When { at: row.start_date, zone },
            duration: Lasting::between(row.start_date, row.end_date, now),
            host: ui.scheduler.host_of(&row).unwrap_or_default(),
            message: doc::line(&shortened(row.message.as_deref().unwrap_or_default())),
        })
        .collect();
    tries.reverse();
    let spec = found.shape.spec.nodes.iter().find(|node| node.task_id == found.key.task_id.as_str());
    let mut facts = Facts::new();
    if let Some(spec) = spec {
        let span = |ms: u64| Span(Some(std::time::Duration::from_millis(ms)));
        let rule = serde_json::to_value(spec.trigger_rule).unwrap_or_default();
        facts = facts
            .text("Trigger rule", rule.as_str().unwrap_or_default())
            .text("Retries", spec.retries)
            .text("Wait before a retry", span(spec.retry_delay_ms))
            .maybe("Backoff", (spec.retry_backoff > 1.0).then(|| format!("times {}", spec.retry_backoff)))
            .maybe("Longest wait", spec.max_retry_delay_ms.map(span))
            .maybe("Timeout", spec.timeout_ms.map(span))
            .text("Pool", pool(&spec.pool, spec.pool_slots))
            .maybe("Queue", spec.queue.as_deref())
            .text("Priority", priority(spec, found.node()))
            .maybe("Waits for the run before", past(spec))
            .maybe("At a time, in all runs", spec.max_active_tis_per_dag)
            .maybe("At a time, in a run", spec.max_active_tis_per_dagrun)
            .maybe("Results count for", spec.cache_ms.map(span))
            .maybe("Recorded", spec.record.or(found.shape.spec.record).map(Recording::as_str));
        for (name, assets) in [("Makes", &spec.outlets), ("Reads", &spec.inlets)] {
            let assets = assets.iter().filter_map(|name| AssetName::new(name).ok());
            let linked = assets.enumerate().fold(Html::new(), |html, (at, name)| {
                html.text(if at == 0 { "" } else { ", " }).link(&links::asset(&name), &name)
            });
            if !linked.is_empty() {
                facts = facts.html(name, linked);
            }
        }
    }
    if let Some(node) = found.node() {
        let run = links::run(&found.run.dag_id, &found.run.run_id);
        let list = |tasks: &[u32]| {
            let mut html = Html::new();
            for (at, task) in tasks.iter().take(50).enumerate() {
                let name = found.shape.dag.node(*task).task_id.as_str();
                html.add(|html| {
                    html.markup(if at > 0 { ", " } else { "" })
                        .markup("<a href=\"")
                        .text(format!("{run}/tasks/{}", links::part(name)))
                        .markup("\">")
                        .text(name)
                        .markup("</a>")
                });
            }
            if tasks.len() > 50 {
                html.add(|html| html.text(format!(" and {} more", tasks.len() - 50)));
            }
            if tasks.is_empty() { Html::new().text("none") } else { html }
        };
        facts = facts.html("Upstream", list(&node.upstream)).html("Downstream", list(&node.downstream));
    }
    let doc = spec.and_then(|spec| spec.doc.as_deref()).map(doc::render).unwrap_or_default();
    part(&DetailsPart { facts, tries, doc })
}
