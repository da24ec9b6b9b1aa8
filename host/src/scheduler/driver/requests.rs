//! What people ask of the loop.

use std::future::Future;

use super::{
    super::{no_dag, no_run, runs, select},
    ActiveRun, Driver, Reply, Request, Turn,
    patience::Patience,
};
use crate::{
    engine::{Event, InstanceId, Verdict},
    model::{
        ids::{DagId, RunId, TaskId},
        state::{RunState, TaskState},
        time::Timestamp,
        wait::{RunChoice, WhichRun},
    },
    scheduler::{Change, ClearRequest, MarkRequest, Origin, RequestError, RunRequest, tick::Dispatch},
    store::{
        self, DagRunFilter, DagRunKey, DagRunNew, DagRunOrder, DagRunRow, InstanceKey, Page, Range, Spans, StoreError,
    },
};

/// Runs that one clear or mark may be about.
const MAX_RUNS: u32 = 1_000;

/// What they were given, together.
const MAX_CHANGED_CONF_BYTES: usize = 64 << 20;

/// What became of a request. It is answered after the commit.
pub(super) type Outcome<T> = Result<T, RequestError>;

impl<D: Dispatch> Driver<D> {
    /// Carries out a request, which is answered after the commit.
    ///
    /// # Errors
    /// If the database fails for good: then memory can't be trusted.
    pub(super) async fn request(&mut self, request: Request, turn: &mut Turn) -> Result<(), StoreError> {
        match request {
            Request::Trigger { dag_id, request, conf, checked_at, reply } => {
                let done = match &request.origin {
                    None => self.trigger(&dag_id, *request, conf, checked_at, turn).await,
                    Some(origin) => match self.started_before(&dag_id, &request, origin, turn).await {
                        Ok(StartedBefore::No) => self.trigger(&dag_id, *request, conf, checked_at, turn).await,
                        Ok(StartedBefore::Yes(row)) => {
                            turn.tick.answer(reply, Ok(*row));
                            return Ok(());
                        }
                        Ok(StartedBefore::Cleared(key)) => Ok(key),
                        Err(error) => Err(error),
                    },
                };
                answer_run(reply, done, turn);
            }
            Request::ReloadDags { dag_ids, reply } => {
                store::patiently(self.reload_dags(dag_ids)).await?;
                turn.tick.answer(reply, Ok(()));
            }
            Request::SetPaused { dag_id, paused, reply } => {
                let done = self.set_paused(&dag_id, paused, turn).await;
                answer(reply, done, turn);
            }
            Request::DeleteDag { dag_id, reply } => {
                let done = self.delete_dag(&dag_id, turn).await;
                answer(reply, done, turn);
            }
            Request::DeleteRun { dag_id, run_id, reply } => {
                let done = self.delete_run(&dag_id, &run_id, turn).await;
                answer(reply, done, turn);
            }
            Request::DeleteInstance { dag_id, run_id, task_id, map_index, reply } => {
                let done = self.delete_instance(&dag_id, &run_id, task_id, map_index, turn).await;
                answer(reply, done, turn);
            }
            Request::Retire { dag_id, runs, reply } => {
                let count = self.retire(&dag_id, runs, turn).await?;
                turn.tick.answer(reply, Ok(count));
            }
            Request::MarkRun { dag_id, run_id, state, reply } => {
                let done = self.mark_run(&dag_id, &run_id, state, turn).await;
                answer_run(reply, done, turn);
            }
            Request::Clear { request, reply } => {
                let done = self.clear(&request, turn).await;
                answer(if request.dry_run { reply.without_entry() } else { reply }, done, turn);
            }
            Request::Mark { request, reply } => {
                let done = self.mark(&request, turn).await;
                answer(if request.dry_run { reply.without_entry() } else { reply }, done, turn);
            }
            Request::AssetEvent { asset, extra, user, reply } => {
                let done = self.asset_event(asset, extra, user, turn).await;
                answer(reply, done, turn);
            }
            Request::AssetQueueDelete { which, reply } => {
                let count = self.asset_queue_delete(&which).await?;
                turn.tick.answer(reply, Ok(count));
            }
            Request::Answer { request, reply } => {
                let done = self.answer(*request, turn).await;
                answer(reply, done, turn);
            }
            Request::ReloadPools { reply } => {
                store::patiently(self.reload_pools()).await?;
                turn.tick.answer(reply, Ok(()));
            }
            Request::CreateBackfill { new, reply } => {
                let done = self.create_backfill(&new).await;
                answer(reply, done, turn);
            }
            Request::PauseBackfill { id, is_paused, reply } => {
                let done = self.pause_backfill(id, is_paused, turn);
                answer(reply, done, turn);
            }
            Request::CancelBackfill { id, reply } => {
                let done = self.cancel_backfill(id, turn).await;
                answer(reply, done, turn);
            }
            Request::Why { dag_id, run_id, task_id, map_index, reply } => {
                let waits = self.why(&dag_id, &run_id, &task_id, map_index, turn.now()).await;
                reply.send(waits);
            }
            Request::Stop => {}
        }
        Ok(())
    }

