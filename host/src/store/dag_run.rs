//! `Dag_runs`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    BackfillId, DagRunKey, DagRunRow, DagVersionKey, Lengths, Like, Listed, MAX_PAGE, Order, Page, Spans, Store,
    StoreError,
    asset::push_named_by,
    codec::json,
    db::{self, Builder, FromRow, Row, each},
    filter::{
        counting, push_count_end, push_dags, push_either_like, push_lengths, push_like, push_numbers, push_page,
        push_range, push_words,
    },
    place::{Column, Place, Value, Walk, lasted, push_walk},
};
use crate::model::{
    dag_access::DagSet,
    ids::{DagId, Digest, RunId},
    state::{RunState, RunType},
    time::{DataInterval, Timestamp},
    wait::{RunChoice, WhichRun},
};

/// A conf that is longer is not read with lists of runs: so a page of them has a bound in bytes, too. As in the statements.
pub const MAX_LISTED_CONF_BYTES: usize = 16 << 10;

/// What `dag_runs` are listed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DagRunOrder {
    /// As they were made.
    #[default]
    Key,
    RunAfter,
    LogicalDate,
    StartDate,
    EndDate,
    DagId,
    /// Within one dag: of all dags it would sort all history. So with those below.
    RunId,
    State,
    /// By the time from its start to its end.
    Duration,
}

/// Which `dag_runs`. Empty lists and `None` ask for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct DagRunFilter {
    pub dags: DagSet,
    pub states: Vec<RunState>,
    /// Empty: all.
    pub run_types: Vec<RunType>,
    /// Those that this backfill made or ran again last.
    pub backfill: Option<BackfillId>,
    pub spans: Spans,
    /// Of the dag_version.
    pub version_numbers: Vec<i64>,
    /// That the dag_version came with.
    pub component: Option<Digest>,
    /// The name or the uri of an asset of which the run consumed an event.
    pub consumed_like: Like,
    /// That one of these names.
    pub consumed_of: DagSet,
    pub dag_id_like: Like,
    pub run_id_like: Like,
    pub triggering_user_like: Like,
    /// What its conf holds, as text.
    pub conf_like: Like,
    pub order_by: DagRunOrder,
    pub order: Order,
    /// Those that come after it in the list; the total counts all.
    pub after: Option<Place>,
}

impl DagRunFilter {
    /// All runs of a dag.
    pub fn of_dag(dag_id: DagId) -> Self {
        Self { dags: DagSet::one(dag_id), ..Self::default() }
    }

    /// What the list is ordered by.
    fn columns(&self) -> Vec<Column> {
        let first = match self.order_by {
            DagRunOrder::Key => None,
            DagRunOrder::RunAfter => Some(Column::Number("r.run_after")),
            DagRunOrder::LogicalDate => Some(Column::NullableNumber("r.logical_date")),
            DagRunOrder::StartDate => Some(Column::NullableNumber("r.start_date")),
            DagRunOrder::EndDate => Some(Column::NullableNumber("r.end_date")),
            DagRunOrder::DagId => Some(Column::Text("r.dag_id")),
            DagRunOrder::RunId => Some(Column::Text("r.run_id")),
            DagRunOrder::State => Some(Column::Text("r.state")),
            DagRunOrder::Duration => Some(Column::NullableNumber("r.end_date - r.start_date")),
        };
        first.into_iter().chain([Column::Number("r.key")]).collect()
    }

    /// Whether each run must be looked into that the rest leaves: no index knows names, lengths, confs and what they consumed.
    pub fn looks_into_each(&self) -> bool {
        let likes =
            [&self.consumed_like, &self.dag_id_like, &self.run_id_like, &self.triggering_user_like, &self.conf_like];
        self.spans.duration != Lengths::default()
            || !self.version_numbers.is_empty()
            || self.component.is_some()
            || likes.into_iter().any(|like| *like != Like::default())
    }

