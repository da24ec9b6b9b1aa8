//! Runs in all states, with what they left.

use std::time::Duration;

use serde_json::json;

use super::world::{EVIL, NOW, at};
use crate::{
    blobs::Blobs,
    model::{
        ids::{DagId, Digest, EntryName, RunId, TaskId, XComKey},
        spec::NodeSpec,
        state::{RunState, RunType, TaskState},
        time::{DataInterval, Timestamp},
    },
    store::{
        ArtifactRow, Commit, DagRunKey, DagRunNew, DagRunUpdate, DagVersionKey, InstanceKey, InstanceNew,
        InstanceUpdate, Placement, Store, XComBody, XComNew,
    },
};

/// The states of a run's tasks, in the order of its spec.
fn states(run: usize, tasks: usize) -> Vec<TaskState> {
    use TaskState::{Failed, None, Queued, Running, Scheduled, Skipped, Success, UpForRetry, UpstreamFailed};
    let cycle = [Success, Success, Success, Success, Success, Success, Skipped, Failed, UpForRetry, Running, Queued];
    (0..tasks)
        .map(|task| match run {
            0 => [Success, Success, Running, Skipped, None, None].get(task).copied().unwrap_or(cycle[task % 11]),
            1 => [Success, Success, Failed, Skipped, UpstreamFailed, UpstreamFailed]
                .get(task)
                .copied()
                .unwrap_or(if task % 50 == 0 { Failed } else { Success }),
            2 if task == 4 => UpForRetry,
            2 if task == 5 => Scheduled,
            _ if task == 3 => Skipped,
            _ => Success,
        })
        .collect()
}

/// Writes runs of a dag, newest last.
pub async fn seed(store: &Store, blobs: &Blobs, dag_id: &DagId, version: DagVersionKey) {
    let spec = store.dag_version_get(version).await.unwrap().unwrap().spec.clone();
    let runs: usize = if spec.nodes.len() > 1_000 {
        2
    } else if dag_id.as_str() == "weather" {
        25
    } else {
        6
    };
    for nth in (0..runs).rev() {
        // Far above the keys that the scheduler, which does not know of these runs, gives out.
        let key = DagRunKey(store.dag_run_next_key().await.unwrap().max(1_000_000));
        let start = at(NOW).before(Duration::from_hours(24 * 30 * u64::try_from(nth + 1).unwrap()));
        let took = Duration::from_millis(u64::try_from(1_500 + nth * 7_919 % 90_000).unwrap());
        let state = match nth {
            0 => RunState::Running,
            1 => RunState::Failed,
            2 if dag_id.as_str() == "weather" => RunState::Running,
            _ => RunState::Success,
        };
        let manual = nth % 5 == 1;
        let new = DagRunNew {
            key,
            dag_id: dag_id.clone(),
            run_id: RunId::new(&format!("{}__{start}", if manual { "manual" } else { "scheduled" })).unwrap(),
            version,
            run_type: if manual { RunType::Manual } else { RunType::Scheduled },
            state,
            logical_date: Some(start),
            data_interval: Some(DataInterval { start, end: start.after(Duration::from_hours(720)) }),
            // Those of one dag came about for the same instant.
            run_after: if dag_id.as_str() == "mapped" { at(NOW) } else { start },
            queued_at: start,
            start_date: Some(start),
            conf: json!({"station": EVIL, "days": 30}).to_string().into(),
            triggered_by: if manual { "ui" } else { "timetable" }.into(),
            triggering_user: manual.then(|| EVIL.into()),
            note: (nth == 1).then(|| format!("Looked at it {EVIL}")),
        };
        let update = DagRunUpdate {
            start_date: Some(start),
            end_date: state.is_finished().then(|| start.after(took)),
            // That of fan_300 failed by its tasks alone.
            message: (nth == 1 && dag_id.as_str() != "fan_300")
                .then(|| format!("task `monthly_figures` failed {EVIL}")),
            ..DagRunUpdate::of_test(key, state)
        };
        let mut commit = Commit { dag_runs_new: vec![new], dag_runs: vec![update], now: start, ..Commit::default() };
        let all = states(nth, spec.nodes.len());
        for (task, (node, state)) in spec.nodes.iter().zip(all).enumerate() {
            let indexes = if node.expand.is_some() { 0..7 } else { -1..0 };
            for map_index in indexes {
                add_instance(
                    &mut commit,
                    key,
                    node,
                    map_index,
                    state,
                    start.after(took / 8 * u32::try_from(task % 8).unwrap()),
                );
            }
        }
        if dag_id.as_str() == "weather" {
            outputs(&mut commit, blobs, key, start).await;
        }
        store.commit(&commit).await.unwrap();
    }
}

