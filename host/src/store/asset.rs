//! Assets, their events, and which dags have yet to consume those.

use super::{
    DagRunKey, DagRunRow, Like, Listed, MAX_PAGE, Order, Page, Range, Store, StoreError,
    codec::json,
    db::{self, Builder, Connection, FromRow, Row, each, from_row},
    filter::{counting, push_count_end, push_dags, push_like, push_numbers, push_page, push_range},
    place::{Column, push_walk},
};
use crate::model::{
    asset::AssetCondition,
    dag_access::DagSet,
    ids::{AssetName, DagId, RunId, TaskId},
    spec::DagSpec,
    time::Timestamp,
};

#[derive(Debug, Clone)]
pub struct AssetRow {
    pub id: i64,
    pub name: AssetName,
    pub uri: String,
    pub group: String,
    /// A JSON object.
    pub extra: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Whether it stands for assets that tasks name when they run, as the dag said that was uploaded last.
    pub is_alias: bool,
    /// The key and time of its last event.
    pub last_event: Option<(i64, Timestamp)>,
}

/// Where a dag's newest version names an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetReference {
    pub asset: i64,
    pub dag_id: DagId,
    /// `schedule`, `outlet` or `inlet`.
    pub kind: String,
    /// None for a schedule.
    pub task_id: Option<TaskId>,
    pub created_at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct AssetEventRow {
    pub key: i64,
    pub asset: i64,
    pub name: AssetName,
    pub uri: String,
    pub group: String,
    pub timestamp: Timestamp,
    /// A JSON object.
    pub extra: String,
    /// The task instance that made it; none: somebody did by hand.
    pub source_dag_id: Option<DagId>,
    pub source_run_id: Option<RunId>,
    pub source_task_id: Option<TaskId>,
    pub source_map_index: i32,
    pub created_by: Option<String>,
}

/// An event that a dag has not consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedEvent {
    pub dag_id: DagId,
    pub asset: i64,
    pub name: AssetName,
    pub event: i64,
    pub timestamp: Timestamp,
}

/// A run that consumed an event.
#[derive(Debug, Clone)]
pub struct EventConsumer {
    pub event: i64,
    pub run: DagRunRow,
    /// Whether the run consumed none that came later.
    pub is_last: bool,
}

/// Which events that were not consumed. `None` asks for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct QueuedEventFilter {
    pub dag_id: Option<DagId>,
    pub asset: Option<i64>,
    /// Made before.
    pub before: Option<Timestamp>,
}

/// Which assets. `None` asks for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct AssetFilter {
    pub name: Like,
    pub uri: Like,
    pub is_alias: Option<bool>,
    /// Those only that some dag names. Airflow: active ones.
    pub only_named: bool,
    /// Those that one of these names.
    pub dags: DagSet,
    pub order_by: AssetOrder,
    pub order: Order,
}

/// What assets are listed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AssetOrder {
    #[default]
    Name,
    Id,
    Uri,
    CreatedAt,
    UpdatedAt,
}

/// Which events. `None` asks for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct AssetEventFilter {
    /// Events of assets that one of these names, by one of these or by hand.
    pub dags: DagSet,
    pub asset: Option<i64>,
    /// Through this alias.
    pub alias: Option<i64>,
    pub source_dag_id: Option<DagId>,
    pub source_run_id: Option<RunId>,
    pub source_task_id: Option<TaskId>,
    pub source_map_index: Option<i32>,
    /// Of the asset.
    pub name: Like,
    pub timestamp: Range,
    pub order_by: AssetEventOrder,
    pub order: Order,
}

/// What events are listed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AssetEventOrder {
    /// As they were made; those of a span of time and of no asset in particular by when that was.
    #[default]
    Key,
    /// Of one asset or alias, or of one source dag: of all it would sort all history. So with those below.
    SourceDagId,
    SourceRunId,
    SourceTaskId,
    SourceMapIndex,
}

impl AssetEventFilter {
    /// Whether all events must be read of those that all assets ever had, before the first of the list is known.
    pub fn sorts_all(&self) -> bool {
        self.order_by != AssetEventOrder::Key
            && self.asset.is_none()
            && self.alias.is_none()
            && self.source_dag_id.is_none()
    }
}

impl FromRow for AssetRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let (key, at): (Option<i64>, Option<Timestamp>) = (row.try_get("last_event")?, row.try_get("last_event_at")?);
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            uri: row.try_get("uri")?,
            group: row.try_get("asset_group")?,
            extra: row.try_get("extra")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            is_alias: row.try_get("is_alias")?,
            last_event: key.zip(at),
        })
    }
}

