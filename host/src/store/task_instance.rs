//! Task instances and their earlier tries.

use std::collections::BTreeSet;

use super::{
    DagRunFilter, DagRunKey, DagRunRow, InstanceKey, Lengths, Like, Listed, Order, Page, Range, Spans, StateOfTask,
    Store, StoreError, TaskInstanceRow,
    codec::json,
    dag_run::{self, push_version_numbers},
    db::{self, Builder, FromRow, Row, each, from_row},
    filter::{
        counting, push_any, push_count_end, push_dags, push_lengths, push_like, push_numbers, push_page, push_range,
        push_words,
    },
    place::{Column, Place, Value, Walk, lasted, push_until, push_walk},
};
use crate::model::{
    dag_access::DagSet,
    ids::{PoolName, TaskId},
    state::{RunState, TaskState},
};

/// States that a partial index has; another one has [those that are active](TaskInstanceFilter::ACTIVE).
const UNSUCCESSFUL: [TaskState; 4] =
    [TaskState::Failed, TaskState::Skipped, TaskState::UpstreamFailed, TaskState::Removed];

/// What task instances are listed by, within a run; runs come one after another as they were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TaskInstanceOrder {
    /// By task id and map index.
    #[default]
    Key,
    /// By map index and task id.
    MapIndex,
    State,
    StartDate,
    EndDate,
    /// By the time that the present try has taken.
    Duration,
    TryNumber,
    /// By what instances of mapped tasks are called, and map index.
    RenderedMapIndex,
    Entry,
    /// Runs by theirs, and then as they were made; within a run as by its key.
    RunAfter,
    /// As [`RunAfter`](Self::RunAfter).
    LogicalDate,
    /// Of one run, whose instances share it: as by their key. No index has the runs in this order.
    DataInterval,
}

/// Which task instances. Empty lists and `None` ask for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct TaskInstanceFilter {
    pub dags: DagSet,
    pub dag_runs: Vec<DagRunKey>,
    pub task_ids: Vec<TaskId>,
    pub states: Vec<TaskState>,
    pub pools: Vec<PoolName>,
    pub map_indexes: Vec<i64>,
    pub try_numbers: Vec<i64>,
    /// Of the dag_version of the run.
    pub version_numbers: Vec<i64>,
    pub entries: Vec<String>,
    pub dag_id_like: Like,
    pub run_id_like: Like,
    pub entry_like: Like,
    pub pool_like: Like,
    pub rendered_map_index_like: Like,
    pub spans: Spans,
    pub order_by: TaskInstanceOrder,
    pub order: Order,
    /// Those that come after it in the list; the total counts all.
    pub after: Option<Place>,
}

/// How far a search looks back, whatever it finds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reach {
    /// Of some dags.
    pub runs: u32,
    pub instances: u32,
}

const REACH: Reach = Reach { runs: 500, instances: 50_000 };

/// What a search found.
#[derive(Debug, Default)]
pub struct FoundInstances {
    pub items: Vec<TaskInstanceRow>,
    /// Where it goes on; none: there is no more to look at.
    pub next: Option<Place>,
    /// The oldest run that was looked at, if not as many were found as were asked for.
    pub reached: Option<DagRunKey>,
}

impl Walk for TaskInstanceFilter {
    type Row = TaskInstanceRow;

