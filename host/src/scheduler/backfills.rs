//! What is asked of the scheduler about backfills, checked before the loop hears of it.

use std::collections::BTreeMap;

use super::{BackfillRequest, Request, RequestError, Scheduler, no_dag, params};
use crate::{
    model::{
        backfill::{Intervals, MAX_INTERVALS, Plan, ReprocessBehavior, plan},
        dag::Past,
        spec::{DagSpec, NodeSpec},
        state::{RunState, RunType},
        time::Timestamp,
        timetable::{NextRun, Timetable},
    },
    store::{
        Audit, BackfillId, BackfillNew, BackfillRow, DagRunFilter, DagRunOrder, MAX_PAGE, Page, Range, Spans, Walk,
    },
};

/// What the runs of a backfill are given, each of up to [`MAX_INTERVALS`].
const MAX_CONF_BYTES: usize = 64 << 10;

/// An interval of a backfill that is not made yet, and what would become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRun {
    pub run: NextRun,
    pub plan: Plan,
}

impl Scheduler {
    /// Begins a backfill. It is durable when this returns.
    ///
    /// # Errors
    /// If the dag does not exist, has no schedule, or has a backfill that is not over; if no interval lies in the range,
    /// or too many; if the params don't fit, or the order does not go with `depends_on_past`.
    pub async fn backfill_create(&self, request: BackfillRequest) -> Result<BackfillRow, RequestError> {
        let (intervals, runs) = self.backfill_intervals(&request).await?;
        Audit::about_dag(request.dag_id.as_str());
        let new = BackfillNew {
            dag_id: request.dag_id,
            intervals,
            max_active_runs: request.max_active_runs,
            reprocess_behavior: request.reprocess_behavior,
            dag_run_conf: serde_json::to_string(&request.conf).unwrap_or_else(|_| "{}".to_owned()),
            total: u32::try_from(runs.len()).unwrap_or(MAX_INTERVALS),
            triggering_user: request.user,
        };
        self.ask(|reply| Request::CreateBackfill { new: Box::new(new), reply }).await
    }

    /// What a backfill would do, in its order. Airflow: `backfills/dry_run`.
    ///
    /// # Errors
    /// As [`Scheduler::backfill_create`].
    pub async fn backfill_dry_run(&self, request: &BackfillRequest) -> Result<Vec<PlannedRun>, RequestError> {
        let (_, runs) = self.backfill_intervals(request).await?;
        let mut states: BTreeMap<Timestamp, RunState> = BTreeMap::new();
        let range = Range { gte: Some(request.from_date), lte: Some(request.to_date) };
        let mut filter = DagRunFilter {
            spans: Spans { logical_date: range, ..Spans::default() },
            order_by: DagRunOrder::LogicalDate,
            ..DagRunFilter::of_dag(request.dag_id.clone())
        };
        // A person may have made more runs than intervals; those beyond do not matter for what is shown.
        for _ in 0..=MAX_INTERVALS.div_ceil(MAX_PAGE) {
            let page = self.store.dag_run_list(&filter, Page::first(MAX_PAGE)).await?.items;
            states.extend(page.iter().filter_map(|run| Some((run.logical_date?, run.state))));
            filter.after = page.last().map(|run| filter.place(run));
            if page.len() < MAX_PAGE as usize {
                break;
            }
        }
        let planned = |run: NextRun| PlannedRun {
            run,
            plan: plan(states.get(&run.logical_date).copied(), request.reprocess_behavior),
        };
        Ok(runs.into_iter().map(planned).collect())
    }

    /// Pauses a backfill or lets it go on.
    ///
    /// # Errors
    /// If it is over, or there is none.
    pub async fn backfill_set_paused(&self, id: BackfillId, is_paused: bool) -> Result<BackfillRow, RequestError> {
        self.ask(|reply| Request::PauseBackfill { id, is_paused, reply }).await
    }

    /// Ends a backfill: its queued runs fail, those that run go on.
    ///
    /// # Errors
    /// If it is over, or there is none.
    pub async fn backfill_cancel(&self, id: BackfillId) -> Result<BackfillRow, RequestError> {
        self.ask(|reply| Request::CancelBackfill { id, reply }).await
    }

    async fn backfill_intervals(&self, request: &BackfillRequest) -> Result<(Intervals, Vec<NextRun>), RequestError> {
        let dag = self.store.dag_get(&request.dag_id).await?.ok_or_else(|| no_dag(&request.dag_id))?;
        params::check(&dag.spec.params, &request.conf).map_err(RequestError::Invalid)?;
        check(&dag.spec, request).map_err(RequestError::Invalid)?;
        let timetable = Timetable::of(&dag.spec).map_err(|error| RequestError::Invalid(error.to_string()))?;
        let intervals = Intervals {
            from: request.from_date,
            to: request.to_date,
            until: self.clock.now(),
            run_backwards: request.run_backwards,
        };
        // Counting takes a while where there are many.
        let counted = tokio::task::spawn_blocking(move || {
            let runs = intervals.all(&timetable).take(MAX_INTERVALS as usize + 1).collect::<Vec<_>>();
            (timetable.is_backfillable(), runs)
        });
        let (is_backfillable, runs) = counted.await.map_err(|_| RequestError::Stopped)?;
        let why = match runs.len() {
            _ if !is_backfillable => {
                format!("dag `{}` has no schedule with intervals; trigger its runs one by one", request.dag_id)
            }
            0 => format!(
                "no interval of dag `{}` lies between {} and {} and is over",
                request.dag_id, request.from_date, request.to_date
            ),
            many if many > MAX_INTERVALS as usize => format!(
                "more than {MAX_INTERVALS} intervals of dag `{}` lie between {} and {}; narrow the dates",
                request.dag_id, request.from_date, request.to_date
            ),
            _ => return Ok((intervals, runs)),
        };
        Err(RequestError::Invalid(why))
    }
}

/// What can be said without looking at the schedule. Airflow: `InvalidBackfillDirection`, `InvalidReprocessBehavior`.
fn check(dag: &DagSpec, request: &BackfillRequest) -> Result<(), String> {
    dag.check_run_type(RunType::Backfill)?;
    if request.to_date < request.from_date {
        return Err(format!("`to_date` {} is before `from_date` {}", request.to_date, request.from_date));
    }
    if request.max_active_runs == 0 {
        return Err("`max_active_runs` must be at least 1".to_owned());
    }
    let conf_bytes = serde_json::to_vec(&request.conf).map_or(0, |conf| conf.len());
    if conf_bytes > MAX_CONF_BYTES {
        return Err(format!(
            "`dag_run_conf` has {conf_bytes} bytes, and each run gets a copy: {MAX_CONF_BYTES} are the most; put what is long into a \
             variable or an object"
        ));
    }
    let looks_back = |node: &&NodeSpec| Past::from_spec(node) != Past::Nothing;
    if let Some(node) = dag.nodes.iter().find(looks_back) {
        if request.run_backwards {
            return Err(format!("task `{}` depends on the past, so that a backfill can't run backwards", node.task_id));
        }
        if request.reprocess_behavior == ReprocessBehavior::None {
            return Err(format!(
                "task `{}` depends on the past, so that runs that failed must run again: `reprocess_behavior` must be \
                 `failed` or `completed`",
                node.task_id
            ));
        }
    }
    Ok(())
}