    async fn reload_dags(&mut self, dag_ids: Vec<DagId>) -> Result<(), StoreError> {
        let mut decisions = self.store.dag_decisions(&dag_ids).await?;
        self.grants.clear();
        for dag_id in dag_ids {
            if let Some(row) = self.store.dag_get(&dag_id).await? {
                self.admission.set_paused(&dag_id, row.is_paused);
                let limits = self.store.dag_numbers_get(&dag_id).await?;
                self.limit_dag(&dag_id, limits);
                self.dags.put(row, decisions.remove(&dag_id).unwrap_or_default());
                self.enter_keys(&dag_id).await?;
                self.touched.insert(dag_id);
            }
        }
        Ok(())
    }

    async fn trigger(
        &mut self,
        dag_id: &DagId,
        request: RunRequest,
        conf: std::sync::Arc<str>,
        checked_at: Timestamp,
        turn: &mut Turn,
    ) -> Outcome<DagRunKey> {
        let entry = self.dags.get(dag_id).ok_or_else(|| no_dag(dag_id))?;
        let (version, number) = (entry.row.version, entry.row.version_number);
        if let Some(run_id) = &request.run_id {
            runs::check_id(run_id)?;
        }
        let origin = request.origin.clone();
        let new = runs::manual(DagRunKey(self.next_key), dag_id, version, &entry.timetable, request, conf, turn.now());
        if self.recent.has(dag_id, Some(&new.run_id), new.logical_date) {
            return Err(runs::duplicate(dag_id, Some(&new.run_id), new.logical_date));
        }
        if !self.recent.covers(checked_at, turn.now())
            && self.store.dag_run_exists(dag_id, Some(&new.run_id), new.logical_date).await?
        {
            return Err(runs::duplicate(dag_id, Some(&new.run_id), new.logical_date));
        }
        let key = new.key;
        turn.tick.commit.origins.extend(origin.map(|origin| (key, origin.row(key))));
        self.add_run(new, number, turn);
        Ok(key)
    }

    /// Whether the run that a task asks for is there already, and what becomes of it then.
    async fn started_before(
        &mut self,
        dag_id: &DagId,
        request: &RunRequest,
        origin: &Origin,
        turn: &mut Turn,
    ) -> Outcome<StartedBefore> {
        let by_id = request.run_id.clone().map(WhichRun::RunId);
        let by_date = request.logical_date.map(WhichRun::LogicalDate);
        let mut found = None;
        for run in by_id.into_iter().chain(by_date) {
            if found.is_none() {
                let is_it = |new: &&DagRunNew| {
                    new.dag_id == *dag_id
                        && match &run {
                            WhichRun::RunId(run_id) => new.run_id == *run_id,
                            WhichRun::LogicalDate(date) => new.logical_date == Some(*date),
                            WhichRun::Newest => false,
                        }
                };
                let of_turn = turn.new_runs.values().find(is_it).and_then(|new| self.queued.get(&new.key)).cloned();
                found = match of_turn {
                    Some(row) => Some(row),
                    None => self.store.dag_run_find(&RunChoice { dag_id: dag_id.clone(), run }).await?,
                };
            }
        }
        let Some(row) = found.map(|row| self.newest(row)) else { return Ok(StartedBefore::No) };
        let of_turn = turn.tick.commit.origins.get(&row.key).cloned();
        let known = match of_turn {
            Some(known) => Some(known),
            None => self.store.origin_get(row.key).await?,
        };
        let is_own = known.as_ref().is_some_and(|known| known.parent == origin.parent);
        let is_same_try = known.is_some_and(|known| known.parent_number == origin.number);
        if !origin.reset {
            return if is_own {
                Ok(StartedBefore::Yes(Box::new(row)))
            } else {
                Err(runs::duplicate(dag_id, Some(&row.run_id), row.logical_date))
            };
        }
        if is_own && is_same_try {
            return Ok(StartedBefore::Yes(Box::new(row)));
        }
        let key = row.key;
        // One that has not begun has nothing to clear, and may not be in the database yet.
        if !self.queued.contains_key(&key) {
            self.ensure_loaded(row, turn).await?;
            let Some(run) = self.runs.get(&key) else { return Ok(StartedBefore::No) };
            let instances = run.state.instances().collect();
            self.apply(key, &Event::Clear { instances }, turn);
        }
        turn.tick.commit.origins.insert(key, origin.row(key));
        Ok(StartedBefore::Cleared(key))
    }