    fn place(&self, row: &TaskInstanceRow) -> Place {
        let within_run = match self.order_by {
            TaskInstanceOrder::Key
            | TaskInstanceOrder::MapIndex
            | TaskInstanceOrder::RunAfter
            | TaskInstanceOrder::LogicalDate
            | TaskInstanceOrder::DataInterval => None,
            TaskInstanceOrder::State => Some(Some(row.state.as_str().into())),
            TaskInstanceOrder::StartDate => Some(row.start_date.map(Value::from)),
            TaskInstanceOrder::EndDate => Some(row.end_date.map(Value::from)),
            TaskInstanceOrder::Duration => Some(lasted(row.start_date, row.end_date)),
            TaskInstanceOrder::TryNumber => Some(Some(i64::from(row.try_number).into())),
            TaskInstanceOrder::RenderedMapIndex => Some(row.rendered_map_index.as_deref().map(Value::from)),
            TaskInstanceOrder::Entry => Some(Some(row.entry.as_str().into())),
        };
        let of_run = match self.order_by {
            TaskInstanceOrder::RunAfter => Some(Some(row.run_after.into())),
            TaskInstanceOrder::LogicalDate => Some(row.logical_date.map(Value::from)),
            _ => None,
        };
        let mut key = [Value::from(row.task_id.as_str()), i64::from(row.map_index).into()];
        if self.index_comes_first() {
            key.reverse();
        }
        let run = Some(row.dag_run.0.into());
        Place::new(of_run.into_iter().chain([run]).chain(within_run).chain(key.map(Some)))
    }

    fn has_place(&self, place: &Place) -> bool {
        place.fits(&self.columns())
    }

    fn go_on(&mut self, place: Place, order: Order) {
        (self.after, self.order) = (Some(place), order);
    }

    fn order(&self) -> Order {
        self.order
    }
}

from_row!(InstanceKey { dag_run, task_id, map_index });

impl FromRow for TaskInstanceRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let followed: Option<String> = row.try_get("followed")?;
        let followed = followed.map(|text| serde_json::from_str(&text)).transpose();
        Ok(Self {
            dag_run: row.try_get("dag_run")?,
            dag_id: row.try_get("dag_id")?,
            run_id: row.try_get("run_id")?,
            logical_date: row.try_get("logical_date")?,
            run_after: row.try_get("run_after")?,
            task_id: row.try_get("task_id")?,
            map_index: row.try_get("map_index")?,
            state: row.try_get("state")?,
            try_number: row.try_get("try_number")?,
            max_tries: row.try_get("max_tries")?,
            restarts: row.try_get("restarts")?,
            scheduled_at: row.try_get("scheduled_at")?,
            queued_at: row.try_get("queued_at")?,
            start_date: row.try_get("start_date")?,
            end_date: row.try_get("end_date")?,
            wake_at: row.try_get("wake_at")?,
            message: row.try_get("message")?,
            note: row.try_get("note")?,
            pool: row.try_get("pool")?,
            pool_slots: row.try_get("pool_slots")?,
            priority_weight: row.try_get("priority_weight")?,
            entry: row.try_get("entry")?,
            followed: followed.map_err(|error| sqlx::Error::Decode(error.into()))?,
            list_length: row.try_get("list_length")?,
            rendered_map_index: row.try_get("rendered_map_index")?,
            hostname: row.try_get("hostname")?,
        })
    }
}

impl Store {
    /// Of `tasks`: those of the run with an instance that did not succeed and was neither skipped nor removed.
    pub async fn task_instance_not_past(
        &self,
        run: DagRunKey,
        tasks: &BTreeSet<&TaskId>,
    ) -> Result<BTreeSet<TaskId>, StoreError> {
        let query = db::query_scalar(each!("task_instance_not_past")).bind(run).bind(json(tasks)?);
        Ok(query.fetch_all(self.readers()).await?.into_iter().collect())
    }