    /// Whether all runs must be read that the filter leaves, before the first of the list is known: no index of all dags' runs has
    /// its order.
    pub fn sorts_each(&self) -> bool {
        match self.order_by {
            DagRunOrder::Key
            | DagRunOrder::RunAfter
            | DagRunOrder::LogicalDate
            | DagRunOrder::StartDate
            | DagRunOrder::EndDate
            | DagRunOrder::DagId => false,
            DagRunOrder::RunId | DagRunOrder::State | DagRunOrder::Duration => true,
        }
    }
}

impl Walk for DagRunFilter {
    type Row = DagRunRow;

    fn place(&self, row: &DagRunRow) -> Place {
        let first = match self.order_by {
            DagRunOrder::Key => None,
            DagRunOrder::RunAfter => Some(Some(row.run_after.into())),
            DagRunOrder::LogicalDate => Some(row.logical_date.map(Value::from)),
            DagRunOrder::StartDate => Some(row.start_date.map(Value::from)),
            DagRunOrder::EndDate => Some(row.end_date.map(Value::from)),
            DagRunOrder::DagId => Some(Some(row.dag_id.as_str().into())),
            DagRunOrder::RunId => Some(Some(row.run_id.as_str().into())),
            DagRunOrder::State => Some(Some(row.state.as_str().into())),
            DagRunOrder::Duration => Some(lasted(row.start_date, row.end_date)),
        };
        Place::new(first.into_iter().chain([Some(row.key.0.into())]))
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

impl FromRow for DagRunRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let (start, end): (Option<Timestamp>, Option<Timestamp>) =
            (row.try_get("data_interval_start")?, row.try_get("data_interval_end")?);
        Ok(Self {
            key: row.try_get("key")?,
            dag_id: row.try_get("dag_id")?,
            run_id: row.try_get("run_id")?,
            version: row.try_get("version")?,
            version_number: row.try_get("version_number")?,
            run_type: row.try_get("run_type")?,
            state: row.try_get("state")?,
            logical_date: row.try_get("logical_date")?,
            data_interval: start.zip(end).map(|(start, end)| DataInterval { start, end }),
            run_after: row.try_get("run_after")?,
            queued_at: row.try_get("queued_at")?,
            start_date: row.try_get("start_date")?,
            end_date: row.try_get("end_date")?,
            conf: row.try_get::<Option<String>>("conf")?.map(Arc::from),
            triggered_by: row.try_get("triggered_by")?,
            triggering_user: row.try_get("triggering_user")?,
            note: row.try_get("note")?,
            clear_number: row.try_get("clear_number")?,
            message: row.try_get("message")?,
        })
    }
}

impl Store {
    /// The key of the next `dag_run`: larger than all that are there or ever were.
    pub async fn dag_run_next_key(&self) -> Result<i64, StoreError> {
        Ok(db::query_scalar(each!("dag_run_next_key")).fetch_one(self.readers()).await?)
    }

    /// How people ended runs that are not over, because their teardowns still run.
    pub async fn dag_run_verdicts(&self) -> Result<Vec<(DagRunKey, RunState)>, StoreError> {
        Ok(db::query_as(include_str!("sql/dag_run_verdicts.sql")).fetch_all(self.readers()).await?)
    }

    pub async fn dag_run_get(&self, dag_id: &DagId, run_id: &RunId) -> Result<Option<DagRunRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_get.sql")).bind(dag_id).bind(run_id);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The versions of these runs; those that are not there are left out.
    pub async fn dag_run_versions(
        &self,
        runs: &[(DagId, RunId)],
    ) -> Result<BTreeMap<(DagId, RunId), DagVersionKey>, StoreError> {
        let query = db::query_as(each!("dag_run_versions")).bind(json(runs)?);
        let rows: Vec<(DagId, RunId, DagVersionKey)> = query.fetch_all(self.readers()).await?;
        Ok(rows.into_iter().map(|(dag_id, run_id, version)| ((dag_id, run_id), version)).collect())
    }