    async fn set_paused(&mut self, dag_id: &DagId, paused: bool, turn: &mut Turn) -> Outcome<bool> {
        let entry = self.dags.get_mut(dag_id).ok_or_else(|| no_dag(dag_id))?;
        let changed = entry.row.is_paused != paused;
        if changed {
            self.store.dag_set_paused(dag_id, paused, turn.now()).await?;
            entry.row.is_paused = paused;
            entry.row.pause_reason = None;
            entry.row.updated_at = turn.now();
            self.admission.set_paused(dag_id, paused);
            self.touched.insert(dag_id.clone());
            turn.tick.change(Change::Dag { dag_id: dag_id.clone() });
        }
        Ok(changed)
    }

    async fn delete_dag(&mut self, dag_id: &DagId, turn: &mut Turn) -> Outcome<()> {
        if self.dags.get(dag_id).is_none() {
            return Err(no_dag(dag_id));
        }
        let of_dag = |run: &&ActiveRun| run.row.dag_id == *dag_id;
        if self.runs.values().filter(of_dag).any(|run| run.state.is_busy()) {
            return Err(RequestError::Conflict(format!(
                "dag `{dag_id}` has running task instances; pause it and wait, or mark its runs as failed, then delete it"
            )));
        }
        self.until_answered(|| self.store.dag_delete(dag_id)).await?;
        self.wake_waiters_of(dag_id, turn);
        let loaded: Vec<_> = self.runs.values().filter(of_dag).map(|run| run.row.key).collect();
        for key in loaded {
            self.close(key);
        }
        self.queued.retain(|_, row| row.dag_id != *dag_id);
        self.never_loaded.retain(|key| self.queued.contains_key(key));
        self.dags.remove(dag_id);
        self.admission.set_memory(dag_id, None);
        self.executor.forget_dag(dag_id);
        self.backfills.forget_dag(dag_id);
        self.recent.forget_dag(dag_id);
        turn.tick.change(Change::Dag { dag_id: dag_id.clone() });
        Ok(())
    }

