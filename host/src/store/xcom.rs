//! XComs and artifacts: what successful tries left.

use super::{
    ArtifactRow, InstanceKey, Listed, MAX_PAGE, Page, Query, Range, Store, StoreError, XComBody, XComNew, XComRow,
    XComValue,
    codec::json,
    commit::key,
    db::{self, Builder, FromRow, Row, each, from_row},
    filter::{Like, counting, push_count_end, push_dags, push_like, push_page, push_range},
};
use crate::model::{
    dag_access::DagSet,
    ids::{DagId, TaskId, XComKey},
    time::Timestamp,
};

/// Which XComs. `None` asks for nothing in particular.
#[derive(Debug, Clone, Default)]
pub struct XComFilter {
    pub dag_id: Option<DagId>,
    pub dags: DagSet,
    pub dag_run: Option<super::DagRunKey>,
    pub task_id: Option<TaskId>,
    pub map_index: Option<i32>,
    pub key: Option<XComKey>,
    pub key_like: Like,
    pub run_id_like: Like,
    pub task_id_like: Like,
    /// Of the run.
    pub logical_date: Range,
    /// Of the run.
    pub run_after: Range,
}

from_row!(XComRow { dag_id, run_id, logical_date, run_after, key, media_type, size_bytes, created_at, ..instance });

impl FromRow for XComValue {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let blob: Option<String> = row.try_get("blob")?;
        let body = match blob {
            Some(blob) => XComBody::Blob(blob),
            None => XComBody::Inline(row.try_get("body")?),
        };
        Ok(Self { row: XComRow::from_row(row)?, body })
    }
}

from_row!(ArtifactRow { try_number, name, media_type, size_bytes, sha256, blob, created_at, ..instance });

impl Store {
    /// XComs without their values, by run, task, map index and key.
    pub async fn xcom_list(&self, filter: &XComFilter, page: Page) -> Result<Listed<XComRow>, StoreError> {
        let (list, count) = (list_query(filter, page)?, count_query(filter)?);
        self.listed(list, count).await
    }

