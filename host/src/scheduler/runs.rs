//! What a new run is called and which data interval it is about.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use sha2::Digest as _;

use super::{RequestError, RunRequest};
use crate::{
    engine::InstanceSnapshot,
    model::{
        dag::Dag,
        ids::{DagId, Digest, RunId, TaskId},
        state::RunType,
        time::Timestamp,
        timetable::{Bounds, NextRun, Timetable},
    },
    store::{BackfillRow, CallbackNew, DagRunKey, DagRunNew, DagRunRow, DagVersionKey, InstanceKey, TaskInstanceRow},
};

/// The row of a run that its dag's timetable makes. Airflow names it `scheduled__<run_after>`.
pub fn scheduled(key: DagRunKey, dag_id: &DagId, version: DagVersionKey, next: &NextRun, now: Timestamp) -> DagRunNew {
    let run_id = generated_id(RunType::Scheduled, next.run_after, None);
    DagRunNew {
        run_type: RunType::Scheduled,
        logical_date: Some(next.logical_date),
        data_interval: Some(next.data_interval),
        run_after: next.run_after,
        triggered_by: "timetable".to_owned(),
        ..DagRunNew::queued(key, dag_id.clone(), run_id, version, now)
    }
}

/// The row of a run that a backfill makes. Airflow names it `backfill__<run_after>`.
pub fn backfill(
    key: DagRunKey,
    version: DagVersionKey,
    backfill: &BackfillRow,
    next: &NextRun,
    now: Timestamp,
) -> DagRunNew {
    DagRunNew {
        run_id: generated_id(RunType::Backfill, next.run_after, None),
        run_type: RunType::Backfill,
        conf: backfill.new.dag_run_conf.as_str().into(),
        triggered_by: "backfill".to_owned(),
        triggering_user: backfill.new.triggering_user.clone(),
        ..scheduled(key, &backfill.new.dag_id, version, next, now)
    }
}

/// When the run that the timetable makes after `run` is due; none if somebody made `run` by hand, or it is about no date.
pub fn next_run_after(run: &DagRunRow, dag: &Dag) -> Option<Timestamp> {
    let interval = run.data_interval.filter(|_| run.run_type != RunType::Manual)?;
    let bounds = Bounds { start: dag.start, end: dag.end, catchup: true, since: run.run_after };
    dag.timetable.next_run(Some(interval), bounds, run.run_after).map(|next| next.run_after)
}

/// The row of a run that is made for assets. It is about no date.
pub fn asset_triggered(key: DagRunKey, dag_id: &DagId, version: DagVersionKey, now: Timestamp) -> DagRunNew {
    let run_id = generated_id(RunType::AssetTriggered, now, Some(key));
    DagRunNew {
        run_type: RunType::AssetTriggered,
        triggered_by: "asset".to_owned(),
        ..DagRunNew::queued(key, dag_id.clone(), run_id, version, now)
    }
}

/// The row of a run that somebody asked for.
///
/// Without a data interval of its own it is about the one that the timetable gives a manual run at its
/// logical_date. Without a logical_date it is about none. Airflow: `TriggerDAGRunPostBody.validate_context`.
pub fn manual(
    key: DagRunKey,
    dag_id: &DagId,
    version: DagVersionKey,
    timetable: &Timetable,
    request: RunRequest,
    conf: Arc<str>,
    now: Timestamp,
) -> DagRunNew {
    let run_after = request.run_after.unwrap_or(now);
    let data_interval = match (request.data_interval, request.logical_date) {
        (Some(given), _) => Some(given),
        (None, Some(date)) => Some(timetable.manual_interval(date)),
        (None, None) => None,
    };
    let run_id = request.run_id.unwrap_or_else(|| generated_id(RunType::Manual, run_after, Some(key)));
    DagRunNew {
        run_type: if request.origin.is_some() { RunType::OperatorTriggered } else { RunType::Manual },
        logical_date: request.logical_date,
        data_interval,
        run_after,
        conf,
        triggered_by: request.triggered_by.to_owned(),
        triggering_user: request.user,
        note: request.note,
        ..DagRunNew::queued(key, dag_id.clone(), run_id, version, now)
    }
}