    /// Asks the store to delete, or what belongs to that, until it answers: what it deleted must go here, too, and its answer may have
    /// been lost, or it may have stopped halfway.
    pub(super) async fn until_answered<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        ask: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let mut patience = Patience::new("a deletion");
        loop {
            match ask().await {
                Err(error) if error.is_transient() => patience.wait(&error, self.config.commit_retry).await,
                answered => {
                    patience.over();
                    return answered;
                }
            }
        }
    }

    async fn delete_run(&mut self, dag_id: &DagId, run_id: &RunId, turn: &mut Turn) -> Outcome<()> {
        let row = self.find(dag_id, run_id).await?;
        if self.runs.get(&row.key).is_some_and(|run| run.state.is_busy()) {
            return Err(RequestError::Conflict(format!(
                "dag_run `{run_id}` has running task instances; mark it as failed first, then delete it"
            )));
        }
        self.until_answered(|| self.store.dag_run_delete(std::slice::from_ref(&row.key))).await?;
        self.close(row.key);
        self.links.deleted(row.key);
        self.forget_deadline(&row);
        self.queued.remove(&row.key);
        self.never_loaded.remove(&row.key);
        // Those who wait for it look again; for those who wait for the newest, that is another one now.
        let conditions = self.waits.about(&row, true);
        let waiters = conditions.iter().flat_map(|condition| self.waits.waiters(condition)).collect();
        self.wake_all(waiters, turn);
        self.leave(&row, row.state);
        if let Some(unfinished) = self.unfinished_of(&row).filter(|_| !row.state.is_finished()) {
            *unfinished = unfinished.saturating_sub(1);
        }
        self.recent.forget(dag_id, run_id, row.logical_date);
        self.touched.insert(dag_id.clone());
        turn.tick.change(Change::Run { dag_id: dag_id.clone(), run_id: run_id.clone(), key: row.key, state: None });
        Ok(())
    }

    /// Deletes an instance of a run that is over, with all that it left. A run that goes on gets it anew, as one that has not run.
    async fn delete_instance(
        &mut self,
        dag_id: &DagId,
        run_id: &RunId,
        task_id: TaskId,
        map_index: i32,
        turn: &mut Turn,
    ) -> Outcome<()> {
        let row = self.find(dag_id, run_id).await?;
        if !row.state.is_finished() || self.runs.contains_key(&row.key) {
            return Err(RequestError::Conflict(format!(
                "dag_run `{run_id}` is not over, and its tasks may need each other; mark it as failed first, or clear the task instance instead"
            )));
        }
        // How many instances a mapped task has is told by the last of them.
        if map_index >= 0 && self.store.task_instance_last_map_index(row.key, &task_id).await? == map_index {
            let states = self.store.task_instance_counts_of(row.key, std::slice::from_ref(&task_id)).await?;
            if states.iter().map(|(_, _, count)| count).sum::<i64>() > 1 {
                return Err(RequestError::Conflict(format!(
                    "task instance {map_index} of `{task_id}` is the last of several, and tells how many there are; delete the others before it"
                )));
            }
        }
        let key = InstanceKey { dag_run: row.key, task_id, map_index };
        if !self.store.task_instance_delete(&key).await? {
            return Err(RequestError::NotFound(format!(
                "dag_run `{run_id}` has no task instance `{}` with map_index {map_index}",
                key.task_id
            )));
        }
        self.executor.forget_result(&key);
        let (dag_id, run_id, state) = (dag_id.clone(), run_id.clone(), Some(row.state));
        turn.tick.change(Change::Run { dag_id, run_id, key: row.key, state });
        Ok(())
    }

    async fn mark_run(
        &mut self,
        dag_id: &DagId,
        run_id: &RunId,
        state: RunState,
        turn: &mut Turn,
    ) -> Outcome<DagRunKey> {
        let row = self.find(dag_id, run_id).await?;
        let key = row.key;
        self.ensure_loaded(row, turn).await?;
        match state {
            RunState::Success => drop(self.apply(key, &Event::MarkRun(Verdict::Success), turn)),
            RunState::Failed => drop(self.apply(key, &Event::MarkRun(Verdict::Failed), turn)),
            RunState::Queued => drop(self.apply(key, &Event::Requeue, turn)),
            RunState::Running => {
                return Err(RequestError::Invalid("a run can be set to queued, success or failed".into()));
            }
        }
        Ok(key)
    }

    async fn clear(&mut self, request: &ClearRequest, turn: &mut Turn) -> Outcome<Vec<InstanceKey>> {
        if !request.reset_dag_runs {
            return Err(RequestError::Invalid(
                "`reset_dag_runs: false` is not possible: what is cleared runs again; leave it out".into(),
            ));
        }
        let wanted = |state: TaskState| {
            let failed = matches!(state, TaskState::Failed | TaskState::UpstreamFailed);
            (!request.only_failed || failed) && (!request.only_running || state == TaskState::Running)
        };
        let around = select::Around {
            upstream: request.upstream,
            downstream: request.downstream,
            // Airflow: the one goes on from the other (`find_relevant_relatives`), but not over many runs.
            beside: request.run_id.is_some(),
            spares_teardowns: false,
        };
        let span = Span {
            run_id: request.run_id.as_ref(),
            since: request.since,
            until: request.until,
            past: request.past,
            future: request.future,
        };
        let (mut affected, mut chosen_of, mut loaded) = (Vec::new(), Vec::new(), Loaded::default());
        for row in self.runs_in(&request.dag_id, &span).await? {
            let key = row.key;
            let renewed = if request.run_on_latest_version { self.renewed(&row).await? } else { None };
            if renewed.is_none() {
                self.ensure_loaded(row, turn).await?;
            }
            let Some(run) = renewed.as_ref().map(|renewed| &renewed.run).or_else(|| self.runs.get(&key)) else {
                continue;
            };
            self.add_loaded(run, &mut loaded)?;
            let chosen = choose(run, &request.tasks, around, wanted)?;
            let added = renewed.iter().flat_map(|renewed| renewed.added.iter().copied());
            let chosen: Vec<_> =
                if request.only_new { added.collect() } else { chosen.into_iter().chain(added).collect() };
            let chosen = with_scope(run, &chosen);
            affected.extend(chosen.iter().map(|id| run.instance_key(*id)));
            if !request.dry_run && !chosen.is_empty() {
                chosen_of.push((key, renewed, chosen));
            }
        }
        // All of it or nothing: what is refused above has changed no run.
        for (key, renewed, instances) in chosen_of {
            if let Some(renewed) = renewed {
                self.open_renewed(renewed, turn);
            }
            self.apply(key, &Event::Clear { instances }, turn);
        }
        affected.sort_unstable();
        Ok(affected)
    }

    async fn mark(&mut self, request: &MarkRequest, turn: &mut Turn) -> Outcome<Vec<InstanceKey>> {
        if !matches!(request.state, TaskState::Success | TaskState::Failed | TaskState::Skipped) {
            return Err(RequestError::Invalid(format!(
                "a task instance can be marked as success, failed or skipped, not as {}",
                request.state
            )));
        }
        let around = select::Around {
            upstream: request.upstream,
            downstream: request.downstream,
            beside: false,
            spares_teardowns: true,
        };
        let span = Span {
            run_id: Some(&request.run_id),
            since: None,
            until: None,
            past: request.past,
            future: request.future,
        };
        let (mut affected, mut chosen_of, mut loaded) = (Vec::new(), Vec::new(), Loaded::default());
        for row in self.runs_in(&request.dag_id, &span).await? {
            let key = row.key;
            self.ensure_loaded(row, turn).await?;
            let Some(run) = self.runs.get(&key) else { continue };
            self.add_loaded(run, &mut loaded)?;
            let chosen = choose(run, &request.tasks, around, |state| state != request.state)?;
            affected.extend(chosen.iter().map(|id| run.instance_key(*id)));
            if !request.dry_run && !chosen.is_empty() {
                chosen_of.push((key, chosen));
            }
        }
        for (key, instances) in chosen_of {
            self.apply(key, &Event::Mark { instances, state: request.state, message: None }, turn);
        }
        affected.sort_unstable();
        Ok(affected)
    }

    /// Counts one more run that a request is about, and has in memory.
    ///
    /// # Errors
    /// If there are several runs, and too much in them. One run, however large, is in memory whenever it runs.
    fn add_loaded(&self, run: &ActiveRun, loaded: &mut Loaded) -> Outcome<()> {
        loaded.runs += 1;
        loaded.instances += run.state.instances().count();
        loaded.conf_bytes += run.row.conf.as_ref().map_or(0, |conf| conf.len());
        let most = self.config.max_changed;
        if loaded.runs == 1 || (loaded.instances <= most && loaded.conf_bytes <= MAX_CHANGED_CONF_BYTES) {
            return Ok(());
        }
        let most_mib = MAX_CHANGED_CONF_BYTES >> 20;
        Err(RequestError::Invalid(format!(
            "the runs that this is about have more than {most} task instances or {most_mib} MiB of conf together: narrow the dates, or name \
             fewer runs"
        )))
    }

    /// A run as it now is: what is in memory is newer than the store while a turn is being made.
    async fn find(&self, dag_id: &DagId, run_id: &RunId) -> Outcome<DagRunRow> {
        let row = self.store.dag_run_get(dag_id, run_id).await?.ok_or_else(|| no_run(dag_id, run_id))?;
        Ok(self.newest(row))
    }

    pub(super) fn newest(&self, row: DagRunRow) -> DagRunRow {
        match self.runs.get(&row.key).map(|run| &run.row).or_else(|| self.queued.get(&row.key)) {
            // What the loop does not decide is as it is stored.
            Some(known) => DagRunRow { conf: row.conf, note: row.note, ..known.clone() },
            None => row,
        }
    }

    /// Loads a run that is not. A finished one is unloaded at the end of the turn if nothing made it go on.
    pub(super) async fn ensure_loaded(&mut self, row: DagRunRow, turn: &mut Turn) -> Outcome<()> {
        if !self.runs.contains_key(&row.key) {
            let queued = self.queued.remove(&row.key);
            let (dag_id, run_id) = (row.dag_id.clone(), row.run_id.clone());
            let loaded = self.load(row, turn).await;
            if loaded.is_err() {
                // It waits as before.
                self.queued.extend(queued.map(|row| (row.key, row)));
            }
            let run = loaded?.ok_or_else(|| {
                RequestError::Conflict(format!(
                    "dag_run `{run_id}` of dag `{dag_id}` can't be loaded; see the server's log"
                ))
            })?;
            self.maybe_over.push(run.row.key);
            self.open(run);
        }
        Ok(())
    }

    /// The runs that a request is about, ascending by logical_date.
    async fn runs_in(&self, dag_id: &DagId, span: &Span<'_>) -> Outcome<Vec<DagRunRow>> {
        let mut range = Range { gte: span.since, lte: span.until };
        if let Some(run_id) = span.run_id {
            let row = self.find(dag_id, run_id).await?;
            let Some(date) = row.logical_date.filter(|_| span.past || span.future) else { return Ok(vec![row]) };
            range.gte = (!span.past).then_some(date);
            range.lte = (!span.future).then_some(date);
        } else if self.dags.get(dag_id).is_none() {
            return Err(no_dag(dag_id));
        }
        let filter = DagRunFilter {
            spans: Spans { logical_date: range, ..Spans::default() },
            order_by: DagRunOrder::LogicalDate,
            ..DagRunFilter::of_dag(dag_id.clone())
        };
        let listed = self.store.dag_run_list(&filter, Page { limit: MAX_RUNS, offset: 0 }).await?;
        if listed.total > i64::from(MAX_RUNS) {
            return Err(RequestError::Invalid(format!(
                "this is about {} runs or more; at most {MAX_RUNS} can be changed at a time: narrow the dates",
                listed.total
            )));
        }
        Ok(listed.items.into_iter().map(|row| self.newest(row)).collect())
    }
}

