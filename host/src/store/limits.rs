//! What dags have had of what they may have a day.

use super::{
    MAX_PAGE, Store, StoreError,
    codec::json,
    db::{self, FromRow, Row, each},
};
use crate::model::{
    ids::DagId,
    limits::{Resource, Spent},
};

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

impl Store {
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
