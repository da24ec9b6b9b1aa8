//! `assets` of `wit/task.wit`.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};

use super::{Shared, over, storage_failed};
use crate::{
    executor::books::Attempt,
    model::{
        asset::{self, Added},
        ids::AssetName,
    },
    store::{AssetEventFilter, AssetEventRow, Order, Page},
    wire::{AssetEvent, CallError, Reply},
};

const MAX_GROUP_BYTES: usize = 250;
/// Events that one answer holds.
const MAX_TRIGGERING: u32 = 10_000;
const MAX_EVENTS: u32 = 1_000;
/// What the extras of one answer may take.
const MAX_EXTRA_BYTES: usize = 16 << 20;

/// Says what the event of an outlet is to carry.
pub(super) fn set_extra(attempt: &Attempt, name: AssetName, extra: String) -> Result<Reply, CallError> {
    let node = attempt.node();
    if !node.outlets.contains(&name) {
        return Err(CallError::Denied(format!("asset `{name}` is no outlet of task `{}`", node.task_id)));
    }
    if attempt.assignment.dag.aliases.contains(&name) {
        let why = format!("`{name}` is an alias, which has no events; say which asset was updated (`assets::add`)");
        return Err(CallError::Invalid(why));
    }
    asset::check_extra(&extra).map_err(|why| CallError::Invalid(format!("asset `{name}`: {why}")))?;
    attempt.effects(|effects| effects.set_extra(name, extra)).ok_or_else(over)??;
    Ok(Reply::Unit)
}

/// Keeps that the attempt updates an asset through an alias.
pub(super) fn add(attempt: &Attempt, added: Added) -> Result<Reply, CallError> {
    let (dag, node) = (&attempt.assignment.dag, attempt.node());
    let Added { alias, name, uri, extra, group } = &added;
    if !node.outlets.contains(alias) || !dag.aliases.contains(alias) {
        return Err(CallError::Denied(format!("`{alias}` is no alias among the outlets of task `{}`", node.task_id)));
    }
    let wrong = |why: String| CallError::Invalid(format!("asset `{name}`: {why}"));
    if dag.aliases.contains(name) {
        return Err(wrong("it is an alias; name the asset that was updated".into()));
    }
    asset::check_uri(uri).map_err(wrong)?;
    if group.is_empty() || group.len() > MAX_GROUP_BYTES || group.chars().any(char::is_control) {
        return Err(wrong(format!("its group must have 1 to {MAX_GROUP_BYTES} bytes and no control characters")));
    }
    asset::check_extra(extra).map_err(wrong)?;
    let makes: BTreeSet<_> = dag.nodes.iter().flat_map(|node| &node.outlets).chain([name]).cloned().collect();
    if dag.asset_schedule.as_ref().is_some_and(|condition| condition.holds(&makes)) {
        return Err(wrong(format!("dag `{}` runs after it and would start itself for ever", dag.dag_id)));
    }
    attempt.effects(|effects| effects.add_asset(added)).ok_or_else(over)??;
    Ok(Reply::Unit)
}

/// The events that the run was made for.
pub(super) async fn triggering(shared: &Shared, attempt: &Attempt) -> Result<Reply, CallError> {
    answer(consumed(shared, attempt).await?)
}

/// The same for templates: events by the name of their asset. Airflow: `triggering_asset_events`.
pub(in crate::executor) async fn by_asset(shared: &Shared, attempt: &Attempt) -> Result<Json, CallError> {
    let mut events: Map<String, Json> = Map::new();
    for row in bounded(consumed(shared, attempt).await?)? {
        let extra: Json = serde_json::from_str(&row.extra).unwrap_or_default();
        let event = json!({
            "asset": row.name, "uri": row.uri, "timestamp": row.timestamp, "extra": extra,
            "source_dag_id": row.source_dag_id, "source_run_id": row.source_run_id,
            "source_task_id": row.source_task_id, "source_map_index": row.source_map_index,
        });
        match events.entry(row.name.to_string()).or_insert_with(|| Json::Array(Vec::new())) {
            Json::Array(list) => list.push(event),
            other => *other = json!([event]),
        }
    }
    Ok(Json::Object(events))
}

async fn consumed(shared: &Shared, attempt: &Attempt) -> Result<Vec<AssetEventRow>, CallError> {
    let run = attempt.id().instance.dag_run;
    let events = shared.store.asset_event_list_of_run(run, MAX_TRIGGERING + 1).await;
    let events = events.map_err(|error| storage_failed(&error))?;
    if events.len() > MAX_TRIGGERING as usize {
        return Err(CallError::TooLarge(format!("the run was made for more than {MAX_TRIGGERING} events")));
    }
    Ok(events)
}

/// Whether the attempt may look at the events of an asset.
pub(in crate::executor) fn check(attempt: &Attempt, name: &AssetName) -> Result<(), CallError> {
    let node = attempt.node();
    if node.inlets.contains(name) || node.outlets.contains(name) {
        return Ok(());
    }
    Err(CallError::Denied(format!("asset `{name}` is no inlet of task `{}`", node.task_id)))
}

/// The newest events of an inlet.
pub(super) async fn events(
    shared: &Shared,
    attempt: &Attempt,
    name: &AssetName,
    limit: u32,
) -> Result<Reply, CallError> {
    check(attempt, name)?;
    let found = shared.store.asset_get_by_name(name).await.map_err(|error| storage_failed(&error))?;
    let Some(found) = found else { return Err(CallError::NotFound(format!("there is no asset `{name}`"))) };
    let filter = AssetEventFilter { asset: Some(found.id), order: Order::Descending, ..AssetEventFilter::default() };
    let listed = shared.store.asset_event_list(&filter, Page::first(limit.min(MAX_EVENTS))).await;
    answer(listed.map_err(|error| storage_failed(&error))?.items)
}

fn bounded(events: Vec<AssetEventRow>) -> Result<Vec<AssetEventRow>, CallError> {
    let size: usize = events.iter().map(|event| event.extra.len() + event.uri.len()).sum();
    if size > MAX_EXTRA_BYTES {
        return Err(CallError::TooLarge(format!("the events carry {size} bytes; the limit is {MAX_EXTRA_BYTES}")));
    }
    Ok(events)
}

fn answer(events: Vec<AssetEventRow>) -> Result<Reply, CallError> {
    let events = bounded(events)?;
    let event = |row: AssetEventRow| AssetEvent {
        asset: row.name,
        uri: row.uri,
        timestamp: row.timestamp,
        extra: row.extra,
        source: match (row.source_dag_id, row.source_run_id, row.source_task_id) {
            (Some(dag_id), Some(run_id), Some(task_id)) => Some((dag_id, run_id, task_id, row.source_map_index)),
            _ => None,
        },
    };
    Ok(Reply::AssetEvents(events.into_iter().map(event).collect()))
}