/// What the runs that one request is about have together.
#[derive(Debug, Default)]
struct Loaded {
    runs: usize,
    instances: usize,
    conf_bytes: usize,
}

/// What is known of a run that a task asks for.
enum StartedBefore {
    No,
    /// It is there, and stays as it is.
    Yes(Box<DagRunRow>),
    /// It is there, and runs again.
    Cleared(DagRunKey),
}

/// Which runs of a dag are meant: one, with those before or after it, or those of a span of logical dates.
struct Span<'a> {
    run_id: Option<&'a RunId>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    past: bool,
    future: bool,
}

/// Answers after the commit, which takes along what the audit log says of what was done.
fn answer<T: Send + 'static>(reply: Reply<T>, done: Outcome<T>, turn: &mut Turn) {
    if done.is_ok() {
        turn.tick.commit.events.extend(reply.entry());
    }
    turn.tick.answer(reply, done);
}

/// The same, with how the run stands then.
fn answer_run(reply: Reply<DagRunRow>, done: Outcome<DagRunKey>, turn: &mut Turn) {
    match done {
        Ok(key) => {
            turn.tick.commit.events.extend(match turn.new_runs.get(&key) {
                Some(new) => reply.entry_of_run(new.run_id.as_str()),
                None => reply.entry(),
            });
            turn.run_replies.push((key, reply));
        }
        Err(error) => turn.tick.answer(reply, Err(error)),
    }
}

