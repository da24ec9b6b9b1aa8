//! Numbers that are said of dags: limits, retention.

use super::{
    Query, Store, StoreError,
    db::{self, Row},
};
use crate::model::{dag_numbers::DagNumbers, ids::DagId, limits::DagLimits, retention::DagRetention};

/// Where they are kept: a table with a row for each dag of which something is said.
pub trait StoredNumbers: DagNumbers {
    const SQL: Statements;
}

/// Columns are named as the numbers are, and bound in their order after `$1`, the dag.
pub struct Statements {
    get: &'static str,
    list: &'static str,
    put: &'static str,
    delete: &'static str,
}

impl StoredNumbers for DagLimits {
    const SQL: Statements = Statements {
        get: include_str!("sql/dag_limits_get.sql"),
        list: include_str!("sql/dag_limits_list.sql"),
        put: include_str!("sql/dag_limits_put.sql"),
        delete: include_str!("sql/dag_limits_delete.sql"),
    };
}

impl StoredNumbers for DagRetention {
    const SQL: Statements = Statements {
        get: include_str!("sql/dag_retention_get.sql"),
        list: include_str!("sql/dag_retention_list.sql"),
        put: include_str!("sql/dag_retention_put.sql"),
        delete: include_str!("sql/dag_retention_delete.sql"),
    };
}

fn read<T: StoredNumbers>(row: &Row) -> sqlx::Result<T> {
    T::try_build(|field| row.try_get(field.name))
}

/// Says it of a dag; nothing is no row.
pub(super) fn put<T: StoredNumbers>(dag_id: &DagId, said: T) -> Query {
    if said.is_empty() {
        return db::query(T::SQL.delete).bind(dag_id);
    }
    T::FIELDS.iter().fold(db::query(T::SQL.put).bind(dag_id), |query, field| query.bind(said.get(field)))
}

impl Store {
    /// What is said of a dag; nothing by default.
    pub async fn dag_numbers_get<T: StoredNumbers>(&self, dag_id: &DagId) -> Result<T, StoreError> {
        let row = db::query(T::SQL.get).bind(dag_id).fetch_optional(self.readers()).await?;
        Ok(row.as_ref().map(read).transpose()?.unwrap_or_default())
    }

    /// The dags of which something is said.
    pub async fn dag_numbers_list<T: StoredNumbers>(&self) -> Result<Vec<(DagId, T)>, StoreError> {
        let rows = db::query(T::SQL.list).fetch_all(self.readers()).await?;
        rows.iter().map(|row| Ok((row.try_get("dag_id")?, read(row)?))).collect()
    }

    /// Says it of a dag. Whether the dag is there.
    pub async fn dag_numbers_put<T: StoredNumbers>(&self, dag_id: &DagId, said: T) -> Result<bool, StoreError> {
        let written = self.write(put(dag_id, said)).await?;
        Ok(if said.is_empty() { self.dag_get(dag_id).await?.is_some() } else { written == 1 })
    }
}