/// Refuses an id that somebody chose and that a run of a timetable, of a backfill or of assets is to have. With such a run
/// the interval would be skipped whose own run has this id.
pub fn check_id(run_id: &RunId) -> Result<(), RequestError> {
    match RunType::reserving(run_id.as_str()) {
        None => Ok(()),
        Some(kind) => Err(RequestError::Invalid(format!(
            "a run that is asked for can't have the run_id `{run_id}`: ids that begin with `{kind}__` are reserved for {kind} \
             runs; choose another, or leave it out",
            kind = kind.as_str()
        ))),
    }
}

/// `<type>__<run_after>`; a manual run ends in its number, so that two of one instant differ.
fn generated_id(run_type: RunType, run_after: Timestamp, key: Option<DagRunKey>) -> RunId {
    let instant = run_after.to_utc().to_rfc3339_opts(chrono::SecondsFormat::AutoSi, false);
    let text = match key {
        Some(key) => format!("{}__{instant}_{}", run_type.as_str(), key.0),
        None => format!("{}__{instant}", run_type.as_str()),
    };
    RunId::new(&text).expect("an instant holds only characters that a run id may hold")
}

/// The id of a run that a task asks for without one: the same whenever the instance asks for its n-th run of the dag.
///
/// As in `operator_triggered__152_start`: the number of the task's own run, the task, its map_index if it is mapped, and
/// from the second run on which one it is.
pub fn operator_id(parent: &InstanceKey, ordinal: u32) -> RunId {
    let map_index = if parent.map_index < 0 { String::new() } else { format!("_{}", parent.map_index) };
    let ordinal = if ordinal == 0 { String::new() } else { format!("_run{ordinal}") };
    let id = |task: &str| {
        format!("{}__{}_{task}{map_index}{ordinal}", RunType::OperatorTriggered.as_str(), parent.dag_run.0)
    };
    let task = parent.task_id.as_str();
    RunId::new(&id(task)).unwrap_or_else(|_| {
        // A task id may be as long as a run id.
        let digest = Digest(sha2::Sha256::digest(task.as_bytes()).into()).to_string();
        RunId::new(&id(&digest)).expect("a digest and numbers are short and plain")
    })
}

/// The id of the run that a callback starts, as in `callback__152_load_2_failure`: the number of the run that it is about,
/// the task if it is about one (and its map_index if it is mapped), the try, the event (and which question of the try).
pub fn callback_id(callback: &CallbackNew) -> RunId {
    let map_index = if callback.map_index < 0 { String::new() } else { format!("_{}", callback.map_index) };
    let about = |task: &str| {
        RunId::new(&format!(
            "callback__{}_{task}{map_index}_{}_{}",
            callback.dag_run.0,
            callback.number,
            callback.told()
        ))
    };
    let task = callback.task_id.as_ref().map_or("", TaskId::as_str);
    about(task).unwrap_or_else(|_| {
        // A task id may be as long as a run id.
        let digest = Digest(sha2::Sha256::digest(task.as_bytes()).into()).to_string();
        about(&digest).expect("a digest and numbers are short and plain")
    })
}

/// A new run as it will be in the store.
pub fn row_of(new: &DagRunNew, version_number: i64) -> DagRunRow {
    DagRunRow {
        key: new.key,
        dag_id: new.dag_id.clone(),
        run_id: new.run_id.clone(),
        version: new.version,
        version_number,
        run_type: new.run_type,
        state: new.state,
        logical_date: new.logical_date,
        data_interval: new.data_interval,
        run_after: new.run_after,
        queued_at: new.queued_at,
        start_date: new.start_date,
        end_date: None,
        conf: Some(Arc::clone(&new.conf)),
        triggered_by: new.triggered_by.clone(),
        triggering_user: new.triggering_user.clone(),
        note: new.note.clone(),
        clear_number: 0,
        message: None,
    }
}

/// A stored instance as the engine takes it.
pub fn snapshot_of(row: TaskInstanceRow) -> (TaskId, i32, InstanceSnapshot) {
    let followed = row.followed.map(|ids| ids.iter().filter_map(|id| TaskId::new(id).ok()).collect());
    let snapshot = InstanceSnapshot {
        state: row.state,
        try_number: row.try_number,
        max_tries: row.max_tries,
        restarts: row.restarts,
        scheduled_at: row.scheduled_at,
        queued_at: row.queued_at,
        start_date: row.start_date,
        end_date: row.end_date,
        wake_at: row.wake_at,
        followed,
        list_length: row.list_length,
    };
    (row.task_id, row.map_index, snapshot)
}