    pub async fn xcom_get(&self, instance: &InstanceKey, xcom: &XComKey) -> Result<Option<XComValue>, StoreError> {
        let query = db::query_as(include_str!("sql/xcom_get.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(xcom);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Those of the XComs that are there, in the order asked for.
    pub async fn xcom_get_many(&self, xcoms: &[(InstanceKey, XComKey)]) -> Result<Vec<XComValue>, StoreError> {
        let mut values = Vec::with_capacity(xcoms.len());
        for xcoms in xcoms.chunks(MAX_PAGE as usize) {
            let rows = xcoms.iter().map(|(instance, xcom)| {
                let (dag_run, task_id, map_index) = key(instance);
                (dag_run, task_id, map_index, xcom)
            });
            let query = db::query_as(each!("xcom_get_many")).bind(json(&rows.collect::<Vec<_>>())?);
            values.extend(query.fetch_all(self.readers()).await?);
        }
        Ok(values)
    }

    /// The XComs of a task in the dag's runs whose logical date is from `since` to before `until`, by logical date and
    /// map index.
    pub async fn xcom_list_runs(
        &self,
        dag_id: &DagId,
        task_id: &TaskId,
        xcom: &XComKey,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<XComValue>, StoreError> {
        let query = db::query_as(include_str!("sql/xcom_list_runs.sql"))
            .bind(dag_id)
            .bind(task_id)
            .bind(xcom)
            .bind(since)
            .bind(until)
            .bind(limit);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// Stores an XCom outside of an attempt; replaces one of the same key. False: the task instance is not there, and the value's
    /// object is garbage.
    pub async fn xcom_put(&self, xcom: &XComNew, now: Timestamp) -> Result<bool, StoreError> {
        let (blob, body) = match &xcom.body {
            XComBody::Inline(body) => (None, Some(body)),
            XComBody::Blob(blob) => (Some(blob), None),
        };
        let query = db::query(include_str!("sql/xcom_put.sql"))
            .bind(xcom.instance.dag_run)
            .bind(&xcom.instance.task_id)
            .bind(xcom.instance.map_index)
            .bind(&xcom.key)
            .bind(&xcom.media_type)
            .bind(xcom.size_bytes)
            .bind(now)
            .bind(blob)
            .bind(body);
        let is_put = self.write_by_hand(query, &xcom.instance).await?;
        if let (false, Some(blob)) = (is_put, blob) {
            self.garbage_add(std::slice::from_ref(blob)).await?;
        }
        Ok(is_put)
    }

    /// Whether there was one to delete.
    pub async fn xcom_delete(&self, instance: &InstanceKey, xcom: &XComKey) -> Result<bool, StoreError> {
        let query = db::query(include_str!("sql/xcom_delete.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(xcom);
        self.write_by_hand(query, instance).await
    }

    /// Changes an XCom of `instance`, which is no result of its own any more that others may take. Whether there was a change.
    async fn write_by_hand(&self, query: Query, instance: &InstanceKey) -> Result<bool, StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        let changed = query.execute(&mut *transaction).await? == 1;
        if changed {
            db::query(include_str!("sql/cached_result_delete_of.sql"))
                .bind(instance.dag_run)
                .bind(&instance.task_id)
                .bind(instance.map_index)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(changed)
    }

    /// An instance's artifacts by name; at most 1,000.
    pub async fn artifact_list(&self, instance: &InstanceKey) -> Result<Vec<ArtifactRow>, StoreError> {
        let query = db::query_as(include_str!("sql/artifact_list.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index);
        Ok(query.fetch_all(self.readers()).await?)
    }

    /// A run's artifacts by task, map index and name; at most 1,000.
    pub async fn artifact_list_of_run(&self, run: super::DagRunKey) -> Result<Vec<ArtifactRow>, StoreError> {
        let query = db::query_as(include_str!("sql/artifact_list_of_run.sql")).bind(run);
        Ok(query.fetch_all(self.readers()).await?)
    }

    pub async fn artifact_get(&self, instance: &InstanceKey, name: &str) -> Result<Option<ArtifactRow>, StoreError> {
        let query = db::query_as(include_str!("sql/artifact_get.sql"))
            .bind(instance.dag_run)
            .bind(&instance.task_id)
            .bind(instance.map_index)
            .bind(name);
        Ok(query.fetch_optional(self.readers()).await?)
    }
}

impl XComFilter {
    /// Whether each XCom must be looked into that the rest leaves: no index knows names.
    pub fn looks_into_each(&self) -> bool {
        [&self.key_like, &self.run_id_like, &self.task_id_like].into_iter().any(|like| *like != Like::default())
    }

    fn filters_runs(&self) -> bool {
        self.dag_id.is_some()
            || self.dags != DagSet::all()
            || self.logical_date != Range::default()
            || self.run_after != Range::default()
    }
}

pub(super) fn list_query(filter: &XComFilter, page: Page) -> Result<Builder, StoreError> {
    // Where runs are filtered, they are walked in order and their rows within them; else all rows in order. Either way the
    // limit ends the walk.
    let by_runs = filter.filters_runs();
    let mut list = Builder::new(if by_runs {
        include_str!("sql/xcom_list_by_runs.sql")
    } else {
        include_str!("sql/xcom_list.sql")
    });
    push_filter(&mut list, filter)?;
    let run = if by_runs { "r.key" } else { "x.dag_run" };
    list.push(" ORDER BY ").push(run).push(", x.task_id, x.map_index, x.key");
    push_page(&mut list, page);
    Ok(list)
}

pub(super) fn count_query(filter: &XComFilter) -> Result<Builder, StoreError> {
    let mut count = counting(if filter.filters_runs() {
        include_str!("sql/xcom_count_by_runs.sql")
    } else {
        include_str!("sql/xcom_count.sql")
    });
    push_filter(&mut count, filter)?;
    push_count_end(&mut count);
    Ok(count)
}

fn push_filter(builder: &mut Builder, filter: &XComFilter) -> Result<(), StoreError> {
    if let Some(dag_id) = &filter.dag_id {
        builder.push(" AND r.dag_id = ").push_bind(dag_id.clone());
    }
    push_dags(builder, "r.dag_id", &filter.dags)?;
    if let Some(run) = filter.dag_run {
        builder.push(" AND x.dag_run = ").push_bind(run);
    }
    if let Some(task_id) = &filter.task_id {
        builder.push(" AND x.task_id = ").push_bind(task_id.clone());
    }
    if let Some(map_index) = filter.map_index {
        builder.push(" AND x.map_index = ").push_bind(map_index);
    }
    if let Some(key) = &filter.key {
        builder.push(" AND x.key = ").push_bind(key.clone());
    }
    // The plus keeps the walk in the list's order: an index on dates would have all rows read and sorted first.
    push_range(builder, "+r.logical_date", filter.logical_date);
    push_range(builder, "+r.run_after", filter.run_after);
    push_like(builder, "x.key", &filter.key_like)?;
    push_like(builder, "r.run_id", &filter.run_id_like)?;
    push_like(builder, "x.task_id", &filter.task_id_like)
}