impl FromRow for AssetReference {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let task_id: String = row.try_get("task_id")?;
        let task_id = (!task_id.is_empty()).then(|| task_id.parse()).transpose();
        Ok(Self {
            asset: row.try_get("asset")?,
            dag_id: row.try_get("dag_id")?,
            kind: row.try_get("kind")?,
            task_id: task_id.map_err(|error: crate::model::ids::NameError| sqlx::Error::Decode(error.into()))?,
            created_at: row.try_get("created_at")?,
        })
    }
}

from_row!(AssetEventRow {
    key,
    asset,
    name,
    uri,
    group: "asset_group",
    timestamp,
    extra,
    source_dag_id,
    source_run_id,
    source_task_id,
    source_map_index,
    created_by
});

impl FromRow for EventConsumer {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let (event, last): (i64, i64) = (row.try_get("event")?, row.try_get("last_event")?);
        Ok(Self { event, run: FromRow::from_row(row)?, is_last: event == last })
    }
}

from_row!(QueuedEvent { dag_id, asset, name, event: "key", timestamp });

impl Store {
    /// The key of the next event: larger than all that are there.
    pub async fn asset_event_next_key(&self) -> Result<i64, StoreError> {
        Ok(db::query_scalar(include_str!("sql/asset_event_next_key.sql")).fetch_one(self.readers()).await?)
    }

    pub async fn asset_list(&self, filter: &AssetFilter, page: Page) -> Result<Listed<AssetRow>, StoreError> {
        let filtered = |mut builder: Builder| {
            push_like(&mut builder, "a.name", &filter.name)?;
            push_like(&mut builder, "a.uri", &filter.uri)?;
            if let Some(is_alias) = filter.is_alias {
                builder.push(" AND a.is_alias = ").push_bind(is_alias);
            }
            if filter.only_named {
                builder.push(" AND EXISTS (SELECT 1 FROM asset_reference AS n WHERE n.asset = a.id LIMIT 1)");
            }
            push_named_by(&mut builder, "a.id", &filter.dags).map(|()| builder)
        };
        let mut list = filtered(Builder::new(include_str!("sql/asset_list.sql")))?;
        let column = match filter.order_by {
            AssetOrder::Name => "a.name",
            AssetOrder::Id => "a.id",
            AssetOrder::Uri => "a.uri",
            AssetOrder::CreatedAt => "a.created_at",
            AssetOrder::UpdatedAt => "a.updated_at",
        };
        list.push(" ORDER BY ").push(column).push(filter.order.sql());
        // Neither names nor ids are shared.
        if !matches!(filter.order_by, AssetOrder::Name | AssetOrder::Id) {
            list.push(", a.id").push(filter.order.sql());
        }
        push_page(&mut list, page);
        let mut count = filtered(counting(include_str!("sql/asset_count.sql")))?;
        push_count_end(&mut count);
        self.listed(list, count).await
    }