    pub async fn task_instance_get(&self, instance: &InstanceKey) -> Result<Option<TaskInstanceRow>, StoreError> {
        let query = db::query_as(include_str!("sql/task_instance_get.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// All instances of a run, by task id and map index. For recovery: a run may have 100,000.
    pub async fn task_instance_list_of_run(&self, run: DagRunKey) -> Result<Vec<TaskInstanceRow>, StoreError> {
        let query = db::query_as(include_str!("sql/task_instance_list_of_run.sql")).bind(run);
        Ok(query.fetch_all(self.readers()).await?)
    }

    pub async fn task_instance_list(
        &self,
        filter: &TaskInstanceFilter,
        page: Page,
    ) -> Result<Listed<TaskInstanceRow>, StoreError> {
        let (list, count) = (list_query(filter, page)?, count_query(filter)?);
        self.listed(list, count).await
    }

    /// The first `limit` instances that the filter leaves, those of the newest run first, whatever its order is. No index knows pools, tasks
    /// and starts: so they are looked for among so many instances and runs, and the search is to be gone on with by whoever wants
    /// more. What it costs does not grow with history. Runs are those of the filter's dags.
    pub async fn task_instance_search(
        &self,
        filter: &TaskInstanceFilter,
        limit: u32,
    ) -> Result<FoundInstances, StoreError> {
        self.task_instance_search_within(filter, limit, REACH).await
    }

    pub(super) async fn task_instance_search_within(
        &self,
        filter: &TaskInstanceFilter,
        limit: u32,
        reach: Reach,
    ) -> Result<FoundInstances, StoreError> {
        let mut filter =
            TaskInstanceFilter { order_by: TaskInstanceOrder::Key, order: Order::Descending, ..filter.clone() };
        let mut until = None;
        if filter.dags.listed().is_some() {
            let runs = runs_query(&filter, Page::first(reach.runs))?.build_query_as::<DagRunRow>();
            filter.dag_runs = runs.fetch_all(self.readers()).await?.into_iter().map(|run| run.key).collect();
            filter.dags = DagSet::all();
            let Some(last) = filter.dag_runs.last() else { return Ok(FoundInstances::default()) };
            // Before all of its instances; in this order that is after them.
            let all_of_it = Place::new([Some(last.0.into()), Some("".into()), Some(i64::from(i32::MIN).into())]);
            until = (filter.dag_runs.len() == reach.runs as usize).then_some(all_of_it);
        }
        let last = last_query(&filter, reach.instances).build_query_as::<InstanceKey>();
        if let Some(InstanceKey { dag_run, task_id, map_index }) = last.fetch_optional(self.readers()).await? {
            let key = [dag_run.0.into(), task_id.as_str().into(), i64::from(map_index).into()];
            until = Some(Place::new(key.map(Some)));
            // Those beyond would be read one by one, to find none.
            filter.dag_runs.retain(|run| *run >= dag_run);
        }
        let found = search_query(&filter, until.as_ref(), limit + 1)?.build_query_as();
        let mut items: Vec<TaskInstanceRow> = found.fetch_all(self.readers()).await?;
        if items.len() > limit as usize {
            items.truncate(limit as usize);
            return Ok(FoundInstances { next: items.last().map(|row| filter.place(row)), items, reached: None });
        }
        let reached = until.as_ref().and_then(Place::first_number).map(DagRunKey);
        Ok(FoundInstances { items, next: until, reached })
    }

    /// The tries of an instance: the earlier ones, then the present one. Of the earlier ones at most 1,000.
    pub async fn task_instance_tries(&self, instance: &InstanceKey) -> Result<Vec<TaskInstanceRow>, StoreError> {
        let mut tries: Vec<TaskInstanceRow> = db::query_as(include_str!("sql/task_instance_history_list.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .fetch_all(self.readers())
            .await?;
        if let Some(present) = self.task_instance_get(instance).await? {
            // A try that is copied to the history stays the present one until the next starts.
            tries.retain(|earlier| earlier.try_number != present.try_number);
            tries.push(present);
        }
        Ok(tries)
    }

    /// Whether the instance is there, and now has this note.
    pub async fn task_instance_set_note(&self, instance: &InstanceKey, note: Option<&str>) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/task_instance_set_note.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(note);
        Ok(self.write(query).await? == 1)
    }

    /// The states that the tasks of a run are in.
    pub async fn task_instance_states(&self, run: DagRunKey) -> Result<Vec<StateOfTask>, StoreError> {
        let query = db::query_scalar::<String>(each!("task_instance_states")).bind(run);
        let states = query.fetch_one(self.readers()).await?;
        serde_json::from_str(&states).map_err(StoreError::corrupt)
    }

    /// The highest map_index of a task in a run; -1 if it is not mapped, not expanded yet or not there.
    pub async fn task_instance_last_map_index(&self, run: DagRunKey, task_id: &TaskId) -> Result<i32, StoreError> {
        let query = db::query_scalar(include_str!("sql/task_instance_last_map_index.sql")).bind(run).bind(task_id);
        Ok(query.fetch_optional(self.readers()).await?.unwrap_or(-1))
    }

    /// As [`task_instance_last_map_index`](Self::task_instance_last_map_index), without instances that were removed: their
    /// results are kept, and are no elements of the task's list.
    pub async fn task_instance_last_element(&self, run: DagRunKey, task_id: &TaskId) -> Result<i32, StoreError> {
        let query = db::query_scalar(include_str!("sql/task_instance_last_element.sql")).bind(run).bind(task_id);
        Ok(query.fetch_optional(self.readers()).await?.unwrap_or(-1))
    }

    /// How many instances of each of `tasks` are in each state, in a run.
    pub async fn task_instance_counts_of(
        &self,
        run: DagRunKey,
        tasks: &[TaskId],
    ) -> Result<Vec<(TaskId, TaskState, i64)>, StoreError> {
        let query = db::query_as(each!("task_instance_counts_of")).bind(run);
        Ok(query.bind(super::codec::json(tasks)?).fetch_all(self.readers()).await?)
    }

    /// Of each of `runs` the instance that failed first, if one did.
    pub async fn task_instance_first_failed(&self, runs: &[DagRunKey]) -> Result<Vec<TaskInstanceRow>, StoreError> {
        let query = db::query_as(each!("task_instance_first_failed")).bind(json(runs)?);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// How many instances of a run are in each state.
    pub async fn task_instance_counts(&self, run: DagRunKey) -> Result<Vec<(TaskState, i64)>, StoreError> {
        let query = db::query_as(include_str!("sql/task_instance_counts.sql")).bind(run);
        Ok(query.fetch_all(self.readers()).await?)
    }
}

impl TaskInstanceFilter {
    /// The states of what goes on: it holds slots, or waits for some.
    pub const ACTIVE: [TaskState; 6] = [
        TaskState::Scheduled,
        TaskState::Queued,
        TaskState::Running,
        TaskState::Restarting,
        TaskState::UpForRetry,
        TaskState::UpForReschedule,
    ];

    /// All task instances of a run.
    pub fn of_run(run: DagRunKey) -> Self {
        Self { dag_runs: vec![run], ..Self::default() }
    }

    /// Whether each instance must be looked into that the rest leaves: no index knows names, lengths and numbers.
    pub fn looks_into_each(&self) -> bool {
        let likes =
            [&self.dag_id_like, &self.run_id_like, &self.entry_like, &self.pool_like, &self.rendered_map_index_like];
        let numbers = [&self.map_indexes, &self.try_numbers, &self.version_numbers];
        self.spans.duration != Lengths::default()
            || !self.entries.is_empty()
            || numbers.into_iter().any(|numbers| !numbers.is_empty())
            || likes.into_iter().any(|like| *like != Like::default())
    }

    /// What the list is ordered by.
    fn columns(&self) -> Vec<Column> {
        let run = Column::Number(if self.walks_runs() { "r.key" } else { "t.dag_run" });
        let of_run = match self.order_by {
            TaskInstanceOrder::RunAfter => Some(Column::Number("r.run_after")),
            TaskInstanceOrder::LogicalDate => Some(Column::NullableNumber("r.logical_date")),
            _ => None,
        };
        let within_run = match self.order_by {
            TaskInstanceOrder::Key
            | TaskInstanceOrder::MapIndex
            | TaskInstanceOrder::RunAfter
            | TaskInstanceOrder::LogicalDate
            | TaskInstanceOrder::DataInterval => None,
            TaskInstanceOrder::State => Some(Column::Text("t.state")),
            TaskInstanceOrder::StartDate => Some(Column::NullableNumber("t.start_date")),
            TaskInstanceOrder::EndDate => Some(Column::NullableNumber("t.end_date")),
            TaskInstanceOrder::Duration => Some(Column::NullableNumber("t.end_date - t.start_date")),
            TaskInstanceOrder::TryNumber => Some(Column::Number("t.try_number")),
            TaskInstanceOrder::RenderedMapIndex => Some(Column::NullableText("t.rendered_map_index")),
            TaskInstanceOrder::Entry => Some(Column::Text("t.entry")),
        };
        let mut key = [Column::Text("t.task_id"), Column::Number("t.map_index")];
        if self.index_comes_first() {
            key.reverse();
        }
        of_run.into_iter().chain([run]).chain(within_run).chain(key).collect()
    }

    /// Whether it is ordered by what no index has runs in order of.
    pub fn sorts_runs(&self) -> bool {
        self.order_by == TaskInstanceOrder::DataInterval
    }

    fn index_comes_first(&self) -> bool {
        matches!(self.order_by, TaskInstanceOrder::MapIndex | TaskInstanceOrder::RenderedMapIndex)
    }

    /// Whether runs are walked in order, and their rows within them.
    fn walks_runs(&self) -> bool {
        self.filters_runs() || matches!(self.order_by, TaskInstanceOrder::RunAfter | TaskInstanceOrder::LogicalDate)
    }

    fn filters_runs(&self) -> bool {
        self.dags != DagSet::all()
            || self.spans.logical_date != Range::default()
            || self.spans.run_after != Range::default()
            || self.dag_id_like != Like::default()
            || self.run_id_like != Like::default()
            || !self.version_numbers.is_empty()
    }
}

pub(super) fn list_query(filter: &TaskInstanceFilter, page: Page) -> Result<Builder, StoreError> {
    // Where runs are filtered, or ordered by what is theirs, they are walked in order and their rows within them; else all rows
    // in order. Either way the limit ends the walk.
    let by_runs = filter.walks_runs();
    let mut list = Builder::new(if by_runs {
        include_str!("sql/task_instance_list_by_runs.sql")
    } else {
        include_str!("sql/task_instance_list.sql")
    });
    push_filter(&mut list, filter)?;
    push_walk(&mut list, &filter.columns(), filter.order, filter.after.as_ref());
    push_page(&mut list, page);
    Ok(list)
}

/// The runs of the filter's dags in which a search looks. One that it has begun with is looked at again for the rest of it.
pub(super) fn runs_query(filter: &TaskInstanceFilter, page: Page) -> Result<Builder, StoreError> {
    // No other run has instances that are active.
    let is_active = indexed(&filter.states).is_some_and(|states| *states == TaskInstanceFilter::ACTIVE);
    let begun = filter.after.as_ref().and_then(Place::first_number);
    let runs = DagRunFilter {
        dags: filter.dags.clone(),
        states: if is_active { vec![RunState::Queued, RunState::Running] } else { Vec::new() },
        order: Order::Descending,
        after: begun.map(|key| Place::new([Some(key.saturating_add(1).into())])),
        ..DagRunFilter::default()
    };
    dag_run::list_query(&runs, page)
}

/// The last instance that a search looks at.
pub(super) fn last_query(filter: &TaskInstanceFilter, instances: u32) -> Builder {
    let mut last = Builder::new(include_str!("sql/task_instance_list_keys.sql"));
    push_numbers(&mut last, "t.dag_run", &filter.dag_runs.iter().map(|run| run.0).collect::<Vec<_>>());
    // Of single runs all are looked at: few of a run's may be in an index of all runs. Of an index, too: few in it may be in one state.
    if let Some(indexed) = indexed(&filter.states).filter(|_| filter.dag_runs.is_empty()) {
        push_words(&mut last, "t.state", indexed.iter().map(|state| state.as_str()));
    }
    push_walk(&mut last, &filter.columns(), filter.order, filter.after.as_ref());
    push_page(&mut last, Page { limit: 1, offset: instances.saturating_sub(1) });
    last
}

/// As [`list_query`], as far as `until`.
pub(super) fn search_query(
    filter: &TaskInstanceFilter,
    until: Option<&Place>,
    limit: u32,
) -> Result<Builder, StoreError> {
    let mut list = Builder::new(include_str!("sql/task_instance_list.sql"));
    push_filter(&mut list, filter)?;
    if let Some(until) = until {
        push_until(&mut list, &filter.columns(), filter.order, until);
    }
    push_walk(&mut list, &filter.columns(), filter.order, filter.after.as_ref());
    push_page(&mut list, Page::first(limit));
    Ok(list)
}

pub(super) fn count_query(filter: &TaskInstanceFilter) -> Result<Builder, StoreError> {
    let mut count = counting(if filter.filters_runs() {
        include_str!("sql/task_instance_count_by_runs.sql")
    } else {
        include_str!("sql/task_instance_count.sql")
    });
    push_filter(&mut count, filter)?;
    push_count_end(&mut count);
    Ok(count)
}

fn push_filter(builder: &mut Builder, filter: &TaskInstanceFilter) -> Result<(), StoreError> {
    push_dags(builder, "r.dag_id", &filter.dags)?;
    push_numbers(builder, "t.dag_run", &filter.dag_runs.iter().map(|run| run.0).collect::<Vec<_>>());
    push_any(builder, "t.task_id", &filter.task_ids)?;
    push_task_states(builder, &filter.states);
    push_any(builder, "t.pool", &filter.pools)?;
    // The plus keeps the walk in the list's order: an index on dates would have all rows read and sorted first.
    push_range(builder, "+r.logical_date", filter.spans.logical_date);
    push_range(builder, "+r.run_after", filter.spans.run_after);
    push_range(builder, "t.start_date", filter.spans.start_date);
    push_range(builder, "t.end_date", filter.spans.end_date);
    push_lengths(builder, "t.start_date", "t.end_date", filter.spans.duration);
    push_numbers(builder, "t.map_index", &filter.map_indexes);
    push_numbers(builder, "t.try_number", &filter.try_numbers);
    push_version_numbers(builder, &filter.version_numbers);
    push_any(builder, "t.entry", &filter.entries)?;
    push_like(builder, "r.dag_id", &filter.dag_id_like)?;
    push_like(builder, "r.run_id", &filter.run_id_like)?;
    push_like(builder, "t.entry", &filter.entry_like)?;
    push_like(builder, "t.pool", &filter.pool_like)?;
    push_like(builder, RENDERED_MAP_INDEX, &filter.rendered_map_index_like)
}

/// What an instance is called; its index, if nothing named it.
const RENDERED_MAP_INDEX: &str =
    "coalesce(t.rendered_map_index, CASE WHEN t.map_index >= 0 THEN CAST(t.map_index AS text) END)";

/// The states that a partial index has, if all of `states` are among them.
fn indexed(states: &[TaskState]) -> Option<&'static [TaskState]> {
    const INDEXED: [&[TaskState]; 2] = [&TaskInstanceFilter::ACTIVE, &UNSUCCESSFUL];
    let has_all = |indexed: &&[TaskState]| !states.is_empty() && states.iter().all(|state| indexed.contains(state));
    INDEXED.into_iter().find(has_all)
}

/// Names the predicate of a partial index where it covers all that is asked for.
fn push_task_states(builder: &mut Builder, states: &[TaskState]) {
    if let Some(indexed) = indexed(states) {
        push_words(builder, "t.state", indexed.iter().map(|state| state.as_str()));
    }
    push_words(builder, "t.state", states.iter().map(|state| state.as_str()));
}