    /// As [`dag_run_versions`](Self::dag_run_versions).
    pub async fn dag_run_versions_by_key(
        &self,
        runs: &[DagRunKey],
    ) -> Result<BTreeMap<DagRunKey, DagVersionKey>, StoreError> {
        let query = db::query_as(each!("dag_run_versions_by_key")).bind(json(runs)?);
        let rows: Vec<(DagRunKey, DagVersionKey)> = query.fetch_all(self.readers()).await?;
        Ok(rows.into_iter().collect())
    }

    /// The runs of these dags that have one of these ids; [`MAX_PAGE`] at most.
    pub async fn dag_run_keys(&self, dags: &DagSet, run_ids: &[RunId]) -> Result<Vec<DagRunKey>, StoreError> {
        let mut query = Builder::new("SELECT r.key FROM dag AS d CROSS JOIN ");
        query.push_each("json_each(", "jsonb_array_elements_text(CAST(").push_bind(json(run_ids)?);
        query.push_each(")", " AS jsonb))").push(" AS n");
        query.push(" JOIN dag_run AS r ON r.dag_id = d.dag_id AND r.run_id = n.value WHERE TRUE");
        push_dags(&mut query, "d.dag_id", dags)?;
        push_page(&mut query, Page::first(MAX_PAGE));
        Ok(query.build_query_scalar().fetch_all(self.readers()).await?)
    }

    pub async fn dag_run_get_by_key(&self, key: DagRunKey) -> Result<Option<DagRunRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_get_by_key.sql")).bind(key);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// What a run was given at its trigger.
    pub async fn dag_run_conf(&self, key: DagRunKey) -> Result<Option<Arc<str>>, StoreError> {
        let query = db::query_scalar::<String>("SELECT conf FROM dag_run WHERE key = $1").bind(key);
        Ok(query.fetch_optional(self.readers()).await?.map(Arc::from))
    }

    /// The run that is meant, if there is one.
    pub async fn dag_run_find(&self, of: &RunChoice) -> Result<Option<DagRunRow>, StoreError> {
        let query = match &of.run {
            WhichRun::Newest => db::query_as(include_str!("sql/dag_run_get_newest.sql")).bind(&of.dag_id),
            WhichRun::LogicalDate(date) => {
                return self.dag_run_of_date(&of.dag_id, *date).await;
            }
            WhichRun::RunId(run_id) => db::query_as(include_str!("sql/dag_run_get.sql")).bind(&of.dag_id).bind(run_id),
        };
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Whether a run of the dag has this run id or this logical date; none matches no run.
    pub async fn dag_run_exists(
        &self,
        dag_id: &DagId,
        run_id: Option<&RunId>,
        logical_date: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let query =
            db::query_scalar(include_str!("sql/dag_run_exists.sql")).bind(dag_id).bind(run_id).bind(logical_date);
        Ok(query.fetch_one(self.readers()).await?)
    }

    pub async fn dag_run_list(&self, filter: &DagRunFilter, page: Page) -> Result<Listed<DagRunRow>, StoreError> {
        let (list, count) = (list_query(filter, page)?, count_query(filter)?);
        self.listed(list, count).await
    }

    /// How many of the dag's newest `limit` runs are in each state.
    pub async fn dag_run_states(&self, dag_id: &DagId, limit: u32) -> Result<Vec<(RunState, i64)>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_states.sql")).bind(dag_id).bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The run of the dag before `date`, by logical_date; `but_manual`: the one before it that no person made.
    pub async fn dag_run_before(
        &self,
        dag_id: &DagId,
        date: Timestamp,
        but_manual: bool,
    ) -> Result<Option<DagRunRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_before.sql")).bind(dag_id).bind(date).bind(but_manual);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// The newest run of the dag before `date`, by logical_date, that succeeded; looked for among the 1,000 before it.
    /// `but_manual`: one that no person made.
    pub async fn dag_run_success_before(
        &self,
        dag_id: &DagId,
        date: Timestamp,
        but_manual: bool,
    ) -> Result<Option<DagRunRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_success_before.sql"));
        Ok(query.bind(dag_id).bind(date).bind(but_manual).fetch_optional(self.readers()).await?)
    }

