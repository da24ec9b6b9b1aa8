//! The audit log: what people and programs changed, or were refused to.

use super::{
    Listed, Order, Page, Range, Store, StoreError,
    db::{self, Builder, Connection, FromRow, Row},
    filter::{Like, counting, push_any, push_count_end, push_like, push_numbers, push_page, push_range},
    place::{Column, push_walk},
};
use crate::model::time::Timestamp;

/// What was done, or refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventNew {
    pub at: Timestamp,
    /// The permission that it took, as `dag.pause`.
    pub event: String,
    pub is_denied: bool,
    pub username: Option<String>,
    /// The name of the API token that was shown.
    pub token: Option<String>,
    /// The address that it came from.
    pub peer: Option<String>,
    /// Method and path.
    pub route: String,
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub map_index: Option<i32>,
    /// What it was about, if no dag.
    pub object: Option<String>,
    /// JSON, without secrets.
    pub before: Option<String>,
    /// JSON, without secrets.
    pub after: Option<String>,
}

/// An entry of the audit log.
#[derive(Debug, Clone)]
pub struct EventRow {
    pub id: i64,
    pub event: EventNew,
}

/// Which entries; none of a field asks for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub event: Option<String>,
    pub username: Option<String>,
    pub map_index: Option<i64>,
    /// Only these; empty: all.
    pub included_events: Vec<String>,
    pub excluded_events: Vec<String>,
    pub dag_id_like: Like,
    pub run_id_like: Like,
    pub task_id_like: Like,
    pub event_like: Like,
    pub username_like: Like,
    pub at: Range,
    /// Those that came after this one.
    pub after_id: Option<i64>,
    pub order_by: EventOrder,
    pub order: Order,
}

/// What entries are listed by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventOrder {
    /// As they were written.
    #[default]
    Id,
    Event,
    Username,
    /// Of one dag, which its entries share: as by their id.
    DagId,
    /// Of one dag: of all it would sort the whole log.
    RunId,
    /// As [`RunId`](Self::RunId).
    TaskId,
}

impl EventFilter {
    /// Whether the whole log must be read before the first of the list is known.
    pub fn sorts_all(&self) -> bool {
        match self.order_by {
            EventOrder::Id | EventOrder::Event | EventOrder::Username => false,
            EventOrder::DagId | EventOrder::RunId | EventOrder::TaskId => self.dag_id.is_none(),
        }
    }
}

impl FromRow for EventRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let event = EventNew {
            at: row.try_get("at")?,
            event: row.try_get("event")?,
            is_denied: row.try_get("is_denied")?,
            username: row.try_get("username")?,
            token: row.try_get("token")?,
            peer: row.try_get("peer")?,
            route: row.try_get("route")?,
            dag_id: row.try_get("dag_id")?,
            run_id: row.try_get("run_id")?,
            task_id: row.try_get("task_id")?,
            map_index: row.try_get("map_index")?,
            object: row.try_get("object")?,
            before: row.try_get("before")?,
            after: row.try_get("after")?,
        };
        Ok(Self { id: row.try_get("id")?, event })
    }
}

pub(super) fn list_query(filter: &EventFilter, page: Page) -> Result<Builder, StoreError> {
    let mut list = Builder::new("SELECT * FROM event_log WHERE TRUE");
    push_filter(&mut list, filter)?;
    let first = match filter.order_by {
        EventOrder::Id | EventOrder::DagId => None,
        EventOrder::Event => Some(Column::Text("event")),
        EventOrder::Username => Some(Column::NullableText("username")),
        EventOrder::RunId => Some(Column::NullableText("run_id")),
        EventOrder::TaskId => Some(Column::NullableText("task_id")),
    };
    let columns: Vec<_> = first.into_iter().chain([Column::Number("id")]).collect();
    push_walk(&mut list, &columns, filter.order, None);
    push_page(&mut list, page);
    Ok(list)
}

fn push_filter(builder: &mut Builder, filter: &EventFilter) -> Result<(), StoreError> {
    let texts = [
        (" AND dag_id = ", &filter.dag_id),
        (" AND run_id = ", &filter.run_id),
        (" AND task_id = ", &filter.task_id),
        (" AND event = ", &filter.event),
        (" AND username = ", &filter.username),
    ];
    for (condition, value) in texts {
        if let Some(value) = value {
            builder.push(condition).push_bind(value.clone());
        }
    }
    push_range(builder, "at", filter.at);
    if let Some(id) = filter.after_id {
        builder.push(" AND id > ").push_bind(id);
    }
    push_numbers(builder, "map_index", filter.map_index.as_slice());
    push_any(builder, "event", &filter.included_events)?;
    if !filter.excluded_events.is_empty() {
        builder.push(" AND NOT (TRUE");
        push_any(builder, "event", &filter.excluded_events)?;
        builder.push(")");
    }
    push_like(builder, "event_log.dag_id", &filter.dag_id_like)?;
    push_like(builder, "event_log.run_id", &filter.run_id_like)?;
    push_like(builder, "event_log.task_id", &filter.task_id_like)?;
    push_like(builder, "event_log.event", &filter.event_like)?;
    push_like(builder, "event_log.username", &filter.username_like)
}

/// Adds entries.
pub(super) async fn append(connection: &mut Connection, events: &[EventNew]) -> Result<(), StoreError> {
    for event in events {
        db::query(include_str!("sql/event_log_append.sql"))
            .bind(event.at)
            .bind(&event.event)
            .bind(event.is_denied)
            .bind(&event.username)
            .bind(&event.token)
            .bind(&event.peer)
            .bind(&event.route)
            .bind(&event.dag_id)
            .bind(&event.run_id)
            .bind(&event.task_id)
            .bind(event.map_index)
            .bind(&event.object)
            .bind(&event.before)
            .bind(&event.after)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

impl Store {
    /// Adds entries in one transaction.
    pub async fn event_append(&self, events: &[EventNew]) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        append(&mut transaction, events).await?;
        transaction.commit().await
    }

    /// Entries in the order that the filter asks for.
    pub async fn event_list(&self, filter: &EventFilter, page: Page) -> Result<Listed<EventRow>, StoreError> {
        let list = list_query(filter, page)?;
        let mut count = counting("SELECT 1 FROM event_log WHERE TRUE");
        push_filter(&mut count, filter)?;
        push_count_end(&mut count);
        let items = list.build_query_as().fetch_all(self.readers());
        let total = count.build_query_scalar().fetch_one(self.readers());
        let (items, total) = tokio::try_join!(items, total)?;
        Ok(Listed { items, total })
    }

    pub async fn event_get(&self, id: i64) -> Result<Option<EventRow>, StoreError> {
        let mut query = Builder::new("SELECT * FROM event_log WHERE id = ");
        query.push_bind(id);
        Ok(query.build_query_as().fetch_optional(self.readers()).await?)
    }
}