fn instances_of(run: &ActiveRun) -> impl Iterator<Item = (InstanceId, TaskState)> {
    run.state.instances().filter_map(|id| Some((id, run.state.instance(id)?.state)))
}

fn choose(
    run: &ActiveRun,
    named: &[(crate::model::ids::TaskId, Option<i32>)],
    around: select::Around,
    wanted: impl Fn(TaskState) -> bool,
) -> Outcome<Vec<InstanceId>> {
    let all = instances_of(run).map(|(id, state)| (id.node, id.map_index, state));
    let chosen = select::instances(&run.version.dag, named, around, all, wanted).map_err(|task_id| {
        RequestError::NotFound(format!(
            "dag `{}` has no task `{task_id}` in the version that run `{}` was made with",
            run.row.dag_id, run.row.run_id
        ))
    })?;
    Ok(chosen.into_iter().map(|(node, map_index)| InstanceId { node, map_index }).collect())
}

/// With the setups and teardowns of what is cleared.
fn with_scope(run: &ActiveRun, chosen: &[InstanceId]) -> Vec<InstanceId> {
    let chosen = chosen.iter().map(|id| (id.node, id.map_index)).collect();
    let instances_of = |node| run.state.instances_of(node).map(|id| (id.node, id.map_index));
    let all = select::with_scope(&run.version.dag, chosen, instances_of);
    all.into_iter().map(|(node, map_index)| InstanceId { node, map_index }).collect()
}
