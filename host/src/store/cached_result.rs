//! Results of tasks with `cache`, by what they depend on.

use std::collections::BTreeMap;

use super::{
    ArtifactRow, InstanceKey, MAX_PAGE, Store, StoreError, XComValue,
    db::{self, FromRow, Row},
};
use crate::model::{
    ids::{AssetName, DagId, Digest, RunId},
    time::Timestamp,
};

/// A result that counts for other instances, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedResultRow {
    /// SHA-256 of all that it depends on.
    pub key: Digest,
    /// Whose XComs and artifacts it is.
    pub instance: InstanceKey,
    pub try_number: u32,
    /// The run that made it. It may be deleted.
    pub dag_id: DagId,
    pub run_id: RunId,
    pub made_at: Timestamp,
    /// From then on it may be deleted.
    pub expires_at: Timestamp,
    /// What the events of outlets carry, JSON objects.
    pub asset_extras: BTreeMap<AssetName, String>,
}

/// A cached result with all that it consists of.
#[derive(Debug)]
pub struct CachedResult {
    pub row: CachedResultRow,
    pub xcoms: Vec<XComValue>,
    pub artifacts: Vec<ArtifactRow>,
}

impl FromRow for CachedResultRow {
    fn from_row(row: &Row) -> sqlx::Result<Self> {
        let extras: Option<String> = row.try_get("asset_extras")?;
        let extras = extras.map(|text| serde_json::from_str(&text)).transpose();
        let wrong = |source| sqlx::Error::ColumnDecode { index: "asset_extras".into(), source: Box::new(source) };
        Ok(Self {
            key: row.try_get("key")?,
            instance: InstanceKey::from_row(row)?,
            try_number: row.try_get("try_number")?,
            dag_id: row.try_get("dag_id")?,
            run_id: row.try_get("run_id")?,
            made_at: row.try_get("made_at")?,
            expires_at: row.try_get("expires_at")?,
            asset_extras: extras.map_err(wrong)?.unwrap_or_default(),
        })
    }
}

impl Store {
    /// The result of `key`, if one was made after `since` and is still there.
    ///
    /// It is read in one transaction, so that it is whole even if its run is being deleted.
    pub async fn cached_result_find(&self, key: &Digest, since: Timestamp) -> Result<Option<CachedResult>, StoreError> {
        let mut snapshot = self.readers().snapshot().await?;
        let row: Option<CachedResultRow> = db::query_as(include_str!("sql/cached_result_get.sql"))
            .bind(key)
            .bind(since)
            .fetch_optional(&mut snapshot)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (run, task_id, map_index) = (row.instance.dag_run, &row.instance.task_id, row.instance.map_index);
        let xcoms = db::query_as(include_str!("sql/cached_result_xcoms.sql")).bind(run).bind(task_id).bind(map_index);
        let xcoms = xcoms.fetch_all(&mut snapshot).await?;
        let artifacts = db::query_as(include_str!("sql/artifact_list.sql")).bind(run).bind(task_id).bind(map_index);
        let artifacts = artifacts.fetch_all(&mut snapshot).await?;
        Ok(Some(CachedResult { row, xcoms, artifacts }))
    }

    /// Deletes up to 1,000 results that have expired by `now`; returns how many. If there are none, nothing is written.
    pub async fn cached_result_delete_expired(&self, now: Timestamp) -> Result<u64, StoreError> {
        let any = db::query_scalar(include_str!("sql/cached_result_expired.sql")).bind(now);
        if !any.fetch_one(self.readers()).await? {
            return Ok(0);
        }
        self.write(db::query(include_str!("sql/cached_result_delete_expired.sql")).bind(now).bind(MAX_PAGE)).await
    }
}