pub fn add_instance(
    commit: &mut Commit,
    run: DagRunKey,
    node: &NodeSpec,
    map_index: i32,
    state: TaskState,
    start: Timestamp,
) {
    let key = InstanceKey { dag_run: run, task_id: TaskId::new(&node.task_id).unwrap(), map_index };
    commit.instances_new.push(InstanceNew {
        key: key.clone(),
        state,
        max_tries: node.retries + 1,
        placement: Placement::usual(EntryName::new(&node.entry).unwrap()),
    });
    let ran = matches!(state, TaskState::Success | TaskState::Failed | TaskState::Running | TaskState::UpForRetry);
    let ended = state.is_finished() || state == TaskState::UpForRetry;
    let message = match state {
        TaskState::Failed => Some(format!(
            "trap: wasm `unreachable` instruction executed {EVIL}\n  0: weather::figures::mean\n  1: weather::monthly_figures\n  2: <airlock_sdk::Task>::run"
        )),
        TaskState::UpForRetry => Some("the station did not answer: HTTP 503".into()),
        TaskState::Skipped => Some("the branch `check_quality` went to `monthly_figures`".into()),
        _ => None,
    };
    let try_number = u32::from(ran) + u32::from(state == TaskState::Failed) * 2;
    commit.instances.push(InstanceUpdate {
        max_tries: node.retries + 1,
        scheduled_at: Some(start),
        queued_at: Some(start),
        start_date: ran.then_some(start),
        end_date: ended.then(|| start.after(Duration::from_millis(437))),
        wake_at: (state == TaskState::UpForRetry).then(|| start.after(Duration::from_secs(30))),
        message,
        ..InstanceUpdate::of_test(key, state, try_number)
    });
}

async fn outputs(commit: &mut Commit, blobs: &Blobs, run: DagRunKey, now: Timestamp) {
    let key = |task: &str| InstanceKey { dag_run: run, task_id: TaskId::new(task).unwrap(), map_index: -1 };
    let body = json!({"rows": 31, "station": EVIL, "wettest": {"day": "2012-01-18", "mm": 20.3}}).to_string();
    commit.xcoms.push(XComNew {
        instance: key("extract"),
        key: XComKey::return_value(),
        media_type: "application/json".into(),
        size_bytes: i64::try_from(body.len()).unwrap(),
        body: XComBody::Inline(body.into_bytes()),
    });
    let chart = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 90 40\"><title>{}</title>\
         <path d=\"M0 40V20h8v20m2 0V9h8v31m2 0V30h8v10m2 0V14h8v26\" fill=\"#2f79dd\"/></svg>",
        crate::ui::show::escape(EVIL)
    );
    let blob = format!("artifacts/{}", run.0);
    blobs.put(&blob, chart.clone().into()).await.unwrap();
    for (name, media_type) in [("report/chart.svg", "image/svg+xml"), ("page.html", "text/html")] {
        commit.artifacts.push(ArtifactRow {
            instance: key("extract"),
            try_number: 1,
            name: name.into(),
            media_type: media_type.into(),
            size_bytes: i64::try_from(chart.len()).unwrap(),
            sha256: Digest([9; 32]),
            blob: blob.clone(),
            created_at: now,
        });
    }
}