    /// The same by run_after, for runs without a logical date.
    pub async fn dag_run_success_started_before(
        &self,
        dag_id: &DagId,
        run_after: Timestamp,
        but_manual: bool,
    ) -> Result<Option<DagRunRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_success_started_before.sql"));
        Ok(query.bind(dag_id).bind(run_after).bind(but_manual).fetch_optional(self.readers()).await?)
    }

    /// The states of the newest finished runs of the dag, by run_after, the newest first.
    pub async fn dag_run_newest_ends(
        &self,
        dag_id: &DagId,
        limit: u32,
    ) -> Result<Vec<(DagRunKey, Timestamp, RunState)>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_newest_ends.sql")).bind(dag_id).bind(limit.min(MAX_PAGE));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Runs that are queued or running, as they were made; those after `after`.
    pub async fn dag_run_list_unfinished(
        &self,
        after: Option<DagRunKey>,
        limit: u32,
    ) -> Result<Vec<DagRunRow>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_run_list_unfinished.sql"))
            .bind(after.unwrap_or(DagRunKey(i64::MIN)))
            .bind(limit.min(MAX_PAGE));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The newest `per_dag` runs of each of the dags, by dag, the newest first.
    pub async fn dag_run_latest(&self, dag_ids: &[DagId], per_dag: u32) -> Result<Vec<DagRunRow>, StoreError> {
        let query = db::query_as(each!("dag_run_latest")).bind(json(dag_ids)?).bind(per_dag.min(MAX_PAGE));
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Whether the run is there, and now has this note.
    pub async fn dag_run_set_note(&self, key: DagRunKey, note: Option<&str>) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/dag_run_set_note.sql")).bind(key).bind(note);
        Ok(self.write(query).await? == 1)
    }
}

/// Dags at most whose runs are found dag by dag, and runs that are looked at for a page then.
const MOST_MERGED: usize = 100;
const MOST_LOOKED_AT: u64 = 100_000;

pub(super) fn list_query(filter: &DagRunFilter, page: Page) -> Result<Builder, StoreError> {
    let mut list = Builder::new(include_str!("sql/dag_run_list.sql"));
    match merged(filter, page) {
        Some((dags, first)) => push_merged(&mut list, filter, dags, first)?,
        None => push_filter(&mut list, filter)?,
    }
    push_walk(&mut list, &filter.columns(), filter.order, filter.after.as_ref());
    push_page(&mut list, page);
    Ok(list)
}

pub(super) fn count_query(filter: &DagRunFilter) -> Result<Builder, StoreError> {
    let mut count = counting(include_str!("sql/dag_run_count.sql"));
    let mut rest = filter.clone();
    if let Some(dags) = filter.dags.listed().filter(|dags| dags.len() > 1) {
        // In no order, and so by an index on dags; for PostgreSQL as an array, so that it does so.
        count.push_each(" AND r.dag_id IN (", " AND r.dag_id = ANY (ARRAY(").push("SELECT value FROM ");
        count.push_each("json_each(", "jsonb_array_elements_text(CAST(").push_bind(json(dags)?);
        count.push_each("))", " AS jsonb))))");
        rest.dags = DagSet::all();
    }
    push_filter(&mut count, &rest)?;
    push_count_end(&mut count);
    Ok(count)
}

/// The dags of the filter, if their runs are to be found dag by dag, and how many of each. Some of several dags may have run last long ago: a
/// walk through the runs of all would come to them at its end.
fn merged(filter: &DagRunFilter, page: Page) -> Option<(&BTreeSet<DagId>, u32)> {
    let dags = filter.dags.listed().filter(|dags| (2..=MOST_MERGED).contains(&dags.len()))?;
    let first = page.limit.min(MAX_PAGE).saturating_add(page.offset);
    let looked_at = u64::from(first).saturating_mul(dags.len() as u64);
    (filter.order_by == DagRunOrder::Key && looked_at <= MOST_LOOKED_AT).then_some((dags, first))
}