    pub async fn asset_get(&self, id: i64) -> Result<Option<AssetRow>, StoreError> {
        let query = db::query_as(include_str!("sql/asset_get.sql")).bind(id);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    pub async fn asset_get_by_name(&self, name: &AssetName) -> Result<Option<AssetRow>, StoreError> {
        let query = db::query_as(include_str!("sql/asset_get_by_name.sql")).bind(name);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Where dags name these assets, ascending by asset; at most 10,000.
    pub async fn asset_reference_list(&self, assets: &[i64]) -> Result<Vec<AssetReference>, StoreError> {
        let query = db::query_as(each!("asset_reference_list")).bind(json(assets)?);
        Ok(query.fetch_all(self.readers()).await?)
    }

    pub async fn asset_event_list(
        &self,
        filter: &AssetEventFilter,
        page: Page,
    ) -> Result<Listed<AssetEventRow>, StoreError> {
        let named = self.few_named(filter).await?;
        let (list, count) =
            (event_list_query(filter, named.as_deref(), page)?, event_count_query(filter, named.as_deref())?);
        self.listed(list, count).await
    }

    /// The assets whose names fit, if they are few and their events are listed as they were made: then those are found asset by asset. A walk
    /// through the events of all would come to those at its end that were made long ago.
    async fn few_named(&self, filter: &AssetEventFilter) -> Result<Option<Vec<i64>>, StoreError> {
        let is_of_any = filter.asset.or(filter.alias).is_none() && filter.timestamp == Range::default();
        if filter.name == Like::default() || !is_of_any || filter.order_by != AssetEventOrder::Key {
            return Ok(None);
        }
        let mut named = Builder::new("SELECT a.id FROM asset AS a WHERE TRUE");
        push_like(&mut named, "a.name", &filter.name)?;
        push_page(&mut named, Page::first(MOST_NAMED + 1));
        let rows = named.build().fetch_all(self.readers()).await?;
        if rows.len() > MOST_NAMED as usize {
            return Ok(None);
        }
        Ok(Some(rows.iter().map(|row| row.try_get("id")).collect::<sqlx::Result<_>>()?))
    }

    /// The events that a run consumed, as they were made; at most `limit`.
    pub async fn asset_event_list_of_run(&self, run: DagRunKey, limit: u32) -> Result<Vec<AssetEventRow>, StoreError> {
        let query = db::query_as(include_str!("sql/asset_event_list_of_run.sql")).bind(run).bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// The runs that consumed these events, with the event; at most 10,000.
    pub async fn dag_run_list_by_asset_events(&self, events: &[i64]) -> Result<Vec<EventConsumer>, StoreError> {
        let query = db::query_as(each!("dag_run_list_by_asset_events")).bind(json(events)?);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Which dags have events of which assets that they have not consumed.
    pub async fn asset_queue_names(&self) -> Result<Vec<(DagId, AssetName)>, StoreError> {
        Ok(db::query_as(include_str!("sql/asset_queue_names.sql")).fetch_all(self.readers()).await?)
    }

    /// Events that dags have not consumed; at most 10,000.
    pub async fn asset_queue_list(&self, filter: &QueuedEventFilter) -> Result<Vec<QueuedEvent>, StoreError> {
        let QueuedEventFilter { dag_id, asset, before } = filter;
        let query = db::query_as(include_str!("sql/asset_queue_list.sql")).bind(dag_id).bind(asset).bind(before);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Drops events that dags have not consumed; answers how many.
    pub async fn asset_queue_delete(&self, filter: &QueuedEventFilter) -> Result<u64, StoreError> {
        let QueuedEventFilter { dag_id, asset, before } = filter;
        self.write(db::query(include_str!("sql/asset_queue_delete.sql")).bind(dag_id).bind(asset).bind(before)).await
    }
}

/// One of `dags` names the asset in `column`.
pub(super) fn push_named_by(builder: &mut Builder, column: &'static str, dags: &DagSet) -> Result<(), StoreError> {
    if dags.listed().is_some() {
        builder.push(" AND ").push(column).push(" IN (SELECT n.asset FROM asset_reference AS n WHERE TRUE");
        push_dags(builder, "n.dag_id", dags)?;
        builder.push(")");
    }
    Ok(())
}

/// Assets whose names fit at most, so that events are found asset by asset, and events that are looked at for a page then.
const MOST_NAMED: u32 = 100;
const MOST_LOOKED_AT: u64 = 100_000;

/// `named`: the assets whose names fit, if they are known.
pub(super) fn event_list_query(
    filter: &AssetEventFilter,
    named: Option<&[i64]>,
    page: Page,
) -> Result<Builder, StoreError> {
    let mut list = Builder::new(include_str!("sql/asset_event_list.sql"));
    let needed = page.limit.min(MAX_PAGE).saturating_add(page.offset);
    let is_near = |named: &&[i64]| u64::from(needed).saturating_mul(named.len() as u64) <= MOST_LOOKED_AT;
    match named.filter(is_near) {
        Some(named) => push_merged(&mut list, filter, named, needed)?,
        None => push_filter(&mut list, filter)?,
    }
    let first = match filter.order_by {
        // As the index has them: so a span of time is neither looked for in all events nor sorted. Those of one asset have an index by key.
        AssetEventOrder::Key if filter.timestamp != Range::default() && filter.asset.or(filter.alias).is_none() => {
            Some(Column::Number("e.timestamp"))
        }
        AssetEventOrder::Key => None,
        AssetEventOrder::SourceDagId => Some(Column::NullableText("e.source_dag_id")),
        AssetEventOrder::SourceRunId => Some(Column::NullableText("e.source_run_id")),
        AssetEventOrder::SourceTaskId => Some(Column::NullableText("e.source_task_id")),
        AssetEventOrder::SourceMapIndex => Some(Column::Number("e.source_map_index")),
    };
    let columns: Vec<_> = first.into_iter().chain([Column::Number("e.key")]).collect();
    push_walk(&mut list, &columns, filter.order, None);
    push_page(&mut list, page);
    Ok(list)
}

/// `named`: as of [`event_list_query`].
pub(super) fn event_count_query(filter: &AssetEventFilter, named: Option<&[i64]>) -> Result<Builder, StoreError> {
    let mut count = counting(include_str!("sql/asset_event_count.sql"));
    match named {
        Some([]) => drop(count.push(" AND FALSE")),
        Some(named) => {
            push_numbers(&mut count, "e.asset", named);
            push_filter(&mut count, &AssetEventFilter { name: Like::default(), ..filter.clone() })?;
        }
        None => push_filter(&mut count, filter)?,
    }
    push_count_end(&mut count);
    Ok(count)
}

/// The event is one of the `first` of its asset that the filter leaves. Those come by an index that has them in order.
fn push_merged(builder: &mut Builder, filter: &AssetEventFilter, named: &[i64], first: u32) -> Result<(), StoreError> {
    if named.is_empty() {
        builder.push(" AND FALSE");
        return Ok(());
    }
    // As an array, so that PostgreSQL looks at these rows only, whatever it believes of the table.
    builder.push_each(" AND e.key IN (", " AND e.key = ANY (ARRAY(");
    for (position, asset) in named.iter().enumerate() {
        builder.push(if position == 0 { "" } else { " UNION ALL " });
        builder.push("SELECT f.key FROM (SELECT e.key FROM asset_event AS e WHERE TRUE");
        let of_asset = AssetEventFilter { asset: Some(*asset), name: Like::default(), ..filter.clone() };
        push_filter(builder, &of_asset)?;
        push_walk(builder, &[Column::Number("e.key")], filter.order, None);
        builder.push(" LIMIT ").push_bind(first).push(") AS f");
    }
    builder.push_each(")", "))");
    Ok(())
}

fn push_filter(builder: &mut Builder, filter: &AssetEventFilter) -> Result<(), StoreError> {
    if filter.dags.listed().is_some() {
        push_named_by(builder, "e.asset", &filter.dags)?;
        builder.push(" AND (e.source_dag_id IS NULL OR (TRUE");
        push_dags(builder, "e.source_dag_id", &filter.dags)?;
        builder.push("))");
    }
    if let Some(asset) = filter.asset {
        builder.push(" AND e.asset = ").push_bind(asset);
    }
    if let Some(alias) = filter.alias {
        builder.push(" AND e.alias = ").push_bind(alias);
    }
    if let Some(dag_id) = &filter.source_dag_id {
        builder.push(" AND e.source_dag_id = ").push_bind(dag_id.clone());
    }
    if let Some(run_id) = &filter.source_run_id {
        builder.push(" AND e.source_run_id = ").push_bind(run_id.clone());
    }
    if let Some(task_id) = &filter.source_task_id {
        builder.push(" AND e.source_task_id = ").push_bind(task_id.clone());
    }
    if let Some(map_index) = filter.source_map_index {
        builder.push(" AND e.source_map_index = ").push_bind(map_index);
    }
    if filter.name != Like::default() {
        builder.push(" AND e.asset IN (SELECT n.id FROM asset AS n WHERE TRUE");
        push_like(builder, "n.name", &filter.name)?;
        builder.push(")");
    }
    push_range(builder, "e.timestamp", filter.timestamp);
    Ok(())
}

/// Records the assets that a dag's new version names, and where.
pub(super) async fn put_references(
    transaction: &mut Connection,
    dag_id: &DagId,
    spec: &DagSpec,
    now: Timestamp,
) -> Result<(), StoreError> {
    db::query(include_str!("sql/asset_reference_delete.sql")).bind(dag_id).execute(&mut *transaction).await?;
    for asset in &spec.assets {
        db::query(include_str!("sql/asset_put.sql"))
            .bind(&asset.name)
            .bind(&asset.uri)
            .bind(&asset.group)
            .bind(asset.extra.as_deref().unwrap_or("{}"))
            .bind(asset.is_alias)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
    }
    let condition =
        spec.asset_schedule.as_ref().map(AssetCondition::from_spec).transpose().map_err(StoreError::corrupt)?;
    let scheduled = condition.iter().flat_map(AssetCondition::assets).map(|name| (name.to_string(), "schedule", ""));
    let of_tasks = spec.nodes.iter().flat_map(|node| {
        let outlets = node.outlets.iter().map(|name| (name.clone(), "outlet", node.task_id.as_str()));
        outlets.chain(node.inlets.iter().map(|name| (name.clone(), "inlet", node.task_id.as_str())))
    });
    let references: Vec<_> = scheduled.chain(of_tasks).collect();
    if !references.is_empty() {
        db::query(each!("asset_reference_put"))
            .bind(dag_id)
            .bind(json(&references)?)
            .bind(now)
            .execute(&mut *transaction)
            .await?;
    }
    db::query(include_str!("sql/asset_queue_prune.sql")).bind(dag_id).execute(&mut *transaction).await?;
    Ok(())
}
