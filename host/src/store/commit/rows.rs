//! What the rows of each part of a commit hold: the columns in the order in which its statement reads them.

use serde::Serialize;

use super::{
    AnswerNew, Commit, Placement, Through,
    call::{Part, Sender},
    key, micros,
};
use crate::{
    model::{approval::Answer, ids::TaskId, wait::Wait},
    store::StoreError,
};

/// An answer, and the delivery that it came by: what reads answers passes over the latter.
#[derive(Serialize)]
struct Stored<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a str>,
}

impl<'a> From<&'a AnswerNew> for Stored<'a> {
    fn from(new: &'a AnswerNew) -> Self {
        Self { answer: &new.answer, delivery: new.delivery.as_deref() }
    }
}

/// What stands in a column as JSON text.
struct JsonText<T>(T);

impl<T: Serialize> Serialize for JsonText<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(&self.0).map_err(serde::ser::Error::custom)?)
    }
}

/// Sends all of `batch` in one transaction.
pub(super) async fn send(mut sender: Sender<'_>, batch: &Commit) -> Result<(), StoreError> {
    sender
        .add(Part::DagRunsNew, &batch.dag_runs_new, |run| {
            (
                run.key,
                &run.dag_id,
                &run.run_id,
                run.version,
                run.run_type,
                run.state,
                micros(run.logical_date),
                micros(run.data_interval.map(|interval| interval.start)),
                micros(run.data_interval.map(|interval| interval.end)),
                run.run_after.as_micros(),
                run.queued_at.as_micros(),
                micros(run.start_date),
                &run.triggered_by,
                &run.triggering_user,
                &run.note,
                &*run.conf,
            )
        })
        .await?;
    sender
        .add(Part::Origins, batch.origins.values(), |origin| {
            let (task_id, map_index) =
                origin.parent.task.as_ref().map_or(("", -1), |(task_id, map_index)| (task_id.as_str(), *map_index));
            (origin.dag_run, origin.parent.dag_run, task_id, map_index, origin.parent_number, origin.depth)
        })
        .await?;
    sender
        .add(Part::DagRuns, &batch.dag_runs, |run| {
            let (start_date, end_date) = (micros(run.start_date), micros(run.end_date));
            (
                run.key,
                run.state,
                micros(run.queued_at),
                start_date,
                end_date,
                run.clear_number,
                &run.message,
                run.verdict,
            )
        })
        .await?;
    sender
        .add(Part::LastScheduled, &batch.last_scheduled, |(dag_id, interval)| {
            (dag_id, interval.start.as_micros(), interval.end.as_micros())
        })
        .await?;
    sender.add(Part::DagsPaused, &batch.dags_paused, |(dag_id, reason)| (dag_id, reason)).await?;
    sender
        .add(Part::Backfills, &batch.backfills, |row| {
            let (last_date, completed_at) = (micros(row.last_date), micros(row.completed_at));
            (row.id, row.dealt_with, row.skipped, last_date, i32::from(row.is_paused), completed_at)
        })
        .await?;
    sender.add(Part::BackfillRuns, &batch.backfill_runs, |(run, backfill)| (*run, *backfill)).await?;
    sender
        .add(Part::Renewals, &batch.renewals, |renewal| {
            let instances = renewal.instances.iter().map(|(id, placement)| {
                let Placement { entry, pool, pool_slots, priority_weight } = placement;
                (&id.task_id, id.map_index, pool_slots, priority_weight, pool, entry)
            });
            (renewal.dag_run, renewal.version, instances.collect::<Vec<_>>())
        })
        .await?;
    sender.add(Part::InstancesGone, &batch.instances_gone, key).await?;
    sender
        .add(Part::InstancesNew, &batch.instances_new, |new| {
            let (dag_run, task_id, map_index) = key(&new.key);
            (
                dag_run,
                task_id,
                map_index,
                new.state,
                new.max_tries,
                new.placement.pool_slots,
                new.placement.priority_weight,
                &new.placement.pool,
                &new.placement.entry,
            )
        })
        .await?;
    sender
        .add(Part::Histories, &batch.histories, |history| {
            let (dag_run, task_id, map_index) = key(&history.key);
            let ended = history.ended.as_deref();
            (
                dag_run,
                task_id,
                map_index,
                ended.map(|ended| ended.state),
                ended.and_then(|ended| micros(ended.end_date)),
                ended.and_then(|ended| micros(ended.wake_at)),
                ended.and_then(|ended| ended.list_length),
                ended.and_then(|ended| ended.followed.as_ref()).map(JsonText),
                ended.and_then(|ended| ended.message.as_ref()),
                ended.and_then(|ended| ended.hostname.as_deref()),
            )
        })
        .await?;
    sender
        .add(Part::Instances, &batch.instances, |instance| {
            let (dag_run, task_id, map_index) = key(&instance.key);
            (
                dag_run,
                task_id,
                map_index,
                instance.state,
                instance.try_number,
                instance.max_tries,
                instance.restarts,
                micros(instance.scheduled_at),
                micros(instance.queued_at),
                micros(instance.start_date),
                micros(instance.end_date),
                micros(instance.wake_at),
                instance.list_length,
                instance.followed.as_ref().map(JsonText),
                &instance.message,
                instance.hostname.as_deref(),
            )
        })
        .await?;
    sender.add(Part::XComsCleared, &batch.xcoms_cleared, key).await?;
    sender.add_xcoms(&batch.xcoms).await?;
    sender
        .add(Part::Artifacts, &batch.artifacts, |artifact| {
            let (dag_run, task_id, map_index) = key(&artifact.instance);
            (
                dag_run,
                task_id,
                map_index,
                &artifact.name,
                artifact.try_number,
                &artifact.media_type,
                artifact.size_bytes,
                artifact.sha256,
                artifact.created_at.as_micros(),
                &artifact.blob,
            )
        })
        .await?;
    sender
        .add(Part::Recordings, &batch.recordings, |row| {
            let (dag_run, task_id, map_index) = key(&row.instance);
            (dag_run, task_id, map_index, row.try_number, row.size_bytes, row.created_at.as_micros(), &row.blob)
        })
        .await?;
    sender
        .add(Part::CachedResults, &batch.cached_results, |row| {
            let (dag_run, task_id, map_index) = key(&row.instance);
            (
                row.key,
                dag_run,
                task_id,
                map_index,
                row.try_number,
                &row.dag_id,
                &row.run_id,
                row.made_at.as_micros(),
                row.expires_at.as_micros(),
                (!row.asset_extras.is_empty()).then_some(JsonText(&row.asset_extras)),
            )
        })
        .await?;
    sender.add(Part::WaitsGone, &batch.waits_gone, key).await?;
    sender
        .add(Part::WaitsNew, &batch.waits_new, |row| {
            let (dag_run, task_id, map_index) = key(&row.instance);
            (dag_run, task_id, map_index, JsonText(&row.wait))
        })
        .await?;
    let mut approvals = Vec::new();
    for row in &batch.waits_new {
        if let Wait::Approval(question) = &row.wait {
            approvals.push((key(&row.instance), question));
        }
    }
    sender
        .add(Part::Approvals, &approvals, |((dag_run, task_id, map_index), question)| {
            (dag_run, task_id, map_index, &question.subject, JsonText(question))
        })
        .await?;
    sender
        .add(Part::Answers, &batch.answers, |new| {
            let (dag_run, task_id, map_index) = key(&new.instance);
            (dag_run, task_id, map_index, new.try_number, &new.subject, JsonText(Stored::from(new)))
        })
        .await?;
    sender
        .add(Part::AssetEvents, &batch.asset_events, |event| {
            let source = event.source.as_ref();
            (
                event.key,
                &event.asset,
                event.timestamp.as_micros(),
                &event.extra,
                source.map(|(dag_id, ..)| dag_id),
                source.map(|(_, run_id, _)| run_id),
                source.map(|(.., instance)| &instance.task_id),
                source.map_or(-1, |(.., instance)| instance.map_index),
                &event.created_by,
                event.through.as_ref().map(|through| &through.uri),
                event.through.as_ref().map(|through| &through.group),
                event.through.as_ref().map(|through| &through.alias),
            )
        })
        .await?;
    let mut queue = Vec::new();
    for event in &batch.asset_events {
        queue.extend(event.consumers.iter().map(|dag_id| (dag_id, event.key, None)));
        if let Some(Through { alias, consumers, .. }) = &event.through {
            queue.extend(consumers.iter().map(|dag_id| (dag_id, event.key, Some(alias))));
        }
    }
    sender.add(Part::AssetQueue, &queue, |row| row).await?;
    sender.add(Part::AssetRuns, &batch.asset_runs, |row| row).await?;
    sender
        .add(Part::RenderedFields, &batch.rendered_fields, |((instance, try_number), fields)| {
            let (dag_run, task_id, map_index) = key(instance);
            (dag_run, task_id, map_index, try_number, fields)
        })
        .await?;
    sender
        .add(Part::Labels, &batch.labels, |(instance, label)| {
            let (dag_run, task_id, map_index) = key(instance);
            (dag_run, task_id, map_index, label)
        })
        .await?;
    sender
        .add(Part::Callbacks, &batch.callbacks, |callback| {
            let task_id = callback.task_id.as_ref().map_or("", TaskId::as_str);
            (
                callback.dag_run,
                task_id,
                callback.map_index,
                callback.number,
                callback.event,
                callback.subject.as_deref().unwrap_or_default(),
                callback.target.to_string(),
                &callback.message,
            )
        })
        .await?;
    sender
        .add(Part::Events, &batch.events, |event| {
            (
                event.at.as_micros(),
                &event.event,
                i32::from(event.is_denied),
                &event.username,
                &event.token,
                &event.peer,
                &event.route,
                &event.dag_id,
                &event.run_id,
                &event.task_id,
                event.map_index,
                &event.object,
                &event.before,
                &event.after,
            )
        })
        .await?;
    sender.end().await
}