/// The refusal of a second run with the same id or logical_date.
pub fn duplicate(dag_id: &DagId, run_id: Option<&RunId>, logical_date: Option<Timestamp>) -> RequestError {
    let id = run_id.map(|run_id| format!("with run_id `{run_id}`"));
    let date = logical_date.map(|date| format!("with logical_date {date}"));
    let which: Vec<_> = id.into_iter().chain(date).collect();
    RequestError::Conflict(format!(
        "dag `{dag_id}` already has a run {}; clear that run to run it again, or choose another",
        which.join(" or ")
    ))
}

/// How long the identity of a new run is remembered: longer than a request takes from its look into the store to the loop.
const IDENTITY_KEPT: Duration = Duration::from_mins(1);

/// The ids and logical dates of runs that were made lately, so that of two requests that both saw the
/// store without such a run only the first makes it.
#[derive(Debug)]
pub struct Recent {
    /// Nothing is known of runs that were made before.
    since: Timestamp,
    known: BTreeMap<(DagId, Identity), Timestamp>,
    by_age: VecDeque<(Timestamp, DagId, Identity)>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Identity {
    RunId(RunId),
    LogicalDate(Timestamp),
}

impl Recent {
    pub fn new(now: Timestamp) -> Self {
        Self { since: now, known: BTreeMap::new(), by_age: VecDeque::new() }
    }

    /// Whether a run of this identity was made lately.
    pub fn has(&self, dag_id: &DagId, run_id: Option<&RunId>, logical_date: Option<Timestamp>) -> bool {
        let knows = |identity| self.known.contains_key(&(dag_id.clone(), identity));
        run_id.is_some_and(|run_id| knows(Identity::RunId(run_id.clone())))
            || logical_date.is_some_and(|date| knows(Identity::LogicalDate(date)))
    }

    /// Whether what a look into the store at `checked_at` missed would still be remembered.
    pub fn covers(&self, checked_at: Timestamp, now: Timestamp) -> bool {
        checked_at >= self.since && now.since(checked_at) < IDENTITY_KEPT / 2
    }

    /// Forgets the runs of a dag that was deleted: they can be made again.
    pub fn forget_dag(&mut self, dag_id: &DagId) {
        self.known.retain(|(of, _), _| of != dag_id);
    }

    /// Forgets a run that was deleted: it can be made again.
    pub fn forget(&mut self, dag_id: &DagId, run_id: &RunId, logical_date: Option<Timestamp>) {
        self.known.remove(&(dag_id.clone(), Identity::RunId(run_id.clone())));
        if let Some(date) = logical_date {
            self.known.remove(&(dag_id.clone(), Identity::LogicalDate(date)));
        }
    }

    /// Remembers a new run, and forgets old ones.
    pub fn add(&mut self, run: &DagRunNew, now: Timestamp) {
        while let Some((at, ..)) = self.by_age.front()
            && now.since(*at) > IDENTITY_KEPT
            && let Some((at, dag_id, identity)) = self.by_age.pop_front()
        {
            let known = (dag_id, identity);
            // Of one that was forgotten, and made again since, the later counts.
            if self.known.get(&known) == Some(&at) {
                self.known.remove(&known);
            }
        }
        let date = run.logical_date.map(Identity::LogicalDate);
        for identity in [Identity::RunId(run.run_id.clone())].into_iter().chain(date) {
            self.known.insert((run.dag_id.clone(), identity.clone()), now);
            self.by_age.push_back((now, run.dag_id.clone(), identity));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_say_when_and_differ() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(generated_id(RunType::Scheduled, at, None).as_str(), "scheduled__2026-01-01T00:00:00+00:00");
        let one = generated_id(RunType::Manual, at, Some(DagRunKey(1)));
        assert_ne!(one, generated_id(RunType::Manual, at, Some(DagRunKey(2))));
    }

    #[test]
    fn a_task_that_asks_again_asks_for_the_same_run() {
        let parent = |task: &str, map_index| InstanceKey {
            dag_run: DagRunKey(152),
            task_id: TaskId::new(task).unwrap(),
            map_index,
        };
        assert_eq!(operator_id(&parent("start", -1), 0).as_str(), "operator_triggered__152_start");
        assert_eq!(operator_id(&parent("start", 3), 2).as_str(), "operator_triggered__152_start_3_run2");
        let long = "x".repeat(250);
        assert_eq!(operator_id(&parent(&long, -1), 0), operator_id(&parent(&long, -1), 0));
        assert_ne!(operator_id(&parent(&long, -1), 0), operator_id(&parent(&"y".repeat(250), -1), 0));
    }
}
