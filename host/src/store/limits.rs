//! What dags may have together, and what they have had.

use super::{
    MAX_PAGE, Query, Store, StoreError,
    codec::json,
    db::{self, FromRow, Row, each},
};
use crate::model::{
    ids::DagId,
    limits::{DagLimits, Resource, Spent},
};

impl FromRow for DagLimits {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        Ok(Self {
            memory_mib: row.try_get("memory_mib")?,
            cpu_seconds_per_day: row.try_get("cpu_seconds_per_day")?,
            log_mib_per_day: row.try_get("log_mib_per_day")?,
            data_mib_per_day: row.try_get("data_mib_per_day")?,
            network_mib_per_day: row.try_get("network_mib_per_day")?,
            host_calls_per_day: row.try_get("host_calls_per_day")?,
        })
    }
}

impl FromRow for Spent {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let spent = Self::of_day(row.try_get("day")?);
        Resource::ALL.into_iter().try_fold(spent, |spent, resource| {
            let amount: i64 = row.try_get(column(resource))?;
            Ok(spent.with(resource, amount.unsigned_abs()))
        })
    }
}

fn column(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "cpu_us",
        Resource::Logs => "log_bytes",
        Resource::Data => "data_bytes",
        Resource::Network => "network_bytes",
        Resource::HostCalls => "host_calls",
    }
}

/// Says it of a dag; nothing is no row.
pub(super) fn put(dag_id: &DagId, said: &DagLimits) -> Query {
    if said.is_empty() {
        return db::query(include_str!("sql/dag_limits_delete.sql")).bind(dag_id);
    }
    db::query(include_str!("sql/dag_limits_put.sql"))
        .bind(dag_id)
        .bind(said.memory_mib)
        .bind(said.cpu_seconds_per_day)
        .bind(said.log_mib_per_day)
        .bind(said.data_mib_per_day)
        .bind(said.network_mib_per_day)
        .bind(said.host_calls_per_day)
}

impl Store {
    /// What is said of a dag; nothing by default.
    pub async fn dag_limits_get(&self, dag_id: &DagId) -> Result<DagLimits, StoreError> {
        let query = db::query_as(include_str!("sql/dag_limits_get.sql")).bind(dag_id);
        Ok(query.fetch_optional(self.readers()).await?.unwrap_or_default())
    }

    /// The dags of which something is said.
    pub async fn dag_limits_list(&self) -> Result<Vec<(DagId, DagLimits)>, StoreError> {
        let rows = db::query(include_str!("sql/dag_limits_list.sql")).fetch_all(self.readers()).await?;
        rows.iter().map(|row| Ok((row.try_get("dag_id")?, DagLimits::from_row(row)?))).collect()
    }

    /// Says it of a dag. Whether the dag is there.
    pub async fn dag_limits_put(&self, dag_id: &DagId, said: &DagLimits) -> Result<bool, StoreError> {
        if said.is_empty() {
            self.write(put(dag_id, said)).await?;
            return Ok(self.dag_get(dag_id).await?.is_some());
        }
        Ok(self.write(put(dag_id, said)).await? == 1)
    }

    /// What a dag's attempts had, on the last day on which it was counted; None: never.
    pub async fn dag_usage_get(&self, dag_id: &DagId) -> Result<Option<Spent>, StoreError> {
        let query = db::query_as(include_str!("sql/dag_usage_get.sql")).bind(dag_id);
        Ok(query.fetch_optional(self.readers()).await?)
    }

    /// Puts what dags have had in place of what was there; dags that are gone are left out.
    pub async fn dag_usage_put(&self, usage: &[(DagId, Spent)]) -> Result<(), StoreError> {
        for usage in usage.chunks(MAX_PAGE as usize) {
            let rows = usage.iter().map(|(dag_id, spent)| {
                let [cpu, logs, data, network, calls] =
                    Resource::ALL.map(|resource| i64::try_from(spent.of(resource)).unwrap_or(i64::MAX));
                (dag_id, spent.day, cpu, logs, data, network, calls)
            });
            let rows = json(&rows.collect::<Vec<_>>())?;
            self.write(db::query(each!("dag_usage_put")).bind(rows)).await?;
        }
        Ok(())
    }
}