/// The run is one of the `first` of its dag that the filter leaves. Those come by an index that has them in order.
fn push_merged(
    builder: &mut Builder,
    filter: &DagRunFilter,
    dags: &BTreeSet<DagId>,
    first: u32,
) -> Result<(), StoreError> {
    // As an array, so that PostgreSQL looks at these rows only, whatever it believes of the table.
    builder.push_each(" AND r.key IN (", " AND r.key = ANY (ARRAY(");
    for (position, dag_id) in dags.iter().enumerate() {
        builder.push(if position == 0 { "" } else { " UNION ALL " });
        builder.push("SELECT f.key FROM (SELECT r.key FROM dag_run AS r WHERE TRUE");
        push_filter(builder, &DagRunFilter { dags: DagSet::one(dag_id.clone()), ..filter.clone() })?;
        push_walk(builder, &filter.columns(), filter.order, filter.after.as_ref());
        builder.push(" LIMIT ").push_bind(first).push(") AS f");
    }
    builder.push_each(")", "))");
    Ok(())
}

fn push_filter(builder: &mut Builder, filter: &DagRunFilter) -> Result<(), StoreError> {
    push_dags(builder, "r.dag_id", &filter.dags)?;
    push_run_states(builder, &filter.states);
    push_words(builder, "r.run_type", filter.run_types.iter().map(|run_type| run_type.as_str()));
    if let Some(backfill) = filter.backfill {
        builder
            .push(" AND r.key IN (SELECT dag_run FROM backfill_run WHERE backfill = ")
            .push_bind(backfill.0)
            .push(")");
    }
    push_range(builder, "r.logical_date", filter.spans.logical_date);
    push_range(builder, "r.run_after", filter.spans.run_after);
    push_range(builder, "r.start_date", filter.spans.start_date);
    push_range(builder, "r.end_date", filter.spans.end_date);
    push_lengths(builder, "r.start_date", "r.end_date", filter.spans.duration);
    push_version_numbers(builder, &filter.version_numbers);
    if let Some(component) = filter.component {
        builder
            .push(" AND r.version IN (SELECT v.key FROM dag_version AS v WHERE v.dag_id = r.dag_id AND v.component = ");
        builder.push_bind(component).push(")");
    }
    if filter.consumed_like != Like::default() {
        builder.push(
            " AND EXISTS (SELECT 1 FROM dag_run_asset_event AS c CROSS JOIN asset_event AS e CROSS JOIN asset AS a",
        );
        builder.push(" WHERE c.dag_run = r.key AND e.key = c.event AND a.id = e.asset");
        push_either_like(builder, ["a.name", "a.uri"], &filter.consumed_like)?;
        push_named_by(builder, "a.id", &filter.consumed_of)?;
        builder.push(")");
    }
    push_like(builder, "r.dag_id", &filter.dag_id_like)?;
    push_like(builder, "r.run_id", &filter.run_id_like)?;
    push_like(builder, "r.triggering_user", &filter.triggering_user_like)?;
    push_like(builder, "r.conf", &filter.conf_like)
}

/// The run is of one of these versions of its dag; an empty list asks for nothing in particular.
pub(super) fn push_version_numbers(builder: &mut Builder, numbers: &[i64]) {
    if !numbers.is_empty() {
        builder.push(" AND r.version IN (SELECT v.key FROM dag_version AS v WHERE v.dag_id = r.dag_id");
        push_numbers(builder, "v.version_number", numbers);
        builder.push(")");
    }
}

/// Names the predicate of a partial index where it covers all that is asked for.
fn push_run_states(builder: &mut Builder, states: &[RunState]) {
    if !states.is_empty() && states.iter().all(|state| !state.is_finished()) {
        builder.push(" AND r.state IN ('queued', 'running')");
    }
    match states {
        [state] => drop(builder.push(" AND r.state = '").push(state.as_str()).push("'")),
        _ => push_words(builder, "r.state", states.iter().map(|state| state.as_str())),
    }
}
