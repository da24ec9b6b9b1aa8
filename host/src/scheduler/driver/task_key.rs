//! The concurrency key of an instance.

use serde_json::{Map, Value};

use super::active_run::ActiveRun;
use crate::{
    engine::InstanceId,
    model::{
        dag::Source,
        expand::List,
        spec::SourceSpec,
        template::{Known, MAX_LABEL_BYTES, RunScope, Scope, TaskScope},
    },
};

/// The text that `instance` holds while it runs, and how many may hold it. None: its task has no such key.
///
/// # Errors
/// Why it can't be told; then the instance can't run.
pub(super) fn of(run: &ActiveRun, instance: InstanceId) -> Option<Result<(String, u32), String>> {
    let node = run.version.dag.node(instance.node);
    let concurrency = node.concurrency.as_ref()?;
    let rendered = render(run, instance).and_then(|text| match text.trim() {
        "" => Err("it is empty".to_owned()),
        text if text.len() > MAX_LABEL_BYTES => {
            Err(format!("it has {} bytes; a key may have {MAX_LABEL_BYTES}", text.len()))
        }
        text => Ok((text.to_owned(), concurrency.limit)),
    });
    let wrong = |why| format!("the concurrency_key of task `{}` can't be rendered: {why}", node.task_id);
    Some(rendered.map_err(wrong))
}

fn render(run: &ActiveRun, instance: InstanceId) -> Result<String, String> {
    let dag = &run.version.dag;
    let (node, context) = (dag.node(instance.node), &run.context);
    let Some(concurrency) = &node.concurrency else { return Ok(String::new()) };
    let params: Value = serde_json::from_str(&context.params).map_err(|error| format!("the run's params: {error}"))?;
    let mut inputs = Map::new();
    for binding in &node.inputs {
        let value = match &binding.source {
            Source::Literal(SourceSpec::Literal(json)) => serde_json::from_str(json).ok(),
            Source::Param(name) => params.get(name).cloned(),
            Source::Element { axis, list } => dag.expansion(node).and_then(|expand| {
                let map_index = u32::try_from(instance.map_index).ok()?;
                let index = expand.element(*axis as usize, map_index, |_| None)?;
                match &expand.axes[*axis as usize][*list as usize] {
                    List::Literal(elements) => serde_json::from_str(elements.get(index as usize)?).ok(),
                    List::Output(_) => None,
                }
            }),
            Source::Literal(_) | Source::Template(_) | Source::Output(_) => None,
        };
        inputs.extend(value.map(|value| (binding.name.clone(), value)));
    }
    let row = run.state.instance(instance);
    let scope = Scope {
        run: RunScope {
            dag_id: context.dag_id.as_str(),
            run_id: context.run_id.as_str(),
            run_type: context.run_type,
            timezone: dag.timetable.timezone,
            logical_date: context.logical_date,
            data_interval: context.data_interval,
            run_after: context.run_after,
            params: &params,
        },
        task: Some(TaskScope {
            task_id: node.task_id.as_str(),
            map_index: instance.map_index,
            try_number: row.as_ref().map_or(0, |row| row.try_number),
            max_tries: row.as_ref().map_or(0, |row| row.max_tries + 1),
            inputs: Some(&Value::Object(inputs)),
        }),
        known: &Known::default(),
    };
    concurrency.key.render(&scope).map_err(|halt| halt.to_string())
}
