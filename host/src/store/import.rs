//! What people set, taken over from another installation in one transaction.

use super::{ConnectionRow, PoolRow, Store, StoreError, VariableRow, dag_numbers, db, grant};
use crate::model::{grants::Decisions, ids::DagId, limits::DagLimits, retention::DagRetention, time::Timestamp};

/// What is taken over.
#[derive(Debug, Clone, Default)]
pub struct SettingsImport {
    pub variables: Vec<VariableRow>,
    pub connections: Vec<ConnectionRow>,
    pub pools: Vec<PoolRow>,
    pub dags: Vec<DagSettings>,
}

/// What people say of a dag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagSettings {
    pub dag_id: DagId,
    pub is_paused: bool,
    pub retention: DagRetention,
    /// None: they stay.
    pub limits: Option<DagLimits>,
    /// None: they stay.
    pub decisions: Option<Decisions>,
}

impl Store {
    /// Stores all of it, or nothing; replaces what has the same names. Dags that are not there are left out.
    /// What it decides about grants is decided by the user `by`.
    pub async fn settings_import(&self, import: &SettingsImport, by: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut writer = self.writer().await?;
        let mut transaction = writer.begin().await?;
        for variable in &import.variables {
            variable.put().execute(&mut *transaction).await?;
        }
        for connection in &import.connections {
            connection.put().execute(&mut *transaction).await?;
        }
        for pool in &import.pools {
            pool.put().execute(&mut *transaction).await?;
        }
        for DagSettings { dag_id, is_paused, retention, limits, decisions } in &import.dags {
            let pause = db::query(include_str!("sql/dag_set_paused.sql")).bind(dag_id).bind(is_paused).bind(now);
            pause.execute(&mut *transaction).await?;
            dag_numbers::put(dag_id, *retention).execute(&mut *transaction).await?;
            if let Some(limits) = limits {
                dag_numbers::put(dag_id, *limits).execute(&mut *transaction).await?;
            }
            if let Some(decisions) = decisions {
                grant::replace(&mut transaction, dag_id, decisions, (by, now)).await?;
            }
        }
        transaction.commit().await
    }
}
